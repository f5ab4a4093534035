//! What a node is told at its start: flags, their environment variables and their defaults.
//!
//! Parsed once, validated once, passed down by field. What is not here is a constant beside its use, with its reason.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

/// Settings of one storage node.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// The node's disk: a folder that nothing else uses.
    #[arg(long, env = "TRIVET_NODE_DATA")]
    pub data: PathBuf,
    /// Gives an empty data folder an identity of its own. Without it a node waits on an empty folder until it is given one.
    #[arg(long, env = "TRIVET_NODE_FORMAT")]
    pub format: bool,
    /// The failure domain that the node stands in.
    #[arg(long, env = "TRIVET_NODE_ZONE")]
    pub zone: String,
    /// Where the node serves routers, other nodes and administrators.
    #[arg(long, env = "TRIVET_NODE_LISTEN", default_value = "127.0.0.1:7400")]
    pub listen: SocketAddr,
    /// The host:port under which others reach the node; the listen address by default.
    #[arg(long, env = "TRIVET_NODE_ADVERTISE")]
    pub advertise: Option<String>,
    /// A folder with ca.crt, tls.crt and tls.key: with it the node speaks mutual TLS alone, both ways. Read again when it changes.
    #[arg(long, env = "TRIVET_NODE_TLS")]
    pub tls: Option<PathBuf>,
    /// Where metrics and health are served over HTTP; nowhere by default.
    #[arg(long, env = "TRIVET_NODE_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// The host:port of every MemDS server; a name stands for all of its addresses.
    #[arg(long, env = "TRIVET_NODE_MEMDS", value_delimiter = ',')]
    pub memds: Vec<String>,
    /// The host:port of other nodes, asked at the start for who is where; a name stands for all of its addresses.
    #[arg(long, env = "TRIVET_NODE_SEEDS", value_delimiter = ',')]
    pub seeds: Vec<String>,
    /// Threads that own connections and partitions.
    #[arg(long, env = "TRIVET_NODE_WORKERS", default_value_t = 1)]
    pub workers: usize,
    /// Threads for reads that miss the cache and for scans.
    #[arg(long, env = "TRIVET_NODE_READ_THREADS", default_value_t = 2)]
    pub read_threads: usize,
    /// Memory for cached and not yet flushed items.
    #[arg(long, env = "TRIVET_NODE_CACHE", default_value = "512MiB")]
    pub cache: ByteSize,
    /// Free space below which the node hands its leaders on; below half of it, writes are refused.
    #[arg(long, env = "TRIVET_NODE_RESERVE", default_value = "512MiB")]
    pub reserve: ByteSize,
    /// Nodes that share the disk, this one among them: what is on its way to the disk counts so many times.
    #[arg(long, env = "TRIVET_NODE_SHARERS", default_value_t = 1)]
    pub sharers: u64,
    /// The unit of every time-out of replication.
    #[arg(long, env = "TRIVET_NODE_TICK", default_value = "100ms")]
    pub tick: Milliseconds,
    /// Ticks without a leader before a replica stands for election.
    #[arg(long, env = "TRIVET_NODE_ELECTION_TICKS", default_value_t = 10)]
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    #[arg(long, env = "TRIVET_NODE_HEARTBEAT_TICKS", default_value_t = 2)]
    pub heartbeat_ticks: usize,
    /// Ticks without anything to do after which a group sleeps: no tick, no heartbeat, no processor time, until it is asked
    /// something or another node that it has a replica on is silent or starts anew. Never if 0.
    #[arg(long, env = "TRIVET_NODE_SLEEP_TICKS", default_value_t = 100)]
    pub sleep_ticks: u64,
    /// How long a replica is silent before a log replica stands in for it; 0s for never.
    #[arg(long, env = "TRIVET_NODE_SUSPECT_AFTER", default_value = "2s")]
    pub suspect_after: Milliseconds,
    /// The same for a replica whose node has announced that it stops and will be back.
    #[arg(long, env = "TRIVET_NODE_PLANNED_STOP", default_value = "60s")]
    pub planned_stop: Milliseconds,
    /// How long a replica is away before it is rebuilt on another node.
    #[arg(long, env = "TRIVET_NODE_REPLACE_AFTER", default_value = "600s")]
    pub replace_after: Milliseconds,
    /// What snapshots may read and write of the disk in a second; 0 for no limit.
    #[arg(long, env = "TRIVET_NODE_SNAPSHOT_BUDGET", default_value = "100MiB")]
    pub snapshot_budget: ByteSize,
    /// How long a stopping node waits for its leaders to hand over.
    #[arg(long, env = "TRIVET_NODE_STOP_TIMEOUT", default_value = "5s")]
    pub stop_timeout: Milliseconds,
    /// For tests: lets that sync of the log fail, counted from the start.
    #[arg(long, env = "TRIVET_NODE_FAIL_SYNC", hide = true)]
    pub fail_sync: Option<u64>,
}

