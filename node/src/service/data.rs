//! `Data.Exchange`: requests from a router into the workers' inboxes, answers from its outbox.
//!
//! A node that stops tells its routers, answers what they have sent until then, and ends the streams: a broken stream would leave
//! every write on it unknown.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use model::PartitionId;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use wire::data::data_server::Data;
use wire::data::refused::Reason;
use wire::data::request::Operation;
use wire::data::response::Result as Answer;
use wire::data::write::Action;
use wire::data::{self, Refused, RequestFrame, ResponseFrame};

use crate::metrics::{Metrics, answers, count};
use crate::transport::outbox::{OUTBOX_BYTES, Outbox};
use crate::worker::inbox::{Inboxes, Mail};

/// While more than this waits for a router to take, nothing more is read from it.
const PAUSE_READING_BYTES: usize = 8 << 20;
/// How long until that is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How long a stopping node waits for the next frame of a router that does not end its side.
const SILENCE: Duration = Duration::from_millis(100);

/// One router's stream, as the workers see it.
pub struct Connection {
    pub id: u64,
    outbox: Arc<Outbox<Answered>>,
    /// Requests received and not yet answered.
    owed: watch::Sender<usize>,
}

impl Connection {
    fn new(id: u64) -> Arc<Connection> {
        Arc::new(Connection { id, outbox: Outbox::new(OUTBOX_BYTES), owed: watch::Sender::new(0) })
    }

    /// Answers go out together. Large answers that do not fit any more become small refusals; a write's outcome is always
    /// told.
    pub fn answer(&self, answers: &mut Vec<(Answered, usize)>) {
        let answered = answers.len();
        self.outbox.push(answers);
        if !answers.is_empty() {
            for (answered, size) in answers.iter_mut() {
                let Answered { operation, response } = &*answered;
                if matches!(response.result, Some(Answer::Got(_) | Answer::Scanned(_))) {
                    *answered = Call { id: response.id, operation: *operation }.refuse(Reason::Overloaded);
                    *size = REFUSAL_BYTES;
                }
            }
            self.outbox.push_all(answers);
            answers.clear();
        }
        self.owed.send_modify(|owed| *owed = owed.saturating_sub(answered));
    }
}

/// About the size of a small answer.
pub const REFUSAL_BYTES: usize = 32;

/// What an answer takes from its request.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub id: u64,
    pub operation: answers::Operation,
}

impl Call {
    pub fn of(request: &data::Request) -> Call {
        Call { id: request.id, operation: answers::Operation::of(request) }
    }

    pub fn answer(self, result: Answer) -> Answered {
        let Call { id, operation } = self;
        Answered { operation, response: data::Response { id, result: Some(result) } }
    }

    /// An answer that is only a reason.
    pub fn refuse(self, reason: Reason) -> Answered {
        self.answer(Answer::Refused(Refused { reason: reason.into(), ..Default::default() }))
    }
}

/// An answer, and what it is counted by when it leaves.
pub struct Answered {
    operation: answers::Operation,
    pub response: data::Response,
}

#[derive(Clone)]
pub struct DataService {
    inboxes: Inboxes,
    metrics: Arc<Metrics>,
    connections: Arc<AtomicU64>,
    /// How many streams there are.
    open: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
}

impl DataService {
    pub fn new(inboxes: Inboxes, metrics: Arc<Metrics>) -> DataService {
        let (open, stopping) = (watch::Sender::new(0), watch::Sender::new(false));
        DataService { inboxes, metrics, connections: Arc::default(), open, stopping }
    }

    /// Takes no new stream, and has each end when everything that came by it is answered; at most for so long.
    pub async fn stop(&self, within: Duration) {
        self.stopping.send_replace(true);
        let mut open = self.open.subscribe();
        if tokio::time::timeout(within, open.wait_for(|open| *open == 0)).await.is_err() {
            tracing::warn!(streams = *self.open.borrow(), "stops without having answered everybody");
        }
    }

