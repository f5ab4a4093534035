//! A node for tests: it takes groups, or refuses each, and speaks the real protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;
use tonic::{Request, Response, Status};
use wire::admin::admin_server::{Admin, AdminServer};
use wire::admin::{
    ChangeReplicasRequest, CreateGroupRequest, DestroyGroupRequest, Directory, Done, FormatRequest, GroupStatus,
    ListGroupsAnswer, ListGroupsRequest, NodeStatus, RecoverGroupRequest, SetTableRequest, SplitGroupRequest,
    StatusRequest, TransferLeaderRequest,
};
use wire::door::Manner;

#[derive(Default)]
struct Inside {
    groups: BTreeMap<u64, GroupStatus>,
    refuses: bool,
    refused: usize,
}

#[derive(Clone)]
pub struct Node {
    id: u64,
    pub address: String,
    inside: Arc<Mutex<Inside>>,
}

impl Node {
    pub async fn start(id: u64) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Node { id, address: listener.local_addr().unwrap().to_string(), inside: Arc::default() };
        let service = AdminServer::new(node.clone());
        let guests = wire::door::guests(listener, Manner::Plain);
        tokio::spawn(wire::door::server().add_service(service).serve_with_incoming(guests));
        node
    }

    pub async fn refusing(id: u64) -> Node {
        let node = Node::start(id).await;
        node.inside.lock().unwrap().refuses = true;
        node
    }

    pub fn relents(&self) {
        self.inside.lock().unwrap().refuses = false;
    }

    pub fn groups(&self) -> Vec<u64> {
        self.inside.lock().unwrap().groups.keys().copied().collect()
    }

    /// How often it was asked in vain.
    pub fn refused(&self) -> usize {
        self.inside.lock().unwrap().refused
    }

    /// Everything that it has.
    pub fn lead(&self) {
        self.inside.lock().unwrap().groups.values_mut().for_each(|group| group.serving = true);
    }
}

fn nobody_asks<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("no driver asks for it"))
}

#[tonic::async_trait]
impl Admin for Node {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<NodeStatus>, Status> {
        let zone = format!("zone-{}", self.id);
        let told = NodeStatus { node: self.id, zone, ready: true, accepts_replicas: true, ..NodeStatus::default() };
        Ok(Response::new(told))
    }

    async fn list_groups(&self, _: Request<ListGroupsRequest>) -> Result<Response<ListGroupsAnswer>, Status> {
        let groups = self.inside.lock().unwrap().groups.values().cloned().collect();
        Ok(Response::new(ListGroupsAnswer { groups }))
    }

    async fn create_group(&self, request: Request<CreateGroupRequest>) -> Result<Response<Done>, Status> {
        let CreateGroupRequest { descriptor, table } = request.into_inner();
        let mut inside = self.inside.lock().unwrap();
        if inside.refuses {
            inside.refused += 1;
            return Err(Status::resource_exhausted(format!("no room on node {}", self.id)));
        }
        let partition = model::PartitionDescriptor::decode(descriptor.clone()).unwrap().id.0;
        inside.groups.insert(partition, GroupStatus { partition, descriptor, table, ..GroupStatus::default() });
        Ok(Response::new(Done {}))
    }

    async fn set_table(&self, request: Request<SetTableRequest>) -> Result<Response<Done>, Status> {
        let SetTableRequest { partition, table } = request.into_inner();
        if let Some(group) = self.inside.lock().unwrap().groups.get_mut(&partition) {
            group.table = table;
        }
        Ok(Response::new(Done {}))
    }

    async fn format(&self, _: Request<FormatRequest>) -> Result<Response<Done>, Status> {
        nobody_asks()
    }

    async fn change_replicas(&self, _: Request<ChangeReplicasRequest>) -> Result<Response<GroupStatus>, Status> {
        nobody_asks()
    }

    async fn transfer_leader(&self, _: Request<TransferLeaderRequest>) -> Result<Response<Done>, Status> {
        nobody_asks()
    }

    async fn destroy_group(&self, _: Request<DestroyGroupRequest>) -> Result<Response<Done>, Status> {
        nobody_asks()
    }

    async fn split_group(&self, _: Request<SplitGroupRequest>) -> Result<Response<Done>, Status> {
        nobody_asks()
    }

    async fn recover_group(&self, _: Request<RecoverGroupRequest>) -> Result<Response<Done>, Status> {
        nobody_asks()
    }

    async fn exchange_directory(&self, _: Request<Directory>) -> Result<Response<Directory>, Status> {
        nobody_asks()
    }
}
