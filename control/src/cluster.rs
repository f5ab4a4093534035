//! The way to nodes and MemDS: one lazy connection each.
//!
//! Who they are may change while it is in use ([`Cluster::set_nodes`]); a connection stays as long as its address is named, and the
//! seal by which it was made is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use model::{NodeId, TableDescriptor, TableId, Zone};
use tonic::transport::{Channel, Endpoint};
use wire::admin::admin_client::AdminClient;
use wire::admin::{GroupStatus, ListGroupsRequest, NodeStatus, StatusRequest};
use wire::memds::mem_ds_client::MemDsClient;
use wire::memds::{PutTableRequest, RemoveTableRequest};
use wire::seal::Seal;
use wire::seal::connect::{self, Line, Whom};

/// How long one administrative call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Less than any client of the control service has.
const PUT_PATIENCE: Duration = Duration::from_secs(1);
/// Between two signs of life of a line.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Descriptors of many groups in one answer.
const ANSWER_BYTES: usize = 64 << 20;

/// Whether this process is the one that changes things now.
pub type Gate = Arc<dyn Fn() -> bool + Send + Sync>;

pub struct Cluster {
    members: Mutex<Members>,
    gate: Gate,
}

#[derive(Default)]
struct Members {
    /// None where everything is plain.
    seal: Option<Seal>,
    /// By address.
    nodes: BTreeMap<String, Line>,
    /// Nodes that are known and have no address now.
    without_address: usize,
    memds: BTreeMap<String, Line>,
    /// The seal's, when these connections were made.
    version: u64,
    /// Which address leads to which node, as the nodes last said themselves.
    by_id: BTreeMap<NodeId, String>,
    /// They are to leave, and get no new replicas.
    closed: BTreeSet<NodeId>,
    /// Which zone each of those is in that may have groups; empty where nobody knows.
    homes: BTreeMap<NodeId, Zone>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{0} is no address")]
    Address(String, #[source] tonic::transport::Error),
    #[error("node {0} has not answered yet")]
    UnknownNode(NodeId),
    #[error("another process acts, or none does yet")]
    NotActing,
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
    pub address: String,
    pub status: NodeStatus,
    /// None if it was not asked, or could not tell.
    pub groups: Option<Vec<GroupStatus>>,
}

impl Cluster {
    pub fn new(nodes: &[String], memds: &[String]) -> Result<Cluster, ClusterError> {
        let cluster = Cluster::nobody();
        cluster.set_nodes(nodes, 0)?;
        cluster.set_memds(memds)?;
        Ok(cluster)
    }

    /// Until somebody is named.
    pub fn nobody() -> Cluster {
        Cluster::sealed(None)
    }

    /// Nodes are changed only while the gate says so; they are asked always.
    pub fn only_while(self, gate: Gate) -> Cluster {
        Cluster { gate, ..self }
    }

    /// The same, all by mutual TLS if there is a seal.
    pub fn sealed(seal: Option<Seal>) -> Cluster {
        let cluster = Cluster { members: Mutex::default(), gate: Arc::new(|| true) };
        cluster.members().seal = seal;
        cluster
    }

    /// From now on by this seal: new lines are made, and what is under way goes on by the old ones.
    pub fn set_seal(&self, seal: Seal) {
        let mut members = self.members();
        members.seal = Some(seal);
        members.version = 0;
    }

    pub fn is_sealed(&self) -> bool {
        self.members().seal.is_some()
    }

    /// With new lines if the seal has changed: what is under way goes on by the old ones.
    fn members(&self) -> MutexGuard<'_, Members> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let version = members.seal.as_ref().map_or(0, Seal::version);
        if members.version != version {
            members.version = version;
            let Members { seal, nodes, memds, .. } = &mut *members;
            for (lines, whom) in [(nodes, Whom::AnyNode), (memds, Whom::MemDs)] {
                // An address that was one is one still.
                lines.retain(|address, line| connect(address, seal.as_ref(), whom).map(|new| *line = new).is_ok());
            }
        }
        members
    }

    /// From now on these are the nodes, and so many more that cannot be asked now.
    pub fn set_nodes(&self, addresses: &[String], without_address: usize) -> Result<(), ClusterError> {
        let mut members = self.members();
        members.by_id.retain(|_, address| addresses.contains(address));
        members.without_address = without_address;
        let Members { seal, nodes, .. } = &mut *members;
        name(nodes, addresses, seal.as_ref(), Whom::AnyNode)
    }

    /// From now on these get no new replicas, whatever they say themselves.
    pub fn set_closed(&self, nodes: BTreeSet<NodeId>) {
        self.members().closed = nodes;
    }

    /// From now on these may have groups, and are in these zones.
    pub fn set_homes(&self, homes: BTreeMap<NodeId, Zone>) {
        self.members().homes = homes;
    }

    pub fn homes(&self) -> BTreeMap<NodeId, Zone> {
        self.members().homes.clone()
    }

    pub fn is_closed(&self, node: NodeId) -> bool {
        self.members().closed.contains(&node)
    }

    /// From now on these are the MemDS servers.
    pub fn set_memds(&self, addresses: &[String]) -> Result<(), ClusterError> {
        let mut members = self.members();
        let Members { seal, memds, .. } = &mut *members;
        name(memds, addresses, seal.as_ref(), Whom::MemDs)
    }

    /// Every node's own words; none for those that did not answer.
    pub async fn ask_all(&self, with_groups: bool) -> Vec<Option<Reached>> {
        self.ask_each(with_groups, |_| {}).await
    }

