//! DynamoDB's numbers: decimals of 38 significant digits, exact, with an order-preserving encoding.
//!
//! ```text
//! ordered  := header u8 ‖ pair u8 …             every byte complemented where the number is negative
//! header   := 0x80 + 65 + p                      p = the power of 100 of the first pair, -65 ..= 62
//! pair     := 2 × (two decimal digits) + 1 where another pair follows, + 0 at the last
//! zero     := 0x80 0x00                          the only one whose pair is 0
//! ```
//! Pairs are aligned to even powers of ten; the first and the last are never 0, so every number has one encoding, of
//! 2 to 21 bytes. A prefix is less than what continues it since a last pair is even and the same pair continued is one
//! more; complementing turns the order for the negatives, whose header is below 0x80.

use std::cmp::Ordering;
use std::fmt;

use crate::codec::{DecodeError, take_u8};
use crate::limits::{NUMBER_DIGITS, NUMBER_MAX_EXPONENT, NUMBER_MIN_EXPONENT};

/// A decimal number, normalised: no trailing zeros, no negative zero; two equal numbers are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    negative: bool,
    /// At most 38 decimal digits, without trailing zeros; 0 for zero.
    coefficient: u128,
    /// The value is `coefficient × 10^exponent`; 0 for zero.
    exponent: i16,
}

/// Why a text is no number, or a sum does not fit one: DynamoDB's own sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// DynamoDB goes on with `: ` and the text where there is one: [`NumberError::message`].
    #[error("The parameter cannot be converted to a numeric value")]
    Malformed,
    #[error("Number overflow. Attempting to store a number with magnitude larger than supported range")]
    Overflow,
    #[error("Number underflow. Attempting to store a number with magnitude smaller than supported range")]
    Underflow,
    #[error("Attempting to store more than 38 significant digits in a Number")]
    TooManyDigits,
}

impl NumberError {
    /// What DynamoDB answers to a client that sent `text`.
    pub fn message(self, text: &str) -> String {
        match self {
            NumberError::Malformed if !text.is_empty() => format!("{self}: {text}"),
            NumberError::Malformed | NumberError::Overflow | NumberError::Underflow | NumberError::TooManyDigits => {
                self.to_string()
            }
        }
    }
}

/// Powers of ten from 0 to 38; the last is the first coefficient that does not fit.
const POWERS_OF_TEN: [u128; 39] = {
    let mut powers = [1; 39];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};
/// Most pairs of digits of an encoded number: 38 digits that begin and end in the middle of one.
const MAX_PAIRS: usize = 20;
/// The power of 100 of the smallest number's first pair.
const MIN_PAIR_POWER: i16 = NUMBER_MIN_EXPONENT / 2;
/// Longest text of a number, in bytes: sign, `0.`, 129 zeros and 38 digits.
const MAX_TEXT_BYTES: usize = 170;

impl Number {
    pub const ZERO: Number = Number { negative: false, coefficient: 0, exponent: 0 };

    /// An optional sign, digits with at most one point among them, an optional exponent; nothing else. As DynamoDB checks:
    /// the form first, then the magnitude, then the digits, of which outer zeros do not count.
    pub fn parse(text: &str) -> Result<Number, NumberError> {
        let (negative, unsigned) = split_sign(text.as_bytes());
        let Digits { coefficient, significant, exponent, rest } = read_digits(unsigned)?;
        let exponent = exponent + read_exponent(rest)?;
        if significant == 0 {
            return Ok(Number::ZERO);
        }
        let magnitude = exponent + significant - 1;
        if magnitude > i64::from(NUMBER_MAX_EXPONENT) {
            return Err(NumberError::Overflow);
        }
        if magnitude < i64::from(NUMBER_MIN_EXPONENT) {
            return Err(NumberError::Underflow);
        }
        if significant > i64::from(NUMBER_DIGITS) {
            return Err(NumberError::TooManyDigits);
        }
        let exponent = i16::try_from(exponent).expect("magnitude less 37 digits is at least -167");
        Ok(Number { negative, coefficient, exponent })
    }

