//! How much work a put makes of the whole house, counted and bounded: what is counted here holds on a slow machine and a
//! busy one alike, and a change that makes work again shows.
//!
//! The house runs in this process, so that allocations are everybody's: router, MemDS and three nodes, and the client's, which
//! are few.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use std::alloc::System;
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::Parser;
use e2e::bench::request::Signer;
use e2e::bench::subject;
use e2e::client::{self, Retries};
use e2e::port::Port;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What the whole process may take from the allocator for 64 puts: 100 allocations and 40 KB each.
const ALLOCATIONS: u64 = 6_400;
const ALLOCATED_BYTES: u64 = 2_560_000;

const IN_FLIGHT: usize = 64;
const WARM_UP: usize = 30;
const MEASURED: usize = 150;
const WITHIN: Duration = Duration::from_secs(60);

const OK: &[u8] = b"HTTP/1.1 200";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: trivet::local::config::Config,
}

/// One connection that sends the same signed request again and again.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    async fn open(signer: &Signer, number: usize) -> Client {
        let text = "x".repeat(1000);
        let body =
            format!(r#"{{"TableName":"songs","Item":{{"key":{{"S":"song-{number}"}},"text":{{"S":"{text}"}}}}}}"#);
        let request = signer.request("PutItem", &body).unwrap();
        let stream = TcpStream::connect(&signer.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, request, answer: Vec::with_capacity(4096) }
    }

    /// Puts so many times, one after the other.
    async fn put(&mut self, times: usize) {
        for _ in 0..times {
            self.stream.write_all(&self.request).await.unwrap();
            self.answer.clear();
            while !self.answer.ends_with(b"{}") {
                let read = tokio::time::timeout(WITHIN, self.stream.read_buf(&mut self.answer)).await;
                assert_ne!(read.expect("the router answers a put").unwrap(), 0, "the router hung up");
                // Another answer's end would be waited for.
                let is_other = self.answer.len() >= OK.len() && !self.answer.starts_with(OK);
                assert!(!is_other, "{}", String::from_utf8_lossy(&self.answer));
            }
            assert!(self.answer.starts_with(OK), "{}", String::from_utf8_lossy(&self.answer));
        }
    }
}

/// What three nodes may do for 64 puts: a metric, its name for people, the bound. About twice what is usual, since batches
/// depend on who runs when.
const BOUNDS: [(&str, &str, u64); 7] = [
    ("trivet_node_request_frames_total", "frames of requests", 20),
    ("trivet_node_response_frames_total", "frames of answers", 10),
    ("trivet_node_raft_frames_sent_total", "frames of replication", 45),
    ("trivet_node_raft_messages_total", "messages of replication", 170),
    ("trivet_node_wakes_total", "wakes", 50),
    ("trivet_node_log_entries_total", "entries", 95),
    ("trivet_node_log_syncs_total", "syncs", 20),
];

/// The metrics of [`BOUNDS`], summed over the nodes.
async fn counts(data: &Path) -> Vec<u64> {
    let mut texts = Vec::new();
    for line in std::fs::read_to_string(data.join("addresses")).unwrap().lines() {
        let metrics = line.split_whitespace().nth(2).unwrap();
        texts.push(subject::scrape(metrics.parse().unwrap()).await.unwrap());
    }
    let sum = |metric: &str| texts.iter().map(|text| subject::sample(text, metric).unwrap()).sum();
    BOUNDS.iter().map(|(metric, ..)| sum(metric)).collect()
}

async fn all_put(clients: &mut [Client], times: usize) {
    futures::future::join_all(clients.iter_mut().map(|client| client.put(times))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_puts_in_flight_make_no_more_work_than_they_need() {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::reserve().unwrap();
    let listen = port.address.to_string();
    let data = folder.path().join("data");
    let arguments = ["local", "--listen", &listen, "--data", data.to_str().unwrap()];
    let Arguments { config } = Arguments::parse_from(arguments);
    let (stop, stopped) = oneshot::channel::<()>();
    let house = tokio::spawn(trivet::local::serve(config, async {
        stopped.await.ok();
        Ok(())
    }));
    client::create_table(&client::connect(&listen, Retries::Default, WITHIN), "songs", 12, WITHIN).await.unwrap();

    let signer = Signer { address: listen, time: SystemTime::now() };
    let mut clients = Vec::new();
    for number in 0..IN_FLIGHT {
        clients.push(Client::open(&signer, number).await);
    }
    all_put(&mut clients, WARM_UP).await;
    let (before, region) = (counts(&data).await, Region::new(ALLOCATOR));
    all_put(&mut clients, MEASURED).await;
    let allocated = region.change();
    let after = counts(&data).await;
    let counted = after.iter().zip(&before).map(|(after, before)| after - before);
    let mut work: Vec<_> = BOUNDS.iter().zip(counted).map(|((_, what, bound), count)| (*what, count, *bound)).collect();
    let allocations = allocated.allocations + allocated.reallocations;
    work.push(("allocations", u64::try_from(allocations).unwrap(), ALLOCATIONS));
    work.push(("allocated bytes", u64::try_from(allocated.bytes_allocated).unwrap(), ALLOCATED_BYTES));
    for (what, count, bound) in work {
        let each = count.div_ceil(u64::try_from(MEASURED).unwrap());
        assert!(each <= bound, "{each} {what} for {IN_FLIGHT} puts, {bound} allowed");
    }

    stop.send(()).unwrap();
    house.await.unwrap().unwrap();
}
