//! What is asked for: which parts, how often, how much.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Hurts real processes and measures how long it takes until all is well again.
#[derive(Clone, Debug, Parser)]
pub struct Settings {
    /// The binary to run.
    #[arg(long)]
    pub trivet: PathBuf,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:8767")]
    pub listen: String,
    /// Where everything is kept while it runs; a new folder in the temporary folder by default.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Which parts.
    #[arg(long, value_delimiter = ',', default_values_t = Part::ALL)]
    pub parts: Vec<Part>,
    /// What is not said below is as large as what is promised for: partitions of 10 MB and 1 GB, 100 kills, 60 s away.
    #[arg(long)]
    pub full: bool,
    /// Megabytes of the partition whose node is lost; 10 and 200 by default.
    #[arg(long, value_delimiter = ',')]
    pub megabytes: Vec<u64>,
    /// How often a node is lost that leads the partition, and how often one that follows, for each size.
    #[arg(long, default_value_t = 2)]
    pub losses: usize,
    /// How often a leader is killed; 20 by default.
    #[arg(long)]
    pub kills: Option<usize>,
    /// How often a leader's node is asked to stop.
    #[arg(long, default_value_t = 10)]
    pub drains: usize,
    /// Megabytes of the replica that is rebuilt.
    #[arg(long, default_value_t = 200)]
    pub rebuilt_megabytes: u64,
    /// Groups that lose a node at once.
    #[arg(long, default_value_t = 1_000)]
    pub groups: usize,
    /// For how many seconds a node is away; 20 by default.
    #[arg(long)]
    pub away_s: Option<u64>,
    /// Requests in a second, puts and strong gets of 1 KB, while a replica is rebuilt and while a node is away.
    #[arg(long, default_value_t = 200.0)]
    pub load: f64,
}

/// A part is a kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// A node that stays dead: when has its one group three voters again.
    Lost,
    /// Leaders killed: for how long nothing can be written.
    Killed,
    /// Leaders asked to stop: for how long, and what fails.
    Drained,
    /// A replica rebuilt under load.
    Rebuilt,
    /// Many groups that lose one node.
    Many,
    /// A node away under load, and back.
    Away,
}

impl Part {
    const ALL: [Part; 6] = [Part::Lost, Part::Killed, Part::Drained, Part::Rebuilt, Part::Many, Part::Away];

    pub fn name(self) -> &'static str {
        match self {
            Part::Lost => "lost",
            Part::Killed => "killed",
            Part::Drained => "drained",
            Part::Rebuilt => "rebuilt",
            Part::Many => "many",
            Part::Away => "away",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Settings {
    pub fn folder(&self) -> PathBuf {
        let temporary = || std::env::temp_dir().join(format!("failures-{}", std::process::id()));
        self.data.clone().unwrap_or_else(temporary)
    }

    pub fn sizes(&self) -> Vec<u64> {
        match (self.megabytes.is_empty(), self.full) {
            (false, _) => self.megabytes.clone(),
            (true, false) => vec![10, 200],
            (true, true) => vec![10, 1_000],
        }
    }

    pub fn kills(&self) -> usize {
        self.kills.unwrap_or(if self.full { 100 } else { 20 })
    }

    pub fn away(&self) -> Duration {
        Duration::from_secs(self.away_s.unwrap_or(if self.full { 60 } else { 20 }))
    }
}

/// How one asks `make` for the same.
pub fn command(mut arguments: impl Iterator<Item = String>) -> String {
    let mut kept = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--trivet" | "--data" | "--listen" => drop(arguments.next()),
            _ => kept.push(argument),
        }
    }
    let kept = if kept.is_empty() { String::new() } else { format!(" FAILURES=\"{}\"", kept.join(" ")) };
    format!("make bench-failures{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Settings {
        Settings::parse_from([&["failures", "--trivet", "trivet"][..], arguments].concat())
    }

    #[test]
    fn what_is_said_counts_more_than_how_full_it_is() {
        let (usual, full) = (parse(&[]), parse(&["--full", "--kills", "7"]));
        assert_eq!((usual.sizes(), usual.kills(), usual.away().as_secs()), (vec![10, 200], 20, 20));
        assert_eq!((full.sizes(), full.kills(), full.away().as_secs()), (vec![10, 1_000], 7, 60));
        assert_eq!(parse(&["--full", "--megabytes", "3,4"]).sizes(), [3, 4]);
    }

    #[test]
    fn parts_are_called_as_they_are_asked_for() {
        assert_eq!(parse(&[]).parts, Part::ALL);
        for part in Part::ALL {
            assert_eq!(parse(&["--parts", part.name()]).parts, [part]);
        }
    }
    #[test]
    fn a_command_can_be_given_again() {
        let asked = |arguments: &[&str]| command(arguments.iter().map(|argument| (*argument).to_owned()));
        assert_eq!(asked(&["--trivet", "x", "--data", "y"]), "make bench-failures");
        assert_eq!(
            asked(&["--trivet", "x", "--full", "--kills", "7"]),
            r#"make bench-failures FAILURES="--full --kills 7""#
        );
    }
}
