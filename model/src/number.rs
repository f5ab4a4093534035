//! DynamoDB's numbers: decimals of 38 significant digits, exact, with an order-preserving encoding.

use std::fmt;

/// A decimal number, normalised: no trailing zeros, no negative zero; two equal numbers are equal values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    negative: bool,
    /// At most 38 decimal digits, without trailing zeros; 0 for zero.
    coefficient: u128,
    /// The value is `coefficient × 10^exponent`; 0 for zero.
    exponent: i16,
}

/// Why a text is no number, or a sum does not fit one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    #[error("the text is not a number")]
    Malformed,
    #[error("number overflow: magnitude larger than the supported range")]
    Overflow,
    #[error("number underflow: magnitude smaller than the supported range")]
    Underflow,
    #[error("more than 38 significant digits")]
    TooManyDigits,
}

impl Number {
    pub const ZERO: Number = Number { negative: false, coefficient: 0, exponent: 0 };

    pub fn parse(_text: &str) -> Result<Number, NumberError> {
        unimplemented!()
    }

    pub fn checked_add(&self, _other: &Number) -> Result<Number, NumberError> {
        unimplemented!()
    }

    pub fn checked_sub(&self, _other: &Number) -> Result<Number, NumberError> {
        unimplemented!()
    }

    /// Bytes as DynamoDB counts them.
    pub fn size(&self) -> usize {
        unimplemented!()
    }

    /// Appends the order-preserving, self-delimiting encoding: bytes compare as numbers do.
    pub fn encode_ordered(&self, _out: &mut Vec<u8>) {
        unimplemented!()
    }

    /// Reads one number from the front of `input`, advancing it.
    pub fn decode_ordered(_input: &mut &[u8]) -> Result<Number, crate::codec::DecodeError> {
        unimplemented!()
    }
}

impl From<u64> for Number {
    fn from(_value: u64) -> Number {
        unimplemented!()
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, _other: &Self) -> std::cmp::Ordering {
        unimplemented!()
    }
}

/// Plain decimal notation, as DynamoDB answers: never an exponent.
impl fmt::Display for Number {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}
