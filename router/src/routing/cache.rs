//! What this router last heard: tables by name, partitions by table and range, nodes by id.
//!
//! Never the truth, always versioned: tables by version, partitions by epoch, leaders by term, nodes by start number; older
//! never replaces newer. Whether an entry is here decides how soon a request is answered, never what MemDS is asked.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::codec::DecodeError;
use model::{NodeId, PartitionDescriptor, TableDescriptor, TableId, TableStatus};

#[derive(Debug, Default)]
pub(super) struct Cache {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<String, Arc<CachedTable>>,
    /// By the starts of their ranges, which do not overlap.
    partitions: HashMap<TableId, BTreeMap<Bytes, Arc<CachedPartition>>>,
    nodes: HashMap<NodeId, CachedNode>,
}

#[derive(Debug)]
pub(super) struct CachedTable {
    pub descriptor: Arc<TableDescriptor>,
    pub encoded: Bytes,
}

#[derive(Debug)]
pub(super) struct CachedPartition {
    pub descriptor: PartitionDescriptor,
    pub encoded: Bytes,
    leader: AtomicU64,
    term: AtomicU64,
    /// When it was last asked whether its leader leads still.
    asked_for: Mutex<Option<Instant>>,
}

/// However many wait for one leader, the map is asked about it no more often.
const ASKED_FOR_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct CachedNode {
    address: Arc<str>,
    start_number: u64,
}

/// A place in a table's key space.
#[derive(Clone, Copy, Debug)]
pub(super) enum Spot<'a> {
    /// The partition that holds this key.
    At(&'a Bytes),
    /// The partition that holds the greatest keys below this boundary; without one, the table's last.
    Before(Option<&'a Bytes>),
}

/// What is known of a request's place.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub table: Option<Arc<CachedTable>>,
    pub partition: Option<Arc<CachedPartition>>,
}

/// Who leads, as somebody told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leadership {
    pub leader: NodeId,
    pub term: u64,
}

impl CachedPartition {
    fn new(descriptor: PartitionDescriptor, encoded: Bytes, leadership: Leadership) -> CachedPartition {
        let Leadership { leader, term } = leadership;
        let (leader, term) = (AtomicU64::new(leader.0), AtomicU64::new(term));
        CachedPartition { descriptor, encoded, leader, term, asked_for: Mutex::default() }
    }

    pub fn leader(&self) -> Option<NodeId> {
        match self.leader.load(Ordering::Relaxed) {
            0 => None,
            id => Some(NodeId(id)),
        }
    }

    /// The highest term wins. Leader and term are two words: a reader between them asks the wrong node, and is told.
    pub fn hear_leader(&self, told: Leadership) {
        let known = Leadership { leader: self.leader().unwrap_or_default(), term: self.term.load(Ordering::Relaxed) };
        let is_news = told.term > known.term || (told.term == known.term && known.leader == NodeId(0));
        if is_news && told.leader != NodeId(0) {
            self.term.store(told.term, Ordering::Relaxed);
            self.leader.store(told.leader.0, Ordering::Relaxed);
        }
    }

    /// A replica's word, without a term: believed until a newer term is heard of.
    pub fn hint_leader(&self, leader: NodeId) {
        self.leader.store(leader.0, Ordering::Relaxed);
    }

    /// Whether it is time to ask the map again who leads, and somebody who waits is to do it.
    pub fn is_to_be_asked_for(&self) -> bool {
        let now = Instant::now();
        let mut asked_for = self.asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = asked_for.is_none_or(|at| now.duration_since(at) >= ASKED_FOR_EVERY);
        if is_due {
            *asked_for = Some(now);
        }
        is_due
    }

    pub fn leadership(&self) -> Leadership {
        Leadership { leader: self.leader().unwrap_or_default(), term: self.term.load(Ordering::Relaxed) }
    }
}

impl Cache {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic aborts the process, so a poisoned lock is met in tests alone.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn table(&self, name: &str) -> Option<Arc<CachedTable>> {
        self.read().tables.get(name).cloned()
    }

