//! Nodes and MemDS servers in memory, which speak the real protocols, remember what they are asked, and are as strict as real ones: a
//! disk has one identity, a group an epoch, and what breaks a promise is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use model::{NodeId, PartitionDescriptor, PartitionId, Size, TableDescriptor};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::toll::{Fate, Toll};

mod admin;
mod groups;
mod memds;

pub use groups::Group;

/// The nodes' port is the same everywhere, so that each Pod has an address of its own.
static NEXT_ADDRESS: AtomicU32 = AtomicU32::new(0);

/// A handle; clones share the fleet.
#[derive(Clone)]
pub struct Fleet {
    world: Arc<Mutex<World>>,
    /// A node has been given its identity.
    pub formatted: Arc<Notify>,
}

/// A disk outlives the Pods that use it.
#[derive(Clone, Debug)]
pub struct Disk {
    pub zone: String,
    pub store: u64,
    /// 0 while it is blank.
    pub node: u64,
    pub runs: bool,
}

/// All of it.
pub struct World {
    /// By the name of the claim.
    pub disks: BTreeMap<String, Disk>,
    pub groups: BTreeMap<PartitionId, Group>,
    /// How much each group's leader has counted.
    pub counted: Option<Size>,
    /// What MemDS was told.
    pub known: BTreeMap<u64, TableDescriptor>,
    /// How often nodes were asked how they are.
    pub asked: usize,
    /// Changes that were done, in their order.
    pub done: Vec<String>,
    /// What must never happen.
    pub broken: Vec<String>,
    toll: Arc<Toll>,
    next_store: u64,
    servers: BTreeMap<String, JoinHandle<()>>,
}

impl Fleet {
    pub fn new() -> Fleet {
        let world = World {
            disks: BTreeMap::new(),
            groups: BTreeMap::new(),
            counted: None,
            known: BTreeMap::new(),
            asked: 0,
            done: Vec::new(),
            broken: Vec::new(),
            toll: Toll::new(None),
            next_store: 0x5000,
            servers: BTreeMap::new(),
        };
        Fleet { world: Arc::new(Mutex::new(world)), formatted: Arc::default() }
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// From now on calls are this operator's.
    pub fn serves(&self, toll: &Arc<Toll>) {
        self.world().toll = Arc::clone(toll);
    }

    /// A Pod begins on the disk of its claim; where it listens.
    pub async fn start(&self, claim: &str, zone: &str) -> IpAddr {
        {
            let mut world = self.world();
            world.next_store += 1;
            let store = world.next_store;
            let blank = Disk { zone: zone.to_owned(), store, node: 0, runs: true };
            world.disks.entry(claim.to_owned()).or_insert(blank).runs = true;
        }
        let listener = listener(operator::build::NODE_PORT).await;
        let address = listener.local_addr().unwrap().ip();
        let server = tokio::spawn(admin::serve(self.clone(), claim.to_owned(), listener));
        if let Some(before) = self.world().servers.insert(claim.to_owned(), server) {
            before.abort();
        }
        address
    }

    pub fn stop(&self, claim: &str) {
        let mut world = self.world();
        if let Some(server) = world.servers.remove(claim) {
            server.abort();
        }
        if let Some(disk) = world.disks.get_mut(claim) {
            disk.runs = false;
        }
    }

    /// The disk is another one from now on, and blank.
    pub fn wipe(&self, claim: &str) {
        let mut world = self.world();
        world.next_store += 1;
        let store = world.next_store;
        let disk = world.disks.get_mut(claim).unwrap();
        (disk.store, disk.node) = (store, 0);
    }

    /// The claim is gone, and its disk with it.
    pub fn forget(&self, claim: &str) {
        self.stop(claim);
        self.world().disks.remove(claim);
    }

    pub fn is_ready(&self, claim: &str) -> bool {
        self.world().disks.get(claim).is_some_and(|disk| disk.runs && disk.node != 0)
    }

    /// One MemDS server; its address.
    pub async fn start_memds(&self) -> SocketAddr {
        let listener = listener(operator::build::MEMDS_PORT).await;
        let address = listener.local_addr().unwrap();
        tokio::spawn(memds::serve(self.clone(), listener));
        address
    }

    /// A call that changes something, if its caller lives to make it.
    async fn change<T>(&self, call: String, change: impl FnOnce(&mut World) -> Result<T, tonic::Status>) -> Answer<T> {
        let toll = Arc::clone(&self.world().toll);
        let fate = toll.pay(format!("gRPC {call}"));
        if fate == Fate::Lost {
            return std::future::pending().await;
        }
        let done = {
            let mut world = self.world();
            let done = change(&mut world);
            if done.is_ok() {
                world.done.push(call);
            }
            world.settle();
            done
        };
        self.formatted.notify_one();
        if fate == Fate::LastWords {
            toll.die();
            return std::future::pending().await;
        }
        done.map(tonic::Response::new)
    }

    async fn look<T>(&self, look: impl FnOnce(&mut World) -> Result<T, tonic::Status>) -> Answer<T> {
        if self.world().toll.ask() == Fate::Lost {
            return std::future::pending().await;
        }
        let mut world = self.world();
        world.settle();
        look(&mut world).map(tonic::Response::new)
    }
}

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

impl World {
    /// The node on that disk, if it runs and has an identity.
    fn node_on(&self, claim: &str) -> Result<NodeId, tonic::Status> {
        match self.disks.get(claim) {
            Some(disk) if disk.runs && disk.node != 0 => Ok(NodeId(disk.node)),
            _ => Err(tonic::Status::unavailable("the disk is blank")),
        }
    }

