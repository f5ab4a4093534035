//! Times as signatures write them: `20130609T100015Z`, or an HTTP date.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub i64);

const DAY: i64 = 24 * 3600;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

impl Timestamp {
    pub fn now() -> Timestamp {
        Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, seconds))
    }

    pub fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(seconds(duration)))
    }

    pub fn minus(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(seconds(duration)))
    }

    /// ISO 8601's basic format, or an HTTP date (`Sun, 09 Jun 2013 10:00:15 GMT`).
    pub fn parse(text: &str) -> Option<Timestamp> {
        let text = text.trim();
        if text.contains(',') { Timestamp::parse_http(text) } else { Timestamp::parse_basic(text) }
    }

    fn parse_basic(text: &str) -> Option<Timestamp> {
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        Timestamp::of(
            number(&text[0..4])?,
            number(&text[4..6])?,
            number(&text[6..8])?,
            [number(&text[9..11])?, number(&text[11..13])?, number(&text[13..15])?],
        )
    }

    fn parse_http(text: &str) -> Option<Timestamp> {
        let (_, rest) = text.split_once(',')?;
        let mut words = rest.split_ascii_whitespace();
        let day = number(words.next()?)?;
        let name = words.next()?;
        let month = (1..).zip(MONTHS).find(|(_, month)| *month == name)?.0;
        let year = number(words.next()?)?;
        let mut clock = words.next()?.split(':').map(number);
        let time = [clock.next()??, clock.next()??, clock.next()??];
        Timestamp::of(year, month, day, time)
    }

    fn of(year: i64, month: i64, day: i64, [hour, minute, second]: [i64; 3]) -> Option<Timestamp> {
        let valid = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
        if !valid {
            return None;
        }
        // Days since the epoch, by years that begin in March (Hinnant, "chrono-compatible low-level date algorithms").
        let year = if month > 2 { year } else { year - 1 };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        Some(Timestamp(days * DAY + hour * 3600 + minute * 60 + second))
    }

    /// ISO 8601's extended format, as people read it.
    pub fn extended(self) -> String {
        let (year, month, day) = self.civil();
        let (hour, minute, second) = self.clock();
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// Hour, minute and second.
    fn clock(self) -> (i64, i64, i64) {
        let of_day = self.0.rem_euclid(DAY);
        (of_day / 3600, of_day / 60 % 60, of_day % 60)
    }

    /// Year, month and day.
    fn civil(self) -> (i64, i64, i64) {
        let days = self.0.div_euclid(DAY) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month, day)
    }

    /// `YYYYMMDD`
    pub fn date(self) -> String {
        let (year, month, day) = self.civil();
        format!("{year:04}{month:02}{day:02}")
    }
}

fn number(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = self.clock();
        write!(f, "{}T{hour:02}{minute:02}{second:02}Z", self.date())
    }
}
