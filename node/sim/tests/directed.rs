//! Directed worlds bring about what they are meant to: every pair of a change and a misfortune, and the tail that a log replica
//! alone has.

use sim::case::Case;
use sim::core::Stats;
use sim::directed::{Row, changes};
use sim::ledger::Done;
use sim::runner::{Many, run_many};
use sim::shrink::shrink;

/// What happened in so many worlds of that row; each of them holds.
fn worlds(row: Row, seeds: u64) -> Stats {
    std::panic::set_hook(Box::new(|_| {}));
    let like = Case { row: Some(row), ..Case::default() };
    let many = Many { first: 1, seeds, jobs: 1, like, most_failures: 1, done: Done::default() };
    let summary = run_many(&many, &|_| {});
    let failure = summary.failures.into_iter().next().map(|failure| shrink(failure, 100, 80));
    drop(std::panic::take_hook());
    if let Some(failure) = failure {
        panic!("{failure}");
    }
    summary.stats
}

#[test]
fn every_change_meets_every_misfortune_within_120_seeds() {
    let stats = worlds(Row::Changes, 120);
    let missing: Vec<String> =
        (0..changes::PAIRS).map(changes::name).filter(|name| !stats.counts.contains_key(name.as_str())).collect();
    assert!(missing.is_empty(), "never met: {missing:#?}");
}

#[test]
fn tails_with_a_log_replica_alone_are_handed_on_in_time() {
    let stats = worlds(Row::Tail, 30);
    let count = |what: &str| stats.counts.get(what).copied().unwrap_or(0);
    let tails = count("directed: the newest tail with a log replica alone");
    assert!(tails > 120, "{tails} tails");
    assert!(count("checks: truncation") > 1_000 && count("checks: tail") > 1_000, "{stats:?}");
}

#[test]
fn a_share_of_all_seeds_is_directed() {
    let of = |row| (1..=1_000).filter(|seed| Row::of_seed(*seed) == Some(row)).count();
    let (changes, tail) = (of(Row::Changes), of(Row::Tail));
    assert!((60..120).contains(&changes) && (60..120).contains(&tail), "{changes} and {tail} of a thousand");
}
