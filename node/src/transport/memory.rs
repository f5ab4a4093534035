//! Nodes of one process reach each other without sockets: the same frames, outboxes and handlers; only the connection
//! differs. In tests every frame is encoded and decoded on the way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use model::NodeId;
use prost::Message;
use tokio::sync::watch;
use tonic::Status;
use wire::data::{RequestFrame, ResponseFrame};
use wire::raft::{Frame, SnapshotAnswer, SnapshotChunk};
use wire::seal::callers::Voice;

use crate::service::Services;
use crate::service::raft::Received;
use crate::transport::connector::{Chunks, Frames, LinkError};

/// What happens to a frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frameway {
    /// Handed over as it is.
    AsIs,
    /// Encoded and decoded, as a network would.
    Encoded,
}

/// The nodes of this process, by address.
pub struct Memory {
    frames: Frameway,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Place>,
}

struct Place {
    services: Services,
    /// Closed when the node leaves: every stream to it ends.
    open: watch::Sender<()>,
}

impl Memory {
    pub fn new(frames: Frameway) -> Arc<Memory> {
        Arc::new(Memory { frames, state: Mutex::default() })
    }

    /// A node is reachable from now on.
    pub fn join(&self, address: &str, services: Services) {
        self.lock().nodes.insert(address.to_owned(), Place { services, open: watch::Sender::new(()) });
    }

    /// A node is gone: streams to it end.
    pub fn leave(&self, address: &str, node: NodeId) {
        let mut state = self.lock();
        if state.nodes.get(address).is_some_and(|place| place.services.node() == node) {
            state.nodes.remove(address);
        }
    }

    /// The services of the node at an address: what a router or an administrator in the same process calls.
    pub fn services(&self, address: &str) -> Option<Services> {
        self.lock().nodes.get(address).map(|place| place.services.clone())
    }

    /// A router's stream to a node in the same process. Must be called where a runtime runs.
    pub fn data(
        &self,
        address: &str,
        requests: impl Stream<Item = RequestFrame> + Send + 'static,
    ) -> Result<impl Stream<Item = Result<ResponseFrame, Status>> + Send + 'static, LinkError> {
        let (services, mut gone) = self.place(address)?;
        let way = self.frames;
        let answers = services.data.exchange_frames(requests.map(move |frame| Ok(over(way, frame))).boxed());
        let answers = answers.map_err(|status| LinkError::Ended(status.to_string()))?;
        let left = async move { while gone.changed().await.is_ok() {} };
        Ok(answers.map(move |frame| frame.map(|frame| over(way, frame))).take_until(left.boxed()))
    }

    pub(super) fn exchange(&self, address: &str, frames: Frames) -> Result<BoxFuture<'static, LinkError>, LinkError> {
        let (services, mut gone) = self.place(address)?;
        let way = self.frames;
        let frames: Received<Frame> = frames.map(move |frame| Ok(over(way, frame))).boxed();
        let left = async move { while gone.changed().await.is_ok() {} };
        let frames = frames.take_until(left.boxed()).boxed();
        let carry = services.raft.receive(Voice::Anybodys, frames).map(|result| {
            LinkError::Ended(match result {
                Ok(()) => "it has stopped".to_owned(),
                Err(status) => status.to_string(),
            })
        });
        Ok(carry.boxed())
    }

    pub(super) fn send_snapshot(
        &self,
        address: &str,
        chunks: Chunks,
    ) -> Result<BoxFuture<'static, Result<SnapshotAnswer, Status>>, LinkError> {
        let (services, _gone) = self.place(address)?;
        let way = self.frames;
        let chunks: Received<SnapshotChunk> = chunks.map(move |chunk| Ok(over(way, chunk))).boxed();
        Ok(services.raft.receive_snapshot(Voice::Anybodys, chunks).boxed())
    }

    fn place(&self, address: &str) -> Result<(Services, watch::Receiver<()>), LinkError> {
        let state = self.lock();
        let place = state.nodes.get(address).ok_or_else(|| LinkError::Nobody(address.to_owned()))?;
        Ok((place.services.clone(), place.open.subscribe()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

fn over<M: Message + Default>(way: Frameway, message: M) -> M {
    match way {
        Frameway::AsIs => message,
        Frameway::Encoded => {
            M::decode(Bytes::from(message.encode_to_vec())).expect("what was just encoded can be decoded")
        }
    }
}
