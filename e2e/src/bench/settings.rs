//! What is to be measured, as it is said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::{Parser, ValueEnum};

use super::keys::Keys;
use super::load::Span;
use super::scenario::{Items, Scenario};

/// Measures what operations cost, and how long they take, on a `trivet local --processes` that it starts and fills itself.
#[derive(Parser, Clone, Debug)]
#[command(name = "bench")]
pub struct Settings {
    /// The binary to run.
    #[arg(long)]
    pub trivet: PathBuf,
    /// What to measure, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "closed,open,hot-partition")]
    pub parts: Vec<PartOfBench>,
    /// Which loads, separated by commas; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub scenario: Vec<Scenario>,
    /// Closed loops: how many connections, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1,8,64,256", value_parser = clap::value_parser!(u64).range(1..=5_000))]
    pub connections: Vec<u64>,
    /// Open loops: which loads.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "put,strong-get")]
    pub open_scenario: Vec<Scenario>,
    /// Open loops: per cent of what the closed loop with 64 connections reaches, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "10,50,80,200", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub open: Vec<u64>,
    /// Sizes of items: `100`, `1KB`, `100KB`.
    #[arg(long, value_delimiter = ',', default_value = "1KB", value_parser = parse_size)]
    pub sizes: Vec<u64>,
    /// Which keys are popular.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "uniform")]
    pub keys: Vec<Keys>,
    /// Partitions of the table.
    #[arg(long, value_delimiter = ',', default_value = "12", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub partitions: Vec<u32>,
    /// One after another: the sizes 100, 1KB, 100KB; uniform and zipfian keys; 1, 12 and 200 partitions. About an hour.
    #[arg(long)]
    pub full: bool,
    /// How often each is measured; tables show median and range.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub runs: u64,
    /// Seconds that are measured.
    #[arg(long, default_value = "3", value_parser = parse_seconds)]
    pub seconds: Duration,
    /// Seconds of the same load before them.
    #[arg(long, default_value = "1", value_parser = parse_seconds)]
    pub warm_up: Duration,
    /// Items that are loaded first, unless they are large: then 64 MiB of them.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    pub items: u64,
    /// Do not wait for flushes and full log files before measuring.
    #[arg(long)]
    pub young: bool,
    /// Seeds keys and arrivals.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads of the client.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16))]
    pub client_threads: u64,
    /// Measure something else beside it, in turns and never at once.
    #[arg(long, value_enum)]
    pub beside: Option<Beside>,
    /// Where dynalite is installed.
    #[arg(long, default_value = "./dynalite")]
    pub dynalite: PathBuf,
    /// Also write the tables, with the command and the machine, to this file.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// Where the API listens; what is beside it, on the next port.
    #[arg(long, default_value = "127.0.0.1:8767", value_parser = parse_listen)]
    pub listen: String,
    /// The data folder, which must not exist yet; one in the temporary folder by default.
    #[arg(long)]
    pub data: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PartOfBench {
    /// What an operation costs.
    Closed,
    /// How long it takes.
    Open,
    /// Whether one hot partition slows others by more than its share.
    HotPartition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Beside {
    /// One unsynced copy, in Node.js.
    Dynalite,
}

/// What one table and its items are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub items: Items,
    pub keys: Keys,
    pub partitions: u32,
}

impl Shape {
    pub fn name(&self) -> String {
        let (count, size) = (self.items.count(), size_name(self.items.bytes));
        let plural = if self.partitions == 1 { "" } else { "s" };
        format!("{count} items of {size} in {} partition{plural}, {} keys", self.partitions, self.keys.name())
    }
}

impl Settings {
    pub fn validate(&self) -> anyhow::Result<()> {
        // A signature is good for a quarter of an hour, and made before a run.
        let longest = Duration::from_secs(300);
        ensure!(self.seconds + self.warm_up <= longest, "a run must not be longer than {longest:?}");
        ensure!(!self.seconds.is_zero(), "nothing is measured in no time");
        Ok(())
    }

    pub fn scenarios(&self) -> Vec<Scenario> {
        if self.scenario.is_empty() { Scenario::ALL.to_vec() } else { self.scenario.clone() }
    }

    pub fn span(&self) -> Span {
        Span { warm_up: self.warm_up, measured: self.seconds }
    }

