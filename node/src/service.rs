//! The node's three faces on one address: data for routers, replication for other nodes, administration.
//!
//! Handlers decode, check and push into the workers' inboxes; they own no group and wait for no disk.

pub mod admin;
pub mod data;
pub mod raft;

use model::NodeId;
use tonic::service::Routes;
use wire::admin::admin_server::AdminServer;
use wire::data::data_server::DataServer;
use wire::raft::raft_server::RaftServer;

use crate::transport::DECODE_LIMIT_BYTES;

/// Everything a node serves; a cheap handle.
#[derive(Clone)]
pub struct Services {
    pub data: data::DataService,
    pub raft: raft::RaftService,
    pub admin: admin::AdminService,
}

impl Services {
    pub fn node(&self) -> NodeId {
        self.raft.node()
    }

    /// For a gRPC server.
    pub fn routes(&self) -> Routes {
        Routes::new(DataServer::new(self.data.clone()).max_decoding_message_size(DECODE_LIMIT_BYTES))
            .add_service(RaftServer::new(self.raft.clone()).max_decoding_message_size(DECODE_LIMIT_BYTES))
            .add_service(AdminServer::new(self.admin.clone()).max_decoding_message_size(DECODE_LIMIT_BYTES))
    }
}
