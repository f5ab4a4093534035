//! DynamoDB's operations: one file each with its request, its rules and what it asks of whom; beside them what several share.
//!
//! Every operation checks in DynamoDB's order: the types (while parsing), the shape (`violations`), the sense of the
//! parameters, the table, the keys held against the table's schema; only then is anybody asked.

mod batch_get_item;
mod batch_write_item;
mod capacity;
mod create_table;
mod delete_item;
mod delete_table;
mod describe_endpoints;
mod describe_limits;
mod describe_table;
mod describe_time_to_live;
mod expressions;
mod get_item;
pub mod keys;
mod list_tables;
mod list_tags_of_resource;
mod page;
mod put_item;
mod query;
mod returning;
mod scan;
mod table;
mod update_item;
mod update_table;
mod violations;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::{TableDescriptor, TableStatus};

use crate::backend::Backend;
use crate::config::Settings;
use crate::error::Error;

/// An operation that is there; every other name is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    BatchGetItem,
    BatchWriteItem,
    CreateTable,
    DeleteItem,
    DeleteTable,
    DescribeEndpoints,
    DescribeLimits,
    DescribeTable,
    DescribeTimeToLive,
    GetItem,
    ListTables,
    ListTagsOfResource,
    PutItem,
    Query,
    Scan,
    UpdateItem,
    UpdateTable,
}

const OPERATIONS: [Operation; 17] = [
    Operation::BatchGetItem,
    Operation::BatchWriteItem,
    Operation::CreateTable,
    Operation::DeleteItem,
    Operation::DeleteTable,
    Operation::DescribeEndpoints,
    Operation::DescribeLimits,
    Operation::DescribeTable,
    Operation::DescribeTimeToLive,
    Operation::GetItem,
    Operation::ListTables,
    Operation::ListTagsOfResource,
    Operation::PutItem,
    Operation::Query,
    Operation::Scan,
    Operation::UpdateItem,
    Operation::UpdateTable,
];

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Operation::BatchGetItem => "BatchGetItem",
            Operation::BatchWriteItem => "BatchWriteItem",
            Operation::CreateTable => "CreateTable",
            Operation::DeleteItem => "DeleteItem",
            Operation::DeleteTable => "DeleteTable",
            Operation::DescribeEndpoints => "DescribeEndpoints",
            Operation::DescribeLimits => "DescribeLimits",
            Operation::DescribeTable => "DescribeTable",
            Operation::DescribeTimeToLive => "DescribeTimeToLive",
            Operation::GetItem => "GetItem",
            Operation::ListTables => "ListTables",
            Operation::ListTagsOfResource => "ListTagsOfResource",
            Operation::PutItem => "PutItem",
            Operation::Query => "Query",
            Operation::Scan => "Scan",
            Operation::UpdateItem => "UpdateItem",
            Operation::UpdateTable => "UpdateTable",
        }
    }

    /// Rather than about items.
    pub fn is_about_tables(self) -> bool {
        match self {
            Operation::CreateTable
            | Operation::DeleteTable
            | Operation::DescribeEndpoints
            | Operation::DescribeLimits
            | Operation::DescribeTable
            | Operation::DescribeTimeToLive
            | Operation::ListTables
            | Operation::ListTagsOfResource
            | Operation::UpdateTable => true,
            Operation::BatchGetItem
            | Operation::BatchWriteItem
            | Operation::DeleteItem
            | Operation::GetItem
            | Operation::PutItem
            | Operation::Query
            | Operation::Scan
            | Operation::UpdateItem => false,
        }
    }

    pub fn named(name: &str) -> Option<Operation> {
        OPERATIONS.into_iter().find(|operation| operation.name() == name)
    }

    /// Runs it on a request's body; the answer is JSON.
    pub async fn run<B: Backend>(self, call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Operation::GetItem => get_item::run(call, body).await,
            Operation::PutItem => put_item::run(call, body).await,
            Operation::UpdateItem => update_item::run(call, body).await,
            Operation::DeleteItem => delete_item::run(call, body).await,
            Operation::Query => query::run(call, body).await,
            Operation::Scan => scan::run(call, body).await,
            Operation::BatchGetItem => batch_get_item::run(call, body).await,
            Operation::BatchWriteItem => batch_write_item::run(call, body).await,
            Operation::CreateTable => create_table::run(call, body).await,
            Operation::DeleteTable => delete_table::run(call, body).await,
            Operation::DescribeEndpoints => describe_endpoints::run(call, body),
            Operation::DescribeLimits => describe_limits::run(body),
            Operation::DescribeTable => describe_table::run(call, body).await,
            Operation::DescribeTimeToLive => describe_time_to_live::run(call, body).await,
            Operation::ListTables => list_tables::run(call, body).await,
            Operation::ListTagsOfResource => list_tags_of_resource::run(call, body).await,
            Operation::UpdateTable => update_table::run(call, body).await,
        }
    }
}

/// One request on its way through its operation.
pub struct Call<'a, B> {
    pub backend: &'a B,
    pub settings: &'a Settings,
    pub deadline: Instant,
    pub request_id: Bytes,
    /// The host that the client asked.
    pub host: &'a str,
    /// The table that the request turned out to be about; metrics name it.
    pub table: Option<Arc<TableDescriptor>>,
}

impl<B: Backend> Call<'_, B> {
    /// A table whose items can be worked on.
    pub async fn active_table(&mut self, name: &str) -> Result<Arc<TableDescriptor>, Error> {
        let table = self.backend.table(name, self.deadline).await?;
        match table.status {
            TableStatus::Active | TableStatus::Updating => {}
            TableStatus::Creating | TableStatus::Deleting | TableStatus::Retained => {
                return Err(Error::table_not_found());
            }
        }
        self.table = Some(Arc::clone(&table));
        Ok(table)
    }

    /// A table in whatever state clients may see.
    pub async fn any_table(&mut self, name: &str) -> Result<Arc<TableDescriptor>, Error> {
        let table = self.backend.describe(name, self.deadline).await.map_err(|failure| named(failure, name))?;
        if table.status == TableStatus::Retained {
            return Err(Error::named_table_not_found(name));
        }
        self.table = Some(Arc::clone(&table));
        Ok(table)
    }
}

/// A failure as operations on tables word it.
fn named(failure: crate::routing::Failure, name: &str) -> Error {
    match failure {
        crate::routing::Failure::TableNotFound => Error::named_table_not_found(name),
        other => other.into(),
    }
}