    /// The same, with their groups where they are asked for. Each answer is heard as soon as it is read, before the next one is: what is
    /// taken out of it is never there of all nodes at once.
    pub async fn ask_each(
        &self,
        with_groups: bool,
        mut hear: impl FnMut(&mut Option<Reached>),
    ) -> Vec<Option<Reached>> {
        let (nodes, silent) = {
            let members = self.members();
            (members.nodes.clone(), members.without_address)
        };
        let mut answers: Vec<Option<Reached>> = Vec::new();
        answers.resize_with(nodes.len() + silent, || None);
        answers[nodes.len()..].iter_mut().for_each(&mut hear);
        let asks = nodes.into_iter().enumerate().map(|(place, (address, line))| async move {
            // In the order of their addresses, whoever is faster.
            (place, self.ask(address, line, with_groups).await)
        });
        let mut asks: FuturesUnordered<_> = asks.collect();
        while let Some((place, mut answer)) = asks.next().await {
            hear(&mut answer);
            answers[place] = answer;
        }
        answers
    }

    async fn ask(&self, address: String, line: Line, with_groups: bool) -> Option<Reached> {
        let mut client = admin(line.clone());
        let status = client.status(StatusRequest {}).await.ok()?.into_inner();
        // A blank disk has no id yet, and surely no groups.
        let blank = status.node == 0;
        if !blank && !line.may_be(NodeId(status.node)) {
            let (node, certificate) = (NodeId(status.node), line.counterpart().map(|known| known.to_string()));
            tracing::warn!(address, %node, certificate, "a node says that it is another than its certificate");
            return None;
        }
        if !blank {
            self.members().by_id.insert(NodeId(status.node), address.clone());
        }
        let groups = if blank {
            Some(Vec::new())
        } else if with_groups && status.ready {
            let listed = client.list_groups(ListGroupsRequest { table: 0 }).await.ok();
            listed.map(|listed| listed.into_inner().groups)
        } else {
            None
        };
        Some(Reached { address, status, groups })
    }

    /// To change something there: taken anew for each call, and never kept.
    pub fn node(&self, id: NodeId) -> Result<AdminClient<Channel>, ClusterError> {
        if !(self.gate)() {
            return Err(ClusterError::NotActing);
        }
        let members = self.members();
        let line = members.by_id.get(&id).and_then(|address| members.nodes.get(address));
        line.cloned().map(admin).ok_or(ClusterError::UnknownNode(id))
    }

    /// The node at an address, whoever it is: to change something there.
    pub fn node_at(&self, address: &str) -> Option<AdminClient<Channel>> {
        self.members().nodes.get(address).filter(|_| (self.gate)()).cloned().map(admin)
    }

    fn all_memds(&self) -> Vec<MemDsClient<Channel>> {
        self.members().memds.values().map(|line| MemDsClient::new(line.channel.clone())).collect()
    }

    /// Told to every MemDS server; one that is down hears it from the nodes later. Whoever asks for the table waits for it, and is not to
    /// wait for one that is silent: its own patience would end, and what was done would be called unknown.
    pub async fn put_table(&self, table: &TableDescriptor) {
        let puts = self.all_memds().into_iter().map(|mut client| {
            let table = table.encode();
            async move {
                let put = tokio::time::timeout(PUT_PATIENCE, client.put_table(PutTableRequest { table })).await;
                put.unwrap_or_else(|_silent| Err(tonic::Status::deadline_exceeded("it is silent")))
            }
        });
        for answer in futures::future::join_all(puts).await {
            if let Err(status) = answer {
                tracing::warn!(table = table.name, code = %status.code(), "MemDS did not take a table");
            }
        }
    }

    /// Fails unless every MemDS server has forgotten the table.
    pub async fn remove_table(&self, table: TableId) -> Result<(), ClusterError> {
        for mut client in self.all_memds() {
            if !(self.gate)() {
                return Err(ClusterError::NotActing);
            }
            client.remove_table(RemoveTableRequest { table: table.0 }).await?;
        }
        Ok(())
    }
}

/// From now on lines to these addresses and to no others; one that is there stays.
fn name(
    lines: &mut BTreeMap<String, Line>,
    addresses: &[String],
    seal: Option<&Seal>,
    whom: Whom,
) -> Result<(), ClusterError> {
    lines.retain(|address, _| addresses.contains(address));
    for address in addresses {
        if !lines.contains_key(address) {
            lines.insert(address.clone(), connect(address, seal, whom)?);
        }
    }
    Ok(())
}

fn admin(line: Line) -> AdminClient<Channel> {
    AdminClient::new(line.channel).max_decoding_message_size(ANSWER_BYTES)
}

fn connect(address: &str, seal: Option<&Seal>, whom: Whom) -> Result<Line, ClusterError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| ClusterError::Address(address.to_owned(), error))?;
    let endpoint = endpoint.connect_timeout(CALL_TIMEOUT).timeout(CALL_TIMEOUT).tcp_nodelay(true);
    // Whoever is gone without a word is asked for anew by its name: its Service may have another address by then.
    let endpoint =
        endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(CALL_TIMEOUT).keep_alive_while_idle(true);
    Ok(connect::connect_lazy(&endpoint, seal, whom))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_long_for_a_memds_that_is_silent() {
        // It takes connections, and says nothing.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cluster = Cluster::new(&[], &[silent.local_addr().unwrap().to_string()]).unwrap();
        let table = crate::plan::tests::table("music");
        tokio::select! {
            biased;
            () = cluster.put_table(&table) => {}
            () = tokio::time::sleep(CALL_TIMEOUT / 2) => panic!("it waits as long as for a node"),
        }
    }
}
