//! What a long run of seeds has come to so far, as text: so that one that is interrupted goes on where it was.
//!
//! ```text
//! trivet sim ledger 1             the format's version: any other is not read
//! code 6f0c…                      another build begins anew
//! run first 1 seeds 20000         and so does another run
//! below 4711                      every seed before this one is done,
//! beyond 4713 4715                and these are, too
//! worlds 4712 …                   how many, simulated microseconds, events
//! count 81234 crashes             one line for each thing that is counted
//! failed 17 durability broken …   one line for each seed that failed
//! sum 90ab…                       over everything before it
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::core::Stats;
use crate::rng::bytes_hash;

const HEAD: &str = "trivet sim ledger 1";

/// Seeds that are done, in whatever order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    below: u64,
    beyond: BTreeSet<u64>,
}

impl Done {
    pub fn nothing_from(first: u64) -> Done {
        Done { below: first, beyond: BTreeSet::new() }
    }

    pub fn has(&self, seed: u64) -> bool {
        seed < self.below || self.beyond.contains(&seed)
    }

    pub fn add(&mut self, seed: u64) {
        self.beyond.insert(seed);
        while self.beyond.remove(&self.below) {
            self.below += 1;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    /// Of the program that ran the seeds.
    pub code: u64,
    /// What it was asked for, in a line.
    pub run: String,
    pub done: Done,
    pub stats: Stats,
    /// Seeds that failed, and what was broken, in a line.
    pub failed: BTreeMap<u64, String>,
}

/// Why a ledger is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it is of another version")]
    OtherVersion,
    #[error("it is damaged")]
    Damaged,
    #[error("another build wrote it")]
    OtherCode,
    #[error("it is of another run")]
    OtherRun,
}

impl Ledger {
    pub fn begun(code: u64, run: &str, first: u64) -> Ledger {
        let (done, stats) = (Done::nothing_from(first), Stats::default());
        Ledger { code, run: run.to_owned(), done, stats, failed: BTreeMap::new() }
    }

    /// A seed is done.
    pub fn add(&mut self, seed: u64, stats: &Stats, broken: Option<String>) {
        self.done.add(seed);
        self.stats.add(stats);
        self.failed.extend(broken.map(|what| (seed, what.replace('\n', "; "))));
    }

    /// To go on with: only by the same code, for the same run.
    pub fn resumed(text: &str, code: u64, run: &str) -> Result<Ledger, Unusable> {
        if text.lines().next() != Some(HEAD) {
            return Err(Unusable::OtherVersion);
        }
        let ledger = Ledger::parse(text).ok_or(Unusable::Damaged)?;
        match (ledger.code == code, ledger.run == run) {
            (false, _) => Err(Unusable::OtherCode),
            (true, false) => Err(Unusable::OtherRun),
            (true, true) => Ok(ledger),
        }
    }

    pub fn text(&self) -> String {
        let Ledger { code, run, done: Done { below, beyond }, stats, failed } = self;
        let Stats { seeds, simulated_us, events, counts } = stats;
        let beyond: Vec<String> = beyond.iter().map(u64::to_string).collect();
        let mut text = format!("{HEAD}\ncode {code:016x}\nrun {run}\nbelow {below}\nbeyond {}\n", beyond.join(" "));
        let mut line = |written: std::fmt::Arguments<'_>| text.write_fmt(written).expect("a string takes every line");
        line(format_args!("worlds {seeds} {simulated_us} {events}\n"));
        counts.iter().for_each(|(what, count)| line(format_args!("count {count} {what}\n")));
        failed.iter().for_each(|(seed, what)| line(format_args!("failed {seed} {what}\n")));
        let sum = bytes_hash(text.as_bytes());
        text + &format!("sum {sum:016x}\n")
    }

    fn parse(text: &str) -> Option<Ledger> {
        let (body, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let body = format!("{body}\n");
        if sum != format!("sum {:016x}", bytes_hash(body.as_bytes())) {
            return None;
        }
        let mut ledger = Ledger::begun(0, "", 0);
        for line in body.lines().skip(1) {
            let (name, rest) = line.split_once(' ')?;
            let mut numbers = rest.split(' ').filter(|word| !word.is_empty()).map(str::parse::<u64>);
            let numbered = || rest.split_once(' ').and_then(|(number, what)| Some((number.parse().ok()?, what)));
            match name {
                "code" => ledger.code = u64::from_str_radix(rest, 16).ok()?,
                "run" => ledger.run = rest.to_owned(),
                "below" => ledger.done.below = rest.parse().ok()?,
                "beyond" => ledger.done.beyond = numbers.collect::<Result<_, _>>().ok()?,
                "worlds" => {
                    let mut next = || numbers.next()?.ok();
                    let (seeds, simulated_us, events) = (next()?, next()?, next()?);
                    ledger.stats = Stats { seeds, simulated_us, events, ..Stats::default() };
                }
                "count" => {
                    let (count, what): (u64, &str) = numbered()?;
                    ledger.stats.counts.insert(Cow::Owned(what.to_owned()), count);
                }
                "failed" => {
                    let (seed, what): (u64, &str) = numbered()?;
                    ledger.failed.insert(seed, what.to_owned());
                }
                _ => return None,
            }
        }
        Some(ledger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::begun(7, "first 3 seeds 20", 3);
        let mut stats = Stats { seeds: 1, simulated_us: 90_000_000, events: 1_000, ..Stats::default() };
        stats.count("crashes during a sync");
        ledger.add(3, &stats, None);
        ledger.add(5, &stats, Some(String::from("durability broken in group 2: lost\nfor ever")));
        ledger
    }

    #[test]
    fn a_ledger_is_read_as_it_was_written() {
        let written = ledger();
        let read = Ledger::resumed(&written.text(), 7, "first 3 seeds 20").unwrap();
        assert_eq!(read, written);
        assert_eq!(read.stats.counts["crashes during a sync"], 2);
        assert_eq!((3..8).map(|seed| read.done.has(seed)).collect::<Vec<_>>(), [true, false, true, false, false]);
        assert_eq!(read.failed[&5], "durability broken in group 2: lost; for ever");
    }

    #[test]
    fn whatever_order_seeds_are_done_in_only_the_gaps_are_kept() {
        let mut done = Done::nothing_from(10);
        [12, 11, 14, 10].into_iter().for_each(|seed| done.add(seed));
        assert_eq!(done, Done { below: 13, beyond: BTreeSet::from([14]) });
    }

    #[test]
    fn another_build_another_run_or_a_torn_file_begins_anew() {
        let text = ledger().text();
        let resumed = |text: &str, code, run| Ledger::resumed(text, code, run).unwrap_err();
        assert_eq!(resumed(&text, 8, "first 3 seeds 20"), Unusable::OtherCode);
        assert_eq!(resumed(&text, 7, "first 3 seeds 21"), Unusable::OtherRun);
        assert_eq!(resumed(&text.replace("ledger 1", "ledger 2"), 7, "first 3 seeds 20"), Unusable::OtherVersion);
        for end in HEAD.len() + 1..text.len() {
            assert_eq!(resumed(&text[..end], 7, "first 3 seeds 20"), Unusable::Damaged, "the first {end} bytes");
        }
        assert_eq!(resumed(&text.replace("worlds 2", "worlds 9"), 7, "first 3 seeds 20"), Unusable::Damaged);
    }
}
