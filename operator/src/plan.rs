//! What is to be done next with a cluster's nodes: a pure function of its spec, of what Kubernetes has and of what nodes answer, all of it
//! validated.
//!
//! A node's identity is its claim's. A blank disk is given it once: the number that the disk has drawn is written down on the claim
//! first, so that a disk that is blank once more is known to have lost what it had. Such a node is never the old one again: it is
//! replaced by one with a new identity, and its claim goes when no group names it any more.

use model::NodeId;

use crate::validate::{Objection, ValidNodes};

mod classes;
mod fleets;
pub mod growth;
mod hanging;
mod loss;
mod replacement;
mod seen;
#[cfg(test)]
mod world;

pub use loss::patience_s;
pub use replacement::outdated;
pub use seen::{Answer, Claim, Hanging, Hitch, Machine, Missing, Part, Pod, Seen, Storage, Trouble, Volume, Why, Zone};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    CreateClaim {
        zone: String,
        node: NodeId,
    },
    CreatePod {
        zone: String,
        node: NodeId,
    },
    DeletePod {
        name: String,
        why: &'static str,
    },
    /// The disk that the claim's identity is about to be given to.
    RecordStore {
        node: NodeId,
        store: u64,
    },
    /// The one-time word.
    Format {
        address: String,
        node: NodeId,
        store: u64,
    },
    /// Its disk does not come back: another node takes its place.
    MarkLost {
        node: NodeId,
        why: String,
    },
    /// It goes, as soon as its replicas are elsewhere.
    Leave {
        node: NodeId,
    },
    /// It was to leave, and is wished again.
    Stay {
        node: NodeId,
    },
    DeleteClaim {
        node: NodeId,
    },
    /// Its volume is to have this size.
    GrowClaim {
        node: NodeId,
        size: String,
    },
    /// Routers and MemDS of a zone that is not wished and has no nodes any more.
    RemoveFleet {
        zone: String,
    },
    /// Nothing goes on there before somebody acts.
    Blocked {
        reason: &'static str,
        message: String,
    },
}

impl From<Objection> for Step {
    fn from(Objection { reason, message }: Objection) -> Step {
        Step::Blocked { reason, message }
    }
}

/// All next steps. `draw` gives ids that no node has.
pub fn plan(valid: &ValidNodes<'_>, mut draw: impl FnMut() -> NodeId) -> Vec<Step> {
    let seen = valid.seen();
    let mut steps: Vec<Step> = valid.objections().iter().cloned().map(Step::from).collect();
    steps.extend(fleets::old(seen));
    for zone in &seen.zones {
        steps.extend(plan_zone(zone, seen, &mut draw));
    }
    for claim in &seen.claims {
        // Who is to stay is told so first: as the claim stands it would go.
        if !steps.contains(&Step::Stay { node: claim.node }) {
            steps.extend(plan_claim(claim, seen));
        }
    }
    steps.extend(seen.pods.iter().filter_map(|pod| without_claim(pod, seen)));
    steps.extend(hanging::plan(seen));
    steps.extend(growth::plan(seen));
    // Whoever goes for another reason goes alone.
    if !stops(&steps) {
        steps.extend(replacement::in_turn(seen));
    }
    steps
}

/// Whether a node is stopped: nothing else that takes from what groups have is begun beside it.
pub fn stops(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::DeletePod { .. }))
}

/// A claim goes at once where its Pod has not been placed yet, and what is left of its node would wait for ever. One that was placed has its
/// volume, and so its claim.
fn without_claim(pod: &Pod, seen: &Seen) -> Option<Step> {
    let waits = pod.machine.is_none() && !pod.deleting && seen.claims.iter().all(|claim| claim.node != pod.node);
    waits.then(|| Step::DeletePod { name: pod.name.clone(), why: "its claim is gone" })
}

