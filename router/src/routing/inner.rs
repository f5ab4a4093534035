//! What stands behind the handle.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use model::{NodeId, Zone};
use tokio::runtime;

use super::attempts;
use super::cache::Cache;
use super::connector::Connector;
use super::lookups::Lookups;
use super::node::{Node, NodeTraffic};
use super::pipe::Pipe;
use super::{Failure, Settings};

/// A try that cannot be answered before the deadline only turns "surely not applied" into "unknown": so long an answer may take.
const LAST_TRY: Duration = Duration::from_millis(20);

pub(super) struct Inner {
    pub zone: Zone,
    pub memds: Vec<String>,
    pub control: Vec<String>,
    pub connector: Arc<dyn Connector>,
    pub cache: Arc<Cache>,
    pub lookups: Lookups,
    runtime: runtime::Handle,
    nodes: RwLock<HashMap<NodeId, Node>>,
    random: AtomicU64,
    /// Look-ups that were sent for operations still to come, so that filling a cold cache costs MemDS nothing more.
    pub look_ups_ahead: AtomicU64,
}

impl Inner {
    pub fn new(settings: Settings, connector: Arc<dyn Connector>) -> Inner {
        let Settings { zone, memds, control } = settings;
        let zone = Zone(zone);
        let runtime = runtime::Handle::current();
        let cache = Arc::new(Cache::default());
        let lookups = Lookups::new(Arc::clone(&connector), Arc::clone(&cache), &memds, runtime.clone());
        Inner {
            zone,
            memds,
            control,
            connector,
            cache,
            lookups,
            runtime,
            nodes: RwLock::default(),
            random: AtomicU64::new(RandomState::new().hash_one("pauses")),
            look_ups_ahead: AtomicU64::new(0),
        }
    }

    pub fn node(&self, id: NodeId) -> Node {
        // A panic aborts the process, so a poisoned lock is met in tests alone.
        if let Some(node) = self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return node.clone();
        }
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let traffic = || NodeTraffic { node: id, connector: Arc::clone(&self.connector) };
        nodes.entry(id).or_insert_with(|| Pipe::new(traffic(), self.runtime.clone())).clone()
    }

    /// Pauses before the next try, unless it could not be answered before the deadline.
    pub async fn pause(&self, deadline: Instant, pauses: &mut u32, why: &'static str) -> Result<(), Failure> {
        let pause = attempts::pause(*pauses, self.random());
        *pauses += 1;
        if Instant::now() + pause + LAST_TRY >= deadline {
            return Err(Failure::Unavailable(why.to_owned()));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// For pauses: so that routers that failed together do not come back together.
    pub fn random(&self) -> u64 {
        // SplitMix64.
        let mut word = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}