    /// The exact sum. One that needs more than 38 digits is an overflow, never rounded: `1E50 + 1` answers "Number
    /// overflow" in DynamoDB (as ScyllaDB's `test_update_expression_plus_imprecise`, run against AWS, records).
    pub fn checked_add(&self, other: &Number) -> Result<Number, NumberError> {
        if self.coefficient == 0 {
            return Ok(*other);
        }
        if other.coefficient == 0 {
            return Ok(*self);
        }
        let (high, low) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        // Where the exponents differ, the sum ends in the lower one's last digit, which is not 0: it fits only if the
        // higher one, written with the lower one's exponent, is below 2 × 10^38, which an u128 holds.
        let shift = usize::from(high.exponent.abs_diff(low.exponent));
        let power = POWERS_OF_TEN.get(shift).ok_or(NumberError::Overflow)?;
        let raised = high.coefficient.checked_mul(*power).ok_or(NumberError::Overflow)?;
        let (negative, coefficient) = if high.negative == low.negative {
            (high.negative, raised.checked_add(low.coefficient).ok_or(NumberError::Overflow)?)
        } else if raised >= low.coefficient {
            (high.negative, raised - low.coefficient)
        } else {
            (low.negative, low.coefficient - raised)
        };
        Number::normalised(negative, coefficient, low.exponent)
    }

    /// The exact difference, with the rules of [`Number::checked_add`].
    pub fn checked_sub(&self, other: &Number) -> Result<Number, NumberError> {
        self.checked_add(&other.negated())
    }

    fn negated(&self) -> Number {
        Number { negative: !self.negative && self.coefficient != 0, ..*self }
    }

    fn normalised(negative: bool, mut coefficient: u128, mut exponent: i16) -> Result<Number, NumberError> {
        if coefficient == 0 {
            return Ok(Number::ZERO);
        }
        while coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        let number = Number { negative, coefficient, exponent };
        if number.digits() > NUMBER_DIGITS || number.magnitude() > NUMBER_MAX_EXPONENT {
            return Err(NumberError::Overflow);
        }
        if number.magnitude() < NUMBER_MIN_EXPONENT {
            return Err(NumberError::Underflow);
        }
        Ok(number)
    }

    /// Significant digits; 1 for zero.
    fn digits(&self) -> u32 {
        match u64::try_from(self.coefficient) {
            Ok(short) => short.checked_ilog10().unwrap_or(0) + 1,
            Err(_long) => self.coefficient.ilog10() + 1,
        }
    }

    /// The power of ten of the first digit.
    fn magnitude(&self) -> i16 {
        self.exponent + i16::try_from(self.digits() - 1).expect("an u128 has at most 39 digits")
    }

    /// Bytes as DynamoDB counts them: one, one for every two digits before the point and for every two after it, and one
    /// for a minus. Outer zeros do not count. The Developer Guide says "approximately"; counting the two sides of the
    /// point apart is what was measured at AWS's 400 KB limit (dynoxide, pull request 195: `15` costs 2, `1.5` costs 3).
    pub fn size(&self) -> usize {
        if self.coefficient == 0 {
            return 1;
        }
        let digits = self.digits();
        let after_point = if self.exponent < 0 { u32::from(self.exponent.unsigned_abs()) } else { 0 };
        let before_point = digits.saturating_sub(after_point);
        let pairs = before_point.div_ceil(2) + after_point.min(digits).div_ceil(2);
        1 + pairs as usize + usize::from(self.negative)
    }

