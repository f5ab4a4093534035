//! Nodes that go, and how far each is: the one state machine for all reasons, as a Cluster's status tells it. Pure.
//!
//! ```text
//!  wished away ──► Waiting ──► HandingOver ──► Moving ──┐
//!     ▲  │ taken back                                   ├──► Stopping ──► Deleting ──► gone
//!     └──┘                     lost: Rebuilding ────────┘
//!  volume in trouble ──► Missing ──► lost (or back in time)
//! ```
//! Nothing is kept here: each look finds every node's phase anew, from its claim, its Pod and what groups say; of the last status only the
//! times are taken over. So what an operator began, any other goes on with.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use model::NodeId;

use crate::crd::{Removal, RemovalPhase, RemovalReason};
use crate::moves::{Deed, Next};
use crate::plan::{Claim, Missing, Seen, Why, patience_s};

/// What a look knows beside what it has seen.
#[derive(Clone, Copy)]
pub struct Course<'a> {
    pub next: &'a Next,
    /// Whose leaving has begun.
    pub begun: &'a BTreeSet<NodeId>,
    /// What the last move failed with.
    pub failure: Option<&'a str>,
}

/// Sorted as claims are.
pub fn removals(before: &[Removal], seen: &Seen, course: Course<'_>, now: &Time) -> Vec<Removal> {
    let removals = seen.claims.iter().filter_map(|claim| removal(before, claim, seen, course, now));
    removals.collect()
}

fn removal(before: &[Removal], claim: &Claim, seen: &Seen, course: Course<'_>, now: &Time) -> Option<Removal> {
    let why = seen.why(claim).or_else(|| claim.missing.is_some().then_some(Why::VolumeLost))?;
    let (phase, message) = phase(claim, seen, course);
    let node = claim.node.to_string();
    let last = before.iter().find(|removal| removal.node == node);
    let since = last.filter(|removal| removal.phase == phase).map(|removal| removal.since.clone());
    let left = seen.replicas.get(&claim.node).map_or(0, |count| u32::try_from(*count).unwrap_or(u32::MAX));
    Some(Removal {
        zone: claim.zone.clone(),
        why: reason(why),
        phase,
        message,
        since: since.unwrap_or_else(|| now.clone()),
        replicas_left: left,
        replicas: last.map_or(0, |removal| removal.replicas).max(left),
        node,
    })
}

fn phase(claim: &Claim, seen: &Seen, course: Course<'_>) -> (RemovalPhase, String) {
    let wished_away = seen.why(claim).is_some();
    if let Some(missing) = claim.missing.as_ref().filter(|_| !wished_away) {
        return (RemovalPhase::Missing, waited_for(claim, missing, seen));
    }
    let has_pod = seen.pod(claim.node).is_some();
    match (claim.lost, seen.is_unused(claim)) {
        (_, true) if has_pod => (RemovalPhase::Stopping, "no group has a replica there; its Pod stops".to_owned()),
        (_, true) => (RemovalPhase::Deleting, "its claim is deleted".to_owned()),
        (true, false) => (
            RemovalPhase::Rebuilding,
            "its volume is lost; its partitions' leaders rebuild its replicas elsewhere, its claim goes last"
                .to_owned(),
        ),
        (false, false) => leaving(claim, seen, course),
    }
}

fn waited_for(claim: &Claim, missing: &Missing, seen: &Seen) -> String {
    let until_s = missing.since_s.saturating_add(patience_s(claim, seen));
    let until = Timestamp::from_second(until_s).map_or_else(|_| until_s.to_string(), |time| time.to_string());
    format!("{}: waited for until {until}, then another node takes its place", missing.what.sentence())
}

fn leaving(claim: &Claim, seen: &Seen, course: Course<'_>) -> (RemovalPhase, String) {
    let node = claim.node;
    if let Some(stuck) = course.next.stuck.iter().find(|stuck| stuck.node == node) {
        return (RemovalPhase::Waiting, stuck.message.clone());
    }
    if course.next.acting != Some(node) {
        return (RemovalPhase::Waiting, "another node leaves first".to_owned());
    }
    let leads = seen.leads.get(&node).copied().unwrap_or(0);
    match (&course.next.deed, course.failure) {
        (Some(Deed::HandOver(_)), _) => {
            (RemovalPhase::HandingOver, format!("it gives away the {leads} partitions that it leads"))
        }
        (None, _) if !course.begun.contains(&node) => {
            let first =
                if seen.whole { "the node that takes its place starts" } else { "every partition becomes whole" };
            (RemovalPhase::Waiting, format!("{first} first"))
        }
        (_, Some(failure)) => {
            (RemovalPhase::Moving, format!("its replicas move, one at a time; the last one did not: {failure}"))
        }
        (_, None) => (RemovalPhase::Moving, "its replicas move, one at a time".to_owned()),
    }
}

fn reason(why: Why) -> RemovalReason {
    match why {
        Why::VolumeLost => RemovalReason::VolumeLost,
        Why::ClaimDeleted => RemovalReason::ClaimDeleted,
        Why::Drained => RemovalReason::Drained,
        Why::ZoneRemoved => RemovalReason::ZoneRemoved,
        Why::ScaledIn => RemovalReason::ScaledIn,
    }
}

