//! What is counted when, without a clock and without a disk.

use model::{KeySchema, KeyType};

use super::*;

const SMALL: PartitionId = PartitionId(1);
const LARGE: PartitionId = PartitionId(2);

fn scope(end: Option<&'static str>) -> Scope {
    let wish = TableDescriptor::wish("songs", KeySchema::simple("artist", KeyType::S));
    let table = Arc::new(TableDescriptor { id: TableId(8), ..wish });
    Scope { table, range: KeyRange { start: Bytes::new(), end: end.map(Bytes::from) } }
}

fn size(items: u64) -> Size {
    Size { items, bytes: items * 100 }
}

/// A step that read as much as a step reads, and took no time of its own.
fn read(items: u64, next: Option<&'static str>) -> Outcome {
    let counted = Counted { size: size(items), read_bytes: STEP_BYTES, next: next.map(Bytes::from) };
    Outcome { counted: Some(counted), took: Duration::ZERO }
}

const COST: Duration = Duration::from_micros(15_625);

fn step(plan: &mut Plan, now: Instant) -> Step {
    match plan.next(now) {
        Next::Step(step) => step,
        Next::Rest(until) => panic!("nothing is due before {:?}", until.map(|until| until - now)),
    }
}

fn rests(plan: &mut Plan, now: Instant) -> Option<Duration> {
    match plan.next(now) {
        Next::Step(step) => panic!("{step:?}"),
        Next::Rest(until) => until.map(|until| until - now),
    }
}

#[test]
fn a_count_goes_on_from_a_key_and_each_step_is_paid_for() {
    let (mut plan, mut now) = (Plan::default(), Instant::now());
    assert_eq!(rests(&mut plan, now), None);
    assert!(plan.mark(LARGE, scope(None), now));
    let mut starts = Vec::new();
    for next in [Some("f"), Some("p"), None] {
        let step = step(&mut plan, now);
        starts.push(step.range.start.clone());
        assert_eq!(plan.size(LARGE), None, "half a count is none");
        let news = plan.done(&step, read(7, next), now);
        assert_eq!(news.is_some(), next.is_none());
        if next.is_some() {
            assert_eq!(rests(&mut plan, now), Some(COST));
        }
        now += COST;
    }
    assert_eq!(starts, ["", "f", "p"]);
    assert_eq!(plan.size(LARGE), Some(size(21)));
    assert_eq!(rests(&mut plan, now), None, "nothing is counted that was not written to");
}

#[test]
fn a_step_that_takes_long_is_paid_with_nine_times_that() {
    let (mut plan, now) = (Plan::default(), Instant::now());
    plan.mark(LARGE, scope(None), now);
    let step = step(&mut plan, now);
    plan.done(&step, Outcome { took: Duration::from_millis(40), ..read(7, Some("f")) }, now);
    assert_eq!(rests(&mut plan, now), Some(Duration::from_millis(360)));
}

#[test]
fn a_small_range_does_not_wait_for_a_large_ones_whole_count() {
    let (mut plan, mut now) = (Plan::default(), Instant::now());
    plan.mark(LARGE, scope(None), now);
    let mut order = Vec::new();
    for turn in 0..5 {
        if turn == 1 {
            plan.mark(SMALL, scope(None), now);
        }
        let step = step(&mut plan, now);
        order.push(step.partition);
        plan.done(&step, read(1, (step.partition == LARGE).then_some("k")), now);
        now += COST;
    }
    assert_eq!(order, [LARGE, LARGE, SMALL, LARGE, LARGE]);
}

#[test]
fn what_is_written_while_it_is_counted_is_counted_once_more_after_a_rest() {
    let (mut plan, mut now) = (Plan::default(), Instant::now());
    plan.mark(LARGE, scope(None), now);
    let mut cost = Duration::ZERO;
    for next in [Some("b"); 40].into_iter().chain([None]) {
        let step = step(&mut plan, now);
        // Every writer's tick says so again.
        assert!(!plan.mark(LARGE, scope(None), now));
        plan.done(&step, read(1, next), now);
        (now, cost) = (now + COST, cost + COST);
    }
    assert_eq!(rests(&mut plan, now), Some(cost * 30 - COST));
    // A short count rests five seconds, a long one ten minutes.
    assert_eq!((rest(COST), rest(Duration::from_mins(11))), (SHORTEST_REST, LONGEST_REST));
}

