//! Who lives in `trivet local`, and where: names, folders, addresses.
//!
//! Internal ports are taken below the range from which the kernel gives out ports of its own, so that a port stays free
//! while a dead child waits to be started again. Each is reserved by holding the UDP port of its number: two houses that
//! start at the same moment never take one for both.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use anyhow::Context;

use super::config::Config;
use super::folder::{Folder, overwrite};

const FIRST_PORT: u16 = 17_000;
const LAST_PORT: u16 = 32_000;

/// An internal address on loopback.
#[derive(Clone, Copy, Debug)]
pub struct Port(pub u16);

impl Port {
    pub fn address(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.0))
    }
}

/// One node of the house.
#[derive(Clone, Debug)]
pub struct NodePlace {
    /// `zone-a-1`
    pub name: String,
    pub zone: String,
    pub folder: PathBuf,
    pub port: Port,
    /// Where its metrics are.
    pub metrics: Port,
}

impl NodePlace {
    /// A file beside the node's folder that says that the folder has had its identity.
    fn made(&self) -> PathBuf {
        self.folder.with_extension("made")
    }
}

pub struct House {
    pub nodes: Vec<NodePlace>,
    pub memds: Port,
    pub control: Port,
    folder: PathBuf,
    partitions: u32,
    _reserved: Vec<UdpSocket>,
}

impl House {
    pub fn plan(config: &Config, folder: &Folder) -> anyhow::Result<House> {
        let mut ports = free_ports();
        let mut reserved = Vec::new();
        let mut port = || {
            let (port, reservation) = ports.next().context("no free port is left on loopback")?;
            reserved.push(reservation);
            anyhow::Ok(Port(port))
        };
        let mut nodes = Vec::new();
        for number in 1..=config.nodes_per_zone {
            for zone in ('a'..='z').take(config.zones as usize) {
                let name = format!("zone-{zone}-{number}");
                let folder = folder.path.join("nodes").join(&name);
                nodes.push(NodePlace { name, zone: format!("zone-{zone}"), folder, port: port()?, metrics: port()? });
            }
        }
        let (memds, control) = (port()?, port()?);
        Ok(House {
            nodes,
            memds,
            control,
            folder: folder.path.clone(),
            partitions: config.partitions,
            _reserved: reserved,
        })
    }

    pub fn node_addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.port.address().to_string()).collect()
    }

    pub fn control_config(&self) -> control::config::Config {
        let memds = vec![self.memds.address().to_string()];
        control::config::Config::new(self.folder.join("resources.json"), self.node_addresses(), memds, self.partitions)
    }

    /// What `trivet memds` is started with.
    pub fn memds_arguments(&self) -> Vec<String> {
        arguments("memds", &[("--listen", self.memds.address().to_string())])
    }

    /// What `trivet node` is started with.
    pub fn node_arguments(&self, place: &NodePlace) -> Vec<String> {
        let flags = [
            ("--data", place.folder.display().to_string()),
            ("--zone", place.zone.clone()),
            ("--listen", place.port.address().to_string()),
            ("--metrics-listen", place.metrics.address().to_string()),
            ("--memds", self.memds.address().to_string()),
            ("--seeds", self.node_addresses().join(",")),
            ("--sharers", self.nodes.len().to_string()),
        ];
        let mut arguments = arguments("node", &flags);
        // Once only: a folder that was lost later does not silently become another node's.
        if !place.made().exists() {
            arguments.push("--format".to_owned());
        }
        arguments
    }

    /// Every node has its identity from now on.
    pub fn mark_made(&self) -> std::io::Result<()> {
        self.nodes.iter().try_for_each(|place| std::fs::write(place.made(), ""))
    }

    /// What `trivet router` is started with, but for its credentials.
    pub fn router_arguments(&self, config: &Config) -> Vec<String> {
        let flags = [
            ("--listen", config.listen.to_string()),
            ("--memds", self.memds.address().to_string()),
            ("--control", self.control.address().to_string()),
            ("--zone", self.nodes[0].zone.clone()),
        ];
        let mut arguments = arguments("router", &flags);
        // On one machine there are no regions to tell apart, and people's tools are set to many.
        arguments.push("--any-region".to_owned());
        if config.no_auth {
            arguments.push("--no-auth".to_owned());
        }
        arguments
    }

    /// For `trivet admin --data`: one line per node, with its name, its address, and where its metrics are.
    pub fn write_addresses(&self) -> std::io::Result<()> {
        let line = |node: &NodePlace| format!("{} {} {}\n", node.name, node.port.address(), node.metrics.address());
        let lines = self.nodes.iter().map(line);
        let path = self.folder.join("addresses");
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        overwrite(&file, lines.collect::<String>().as_bytes())
    }
}

fn arguments(command: &str, flags: &[(&str, String)]) -> Vec<String> {
    let flags = flags.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]);
    std::iter::once(command.to_owned()).chain(flags).collect()
}

/// Ports that nobody listens on and nobody has reserved; where to begin depends on the process, so that houses rarely meet.
fn free_ports() -> impl Iterator<Item = (u16, UdpSocket)> {
    let span = LAST_PORT - FIRST_PORT;
    let begin = std::process::id() % u32::from(span);
    (0..u32::from(span)).filter_map(move |step| {
        let port = FIRST_PORT + u16::try_from((begin + step) % u32::from(span)).ok()?;
        let reservation = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        Some((port, reservation))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        config: Config,
    }

    #[test]
    fn a_node_is_told_to_take_an_identity_only_until_it_has_one() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        let house = House::plan(&Arguments::parse_from(["local"]).config, &folder).unwrap();
        let formats = || house.node_arguments(&house.nodes[0]).contains(&"--format".to_owned());
        assert!(formats());
        std::fs::create_dir_all(folder.path.join("nodes")).unwrap();
        house.mark_made().unwrap();
        assert!(!formats());
    }

    #[test]
    fn every_zone_has_its_nodes_and_every_node_its_port() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        let config = Arguments::parse_from(["local", "--nodes-per-zone", "2"]).config;
        let house = House::plan(&config, &folder).unwrap();
        let names: Vec<&str> = house.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["zone-a-1", "zone-b-1", "zone-c-1", "zone-a-2", "zone-b-2", "zone-c-2"]);
        let another = House::plan(&config, &folder).unwrap();
        let nodes = house.nodes.iter().chain(&another.nodes);
        let ports: std::collections::BTreeSet<u16> = nodes.flat_map(|node| [node.port.0, node.metrics.0]).collect();
        assert_eq!(ports.len(), 24);
    }
}
