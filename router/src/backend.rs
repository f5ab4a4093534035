//! What operations ask for, whoever answers: in production [`Routing`], in tests a model of it in memory.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::TableDescriptor;

use crate::routing::{Failure, Routing, ScanPage, ScanRequest, TableSize, TableUpdate, WriteOutcome, WriteRequest};

/// See [`Routing`] for what each of them means.
pub trait Backend: Clone + Send + Sync + 'static {
    fn table(
        &self,
        name: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<Arc<TableDescriptor>, Failure>> + Send;

    /// The table as it is now, for operations on tables.
    fn describe(
        &self,
        name: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<Arc<TableDescriptor>, Failure>> + Send {
        self.table(name, deadline)
    }

    fn get(
        &self,
        table: &Arc<TableDescriptor>,
        key: Bytes,
        consistent: bool,
        deadline: Instant,
    ) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send;

    fn write(
        &self,
        table: &Arc<TableDescriptor>,
        request: WriteRequest,
        deadline: Instant,
    ) -> impl Future<Output = Result<WriteOutcome, Failure>> + Send;

    fn scan(
        &self,
        table: &Arc<TableDescriptor>,
        request: ScanRequest,
        deadline: Instant,
    ) -> impl Future<Output = Result<ScanPage, Failure>> + Send;

    fn list_tables(
        &self,
        exclusive_start: &str,
        limit: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<(Vec<String>, bool), Failure>> + Send;

    fn table_size(
        &self,
        table: &TableDescriptor,
        deadline: Instant,
    ) -> impl Future<Output = Result<TableSize, Failure>> + Send;

    fn create_table(
        &self,
        wish: TableDescriptor,
        deadline: Instant,
    ) -> impl Future<Output = Result<TableDescriptor, Failure>> + Send;

    fn update_table(
        &self,
        name: &str,
        update: TableUpdate,
        deadline: Instant,
    ) -> impl Future<Output = Result<TableDescriptor, Failure>> + Send;

    fn delete_table(
        &self,
        name: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<TableDescriptor, Failure>> + Send;
}

impl Backend for Routing {
    fn table(
        &self,
        name: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<Arc<TableDescriptor>, Failure>> + Send {
        Routing::table(self, name, deadline)
    }

    fn describe(
        &self,
        name: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<Arc<TableDescriptor>, Failure>> + Send {
        Routing::describe(self, name, deadline)
    }

    fn get(
        &self,
        table: &Arc<TableDescriptor>,
        key: Bytes,
        consistent: bool,
        deadline: Instant,
    ) -> impl Future<Output = Result<Option<Bytes>, Failure>> + Send {
        Routing::get(self, table, key, consistent, deadline)
    }

    fn write(
        &self,
        table: &Arc<TableDescriptor>,
        request: WriteRequest,
        deadline: Instant,
    ) -> impl Future<Output = Result<WriteOutcome, Failure>> + Send {
        Routing::write(self, table, request, deadline)
    }

    fn scan(
        &self,
        table: &Arc<TableDescriptor>,
        request: ScanRequest,
        deadline: Instant,
    ) -> impl Future<Output = Result<ScanPage, Failure>> + Send {
        Routing::scan(self, table, request, deadline)
    }

    fn list_tables(
        &self,
        exclusive_start: &str,
        limit: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<(Vec<String>, bool), Failure>> + Send {
        Routing::list_tables(self, exclusive_start, limit, deadline)
    }

    fn table_size(
        &self,
        table: &TableDescriptor,
        deadline: Instant,
    ) -> impl Future<Output = Result<TableSize, Failure>> + Send {
        Routing::table_size(self, table, deadline)
    }

    fn create_table(
        &self,
        wish: TableDescriptor,
        deadline: Instant,
    ) -> impl Future<Output = Result<TableDescriptor, Failure>> + Send {
        Routing::create_table(self, wish, deadline)
    }

    fn update_table(
        &self,
        name: &str,
        update: TableUpdate,
        deadline: Instant,
    ) -> impl Future<Output = Result<TableDescriptor, Failure>> + Send {
        Routing::update_table(self, name, update, deadline)
    }

    fn delete_table(
        &self,
        name: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<TableDescriptor, Failure>> + Send {
        Routing::delete_table(self, name, deadline)
    }
}
