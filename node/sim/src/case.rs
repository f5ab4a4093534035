//! A world by its name: a seed, perhaps with a mistake built in, perhaps made smaller. Its text is the command that replays it.

use std::collections::BTreeSet;
use std::fmt;

use crate::directed::Row;
use crate::mutant::Mutant;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    pub seed: u64,
    pub mutant: Option<Mutant>,
    /// Directed at what that row is about; else by the seed.
    pub row: Option<Row>,
    pub smaller: Smaller,
}

/// What of the seed's world is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Smaller {
    /// The trouble ends after so many simulated milliseconds.
    #[arg(long)]
    pub milliseconds: Option<u64>,
    /// Clients at most.
    #[arg(long)]
    pub clients: Option<usize>,
    /// Groups at most.
    #[arg(long)]
    pub groups: Option<usize>,
    /// Only these misfortunes of the seed's, by number; an empty list is none.
    #[arg(long, value_parser = numbers)]
    pub faults: Option<Numbers>,
    /// Nobody moves replicas or leaders.
    #[arg(long)]
    pub no_moves: bool,
    /// Nobody cuts groups in two.
    #[arg(long)]
    pub no_splits: bool,
    /// Other chances in the same plan.
    #[arg(long, default_value_t = 0)]
    pub salt: u64,
}

pub type Numbers = BTreeSet<usize>;

fn numbers(text: &str) -> Result<Numbers, std::num::ParseIntError> {
    text.split(',').filter(|part| !part.is_empty()).map(str::parse).collect()
}

impl Case {
    pub fn of(seed: u64) -> Case {
        Case { seed, ..Case::default() }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { seed, mutant, row, smaller } = self;
        let Smaller { milliseconds, clients, groups, faults, no_moves, no_splits, salt } = smaller;
        let features = if mutant.is_some() { " --features mutants" } else { "" };
        write!(f, "cargo run --release -p sim{features} -- --seed {seed}")?;
        if let Some(mutant) = mutant {
            write!(f, " --mutant {}", mutant.name())?;
        }
        if let Some(row) = row {
            write!(f, " --row {}", row.number())?;
        }
        if let Some(milliseconds) = milliseconds {
            write!(f, " --milliseconds {milliseconds}")?;
        }
        if let Some(clients) = clients {
            write!(f, " --clients {clients}")?;
        }
        if let Some(groups) = groups {
            write!(f, " --groups {groups}")?;
        }
        if let Some(faults) = faults {
            let numbers: Vec<String> = faults.iter().map(usize::to_string).collect();
            write!(f, " --faults={}", numbers.join(","))?;
        }
        if *no_moves {
            write!(f, " --no-moves")?;
        }
        if *no_splits {
            write!(f, " --no-splits")?;
        }
        if *salt != 0 {
            write!(f, " --salt {salt}")?;
        }
        Ok(())
    }
}
