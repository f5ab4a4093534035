//! What the control side is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use wire::seal::Seal;

/// Addresses are `host:port` of internal services.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file with the resources.
    pub resources: PathBuf,
    /// Every node's address.
    pub nodes: Vec<String>,
    /// Every MemDS server's address.
    pub memds: Vec<String>,
    pub settings: Settings,
    /// None where everything is plain.
    pub seal: Option<Seal>,
}

/// What does not depend on where resources stand.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Partitions of a table whose creator did not say.
    pub default_partitions: u32,
    /// How often to look while some table is on its way; a change wakes the driver at once.
    pub busy_interval: Duration,
    /// How often to look while nothing is.
    pub idle_interval: Duration,
}

impl Settings {
    /// With the intervals that `trivet` uses.
    pub fn new(default_partitions: u32) -> Settings {
        let (busy_interval, idle_interval) = (Duration::from_millis(100), Duration::from_secs(10));
        Settings { default_partitions, busy_interval, idle_interval }
    }
}

impl Config {
    pub fn new(resources: PathBuf, nodes: Vec<String>, memds: Vec<String>, default_partitions: u32) -> Config {
        Config { resources, nodes, memds, settings: Settings::new(default_partitions), seal: None }
    }
}
