//! Log replicas put in place: together, and as a crash at any point leaves them.

use super::*;
use crate::snapshot::install::Manifest;
use crate::snapshot::records;

const MANY: u64 = 200;

fn partitions() -> impl Iterator<Item = PartitionId> {
    (1..=MANY).map(PartitionId)
}

fn installs() -> Vec<Install> {
    let descriptor = |id| PartitionDescriptor { id, ..descriptor() };
    let state = |id| GroupState { descriptor: descriptor(id), ..state(4) };
    let of =
        |id| Install { descriptor: descriptor(id), state: state(id).encode(), has_items: false, ..super::install() };
    partitions().map(of).collect()
}

fn manifests() -> Vec<Manifest> {
    installs().iter().map(|install| Manifest::of(install, Vec::new())).collect()
}

/// With a vote of each.
fn voters(dir: &Path) -> Node {
    let node = Node::open(dir.to_owned());
    let hard_state = HardState { term: 6, vote: 1, ..Default::default() };
    let vote = |id| {
        let hard_state = Some(hard_state.clone());
        (id, Work::Append(Append { number: 1, entries: Vec::new(), hard_state, must_sync: true, doubted: false }))
    };
    let accept = |id| (id, Work::AcceptFrom { replica: ReplicaId(4) });
    assert!(node.log.run_all(partitions().map(accept).chain(partitions().map(vote)).collect()));
    node
}

fn are_installed(node: &Node) {
    for install in installs() {
        let partition = install.descriptor.id;
        let records = node.items.group(partition).unwrap();
        assert_eq!((records.mark, records.state), (Some(install.mark), Some(install.state)));
        assert_eq!(node.items.persisted_index(partition).unwrap(), Some(20));
        let start = node.log.start_of(partition, 20).unwrap();
        assert_eq!((start.truncated_index, start.truncated_term, start.last_index), (20, 6, 20));
        assert_eq!(start.hard_state, hard_state());
    }
    let groups = node.log.groups();
    assert!(groups.iter().all(|group| group.receiving.is_none() && group.accept_from == ReplicaId(4)));
    assert_eq!(groups.len(), installs().len());
}

#[test]
fn many_log_replicas_take_two_syncs_of_the_log_and_one_flush() {
    let dir = tempfile::tempdir().unwrap();
    let node = voters(&dir.path().join("node"));
    let (syncs, version) = (node.log.counters().syncs, node.items.version().unwrap());
    records::install(&node.items, &node.log, installs().iter(), |_| false).unwrap();
    assert_eq!(node.log.counters().syncs - syncs, 2);
    // A flush changes it once for the memtable and once for the file.
    let flushed = node.items.version().unwrap() - version;
    assert!((1..=2).contains(&flushed), "{flushed} changes of RocksDB's version");
    are_installed(&node);
    are_installed(&node.crash(dir.path().join("crashed")));
}

#[test]
fn a_crash_between_the_marks_and_the_records_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let node = voters(&dir.path().join("node"));
    records::mark(&node.log, &manifests()).unwrap();
    let crashed = node.crash(dir.path().join("crashed"));
    assert!(crashed.log.groups().iter().all(|group| group.receiving == Some(20)));
    assert_eq!(crashed.items.groups().unwrap(), []);
    assert!(crashed.recover().is_empty());
    are_installed(&crashed);
}

#[test]
fn a_crash_between_the_records_and_the_logs_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let node = voters(&dir.path().join("node"));
    records::mark(&node.log, &manifests()).unwrap();
    records::write(&node.items, &manifests()).unwrap();
    let crashed = node.crash(dir.path().join("crashed"));
    assert!(crashed.recover().is_empty());
    are_installed(&crashed);
}

#[test]
fn a_log_that_is_closed_installs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = voters(&dir.path().join("node"));
    node.log.close();
    let result = records::install(&node.items, &node.log, installs().iter(), |_| false);
    assert!(matches!(result, Err(SnapshotError::LogClosed)), "{result:?}");
    assert_eq!(node.items.groups().unwrap(), []);
}