    pub fn find(&self, table: &TableDescriptor, spot: Spot<'_>) -> Found {
        let state = self.read();
        let partition = state.partitions.get(&table.id).and_then(|ranges| match spot {
            Spot::At(key) => {
                let (_, partition) =
                    ranges.range::<[u8], _>((Bound::Unbounded, Bound::Included(&key[..]))).next_back()?;
                partition.descriptor.range.contains(key).then(|| Arc::clone(partition))
            }
            Spot::Before(Some(end)) => {
                let (_, partition) =
                    ranges.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(&end[..]))).next_back()?;
                let reaches = partition.descriptor.range.end.as_ref().is_none_or(|own| own >= end);
                reaches.then(|| Arc::clone(partition))
            }
            Spot::Before(None) => {
                let (_, partition) = ranges.last_key_value()?;
                partition.descriptor.range.end.is_none().then(|| Arc::clone(partition))
            }
        });
        Found { table: state.tables.get(&table.name).cloned(), partition }
    }

    /// Takes in a table's descriptor; answers whether it was news.
    pub fn put_table(&self, encoded: Bytes) -> Result<bool, DecodeError> {
        // A copy of its own: the bytes of an answer hold its whole frame in memory.
        let encoded = Bytes::copy_from_slice(&encoded);
        let descriptor = Arc::new(TableDescriptor::decode(encoded.clone())?);
        let mut state = self.write();
        if let Some(known) = state.tables.get(&descriptor.name).cloned() {
            let old = &known.descriptor;
            let is_news = if old.id == descriptor.id {
                descriptor.version > old.version
            } else {
                old.status == TableStatus::Deleting || descriptor.created_ms >= old.created_ms
            };
            if !is_news {
                return Ok(false);
            }
            if old.id != descriptor.id {
                state.partitions.remove(&old.id);
            }
        }
        let name = descriptor.name.clone();
        state.tables.insert(name, Arc::new(CachedTable { descriptor, encoded }));
        Ok(true)
    }

    /// There is no such table: so says a server that has heard of everything.
    pub fn remove_table(&self, name: &str) {
        let mut state = self.write();
        if let Some(table) = state.tables.remove(name) {
            state.partitions.remove(&table.descriptor.id);
        }
    }

    /// Takes in a partition's descriptor; answers whether it was news.
    pub fn put_partition(&self, encoded: Bytes, leadership: Leadership) -> Result<bool, DecodeError> {
        // A copy of its own: the bytes of an answer hold its whole frame in memory.
        let encoded = Bytes::copy_from_slice(&encoded);
        let descriptor = PartitionDescriptor::decode(encoded.clone())?;
        let mut state = self.write();
        let ranges = state.partitions.entry(descriptor.table).or_default();
        let overlapped = overlapped_by(ranges, &descriptor);
        if let Some(same) = overlapped.iter().find(|other| other.descriptor.id == descriptor.id) {
            same.hear_leader(leadership);
        }
        if overlapped.iter().any(|other| other.descriptor.epoch >= descriptor.epoch) {
            return Ok(false);
        }
        let mut leadership = leadership;
        for other in overlapped {
            let told = other.leadership();
            if other.descriptor.id == descriptor.id && told.term >= leadership.term {
                leadership = told;
            }
            ranges.remove(&other.descriptor.range.start);
        }
        let start = descriptor.range.start.clone();
        ranges.insert(start, Arc::new(CachedPartition::new(descriptor, encoded, leadership)));
        Ok(true)
    }

    pub fn address(&self, node: NodeId) -> Option<Arc<str>> {
        self.read().nodes.get(&node).map(|node| Arc::clone(&node.address))
    }

    /// The newest start number wins.
    pub fn put_nodes(&self, entries: Vec<wire::memds::DirectoryEntry>) {
        let is_known = |state: &State, entry: &wire::memds::DirectoryEntry| {
            state.nodes.get(&NodeId(entry.node)).is_some_and(|known| {
                known.start_number > entry.start_number
                    || (known.start_number == entry.start_number && *known.address == entry.address)
            })
        };
        {
            let state = self.read();
            if entries.iter().all(|entry| is_known(&state, entry)) {
                return;
            }
        }
        let mut state = self.write();
        for entry in entries {
            if !is_known(&state, &entry) {
                let node = CachedNode { address: Arc::from(entry.address), start_number: entry.start_number };
                state.nodes.insert(NodeId(entry.node), node);
            }
        }
    }

    /// Forgets everything but the nodes.
    pub fn wipe(&self) {
        let mut state = self.write();
        state.tables.clear();
        state.partitions.clear();
    }
}

fn overlapped_by(
    ranges: &BTreeMap<Bytes, Arc<CachedPartition>>,
    descriptor: &PartitionDescriptor,
) -> Vec<Arc<CachedPartition>> {
    let start = descriptor.range.start.as_ref();
    let before = ranges.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(start))).next_back();
    let within = ranges
        .range::<[u8], _>((Bound::Included(start), Bound::Unbounded))
        .take_while(|(start, _)| descriptor.range.end.as_ref().is_none_or(|end| *start < end));
    before
        .into_iter()
        .chain(within)
        .map(|(_, partition)| partition)
        .filter(|partition| partition.descriptor.range.intersect(&descriptor.range).is_some())
        .cloned()
        .collect()
}
