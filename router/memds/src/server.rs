//! The map behind its protocol: one [`Handle`], asked in memory or over tonic.
//!
//! Every frame is answered where it arrives, under one lock for the whole frame; streams have no task and no queue of their
//! own, so a reader that does not keep up slows only itself down.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt};
use model::{NodeId, TableId};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use wire::door::Manner;
use wire::health::Answering;
use wire::memds::mem_ds_server::{MemDs, MemDsServer};
use wire::memds::{
    Announcement, AnnouncementAnswer, ListPartitionsAnswer, ListPartitionsRequest, ListTablesAnswer, ListTablesRequest,
    LookupAnswerFrame, LookupFrame, PutTableAnswer, PutTableRequest, RemoveTableAnswer, RemoveTableRequest,
};
use wire::seal::callers::Voice;
use wire::seal::{Role, Seal};

use crate::config::Config;
use crate::map::{Map, Patience};
use crate::metrics::Metrics;

/// How long a server that starts waits for nodes of which only directories tell.
const PATIENCE: Duration = Duration::from_secs(60);

/// A frame of announcements carries descriptors of many partitions; 16 MiB is what every stream of Trivet allows.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// How long a server that stops waits for its connections to close.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// A cheap handle on one map.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    map: RwLock<Map>,
    metrics: Metrics,
    started: Instant,
}

impl Handle {
    pub fn new(metrics: Metrics) -> Handle {
        Handle { shared: Arc::new(Shared { map: RwLock::new(Map::default()), metrics, started: Instant::now() }) }
    }

    pub fn announce(&self, announcement: Announcement) {
        let (malformed, counts) = {
            let mut map = self.write();
            (map.announce(announcement), map.counts())
        };
        self.shared.metrics.announcements.inc();
        self.shared.metrics.holds(counts);
        for error in malformed {
            self.shared.metrics.malformed.inc();
            tracing::warn!(%error, "an announced descriptor cannot be decoded");
        }
    }

    pub fn lookup(&self, frame: LookupFrame) -> LookupAnswerFrame {
        self.shared.metrics.lookup_frames.inc();
        self.shared.metrics.lookups.inc_by(frame.lookups.len() as u64);
        let answer = self.read().lookup(frame, self.patience());
        self.shared.metrics.answers.looked_up(&answer.answers);
        answer
    }

    pub fn list_tables(&self, request: &ListTablesRequest) -> ListTablesAnswer {
        self.read().list_tables(&request.exclusive_start, request.limit, self.patience())
    }

    pub fn list_partitions(&self, request: &ListPartitionsRequest) -> ListPartitionsAnswer {
        self.read().list_partitions(TableId(request.table), self.patience())
    }

    pub fn put_table(&self, request: PutTableRequest) -> Result<(), model::codec::DecodeError> {
        self.write().put_table(request.table)
    }

    pub fn remove_table(&self, request: &RemoveTableRequest) {
        self.write().remove_table(TableId(request.table));
    }

    /// Equal for servers that hold the same tables, partitions and leaders.
    pub fn hashes(&self) -> (u64, u64) {
        self.read().hashes()
    }

    pub fn is_complete(&self) -> bool {
        self.read().is_complete(self.patience())
    }

    /// Some node has told all that it has, and so have all others, or enough of them.
    fn knows_the_map(&self) -> bool {
        let map = self.read();
        map.counts().nodes > 0 && map.is_complete(self.patience())
    }

    fn patience(&self) -> Patience {
        if self.shared.started.elapsed() < PATIENCE { Patience::Left } else { Patience::Over }
    }

    fn read(&self) -> RwLockReadGuard<'_, Map> {
        // A panic aborts the process, so a poisoned lock is met in tests alone.
        self.shared.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Map> {
        self.shared.map.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory, if it has changed since `seen`.
    fn directory_since(&self, seen: &mut u64) -> AnnouncementAnswer {
        let map = self.read();
        if map.directory_version() == *seen {
            return AnnouncementAnswer::default();
        }
        *seen = map.directory_version();
        AnnouncementAnswer { directory: map.directory() }
    }
}

/// Metrics and health of one server.
struct Told {
    handle: Handle,
    seal: Option<Seal>,
    stopping: watch::Receiver<bool>,
}

impl wire::health::Health for Told {
    fn metrics(&self) -> Result<Vec<u8>, String> {
        let Shared { metrics, .. } = &*self.handle.shared;
        let (leaderless, under_replicated) = {
            let map = self.handle.read();
            (map.leaderless(), map.under_replicated())
        };
        metrics.leaderless.set(i64::try_from(leaderless).unwrap_or(i64::MAX));
        metrics.under_replicated.set(i64::try_from(under_replicated).unwrap_or(i64::MAX));
        metrics.render().map_err(|error| error.to_string())
    }

