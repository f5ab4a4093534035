//! Makes a failing world smaller while the same invariant still breaks: less time, fewer misfortunes, groups, clients.
//!
//! A smaller world is another world: chances fall differently in it. So every attempt is made with a few of them (salts), and
//! kept if one fails. What is tried is a fixed list for each round; rounds end when nothing in one helped, or the budget is spent.

use std::collections::BTreeSet;

use crate::case::{Case, Smaller};
use crate::plan::{MILLISECOND, SECOND};
use crate::runner::{Failure, run};

/// Other chances that each attempt may take.
const SALTS: u64 = 6;

/// What is left of the failure after at most so many runs of worlds, with its story of so many lines.
pub fn shrink(failure: Failure, most_runs: u64, story: usize) -> Failure {
    let mut shrinking = Shrinking { best: failure, runs_left: most_runs };
    while shrinking.round() {}
    let Failure { case, .. } = &shrinking.best;
    run(case, story).failure.unwrap_or(shrinking.best)
}

struct Shrinking {
    best: Failure,
    runs_left: u64,
}

impl Shrinking {
    /// True if the world got smaller.
    fn round(&mut self) -> bool {
        let mut helped = self.time();
        helped |= self.faults();
        helped |= self.groups();
        helped |= self.clients();
        if self.best.size.moved {
            helped |= self.attempt(|smaller| smaller.no_moves = true);
        }
        if self.best.size.split {
            helped |= self.attempt(|smaller| smaller.no_splits = true);
        }
        helped && self.runs_left > 0
    }

    /// What was seen at once needs no time after it; what is judged at the end may need less.
    fn time(&mut self) -> bool {
        let Failure { size, seen, .. } = self.best;
        let troubled = size.troubled_us;
        let candidates = [troubled / 8, troubled / 4, troubled / 2, troubled * 3 / 4, seen + MILLISECOND];
        candidates.into_iter().filter(|us| *us < troubled && *us > SECOND).any(|us| {
            let milliseconds = us / MILLISECOND;
            self.attempt(|smaller| smaller.milliseconds = Some(milliseconds))
        })
    }

    fn faults(&mut self) -> bool {
        let all: BTreeSet<usize> = match &self.best.case.smaller.faults {
            Some(faults) => faults.clone(),
            None => (1..=self.best.size.faults).collect(),
        };
        let mut left = all.clone();
        let mut part = left.len();
        while part > 0 {
            let numbers: Vec<usize> = left.iter().copied().collect();
            for chunk in numbers.chunks(part) {
                let without: BTreeSet<usize> = left.iter().filter(|fault| !chunk.contains(fault)).copied().collect();
                if self.attempt(|smaller| smaller.faults = Some(without.clone())) {
                    left = without;
                }
            }
            part /= 2;
        }
        left.len() < all.len()
    }

    fn groups(&mut self) -> bool {
        let groups = self.best.size.groups;
        [1, 2, groups / 2]
            .into_iter()
            .filter(|few| *few > 0 && *few < groups)
            .any(|few| self.attempt(|smaller| smaller.groups = Some(few)))
    }

    fn clients(&mut self) -> bool {
        let clients = self.best.size.clients;
        [1, 2, clients / 2]
            .into_iter()
            .filter(|few| *few > 0 && *few < clients)
            .any(|few| self.attempt(|smaller| smaller.clients = Some(few)))
    }

    /// Whether the same breaks in such a world, with some chances.
    fn attempt(&mut self, make: impl Fn(&mut Smaller)) -> bool {
        for salt in 0..SALTS {
            if self.runs_left == 0 {
                return false;
            }
            self.runs_left -= 1;
            let mut case: Case = self.best.case.clone();
            make(&mut case.smaller);
            case.smaller.salt = salt;
            let found = run(&case, 0).failure;
            if let Some(failure) = found.filter(|failure| failure.broken.invariant == self.best.broken.invariant) {
                self.best = failure;
                return true;
            }
        }
        false
    }
}