    /// Appends the order-preserving, self-delimiting encoding: bytes compare as numbers do.
    pub fn encode_ordered(&self, out: &mut Vec<u8>) {
        let start = out.len();
        if self.coefficient == 0 {
            out.extend_from_slice(&[0x80, 0x00]);
            return;
        }
        let power = self.magnitude().div_euclid(2);
        out.push(0x80 + u8::try_from(power - MIN_PAIR_POWER).expect("a number's magnitude is in range"));
        let mut pairs = [0; MAX_PAIRS];
        let first = self.fill_pairs(&mut pairs);
        out.extend(pairs[first..].iter().map(|pair| 2 * pair + 1));
        if let Some(last) = out.last_mut() {
            *last -= 1;
        }
        if self.negative {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }

    /// Writes the digits, two by two and aligned to even powers of ten, to the end of `pairs`; says where they begin.
    fn fill_pairs(&self, pairs: &mut [u8; MAX_PAIRS]) -> usize {
        let mut next = MAX_PAIRS;
        let mut rest = self.coefficient;
        if self.exponent.rem_euclid(2) == 1 {
            next -= 1;
            pairs[next] = 10 * low_byte(rest % 10);
            rest /= 10;
        }
        // An u128's division costs many times an u64's: take nine pairs at once.
        while rest > u128::from(u64::MAX) {
            let mut nine = u64::try_from(rest % POWERS_OF_TEN[18]).expect("below 10^18");
            rest /= POWERS_OF_TEN[18];
            for _ in 0..9 {
                next -= 1;
                pairs[next] = low_byte((nine % 100).into());
                nine /= 100;
            }
        }
        let mut rest = u64::try_from(rest).expect("the loop above ended");
        while rest > 0 {
            next -= 1;
            pairs[next] = low_byte((rest % 100).into());
            rest /= 100;
        }
        next
    }

    /// Reads one number from the front of `input`, advancing it.
    pub fn decode_ordered(input: &mut &[u8]) -> Result<Number, DecodeError> {
        const MALFORMED: DecodeError = DecodeError::Malformed("number");
        let header = take_u8(input)?;
        let negative = header < 0x80;
        let mask = if negative { 0xff } else { 0x00 };
        let mut power = i16::from((header ^ mask) - 0x80) + MIN_PAIR_POWER;
        let mut coefficient = 0u128;
        let mut first = true;
        let append = |coefficient: u128, times, plus| {
            coefficient.checked_mul(times).and_then(|raised| raised.checked_add(plus)).ok_or(MALFORMED)
        };
        loop {
            let byte = take_u8(input)? ^ mask;
            let (pair, more) = (u128::from(byte >> 1), byte & 1 == 1);
            if pair > 99 || (first && more && pair == 0) {
                return Err(MALFORMED);
            }
            if more {
                first = false;
                coefficient = append(coefficient, 100, pair)?;
                power -= 1;
                continue;
            }
            if pair == 0 {
                let zero = first && header == 0x80;
                return if zero { Ok(Number::ZERO) } else { Err(MALFORMED) };
            }
            let (times, plus, above) = if pair.is_multiple_of(10) { (10, pair / 10, 1) } else { (100, pair, 0) };
            coefficient = append(coefficient, times, plus)?;
            let number = Number { negative, coefficient, exponent: 2 * power + above };
            return if number.digits() > NUMBER_DIGITS { Err(MALFORMED) } else { Ok(number) };
        }
    }

    /// The digits of the coefficient as text, at the end of the buffer; says where they begin.
    fn fill_text(&self, text: &mut [u8; 2 * MAX_PAIRS]) -> usize {
        let mut pairs = [0; MAX_PAIRS];
        let aligned = Number { exponent: 0, ..*self };
        let first = aligned.fill_pairs(&mut pairs);
        for (two, pair) in text.chunks_exact_mut(2).zip(pairs).skip(first) {
            two.copy_from_slice(&[b'0' + pair / 10, b'0' + pair % 10]);
        }
        2 * first + usize::from(pairs.get(first).is_some_and(|pair| *pair < 10))
    }
}

/// What stands before the exponent of a number's text.
struct Digits<'a> {
    /// The significant digits, of which there may be too many to fit; then meaningless.
    coefficient: u128,
    /// From the first digit that is not 0 to the last.
    significant: i64,
    /// The power of ten of the last significant digit.
    exponent: i64,
    rest: &'a [u8],
}

fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

fn read_digits(text: &[u8]) -> Result<Digits<'_>, NumberError> {
    let (mut coefficient, mut significant, mut zeros, mut after_point) = (0u128, 0i64, 0i64, 0i64);
    let (mut point, mut any, mut end) = (false, false, text.len());
    for (i, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                any = true;
                after_point += i64::from(point);
                if *byte != b'0' {
                    // Too many digits wrap; the caller refuses them by their count.
                    let power =
                        usize::try_from(zeros + 1).ok().and_then(|power| POWERS_OF_TEN.get(power)).unwrap_or(&0);
                    coefficient = coefficient.wrapping_mul(*power).wrapping_add((byte - b'0').into());
                    significant += zeros + 1;
                    zeros = 0;
                } else if significant > 0 {
                    zeros += 1;
                }
            }
            b'.' if !point => point = true,
            _ => {
                end = i;
                break;
            }
        }
    }
    if !any {
        return Err(NumberError::Malformed);
    }
    Ok(Digits { coefficient, significant, exponent: zeros - after_point, rest: &text[end..] })
}

