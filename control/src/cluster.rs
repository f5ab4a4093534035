//! The way to nodes and MemDS: one lazy connection each.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::{NodeId, TableDescriptor, TableId};
use tonic::transport::{Channel, Endpoint};
use wire::admin::admin_client::AdminClient;
use wire::admin::{GroupStatus, ListGroupsRequest, NodeStatus, StatusRequest};
use wire::memds::mem_ds_client::MemDsClient;
use wire::memds::{PutTableRequest, RemoveTableRequest};

/// How long one administrative call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Descriptors of many groups in one answer.
const ANSWER_BYTES: usize = 64 << 20;

pub struct Cluster {
    nodes: Vec<AdminClient<Channel>>,
    memds: Vec<MemDsClient<Channel>>,
    /// Which connection leads to which node, as the nodes last said themselves.
    by_id: Mutex<BTreeMap<NodeId, usize>>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{0} is no address")]
    Address(String, #[source] tonic::transport::Error),
    #[error("node {0} has not answered yet")]
    UnknownNode(NodeId),
    #[error("{message}")]
    Refused { code: tonic::Code, message: String, leader: Option<NodeId> },
}

impl From<tonic::Status> for ClusterError {
    fn from(status: tonic::Status) -> ClusterError {
        let leader = status.metadata().get("trivet-leader").and_then(|value| value.to_str().ok());
        let leader = leader.and_then(|text| u64::from_str_radix(text, 16).ok()).filter(|id| *id != 0).map(NodeId);
        ClusterError::Refused { code: status.code(), message: status.message().to_owned(), leader }
    }
}

/// One node that answered.
pub struct Reached {
    pub status: NodeStatus,
    pub groups: Vec<GroupStatus>,
}

impl Cluster {
    pub fn new(nodes: &[String], memds: &[String]) -> Result<Cluster, ClusterError> {
        let nodes = nodes.iter().map(|address| {
            let client = AdminClient::new(connect(address)?);
            Ok(client.max_decoding_message_size(ANSWER_BYTES))
        });
        let memds = memds.iter().map(|address| Ok(MemDsClient::new(connect(address)?)));
        Ok(Cluster {
            nodes: nodes.collect::<Result<_, ClusterError>>()?,
            memds: memds.collect::<Result<_, ClusterError>>()?,
            by_id: Mutex::default(),
        })
    }

    /// Every node's own words; none for those that did not answer.
    pub async fn ask_all(&self, with_groups: bool) -> Vec<Option<Reached>> {
        let asks = self.nodes.iter().enumerate().map(|(index, client)| self.ask(index, client.clone(), with_groups));
        futures::future::join_all(asks).await
    }

    async fn ask(&self, index: usize, mut client: AdminClient<Channel>, with_groups: bool) -> Option<Reached> {
        let status = client.status(StatusRequest {}).await.ok()?.into_inner();
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).insert(NodeId(status.node), index);
        if !with_groups || !status.ready {
            return (!with_groups).then_some(Reached { status, groups: Vec::new() });
        }
        let groups = client.list_groups(ListGroupsRequest { table: 0 }).await.ok()?.into_inner().groups;
        Some(Reached { status, groups })
    }

    pub fn node(&self, id: NodeId) -> Result<AdminClient<Channel>, ClusterError> {
        let index = self.by_id.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied();
        index.map(|index| self.nodes[index].clone()).ok_or(ClusterError::UnknownNode(id))
    }

    /// Told to every MemDS server; one that is down hears it from the nodes later.
    pub async fn put_table(&self, table: &TableDescriptor) {
        let puts = self.memds.iter().map(|client| {
            let (mut client, table) = (client.clone(), table.encode());
            async move { client.put_table(PutTableRequest { table }).await }
        });
        for answer in futures::future::join_all(puts).await {
            if let Err(status) = answer {
                tracing::warn!(table = table.name, code = %status.code(), "MemDS did not take a table");
            }
        }
    }

    /// Fails unless every MemDS server has forgotten the table.
    pub async fn remove_table(&self, table: TableId) -> Result<(), ClusterError> {
        for client in &self.memds {
            client.clone().remove_table(RemoveTableRequest { table: table.0 }).await?;
        }
        Ok(())
    }
}

fn connect(address: &str) -> Result<Channel, ClusterError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| ClusterError::Address(address.to_owned(), error))?;
    Ok(endpoint.connect_timeout(CALL_TIMEOUT).timeout(CALL_TIMEOUT).tcp_nodelay(true).connect_lazy())
}
