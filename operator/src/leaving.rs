//! The course of nodes that leave: what one operator remembers of it between two looks, and the one thing that it lets nodes do at a time.
//!
//! Nothing here has to outlive the process: what was begun is seen in the groups, and is taken up again by whoever looks next.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use control::cluster::Cluster as Nodes;
use control::moves::{Move, carry_out, hand_all_over};
use control::plan::Observed;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::NodeId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::crd::{Cluster, Removal};
use crate::moves::{self, Deed, Next};
use crate::observe::{self, Troubles};
use crate::plan::Seen;
use crate::removals::{Course, removals};

/// How long one move may take before it is planned again: a partition of 10 GB at the snapshots' budget takes two minutes.
const MOVE_DEADLINE: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct Leaving {
    pub troubles: Troubles,
    /// Who has been asked to give away what it leads, or has given replicas away. What it leads again later is given away move by move.
    begun: BTreeSet<NodeId>,
    under_way: Option<JoinHandle<()>>,
    /// What the last move failed with.
    failure: Arc<Mutex<Option<String>>>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(under_way) = &self.under_way {
            under_way.abort();
        }
    }
}

impl Leaving {
    /// Returns when nothing of it goes on any more.
    pub async fn end(mut self) {
        if let Some(under_way) = self.under_way.take() {
            under_way.abort();
            // Ended is ended, however it was.
            drop(under_way.await);
        }
    }

    pub fn next(&mut self, seen: &Seen, observed: &Observed) -> Next {
        let leaving = seen.leaving();
        self.begun.retain(|node| leaving.contains(node));
        let next = moves::next(&observe::places(seen), observed, seen.whole, &self.begun);
        if next.acting.is_none() {
            *self.failure() = None;
        }
        next
    }

    /// Begins what comes next if nothing is under way; it goes on by itself, and what it could not do is planned again.
    pub fn go_on(&mut self, next: &Next, seen: &Seen, nodes: &Arc<Nodes>, changed: &Arc<Notify>) {
        let Some(deed) = next.deed.clone().filter(|_| self.under_way.as_ref().is_none_or(JoinHandle::is_finished))
        else {
            return;
        };
        let (nodes, changed, failure) = (Arc::clone(nodes), Arc::clone(changed), Arc::clone(&self.failure));
        let leaving = seen.leaving();
        self.begun.extend(next.acting);
        self.under_way = Some(tokio::spawn(async move {
            let failed = match deed {
                Deed::HandOver(node) => {
                    tracing::info!(%node, "a node that leaves gives away what it leads");
                    hand_all_over(&nodes, node, &leaving).await;
                    None
                }
                Deed::Move(wish) => carry_out_move(&nodes, wish).await,
            };
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = failed;
            changed.notify_one();
        }));
    }

    pub fn told(&self, cluster: &Cluster, seen: &Seen, next: &Next, now: &Time) -> Vec<Removal> {
        let before = cluster.status.as_ref().map(|status| status.removals.as_slice()).unwrap_or_default();
        let failure = self.failure().clone();
        let course = Course { next, begun: &self.begun, failure: failure.as_deref() };
        removals(before, seen, course, now)
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why it has not moved.
async fn carry_out_move(nodes: &Nodes, wish: Move) -> Option<String> {
    let Move { partition, from, to } = wish;
    tracing::info!(%partition, %from, ?to, "a replica moves");
    let moved = carry_out(nodes, wish, MOVE_DEADLINE, |step| tracing::debug!(step)).await;
    let error = moved.err()?;
    tracing::warn!(%partition, %from, %error, "a replica has not moved; it is planned again");
    Some(error.to_string())
}
