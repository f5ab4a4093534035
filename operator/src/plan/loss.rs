//! When a volume that cannot be used is given up, so that another node takes its node's place.
//!
//! What comes back in time is waited for. What does not is given up for good, which costs a copy of all that it had: so it is done only
//! where every group that it is in has a leader and its two other copies. A zone that loses node after node has something that a further
//! node does not mend: as soon as more are lost than are wished there, patience doubles, so that three never become 45.

use std::collections::BTreeSet;

use super::{Claim, Missing, Seen, Step, Trouble};

/// More doublings than this are for ever.
const DOUBLINGS: usize = 16;

/// It was waited for long enough.
pub fn give_up(claim: &Claim, seen: &Seen) -> Option<Step> {
    let Missing { what, since_s } = claim.missing.as_ref()?;
    // Who deletes the claim has given it up already.
    if claim.deleting || seen.now_s.saturating_sub(*since_s) < patience_s(claim, seen) {
        return None;
    }
    // Without an identity it has nothing that anybody could miss.
    Some(match danger(claim, seen).filter(|_| claim.store.is_some()) {
        None => Step::MarkLost { node: claim.node, why: what.sentence() },
        Some(why) => Step::Blocked { reason: "VolumeMissing", message: format!("{}, and {why}", what.sentence()) },
    })
}

/// Its disk is blank, though it had its identity: there is nothing to wait for.
pub fn give_up_blank(claim: &Claim, seen: &Seen) -> Step {
    let what = "its disk is blank, though it had been given its identity".to_owned();
    let (lost, wished) = lost_of_wished(claim, seen);
    if lost <= 2 * wished || seen.is_unused(claim) {
        return Step::MarkLost { node: claim.node, why: what };
    }
    let zone = &claim.zone;
    let message = format!(
        "{what}, and {lost} lost nodes of zone {zone} have not been replaced yet: see why its volumes are lost"
    );
    Step::Blocked { reason: "VolumeMissing", message }
}

/// How long it is waited for.
pub fn patience_s(claim: &Claim, seen: &Seen) -> i64 {
    let (lost, wished) = lost_of_wished(claim, seen);
    // What nobody has a replica on goes at once, and never piles up.
    let doublings = if seen.is_unused(claim) { 0 } else { (lost / wished).min(DOUBLINGS) };
    seen.storage.lost_after_s.saturating_mul(1 << doublings)
}

/// Of its zone. One of a zone that goes is in nobody's way.
fn lost_of_wished(claim: &Claim, seen: &Seen) -> (usize, usize) {
    let lost = seen.claims.iter().filter(|other| other.zone == claim.zone && other.lost).count();
    let wished = seen.zones.iter().find(|zone| zone.name == claim.zone).map_or(0, |zone| zone.nodes);
    (lost, wished.max(1))
}

impl Trouble {
    pub fn sentence(&self) -> String {
        match self {
            Trouble::ClaimLost => "Kubernetes has lost the volume of its claim".to_owned(),
            Trouble::MachineGone(machine) => format!("Kubernetes node {machine}, which had its volume, is gone"),
            Trouble::Unmountable(why) => format!("its volume cannot be mounted: {why}"),
        }
    }
}

/// Why groups might need it still.
fn danger(claim: &Claim, seen: &Seen) -> Option<String> {
    let quiet = seen.claims.iter().filter(|other| other.store.is_some() && !other.lost && !seen.is_ready(other.node));
    let zones: BTreeSet<&str> = quiet.map(|other| other.zone.as_str()).collect();
    // Of a group in three zones one that answers has told, unless all three are silent.
    if zones.len() > 2 {
        let zones = zones.into_iter().collect::<Vec<_>>().join(", ");
        return Some(format!("nodes of the zones {zones} are away together: bring them back"));
    }
    let partition = seen.needed.get(&claim.node)?;
    Some(format!(
        "partition {partition} misses another copy, too, or its leader: bring one of its nodes back, or delete the claim of one that is gone \
         for good"
    ))
}

#[cfg(test)]
mod tests {
    use model::{NodeId, PartitionId};

    use super::super::tests::{claim, settled, steps};
    use super::*;

    fn missing(since_s: i64) -> Option<Missing> {
        Some(Missing { what: Trouble::MachineGone("machine-2".to_owned()), since_s })
    }

