//! The Admin service: what control and people ask of this node.

use std::sync::Arc;

use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaId, ReplicaKind, TableDescriptor, TableId, Zone};
use replica::{Change, Refusal};
use tokio::sync::oneshot;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use wire::admin::admin_server::Admin;
use wire::admin::change_replicas_request::Change as WireChange;
use wire::admin::{
    ChangeReplicasRequest, CreateGroupRequest, DestroyGroupRequest, Directory, Done, FormatRequest, GroupStatus,
    ListGroupsAnswer, ListGroupsRequest, NodeStatus, RecoverGroupRequest, SetTableRequest, SplitGroupRequest,
    StatusRequest, TransferLeaderRequest,
};

use crate::context::Context;
use crate::directory::DirectoryEntry;
use crate::disk::{FormatError, Grant};
use crate::registry::Counts;
use crate::room::RoomState;
use crate::worker::command::{Command, CommandError, Only, Reply};
use crate::worker::inbox::Mail;
use crate::worker::recovery::{Order, Seen};
use wire::error::describe;

/// The leader's node, in hexadecimal, where a command met another replica.
pub const LEADER_METADATA: &str = "trivet-leader";

/// Of a reason that goes into the audit record: a page of text.
const REASON_BYTES: usize = 2048;

#[derive(Clone)]
pub struct AdminService {
    context: Arc<Context>,
}

impl AdminService {
    pub fn new(context: Arc<Context>) -> AdminService {
        AdminService { context }
    }

    async fn command(&self, partition: PartitionId, command: impl FnOnce(Reply) -> Command) -> Result<(), Status> {
        let (reply, replied) = oneshot::channel();
        let inboxes = &self.context.inboxes;
        inboxes.push(inboxes.of(partition), Mail::Command(command(reply)));
        match replied.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(status_of(&error)),
            Err(_) => Err(Status::unavailable("the node is stopping")),
        }
    }

    async fn list(&self, only: Only) -> Result<Vec<GroupStatus>, Status> {
        let inboxes = &self.context.inboxes;
        let mut groups = Vec::new();
        for worker in inboxes.workers() {
            let (reply, replied) = oneshot::channel();
            inboxes.push(worker, Mail::Command(Command::List { only, reply }));
            groups.extend(replied.await.map_err(|_gone| Status::unavailable("the node is stopping"))?);
        }
        groups.sort_by_key(|group| group.partition);
        Ok(groups)
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<NodeStatus>, Status> {
        let context = &self.context;
        let space = context.disk.space().map_err(|error| Status::internal(describe(&error)))?;
        let Counts { groups, leaders, log_replicas: _ } = context.registry.counts();
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Response::new(NodeStatus {
            node: context.node.0,
            zone: context.zone.0.clone(),
            start_number: context.disk.start_number(),
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
            groups: number(groups),
            leaders: number(leaders),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Every replica is started before the services are.
            ready: true,
            accepts_replicas: context.room.get() == RoomState::Enough,
            store: context.disk.store(),
        }))
    }

    /// The identity is there already: this tells only whether it is the one that is meant.
    async fn format(&self, request: Request<FormatRequest>) -> Result<Response<Done>, Status> {
        let FormatRequest { node, store } = request.into_inner();
        let Context { disk, zone, .. } = &*self.context;
        let formatted = disk.format(Grant { node: NodeId(node), store }, zone);
        formatted.map(|()| Response::new(Done {})).map_err(|error| status_of_format(&error))
    }

    async fn list_groups(&self, request: Request<ListGroupsRequest>) -> Result<Response<ListGroupsAnswer>, Status> {
        let only = match request.into_inner().table {
            0 => Only::All,
            table => Only::Table(TableId(table)),
        };
        Ok(Response::new(ListGroupsAnswer { groups: self.list(only).await? }))
    }

    async fn create_group(&self, request: Request<CreateGroupRequest>) -> Result<Response<Done>, Status> {
        let CreateGroupRequest { descriptor, table } = request.into_inner();
        let descriptor = Box::new(PartitionDescriptor::decode(descriptor).map_err(|e| malformed(&e))?);
        let table = Box::new(TableDescriptor::decode(table).map_err(|e| malformed(&e))?);
        if descriptor.table != table.id {
            return Err(Status::invalid_argument("the partition is of another table"));
        }
        self.command(descriptor.id, |reply| Command::Create { descriptor, table, reply }).await?;
        Ok(Response::new(Done {}))
    }

    async fn set_table(&self, request: Request<SetTableRequest>) -> Result<Response<Done>, Status> {
        let SetTableRequest { partition, table } = request.into_inner();
        let partition = PartitionId(partition);
        let table = Box::new(TableDescriptor::decode(table).map_err(|e| malformed(&e))?);
        self.command(partition, |reply| Command::SetTable { partition, table, reply }).await?;
        Ok(Response::new(Done {}))
    }

    async fn change_replicas(&self, request: Request<ChangeReplicasRequest>) -> Result<Response<GroupStatus>, Status> {
        let ChangeReplicasRequest { partition, epoch, change } = request.into_inner();
        let partition = PartitionId(partition);
        let change = match change {
            Some(WireChange::AddLearner(add)) => Change::add(NodeId(add.node), Zone(add.zone), ReplicaKind::Storage),
            Some(WireChange::Swap(swap)) => Change::swap(ReplicaId(swap.promote), ReplicaId(swap.demote)),
            Some(WireChange::Remove(remove)) => Change::remove(ReplicaId(remove.replica)),
            None => return Err(Status::invalid_argument("no change is named")),
        };
        self.command(partition, |reply| Command::Change { partition, epoch, change, reply }).await?;
        let status = self.list(Only::Partition(partition)).await?.pop();
        status.map(Response::new).ok_or_else(|| Status::unavailable("the replica has left this node"))
    }

    async fn transfer_leader(&self, request: Request<TransferLeaderRequest>) -> Result<Response<Done>, Status> {
        let TransferLeaderRequest { partition, to_replica } = request.into_inner();
        let (partition, to) = (PartitionId(partition), ReplicaId(to_replica));
        self.command(partition, |reply| Command::Transfer { partition, to, reply }).await?;
        Ok(Response::new(Done {}))
    }

    async fn split_group(&self, request: Request<SplitGroupRequest>) -> Result<Response<Done>, Status> {
        let SplitGroupRequest { partition, epoch, at, child } = request.into_inner();
        let (partition, child) = (PartitionId(partition), PartitionId(child));
        self.command(partition, |reply| Command::Split { partition, epoch, at, child, reply }).await?;
        Ok(Response::new(Done {}))
    }

    async fn destroy_group(&self, request: Request<DestroyGroupRequest>) -> Result<Response<Done>, Status> {
        let DestroyGroupRequest { partition, table } = request.into_inner();
        let partition = PartitionId(partition);
        let table = Box::new(TableDescriptor::decode(table).map_err(|e| malformed(&e))?);
        self.command(partition, |reply| Command::Destroy { partition, table, reply }).await?;
        Ok(Response::new(Done {}))
    }

    async fn recover_group(&self, request: Request<RecoverGroupRequest>) -> Result<Response<Done>, Status> {
        let RecoverGroupRequest { partition, replica, epoch, last_term, last_index, answered, reason, code } =
            request.into_inner();
        let partition = PartitionId(partition);
        if reason.trim().is_empty() || reason.len() > REASON_BYTES || code.len() > REASON_BYTES {
            return Err(Status::invalid_argument("the record needs a reason, of 2048 bytes at most"));
        }
        let answered = answered.into_iter().map(ReplicaId).collect();
        let seen = Seen { replica: ReplicaId(replica), epoch, last_term, last_index };
        let order = Box::new(Order { partition, seen, answered, reason, code });
        self.command(partition, |reply| Command::Recover { order, reply }).await?;
        Ok(Response::new(Done {}))
    }

    async fn exchange_directory(&self, request: Request<Directory>) -> Result<Response<Directory>, Status> {
        let directory = self.context.links.directory();
        directory.learn(request.into_inner().entries.into_iter().map(DirectoryEntry::from));
        let entries = directory.entries().into_iter().map(wire::admin::DirectoryEntry::from).collect();
        Ok(Response::new(Directory { entries }))
    }
}

