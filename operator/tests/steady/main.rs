//! Nothing throws the operator off its way: a real API server, nodes in memory that speak the real protocols, and an operator that is
//! ended at any call it makes.
#![expect(clippy::disallowed_types, reason = "what stands beside the operator has a client of its own")]
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]
#![expect(clippy::print_stdout, reason = "how many runs there were is of interest where it is asked for")]

mod back;
mod changes;
mod events;
mod fleet;
mod idle;
mod kills;
mod leases;
mod luck;
mod machines;
mod picture;
mod process;
mod scenarios;
#[path = "../api_server/server.rs"]
mod server;
mod stage;
mod toll;
mod two;
mod unborn;

use kills::Share;
use server::ApiServer;

/// `TRIVET_KILLS=all` (minutes, `make kills`) ends the operator at every call that it makes; else at a share of them.
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
        scenario.survives(&server.client, &server.config, share(17)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operator_acts_and_bad_luck_stops_none() {
    let server = ApiServer::start().await;
    operator::definitions::apply(server.client.clone()).await.unwrap();
    leases::one_acts_and_another_takes_over(&server.client, &server.config).await;
    leases::one_that_waits_makes_tables(&server.client, &server.config).await;
    idle::looks_cost_no_calls(&server.client, &server.config).await;
    idle::a_change_costs_one_write(&server.client, &server.config).await;
    events::what_happened_to_a_table_is_told_once(&server.client, &server.config).await;
    events::what_happened_to_a_cluster_is_told_once(&server.client, &server.config).await;
    idle::a_paused_cluster_is_left_alone(&server.client, &server.config).await;
    idle::how_much_there_is_is_told_seldom(&server.client, &server.config).await;
    idle::bad_luck_changes_nothing(&server.client, &server.config).await;
    idle::nothing_is_done_before_everything_is_listed(&server.client, &server.config).await;
    unborn::nothing_is_left_of_a_table_that_was_never_placed(&server.client, &server.config).await;
    two::two_clusters_of_a_namespace_leave_each_other_alone(&server.client, &server.config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_follows_an_etcd_that_was_set_back() {
    let mut server = ApiServer::start().await;
    operator::definitions::apply(server.client.clone()).await.unwrap();
    back::what_etcd_forgets_is_found_again(&mut server).await;
}