    /// Node 2 of zone b has been away since second 100, and is given up after 900.
    fn trouble() -> Seen {
        let mut seen = settled();
        seen.claims[1].missing = missing(100);
        seen.answers.remove(1);
        seen.pods[1].ready = false;
        seen.pods[1].unschedulable = Some("0/3 nodes are available".to_owned());
        (seen.whole, seen.silent) = (false, [2].map(NodeId).into());
        seen
    }

    fn is_given_up(seen: &Seen) -> bool {
        steps(seen).iter().any(|step| matches!(step, Step::MarkLost { node: NodeId(2), .. }))
    }

    fn blocked(seen: &Seen) -> String {
        let found = steps(seen).into_iter().find_map(|step| match step {
            Step::Blocked { reason: "VolumeMissing", message } => Some(message),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("nothing blocks: {:?}", steps(seen)))
    }

    #[test]
    fn a_volume_is_waited_for_and_given_up_once() {
        let mut seen = trouble();
        seen.now_s = 999;
        // It blocks nothing, and nothing is made for it.
        assert_eq!(steps(&seen), []);
        seen.now_s = 1_000;
        assert!(is_given_up(&seen));
        seen.claims[1].lost = true;
        let made = Step::CreateClaim { zone: "b".to_owned(), node: NodeId(101) };
        assert_eq!(steps(&seen)[0], made);
        // However long it lasts, there is one replacement.
        seen.claims.push(claim(101, "b"));
        seen.now_s = 1_000_000;
        assert!(!steps(&seen).iter().any(|step| matches!(step, Step::CreateClaim { .. })));
    }

    #[test]
    fn a_volume_that_comes_back_in_time_keeps_its_node() {
        let mut seen = settled();
        seen.now_s = 1_000_000;
        assert_eq!(steps(&seen), []);
    }

    #[test]
    fn nothing_is_given_up_that_a_group_may_need() {
        let mut seen = trouble();
        seen.now_s = 5_000;
        seen.needed = [(NodeId(2), PartitionId(7))].into();
        assert!(blocked(&seen).contains("partition 0000000000000007 misses another copy"));
        // Of one that was never given an identity nobody misses anything.
        seen.claims[1].store = None;
        assert!(is_given_up(&seen));
        // Where three zones are silent, nobody tells who is needed.
        seen = trouble();
        seen.now_s = 5_000;
        seen.answers.clear();
        assert!(blocked(&seen).contains("nodes of the zones a, b, c are away together"));
    }

    #[test]
    fn a_zone_that_loses_node_after_node_loses_patience_with_none() {
        let mut seen = trouble();
        let waited = |seen: &mut Seen, for_s: i64| {
            seen.now_s = 100 + for_s;
            is_given_up(seen)
        };
        assert!(waited(&mut seen, 900));
        for (lost, patience_s) in [(4, 1_800), (5, 3_600), (6, 7_200)] {
            seen.claims.push(Claim { lost: true, ..claim(lost, "b") });
            assert!(!waited(&mut seen, patience_s - 1) && waited(&mut seen, patience_s), "after {lost}");
        }
        // As many as are wished may be lost together.
        seen.zones[1].nodes = 4;
        assert!(waited(&mut seen, 900));
        // What nobody has a replica on is in nobody's way.
        seen.zones[1].nodes = 1;
        seen.replicas.remove(&NodeId(2));
        assert!(waited(&mut seen, 900));
    }

    #[test]
    fn disks_that_are_blank_again_and_again_are_not_replaced_for_ever() {
        let mut seen = settled();
        (seen.answers[1].node, seen.answers[1].store) = (NodeId(0), 77);
        for lost in 4..=5 {
            seen.claims.push(Claim { lost: true, ..claim(lost, "b") });
            assert!(is_given_up(&seen));
        }
        seen.claims.push(Claim { lost: true, ..claim(6, "b") });
        assert!(blocked(&seen).contains("3 lost nodes of zone b have not been replaced yet"));
    }

    #[test]
    fn who_deletes_the_claim_has_given_it_up_already() {
        let mut seen = trouble();
        seen.now_s = 5_000;
        seen.claims[1].deleting = true;
        assert!(!is_given_up(&seen));
        assert_eq!(steps(&seen)[0], Step::CreateClaim { zone: "b".to_owned(), node: NodeId(101) });
    }
}
