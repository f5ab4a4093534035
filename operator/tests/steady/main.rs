//! Nothing throws the operator off its way: a real API server, nodes in memory that speak the real protocols, and an operator that is
//! ended at any call it makes.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

mod fleet;
mod kills;
mod machines;
mod picture;
mod process;
mod scenarios;
#[path = "../api_server/server.rs"]
mod server;
mod stage;
mod toll;

use kills::Share;
use server::ApiServer;

/// `TRIVET_KILLS=all` ends the operator at every call that it makes; else at a share of them.
fn share(every: usize) -> Share {
    match std::env::var("TRIVET_KILLS").as_deref() {
        Ok("all") => Share::All,
        Ok(other) => Share::Every(other.parse().unwrap()),
        Err(_) => Share::Every(every),
    }
}

/// One API server for all of them: each takes seconds to begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_ends_at_any_call_comes_to_the_same_end() {
    let server = ApiServer::start().await;
    operator::definitions::apply(server.client.clone()).await.unwrap();
    for scenario in [scenarios::INSTALL, scenarios::SCALE, scenarios::REPLACEMENT, scenarios::DELETION] {
        scenario.survives(&server.client, &server.config, share(7)).await;
    }
}
