//! Claims that were asked for and are not seen yet: a watch tells of them a moment later, and a look in between would ask for others. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::NodeId;

use crate::plan::{Seen, Step};

/// After that it is planned again: it was refused, or somebody was faster to delete it than the watch to tell of it.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub struct Unseen {
    asked: BTreeMap<NodeId, Instant>,
}

impl Unseen {
    /// The steps without those that count the claims of a zone, as long as the count is not the last one.
    pub fn hold_back(&mut self, seen: &Seen, mut steps: Vec<Step>, now: Instant) -> Vec<Step> {
        let is_seen = |node: &NodeId| seen.claims.iter().any(|claim| claim.node == *node);
        self.asked.retain(|node, since| !is_seen(node) && now.duration_since(*since) < PATIENCE);
        if !self.asked.is_empty() {
            steps.retain(|step| !matches!(step, Step::CreateClaim { .. } | Step::Leave { .. }));
        }
        for step in &steps {
            if let Step::CreateClaim { node, .. } = step {
                self.asked.insert(*node, now);
            }
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::claim;

    fn create(node: u64) -> Step {
        Step::CreateClaim { zone: "a".to_owned(), node: NodeId(node) }
    }

    #[test]
    fn no_second_claim_is_asked_for_while_the_first_is_not_seen() {
        let (mut unseen, begun, nothing) = (Unseen::default(), Instant::now(), Seen::default());
        assert_eq!(unseen.hold_back(&nothing, vec![create(1)], begun), [create(1)]);
        let others = vec![create(2), Step::Leave { node: NodeId(9) }, Step::DeleteClaim { node: NodeId(8) }];
        assert_eq!(unseen.hold_back(&nothing, others, begun), [Step::DeleteClaim { node: NodeId(8) }]);
        let seen = Seen { claims: vec![claim(1, "a")], ..Seen::default() };
        assert_eq!(unseen.hold_back(&seen, vec![create(3)], begun), [create(3)]);
        // It never came.
        assert_eq!(unseen.hold_back(&seen, vec![create(4)], begun + PATIENCE), [create(4)]);
    }
}
