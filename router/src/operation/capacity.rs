//! `ReturnConsumedCapacity` and what it makes of an answer.

use super::violations::Violations;
use crate::json::field::Text;
use crate::json::write::Writer;

/// What a request wants to know of the capacity it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    None,
    Total,
    Indexes,
}

pub fn check(violations: &mut Violations, asked: Option<&Text>) {
    violations.one_of("returnConsumedCapacity", asked, &["INDEXES", "TOTAL", "NONE"]);
}

impl Capacity {
    /// The text has been checked.
    pub fn asked(text: Option<&Text>) -> Capacity {
        match text.map(|Text(text)| text.as_str()) {
            Some("TOTAL") => Capacity::Total,
            Some("INDEXES") => Capacity::Indexes,
            Some(_) | None => Capacity::None,
        }
    }

    /// The field `ConsumedCapacity` of one table, if it was asked for.
    pub fn write_field(self, json: &mut Writer, table: &str, half_units: u64) {
        if self != Capacity::None {
            json.key("ConsumedCapacity");
            self.write(json, table, half_units);
        }
    }

    /// One table's consumed capacity.
    pub fn write(self, json: &mut Writer, table: &str, half_units: u64) {
        json.object(|json| {
            json.key("TableName");
            json.text(table);
            json.key("CapacityUnits");
            json.half_units(half_units);
            if self == Capacity::Indexes {
                json.key("Table");
                json.object(|json| {
                    json.key("CapacityUnits");
                    json.half_units(half_units);
                });
            }
        });
    }
}
