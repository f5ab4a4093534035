//! One `host:port` as a flag gives it, and the addresses that DNS has for it: one, several, or none yet.
//!
//! A look-up that fails changes nothing: what was known stays. It is told once, and again when there is an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Resolvers themselves give up after ten seconds and more; the next attempt is another look-up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A name, and what it last stood for.
#[derive(Debug)]
pub struct Name {
    name: String,
    addresses: BTreeSet<SocketAddr>,
    failing: bool,
}

impl Name {
    pub fn new(name: String) -> Name {
        Name { name, addresses: BTreeSet::new(), failing: false }
    }

    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Asks DNS; the addresses known then.
    pub async fn look_up(&mut self) -> &BTreeSet<SocketAddr> {
        let asked = async { tokio::net::lookup_host(&self.name).await.map(Iterator::collect) };
        let found = tokio::time::timeout(PATIENCE, asked).await;
        let found = found.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
        self.told(found)
    }

    fn told(&mut self, found: io::Result<BTreeSet<SocketAddr>>) -> &BTreeSet<SocketAddr> {
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                if self.failing {
                    tracing::info!(name = self.name, ?addresses, "a name has addresses again");
                }
                self.failing = false;
                self.addresses = addresses;
            }
            failed => {
                if !self.failing {
                    let error = failed.err().map(|error| error.to_string());
                    tracing::info!(name = self.name, error, known = ?self.addresses, "a name is not found; tries on");
                }
                self.failing = true;
            }
        }
        &self.addresses
    }
}

/// One task for each address of a name. A task whose address has gone is only told so: what works is not ended for what DNS says.
#[derive(Default)]
pub struct Tasks {
    wanted: watch::Sender<BTreeSet<SocketAddr>>,
    running: BTreeMap<SocketAddr, JoinHandle<()>>,
}

/// Tells one task whether its address still stands in DNS.
pub struct Wanted {
    address: SocketAddr,
    wanted: watch::Receiver<BTreeSet<SocketAddr>>,
}

impl Tasks {
    /// Starts what is missing, and what has ended too early.
    pub fn follow(&mut self, addresses: &BTreeSet<SocketAddr>, start: impl Fn(SocketAddr, Wanted) -> JoinHandle<()>) {
        self.wanted.send_replace(addresses.clone());
        self.running.retain(|_, task| !task.is_finished());
        for address in addresses {
            let wanted = || Wanted { address: *address, wanted: self.wanted.subscribe() };
            self.running.entry(*address).or_insert_with(|| start(*address, wanted()));
        }
    }
}

impl Wanted {
    pub fn still(&self) -> bool {
        self.wanted.borrow().contains(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<SocketAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn a_failed_look_up_never_empties_what_is_known() {
        let mut name = Name::new("nodes.example:7400".to_owned());
        let missing = || Err(io::ErrorKind::NotFound.into());
        assert_eq!(*name.told(missing()), set(&[]));
        assert!(name.failing);
        let both = set(&["10.0.0.1:7400", "10.0.0.2:7400"]);
        assert_eq!(*name.told(Ok(both.clone())), both);
        assert!(!name.failing);
        assert_eq!(*name.told(missing()), both);
        assert_eq!(*name.told(Ok(BTreeSet::new())), both);
        assert!(name.failing);
        let other = set(&["10.0.0.3:7400"]);
        assert_eq!(*name.told(Ok(other.clone())), other);
    }

    #[tokio::test]
    async fn a_name_is_all_of_its_addresses_and_an_address_is_itself() {
        let mut local = Name::new("localhost:7400".to_owned());
        assert!(local.look_up().await.contains(&"127.0.0.1:7400".parse().unwrap()));
        let mut address = Name::new("[::1]:7400".to_owned());
        assert_eq!(*address.look_up().await, set(&["[::1]:7400"]));
        let mut nobody = Name::new("nobody.invalid:7400".to_owned());
        assert_eq!(*nobody.look_up().await, set(&[]));
        let mut malformed = Name::new("no port".to_owned());
        assert_eq!(*malformed.look_up().await, set(&[]));
    }

    /// Ends with the first turn that finds its address gone.
    async fn until_gone(wanted: Wanted, mut turns: watch::Receiver<()>) {
        while wanted.still() && turns.changed().await.is_ok() {}
    }

    #[tokio::test]
    async fn every_address_has_one_task_and_learns_when_it_is_gone() {
        let (started, turn) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(()));
        let start = |_address, wanted: Wanted| {
            started.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(until_gone(wanted, turn.subscribe()))
        };
        let (both, one) = (set(&["10.0.0.1:1", "10.0.0.2:1"]), set(&["10.0.0.1:1"]));
        let mut tasks = Tasks::default();
        tasks.follow(&both, start);
        tasks.follow(&both, start);
        assert_eq!(started.load(Ordering::Relaxed), 2);
        tasks.follow(&one, start);
        assert_eq!(tasks.running.len(), 2, "what works goes on");
        turn.send_replace(());
        let gone = tasks.running.get_mut(&"10.0.0.2:1".parse().unwrap()).unwrap();
        gone.await.unwrap();
        tasks.follow(&both, start);
        assert_eq!((started.load(Ordering::Relaxed), tasks.running.len()), (3, 2));
    }
}
