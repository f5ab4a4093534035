//! Operations to one node: requests and responses on one stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::BoxStream;
use model::NodeId;
use tokio::sync::oneshot;
use wire::data::request::Operation;
use wire::data::response;
use wire::data::write::Action;
use wire::data::{Request, RequestFrame, Response, ResponseFrame};

use super::connector::{Connector, Frames, Reply};
use super::pipe::{Lost, Pipe, Traffic};

pub(super) type Node = Pipe<NodeTraffic>;

pub(super) struct NodeTraffic {
    pub node: NodeId,
    pub connector: Arc<dyn Connector>,
}

/// What became of one request.
#[derive(Debug)]
pub(super) enum Outcome {
    Answered(response::Result),
    /// Surely not sent.
    NotSent,
    /// Too much waits for that node; not sent.
    Full,
    /// Sent, and the stream broke, or the answer did not come in time.
    Silent,
}

type Waiter = oneshot::Sender<Result<Option<response::Result>, Lost>>;

/// After so long without an answer it is asked whether the node leads still, and then again and again.
const FIRST_DOUBT: Duration = Duration::from_millis(500);
const DOUBTED_EVERY: Duration = Duration::from_millis(250);
/// One who has handed over as planned answers what it has begun, or is heard meanwhile: what it answers last may take an election's time.
const DOUBTS: u32 = 2;

/// Sends one request and waits for its answer, at most until `until`. One that has said nothing since is not waited for when another leads,
/// as `is_left` tells.
pub(super) async fn ask(
    node: &Node,
    address: &Arc<str>,
    request: Request,
    until: Instant,
    is_left: impl Fn() -> bool,
) -> Outcome {
    let (waiter, mut answer) = oneshot::channel();
    let ticket = match node.ask(address, request, waiter) {
        Ok(ticket) => ticket,
        Err(Lost::Full) => return Outcome::Full,
        Err(Lost::NotSent) => return Outcome::NotSent,
        Err(Lost::Broken) => return Outcome::Silent,
    };
    let sent = Instant::now();
    let mut doubted = sent + FIRST_DOUBT;
    let mut doubts = 0;
    loop {
        match tokio::time::timeout_at(until.min(doubted).into(), &mut answer).await {
            Ok(Ok(Ok(Some(result)))) => return Outcome::Answered(result),
            Ok(Ok(Err(Lost::NotSent))) => return Outcome::NotSent,
            Ok(Ok(Err(Lost::Full))) => return Outcome::Full,
            // An answer without a result is of a kind this version does not know: it tells nothing.
            Ok(Ok(Ok(None) | Err(Lost::Broken)) | Err(_)) => return Outcome::Silent,
            Err(_) => {
                doubts = if is_left() && !node.is_heard_since(sent) { doubts + 1 } else { 0 };
                if let Ok(Ok(Some(result))) = answer.try_recv() {
                    return Outcome::Answered(result);
                }
                if until <= doubted || doubts == DOUBTS {
                    return if ticket.withdraw() { Outcome::NotSent } else { Outcome::Silent };
                }
                doubted = Instant::now() + DOUBTED_EVERY;
            }
        }
    }
}

impl Traffic for NodeTraffic {
    type Ask = Request;
    type AskFrame = RequestFrame;
    type Answer = Response;
    type AnswerFrame = ResponseFrame;
    type Waiter = Waiter;

    fn open(&self, address: &str, asks: BoxStream<'static, RequestFrame>) -> Reply<Frames<ResponseFrame>> {
        self.connector.exchange(address, self.node, asks)
    }

    fn number(ask: &mut Request, id: u64) {
        ask.id = id;
    }

    fn weight(ask: &Request) -> usize {
        const FIXED: usize = 64;
        let optional = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        FIXED
            + match &ask.operation {
                None => 0,
                Some(Operation::Get(get)) => get.key.len(),
                Some(Operation::Write(write)) => {
                    let action = match &write.action {
                        None | Some(Action::Delete(_)) => 0,
                        Some(Action::Put(item)) => item.len(),
                        Some(Action::Update(update)) => update.key_attributes.len() + optional(&update.update),
                    };
                    write.key.len() + optional(&write.condition) + action
                }
                Some(Operation::Scan(scan)) => {
                    scan.start.len() + optional(&scan.end) + optional(&scan.filter) + optional(&scan.projection)
                }
            }
    }

    fn frame(requests: Vec<Request>) -> RequestFrame {
        RequestFrame { requests }
    }

    fn stops(frame: &ResponseFrame) -> bool {
        frame.stopping
    }

    fn answers(&self, frame: ResponseFrame) -> Vec<Response> {
        frame.responses
    }

    fn id(answer: &Response) -> u64 {
        answer.id
    }

    fn answered(&self, waiter: Waiter, answer: Response) {
        // Who asked may have gone.
        waiter.send(Ok(answer.result)).ok();
    }

    fn lost(&self, waiter: Waiter, lost: Lost) {
        waiter.send(Err(lost)).ok();
    }

    fn broken(&self) {}
}