/// As many nodes as are wished: who was to leave stays before a new one comes.
fn plan_zone(zone: &Zone, seen: &Seen, draw: &mut impl FnMut() -> NodeId) -> Vec<Step> {
    let goes_anyway = |claim: &Claim| claim.lost || claim.deleting || claim.drained.is_some();
    let ours = || seen.claims.iter().filter(|claim| claim.zone == zone.name && !goes_anyway(claim));
    let staying = ours().filter(|claim| !claim.surplus).count();
    if staying > zone.nodes {
        // Who has not even been given its identity goes first, then who has least to give away.
        let replicas = |claim: &Claim| seen.replicas.get(&claim.node).copied().unwrap_or(0);
        let mut leavers: Vec<&Claim> = ours().filter(|claim| !claim.surplus).collect();
        leavers.sort_by_key(|claim| (claim.store.is_some(), replicas(claim), std::cmp::Reverse(claim.node)));
        return leavers[..staying - zone.nodes].iter().map(|claim| Step::Leave { node: claim.node }).collect();
    }
    let mut returning = ours().filter(|claim| claim.surplus);
    let missing = (staying..zone.nodes).map(|_| match returning.next() {
        Some(claim) => Step::Stay { node: claim.node },
        None => Step::CreateClaim { zone: zone.name.clone(), node: draw() },
    });
    missing.collect()
}

fn plan_claim(claim: &Claim, seen: &Seen) -> Vec<Step> {
    let pod = seen.pod(claim.node);
    if claim.lost || may_go(claim, seen) {
        return plan_farewell(claim, pod, seen);
    }
    if let Some(step) = loss::give_up(claim, seen) {
        return vec![step];
    }
    if let Some(step) = classes::remake(claim, seen) {
        return vec![step];
    }
    let Some(pod) = pod else {
        let create = (!replacement::gives_way(claim, seen))
            .then(|| Step::CreatePod { zone: claim.zone.clone(), node: claim.node });
        return create.into_iter().collect();
    };
    if pod.deleting {
        return Vec::new();
    }
    if pod.machine.is_none() && replacement::gives_way(claim, seen) {
        let why = "it would take the place of one whose volume is there";
        return vec![Step::DeletePod { name: pod.name.clone(), why }];
    }
    if pod.ended {
        return vec![Step::DeletePod { name: pod.name.clone(), why: "it has ended, and another takes its place" }];
    }
    if claim.missing.is_some() {
        // What is waited for blocks nothing: it comes back, or is given up.
        return Vec::new();
    }
    if let Some(step) = replacement::at_once(claim, pod, seen) {
        return vec![step];
    }
    if let Some(why) = &pod.unschedulable {
        return vec![classes::unknown(claim, pod, seen).unwrap_or_else(|| unschedulable(claim, pod, why))];
    }
    let blank = |answer: &&Answer| Some(&answer.address) == pod.address.as_ref() && answer.node == NodeId(0);
    match seen.answers.iter().find(blank) {
        Some(answer) => plan_blank(claim, answer, seen),
        None => Vec::new(),
    }
}

/// One after the other: of two of different zones that are silent at once each would wait for the other to tell that nobody needs it.
fn may_go(claim: &Claim, seen: &Seen) -> bool {
    let goes = |claim: &&Claim| !claim.lost && seen.why(claim).is_some() && seen.is_unused(claim);
    let first = seen.claims.iter().filter(goes).find(|claim| claim.store.is_some());
    goes(&claim) && (claim.store.is_none() || first.is_some_and(|first| first.node == claim.node))
}

fn unschedulable(claim: &Claim, pod: &Pod, why: &str) -> Step {
    let (name, zone) = (&pod.name, &claim.zone);
    let less = match why.contains("anti-affinity") {
        true => {
            "wish fewer nodes there in spec.zones, or let them share with spec.node.shareKubernetesNodes".to_owned()
        }
        false => format!("ask for less in {}", Part::Node.resources()),
    };
    let message = format!(
        "no Kubernetes node takes Pod {name}: {why}; make room on a Kubernetes node of zone {zone}, add one, or {less}"
    );
    Step::Blocked { reason: "Unschedulable", message }
}

fn plan_blank(claim: &Claim, answer: &Answer, seen: &Seen) -> Vec<Step> {
    let (node, store) = (claim.node, answer.store);
    match claim.store {
        None => vec![Step::RecordStore { node, store }],
        Some(known) if known == store => vec![Step::Format { address: answer.address.clone(), node, store }],
        Some(_) => vec![loss::give_up_blank(claim, seen)],
    }
}

