//! One line of the table: what was measured, and whether it is what was promised.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub what: String,
    /// Empty where nothing is.
    pub promise: String,
    pub measured: String,
    pub times: usize,
    pub kept: Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Yes,
    No,
    /// Nothing was promised.
    Open,
}

impl From<bool> for Kept {
    fn from(kept: bool) -> Kept {
        if kept { Kept::Yes } else { Kept::No }
    }
}

/// How long something may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtMost {
    /// Every time.
    Always(Duration),
    /// Of a hundred times, 99.
    Mostly(Duration),
    /// However long.
    Open,
}

impl Row {
    /// There must be one time at least.
    pub fn of_times(what: impl Into<String>, times: &[Duration], at_most: AtMost) -> Row {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let (median, mostly, longest) = (quantile(&sorted, 50), quantile(&sorted, 99), quantile(&sorted, 100));
        let (promise, kept) = match at_most {
            AtMost::Always(limit) => (format!("≤ {}", time(limit)), (longest <= limit).into()),
            AtMost::Mostly(limit) => (format!("p99 ≤ {}", time(limit)), (mostly <= limit).into()),
            AtMost::Open => (String::new(), Kept::Open),
        };
        let measured = match sorted.len() {
            1 => time(median),
            _ => format!("median {}, p99 {}, max {}", time(median), time(mostly), time(longest)),
        };
        Row { what: what.into(), promise, measured, times: times.len(), kept }
    }

    /// With more to say of it.
    pub fn noting(mut self, note: &str) -> Row {
        self.measured = format!("{}; {note}", self.measured);
        self
    }
}

/// A time as people say it.
pub fn time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.0} ms", time.as_secs_f64() * 1e3)
    } else if time.subsec_nanos() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{:.2} s", time.as_secs_f64())
    }
}

/// The one that so many of a hundred stay within.
pub fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// In Markdown.
pub fn table(rows: &[Row]) -> Vec<String> {
    let head = ["| what | promise | measured | times | kept |", "|---|---|---|---:|---|"].map(str::to_owned);
    let line = |row: &Row| {
        let Row { what, promise, measured, times, kept } = row;
        let kept = match kept {
            Kept::Yes => "yes",
            Kept::No => "**no**",
            Kept::Open => "",
        };
        format!("| {what} | {promise} | {measured} | {times} | {kept} |")
    };
    head.into_iter().chain(rows.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn millis(times: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        times.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_promise_of_always_is_broken_by_one_time_and_one_of_mostly_by_two_of_a_hundred() {
        let times = |late: usize| [vec![2_500; late], vec![1_500; 100 - late]].concat();
        let kept = |late, at_most| Row::of_times("gap", &millis(times(late)), at_most).kept;
        assert_eq!(kept(0, AtMost::Always(LIMIT)), Kept::Yes);
        assert_eq!(kept(1, AtMost::Always(LIMIT)), Kept::No);
        assert_eq!(kept(1, AtMost::Mostly(LIMIT)), Kept::Yes);
        assert_eq!(kept(2, AtMost::Mostly(LIMIT)), Kept::No);
        assert_eq!(kept(100, AtMost::Open), Kept::Open);
    }

    #[test]
    fn rows_are_lines_of_a_table() {
        let rows = [
            Row::of_times("gap", &millis([1_250, 40, 3_000]), AtMost::Always(LIMIT)),
            Row::of_times("drain", &millis([40]), AtMost::Open).noting("no error"),
        ];
        let lines = table(&rows);
        assert_eq!(lines[2], "| gap | ≤ 2 s | median 1.25 s, p99 3 s, max 3 s | 3 | **no** |");
        assert_eq!(lines[3], "| drain |  | 40 ms; no error | 1 |  |");
    }

    #[test]
    fn few_times_have_their_longest_as_all_high_quantiles() {
        let sorted = millis(1..=20);
        assert_eq!(quantile(&sorted, 50), Duration::from_millis(10));
        assert_eq!(quantile(&sorted, 99), Duration::from_millis(20));
        assert_eq!(quantile(&[], 99), Duration::ZERO);
    }
}
