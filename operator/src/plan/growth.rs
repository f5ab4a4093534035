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
            "StorageClass {class} does not let volumes grow to {}, the spec.storage.size: set its allowVolumeExpansion if its provisioner \
             can do that, or delete the nodes' claims one after the other, and each new one has that size{}",
            seen.storage.size,
            back(seen)
        ))),
        None => Some(blocked(format!(
            "the volume of node {} cannot grow to {}, the spec.storage.size, since there is no StorageClass {class:?}: delete the nodes' \
             claims one after the other, and each new one has that size{}",
            next.node,
            seen.storage.size,
            back(seen)
        ))),
    }
}

/// How the wish is taken back, where no claim follows it yet.
fn back(seen: &Seen) -> String {
    let largest = largest_bytes(seen).filter(|largest| seen.storage.bytes.is_some_and(|wished| *largest < wished));
    largest.map_or_else(String::new, |largest| format!("; or set spec.storage.size back to {}", quantity(largest)))
}

/// What no claim asks for can be wished away again.
pub fn largest(seen: &Seen) -> Option<String> {
    largest_bytes(seen).map(quantity)
}

/// Of those that go, too: nothing is lost by waiting for them.
fn largest_bytes(seen: &Seen) -> Option<u64> {
    seen.claims.iter().map(|claim| claim.volume.asked_bytes).max().filter(|bytes| *bytes > 0)
}

/// As Kubernetes writes it, exactly.
fn quantity(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let unit = (bytes.trailing_zeros() as usize / 10).min(UNITS.len() - 1);
    format!("{}{}", bytes >> (10 * unit), UNITS[unit])
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
            sentence(&seen)
                .contains("StorageClass fast does not let volumes grow to 20, the spec.storage.size: set its")
        );
        assert!(sentence(&seen).ends_with("; or set spec.storage.size back to 10"));
        seen.claims[0].volume.class_grows = None;
        assert!(sentence(&seen).contains("there is no StorageClass \"fast\""));
    }

    #[test]
    fn a_wish_that_a_volume_follows_is_not_taken_back() {
        let mut seen = small();
        seen.claims[0].volume.class_grows = Some(false);
        (seen.claims[2].volume.asked_bytes, seen.claims[2].volume.has_bytes) = (20, 20);
        assert!(sentence(&seen).ends_with("each new one has that size"));
        assert_eq!(largest(&seen), Some("20".to_owned()));
        seen.claims.clear();
        assert_eq!(largest(&seen), None);
    }

    #[test]
    fn a_wish_that_is_taken_back_leaves_everything_as_it_was() {
        let mut seen = small();
        seen.claims[0].volume.class_grows = Some(false);
        (seen.storage.size, seen.storage.bytes) = ("10".to_owned(), Some(10));
        assert_eq!(steps(&seen), []);
    }

    #[test]
    fn sizes_are_told_exactly() {
        for (bytes, told) in
            [(1, "1"), (3 << 30, "3Gi"), (2048 << 30, "2Ti"), (1536 << 20, "1536Mi"), (10_000_000_000, "9765625Ki")]
        {
            assert_eq!(quantity(bytes), told);
            let read =
                crate::build::node::bytes(&k8s_openapi::apimachinery::pkg::api::resource::Quantity(told.to_owned()));
            assert_eq!(read, Some(bytes));
        }
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
