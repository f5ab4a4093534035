//! The resources that say what is wished: tables, and the partitions that were planned for them.
//!
//! A resource is the wish; the truth is in the nodes. Writes are optimistic: each carries the revision it was read at, and
//! is refused where another was faster. The absence of a resource never deletes data.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use model::{KeySchema, PartitionDescriptor, TableDescriptor};

use crate::diverged::Confirmed;

pub mod file;

/// One table: the newest descriptor that is wished, and the groups that carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableResource {
    pub table: TableDescriptor,
    /// The table's partitions in key order, as they were born, or as the nodes told them after the last split that was seen. What
    /// became of them since is the nodes' to say.
    pub partitions: Vec<PartitionDescriptor>,
}

/// All tables by name, as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Of all of them together; 0 where each has a version of its own.
    pub revision: u64,
    /// Each table's own, where resources have such; also of those that are named and not born yet.
    pub versions: BTreeMap<String, String>,
    /// Names of tables that nothing is to be done with.
    pub paused: BTreeSet<String>,
    /// The keys of tables that are wished for and have no id yet: one that nodes retain under that name returns.
    pub unborn: BTreeMap<String, KeySchema>,
    pub tables: BTreeMap<String, TableResource>,
    /// Names that others have who keep their resources in the same place, and who they are.
    pub taken: BTreeMap<String, String>,
    /// What people have said of tables whose resource and groups do not go together.
    pub confirmed: BTreeMap<String, Confirmed>,
}

#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// Somebody else wrote first: read again, decide again.
    #[error("the resource of table {0} has changed since it was read")]
    Conflict(String),
    #[error("the resources file is of format {found}, this version reads {known}")]
    UnknownFormat { found: u64, known: u64 },
    #[error("the resources file cannot be understood: {0}")]
    Malformed(String),
    #[error("read or write resources")]
    Io(#[from] std::io::Error),
    /// The place where they stand cannot be reached, or refuses: not now, or not so.
    #[error("{0}")]
    Unavailable(String),
}

/// Where resources stand.
pub trait Resources: Send + Sync + 'static {
    fn read(&self) -> impl Future<Output = Result<Snapshot, ResourceError>> + Send;

    /// Whether nobody has written the table since it was `read`, as the place itself says: what is read may be a moment old.
    fn is_newest(&self, read: &Snapshot, name: &str) -> impl Future<Output = Result<bool, ResourceError>> + Send;

    /// Writes one table as it should be from now on (none removes it), if nobody has written it since it was `read`.
    fn write(
        &self,
        read: &Snapshot,
        name: &str,
        resource: Option<TableResource>,
    ) -> impl Future<Output = Result<(), ResourceError>> + Send;
}
