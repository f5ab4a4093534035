//! A node on a blank disk: it listens, says which disk it has, and waits to be given an identity.
//!
//! Which identity is not its to say: an empty disk may be a lost one's place, and only who knows all nodes can tell
//! (`Admin.Format`). Everything else that is asked is refused as unavailable, so that whoever asks comes back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::Stream;
use model::{NodeId, Zone};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use wire::admin::admin_server::{Admin, AdminServer};
use wire::admin::{
    ChangeReplicasRequest, CreateGroupRequest, DestroyGroupRequest, Directory, Done, FormatRequest, GroupStatus,
    ListGroupsAnswer, ListGroupsRequest, NodeStatus, RecoverGroupRequest, SetTableRequest, SplitGroupRequest,
    StatusRequest, TransferLeaderRequest,
};
use wire::data::data_server::{Data, DataServer};
use wire::data::{RequestFrame, ResponseFrame};
use wire::raft::raft_server::{Raft, RaftServer};
use wire::raft::{Frame, FrameAnswer, SnapshotAnswer, SnapshotChunk};
use wire::seal::{Role, Seal};

use super::ground::Ground;
use super::health::BLANK;
use crate::disk::{Disk, FormatError, Grant};
use crate::service::admin::status_of_format;
use wire::error::describe;

/// How long connections may take to close when the wait is over; they have been told to by then.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// How the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// The disk has an identity.
    Formatted,
    /// The process is to stop.
    Stopped,
}

/// Serves the blank disk until it has an identity, or until `shutdown` resolves. Who connects meanwhile or afterwards waits in
/// the listener for the node.
pub async fn wait(ground: &Ground, shutdown: Pin<&mut impl Future<Output = ()>>) -> anyhow::Result<Waited> {
    let listener = ground.listener.try_clone().context("share the listener")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("listen")?;
    tracing::info!(store = format!("{:016x}", ground.disk.store()), address = ground.address, "waits to be formatted");
    let outcome = watch::Sender::new(None);
    let blank = Blank {
        disk: Arc::clone(&ground.disk),
        zone: Zone(ground.config.zone.clone()),
        seal: ground.seal.clone(),
        outcome: Arc::new(outcome.clone()),
    };
    let (end, mut ended) = watch::channel(());
    let server = wire::door::server()
        .add_service(AdminServer::new(blank.clone()))
        .add_service(DataServer::new(blank.clone()))
        .add_service(RaftServer::new(blank))
        .serve_with_incoming_shutdown(wire::door::guests(listener, ground.seal.clone().into()), async move {
            while ended.changed().await.is_ok() {}
        });
    let mut server = std::pin::pin!(server);
    let mut formatted = outcome.subscribe();
    let waited = tokio::select! {
        biased;
        () = shutdown => Ok(Waited::Stopped),
        outcome = formatted.wait_for(Option::is_some) => match outcome.ok().and_then(|outcome| outcome.clone()) {
            Some(Ok(node)) => {
                tracing::info!(%node, "takes the identity that it is given");
                Ok(Waited::Formatted)
            }
            // What is on the disk now nobody knows: the next start looks.
            Some(Err(error)) => Err(anyhow!(error).context("give the data folder its identity")),
            None => Err(anyhow!("nobody is left who could format the disk")),
        },
        served = &mut server => {
            served.context("serve the blank disk")?;
            Err(anyhow!("the blank disk is served no more"))
        }
    };
    drop(end);
    drop(tokio::time::timeout(CLOSING_TIME, server).await);
    waited
}

/// The services of a blank disk.
#[derive(Clone)]
struct Blank {
    disk: Arc<Disk>,
    zone: Zone,
    seal: Option<Seal>,
    /// The identity that the disk has, or why it could not be written.
    outcome: Arc<watch::Sender<Option<Result<NodeId, String>>>>,
}

fn blank<T>() -> Result<Response<T>, Status> {
    Err(Status::unavailable(BLANK))
}

#[tonic::async_trait]
impl Admin for Blank {
    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<NodeStatus>, Status> {
        let space = self.disk.space().map_err(|error| Status::internal(describe(&error)))?;
        Ok(Response::new(NodeStatus {
            node: 0,
            zone: self.zone.0.clone(),
            start_number: self.disk.start_number(),
            free_bytes: space.free_bytes,
            total_bytes: space.total_bytes,
            groups: 0,
            leaders: 0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: false,
            accepts_replicas: false,
            store: self.disk.store(),
        }))
    }

    /// What is begun is told even if the caller has gone meanwhile.
    async fn format(&self, request: Request<FormatRequest>) -> Result<Response<Done>, Status> {
        let FormatRequest { node, store } = request.into_inner();
        let Blank { disk, zone, seal, outcome } = self.clone();
        if let Some(seal) = seal
            && seal.identity().role != Role::Node(NodeId(node))
        {
            let text = format!("the certificate here is {}'s, not node {}'s", seal.identity(), NodeId(node));
            return Err(Status::failed_precondition(text));
        }
        let write = move || {
            let formatted = disk.format(Grant { node: NodeId(node), store }, &zone);
            match &formatted {
                Ok(()) => drop(outcome.send_replace(Some(Ok(NodeId(node))))),
                Err(FormatError::Write(error)) => drop(outcome.send_replace(Some(Err(describe(error))))),
                Err(FormatError::NoNode | FormatError::OtherStore { .. } | FormatError::Taken { .. }) => (),
            }
            formatted
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(formatted) => formatted.map(|()| Response::new(Done {})).map_err(|error| status_of_format(&error)),
            Err(_stopping) => Err(Status::unavailable("the node is stopping")),
        }
    }

    async fn list_groups(&self, _request: Request<ListGroupsRequest>) -> Result<Response<ListGroupsAnswer>, Status> {
        blank()
    }

    async fn create_group(&self, _request: Request<CreateGroupRequest>) -> Result<Response<Done>, Status> {
        blank()
    }

    async fn set_table(&self, _request: Request<SetTableRequest>) -> Result<Response<Done>, Status> {
        blank()
    }

    async fn change_replicas(&self, _request: Request<ChangeReplicasRequest>) -> Result<Response<GroupStatus>, Status> {
        blank()
    }

    async fn transfer_leader(&self, _request: Request<TransferLeaderRequest>) -> Result<Response<Done>, Status> {
        blank()
    }

    async fn split_group(&self, _request: Request<SplitGroupRequest>) -> Result<Response<Done>, Status> {
        blank()
    }

    async fn destroy_group(&self, _request: Request<DestroyGroupRequest>) -> Result<Response<Done>, Status> {
        blank()
    }

    async fn recover_group(&self, _request: Request<RecoverGroupRequest>) -> Result<Response<Done>, Status> {
        blank()
    }

    async fn exchange_directory(&self, _request: Request<Directory>) -> Result<Response<Directory>, Status> {
        blank()
    }
}

#[tonic::async_trait]
impl Data for Blank {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ResponseFrame, Status>> + Send>>;

    async fn exchange(
        &self,
        _request: Request<Streaming<RequestFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        blank()
    }
}

#[tonic::async_trait]
impl Raft for Blank {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<FrameAnswer, Status>> + Send>>;

    async fn exchange(&self, _request: Request<Streaming<Frame>>) -> Result<Response<Self::ExchangeStream>, Status> {
        blank()
    }

    async fn send_snapshot(
        &self,
        _request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotAnswer>, Status> {
        blank()
    }
}