    /// All combinations of what is asked for; in full, one thing changed at a time.
    pub fn shapes(&self) -> Vec<Shape> {
        let shape = |bytes, keys, partitions| Shape { items: Items { bytes, wished: self.items }, keys, partitions };
        if self.full {
            let centre = shape(1024, Keys::Uniform, 12);
            return vec![
                centre,
                Shape { keys: Keys::Zipf, ..centre },
                shape(100, Keys::Uniform, 12),
                shape(100 << 10, Keys::Uniform, 12),
                shape(1024, Keys::Uniform, 1),
                shape(1024, Keys::Uniform, 200),
            ];
        }
        let mut shapes = Vec::new();
        for bytes in &self.sizes {
            for partitions in &self.partitions {
                shapes.extend(self.keys.iter().map(|keys| shape(*bytes, *keys, *partitions)));
            }
        }
        shapes
    }
}

/// What to type for these arguments, without what only this machine has.
pub fn command(arguments: impl Iterator<Item = String>) -> String {
    let (mut arguments, mut kept, mut beside) = (arguments, Vec::new(), "");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--trivet" | "--dynalite" | "--data" | "--markdown" | "--listen" => drop(arguments.next()),
            "--beside" => {
                drop(arguments.next());
                beside = " DYNALITE=1";
            }
            _ => kept.push(argument),
        }
    }
    let kept = if kept.is_empty() { String::new() } else { format!(" BENCH=\"{}\"", kept.join(" ")) };
    format!("make bench{beside}{kept}")
}

fn size_name(bytes: u64) -> String {
    if bytes >= 1024 && bytes.is_multiple_of(1024) { format!("{} KB", bytes >> 10) } else { format!("{bytes} B") }
}

fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix("KB") {
        Some(digits) => (digits, 1024),
        None => (text.trim_end_matches('B'), 1),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    // Names and keys of an item take 26 bytes; a whole item is at most 400 KB.
    bytes.filter(|bytes| (40..=390 << 10).contains(bytes)).ok_or_else(|| format!("{text} is no size from 40B to 390KB"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn parse_listen(text: &str) -> Result<String, String> {
    text.parse::<std::net::SocketAddr>().map(|address| address.to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Settings {
        Settings::parse_from(["bench", "--trivet", "x"].iter().chain(arguments))
    }

    #[test]
    fn sizes_and_seconds_are_read() {
        assert_eq!((parse_size("100"), parse_size("100B"), parse_size("100KB")), (Ok(100), Ok(100), Ok(102_400)));
        assert!(parse_size("4").is_err() && parse_size("1MB").is_err() && parse_size("400KB").is_err());
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(parse_seconds("-1").is_err());
    }

    #[test]
    fn what_is_given_is_combined() {
        let shapes = settings(&["--sizes", "100,1KB", "--keys", "uniform,zipf", "--partitions", "1,12"]).shapes();
        assert_eq!(shapes.len(), 8);
        assert_eq!(settings(&[]).shapes().len(), 1);
        let full = settings(&["--full"]).shapes();
        assert_eq!(full[0], settings(&[]).shapes()[0]);
        assert_eq!(full.len(), 6);
    }

    #[test]
    fn the_command_names_no_folders_of_this_machine() {
        let command = |arguments: &[&str]| command(arguments.iter().map(|argument| (*argument).to_owned()));
        assert_eq!(command(&["--trivet", "/x/trivet"]), "make bench");
        let arguments = ["--trivet", "/x", "--beside", "dynalite", "--dynalite", "/y", "--runs", "2", "--young"];
        assert_eq!(command(&arguments), "make bench DYNALITE=1 BENCH=\"--runs 2 --young\"");
    }

    #[test]
    fn a_shape_has_a_name() {
        assert_eq!(settings(&[]).shapes()[0].name(), "20000 items of 1 KB in 12 partitions, uniform keys");
        let shape = settings(&["--sizes", "100", "--keys", "zipf", "--partitions", "1"]).shapes()[0];
        assert_eq!(shape.name(), "20000 items of 100 B in 1 partition, zipfian keys");
    }

    #[test]
    fn runs_beyond_a_signatures_life_are_refused() {
        assert!(settings(&["--seconds", "400"]).validate().is_err());
        assert!(settings(&["--seconds", "0"]).validate().is_err());
        assert!(settings(&[]).validate().is_ok());
    }
}
