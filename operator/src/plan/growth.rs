//! Volumes that are to be larger: one after the other, where their StorageClass lets them grow.

use super::{Claim, Seen, Step, Volume};

pub fn plan(seen: &Seen) -> Option<Step> {
    let wished = seen.storage.bytes?;
    let stays = |claim: &&Claim| claim.volume.bound && claim.missing.is_none() && seen.why(claim).is_none();
    let ours = || seen.claims.iter().filter(stays);
    if let Some(growing) = ours().find(|claim| claim.volume.has_bytes < claim.volume.asked_bytes) {
        let refused = growing.volume.refusal.as_ref()?;
        return Some(blocked(format!("the volume of node {} does not grow: {refused}", growing.node)));
    }
    let next = ours().find(|claim| claim.volume.asked_bytes < wished)?;
    let Volume { class, class_grows, .. } = &next.volume;
    match class_grows {
        Some(true) => Some(Step::GrowClaim { node: next.node, size: seen.storage.size.clone() }),
        Some(false) => Some(blocked(format!(
            "StorageClass {class} does not let volumes grow to {}: set its allowVolumeExpansion if its provisioner can do that, or delete \
             the nodes' claims one after the other, and each new one has that size",
            seen.storage.size
        ))),
        None => Some(blocked(format!(
            "the volume of node {} cannot grow to {}, since there is no StorageClass {class:?}: delete the nodes' claims one after the \
             other, and each new one has that size",
            next.node, seen.storage.size
        ))),
    }
}

fn blocked(message: String) -> Step {
    Step::Blocked { reason: "VolumeDoesNotGrow", message }
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::super::tests::{settled, steps};
    use super::*;

    /// All have 10, and are to have 20.
    fn small() -> Seen {
        let mut seen = settled();
        (seen.storage.size, seen.storage.bytes) = ("20".to_owned(), Some(20));
        seen
    }

    fn sentence(seen: &Seen) -> String {
        match &steps(seen)[..] {
            [Step::Blocked { reason: "VolumeDoesNotGrow", message }] => message.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn volumes_grow_one_after_the_other() {
        let mut seen = small();
        for index in 0..3 {
            let node = seen.claims[index].node;
            assert_eq!(steps(&seen), [Step::GrowClaim { node, size: "20".to_owned() }]);
            seen.claims[index].volume.asked_bytes = 20;
            assert_eq!(steps(&seen), [], "the next one waits");
            seen.claims[index].volume.has_bytes = 20;
        }
        assert_eq!(steps(&seen), []);
    }

    #[test]
    fn a_class_that_forbids_it_is_named_with_what_comes_next() {
        let mut seen = small();
        seen.claims[0].volume.class_grows = Some(false);
        assert!(
            sentence(&seen).contains("StorageClass fast does not let volumes grow to 20: set its allowVolumeExpansion")
        );
        seen.claims[0].volume.class_grows = None;
        assert!(sentence(&seen).contains("there is no StorageClass \"fast\""));
    }

    #[test]
    fn a_volume_that_was_refused_says_so_and_the_others_wait() {
        let mut seen = small();
        seen.claims[0].volume.asked_bytes = 20;
        seen.claims[0].volume.refusal = Some("no space in the pool".to_owned());
        assert!(sentence(&seen).contains("node 0000000000000001 does not grow: no space in the pool"));
    }

    #[test]
    fn only_volumes_that_stay_grow() {
        let mut seen = small();
        seen.claims[0].volume.bound = false;
        seen.claims[1].deleting = true;
        let grown = steps(&seen).into_iter().filter(|step| matches!(step, Step::GrowClaim { .. })).collect::<Vec<_>>();
        assert_eq!(grown, [Step::GrowClaim { node: NodeId(3), size: "20".to_owned() }]);
    }
}
