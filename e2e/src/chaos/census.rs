//! Counts the replicas that repair has brought, by looking at the groups all the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{PartitionId, ReplicaId, ReplicaKind};
use tokio::task::JoinHandle;

use crate::groups::{Admin, Look};

/// A log replica stays for seconds at least: its group asks for another change once in a second.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Groups are born with replicas of these ids.
const BORN: u64 = 3;

/// Members of groups that were ever seen. An id is given once, so that each counts once.
#[derive(Default)]
pub struct Census {
    seen: Mutex<BTreeMap<(PartitionId, ReplicaId), ReplicaKind>>,
    stop: AtomicBool,
}

impl Census {
    /// Looks until it is stopped.
    pub fn start(admin: Arc<Admin>) -> (Arc<Census>, JoinHandle<anyhow::Result<()>>) {
        let census = Arc::new(Census::default());
        let own = Arc::clone(&census);
        let looks = tokio::spawn(async move {
            while !own.stop.load(Ordering::SeqCst) {
                own.note(&admin.look().await?);
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        });
        (census, looks)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    fn note(&self, look: &Look) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, group) in &look.groups {
            seen.extend(group.descriptor.replicas.iter().map(|member| ((*id, member.id), member.kind)));
        }
    }

    pub fn line(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let came = |wanted| seen.iter().filter(|((_, id), kind)| id.0 > BORN && **kind == wanted).count();
        let (stand_ins, rebuilt) = (came(ReplicaKind::Log), came(ReplicaKind::Storage));
        format!("Seen to come: {stand_ins} log replicas that stood in, {rebuilt} replicas that were rebuilt.")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use model::{KeyRange, NodeId, PartitionDescriptor, ReplicaDescriptor, ReplicaRole, TableId, Zone};

    use super::*;
    use crate::groups::Group;

    #[test]
    fn what_was_born_does_not_count_and_what_came_counts_once() {
        let id = PartitionId(7);
        let places = [11, 12, 13].map(|node| (NodeId(node), Zone(format!("zone-{node}"))));
        let mut descriptor = PartitionDescriptor::birth(id, TableId(5), KeyRange::ALL, places);
        let look = |descriptor: &PartitionDescriptor| {
            let group = Group { descriptor: descriptor.clone(), leader: None, held: BTreeSet::new() };
            Look { nodes: Vec::new(), groups: [(id, group)].into() }
        };
        let census = Census::default();
        census.note(&look(&descriptor));
        assert!(census.line().contains("0 log replicas that stood in, 0 replicas"));
        let came = |id, kind| ReplicaDescriptor {
            id: ReplicaId(id),
            node: NodeId(10 + id),
            zone: Zone("zone-13".to_owned()),
            role: ReplicaRole::Voter,
            kind,
        };
        descriptor.replicas[2] = came(4, ReplicaKind::Log);
        census.note(&look(&descriptor));
        census.note(&look(&descriptor));
        descriptor.replicas[2] = came(5, ReplicaKind::Storage);
        census.note(&look(&descriptor));
        assert!(census.line().contains("1 log replicas that stood in, 1 replicas"), "{}", census.line());
    }
}
