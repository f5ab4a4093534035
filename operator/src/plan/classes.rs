//! StorageClasses that are not there, and claims that were made by a wish that was taken back.

use super::{Claim, Pod, Seen, Step};

/// No volume was ever bound to it, and it asks for one of another class than is wished: nothing is lost with it. With no class wished, the
/// claim has what was the default when it was made, which is another only where there is no such class.
pub fn remake(claim: &Claim, seen: &Seen) -> Option<Step> {
    let class = &claim.volume.class;
    let is_wrong = match &seen.storage.class {
        Some(wished) => class != wished,
        None => !class.is_empty() && claim.volume.class_grows.is_none(),
    };
    let goes = is_wrong && !claim.volume.bound && claim.store.is_none() && !claim.deleting;
    goes.then_some(Step::DeleteClaim { node: claim.node })
}

/// Why the claim of a Pod that is not placed has no volume, if the class is why.
pub fn unknown(claim: &Claim, pod: &Pod, seen: &Seen) -> Option<Step> {
    if claim.volume.bound || claim.volume.class_grows.is_some() {
        return None;
    }
    let known = match seen.storage.classes.is_empty() {
        true => "there is none at all".to_owned(),
        false => {
            format!("there are {}", seen.storage.classes.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
        }
    };
    let what = match claim.volume.class.as_str() {
        "" => "spec.storage.class names no StorageClass, and none is the default one".to_owned(),
        class => format!("there is no StorageClass {class}, as spec.storage.class names it or as was the default"),
    };
    let message = format!(
        "{what}, and the volume of Pod {} waits for it: {known}; set spec.storage.class to one of them, or make it",
        pod.name
    );
    Some(Step::Blocked { reason: "UnknownStorageClass", message })
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::super::tests::{pod, settled, steps, unplaced};
    use super::*;

    /// Node 1 waits for a volume of this class.
    fn waiting(class: &str) -> Seen {
        let mut seen = settled();
        seen.storage.class = Some(class.to_owned()).filter(|class| !class.is_empty());
        seen.storage.classes = ["fast", "slow"].map(str::to_owned).into();
        seen.claims[0].store = None;
        let volume = &mut seen.claims[0].volume;
        (volume.class, volume.bound, volume.class_grows) = (class.to_owned(), false, None);
        (volume.asked_bytes, volume.has_bytes) = (10, 0);
        seen.pods[0] = Pod { unschedulable: Some("storageclass not found".to_owned()), ..unplaced(pod(1)) };
        seen.answers.remove(0);
        seen
    }

    fn said(seen: &Seen) -> String {
        match &steps(seen)[..] {
            [Step::Blocked { reason: "UnknownStorageClass", message }] => message.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_class_that_is_not_there_is_named_with_those_that_are() {
        let message = said(&waiting("fats"));
        for part in ["no StorageClass fats", "spec.storage.class", "there are fast, slow", "Pod pod-1"] {
            assert!(message.contains(part), "{part:?} in: {message}");
        }
        let mut seen = waiting("");
        seen.storage.classes.clear();
        assert!(said(&seen).contains("none is the default one") && said(&seen).contains("there is none at all"));
        // With a class that is there, something else is why.
        seen.claims[0].volume.class_grows = Some(false);
        assert!(matches!(&steps(&seen)[..], [Step::Blocked { reason: "Unschedulable", .. }]));
    }

    #[test]
    fn a_claim_of_a_wrong_class_is_made_again_as_long_as_nothing_was_bound_to_it() {
        let mut seen = waiting("fats");
        seen.storage.class = Some("fast".to_owned());
        assert_eq!(steps(&seen), [Step::DeleteClaim { node: NodeId(1) }]);
        seen.storage.class = None;
        assert_eq!(steps(&seen), [Step::DeleteClaim { node: NodeId(1) }]);
        // The default of another day.
        seen.claims[0].volume.class_grows = Some(true);
        assert!(!steps(&seen).contains(&Step::DeleteClaim { node: NodeId(1) }));
        seen.storage.class = Some("fast".to_owned());
        seen.claims[0].volume.bound = true;
        assert!(!steps(&seen).contains(&Step::DeleteClaim { node: NodeId(1) }));
        (seen.claims[0].volume.bound, seen.claims[0].store) = (false, Some(10));
        assert!(!steps(&seen).contains(&Step::DeleteClaim { node: NodeId(1) }));
        // Who deletes it has done it.
        (seen.claims[0].deleting, seen.claims[0].store) = (true, None);
        let gone = Step::DeletePod { name: "pod-1".to_owned(), why: "its node leaves, and has no replicas" };
        assert_eq!(steps(&seen), [Step::CreateClaim { zone: "a".to_owned(), node: NodeId(101) }, gone]);
    }
}
