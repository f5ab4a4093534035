//! A disk that does not read now costs leadership at most, never the replica.

use replica::FetchRequest;

use super::*;

fn request() -> FetchRequest {
    FetchRequest { low: 11, high: 12, max_bytes: 1 << 20, to: ReplicaId(2) }
}

/// As if it led; the others do not exist.
fn lead(fixture: &mut Fixture) {
    let group = fixture.worker.groups.get_mut(&PARTITION).unwrap();
    group.summary.leader = Some(group.summary.replica);
}

fn resigns(fixture: &Fixture) -> usize {
    let inputs = &fixture.worker.groups[&PARTITION].inputs;
    inputs.iter().filter(|input| matches!(input, Input::Resign)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_not_read_once_is_read_again() {
    let mut fixture = Fixture::with_items().await;
    let context = Arc::clone(&fixture.worker.desk.context);
    context.log.fail_reads(1);
    let Worker { desk, groups, .. } = &mut fixture.worker;
    effects::fetch(desk, groups.get_mut(&PARTITION).unwrap(), request());
    let failures = context.metrics.read_failures.clone();
    fixture.until(|_| failures.get() == 1).await;
    fixture.until(|worker| worker.groups[&PARTITION].failed_reads == 1).await;
    assert!(fixture.worker.corrupt.is_empty());
    let entries = context.log.fetch(PARTITION, &request()).unwrap();
    assert_eq!(entries.len(), 1, "the disk reads again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_does_not_read_for_long_hands_over_and_stays() {
    let mut fixture = Fixture::with_items().await;
    lead(&mut fixture);
    for failed in 1..=40 {
        fixture.worker.read_failed(PARTITION, Some(request()));
        assert_eq!(resigns(&fixture), failed / 20, "{failed}");
        let group = fixture.worker.groups.get_mut(&PARTITION).unwrap();
        assert_eq!(std::mem::take(&mut group.fetches), [request()], "with the next tick");
    }
    assert!(fixture.worker.corrupt.is_empty());
    // Who follows needs no entries of the past.
    fixture.worker.groups.get_mut(&PARTITION).unwrap().summary.leader = None;
    fixture.worker.read_failed(PARTITION, Some(request()));
    assert!(fixture.worker.groups[&PARTITION].fetches.is_empty());
}
