//! DescribeLimits: the quotas of the account, which here are the limits of one table twice.

use model::limits::{TABLE_READ_UNITS, TABLE_WRITE_UNITS};
use serde::Deserialize;

use crate::error::Error;
use crate::json;
use crate::json::write::Writer;

/// DynamoDB's default account quotas are twice a table's.
const TABLES_AT_FULL_RATE: u64 = 2;

#[derive(Deserialize)]
struct Request {}

pub fn run(body: &[u8]) -> Result<Vec<u8>, Error> {
    let Request {} = json::parse(body)?;
    let limits = [
        ("AccountMaxReadCapacityUnits", TABLE_READ_UNITS * TABLES_AT_FULL_RATE),
        ("AccountMaxWriteCapacityUnits", TABLE_WRITE_UNITS * TABLES_AT_FULL_RATE),
        ("TableMaxReadCapacityUnits", TABLE_READ_UNITS),
        ("TableMaxWriteCapacityUnits", TABLE_WRITE_UNITS),
    ];
    let mut json = Writer::new();
    json.object(|json| {
        for (name, units) in limits {
            json.key(name);
            json.raw(units);
        }
    });
    Ok(json.finish())
}
