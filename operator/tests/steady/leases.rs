//! Two operators of one namespace: one acts, and never both.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};

use crate::process::{Operator, Told};
use crate::scenarios;
use crate::stage::{PATIENCE, Stage};
use crate::toll::{Log, is_act};

fn told(stage: &Stage, identity: &str, listen: std::net::SocketAddr) -> Told {
    Told { identity: identity.to_owned(), listen, ..stage.told.clone() }
}

async fn holder(stage: &Stage) -> String {
    let lease = stage.api::<Lease>().get_opt(operator::lease::NAME).await.unwrap();
    lease.as_ref().map(holder_of).unwrap_or_default()
}

/// Everybody who holds the lease, in order, each named once until another does.
struct Holders {
    events: Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<Lease>>>>>,
    seen: Vec<String>,
}

impl Holders {
    /// From now on.
    async fn watch(stage: &Stage) -> Holders {
        let api = stage.api::<Lease>();
        let now = api.get(operator::lease::NAME).await.unwrap();
        let parameters = WatchParams::default().fields(&format!("metadata.name={}", operator::lease::NAME));
        let events = api.watch(&parameters, &now.resource_version().unwrap()).await.unwrap();
        Holders { events: events.boxed_local(), seen: vec![holder_of(&now)] }
    }

    async fn until(mut self, last: &str) -> Vec<String> {
        while self.seen.last().is_none_or(|seen| seen != last) {
            let event = tokio::time::timeout(PATIENCE, self.events.next()).await.unwrap();
            if let WatchEvent::Modified(lease) = event.unwrap().unwrap() {
                self.seen.push(holder_of(&lease));
            }
            self.seen.dedup();
        }
        self.seen
    }
}

fn holder_of(lease: &Lease) -> String {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
}

/// Who has acted, in order, each named once until another does.
fn actors(log: &Log) -> Vec<String> {
    let mut actors: Vec<String> = Vec::new();
    for (who, call) in log.lock().unwrap().iter() {
        if is_act(call) && actors.last() != Some(who) {
            actors.push(who.clone());
        }
    }
    actors
}

fn asked_for_the_lease(log: &Log, who: &str) -> usize {
    log.lock().unwrap().iter().filter(|(by, call)| by == who && call.contains("/leases")).count()
}

pub async fn one_acts_and_another_takes_over(client: &Client, server: &kube::Config) {
    let stage = Stage::new(client, server).await;
    let log: Log = Arc::new(Mutex::default());
    let one = Operator::logged(&told(&stage, "one", stage.told.listen), &log);
    scenarios::has_one_table(&stage).await;
    assert_eq!(holder(&stage).await, "one");
    let two = Operator::logged(&told(&stage, "two", crate::fleet::free_address().await), &log);
    stage.eventually("two waits", || asked_for_the_lease(&log, "two") >= 3).await;

    // The holder stops in the middle of its work, as a process that gets no processor, and wakes up when all is done.
    one.freeze_at_its_next_act();
    stage.scale(2).await;
    stage.until("six nodes", scenarios::is_spread).await;
    assert_eq!((holder(&stage).await.as_str(), actors(&log)), ("two", vec!["one".to_owned(), "two".to_owned()]));
    let before = asked_for_the_lease(&log, "one");
    let done = stage.fleet.world().done.len();
    one.thaw();
    stage.eventually("one has seen that it is another's", || asked_for_the_lease(&log, "one") > before + 3).await;
    assert_eq!(actors(&log), ["one", "two"], "one that woke up has acted");
    assert_eq!(stage.fleet.world().done.len(), done, "nodes were told something");

    // One that ends by itself gives it back. Whoever waits may take it at once.
    let holders = Holders::watch(&stage).await;
    two.stop();
    let given_back = ["two", "", "one"].map(str::to_owned);
    assert_eq!(holders.until("one").await, given_back);
    stage.scale(1).await;
    stage.until("three nodes", scenarios::is_served).await;
    assert_eq!(
        (holder(&stage).await.as_str(), actors(&log)),
        ("one", vec!["one".to_owned(), "two".to_owned(), "one".to_owned()])
    );
    drop(one);
    stage.nothing_is_broken();
}

/// Every process serves the control service, whether it acts or not.
pub async fn one_that_waits_makes_tables(client: &Client, server: &kube::Config) {
    let mut stage = Stage::new(client, server).await;
    let one = Operator::start(&told(&stage, "one", stage.told.listen), None);
    scenarios::has_one_table(&stage).await;
    let log: Log = Arc::new(Mutex::default());
    stage.told.listen = crate::fleet::free_address().await;
    let two = Operator::logged(&told(&stage, "two", stage.told.listen), &log);
    stage.create_table(scenarios::BY_SDK).await;
    stage.until("both tables", scenarios::is_installed).await;
    let made: Vec<_> = log.lock().unwrap().iter().filter(|(_, call)| is_act(call)).cloned().collect();
    let makes_tables = |call: &str| ["/tables", "/partitions", "/events"].iter().any(|part| call.contains(part));
    assert!(!made.is_empty() && made.iter().all(|(_, call)| makes_tables(call)), "{made:?}");
    drop((one, two));
    stage.nothing_is_broken();
}
