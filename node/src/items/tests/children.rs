//! The records of a split's child: with its parent's mark or not at all, and never over those of a child that lives.

use model::{KeySchema, KeyType, NodeId, PartitionDescriptor, ReplicaId, TableDescriptor, Zone};
use replica::GroupState;

use super::*;

fn child(replica: u64) -> Child {
    let places = (1..=3).map(|number| (NodeId(number), Zone(format!("zone-{number}"))));
    let descriptor = PartitionDescriptor::birth(OTHER, TABLE, KeyRange::ALL, places);
    let wish = TableDescriptor::wish("things", KeySchema::simple("pk", KeyType::S));
    let state = GroupState::birth(ReplicaId(replica), descriptor.clone(), TableDescriptor { id: TABLE, ..wish });
    Child { descriptor, replica: ReplicaId(replica), state: state.encode(), mark: mark(10) }
}

fn records(child: &Child, index: u64) -> GroupRecords {
    GroupRecords { partition: OTHER, mark: Some(mark(index)), state: Some(child.state.clone()) }
}

fn split(items: &Items, index: u64, child: Child) {
    let mut turn = TurnBatch::default();
    turn.add(PARTITION, TABLE, ApplyBatch { children: vec![child.clone()], ..batch(vec![put(index, b"a")]) });
    assert_eq!(items.write(&turn).unwrap(), WriteOutcome::Written);
    assert_eq!(turn.take_children(), [(PARTITION, child)]);
}

#[test]
fn a_childs_records_come_with_its_parents_mark_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let items = open(&live);
    apply(&items, TABLE, PARTITION, vec![put(11, b"a")]);
    items.flush().unwrap();
    split(&items, 12, child(2));
    let crashed = |name| {
        let copy = dir.path().join(name);
        crash(&live, &copy);
        let items = open(&copy);
        (items.group(OTHER).unwrap(), items.group(PARTITION).unwrap().mark)
    };
    let nothing = GroupRecords { partition: OTHER, mark: None, state: None };
    assert_eq!(crashed("before"), (nothing, Some(mark(11))));
    items.flush().unwrap();
    assert_eq!(crashed("after"), (records(&child(2), 10), Some(mark(12))));
}

#[test]
fn a_child_that_lives_is_not_set_back_to_its_birth() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    // By a snapshot of its own leader, say, which gave it another id.
    let lives = records(&child(4), 500);
    items.put_groups(std::slice::from_ref(&lives)).unwrap();
    split(&items, 12, child(2));
    assert_eq!(items.group(OTHER).unwrap(), lives);
    assert_eq!(items.group(PARTITION).unwrap().mark, Some(mark(12)));
    // Nor are its records taken away with those of the one that was not born.
    items.drop_records(OTHER, ReplicaId(2)).unwrap();
    assert_eq!(items.group(OTHER).unwrap(), lives);
    items.drop_records(OTHER, ReplicaId(4)).unwrap();
    assert_eq!(items.group(OTHER).unwrap().state, None);
}
