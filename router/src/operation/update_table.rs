//! UpdateTable: billing mode, throughput, deletion protection and table class of a table that exists.

use model::{BillingMode, TableDescriptor, Throughput};
use serde::Deserialize;

use super::create_table::{
    ProvisionedThroughput, SseSpecification, StreamSpecification, check_table_class, check_throughput_shape,
    checked_throughput, refuse,
};
use super::violations::Violations;
use super::{Call, named, table};
use crate::backend::Backend;
use crate::error::Error;
use crate::json;
use crate::json::field::{Field, Flag, List, Present, Text};
use crate::json::write::Writer;
use crate::routing::TableUpdate;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    table_name: Option<Text>,
    billing_mode: Option<Text>,
    provisioned_throughput: Option<Field<ProvisionedThroughput>>,
    deletion_protection_enabled: Option<Flag>,
    table_class: Option<Text>,
    attribute_definitions: Option<List<Present>>,
    global_secondary_index_updates: Option<List<Present>>,
    replica_updates: Option<List<Present>>,
    stream_specification: Option<Field<StreamSpecification>>,
    #[serde(rename = "SSESpecification")]
    sse_specification: Option<Field<SseSpecification>>,
    on_demand_throughput: Option<Present>,
    warm_throughput: Option<Present>,
    multi_region_consistency: Option<Present>,
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    request.check_shape()?;
    request.refuse_what_is_not_there()?;
    let mut update = request.update()?;
    let name = table::checked_name(request.table_name.as_ref());
    let table = call.any_table(name).await?;
    fit(&mut update, &table)?;
    let table = call.backend.update_table(name, update, call.deadline).await.map_err(|failure| named(failure, name))?;
    let size = call.backend.table_size(&table, call.deadline).await?;
    let mut json = Writer::new();
    json.object(|json| {
        json.key("TableDescription");
        table::describe(json, call.settings, &table, size);
    });
    Ok(json.finish())
}

impl Request {
    fn check_shape(&self) -> Result<(), Error> {
        table::check_required(self.table_name.as_ref())?;
        let mut violations = Violations::new();
        check_throughput_shape(&mut violations, self.provisioned_throughput.as_ref());
        violations.one_of("billingMode", self.billing_mode.as_ref(), &["PROVISIONED", "PAY_PER_REQUEST"]);
        check_table_class(&mut violations, self.table_class.as_ref());
        violations.finish()
    }

    fn refuse_what_is_not_there(&self) -> Result<(), Error> {
        let has_members = |list: &Option<List<Present>>| list.as_ref().is_some_and(|List(members)| !members.is_empty());
        refuse(&[
            ("GlobalSecondaryIndexUpdates", has_members(&self.global_secondary_index_updates)),
            ("AttributeDefinitions", has_members(&self.attribute_definitions)),
            ("ReplicaUpdates", has_members(&self.replica_updates)),
            ("StreamSpecification", self.stream_specification.is_some()),
            ("SSESpecification", self.sse_specification.is_some()),
            ("OnDemandThroughput", self.on_demand_throughput.is_some()),
            ("WarmThroughput", self.warm_throughput.is_some()),
            ("MultiRegionConsistency", self.multi_region_consistency.is_some()),
        ])
    }

    fn update(&self) -> Result<TableUpdate, Error> {
        let pay_per_request = self.billing_mode.as_ref().map(|Text(mode)| mode == "PAY_PER_REQUEST");
        if pay_per_request == Some(false) && self.provisioned_throughput.is_none() {
            return Err(Error::invalid_parameter(
                "ProvisionedThroughput must be specified when BillingMode is PROVISIONED",
            ));
        }
        let throughput =
            self.provisioned_throughput.as_ref().map(|Field(throughput)| checked_throughput(throughput)).transpose()?;
        let update = TableUpdate {
            pay_per_request,
            throughput: throughput.map(|Throughput { read_units, write_units }| (read_units, write_units)),
            deletion_protection: self.deletion_protection_enabled.map(|Flag(on)| on),
            table_class: self.table_class.as_ref().map(|Text(class)| class.clone()),
        };
        if update == TableUpdate::default() {
            return Err(Error::validation(
                "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or \
                 SSESpecification or ReplicaUpdates is required",
            ));
        }
        Ok(update)
    }
}

/// Holds an update against the table as it is now.
fn fit(update: &mut TableUpdate, table: &TableDescriptor) -> Result<(), Error> {
    let on_demand = update.pay_per_request.unwrap_or(table.billing == BillingMode::PayPerRequest);
    let Some((read_units, write_units)) = update.throughput else {
        return Ok(());
    };
    if on_demand {
        return Err(Error::invalid_parameter(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        ));
    }
    let Throughput { read_units: current_read, write_units: current_write } = table.throughput;
    let same = (read_units, write_units) == (current_read, current_write);
    if same && table.billing == BillingMode::Provisioned {
        let others = TableUpdate { throughput: None, pay_per_request: None, ..update.clone() };
        if others != TableUpdate::default() {
            update.throughput = None;
            return Ok(());
        }
        return Err(Error::validation(format!(
            "The provisioned throughput for the table will not change. The requested value equals the current value. \
             Current ReadCapacityUnits provisioned for the table: {current_read}. Requested ReadCapacityUnits: \
             {read_units}. Current WriteCapacityUnits provisioned for the table: {current_write}. Requested \
             WriteCapacityUnits: {write_units}. Refer to the Amazon DynamoDB Developer Guide for current limits and how \
             to request higher limits."
        )));
    }
    Ok(())
}