#[cfg(test)]
mod tests {
    use control::moves::Move;
    use model::PartitionId;

    use super::*;
    use crate::moves::Stuck;
    use crate::plan::tests::{claim, settled};
    use crate::plan::{Pod, Trouble};

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn shown(seen: &Seen, next: &Next, begun: &[u64]) -> Vec<Removal> {
        let begun = begun.iter().copied().map(NodeId).collect();
        removals(&[], seen, Course { next, begun: &begun, failure: None }, &at(50))
    }

    fn phases(seen: &Seen, next: &Next, begun: &[u64]) -> Vec<(RemovalReason, RemovalPhase)> {
        shown(seen, next, begun).iter().map(|removal| (removal.why, removal.phase)).collect()
    }

    fn acting(node: u64, deed: Option<Deed>) -> Next {
        Next { acting: Some(NodeId(node)), deed, stuck: Vec::new() }
    }

    fn hand_over(node: u64) -> Option<Deed> {
        Some(Deed::HandOver(NodeId(node)))
    }

    fn moving(from: u64) -> Option<Deed> {
        Some(Deed::Move(Move { partition: PartitionId(7), from: NodeId(from), to: None }))
    }

    #[test]
    fn a_node_that_leaves_is_seen_at_each_of_its_steps() {
        use RemovalPhase::{Deleting, HandingOver, Moving, Stopping, Waiting};
        let mut seen = settled();
        assert_eq!(phases(&seen, &Next::default(), &[]), []);
        seen.claims[0].drained = Some("machine-1".to_owned());
        let drained = |phase| vec![(RemovalReason::Drained, phase)];
        assert_eq!(phases(&seen, &acting(2, moving(2)), &[]), drained(Waiting));
        // The node that takes its place has yet to start.
        assert_eq!(phases(&seen, &acting(1, None), &[]), drained(Waiting));
        assert_eq!(phases(&seen, &acting(1, hand_over(1)), &[]), drained(HandingOver));
        assert_eq!(phases(&seen, &acting(1, moving(1)), &[1]), drained(Moving));
        assert_eq!(phases(&seen, &acting(1, None), &[1]), drained(Moving));
        let stuck = Stuck { node: NodeId(1), message: "no room".to_owned() };
        let none = Next { stuck: vec![stuck], ..Next::default() };
        assert_eq!(phases(&seen, &none, &[1]), drained(Waiting));
        assert_eq!(shown(&seen, &none, &[1])[0].message, "no room");
        seen.replicas.remove(&NodeId(1));
        assert_eq!(phases(&seen, &Next::default(), &[1]), drained(Stopping));
        seen.pods.remove(0);
        assert_eq!(phases(&seen, &Next::default(), &[1]), drained(Deleting));
    }

    #[test]
    fn every_reason_is_told() {
        use RemovalReason::{ClaimDeleted, ScaledIn, VolumeLost, ZoneRemoved};
        let mut seen = settled();
        seen.claims[0].deleting = true;
        seen.claims[1].surplus = true;
        seen.claims[2].lost = true;
        seen.claims.push(claim(4, "d"));
        let whys: Vec<RemovalReason> = phases(&seen, &acting(1, None), &[]).into_iter().map(|(why, _)| why).collect();
        assert_eq!(whys, [ClaimDeleted, ScaledIn, VolumeLost, ZoneRemoved]);
    }

    #[test]
    fn a_missing_volume_says_until_when_it_is_waited_for() {
        let mut seen = settled();
        seen.claims[1].missing = Some(Missing { what: Trouble::ClaimLost, since_s: 100 });
        let told = shown(&seen, &Next::default(), &[]);
        assert_eq!((told[0].why, told[0].phase), (RemovalReason::VolumeLost, RemovalPhase::Missing));
        assert!(told[0].message.contains("waited for until 1970-01-01T00:16:40Z"), "{}", told[0].message);
        seen.claims[1] = Claim { lost: true, missing: None, ..seen.claims[1].clone() };
        seen.pods.retain(|pod: &Pod| pod.node != NodeId(2));
        assert_eq!(phases(&seen, &Next::default(), &[]), [(RemovalReason::VolumeLost, RemovalPhase::Rebuilding)]);
    }

    #[test]
    fn a_phase_keeps_its_time_and_replicas_are_counted_down() {
        let mut seen = settled();
        seen.claims[0].surplus = true;
        seen.replicas.insert(NodeId(1), 7);
        let nobody = BTreeSet::new();
        let (handing, moving) = (acting(1, hand_over(1)), acting(1, moving(1)));
        let course = |next| Course { next, begun: &nobody, failure: None };
        let first = removals(&[], &seen, course(&handing), &at(50));
        seen.replicas.insert(NodeId(1), 3);
        let later = removals(&first, &seen, course(&handing), &at(60));
        assert_eq!((later[0].replicas_left, later[0].replicas, &later[0].since), (3, 7, &at(50)));
        let moved = removals(&later, &seen, course(&moving), &at(70));
        assert_eq!((moved[0].phase, &moved[0].since), (RemovalPhase::Moving, &at(70)));
    }
}
