//! Unsafe recovery: a group whose majority is gone for good goes on from one replica. People decide it, twice: the first call
//! shows what is left and what may be lost, the second carries out exactly what the first has shown.
//!
//! The node that has the chosen replica checks once more, keeps the audit record, and does the rest. Nothing else in this crate
//! comes here: a program that recovers by itself would one day recover from a minority that was only cut off.

pub mod picture;

use std::time::Duration;

use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaId, Zone};
use tonic::Code;
use wire::admin::health::State;
use wire::admin::{GroupStatus, NodeStatus, RecoverGroupRequest};

use crate::cluster::{Cluster, ClusterError};
pub use picture::{Picture, Refusal, Survivor};

/// Where leaders of one zone come and go, the replica may be another by an entry than it was a moment ago.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);

/// What was decided.
#[derive(Clone, Debug)]
pub struct Decision {
    pub partition: PartitionId,
    /// What the first look has shown.
    pub code: String,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the picture is another than the one with code {given}: look again, and confirm what is shown then")]
    OtherPicture { given: String },
    #[error("a descriptor of node {node} cannot be read")]
    Decode {
        node: NodeId,
        #[source]
        source: model::codec::DecodeError,
    },
    #[error("node {node} did not answer in time: it may have been done; `trivet admin groups` shows the epoch")]
    Unanswered { node: NodeId },
    #[error("node {node} refused")]
    Node {
        node: NodeId,
        #[source]
        source: ClusterError,
    },
}

/// What is left of the group now.
pub async fn look(cluster: &Cluster, partition: PartitionId) -> Result<Picture, RecoveryError> {
    let mut survivors = Vec::new();
    for reached in cluster.ask_all(true).await.into_iter().flatten() {
        let status = reached.status;
        for group in reached.groups.into_iter().flatten().filter(|group| group.partition == partition.0) {
            survivors.push(survivor(&status, group)?);
        }
    }
    Ok(picture::look(partition, survivors)?)
}

/// Carries out what was confirmed, if it is still what there is.
pub async fn carry_out(cluster: &Cluster, decision: &Decision) -> Result<Picture, RecoveryError> {
    let mut attempts = 1..=ATTEMPTS;
    loop {
        let picture = look(cluster, decision.partition).await?;
        if picture.code() != decision.code {
            return Err(RecoveryError::OtherPicture { given: decision.code.clone() });
        }
        let node = picture.chosen.node;
        let refused = match ask(cluster, &picture, decision).await {
            Ok(()) => return Ok(picture),
            Err(ClusterError::Refused { code: Code::DeadlineExceeded | Code::Cancelled | Code::Unknown, .. }) => {
                return Err(RecoveryError::Unanswered { node });
            }
            Err(refused) => refused,
        };
        let may_change = matches!(&refused, ClusterError::Refused { code: Code::FailedPrecondition, .. });
        attempts.next();
        if !may_change || attempts.is_empty() {
            return Err(RecoveryError::Node { node, source: refused });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask(cluster: &Cluster, picture: &Picture, decision: &Decision) -> Result<(), ClusterError> {
    let Picture { partition, epoch, chosen, others, lost: _ } = picture;
    let request = RecoverGroupRequest {
        partition: partition.0,
        replica: chosen.replica.0,
        epoch: *epoch,
        last_term: chosen.last_term,
        last_index: chosen.last_index,
        answered: std::iter::once(chosen).chain(others).map(|survivor| survivor.replica.0).collect(),
        reason: decision.reason.clone(),
        code: decision.code.clone(),
    };
    cluster.node(chosen.node)?.recover_group(request).await?;
    Ok(())
}

fn survivor(node: &NodeStatus, group: GroupStatus) -> Result<Survivor, RecoveryError> {
    let id = NodeId(node.node);
    let starves = group.health.as_ref().is_some_and(|health| health.state() == State::NeedsArchive);
    let descriptor = match group.descriptor.is_empty() {
        true => None,
        false => Some(
            PartitionDescriptor::decode(group.descriptor)
                .map_err(|source| RecoveryError::Decode { node: id, source })?,
        ),
    };
    let ids = |ids: Vec<u64>| ids.into_iter().map(ReplicaId).collect();
    Ok(Survivor {
        node: id,
        zone: Zone(node.zone.clone()),
        replica: ReplicaId(group.replica),
        descriptor,
        last_term: group.last_term,
        last_index: group.last_index,
        committed: group.committed,
        serving: group.serving,
        doubted: group.tail_doubted,
        starves,
        voters: ids(group.voters),
        voters_outgoing: ids(group.voters_outgoing),
    })
}
