//! What looks cost while nothing happens, and what bad luck changes: nothing.

use std::sync::atomic::Ordering;

use kube::Client;
use model::Size;

use crate::changes;
use crate::luck::Luck;
use crate::picture::Picture;
use crate::process::Operator;
use crate::scenarios;
use crate::stage::{LOOKS, NODES, Stage};
use crate::toll::is_act;

/// How much it is in a minute is counted where the intervals are (`operator::outside`).
pub async fn looks_cost_no_calls(client: &Client, server: &kube::Config) {
    let stage = Stage::new(client, server).await;
    let operator = Operator::start(&stage.told, None);
    scenarios::has_one_table(&stage).await;
    let (before, asked) = (operator.calls().len(), stage.fleet.world().asked);
    stage.eventually("a minute's looks", || stage.fleet.world().asked > asked + LOOKS * NODES).await;
    let calls = operator.calls().split_off(before);
    let bounded = |call: &String| {
        // The lease, what etcd's version is, and watches that go on.
        call.contains("/leases")
            || call.starts_with("WATCH ")
            || call.starts_with("GET ") && call.ends_with("/clusters")
    };
    let others: Vec<_> = calls.iter().filter(|call| !bounded(call)).collect();
    assert!(others.is_empty(), "{others:#?}");
    drop(operator);
}

/// However many looks pass before the watch tells of what was written.
pub async fn a_change_costs_one_write(client: &Client, server: &kube::Config) {
    const ROUNDS: usize = 10;
    const PARTITIONS: usize = 3;
    let stage = Stage::new(client, server).await;
    let operator = Operator::start(&stage.told, None);
    scenarios::has_one_table(&stage).await;
    let before = operator.calls().len();
    for _ in 0..ROUNDS {
        changes::change_leaders(&mut stage.fleet.world(), 0, PARTITIONS);
        changes::until_told(&stage).await;
    }
    stage.settled("as before", scenarios::is_served).await;
    let calls = operator.calls().split_off(before);
    let acts: Vec<_> = calls.iter().filter(|call| is_act(call)).collect();
    assert!(acts.iter().all(|call| call.contains("/partitions/") && call.ends_with("/status")), "{acts:#?}");
    assert_eq!(acts.len(), ROUNDS * PARTITIONS, "{acts:#?}");
    drop(operator);
}

/// What is wished meanwhile waits for the end of the pause.
pub async fn a_paused_cluster_is_left_alone(client: &Client, server: &kube::Config) {
    let stage = Stage::new(client, server).await;
    let operator = Operator::start(&stage.told, None);
    scenarios::has_one_table(&stage).await;
    stage.pause(true).await;
    stage.scale(2).await;
    let is_left_alone = |picture: &Picture| {
        picture.has(&["Cluster trv.status.conditions", "\"reason\":\"Paused\""]) && picture.count(&["disk "]) == NODES
    };
    stage.settled("three nodes, and the pause is told", is_left_alone).await;
    stage.pause(false).await;
    stage.until("six nodes", scenarios::is_spread).await;
    drop(operator);
}

/// Written to all the time, and told of once in five minutes; what else there is to tell is told at once.
pub async fn how_much_there_is_is_told_seldom(client: &Client, server: &kube::Config) {
    let stage = Stage::new(client, server).await;
    let operator = Operator::start(&stage.told, None);
    scenarios::has_one_table(&stage).await;
    stage.fleet.world().counted = Some(Size { items: 1_234, bytes: 56_789 });
    let told = |picture: &Picture| {
        let partitions = [".status.items = 1200", ".status.sizeBytes = 57000"];
        let table = [".status.items = 3700", ".status.sizeBytes = 170000"];
        partitions.iter().all(|field| picture.count(&["Partition ", field]) == 3)
            && table.iter().all(|field| picture.has(&["Table music", field]))
    };
    stage.until("the first figures", told).await;
    let (before, asked) = (operator.calls().len(), stage.fleet.world().asked);
    stage
        .eventually("a minute's looks", || {
            let mut world = stage.fleet.world();
            world.counted = world.counted.map(|size| size + Size { items: 5_000, bytes: 5_000_000 });
            world.asked > asked + LOOKS * NODES
        })
        .await;
    let acts: Vec<_> = operator.calls().split_off(before).into_iter().filter(|call| is_act(call)).collect();
    assert!(acts.is_empty(), "{acts:#?}");
    let disk = stage.fleet.world().disks.keys().next().cloned().unwrap();
    stage.fleet.stop(&disk);
    let weak = |picture: &Picture| picture.count(&["Partition ", ".status.state = \"Missing\""]) == 3 && told(picture);
    stage.until("what else there is to tell", weak).await;
    drop(operator);
}

pub async fn bad_luck_changes_nothing(client: &Client, server: &kube::Config) {
    let undisturbed = Stage::new(client, server).await;
    let operator = Operator::start(&undisturbed.told, None);
    scenarios::installs(&undisturbed).await;
    let wanted = undisturbed.settled("installed", scenarios::is_installed).await;
    drop(operator);
    for every in [3, 7] {
        let mut stage = Stage::new(client, server).await;
        let luck = Luck::bad(every);
        stage.told.luck = Some(std::sync::Arc::clone(&luck));
        let operator = Operator::start(&stage.told, None);
        scenarios::installs(&stage).await;
        if let Err(picture) = stage.ends_as(&wanted).await {
            panic!("every {every}. call:\n{}", picture.difference(&wanted));
        }
        assert_eq!(operator.starts(), 1);
        let mishaps = luck.mishaps.load(Ordering::Relaxed);
        // A slow machine looks less often, and has less to write.
        assert!(mishaps > 10, "every {every}. call: {mishaps} mishaps");
        drop(operator);
        stage.nothing_is_broken();
    }
}

/// Lists that fail, are slow, and are tried again: until the last of them has come nothing is changed.
pub async fn nothing_is_done_before_everything_is_listed(client: &Client, server: &kube::Config) {
    let stage = Stage::new(client, server).await;
    stage.apply_cluster().await;
    stage.apply_table("music").await;
    let mut told = stage.told.clone();
    told.luck = Some(Luck::bad(3));
    let operator = Operator::start(&told, None);
    stage.until("something is done", |picture| picture.has(&["Claim "])).await;
    let (calls, heard) = (operator.calls(), operator.heard());
    let first = calls.iter().position(|call| is_act(call)).unwrap();
    let is_of = |path: &str, kind: &str| path.split('?').next().is_some_and(|path| path.ends_with(kind));
    let listed = |(kind, field): (&str, &str)| {
        heard.iter().any(|(calls, path)| *calls <= first && is_of(path, kind) && path.contains(field))
    };
    for kind in [
        ("/clusters", ""),
        ("/tables", ""),
        ("/partitions", ""),
        ("/pods", ""),
        ("/persistentvolumeclaims", ""),
        ("/deployments", ""),
        ("/services", ""),
        ("/poddisruptionbudgets", ""),
        ("/nodes", ""),
        ("/persistentvolumes", ""),
        ("/storageclasses", ""),
        ("/events", "FailedMount"),
        ("/events", "FailedAttachVolume"),
    ] {
        assert!(listed(kind), "{kind:?} was not listed before {}: {heard:#?}", calls[first]);
    }
    drop(operator);
}