fn read_exponent(text: &[u8]) -> Result<i64, NumberError> {
    let digits = match text {
        [] => return Ok(0),
        [b'e' | b'E', signed @ ..] => signed,
        _ => return Err(NumberError::Malformed),
    };
    let (negative, digits) = split_sign(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberError::Malformed);
    }
    // Beyond any text's length the exact value does not matter: it overflows or underflows.
    let value = digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1 << 50));
    Ok(if negative { -value } else { value })
}

fn low_byte(below_256: u128) -> u8 {
    below_256.to_le_bytes()[0]
}

impl From<u64> for Number {
    fn from(value: u64) -> Number {
        Number::normalised(false, value.into(), 0).expect("20 digits fit a number")
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Number| if number.negative { -1 } else { i8::from(number.coefficient != 0) };
        let signs = sign(self).cmp(&sign(other));
        if signs != Ordering::Equal || self.coefficient == 0 {
            return signs;
        }
        // With the first digits at one power, the exponents' difference is less than 38.
        let absolute = self.magnitude().cmp(&other.magnitude()).then_with(|| {
            let raise = |number: &Number, by: u16| number.coefficient * POWERS_OF_TEN[usize::from(by)];
            let difference = self.exponent.abs_diff(other.exponent);
            match self.exponent.cmp(&other.exponent) {
                Ordering::Less => self.coefficient.cmp(&raise(other, difference)),
                Ordering::Equal => self.coefficient.cmp(&other.coefficient),
                Ordering::Greater => raise(self, difference).cmp(&other.coefficient),
            }
        });
        if self.negative { absolute.reverse() } else { absolute }
    }
}

