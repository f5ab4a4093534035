//! The way from an operation to the node that answers it: tables and partitions by name and key, batches to nodes, retries
//! of what surely was not applied.
//!
//! A [`Routing`] is a cheap handle; what is behind it (the cache, look-ups in MemDS, one stream per node) is owned by tasks.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::{KeyRange, TableDescriptor};

/// The handle.
#[derive(Clone)]
pub struct Routing {}

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
    /// From the cache if it is there (and refreshed in the background), else from MemDS.
    pub async fn table(&self, _name: &str, _deadline: Instant) -> Result<Arc<TableDescriptor>, Failure> {
        unimplemented!()
    }

    /// Encoded attributes.
    pub async fn get(
        &self,
        _table: &Arc<TableDescriptor>,
        _key: Bytes,
        _consistent: bool,
        _deadline: Instant,
    ) -> Result<Option<Bytes>, Failure> {
        unimplemented!()
    }

    pub async fn write(
        &self,
        _table: &Arc<TableDescriptor>,
        _request: WriteRequest,
        _deadline: Instant,
    ) -> Result<WriteOutcome, Failure> {
        unimplemented!()
    }

    pub async fn scan(
        &self,
        _table: &Arc<TableDescriptor>,
        _request: ScanRequest,
        _deadline: Instant,
    ) -> Result<ScanPage, Failure> {
        unimplemented!()
    }

    /// Names in order after `exclusive_start`, and whether there are more.
    pub async fn list_tables(
        &self,
        _exclusive_start: &str,
        _limit: u32,
        _deadline: Instant,
    ) -> Result<(Vec<String>, bool), Failure> {
        unimplemented!()
    }

    pub async fn table_size(&self, _table: &TableDescriptor, _deadline: Instant) -> Result<TableSize, Failure> {
        unimplemented!()
    }

    /// The wish: its id, version, status, hash seed and times are the control service's.
    pub async fn create_table(&self, _wish: TableDescriptor, _deadline: Instant) -> Result<TableDescriptor, Failure> {
        unimplemented!()
    }

    pub async fn update_table(
        &self,
        _name: &str,
        _update: TableUpdate,
        _deadline: Instant,
    ) -> Result<TableDescriptor, Failure> {
        unimplemented!()
    }

    pub async fn delete_table(&self, _name: &str, _deadline: Instant) -> Result<TableDescriptor, Failure> {
        unimplemented!()
    }
}
