//! Two operators of one namespace: one acts, and never both.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;

use crate::process::{Operator, Told};
use crate::scenarios;
use crate::stage::Stage;
use crate::toll::{Log, is_act};

fn told(stage: &Stage, identity: &str, listen: std::net::SocketAddr) -> Told {
    Told { identity: identity.to_owned(), listen, ..stage.told.clone() }
}

async fn holder(stage: &Stage) -> String {
    let lease = stage.api::<Lease>().get_opt(operator::lease::NAME).await.unwrap();
    lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
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

    // One that ends by itself gives it back.
    two.stop();
    assert_eq!(holder(&stage).await, "", "the lease was not given back");
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