fn malformed(error: &model::codec::DecodeError) -> Status {
    Status::invalid_argument(format!("a descriptor is malformed: {error}"))
}

pub fn status_of_format(error: &FormatError) -> Status {
    match error {
        FormatError::NoNode => Status::invalid_argument(describe(error)),
        FormatError::OtherStore { .. } | FormatError::Taken { .. } => Status::failed_precondition(describe(error)),
        FormatError::Write(_) => Status::internal(describe(error)),
    }
}

fn status_of(error: &CommandError) -> Status {
    let code = match error {
        CommandError::UnknownPartition(_) => Code::NotFound,
        CommandError::NotHere(_)
        | CommandError::Retired { .. }
        | CommandError::Overlap { .. }
        | CommandError::OtherReplica { .. }
        | CommandError::KnownPartition(_)
        | CommandError::NotDeleting
        | CommandError::NotRecoverable(_)
        | CommandError::OneZone => Code::FailedPrecondition,
        CommandError::Busy(_) => Code::Unavailable,
        CommandError::DiskFull => Code::ResourceExhausted,
        CommandError::Storage(_) => Code::Internal,
        CommandError::Refused { refusal, leader } => return status_of_refusal(refusal, *leader),
    };
    Status::new(code, error.to_string())
}

fn status_of_refusal(refusal: &Refusal, leader: Option<NodeId>) -> Status {
    match refusal {
        Refusal::NotLeader { .. } => {
            let mut status = Status::failed_precondition("another replica leads");
            if let Some(Ok(value)) = leader.map(|node| MetadataValue::try_from(node.to_string())) {
                status.metadata_mut().insert(LEADER_METADATA, value);
            }
            status
        }
        Refusal::StaleEpoch { descriptor } => {
            Status::failed_precondition(format!("planned against another epoch than {}", descriptor.epoch))
        }
        Refusal::Impossible { reason } => Status::failed_precondition(reason.clone()),
        Refusal::Overloaded => Status::resource_exhausted("the group has too much to do"),
        Refusal::Unknown => Status::aborted("leadership was lost; the command was perhaps applied"),
        Refusal::TableGone => Status::failed_precondition("the table is being deleted, or is out of service"),
        Refusal::NotReady => Status::unavailable("the group has no leader that serves"),
        Refusal::ReadFailed => Status::internal("the disk failed to read"),
    }
}