/// First the Pod, then the claim; and that only when no group names the node.
fn plan_farewell(claim: &Claim, pod: Option<&Pod>, seen: &Seen) -> Vec<Step> {
    let why = if claim.lost { "its disk has lost its identity" } else { "its node leaves, and has no replicas" };
    match pod {
        Some(pod) if pod.deleting => Vec::new(),
        Some(pod) => vec![Step::DeletePod { name: pod.name.clone(), why }],
        None if !claim.deleting && seen.is_unused(claim) => vec![Step::DeleteClaim { node: claim.node }],
        None => Vec::new(),
    }
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::validate;

    const ZONES: [&str; 3] = ["a", "b", "c"];

    fn zones(nodes: usize) -> Vec<Zone> {
        ZONES.map(|name| Zone { name: name.to_owned(), nodes, content: "new".to_owned() }).into()
    }

    pub fn claim(node: u64, zone: &str) -> Claim {
        let grows = Some(true);
        let volume = Volume { bound: true, class: "fast".to_owned(), class_grows: grows, ..Volume::default() };
        Claim {
            node: NodeId(node),
            zone: zone.to_owned(),
            store: Some(node * 10),
            lost: false,
            surplus: false,
            deleting: false,
            drained: None,
            missing: None,
            volume: Volume { asked_bytes: 10, has_bytes: 10, ..volume },
        }
    }

    pub fn pod(node: u64) -> Pod {
        Pod {
            node: NodeId(node),
            name: format!("pod-{node}"),
            machine: Some(format!("machine-{node}")),
            address: Some(format!("10.0.0.{node}:7400")),
            ready: true,
            deleting: false,
            ended: false,
            running: true,
            begun: true,
            content: "new".to_owned(),
            unschedulable: None,
        }
    }

    /// Nothing has ever run in it.
    pub fn unplaced(pod: Pod) -> Pod {
        Pod { machine: None, address: None, ready: false, running: false, begun: false, ..pod }
    }

    fn answer(pod: u64, node: u64, store: u64) -> Answer {
        Answer { address: format!("10.0.0.{pod}:7400"), node: NodeId(node), store, ready: node != 0 }
    }

    fn machine(number: u64, zone: &str) -> Machine {
        let (name, zone) = (format!("machine-{number}"), Some(zone.to_owned()));
        Machine { name, zone, ready: true, ..Machine::default() }
    }

    /// Three nodes, all as it should be.
    pub fn settled() -> Seen {
        Seen {
            now_s: 0,
            zones: zones(1),
            simulated: false,
            storage: Storage { size: "10".to_owned(), bytes: Some(10), lost_after_s: 900, ..Storage::default() },
            hanging: Vec::new(),
            machines: vec![machine(1, "a"), machine(2, "b"), machine(3, "c")],
            fleets: BTreeSet::new(),
            claims: vec![claim(1, "a"), claim(2, "b"), claim(3, "c")],
            pods: vec![pod(1), pod(2), pod(3)],
            answers: vec![answer(1, 1, 10), answer(2, 2, 20), answer(3, 3, 30)],
            replicas: in_use(&[1, 2, 3]),
            leads: [(NodeId(1), 1)].into(),
            silent: BTreeSet::new(),
            whole: true,
            needed: [].into(),
        }
    }

    /// One replica each.
    fn in_use(nodes: &[u64]) -> std::collections::BTreeMap<NodeId, usize> {
        nodes.iter().map(|node| (NodeId(*node), 1)).collect()
    }

    pub fn steps(seen: &Seen) -> Vec<Step> {
        let mut next = 100;
        plan(&validate::nodes(seen), || {
            next += 1;
            NodeId(next)
        })
    }

    #[test]
    fn a_pod_whose_claim_went_before_it_was_placed_goes_and_holds_nobody_up() {
        let mut seen = settled();
        seen.pods.push(unplaced(pod(4)));
        let gone =
            |seen: &Seen| steps(seen) == [Step::DeletePod { name: "pod-4".to_owned(), why: "its claim is gone" }];
        assert!(gone(&seen));
        seen.pods[3].deleting = true;
        assert_eq!(steps(&seen), []);
        // One that was placed may have what its claim was for.
        seen.pods[3] = pod(4);
        assert_eq!(steps(&seen), []);
    }

    #[test]
    fn a_new_cluster_gets_a_claim_a_pod_and_then_an_identity_for_each_node() {
        let mut seen = Seen { zones: zones(1), machines: settled().machines, ..Seen::default() };
        let claims = ZONES.iter().zip(101..);
        let claims = claims.map(|(zone, node)| Step::CreateClaim { zone: (*zone).to_owned(), node: NodeId(node) });
        assert_eq!(steps(&seen), claims.collect::<Vec<_>>());

        seen = Seen { claims: settled().claims, ..seen };
        seen.claims[0].store = None;
        assert_eq!(steps(&seen)[0], Step::CreatePod { zone: "a".to_owned(), node: NodeId(1) });

        seen = Seen { answers: vec![answer(1, 0, 77)], claims: seen.claims, ..settled() };
        assert_eq!(steps(&seen), [Step::RecordStore { node: NodeId(1), store: 77 }]);
        seen.claims[0].store = Some(77);
        let format = Step::Format { address: "10.0.0.1:7400".to_owned(), node: NodeId(1), store: 77 };
        assert_eq!(steps(&seen), [format]);
        assert_eq!(steps(&settled()), []);
    }

    #[test]
    fn a_disk_that_is_blank_again_never_gets_the_old_identity() {
        let mut seen = settled();
        seen.answers[1] = answer(2, 0, 78);
        assert!(matches!(&steps(&seen)[..], [Step::MarkLost { node: NodeId(2), .. }]));
        seen.claims[1].lost = true;
        let gone = Step::DeletePod { name: "pod-2".to_owned(), why: "its disk has lost its identity" };
        assert_eq!(steps(&seen), [Step::CreateClaim { zone: "b".to_owned(), node: NodeId(101) }, gone]);
        // The claim stays as long as some group names its node, or a node that did not answer might.
        seen.pods.remove(1);
        seen.claims.push(claim(4, "b"));
        seen.pods.push(pod(4));
        assert_eq!(steps(&seen), []);
        seen.replicas = in_use(&[1, 3, 4]);
        seen.silent = [3].map(NodeId).into();
        assert_eq!(steps(&seen), []);
        // Its own silence says nothing, nor does that of one in its zone: others have a voter of each of their groups.
        seen.silent = [2, 4].map(NodeId).into();
        assert_eq!(steps(&seen), [Step::DeleteClaim { node: NodeId(2) }]);
    }

    #[test]
    fn a_pod_that_has_ended_is_made_again() {
        let mut seen = settled();
        (seen.pods[1].ended, seen.pods[1].ready, seen.pods[1].address) = (true, false, None);
        assert!(matches!(&steps(&seen)[..], [Step::DeletePod { name, .. }] if name == "pod-2"));
    }

    #[test]
    fn what_blocks_is_said() {
        let mut seen = settled();
        seen.pods[1].unschedulable = Some("0/3 nodes are available".to_owned());
        assert!(matches!(&steps(&seen)[..], [Step::Blocked { reason: "Unschedulable", .. }]));
        seen.pods[1].unschedulable = Some("3 node(s) didn't match pod anti-affinity rules".to_owned());
        let [Step::Blocked { message, .. }] = &steps(&seen)[..] else { panic!("nothing blocks") };
        assert!(message.contains("spec.zones, or let them share with spec.node.shareKubernetesNodes"), "{message}");
    }

    #[test]
    fn a_node_that_is_not_wished_any_more_goes_when_its_replicas_are_elsewhere() {
        let mut seen = settled();
        seen.claims.push(claim(4, "a"));
        seen.pods.push(pod(4));
        assert_eq!(steps(&seen), [Step::Leave { node: NodeId(4) }]);
        seen.claims[3].surplus = true;
        seen.replicas = in_use(&[1, 2, 3, 4]);
        assert_eq!(steps(&seen), []);
        seen.replicas = in_use(&[1, 2, 3]);
        let gone = Step::DeletePod { name: "pod-4".to_owned(), why: "its node leaves, and has no replicas" };
        assert_eq!(steps(&seen), [gone]);
        seen.pods.pop();
        assert_eq!(steps(&seen), [Step::DeleteClaim { node: NodeId(4) }]);
        // Wished again before it is gone, it stays.
        seen.zones[0].nodes = 2;
        assert_eq!(steps(&seen), [Step::Stay { node: NodeId(4) }]);
    }

    #[test]
    fn of_two_that_go_the_second_waits_for_the_first() {
        let mut seen = settled();
        seen.zones = zones(0);
        (seen.claims[0].surplus, seen.claims[1].surplus) = (true, true);
        seen.zones[2].nodes = 1;
        seen.replicas = in_use(&[3]);
        assert!(matches!(&steps(&seen)[..], [Step::DeletePod { name, .. }] if name == "pod-1"));
        seen.pods.remove(0);
        seen.silent = [1].map(NodeId).into();
        assert_eq!(steps(&seen), [Step::DeleteClaim { node: NodeId(1) }]);
        seen.claims.remove(0);
        seen.silent.clear();
        assert!(matches!(&steps(&seen)[..], [Step::DeletePod { name, .. }] if name == "pod-2"));
    }

    #[test]
    fn a_claim_that_somebody_deletes_is_replaced_and_keeps_its_pod_while_groups_need_it() {
        let mut seen = settled();
        seen.claims[0].deleting = true;
        assert_eq!(steps(&seen), [Step::CreateClaim { zone: "a".to_owned(), node: NodeId(101) }]);
        seen.claims.push(claim(4, "a"));
        seen.pods.push(pod(4));
        assert_eq!(steps(&seen), []);
        seen.replicas = in_use(&[2, 3, 4]);
        let gone = Step::DeletePod { name: "pod-1".to_owned(), why: "its node leaves, and has no replicas" };
        assert_eq!(steps(&seen), [gone]);
        // Kubernetes removes a claim that is being deleted when its Pod is gone.
        seen.pods.remove(0);
        assert_eq!(steps(&seen), []);
    }
    #[test]
    fn a_node_of_a_drained_kubernetes_node_is_replaced_and_stays_if_the_drain_is_taken_back() {
        let mut seen = settled();
        seen.claims[1].drained = Some("machine-2".to_owned());
        assert_eq!(steps(&seen), [Step::CreateClaim { zone: "b".to_owned(), node: NodeId(101) }]);
        seen.claims.push(claim(4, "b"));
        seen.pods.push(pod(4));
        seen.machines.push(machine(4, "b"));
        // Its Pod stays as long as a group needs it.
        assert_eq!(steps(&seen), []);
        let back = Seen { claims: seen.claims.clone(), ..seen.clone() };
        seen.replicas = in_use(&[1, 3, 4]);
        let gone = Step::DeletePod { name: "pod-2".to_owned(), why: "its node leaves, and has no replicas" };
        assert_eq!(steps(&seen), [gone]);
        seen.pods.remove(1);
        assert_eq!(steps(&seen), [Step::DeleteClaim { node: NodeId(2) }]);
        // Taken back before, the one that came goes again: it has less.
        seen = back;
        seen.claims[1].drained = None;
        assert_eq!(steps(&seen), [Step::Leave { node: NodeId(4) }]);
    }

    #[test]
    fn a_replacement_that_no_kubernetes_node_takes_is_not_replaced_itself() {
        let mut seen = settled();
        seen.claims[1].drained = Some("machine-2".to_owned());
        seen.claims.push(Claim { store: None, ..claim(4, "b") });
        let full = Pod { unschedulable: Some("full".to_owned()), ..unplaced(pod(4)) };
        seen.pods.push(full);
        match &steps(&seen)[..] {
            [Step::Blocked { reason: "Unschedulable", message }] => {
                assert!(message.contains("full; make room on a Kubernetes node of zone b"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        // Nobody waits to take back what has nothing.
        seen.claims[1].drained = None;
        assert_eq!(steps(&seen)[0], Step::Leave { node: NodeId(4) });
        seen.claims[3].surplus = true;
        seen.silent = [1].map(NodeId).into();
        assert!(matches!(&steps(&seen)[0], Step::DeletePod { name, .. } if name == "pod-4"));
    }
}
