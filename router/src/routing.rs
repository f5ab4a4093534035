//! The way from an operation to the node that answers it: tables and partitions by name and key, batches to nodes, retries
//! of what surely was not applied.
//!
//! A [`Routing`] is a cheap handle; what is behind it is the cache, one stream of look-ups to MemDS and one stream per node.
//!
//! ```text
//!  operation ─► call ─► cache (and one look-up, always) ─► node: leader or near replica ─► attempts: done, again, failed
//! ```

mod attempts;
mod cache;
mod call;
pub mod connector;
mod control;
mod inner;
mod lookups;
mod node;
mod pipe;
mod scan;
mod slots;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::{KeyRange, TableDescriptor};
use wire::data::request::Operation;
use wire::data::write::Action;
use wire::data::{self, response, written};

use attempts::Purpose;
use cache::Spot;
use connector::Connector;
use inner::Inner;

/// Whom the router knows at its start.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Settings {
    /// This router's zone: eventually consistent reads stay in it where they can.
    #[arg(long, env = "TRIVET_ZONE", default_value = "")]
    pub zone: String,
    /// MemDS servers, host:port, separated by commas; one is asked, the next when it fails.
    #[arg(long, env = "TRIVET_MEMDS", value_delimiter = ',')]
    pub memds: Vec<String>,
    /// Control services, host:port, separated by commas.
    #[arg(long, env = "TRIVET_CONTROL", value_delimiter = ',')]
    pub control: Vec<String>,
}

/// The handle.
#[derive(Clone)]
pub struct Routing {
    inner: Arc<Inner>,
}

/// Why routing could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("no such table")]
    TableNotFound,
    /// The table exists and cannot be used now (CREATING without leaders yet, DELETING).
    #[error("the table is not active")]
    TableNotActive,
    /// Surely not applied, and retried as long as the deadline allowed: no leader, no way to the node, no MemDS answer.
    #[error("not available: {0}")]
    Unavailable(String),
    /// Surely not applied: a queue is full or a disk is.
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// A write whose outcome cannot be known.
    #[error("the outcome is not known")]
    Unknown,
    /// The control service's refusal, in DynamoDB's words.
    #[error("{message}")]
    Control { code: ControlCode, message: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlCode {
    ResourceInUse,
    ResourceNotFound,
    Validation,
    LimitExceeded,
}

/// A write as an operation asks for it; expressions encoded by `model`.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    pub key: Bytes,
    pub action: WriteAction,
    pub condition: Option<Bytes>,
    pub return_old: bool,
    pub return_new: bool,
    pub return_old_on_failure: bool,
    pub request_id: Bytes,
}

#[derive(Clone, Debug)]
pub enum WriteAction {
    /// Encoded attributes.
    Put(Bytes),
    Delete,
    Update {
        key_attributes: Bytes,
        update: Option<Bytes>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    Applied {
        old: Option<Bytes>,
        new: Option<Bytes>,
        old_size: u32,
        new_size: u32,
    },
    ConditionFailed {
        old: Option<Bytes>,
        old_size: u32,
    },
    /// DynamoDB's sentence of a ValidationException.
    Invalid(String),
}

/// One page over a range that may cross partitions: routing goes on to the next partition until a limit ends the page.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    pub range: KeyRange,
    pub backward: bool,
    /// Most items to evaluate; 0 for no limit.
    pub limit: u32,
    pub limit_bytes: u32,
    pub consistent: bool,
    pub filter: Option<Bytes>,
    pub projection: Option<Bytes>,
    pub count_only: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Encoded attributes.
    pub items: Vec<Bytes>,
    pub count: u32,
    pub scanned_count: u32,
    pub scanned_bytes: u64,
    /// The encoded key of the last item evaluated, where a limit ended the page before the range's end was evaluated.
    pub last_key: Option<Bytes>,
}

/// Sums over a table's partitions, as the nodes last told MemDS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSize {
    pub items: u64,
    pub bytes: u64,
}

/// What UpdateTable may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableUpdate {
    pub pay_per_request: Option<bool>,
    /// (read units, write units)
    pub throughput: Option<(u64, u64)>,
    pub deletion_protection: Option<bool>,
    pub table_class: Option<String>,
}

impl Routing {
    /// Within a tokio runtime, which then owns the connections. Nothing is connected before something is asked.
    pub fn start(settings: Settings, connector: Arc<dyn Connector>) -> Routing {
        Routing { inner: Arc::new(Inner::new(settings, connector)) }
    }

    /// For requests on items: from the cache if it is there and can be used (the operation that follows refreshes it), else
    /// from MemDS.
    pub async fn table(&self, name: &str, deadline: Instant) -> Result<Arc<TableDescriptor>, Failure> {
        self.inner.table(name, deadline).await
    }

