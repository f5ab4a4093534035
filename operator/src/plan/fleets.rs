//! Routers and MemDS of zones.

use super::{Seen, Step};

/// Routers and MemDS go when the last node of the zone has gone.
pub fn old(seen: &Seen) -> impl Iterator<Item = Step> {
    let goes = |zone: &&String| {
        !seen.zones.iter().any(|wished| wished.name == **zone) && !seen.claims.iter().any(|claim| claim.zone == **zone)
    };
    seen.fleets.iter().filter(goes).map(|zone| Step::RemoveFleet { zone: zone.clone() })
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::super::tests::{settled, steps};
    use super::*;

    #[test]
    fn a_zone_that_is_not_wished_goes_node_by_node_and_its_routers_last() {
        let mut seen = settled();
        seen.fleets = ["a", "b", "c"].map(str::to_owned).into();
        let removed = seen.zones.remove(1);
        // As long as a group names it, its Pod is made again if it goes.
        assert_eq!(steps(&seen), []);
        let pod = seen.pods.remove(1);
        assert_eq!(steps(&seen), [Step::CreatePod { zone: "b".to_owned(), node: NodeId(2) }]);
        seen.pods.insert(1, pod);
        seen.replicas.remove(&NodeId(2));
        assert!(matches!(&steps(&seen)[..], [Step::DeletePod { name, .. }] if name == "pod-2"));
        seen.pods.remove(1);
        assert_eq!(steps(&seen), [Step::DeleteClaim { node: NodeId(2) }]);
        // Wished again, it is an ordinary zone.
        seen.zones.insert(1, removed);
        assert_eq!(steps(&seen), [Step::CreatePod { zone: "b".to_owned(), node: NodeId(2) }]);
        seen.zones.remove(1);
        seen.claims.remove(1);
        assert_eq!(steps(&seen), [Step::RemoveFleet { zone: "b".to_owned() }]);
    }
}
