//! Table operations: the control service for what changes, MemDS for what is.

use std::time::Instant;

use bytes::Bytes;
use model::TableDescriptor;
use tonic::{Code, Status};
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, Throughput, UpdateTableRequest};
use wire::memds::{ListPartitionsRequest, ListTablesRequest};

use super::connector::{CallError, Connector, Reply};
use super::inner::Inner;
use super::{ControlCode, Failure, TableSize, TableUpdate};

const NO_CONTROL: &str = "the control service cannot be reached";
const NO_MAP: &str = "no server of the partition map knows everything yet";

impl Inner {
    pub async fn create_table(&self, wish: TableDescriptor, deadline: Instant) -> Result<TableDescriptor, Failure> {
        let request = CreateTableRequest { wish: wish.encode() };
        self.control(deadline, |connector, address| connector.create_table(address, request.clone())).await
    }

    pub async fn update_table(
        &self,
        name: &str,
        update: TableUpdate,
        deadline: Instant,
    ) -> Result<TableDescriptor, Failure> {
        let TableUpdate { pay_per_request, throughput, deletion_protection, table_class } = update;
        let request = UpdateTableRequest {
            name: name.to_owned(),
            pay_per_request,
            throughput: throughput.map(|(read_units, write_units)| Throughput { read_units, write_units }),
            deletion_protection,
            table_class,
        };
        self.control(deadline, |connector, address| connector.update_table(address, request.clone())).await
    }

    pub async fn delete_table(&self, name: &str, deadline: Instant) -> Result<TableDescriptor, Failure> {
        let request = DeleteTableRequest { name: name.to_owned() };
        self.control(deadline, |connector, address| connector.delete_table(address, request.clone())).await
    }

    /// Asks one control process after the other until one is reached. What was sent is not sent again.
    async fn control(
        &self,
        deadline: Instant,
        call: impl Fn(&dyn Connector, &str) -> Reply<TableAnswer>,
    ) -> Result<TableDescriptor, Failure> {
        let mut pauses = 0;
        loop {
            for address in &self.control {
                let reply = call(&*self.connector, address);
                match tokio::time::timeout_at(deadline.into(), reply).await {
                    Err(_) => return Err(Failure::Unknown),
                    Ok(Ok(answer)) => return self.take_table(answer.table),
                    Ok(Err(CallError::Refused(status))) => return Err(refusal(status)),
                    Ok(Err(error @ CallError::NotConnected { .. })) => {
                        tracing::debug!(%error, "control process cannot be reached");
                    }
                }
            }
            self.pause(deadline, &mut pauses, NO_CONTROL).await?;
        }
    }

    fn take_table(&self, encoded: Bytes) -> Result<TableDescriptor, Failure> {
        match self.cache.put_table(encoded.clone()).and_then(|_| TableDescriptor::decode(encoded)) {
            Ok(descriptor) => Ok(descriptor),
            Err(error) => {
                tracing::error!(%error, "the control service answered a table that cannot be decoded");
                Err(Failure::Unknown)
            }
        }
    }

    pub async fn list_tables(
        &self,
        exclusive_start: &str,
        limit: u32,
        deadline: Instant,
    ) -> Result<(Vec<String>, bool), Failure> {
        let request = ListTablesRequest { exclusive_start: exclusive_start.to_owned(), limit };
        let mut pauses = 0;
        loop {
            for address in &self.memds {
                let reply = self.connector.list_tables(address, request.clone());
                match tokio::time::timeout_at(deadline.into(), reply).await {
                    Ok(Ok(answer)) if answer.complete => return Ok((answer.names, answer.more)),
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "memds does not list tables"),
                    Err(_) => return Err(Failure::Unavailable(NO_MAP.to_owned())),
                }
            }
            self.pause(deadline, &mut pauses, NO_MAP).await?;
        }
    }

    /// As leaders have last counted; what nobody has counted yet is nothing.
    pub async fn table_size(&self, table: &TableDescriptor, deadline: Instant) -> Result<TableSize, Failure> {
        let mut pauses = 0;
        loop {
            for address in &self.memds {
                let reply = self.connector.list_partitions(address, ListPartitionsRequest { table: table.id.0 });
                match tokio::time::timeout_at(deadline.into(), reply).await {
                    Ok(Ok(answer)) => {
                        self.cache.put_nodes(answer.nodes);
                        return Ok(answer.partitions.iter().fold(TableSize::default(), |sum, report| TableSize {
                            items: sum.items.saturating_add(report.items()),
                            bytes: sum.bytes.saturating_add(report.bytes()),
                        }));
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "memds does not list partitions"),
                    Err(_) => return Err(Failure::Unavailable(NO_MAP.to_owned())),
                }
            }
            self.pause(deadline, &mut pauses, NO_MAP).await?;
        }
    }
}

/// As control.proto says; what it does not name is a failure whose outcome is open.
fn refusal(status: Status) -> Failure {
    let code = match status.code() {
        Code::AlreadyExists | Code::FailedPrecondition => ControlCode::ResourceInUse,
        Code::NotFound => ControlCode::ResourceNotFound,
        Code::InvalidArgument => ControlCode::Validation,
        Code::ResourceExhausted => ControlCode::LimitExceeded,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::PermissionDenied
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => {
            tracing::warn!(%status, "the control service failed");
            return Failure::Unknown;
        }
    };
    Failure::Control { code, message: status.message().to_owned() }
}
