//! When a Pod is replaced since its spec has changed: one that serves in its turn, while all is well; one in which nothing runs at once,
//! so that a wish that cannot come about can be taken back.

use super::{Claim, Pod, Seen, Step};

/// One Pod at a time takes the new content, and only while every group is whole and every other node is ready.
pub fn in_turn(seen: &Seen) -> Option<Step> {
    let calm = seen.whole && seen.pods.iter().all(|pod| pod.ready && !pod.deleting);
    if !calm || seen.pods.len() < seen.claims.len() {
        return None;
    }
    let outdated = seen.zones.iter().find_map(|zone| {
        let in_zone = |pod: &&Pod| seen.claims.iter().any(|claim| claim.node == pod.node && claim.zone == zone.name);
        seen.pods.iter().filter(in_zone).find(|pod| pod.content != zone.content)
    })?;
    Some(Step::DeletePod { name: outdated.name.clone(), why: "its spec has changed" })
}

/// Pods that have not their turn yet.
pub fn outdated(seen: &Seen) -> usize {
    let pods = seen.claims.iter().filter_map(|claim| Some((claim, seen.pod(claim.node)?)));
    pods.filter(|(claim, pod)| is_outdated(claim, pod, seen)).count()
}

/// Nothing is lost with a Pod in which nothing runs. One that has run may come back by itself, and what is wished now may be what cannot
/// run: such ones go one after the other, and each waits until the last one has answered.
pub fn at_once(claim: &Claim, pod: &Pod, seen: &Seen) -> Option<Step> {
    let waits = is_between_pods(claim, seen) && has_rival(claim, seen);
    let goes = is_due(claim, pod, seen) && !waits;
    goes.then(|| Step::DeletePod { name: pod.name.clone(), why: "nothing runs in it, and its spec has changed" })
}

fn is_due(claim: &Claim, pod: &Pod, seen: &Seen) -> bool {
    let may_go = is_outdated(claim, pod, seen) && is_idle(pod, seen);
    may_go && (!pod.begun || is_next(pod, seen) && !is_on_trial(seen))
}

/// A new node, which can be anywhere, while one of its zone that can be in one place alone is about to be placed there.
pub fn gives_way(claim: &Claim, seen: &Seen) -> bool {
    !claim.volume.bound && seen.claims.iter().any(|other| other.zone == claim.zone && is_between_pods(other, seen))
}

/// A node whose volume is on some Kubernetes node, and whose Pod goes or is gone for a moment. On one that does not answer it may go for ever.
fn is_between_pods(claim: &Claim, seen: &Seen) -> bool {
    let comes_back = claim.volume.bound && claim.missing.is_none() && seen.why(claim).is_none();
    comes_back
        && match seen.pod(claim.node) {
            None => true,
            Some(pod) => seen.is_told_of(pod) && (pod.deleting || pod.ended || is_due(claim, pod, seen)),
        }
}

/// Somebody waits for a place in the zone, and would take this one's: it gives way first.
fn has_rival(claim: &Claim, seen: &Seen) -> bool {
    placed(seen).any(|(other, pod)| other.zone == claim.zone && !other.volume.bound && pod.machine.is_none())
}

/// None where its zone is not wished.
fn wished<'a>(claim: &Claim, seen: &'a Seen) -> Option<&'a str> {
    seen.zones.iter().find(|zone| zone.name == claim.zone).map(|zone| zone.content.as_str())
}

fn is_outdated(claim: &Claim, pod: &Pod, seen: &Seen) -> bool {
    wished(claim, seen).is_some_and(|wished| wished != pod.content)
}

/// What a kubelet says that does not answer any more may have changed since.
fn is_idle(pod: &Pod, seen: &Seen) -> bool {
    seen.is_told_of(pod) && !pod.ready && !pod.running && !pod.deleting && !pod.ended && !answers(pod, seen)
}

fn answers(pod: &Pod, seen: &Seen) -> bool {
    seen.answers.iter().any(|answer| answer.node == pod.node || Some(&answer.address) == pod.address.as_ref())
}

/// Of those that have run, and that nothing runs in any more.
fn is_next(pod: &Pod, seen: &Seen) -> bool {
    let waits = |(claim, pod): &(&Claim, &Pod)| {
        pod.begun && claim.missing.is_none() && is_outdated(claim, pod, seen) && is_idle(pod, seen)
    };
    placed(seen).find(waits).is_some_and(|(_, first)| first.node == pod.node)
}

/// Some Pod has the content that is wished, and nobody knows yet whether a node can run with it.
fn is_on_trial(seen: &Seen) -> bool {
    placed(seen).any(|(claim, pod)| {
        let has_it = wished(claim, seen) == Some(pod.content.as_str());
        let works = pod.machine.as_ref().and_then(|name| seen.machine(name)).is_some_and(|machine| machine.ready);
        has_it && works && claim.missing.is_none() && !answers(pod, seen)
    })
}

