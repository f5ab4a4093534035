//! Tables whose birth was cut short and whose object is gone: MemDS may know them, and no group ever tells it otherwise.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use control::cluster::Cluster as Nodes;
use model::TableId;

/// Until every MemDS server has been told.
#[derive(Debug, Default)]
pub struct Unborn {
    tables: Mutex<BTreeSet<TableId>>,
}

impl Unborn {
    pub fn add(&self, table: TableId) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).insert(table);
    }

    pub async fn are_forgotten(&mut self, nodes: &Nodes) {
        let tables = self.tables.get_mut().unwrap_or_else(PoisonError::into_inner);
        for table in tables.clone() {
            match nodes.remove_table(table).await {
                Ok(()) => drop(tables.remove(&table)),
                Err(error) => {
                    // The look goes on: whoever is silent now would be waited for with every table.
                    tracing::warn!(%table, %error, "MemDS is told again of a table that was never born");
                    return;
                }
            }
        }
    }
}
