//! `Data.Exchange`: requests from a router into the workers' inboxes, answers from its outbox.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use model::PartitionId;
use tonic::{Request, Response, Status, Streaming};
use wire::data::data_server::Data;
use wire::data::refused::Reason;
use wire::data::request::Operation;
use wire::data::response::Result as Answer;
use wire::data::write::Action;
use wire::data::{self, Refused, RequestFrame, ResponseFrame};

use crate::metrics::{Metrics, count};
use crate::transport::outbox::{OUTBOX_BYTES, Outbox};
use crate::worker::inbox::{Inboxes, Mail};

/// While more than this waits for a router to take, nothing more is read from it.
const PAUSE_READING_BYTES: usize = 8 << 20;
/// How long until that is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// One router's stream, as the workers see it.
pub struct Connection {
    pub id: u64,
    outbox: Arc<Outbox<data::Response>>,
}

impl Connection {
    /// Answers go out together. Large answers that do not fit any more become small refusals; a write's outcome is always
    /// told.
    pub fn answer(&self, answers: &mut Vec<(data::Response, usize)>) {
        self.outbox.push(answers);
        if answers.is_empty() {
            return;
        }
        for (response, size) in answers.iter_mut() {
            if matches!(response.result, Some(Answer::Got(_) | Answer::Scanned(_))) {
                *response = refusal(response.id, Reason::Overloaded);
                *size = REFUSAL_BYTES;
            }
        }
        self.outbox.push_all(answers);
        answers.clear();
    }
}

/// About the size of a small answer.
pub const REFUSAL_BYTES: usize = 32;

/// An answer that is only a reason.
pub fn refusal(id: u64, reason: Reason) -> data::Response {
    let refused = Refused { reason: reason.into(), ..Default::default() };
    data::Response { id, result: Some(Answer::Refused(refused)) }
}

#[derive(Clone)]
pub struct DataService {
    inboxes: Inboxes,
    metrics: Arc<Metrics>,
    connections: Arc<AtomicU64>,
}

impl DataService {
    pub fn new(inboxes: Inboxes, metrics: Arc<Metrics>) -> DataService {
        DataService { inboxes, metrics, connections: Arc::default() }
    }

    /// Reads requests on a task of its own until either side leaves.
    pub fn exchange_frames<S>(
        &self,
        mut requests: S,
    ) -> impl Stream<Item = Result<ResponseFrame, Status>> + Send + 'static + use<S>
    where
        S: Stream<Item = Result<RequestFrame, Status>> + Unpin + Send + 'static,
    {
        let outbox = Outbox::new(OUTBOX_BYTES);
        let id = self.connections.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection { id, outbox: Arc::clone(&outbox) });
        let answers = outbox.stream();
        let service = self.clone();
        let reader = tokio::spawn(async move {
            while let Some(frame) = requests.next().await {
                match frame {
                    Ok(frame) => service.receive(&connection, frame),
                    Err(error) => {
                        tracing::debug!(%error, "a router's stream broke");
                        break;
                    }
                }
                while connection.outbox.bytes() > PAUSE_READING_BYTES {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
            connection.outbox.close();
        });
        let metrics = Arc::clone(&self.metrics);
        let reading = Reading { outbox, reader };
        answers.map(move |responses| {
            let _reading = &reading;
            metrics.response_frames.inc();
            Ok(ResponseFrame { responses })
        })
    }

    fn receive(&self, connection: &Arc<Connection>, frame: RequestFrame) {
        self.metrics.request_frames.inc();
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
                requests.iter().map(|r| (refusal(r.id, Reason::Overloaded), REFUSAL_BYTES)).collect();
            connection.answer(&mut refused);
        }
    }
}

/// Ends the reader and what waits when the answers' stream is dropped.
struct Reading {
    outbox: Arc<Outbox<data::Response>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.outbox.close();
        self.reader.abort();
    }
}

#[tonic::async_trait]
impl Data for DataService {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ResponseFrame, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<RequestFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        Ok(Response::new(Box::pin(self.exchange_frames(request.into_inner()))))
    }
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