    /// For requests on tables: from MemDS; from the cache only where MemDS is silent.
    pub async fn describe(&self, name: &str, deadline: Instant) -> Result<Arc<TableDescriptor>, Failure> {
        self.inner.describe(name, deadline).await
    }

    /// Encoded attributes.
    pub async fn get(
        &self,
        table: &Arc<TableDescriptor>,
        key: Bytes,
        consistent: bool,
        deadline: Instant,
    ) -> Result<Option<Bytes>, Failure> {
        let purpose = if consistent { Purpose::Read } else { Purpose::NearRead };
        let operation = |_: &cache::CachedPartition| Operation::Get(data::Get { key: key.clone(), consistent });
        match self.inner.call(table, Spot::At(&key), purpose, deadline, operation).await? {
            (response::Result::Got(got), _) => Ok(got.item),
            (response::Result::Written(_) | response::Result::Scanned(_) | response::Result::Refused(_), _) => {
                Err(Failure::Unavailable("a node answered a get with something else".to_owned()))
            }
        }
    }

    pub async fn write(
        &self,
        table: &Arc<TableDescriptor>,
        request: WriteRequest,
        deadline: Instant,
    ) -> Result<WriteOutcome, Failure> {
        let key = request.key.clone();
        let operation = |_: &cache::CachedPartition| Operation::Write(request.to_wire());
        match self.inner.call(table, Spot::At(&key), Purpose::Write, deadline, operation).await? {
            (response::Result::Written(written), _) => outcome(written),
            (response::Result::Got(_) | response::Result::Scanned(_) | response::Result::Refused(_), _) => {
                Err(Failure::Unknown)
            }
        }
    }

    pub async fn scan(
        &self,
        table: &Arc<TableDescriptor>,
        request: ScanRequest,
        deadline: Instant,
    ) -> Result<ScanPage, Failure> {
        self.inner.scan(table, request, deadline).await
    }

    /// Names in order after `exclusive_start`, and whether there are more.
    pub async fn list_tables(
        &self,
        exclusive_start: &str,
        limit: u32,
        deadline: Instant,
    ) -> Result<(Vec<String>, bool), Failure> {
        self.inner.list_tables(exclusive_start, limit, deadline).await
    }

    pub async fn table_size(&self, table: &TableDescriptor, deadline: Instant) -> Result<TableSize, Failure> {
        self.inner.table_size(table, deadline).await
    }

    /// The wish: its id, version, status, hash seed and times are the control service's.
    pub async fn create_table(&self, wish: TableDescriptor, deadline: Instant) -> Result<TableDescriptor, Failure> {
        self.inner.create_table(wish, deadline).await
    }

    pub async fn update_table(
        &self,
        name: &str,
        update: TableUpdate,
        deadline: Instant,
    ) -> Result<TableDescriptor, Failure> {
        self.inner.update_table(name, update, deadline).await
    }

    pub async fn delete_table(&self, name: &str, deadline: Instant) -> Result<TableDescriptor, Failure> {
        self.inner.delete_table(name, deadline).await
    }

    /// Forgets tables and partitions, as a router that has just been started. What MemDS is asked stays the same.
    pub fn wipe_cache(&self) {
        self.inner.cache.wipe();
    }
}

impl WriteRequest {
    fn to_wire(&self) -> data::Write {
        let WriteRequest { key, action, condition, return_old, return_new, return_old_on_failure, request_id } = self;
        let action = match action {
            WriteAction::Put(item) => Action::Put(item.clone()),
            WriteAction::Delete => Action::Delete(data::Delete {}),
            WriteAction::Update { key_attributes, update } => {
                Action::Update(data::UpdateAction { key_attributes: key_attributes.clone(), update: update.clone() })
            }
        };
        data::Write {
            key: key.clone(),
            request_id: request_id.clone(),
            condition: condition.clone(),
            return_old: *return_old,
            return_new: *return_new,
            return_old_on_failure: *return_old_on_failure,
            action: Some(action),
        }
    }
}

fn outcome(answer: data::Written) -> Result<WriteOutcome, Failure> {
    let data::Written { outcome, message, old, new, old_size, new_size } = answer;
    match written::Outcome::try_from(outcome) {
        Ok(written::Outcome::Applied) => Ok(WriteOutcome::Applied { old, new, old_size, new_size }),
        Ok(written::Outcome::ConditionFailed) => Ok(WriteOutcome::ConditionFailed { old, old_size }),
        Ok(written::Outcome::Invalid) => Ok(WriteOutcome::Invalid(message)),
        // What an outcome of a newer version means for the item is not known.
        Ok(written::Outcome::Unspecified) | Err(_) => Err(Failure::Unknown),
    }
}
