//! The admin service of one node.

use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaId, TableDescriptor, TableStatus};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};
use wire::admin::admin_server::{Admin, AdminServer};
use wire::admin::{
    ChangeReplicasRequest, CreateGroupRequest, DestroyGroupRequest, Directory, Done, FormatRequest, GroupStatus,
    ListGroupsAnswer, ListGroupsRequest, NodeStatus, RecoverGroupRequest, SetTableRequest, SplitGroupRequest,
    StatusRequest, TransferLeaderRequest,
};
use wire::door::Manner;

use super::{Fleet, Group, World};

const DISK_BYTES: u64 = 100 << 30;

/// The node on one disk.
struct Node {
    fleet: Fleet,
    claim: String,
}

pub async fn serve(fleet: Fleet, claim: String, listener: TcpListener) {
    let node = AdminServer::new(Node { fleet, claim });
    wire::door::server()
        .add_service(node)
        .serve_with_incoming(wire::door::guests(listener, Manner::Plain))
        .await
        .unwrap();
}

fn table(bytes: bytes::Bytes) -> Result<TableDescriptor, Status> {
    TableDescriptor::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn group(world: &mut World, partition: u64) -> Result<&mut Group, Status> {
    world.groups.get_mut(&PartitionId(partition)).ok_or_else(|| Status::not_found("no such partition"))
}

impl Node {
    /// A change of one group, which its leader alone takes.
    async fn change<T>(
        &self,
        call: String,
        partition: u64,
        change: impl FnOnce(&mut Group) -> Result<T, Status>,
    ) -> Result<Response<T>, Status> {
        let claim = self.claim.clone();
        let done = self.fleet.change(call, |world| {
            let node = world.node_on(&claim)?;
            let group = group(world, partition)?;
            group.leads(node)?;
            change(group)
        });
        done.await
    }
}

fn create(
    world: &mut World,
    node: NodeId,
    descriptor: PartitionDescriptor,
    table: TableDescriptor,
) -> Result<(), Status> {
    if descriptor.on_node(node).is_none() {
        return Err(Status::failed_precondition("the node is not among its replicas"));
    }
    if !world.groups.contains_key(&descriptor.id) {
        world.overlaps(&descriptor);
    }
    let born = Group { descriptor: descriptor.clone(), table, held: [node].into(), leader: None, former: None };
    let group = world.groups.entry(descriptor.id).or_insert(born);
    // Done already where it has one; where the group has moved on without this node, it is not born there again.
    if group.held.contains(&node) {
        return Ok(());
    }
    if group.descriptor != descriptor {
        return Err(Status::failed_precondition("the group has another descriptor"));
    }
    group.held.insert(node);
    Ok(())
}

#[tonic::async_trait]
impl Admin for Node {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<NodeStatus>, Status> {
        let look = |world: &mut World| {
            world.asked += 1;
            let disk = world.disks.get(&self.claim).cloned().ok_or_else(|| Status::unavailable("no disk"))?;
            let groups = world.groups.values().filter(|group| group.held.contains(&NodeId(disk.node))).count();
            let ready = disk.node != 0;
            Ok(NodeStatus {
                node: disk.node,
                zone: disk.zone,
                start_number: 1,
                free_bytes: DISK_BYTES,
                total_bytes: DISK_BYTES,
                groups: u32::try_from(groups).unwrap(),
                leaders: 0,
                version: "0".to_owned(),
                ready,
                accepts_replicas: ready,
                store: disk.store,
            })
        };
        self.fleet.look(look).await
    }

    async fn format(&self, request: Request<FormatRequest>) -> Result<Response<Done>, Status> {
        let FormatRequest { node, store } = request.into_inner();
        let call = format!("Format {node:016x}");
        self.fleet.change(call, |world| world.format(&self.claim, node, store).map(|()| Done {})).await
    }

    async fn list_groups(&self, _: Request<ListGroupsRequest>) -> Result<Response<ListGroupsAnswer>, Status> {
        let look = |world: &mut World| {
            let node = world.node_on(&self.claim)?;
            let running = world.running();
            let ours = world.groups.values().filter(|group| group.held.contains(&node));
            let told = |group: &Group| {
                let status = group.status(node, &running);
                let size = world.counted.filter(|_| status.serving);
                GroupStatus { items: size.map(|size| size.items), bytes: size.map(|size| size.bytes), ..status }
            };
            let groups = ours.map(told).collect();
            world.groups.values_mut().for_each(|group| group.was_told_by(node));
            Ok(ListGroupsAnswer { groups })
        };
        self.fleet.look(look).await
    }

    async fn create_group(&self, request: Request<CreateGroupRequest>) -> Result<Response<Done>, Status> {
        let CreateGroupRequest { descriptor, table: bytes } = request.into_inner();
        let descriptor =
            PartitionDescriptor::decode(descriptor).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let table = table(bytes)?;
        let create = |world: &mut World| {
            let node = world.node_on(&self.claim)?;
            create(world, node, descriptor.clone(), table).map(|()| Done {})
        };
        self.fleet.change(format!("CreateGroup {}", descriptor.id), create).await
    }

    async fn set_table(&self, request: Request<SetTableRequest>) -> Result<Response<Done>, Status> {
        let SetTableRequest { partition, table: bytes } = request.into_inner();
        let table = table(bytes)?;
        let call = format!("SetTable {partition:016x} {:?}", table.status);
        self.change(call, partition, |group| group.set_table(table).map(|()| Done {})).await
    }

    async fn change_replicas(&self, request: Request<ChangeReplicasRequest>) -> Result<Response<GroupStatus>, Status> {
        let ChangeReplicasRequest { partition, epoch, change } = request.into_inner();
        let change = change.ok_or_else(|| Status::invalid_argument("no change"))?;
        let call = format!("ChangeReplicas {partition:016x} {change:?}");
        let change = |group: &mut Group| group.change(epoch, change).map(|()| GroupStatus::default());
        self.change(call, partition, change).await
    }

    async fn transfer_leader(&self, request: Request<TransferLeaderRequest>) -> Result<Response<Done>, Status> {
        let TransferLeaderRequest { partition, to_replica } = request.into_inner();
        let call = format!("TransferLeader {partition:016x}");
        self.change(call, partition, |group| group.transfer(ReplicaId(to_replica)).map(|()| Done {})).await
    }

    async fn destroy_group(&self, request: Request<DestroyGroupRequest>) -> Result<Response<Done>, Status> {
        let DestroyGroupRequest { partition, table: bytes } = request.into_inner();
        let table = table(bytes)?;
        let destroy = |world: &mut World| {
            let node = world.node_on(&self.claim)?;
            let group = group(world, partition)?;
            if table.status != TableStatus::Deleting
                || table.id != group.table.id
                || table.version < group.table.version
            {
                return Err(Status::failed_precondition("the table is not being deleted"));
            }
            group.held.remove(&node);
            Ok(Done {})
        };
        self.fleet.change(format!("DestroyGroup {partition:016x}"), destroy).await
    }

    async fn split_group(&self, _: Request<SplitGroupRequest>) -> Result<Response<Done>, Status> {
        Err(Status::unimplemented("no operator asks for it"))
    }

    async fn recover_group(&self, _: Request<RecoverGroupRequest>) -> Result<Response<Done>, Status> {
        Err(Status::unimplemented("people alone ask for it"))
    }

    async fn exchange_directory(&self, _: Request<Directory>) -> Result<Response<Directory>, Status> {
        Err(Status::unimplemented("nodes alone ask for it"))
    }
}
