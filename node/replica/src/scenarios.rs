//! Stories of small clusters: one rule of replication each.

use bytes::Bytes;

use crate::cluster::{Cluster, EPOCH};
use crate::fixture::{item_of, put};
use crate::{Answer, Event, Input, Refusal};

const ZONES: [&str; 3] = ["a", "b", "c"];

#[test]
fn a_newborn_group_elects_a_leader_and_replicates_a_write() {
    let mut cluster = Cluster::led(&ZONES);
    let token = cluster.write(1, put("k", "one"));
    cluster.settle();
    assert_eq!(cluster.answer(token), &Answer::Written { old: None, new: None, old_size: 0, new_size: 7 });
    cluster.tick(2);
    for id in 1..=3 {
        assert_eq!(cluster.host(id).disk.items[&Bytes::from_static(b"k")], item_of(&[("pk", "k"), ("v", "one")]));
        assert_eq!(cluster.hosts[&id].events.contains(&Event::Serving { term: 6 }), id == 1);
    }
    let read = cluster.confirm(1);
    cluster.settle();
    assert!(cluster.confirmed.contains(&read));
}
