//! Does what [`Kind`] says to a house, and undoes it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::fault::Kind;
use crate::cluster::disk::Disk;
use crate::cluster::house::{House, ZONES};
use crate::cluster::member::{Start, aborted};
use crate::cluster::network::{Fault, Host, Link, OURSELVES};
use crate::process::Role;
use crate::random::Random;

/// A sync fails within so many after the start.
const SYNCS: u64 = 150;
/// How long a node may take to meet its failing sync.
const ABORT_WITHIN: Duration = Duration::from_secs(15);

/// What one fault has done, and who suffers from it.
pub struct Wound {
    pub kind: Kind,
    hurt: Vec<usize>,
    undo: Vec<Undo>,
}

enum Undo {
    Start(usize),
    StartBlank(usize),
    Resume(usize),
    Mend(Vec<Link>),
    Clear(usize),
    Hurry(usize),
    /// It must have ended by itself.
    AwaitAbort(usize),
}

pub struct Plague {
    pub house: House,
    random: Random,
    /// Members that a fault is upon.
    hurt: BTreeSet<usize>,
}

impl Plague {
    pub fn new(house: House, seed: u64) -> Plague {
        Plague { house, random: Random(seed), hurt: BTreeSet::new() }
    }

    /// What this machine can do to this house.
    pub fn possible(&self) -> Vec<Kind> {
        let slow = self.house.disks.iter().all(Disk::can_be_slow);
        Kind::ALL.into_iter().filter(|kind| slow || *kind != Kind::DiskSlow).collect()
    }

    /// Nobody ended but by a fault.
    pub fn demand_alive(&mut self) -> anyhow::Result<()> {
        self.house.demand_alive(&self.hurt)
    }

    /// None where everybody whom it could hit suffers already.
    pub async fn strike(&mut self, kind: Kind) -> anyhow::Result<Option<Wound>> {
        let Some(hurt) = self.choose(kind) else { return Ok(None) };
        self.hurt.extend(&hurt);
        let undo = match kind {
            Kind::NodeKilled
            | Kind::TwoNodesKilled
            | Kind::RouterKilled
            | Kind::MemDsKilled
            | Kind::ControlKilled
            | Kind::ZoneOut
            | Kind::AllNodesKilled
            | Kind::EverythingKilled => self.kill(&hurt).await?,
            Kind::NodeUnplugged => {
                let mut undo = vec![self.break_links(self.around(&hurt, Way::Both), Fault::Cut)];
                undo.extend(self.kill(&hurt).await?);
                undo
            }
            Kind::NodePaused | Kind::RouterPaused | Kind::MemDsPaused => self.pause(&hurt),
            Kind::NodeCutOff | Kind::ZoneCutOff => {
                vec![self.break_links(self.around(&hurt, Way::Both), Fault::Cut)]
            }
            Kind::NodeDeaf => vec![self.break_links(self.around(&hurt, Way::In), Fault::Cut)],
            Kind::NodeMute => vec![self.break_links(self.around(&hurt, Way::Out), Fault::Cut)],
            Kind::LinkCut | Kind::ZonesBridged => vec![self.break_links(self.between(&hurt, Way::Both), Fault::Cut)],
            Kind::LinkCutOneWay => vec![self.break_links(self.between(&hurt, Way::Out), Fault::Cut)],
            Kind::NodeDelayed => {
                let delay = Fault::Delay(Duration::from_millis(20 + self.random.below(300)));
                vec![self.break_links(self.around(&hurt, Way::Both), delay)]
            }
            Kind::NodeLossy => {
                let loss = Fault::Loss(5 + self.random.below(30));
                vec![self.break_links(self.around(&hurt, Way::Both), loss)]
            }
            Kind::DiskFull => self.fill(hurt[0]).await?,
            Kind::DiskSlow => {
                self.house.disks[hurt[0]].slow(3 + self.random.below(12))?;
                vec![Undo::Hurry(hurt[0])]
            }
            Kind::SyncFailed => self.fail_a_sync(hurt[0]).await?,
            Kind::NodeWiped => {
                self.kill(&hurt).await?;
                self.house.disks[hurt[0]].wipe()?;
                vec![Undo::StartBlank(hurt[0])]
            }
        };
        Ok(Some(Wound { kind, hurt, undo }))
    }

    pub async fn heal(&mut self, wound: Wound) -> anyhow::Result<()> {
        for undo in wound.undo {
            match undo {
                Undo::Start(number) => self.house.start(number)?,
                Undo::StartBlank(number) => {
                    let arguments = vec!["--format".to_owned()];
                    self.house.start_as(number, &Start { arguments, ..Start::default() })?;
                }
                Undo::Resume(number) => self.house.members[number].resume(),
                Undo::Mend(links) => self.house.network.mend(&links),
                Undo::Clear(number) => self.house.disks[number].clear()?,
                Undo::Hurry(number) => self.house.disks[number].hurry()?,
                Undo::AwaitAbort(number) => self.await_abort(number).await?,
            }
        }
        self.hurt.retain(|number| !wound.hurt.contains(number));
        Ok(())
    }