    /// Reads requests on a task of its own until either side leaves. Refused without having read any where the node stops.
    pub fn exchange_frames<S>(
        &self,
        requests: S,
    ) -> Result<impl Stream<Item = Result<ResponseFrame, Status>> + Send + 'static + use<S>, Status>
    where
        S: Stream<Item = Result<RequestFrame, Status>> + Unpin + Send + 'static,
    {
        if *self.stopping.borrow() {
            return Err(Status::unavailable("the node is stopping"));
        }
        let connection = Connection::new(self.connections.fetch_add(1, Ordering::Relaxed));
        let outbox = Arc::clone(&connection.outbox);
        let answers = outbox.stream();
        let reader = tokio::spawn(self.clone().read(connection, requests));
        self.open.send_modify(|open| *open += 1);
        let reading = Reading { outbox, reader, open: self.open.clone() };
        let metrics = Arc::clone(&self.metrics);
        let answers = answers.map(move |answers| {
            let _reading = &reading;
            metrics.response_frames.inc();
            let counted = |Answered { operation, response }: Answered| {
                metrics.answers.answered(operation, &response);
                response
            };
            Some(ResponseFrame { responses: answers.into_iter().map(counted).collect(), stopping: false })
        });
        let mut stopping = self.stopping.subscribe();
        let word = async move {
            // Whoever could say it is gone with the node.
            drop(stopping.wait_for(|stopping| *stopping).await);
            Some(ResponseFrame { responses: Vec::new(), stopping: true })
        };
        let answers = answers.chain(stream::once(ready(None)));
        let frames = stream::select(answers, stream::once(word).boxed());
        Ok(frames.scan((), |(), frame| ready(frame.map(Ok))))
    }

    async fn read<S>(self, connection: Arc<Connection>, mut requests: S)
    where
        S: Stream<Item = Result<RequestFrame, Status>> + Unpin + Send + 'static,
    {
        let mut stopping = self.stopping.subscribe();
        loop {
            let frame = tokio::select! {
                biased;
                frame = requests.next() => frame,
                () = silence(&mut stopping) => None,
            };
            match frame {
                Some(Ok(frame)) => self.receive(&connection, frame),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a router's stream broke");
                    break;
                }
                // Whoever ends its side, or is ended by the node's stop, is answered what it has sent.
                None => {
                    let mut owed = connection.owed.subscribe();
                    drop(owed.wait_for(|owed| *owed == 0).await);
                    return connection.outbox.finish();
                }
            }
            while connection.outbox.bytes() > PAUSE_READING_BYTES {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        connection.outbox.close();
    }

    fn receive(&self, connection: &Arc<Connection>, frame: RequestFrame) {
        self.metrics.request_frames.inc();
        connection.owed.send_modify(|owed| *owed += frame.requests.len());
        let received = Instant::now();
        let split = self.inboxes.split(frame.requests, |request| PartitionId(request.partition));
        for (worker, requests) in split {
            let bytes = requests.iter().map(request_size).sum();
            if self.inboxes.has_room(worker, bytes) {
                let mail = Mail::Requests { connection: Arc::clone(connection), received, requests };
                self.inboxes.push_sized(worker, mail, bytes);
                continue;
            }
            self.metrics.shed.inc_by(count(requests.len()));
            let mut refused: Vec<_> =
                requests.iter().map(|r| (Call::of(r).refuse(Reason::Overloaded), REFUSAL_BYTES)).collect();
            connection.answer(&mut refused);
        }
    }
}

/// Ends the reader and what waits when the answers' stream is dropped.
struct Reading {
    outbox: Arc<Outbox<Answered>>,
    reader: tokio::task::JoinHandle<()>,
    open: watch::Sender<usize>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.outbox.close();
        self.reader.abort();
        self.open.send_modify(|open| *open -= 1);
    }
}

#[tonic::async_trait]
impl Data for DataService {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ResponseFrame, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<RequestFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        Ok(Response::new(Box::pin(self.exchange_frames(request.into_inner())?)))
    }
}

/// The node stops, and nothing has come for a while since.
async fn silence(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(SILENCE).await;
}

/// About how many bytes a request holds in memory: what queues count.
pub fn request_size(request: &data::Request) -> usize {
    let operation = match &request.operation {
        Some(Operation::Get(get)) => get.key.len(),
        Some(Operation::Write(write)) => {
            let action = match &write.action {
                Some(Action::Put(attributes)) => attributes.len(),
                Some(Action::Update(update)) => {
                    update.key_attributes.len() + update.update.as_ref().map_or(0, bytes::Bytes::len)
                }
                Some(Action::Delete(_)) | None => 0,
            };
            write.key.len() + action + write.condition.as_ref().map_or(0, bytes::Bytes::len)
        }
        Some(Operation::Scan(scan)) => {
            let filter = scan.filter.as_ref().map_or(0, bytes::Bytes::len);
            scan.start.len() + filter + scan.projection.as_ref().map_or(0, bytes::Bytes::len)
        }
        None => 0,
    };
    128 + operation
}