fn placed(seen: &Seen) -> impl Iterator<Item = (&Claim, &Pod)> {
    seen.claims.iter().filter_map(|claim| Some((claim, seen.pod(claim.node)?)))
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::super::tests::{claim, pod, settled, steps, unplaced};
    use super::*;

    fn gone(pods: &[u64]) -> Vec<Step> {
        let why = "nothing runs in it, and its spec has changed";
        pods.iter().map(|pod| Step::DeletePod { name: format!("pod-{pod}"), why }).collect()
    }

    /// Its container has the state of one whose image is not there.
    fn never_began(seen: &mut Seen, node: u64) {
        silent(seen, node);
        let pod = seen.pods.iter_mut().find(|pod| pod.node == NodeId(node)).unwrap();
        (pod.begun, pod.address) = (false, None);
    }

    /// Its process ends whenever it begins.
    fn crashes(seen: &mut Seen, node: u64) {
        silent(seen, node);
    }

    fn silent(seen: &mut Seen, node: u64) {
        let pod = seen.pods.iter_mut().find(|pod| pod.node == NodeId(node)).unwrap();
        (pod.ready, pod.running) = (false, false);
        pod.content = "old".to_owned();
        seen.answers.retain(|answer| answer.node != NodeId(node));
        seen.whole = false;
    }

    #[test]
    fn pods_are_replaced_one_at_a_time_and_only_while_every_group_is_whole() {
        let mut seen = settled();
        seen.pods.iter_mut().for_each(|pod| pod.content = "old".to_owned());
        let first = Step::DeletePod { name: "pod-1".to_owned(), why: "its spec has changed" };
        assert_eq!(steps(&seen), [first]);
        seen.whole = false;
        assert_eq!(steps(&seen), []);
        seen.whole = true;
        seen.pods[2].ready = false;
        assert_eq!(steps(&seen), []);
        seen.pods[2].ready = true;
        seen.pods[0].deleting = true;
        assert_eq!(steps(&seen), []);
        // While one is gone, it is made again, and no second one goes.
        seen.pods.remove(0);
        assert_eq!(steps(&seen), [Step::CreatePod { zone: "a".to_owned(), node: NodeId(1) }]);
    }

    #[test]
    fn a_wish_that_no_pod_could_begin_with_is_taken_back() {
        let mut seen = settled();
        never_began(&mut seen, 1);
        assert_eq!(steps(&seen), gone(&[1]));
        // Of a fresh cluster none runs, and all are made again.
        never_began(&mut seen, 2);
        seen.pods[2] = unplaced(seen.pods[2].clone());
        (seen.pods[2].unschedulable, seen.pods[2].content) = (Some("too large".to_owned()), "old".to_owned());
        seen.answers.clear();
        assert_eq!(steps(&seen), gone(&[1, 2, 3]));
        seen.pods.iter_mut().for_each(|pod| pod.deleting = true);
        assert_eq!(steps(&seen), []);
    }

    #[test]
    fn what_runs_or_answers_or_cannot_be_known_waits_for_its_turn() {
        let stays = |change: fn(&mut Seen)| {
            let mut seen = settled();
            never_began(&mut seen, 1);
            change(&mut seen);
            assert!(!steps(&seen).iter().any(|step| matches!(step, Step::DeletePod { .. })), "{:?}", steps(&seen));
        };
        stays(|seen| seen.pods[0].content = "new".to_owned());
        stays(|seen| seen.pods[0].running = true);
        stays(|seen| seen.answers = settled().answers);
        stays(|seen| seen.machines[0].ready = false);
        stays(|seen| drop(seen.machines.remove(0)));
    }

    #[test]
    fn of_those_that_have_run_each_waits_until_the_last_one_has_answered() {
        let mut seen = settled();
        (1..=3).for_each(|node| crashes(&mut seen, node));
        assert_eq!(steps(&seen), gone(&[1]));
        // The new one begins, and nobody knows yet how it ends.
        (seen.pods[0].content, seen.pods[0].running) = ("new".to_owned(), true);
        assert_eq!(steps(&seen), []);
        seen.pods[0].running = false;
        assert_eq!(steps(&seen), []);
        seen.answers.push(settled().answers[0].clone());
        assert_eq!(steps(&seen), gone(&[2]));
        // What is away for another reason is in nobody's way.
        seen.answers.clear();
        seen.machines[0].ready = false;
        assert_eq!(steps(&seen), gone(&[2]));
    }

    #[test]
    fn a_new_nodes_pod_waits_while_one_that_was_placed_has_none() {
        let mut seen = settled();
        seen.zones[0].nodes = 2;
        let mut new = Claim { store: None, ..claim(4, "a") };
        new.volume.bound = false;
        seen.claims.push(new);
        let create = |zone: &str, node| Step::CreatePod { zone: zone.to_owned(), node: NodeId(node) };
        assert_eq!(steps(&seen), [create("a", 4)]);
        seen.pods[0].deleting = true;
        assert_eq!(steps(&seen), []);
        // Its own comes first, and then the new one's.
        let first = seen.pods.remove(0);
        assert_eq!(steps(&seen), [create("a", 1)]);
        seen.pods.insert(0, unplaced(first));
        seen.pods[0].deleting = false;
        assert_eq!(steps(&seen), [create("a", 4)]);
        // On a Kubernetes node that does not answer a Pod goes for ever.
        seen.pods[0] = Pod { deleting: true, ..pod(1) };
        seen.machines[0].ready = false;
        assert_eq!(steps(&seen)[1..], [create("a", 4)]);
    }
}
