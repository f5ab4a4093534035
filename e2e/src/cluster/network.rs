//! Hosts and the links between them: a TUN device in each host's network namespace, and a switch of our own between them.
//!
//! The kernel of this machine need not know how to delay or lose packets (`netem` is often missing), so every packet passes
//! through this process, which does what the link's [`Fault`] says, for each direction apart. To TCP it is a real network: what
//! is lost is sent again, what is cut is silent.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::sandbox::run;
use crate::random::Random;

/// A range that is set aside for tests of networks (RFC 2544): 198.18.0.HOST.
const FIRST: [u8; 3] = [198, 18, 0];
const MTU_BYTES: u16 = 9_000;
/// Packets that a host's device keeps while the switch is busy.
const QUEUE_PACKETS: &str = "4000";
/// Where an IPv4 packet says for whom it is.
const DESTINATION: std::ops::Range<usize> = 16..20;

/// One host of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(pub usize);

/// The host that we are ourselves: where clients are.
pub const OURSELVES: Host = Host(0);

impl Host {
    pub fn address(self) -> Ipv4Addr {
        let [a, b, c] = FIRST;
        Ipv4Addr::new(a, b, c, u8::try_from(self.0 + 1).expect("there are few hosts"))
    }
}

/// What is wrong with one direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing arrives.
    Cut,
    /// Every packet is late by so much, and as much again at most.
    Delay(Duration),
    /// So many of a hundred packets are lost.
    Loss(u64),
}

/// From, to.
pub type Link = (Host, Host);

pub struct Network {
    switch: Arc<Switch>,
    names: Vec<String>,
}

struct Switch {
    devices: Vec<SyncDevice>,
    faults: Mutex<BTreeMap<Link, Fault>>,
    late: Mutex<Late>,
    wake: Condvar,
}

/// When it arrives, its number, for whom, and what it is.
type Packet = (Instant, u64, Host, Vec<u8>);

/// Packets that are on their way.
#[derive(Default)]
struct Late {
    packets: BinaryHeap<Reverse<Packet>>,
    sent: u64,
    /// A link does not reorder much: nothing overtakes what was sent before it.
    last: BTreeMap<Link, Instant>,
}

impl Network {
    /// A host for each name, besides ourselves. `seed` chooses what is lost.
    pub fn build(names: &[String], seed: u64) -> anyhow::Result<Network> {
        let mut devices = Vec::new();
        for number in 0..=names.len() {
            let builder = DeviceBuilder::new().name(format!("host{number}")).layer(Layer::L3);
            devices.push(builder.build_sync().context("make a TUN device")?);
        }
        plug(OURSELVES, None)?;
        for (number, name) in names.iter().enumerate() {
            run("ip", &["netns", "add", name])?;
            plug(Host(number + 1), Some(name))?;
        }
        let switch = Switch { devices, faults: Mutex::default(), late: Mutex::default(), wake: Condvar::new() };
        let switch = Arc::new(switch);
        for number in 0..=names.len() {
            let switch = Arc::clone(&switch);
            let random = Random(seed ^ number as u64);
            std::thread::spawn(move || switch.carry(Host(number), random));
        }
        let late = Arc::clone(&switch);
        std::thread::spawn(move || late.deliver_late());
        Ok(Network { switch, names: names.to_vec() })
    }

    /// The namespace that processes of this host run in.
    pub fn namespace(&self, host: Host) -> &str {
        &self.names[host.0 - 1]
    }

    pub fn hosts(&self) -> impl Iterator<Item = Host> {
        (1..=self.names.len()).map(Host)
    }

    /// From now on these links have this fault, instead of any they had.
    pub fn break_links(&self, links: &[Link], fault: Fault) {
        let mut faults = lock(&self.switch.faults);
        faults.extend(links.iter().map(|link| (*link, fault)));
    }

    pub fn mend(&self, links: &[Link]) {
        lock(&self.switch.faults).retain(|link, _| !links.contains(link));
    }

    pub fn mend_all(&self) {
        lock(&self.switch.faults).clear();
    }
}

/// Gives a host its address.
fn plug(host: Host, namespace: Option<&String>) -> anyhow::Result<()> {
    let device = format!("host{}", host.0);
    let mut ip = Vec::new();
    if let Some(name) = namespace {
        run("ip", &["link", "set", &device, "netns", name])?;
        ip = vec!["-n", name];
    }
    let in_namespace = |arguments: &[&str]| run("ip", &[&ip, arguments].concat());
    in_namespace(&["link", "set", "lo", "up"])?;
    in_namespace(&["addr", "add", &format!("{}/24", host.address()), "dev", &device])?;
    let mtu = MTU_BYTES.to_string();
    in_namespace(&["link", "set", &device, "mtu", &mtu, "txqueuelen", QUEUE_PACKETS, "up"])
}

impl Switch {
    /// Takes what one host sends, for ever.
    fn carry(&self, from: Host, mut random: Random) {
        let mut packet = vec![0; usize::from(MTU_BYTES)];
        loop {
            let length = match self.devices[from.0].recv(&mut packet) {
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                // The device is gone, and with it the host.
                Err(_) => return,
            };
            let packet = &packet[..length];
            let Some(to) = self.destination(packet) else { continue };
            let fault = lock(&self.faults).get(&(from, to)).copied();
            match fault {
                Some(Fault::Cut) => {}
                Some(Fault::Loss(percent)) if random.below(100) < percent => {}
                Some(Fault::Delay(delay)) => self.send_late((from, to), delay + delay.mul_f64(random.unit()), packet),
                Some(Fault::Loss(_)) | None => self.send(to, packet),
            }
        }
    }

    /// None for what is not ours: the kernel also tries IPv6.
    fn destination(&self, packet: &[u8]) -> Option<Host> {
        let address: [u8; 4] = packet.get(DESTINATION)?.try_into().ok()?;
        let number = usize::from(address[3]).checked_sub(1)?;
        (packet[0] >> 4 == 4 && address[..3] == FIRST && number < self.devices.len()).then_some(Host(number))
    }

    fn send(&self, to: Host, packet: &[u8]) {
        // A host that takes nothing has lost it, as on any network.
        self.devices[to.0].send(packet).unwrap_or_default();
    }

    fn send_late(&self, link: Link, delay: Duration, packet: &[u8]) {
        let mut late = lock(&self.late);
        let mut at = Instant::now() + delay;
        if let Some(last) = late.last.get(&link) {
            at = at.max(*last);
        }
        late.last.insert(link, at);
        late.sent += 1;
        let sent = late.sent;
        late.packets.push(Reverse((at, sent, link.1, packet.to_vec())));
        self.wake.notify_one();
    }

    fn deliver_late(&self) {
        let mut late = lock(&self.late);
        loop {
            let now = Instant::now();
            let wait = match late.packets.peek() {
                Some(Reverse((at, ..))) if *at <= now => Duration::ZERO,
                Some(Reverse((at, ..))) => *at - now,
                None => Duration::from_secs(1),
            };
            if wait > Duration::ZERO {
                late = self.wake.wait_timeout(late, wait).unwrap_or_else(PoisonError::into_inner).0;
            } else if let Some(Reverse((_, _, to, packet))) = late.packets.pop() {
                self.send(to, &packet);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