    fn ready(&self) -> Result<(), String> {
        match (*self.stopping.borrow(), self.handle.knows_the_map()) {
            (true, _) => Err("the server stops".to_owned()),
            (false, false) => Err("nodes have not told yet what they have".to_owned()),
            (false, true) => Ok(()),
        }
    }

    fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }
}

struct Service {
    handle: Handle,
    stopping: watch::Receiver<bool>,
}

impl Service {
    /// Ends when the server stops: otherwise long-lived streams would keep it from closing.
    fn until_stopped<T>(&self, frames: Streaming<T>) -> impl Stream<Item = Result<T, Status>> + use<T> {
        let mut stopping = self.stopping.clone();
        frames.take_until(async move { stopping.wait_for(|stopping| *stopping).await.is_ok() })
    }
}

impl Service {
    fn answered<T>(&self, call: &str, answer: Result<T, Status>) -> Result<Response<T>, Status> {
        self.handle.shared.metrics.answers.answered(call, &answer);
        answer.map(Response::new)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl MemDs for Service {
    type AnnounceStream = Answers<AnnouncementAnswer>;
    type LookupStream = Answers<LookupAnswerFrame>;

    async fn announce(
        &self,
        request: Request<Streaming<Announcement>>,
    ) -> Result<Response<Self::AnnounceStream>, Status> {
        let (handle, voice) = (self.handle.clone(), Voice::of(&request));
        let mut seen = 0;
        let answers = self.until_stopped(request.into_inner()).map(move |announcement| {
            let announcement = announcement?;
            let may = voice.speaks_for(NodeId(announcement.node.as_ref().map_or(0, |node| node.node)));
            handle.shared.metrics.answers.answered("announce", &may);
            may?;
            handle.announce(announcement);
            Ok(handle.directory_since(&mut seen))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lookup(&self, request: Request<Streaming<LookupFrame>>) -> Result<Response<Self::LookupStream>, Status> {
        let handle = self.handle.clone();
        let answers = self.until_stopped(request.into_inner()).map(move |frame| Ok(handle.lookup(frame?)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_tables(&self, request: Request<ListTablesRequest>) -> Result<Response<ListTablesAnswer>, Status> {
        self.answered("list_tables", Ok(self.handle.list_tables(request.get_ref())))
    }

    async fn put_table(&self, request: Request<PutTableRequest>) -> Result<Response<PutTableAnswer>, Status> {
        let put = self.handle.put_table(request.into_inner());
        let undecodable =
            |error| Status::invalid_argument(format!("a table descriptor that cannot be decoded: {error}"));
        self.answered("put_table", put.map(|()| PutTableAnswer {}).map_err(undecodable))
    }

    async fn remove_table(&self, request: Request<RemoveTableRequest>) -> Result<Response<RemoveTableAnswer>, Status> {
        self.handle.remove_table(request.get_ref());
        self.answered("remove_table", Ok(RemoveTableAnswer {}))
    }

    async fn list_partitions(
        &self,
        request: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsAnswer>, Status> {
        self.answered("list_partitions", Ok(self.handle.list_partitions(request.get_ref())))
    }
}

/// Serves on the configured address until `shutdown`.
pub async fn run(config: Config, metrics: Metrics, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    run_with(config, Handle::new(metrics), shutdown).await
}

async fn run_with(config: Config, handle: Handle, shutdown: impl Future<Output = ()> + Send) -> anyhow::Result<()> {
    use anyhow::Context;
    let seal = config.tls.as_deref().map(|folder| {
        let seal = Seal::from_folder(folder).and_then(|seal| seal.demand("MemDS", |role| role == Role::MemDs));
        seal.with_context(|| format!("use the certificate in {}", folder.display()))
    });
    let seal = seal.transpose()?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
    tracing::info!(address = %config.listen, "memds serves");
    let (stop, stopping) = watch::channel(false);
    let told = Arc::new(Told { handle: handle.clone(), seal: seal.clone(), stopping });
    let answering = config
        .metrics_listen
        .map(|address| Answering::start(address, told).with_context(|| format!("serve metrics on {address}")));
    let _answering = answering.transpose()?;
    let shutdown = async {
        shutdown.await;
        stop.send_replace(true);
    };
    serve(handle, listener, seal, shutdown).await.context("serve the partition map")
}

/// Serves what `handle` holds until `shutdown`, to everybody where there is no seal; its streams are ended, its connections closed.
pub async fn serve(
    handle: Handle,
    listener: TcpListener,
    seal: Option<Seal>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), tonic::transport::Error> {
    let (stop, stopping) = watch::channel(false);
    let service = MemDsServer::new(Service { handle, stopping: stopping.clone() })
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX);
    let mut stopped = stopping;
    let signal = async move { stopped.wait_for(|stopping| *stopping).await.map(|_| ()).unwrap_or_default() };
    let server = wire::door::server()
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(service)
        .serve_with_incoming_shutdown(wire::door::guests(listener, Manner::from(seal)), signal)
        .fuse();
    let shutdown = shutdown.fuse();
    tokio::pin!(server, shutdown);
    tokio::select! {
        ended = &mut server => return ended,
        () = &mut shutdown => {}
    }
    stop.send_replace(true);
    match tokio::time::timeout(CLOSING_TIME, server).await {
        Ok(ended) => ended,
        // Whoever still holds a connection open is cut off.
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;

    use model::{KeyRange, NodeId, PartitionDescriptor, PartitionId, Zone};
    use tokio::sync::oneshot;
    use wire::memds::mem_ds_client::MemDsClient;
    use wire::memds::{DirectoryEntry, Lookup, PartitionReport};

    use super::*;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        format!("{} {}", head.split(' ').nth(1).unwrap(), body.trim_end())
    }

    fn report(id: u64, range: KeyRange, leader: u64) -> PartitionReport {
        let places = [(NodeId(1), Zone("zone-1".to_owned()))];
        let descriptor = PartitionDescriptor::birth(PartitionId(id), TableId(8), range, places).encode();
        PartitionReport { descriptor, leader, term: 4, items: None, bytes: None }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_is_ready_when_nodes_have_told_it_what_they_have() {
        // All of 127/8 is this machine; another run of the tests has another address.
        let [high, low] = u16::try_from(std::process::id() % (1 << 16)).unwrap().to_be_bytes();
        let (listen, metrics) = ([7300, 7301].map(|port| SocketAddr::from(([127, high, low, 70], port)))).into();
        let config = Config { listen, tls: None, metrics_listen: Some(metrics) };
        let (stop, stopped) = oneshot::channel::<()>();
        let counters = Metrics::new(&prometheus::Registry::new()).unwrap();
        let (handle, stops) = (Handle::new(counters), async { drop(stopped.await) });
        let running = tokio::spawn(run_with(config, handle.clone(), stops));
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(metrics).is_err() {
            assert!(!running.is_finished());
            assert!(Instant::now() < deadline, "nobody listens at {metrics}");
            tokio::task::yield_now().await;
        }
        assert_eq!(get(metrics, "/healthz"), "200 ok");
        assert_eq!(get(metrics, "/readyz"), "503 nodes have not told yet what they have");
        let (left, right) = (Some("m".into()), "m".into());
        let left = KeyRange { start: Default::default(), end: left };
        let right = KeyRange { start: right, end: None };
        let zone = "zone-1".to_owned();
        handle.announce(Announcement {
            node: Some(DirectoryEntry { node: 1, zone, address: "here:1".to_owned(), start_number: 1 }),
            partitions: vec![report(20, left, 1), report(21, right, 0)],
            full_begins: true,
            full_ends: true,
            ..Announcement::default()
        });
        assert_eq!(get(metrics, "/readyz"), "200 ready");
        let text = get(metrics, "/metrics");
        assert!(
            text.contains("trivet_memds_partitions 2\n") && text.contains("trivet_memds_leaderless_partitions 1\n"),
            "{text}"
        );
        assert!(text.ends_with("trivet_memds_under_replicated_partitions 2"), "{text}");
        let asked = |id, key: &'static str| Lookup { id, table: "no such table".to_owned(), key: Some(key.into()) };
        handle.lookup(LookupFrame { lookups: vec![asked(1, "a"), asked(2, "b")] });
        let text = get(metrics, "/metrics");
        assert!(text.contains("trivet_memds_answers_total{call=\"lookup\",outcome=\"unknown\"} 2\n"), "{text}");
        let mut client = MemDsClient::connect(format!("http://{listen}")).await.unwrap();
        client.put_table(PutTableRequest { table: "no descriptor".into() }).await.unwrap_err();
        let text = get(metrics, "/metrics");
        let refused = "trivet_memds_answers_total{call=\"put_table\",outcome=\"InvalidArgument\"} 1\n";
        assert!(text.contains(refused), "{text}");
        drop(client);
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
        assert!(std::net::TcpStream::connect(metrics).is_err());
    }
}