    /// Whom it hits.
    fn choose(&mut self, kind: Kind) -> Option<Vec<usize>> {
        let all: Vec<usize> = (0..self.house.members.len()).collect();
        let nodes = self.house.with_role(Role::Node);
        match kind {
            Kind::RouterKilled | Kind::RouterPaused => self.one_of(Role::Router),
            Kind::MemDsKilled | Kind::MemDsPaused => self.one_of(Role::MemDs),
            Kind::ControlKilled => self.one_of(Role::Control),
            Kind::ZoneOut | Kind::ZoneCutOff => {
                let zone = self.random_place(ZONES);
                self.if_well(self.in_zone(&all, zone))
            }
            Kind::AllNodesKilled => self.if_well(nodes),
            Kind::EverythingKilled => self.if_well(all),
            Kind::ZonesBridged => {
                let (zone, step) = (self.random_place(ZONES), 1 + self.random_place(ZONES - 1));
                let mut hurt = self.in_zone(&nodes, zone);
                hurt.extend(self.in_zone(&nodes, (zone + step) % ZONES));
                self.if_well(hurt)
            }
            Kind::TwoNodesKilled | Kind::LinkCut | Kind::LinkCutOneWay => {
                let first = self.one_of(Role::Node)?[0];
                let zone = self.house.members[first].zone;
                let others = nodes.into_iter().filter(|other| self.house.members[*other].zone != zone);
                let second = self.one(&self.well(others))?;
                Some(vec![first, second])
            }
            Kind::NodeKilled
            | Kind::NodeUnplugged
            | Kind::NodePaused
            | Kind::NodeCutOff
            | Kind::NodeDeaf
            | Kind::NodeMute
            | Kind::NodeDelayed
            | Kind::NodeLossy
            | Kind::DiskFull
            | Kind::DiskSlow
            | Kind::SyncFailed
            | Kind::NodeWiped => self.one_of(Role::Node),
        }
    }

    fn one_of(&mut self, role: Role) -> Option<Vec<usize>> {
        let candidates = self.well(self.house.with_role(role));
        self.one(&candidates).map(|number| vec![number])
    }

    fn one(&mut self, candidates: &[usize]) -> Option<usize> {
        if candidates.is_empty() { None } else { Some(candidates[self.random_place(candidates.len())]) }
    }

    fn well(&self, members: impl IntoIterator<Item = usize>) -> Vec<usize> {
        members.into_iter().filter(|number| !self.hurt.contains(number)).collect()
    }

    fn if_well(&self, members: Vec<usize>) -> Option<Vec<usize>> {
        members.iter().all(|number| !self.hurt.contains(number)).then_some(members)
    }

    fn in_zone(&self, members: &[usize], zone: usize) -> Vec<usize> {
        members.iter().copied().filter(|number| self.house.members[*number].zone == Some(zone)).collect()
    }

    fn random_place(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).expect("it is below a usize")
    }

    /// All at one moment.
    async fn kill(&mut self, hurt: &[usize]) -> anyhow::Result<Vec<Undo>> {
        hurt.iter().for_each(|number| self.house.members[*number].shoot());
        for number in hurt {
            self.house.members[*number].kill().await?;
        }
        Ok(hurt.iter().map(|number| Undo::Start(*number)).collect())
    }

    fn pause(&self, hurt: &[usize]) -> Vec<Undo> {
        hurt.iter().for_each(|number| self.house.members[*number].pause());
        hurt.iter().map(|number| Undo::Resume(*number)).collect()
    }

    fn break_links(&self, links: Vec<Link>, fault: Fault) -> Undo {
        self.house.network.break_links(&links, fault);
        Undo::Mend(links)
    }

    /// Links between these and the rest; not those of clients to routers.
    fn around(&self, hurt: &[usize], way: Way) -> Vec<Link> {
        let inside: BTreeSet<Host> = hurt.iter().map(|number| self.house.members[*number].host).collect();
        let outside = self.house.network.hosts().filter(|host| !inside.contains(host) && *host != OURSELVES);
        let outside: Vec<Host> = outside.collect();
        inside.iter().flat_map(|from| way.links(*from, &outside)).collect()
    }

    /// Links between the members of two zones.
    fn between(&self, hurt: &[usize], way: Way) -> Vec<Link> {
        let member = |number: &usize| &self.house.members[*number];
        let first = member(&hurt[0]).zone;
        let (here, there): (Vec<usize>, Vec<usize>) = hurt.iter().partition(|number| member(number).zone == first);
        let there: Vec<Host> = there.iter().map(|number| member(number).host).collect();
        here.iter().flat_map(|number| way.links(member(number).host, &there)).collect()
    }

    async fn fill(&mut self, number: usize) -> anyhow::Result<Vec<Undo>> {
        self.house.disks[number].fill()?;
        if self.random.below(2) == 0 {
            self.kill(&[number]).await?;
            // It starts with no byte left.
            self.house.start(number)?;
        }
        Ok(vec![Undo::Clear(number)])
    }

    async fn fail_a_sync(&mut self, number: usize) -> anyhow::Result<Vec<Undo>> {
        self.kill(&[number]).await?;
        let sync = 1 + self.random.below(SYNCS);
        let environment = vec![("TRIVET_NODE_FAIL_SYNC", sync.to_string())];
        self.house.start_as(number, &Start { environment, ..Start::default() })?;
        Ok(vec![Undo::AwaitAbort(number), Undo::Start(number)])
    }

    async fn await_abort(&mut self, number: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + ABORT_WITHIN;
        let member = &mut self.house.members[number];
        loop {
            if let Some(status) = member.ended()? {
                ensure!(aborted(status), "{} met a failed sync and ended with {status}", member.name);
                return Ok(());
            }
            if Instant::now() > deadline {
                // It leads nothing and follows nothing that is written.
                return member.kill().await.context("end a node whose sync did not fail");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Which directions of a link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Both,
    In,
    Out,
}

impl Way {
    fn links(self, host: Host, others: &[Host]) -> Vec<Link> {
        let out = others.iter().map(|other| (host, *other));
        let back = others.iter().map(|other| (*other, host));
        match self {
            Way::Both => out.chain(back).collect(),
            Way::In => back.collect(),
            Way::Out => out.collect(),
        }
    }
}
