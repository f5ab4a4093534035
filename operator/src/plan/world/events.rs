//! What happens in the small world, and how it is made good in the end.

use std::collections::BTreeSet;

use model::NodeId;

use super::{Content, Disk, World, ZONES};

impl World {
    /// Something happens to somebody.
    pub fn happen(&mut self, what: u8, whom: usize) {
        let count = self.hosts.len();
        let host = whom % count;
        let nodes: Vec<NodeId> = self.disks.keys().copied().collect();
        let node = nodes.get(whom % nodes.len().max(1)).copied();
        let zone = ZONES[whom % ZONES.len()];
        match what {
            // A Kubernetes node is away, or back, or gone for good: in one zone at a time, and with a majority left.
            0 | 1 => self.unless_fatal(|world| world.hosts[host].machine.ready = false),
            2..=4 => self.hosts[host].machine.ready = true,
            5 => self.unless_fatal(|world| world.hosts[host].there = false),
            6 => self.add_host(zone),
            7 | 8 => {
                let machine = &mut self.hosts[host].machine;
                (machine.drain, machine.cordoned) = (!machine.drain, !machine.drain);
            }
            9 => self.wish_nodes(zone, 1 + whom / ZONES.len() % 2),
            10 => self.toggle_zone(zone),
            11 => {
                self.each(node, |disk| disk.claim.deleting = true);
                // It may be gone before anybody looks.
                self.entitled += usize::from(node.is_some_and(|node| self.going.insert(node)));
            }
            12 => self.unless_fatal(|world| world.each(node, |disk| disk.formatted = false)),
            13 => self.unless_fatal(|world| world.each(node, |disk| disk.mounts = false)),
            14 => self.content = Content::NeverBegins,
            15 => self.content = Content::Crashes,
            16 => self.content = Content::One,
            17 => self.content = Content::Other,
            _ => {}
        }
    }

    fn each(&mut self, node: Option<NodeId>, change: impl Fn(&mut Disk)) {
        if let Some(disk) = node.and_then(|node| self.disks.get_mut(&node)) {
            change(disk);
        }
    }

    /// What would take a majority with it is beyond any operator.
    fn unless_fatal(&mut self, change: impl Fn(&mut World)) {
        let (hosts, disks) = (self.hosts.clone(), self.disks.clone());
        change(self);
        if !self.can_lose(None) {
            (self.hosts, self.disks) = (hosts, disks);
        }
    }

    fn wish_nodes(&mut self, zone: &'static str, nodes: usize) {
        if let Some(wished) = self.wished.get_mut(zone) {
            self.entitled += nodes.saturating_sub(*wished);
            *wished = nodes;
        }
    }

    fn toggle_zone(&mut self, zone: &'static str) {
        if self.wished.contains_key(zone) && self.wished.len() > 3 {
            self.wished.remove(zone);
        } else if !self.wished.contains_key(zone) {
            self.wished.insert(zone, 1);
            self.entitled += 1;
        }
    }

    /// As people do who are told that nodes of three zones are away together: nobody knows what they alone have.
    pub fn bring_back(&mut self) {
        let quiet = self.disks.values().filter(|disk| disk.claim.store.is_some() && !disk.claim.lost);
        let quiet = quiet.filter(|disk| !self.is_up(disk.claim.node)).map(|disk| disk.claim.zone.as_str());
        if quiet.collect::<BTreeSet<&str>>().len() > 2 {
            self.disks.values_mut().for_each(|disk| disk.mounts = true);
            self.hosts.iter_mut().for_each(|host| host.there = true);
        }
    }

    /// Every Kubernetes node that is there works again, each zone has room enough, and what is wished can be.
    pub fn heal(&mut self) {
        if !self.content.works() {
            self.content = Content::One;
        }
        for host in &mut self.hosts {
            (host.machine.ready, host.machine.drain, host.machine.cordoned) = (true, false, false);
        }
        for zone in ZONES.into_iter().flat_map(|zone| [zone; 6]) {
            self.add_host(zone);
        }
    }
}