/// Plain decimal notation, as DynamoDB answers: never an exponent.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.coefficient == 0 {
            return f.write_str("0");
        }
        let mut digits = [0; 2 * MAX_PAIRS];
        let first = self.fill_text(&mut digits);
        let digits = &digits[first..];
        let mut buffer = [b'0'; MAX_TEXT_BYTES];
        let mut length = 0;
        let mut put = |bytes: &[u8]| {
            buffer[length..length + bytes.len()].copy_from_slice(bytes);
            length += bytes.len();
        };
        let zeros = [b'0'; 130];
        if self.negative {
            put(b"-");
        }
        let shift = usize::from(self.exponent.unsigned_abs());
        if self.exponent >= 0 {
            put(digits);
            put(&zeros[..shift]);
        } else if let Some(before) = digits.len().checked_sub(shift).filter(|before| *before > 0) {
            put(&digits[..before]);
            put(b".");
            put(&digits[before..]);
        } else {
            put(b"0.");
            put(&zeros[..shift - digits.len()]);
            put(digits);
        }
        f.write_str(std::str::from_utf8(&buffer[..length]).expect("digits are ASCII"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers of every length, sign and magnitude, many of them near one another.
    pub(crate) fn any_number() -> impl Strategy<Value = Number> {
        let digits = prop_oneof![0..200u128, any::<u64>().prop_map(u128::from), 0..POWERS_OF_TEN[38]];
        let magnitude = prop_oneof![-3..4i16, NUMBER_MIN_EXPONENT..=NUMBER_MAX_EXPONENT];
        (any::<bool>(), digits, magnitude).prop_map(|(negative, coefficient, magnitude)| {
            let length = i16::try_from(coefficient.checked_ilog10().unwrap_or(0)).unwrap();
            Number::normalised(negative, coefficient, magnitude - length).unwrap()
        })
    }

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    fn encoded(number: &Number) -> Vec<u8> {
        let mut out = Vec::new();
        number.encode_ordered(&mut out);
        out
    }

    #[test]
    fn texts_are_read_and_written_plainly() {
        for (text, plain) in [
            ("3", "3"),
            ("-7.1234", "-7.1234"),
            ("-17e5", "-1700000"),
            ("-17.4E37", "-174000000000000000000000000000000000000"),
            ("+3", "3"),
            (".123", "0.123"),
            ("5.", "5"),
            ("0001.2300", "1.23"),
            ("1e+5", "100000"),
            ("1E-5", "0.00001"),
            ("12345E-3", "12.345"),
            ("12345E-5", "0.12345"),
            ("0e1000", "0"),
            ("-0", "0"),
            ("-0.000", "0"),
            ("10.10", "10.1"),
            ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
        ] {
            assert_eq!(number(text).to_string(), plain, "{text}");
        }
    }

    #[test]
    fn the_extremes_are_read_and_written() {
        let most = format!("9.{}E+125", "9".repeat(37));
        assert_eq!(number(&most).to_string(), format!("{}{}", "9".repeat(38), "0".repeat(88)));
        let least = format!("-0.{}1", "0".repeat(129));
        assert_eq!(number("-1E-130").to_string(), least);
        assert_eq!(number(&least), number("-1e-130"));
        let longest = format!("-1.{}E-130", "1".repeat(37));
        assert_eq!(number(&longest).to_string(), format!("-0.{}{}", "0".repeat(129), "1".repeat(38)));
    }

    #[test]
    fn what_is_no_number_is_refused_in_dynamodbs_words() {
        let malformed = "The parameter cannot be converted to a numeric value";
        assert_eq!(Number::parse("").unwrap_err().message(""), malformed);
        for text in [
            " 1", "1 ", "NaN", "Infinity", "-", "+", ".", "-.", "e5", ".e5", "1e", "1e+", "1e1.5", "--1", "1.2.3",
            "0x10", "1_000", "1,5", "dog", "1e5e5", "\u{0663}",
        ] {
            let error = Number::parse(text).unwrap_err();
            assert_eq!(error.message(text), format!("{malformed}: {text}"));
        }
        for (text, error) in [
            ("1e126", NumberError::Overflow),
            ("11e125", NumberError::Overflow),
            ("-1.0e100000000000000000000", NumberError::Overflow),
            ("1e-131", NumberError::Underflow),
            ("0.9e-130", NumberError::Underflow),
            ("-1e-99999999999999999999999", NumberError::Underflow),
            ("3.14159265358979323846264338327950288419", NumberError::TooManyDigits),
            ("314159265358979323846264338327950288419e30", NumberError::TooManyDigits),
            ("1.00000000000000000000000000000000000000000000000000001", NumberError::TooManyDigits),
        ] {
            assert_eq!(Number::parse(text), Err(error), "{text}");
        }
        assert_eq!(
            NumberError::Overflow.message("1e126"),
            "Number overflow. Attempting to store a number with magnitude larger than supported range"
        );
    }

    #[test]
    fn outer_zeros_are_no_digits() {
        let text = format!("{}1{}.{}", "0".repeat(200), "0".repeat(100), "0".repeat(300));
        assert_eq!(number(&text), number("1e100"));
        let text = format!("0.{}1{}e120", "0".repeat(100), "0".repeat(60));
        assert_eq!(number(&text), number("1e19"));
    }

    #[test]
    fn sizes_are_as_measured_at_aws() {
        for (text, size) in [
            ("0", 1),
            ("-0", 1),
            ("1", 2),
            ("42", 2),
            ("0042", 2),
            ("100", 2),
            ("1010", 3),
            ("0.0000001", 2),
            ("1E125", 2),
            ("1E-100", 2),
            ("1.5", 3),
            ("15", 2),
            ("1.200", 3),
            ("1.234", 4),
            ("3.14159", 5),
            ("123456", 4),
            ("100.5", 4),
            ("0.15", 2),
            ("-42", 3),
            ("99999999999999999999999999999999999999", 20),
        ] {
            assert_eq!(number(text).size(), size, "{text}");
        }
    }

    #[test]
    fn sums_are_exact_or_refused() {
        let add = |a, b| number(a).checked_add(&number(b)).map(|sum| sum.to_string());
        let sub = |a, b| number(a).checked_sub(&number(b)).map(|sum| sum.to_string());
        assert_eq!(add("0.1", "0.2"), Ok("0.3".to_owned()));
        assert_eq!(add("1", "10000000000000000000000"), Ok("10000000000000000000001".to_owned()));
        assert_eq!(sub("10000000000000000000000", "1"), Ok("9999999999999999999999".to_owned()));
        assert_eq!(sub("1", "1.0"), Ok("0".to_owned()));
        assert_eq!(sub("0", "5"), Ok("-5".to_owned()));
        assert_eq!(add("-5", "3"), Ok("-2".to_owned()));
        assert_eq!(add("5e37", "5e37"), Ok(format!("1{}", "0".repeat(38))));
        assert_eq!(sub("1e50", "1"), Err(NumberError::Overflow));
        assert_eq!(add("1e50", "1"), Err(NumberError::Overflow));
        assert_eq!(sub("1e38", "1"), Ok("9".repeat(38)));
        assert_eq!(add("1e38", "1"), Err(NumberError::Overflow));
        assert_eq!(add("9e125", "9e125"), Err(NumberError::Overflow));
        assert_eq!(sub("-9e125", "9e125"), Err(NumberError::Overflow));
        assert_eq!(sub("1.1e-130", "1e-130"), Err(NumberError::Underflow));
        assert_eq!(add("1e125", "1e-130"), Err(NumberError::Overflow));
    }

    #[test]
    fn encodings_are_short() {
        assert_eq!(encoded(&Number::ZERO), [0x80, 0x00]);
        assert_eq!(encoded(&number("1")), [0xc1, 2]);
        assert_eq!(encoded(&number("1.5")), [0xc1, 3, 100]);
        assert_eq!(encoded(&number("-1.5")), [0x3e, 0xfc, 0x9b]);
        assert_eq!(encoded(&number("1e-130")), [0x80, 2]);
        assert_eq!(encoded(&number("9e125")), [0xff, 180]);
    }

    #[test]
    fn only_the_one_encoding_of_a_number_is_read() {
        for bytes in [
            &[0x80, 0x01, 0x02][..], // begins with a zero pair
            &[0xc1, 0x03, 0x00],     // ends with one
            &[0xc1, 0x00],           // zero under another header
            &[0x7f, 0xff],           // negative zero
            &[0xc1, 0xc8],           // a pair of 100
            &[0xc1, 0x03],           // no last pair
            &[0xc1],
            &[],
        ] {
            assert!(Number::decode_ordered(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
        let mut digits_40 = vec![0xc1];
        digits_40.extend([0x65; 19]);
        digits_40.push(0x64);
        assert_eq!(Number::decode_ordered(&mut &digits_40[..]), Err(DecodeError::Malformed("number")));
        assert!(Number::decode_ordered(&mut &[0xff; 64][..]).is_err());
    }

    proptest! {
        #[test]
        fn a_number_is_read_back_from_its_text(number in any_number()) {
            prop_assert_eq!(Number::parse(&number.to_string()), Ok(number));
        }

        #[test]
        fn any_text_is_a_number_or_refused(text in "[-+]?[0-9]{0,45}[.]?[0-9]{0,45}([eE][-+]?[0-9]{0,4})?") {
            if let Ok(number) = Number::parse(&text) {
                prop_assert_eq!(Number::parse(&number.to_string()), Ok(number));
            }
        }

        #[test]
        fn a_number_is_read_back_from_its_encoding(number in any_number(), tail: Vec<u8>) {
            let mut bytes = encoded(&number);
            prop_assert!(bytes.len() <= 21);
            bytes.extend_from_slice(&tail);
            let mut input = &bytes[..];
            prop_assert_eq!(Number::decode_ordered(&mut input), Ok(number));
            prop_assert_eq!(input, &tail[..]);
        }

        #[test]
        fn encodings_compare_as_numbers_do(a in any_number(), b in any_number()) {
            prop_assert_eq!(encoded(&a).cmp(&encoded(&b)), a.cmp(&b));
            prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
        }

        #[test]
        fn numbers_compare_as_integers_do(a: i64, b: i64, shift in -100..100i32) {
            let scaled = |integer: i64| Number::parse(&format!("{integer}e{shift}")).unwrap();
            prop_assert_eq!(scaled(a).cmp(&scaled(b)), a.cmp(&b));
        }

        #[test]
        fn numbers_add_as_integers_do(a: i64, b: i64, shift in -100..100i32) {
            let scaled = |integer: i128| Number::parse(&format!("{integer}e{shift}")).unwrap();
            let (a, b) = (i128::from(a), i128::from(b));
            prop_assert_eq!(scaled(a).checked_add(&scaled(b)), Ok(scaled(a + b)));
            prop_assert_eq!(scaled(a).checked_sub(&scaled(b)), Ok(scaled(a - b)));
        }

        #[test]
        fn what_was_added_can_be_taken_away(a in any_number(), b in any_number()) {
            if let Ok(sum) = a.checked_add(&b) {
                prop_assert_eq!(sum.checked_sub(&b), Ok(a));
                prop_assert_eq!(b.checked_add(&a), Ok(sum));
            }
        }

        #[test]
        fn random_bytes_are_one_encoding_or_refused(bytes: Vec<u8>) {
            let mut input = &bytes[..];
            if let Ok(number) = Number::decode_ordered(&mut input) {
                let taken = bytes.len() - input.len();
                prop_assert_eq!(encoded(&number), &bytes[..taken]);
            }
        }
    }
}
