//! Whether one key's operations can have happened one after the other, each between its call and its answer.
//!
//! Time is walked through once. A *world* is an item, and which of the operations under way have happened in it; whenever an
//! operation is answered, only worlds in which it has happened, with that answer, remain possible. Operations without an
//! answer may happen at any later time, or never. Where no world remains, that answer is the one that cannot be explained.
//! (Lowe, "Testing for linearizability", calls this just-in-time linearization.)

use std::collections::BTreeSet;
use std::fmt;

use super::record::{Item, Operation, Outcome};

/// An item, and the operations that are under way and have happened.
type World = (Option<Item>, BTreeSet<usize>);

/// An answer that nothing explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub operation: Operation,
    /// What the item may have been at that moment.
    pub items: Vec<Option<Item>>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no order of operations explains {:?}; the item could be one of {:?}", self.operation, self.items)
    }
}

/// The operations of one key, from the time when it did not exist.
pub fn check(operations: &[Operation]) -> Result<(), Violation> {
    let operations: Vec<&Operation> = operations.iter().filter(|operation| operation.counts()).collect();
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        // At one moment calls come first: operations that touch may have happened in either order.
        moments.push((operation.call, false, number));
        if operation.outcome != Outcome::Unknown {
            moments.push((operation.end, true, number));
        }
    }
    moments.sort_unstable();
    let mut worlds: BTreeSet<World> = BTreeSet::from([(None, BTreeSet::new())]);
    let mut under_way = BTreeSet::new();
    for (_, ends, number) in moments {
        if !ends {
            under_way.insert(number);
            continue;
        }
        let after = answered(number, &worlds, &under_way, &operations);
        if after.is_empty() {
            let items: BTreeSet<Option<Item>> = worlds.into_iter().map(|(item, _)| item).collect();
            return Err(Violation { operation: *operations[number], items: items.into_iter().collect() });
        }
        worlds = after;
        under_way.remove(&number);
    }
    Ok(())
}

/// The worlds in which it has happened, reached from these by letting operations under way happen.
fn answered(
    number: usize,
    worlds: &BTreeSet<World>,
    under_way: &BTreeSet<usize>,
    operations: &[&Operation],
) -> BTreeSet<World> {
    let mut after = BTreeSet::new();
    let mut seen = worlds.clone();
    let mut open: Vec<World> = worlds.iter().cloned().collect();
    while let Some((item, happened)) = open.pop() {
        if happened.contains(&number) {
            let mut rest = happened;
            rest.remove(&number);
            after.insert((item, rest));
            continue;
        }
        for next in under_way.difference(&happened) {
            let Some(item) = happen(operations[*next], item) else { continue };
            let mut happened = happened.clone();
            happened.insert(*next);
            let world = (item, happened);
            if seen.insert(world.clone()) {
                open.push(world);
            }
        }
    }
    after
}

/// The item afterwards; none where the operation's answer would have been another.
fn happen(operation: &Operation, item: Option<Item>) -> Option<Option<Item>> {
    let (done, after) = operation.action.apply(item);
    let shown = operation.action.shows(item, after);
    let explained = match operation.outcome {
        Outcome::Done(told) => done && told == shown,
        Outcome::ConditionFailed(told) => !done && told == item,
        Outcome::Unknown => true,
        Outcome::Failed => false,
    };
    explained.then_some(after)
}

#[cfg(test)]
mod tests {
    use super::super::record::Action;
    use super::*;

    fn item(value: u64, count: u64) -> Option<Item> {
        Some(Item { value: Some(value), count })
    }

    fn operation(call: u64, end: u64, action: Action, outcome: Outcome) -> Operation {
        Operation { client: 0, call, end, action, outcome }
    }

    fn put(call: u64, end: u64, value: u64, before: Option<Item>) -> Operation {
        operation(call, end, Action::Put { value }, Outcome::Done(before))
    }

    fn get(call: u64, end: u64, shown: Option<Item>) -> Operation {
        operation(call, end, Action::Get, Outcome::Done(shown))
    }

    fn unknown(call: u64, action: Action) -> Operation {
        operation(call, 0, action, Outcome::Unknown)
    }

    #[test]
    fn what_happened_in_order_is_explained() {
        let add = operation(5, 6, Action::Add, Outcome::Done(item(1, 1)));
        let delete = operation(7, 8, Action::Delete, Outcome::Done(item(1, 1)));
        let refused = operation(9, 10, Action::PutIf { expect: Some(1), value: 2 }, Outcome::ConditionFailed(None));
        let history = [put(1, 2, 1, None), get(3, 4, item(1, 0)), add, delete, refused, get(11, 12, None)];
        assert_eq!(check(&history), Ok(()));
    }

    #[test]
    fn a_lost_write_is_found() {
        assert!(check(&[put(1, 2, 1, None), get(3, 4, None)]).is_err());
        assert!(check(&[put(1, 2, 1, None), put(3, 4, 2, None)]).is_err(), "by what a later write replaced");
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [put(1, 2, 1, None), put(3, 4, 2, item(1, 0)), get(5, 6, item(1, 0))];
        assert_eq!(check(&history).unwrap_err().items, vec![item(2, 0)]);
    }

    #[test]
    fn operations_at_the_same_time_may_happen_in_any_order() {
        let history = [put(1, 9, 1, item(2, 0)), put(2, 8, 2, None), get(3, 7, item(1, 0))];
        assert_eq!(check(&history), Ok(()));
        let history = [put(1, 9, 1, None), get(2, 4, item(1, 0)), get(5, 7, None)];
        assert!(check(&history).is_err(), "what was seen does not go away");
    }

    #[test]
    fn an_unknown_write_may_happen_late_or_never_and_but_once() {
        let unsure = unknown(1, Action::Add);
        assert_eq!(check(&[unsure, get(2, 3, None), get(4, 5, None)]), Ok(()));
        let once = Some(Item { value: None, count: 1 });
        assert_eq!(check(&[unsure, get(2, 3, None), get(4, 5, once)]), Ok(()));
        let twice = Some(Item { value: None, count: 2 });
        assert!(check(&[unsure, get(2, 3, once), get(4, 5, twice)]).is_err());
        assert!(check(&[unsure, get(2, 3, once), get(4, 5, None)]).is_err());
    }

    #[test]
    fn a_condition_that_failed_is_a_read() {
        let refused =
            operation(3, 4, Action::PutIf { expect: Some(1), value: 2 }, Outcome::ConditionFailed(item(1, 0)));
        assert!(check(&[put(1, 2, 1, None), refused]).is_err(), "it would have held");
        let refused = Operation { action: Action::PutIf { expect: None, value: 2 }, ..refused };
        assert_eq!(check(&[put(1, 2, 1, None), refused]), Ok(()));
    }

    #[test]
    fn what_surely_failed_must_not_show() {
        let failed = operation(3, 4, Action::Put { value: 2 }, Outcome::Failed);
        assert_eq!(check(&[put(1, 2, 1, None), failed, get(5, 6, item(1, 0))]), Ok(()));
        assert!(check(&[put(1, 2, 1, None), failed, get(5, 6, item(2, 0))]).is_err());
    }
}