/// Why a configuration is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("a node needs at least one worker and one read thread")]
    NoThreads,
    #[error("a node needs a zone")]
    NoZone,
    #[error("a disk has at least one node")]
    NoSharers,
    #[error("an election must take at least three heartbeats: {election} and {heartbeat} ticks")]
    ElectionTooShort { election: usize, heartbeat: usize },
    #[error("a tick takes some time")]
    NoTick,
    #[error("a replica is suspected after {suspect}, while an election takes {election}")]
    SuspectsTooSoon { suspect: Milliseconds, election: Milliseconds },
    #[error("a replica is replaced after {replace}, before it is suspected after {suspect}")]
    ReplacesTooSoon { replace: Milliseconds, suspect: Milliseconds },
}

impl Config {
    /// Refuses what no node can run with.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.workers == 0 || self.read_threads == 0 {
            return Err(ConfigError::NoThreads);
        }
        if self.zone.is_empty() {
            return Err(ConfigError::NoZone);
        }
        if self.sharers == 0 {
            return Err(ConfigError::NoSharers);
        }
        if self.heartbeat_ticks == 0 || self.election_ticks < 3 * self.heartbeat_ticks {
            return Err(ConfigError::ElectionTooShort {
                election: self.election_ticks,
                heartbeat: self.heartbeat_ticks,
            });
        }
        if self.tick.0 == 0 {
            return Err(ConfigError::NoTick);
        }
        let election = self.tick.0 * self.election_ticks as u64;
        if self.suspect_after.0 > 0 && self.suspect_after.0 < election {
            return Err(ConfigError::SuspectsTooSoon { suspect: self.suspect_after, election: Milliseconds(election) });
        }
        if self.replace_after < self.suspect_after {
            return Err(ConfigError::ReplacesTooSoon { replace: self.replace_after, suspect: self.suspect_after });
        }
        Ok(())
    }

    /// Rounded up.
    pub fn ticks(&self, time: Milliseconds) -> u64 {
        time.0.div_ceil(self.tick.0)
    }
}

/// A number of bytes: `64MiB`, `512KiB`, `1GiB` or plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// A duration: `250ms` or `5s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milliseconds(pub u64);

/// Why a size or a duration could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct ParseError(&'static str);

const SIZE: ParseError = ParseError("a number of bytes such as 65536, 512KiB, 64MiB or 2GiB");
const TIME: ParseError = ParseError("a duration such as 250ms or 5s");

impl FromStr for ByteSize {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<ByteSize, ParseError> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        let (digits, unit) = units
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, *unit)))
            .unwrap_or((text, 1));
        let count: u64 = digits.parse().ok().ok_or(SIZE)?;
        count.checked_mul(unit).map(ByteSize).ok_or(SIZE)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Milliseconds {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Milliseconds, ParseError> {
        let (digits, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
            (Some(digits), _) => (digits, 1),
            (None, Some(digits)) => (digits, 1000),
            (None, None) => return Err(TIME),
        };
        let count: u64 = digits.parse().ok().ok_or(TIME)?;
        count.checked_mul(unit).map(Milliseconds).ok_or(TIME)
    }
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl Milliseconds {
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_sleep_after_ten_seconds_unless_it_is_said_otherwise() {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            config: Config,
        }
        let sleeps_after = |more: &[&str]| {
            let arguments = ["node", "--data", "folder", "--zone", "here"].iter().chain(more);
            let config = <Command as clap::Parser>::try_parse_from(arguments).unwrap().config;
            config.tick.duration() * u32::try_from(config.sleep_ticks).unwrap()
        };
        assert_eq!(sleeps_after(&[]), Duration::from_secs(10));
        assert_eq!(sleeps_after(&["--sleep-ticks", "0"]), Duration::ZERO);
    }

    #[test]
    fn sizes_and_durations_are_read_with_their_units() {
        assert_eq!("64MiB".parse(), Ok(ByteSize(64 << 20)));
        assert_eq!("17".parse(), Ok(ByteSize(17)));
        assert_eq!("64MB".parse::<ByteSize>(), Err(SIZE));
        assert_eq!("99999999999GiB".parse::<ByteSize>(), Err(SIZE));
        assert_eq!("250ms".parse(), Ok(Milliseconds(250)));
        assert_eq!("5s".parse(), Ok(Milliseconds(5000)));
        assert_eq!("5".parse::<Milliseconds>(), Err(TIME));
    }
}