#[test]
fn what_is_written_after_its_count_waits_for_the_end_of_its_rest() {
    let (mut plan, now) = (Plan::default(), Instant::now());
    plan.mark(SMALL, scope(None), now);
    let step = step(&mut plan, now);
    plan.done(&step, read(3, None), now);
    plan.mark(SMALL, scope(None), now + Duration::from_secs(1));
    plan.mark(SMALL, scope(None), now + Duration::from_secs(2));
    assert_eq!(rests(&mut plan, now + Duration::from_secs(2)), Some(Duration::from_secs(3)));
    assert_eq!(plan.size(SMALL), Some(size(3)), "until then what was counted last");
}

#[test]
fn a_range_that_was_split_is_counted_anew_and_at_once() {
    let (mut plan, now) = (Plan::default(), Instant::now());
    plan.mark(LARGE, scope(None), now);
    let before = step(&mut plan, now);
    assert!(plan.mark(LARGE, scope(Some("m")), now));
    // What it brings is of the whole range.
    assert_eq!(plan.done(&before, read(9, None), now), None);
    let after = step(&mut plan, now + COST);
    assert_eq!((after.range.end.as_deref(), after.range.start.len()), (Some(&b"m"[..]), 0));
    let news = plan.done(&after, read(4, None), now + COST).unwrap();
    assert_eq!((news.before, news.after), (None, Some(size(4))));
    // Not even a rest holds it up.
    assert!(plan.mark(LARGE, scope(Some("c")), now + COST * 2));
    assert_eq!(step(&mut plan, now + COST * 2).range.end.as_deref(), Some(&b"c"[..]));
}

#[test]
fn who_is_forgotten_is_counted_from_the_beginning_if_it_comes_back() {
    let (mut plan, now) = (Plan::default(), Instant::now());
    plan.mark(SMALL, scope(None), now);
    assert_eq!(plan.forget(SMALL), None);
    assert_eq!(rests(&mut plan, now), None);
    plan.mark(SMALL, scope(None), now);
    let early = step(&mut plan, now);
    assert_eq!(plan.forget(SMALL), None);
    plan.mark(SMALL, scope(None), now);
    let late = step(&mut plan, now);
    assert_eq!(plan.done(&early, read(9, None), now), None, "a step of before");
    assert!(plan.done(&late, read(2, None), now).is_some());
    let news = plan.forget(SMALL).unwrap();
    assert_eq!((news.before, news.after, plan.size(SMALL)), (Some(size(2)), None, None));
    assert_eq!(plan.forget(SMALL), None);
}

#[test]
fn a_count_that_failed_is_tried_again_much_later() {
    let (mut plan, now) = (Plan::default(), Instant::now());
    plan.mark(SMALL, scope(None), now);
    let step = step(&mut plan, now);
    plan.done(&step, Outcome { counted: None, took: Duration::ZERO }, now);
    assert_eq!(rests(&mut plan, now), Some(LONGEST_REST));
    plan.mark(SMALL, scope(None), now);
    assert_eq!(rests(&mut plan, now), Some(LONGEST_REST));
}

#[test]
fn ten_thousand_small_groups_are_counted_within_the_budget() {
    let (mut plan, begun) = (Plan::default(), Instant::now());
    for number in 0..10_000 {
        plan.mark(PartitionId(number), scope(None), begun);
    }
    let (mut now, mut steps) = (begun, 0);
    loop {
        match plan.next(now) {
            Next::Rest(None) => break,
            Next::Rest(Some(until)) => now = until,
            Next::Step(step) => {
                steps += 1;
                plan.done(&step, read(1, None), now);
            }
        }
    }
    assert_eq!((steps, now - begun), (10_000, COST * 9_999));
}
