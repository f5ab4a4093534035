//! All processes of a cluster: three zones of nodes, a router in two of them, MemDS and the control service.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aws_sdk_dynamodb::Client;

use super::disk::Disk;
use super::member::{Member, Start};
use super::network::{Host, Network};
use crate::client::{self, Retries};
use crate::process::Role;

pub const ZONES: usize = 3;
const ROUTERS: usize = 2;
const NODE_PORT: u16 = 7400;
const MEMDS_PORT: u16 = 7300;
const CONTROL_PORT: u16 = 7200;
const ROUTER_PORT: u16 = 8000;
/// How long the first start may take.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How to build one.
#[derive(Clone, Debug)]
pub struct Plan {
    pub binary: PathBuf,
    /// A folder that is not there yet.
    pub folder: PathBuf,
    pub nodes_per_zone: usize,
    /// What each node's disk holds.
    pub disk_megabytes: u64,
    /// Further arguments of every node.
    pub node_arguments: Vec<String>,
    pub seed: u64,
}

pub struct House {
    pub network: Network,
    pub members: Vec<Member>,
    /// As many as there are nodes, in their order; nodes are the first members.
    pub disks: Vec<Disk>,
    pub resources: PathBuf,
}

impl House {
    /// Builds hosts and disks and starts every process; ready when a table can be made.
    pub fn build(plan: &Plan) -> anyhow::Result<House> {
        fs::create_dir_all(&plan.folder).context("make the folder")?;
        let mut members = nodes(plan.nodes_per_zone);
        let node_count = members.len();
        let next = |members: &Vec<Member>| Host(members.len() + 1);
        for zone in 0..ROUTERS {
            members.push(Member::new(&format!("router-{}", letter(zone)), Role::Router, next(&members), Some(zone)));
        }
        members.push(Member::new("memds", Role::MemDs, next(&members), None));
        members.push(Member::new("control", Role::Control, next(&members), None));
        let names: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
        let network = Network::build(&names, plan.seed).context("build the network")?;
        let disks = names[..node_count].iter().map(|name| Disk::make(&plan.folder.join(name), plan.disk_megabytes));
        let disks = disks.collect::<anyhow::Result<Vec<Disk>>>().context("make the disks")?;
        let resources = plan.folder.join("resources.json");
        let mut house = House { network, members, disks, resources };
        house.instruct(plan)?;
        for number in 0..house.members.len() {
            let arguments = if number < node_count { vec!["--format".to_owned()] } else { Vec::new() };
            house.start_as(number, &Start { arguments, ..Start::default() })?;
        }
        Ok(house)
    }

    fn instruct(&mut self, plan: &Plan) -> anyhow::Result<()> {
        let (memds, control) = (self.address_of(Role::MemDs)?, self.address_of(Role::Control)?);
        let nodes = self.addresses(Role::Node).join(",");
        for (number, member) in self.members.iter_mut().enumerate() {
            let listen = address(member);
            let zone = member.zone.map(zone_name).unwrap_or_default();
            let flags = match member.role {
                Role::Node => vec![
                    ("--data", text(&self.disks[number].folder())?),
                    ("--zone", zone),
                    ("--memds", memds.clone()),
                    ("--seeds", nodes.clone()),
                ],
                Role::Router => vec![("--memds", memds.clone()), ("--control", control.clone()), ("--zone", zone)],
                Role::MemDs => Vec::new(),
                Role::Control => vec![
                    ("--resources", text(&self.resources)?),
                    ("--nodes", nodes.clone()),
                    ("--memds", memds.clone()),
                ],
            };
            let flags = flags.into_iter().chain([("--listen", listen)]);
            member.arguments = flags.flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
            if member.role == Role::Node {
                member.arguments.extend(plan.node_arguments.iter().cloned());
            }
            if member.role == Role::Router {
                member.secrets = vec![("TRIVET_ACCESS_KEY", "local"), ("TRIVET_SECRET_KEY", "local")];
            }
            member.namespace = self.network.namespace(member.host).to_owned();
            member.binary.clone_from(&plan.binary);
            member.log = plan.folder.join(format!("{}.log", member.name));
        }
        Ok(())
    }

    /// Members with this role, as places in `members`.
    pub fn with_role(&self, role: Role) -> Vec<usize> {
        (0..self.members.len()).filter(|number| self.members[*number].role == role).collect()
    }

    pub fn addresses(&self, role: Role) -> Vec<String> {
        self.with_role(role).into_iter().map(|number| address(&self.members[number])).collect()
    }

    fn address_of(&self, role: Role) -> anyhow::Result<String> {
        self.addresses(role).pop().context("nobody has this role")
    }

    pub fn start(&mut self, number: usize) -> anyhow::Result<()> {
        self.start_as(number, &Start::default())
    }

    pub fn start_as(&mut self, number: usize, start: &Start) -> anyhow::Result<()> {
        let pid = self.members[number].start(start)?;
        match self.disks.get(number) {
            Some(disk) => disk.adopt(pid),
            None => Ok(()),
        }
    }

    /// One client of each router.
    pub fn clients(&self, timeout: Duration) -> Vec<Client> {
        let routers = self.addresses(Role::Router);
        routers.iter().map(|router| client::connect(router, Retries::None, timeout)).collect()
    }

    /// A table that serves, however long the first start takes.
    pub async fn create_table(&mut self, table: &str, partitions: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        let routers = self.addresses(Role::Router);
        let client = client::connect(&routers[0], Retries::Default, Duration::from_secs(10));
        loop {
            self.demand_alive(&BTreeSet::new())?;
            match client::create_table(&client, table, partitions, READY_WITHIN).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error.context("make the first table")),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Who was not told to end does not end; but for those.
    pub fn demand_alive(&mut self, but: &BTreeSet<usize>) -> anyhow::Result<()> {
        for (_, member) in self.members.iter_mut().enumerate().filter(|(number, _)| !but.contains(number)) {
            if let Some(status) = member.ended()? {
                bail!("{} ended by itself with {status}: see {}", member.name, member.log.display());
            }
        }
        Ok(())
    }

    /// Kills what runs.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.members.iter().for_each(Member::shoot);
        for member in &mut self.members {
            member.kill().await?;
        }
        ensure!(self.members.iter().all(|member| !member.runs()), "something still runs");
        Ok(())
    }
}

fn nodes(per_zone: usize) -> Vec<Member> {
    let mut nodes = Vec::new();
    for number in 1..=per_zone {
        for zone in 0..ZONES {
            let name = format!("{}-{number}", zone_name(zone));
            nodes.push(Member::new(&name, Role::Node, Host(nodes.len() + 1), Some(zone)));
        }
    }
    nodes
}

fn letter(zone: usize) -> char {
    ('a'..='z').nth(zone).unwrap_or('z')
}

pub fn zone_name(zone: usize) -> String {
    format!("zone-{}", letter(zone))
}

fn address(member: &Member) -> String {
    let port = match member.role {
        Role::Node => NODE_PORT,
        Role::Router => ROUTER_PORT,
        Role::MemDs => MEMDS_PORT,
        Role::Control => CONTROL_PORT,
    };
    format!("{}:{port}", member.host.address())
}

fn text(path: &Path) -> anyhow::Result<String> {
    Ok(super::sandbox::text(path)?.to_owned())
}