    pub fn running(&self) -> BTreeSet<NodeId> {
        self.disks.values().filter(|disk| disk.runs && disk.node != 0).map(|disk| NodeId(disk.node)).collect()
    }

    /// The identity is given; whose it is already is a broken promise.
    fn format(&mut self, claim: &str, node: u64, store: u64) -> Result<(), tonic::Status> {
        let known = self.groups.values().any(|group| group.descriptor.on_node(NodeId(node)).is_some());
        let taken = self.disks.iter().any(|(other, disk)| other != claim && disk.node == node);
        let disk = self.disks.get_mut(claim).ok_or_else(|| tonic::Status::unavailable("no such disk"))?;
        if node == 0 {
            return Err(tonic::Status::invalid_argument("0 is no node"));
        }
        if disk.store != store || disk.node != 0 && disk.node != node {
            return Err(tonic::Status::failed_precondition("another disk is meant"));
        }
        if disk.node == 0 && (known || taken) {
            self.broken.push(format!("node {node:016x} is given to a blank disk, and is known already"));
        }
        disk.node = node;
        Ok(())
    }

    fn overlaps(&mut self, born: &PartitionDescriptor) {
        let other = |group: &&Group| group.descriptor.table == born.table && group.descriptor.id != born.id;
        for group in self.groups.values().filter(other) {
            let (a, b) = (&group.descriptor.range, &born.range);
            let begins_before =
                |end: &Option<bytes::Bytes>, start: &bytes::Bytes| end.as_ref().is_none_or(|end| start < end);
            if begins_before(&a.end, &b.start) && begins_before(&b.end, &a.start) {
                self.broken.push(format!("partitions {} and {} have the same keys", group.descriptor.id, born.id));
            }
        }
    }
}

/// On an address of its own.
async fn listener(port: u16) -> TcpListener {
    loop {
        // From a place of this process, so that others on the machine are met rarely; who is met is passed by.
        let number = NEXT_ADDRESS.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id() << 8) & 0x00ff_ffff;
        let [_, a, b, c] = number.to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, a, b, c));
        if number == 0 || number == 0x00ff_ffff {
            continue;
        }
        if let Ok(listener) = TcpListener::bind((address, port)).await {
            return listener;
        }
    }
}

/// Nobody listens there.
pub async fn free_address() -> SocketAddr {
    listener(operator::build::CONTROL_PORT).await.local_addr().unwrap()
}
