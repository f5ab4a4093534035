//! Partition objects that speak of nothing: their table is no object's, and no node has their group. Pure.
//!
//! They are left where an object comes back whose table was deleted meanwhile (etcd restored from a backup). A Partition is a wish and a
//! report, so that nothing is lost with one; it goes nevertheless only when every node has answered, since a group that is found
//! later would want its object back.

use std::collections::BTreeSet;
use std::sync::Arc;

use control::plan::Observed;
use model::PartitionId;

use crate::crd::Table;
use crate::known::Known;

/// The orphans among `partitions`. A table of an id that some object holds still is missing, not gone: its Partitions stay.
pub fn orphans(partitions: Vec<Arc<Known>>, tables: &[Arc<Table>], observed: &Observed) -> Vec<Arc<Known>> {
    if !observed.complete || observed.reached.is_empty() {
        return Vec::new();
    }
    let held: BTreeSet<&str> = tables.iter().filter_map(|table| table_id(table)).collect();
    let is_orphan = |partition: &Arc<Known>| {
        let id = u64::from_str_radix(partition.partition_id(), 16).map(PartitionId);
        let is_there = id.is_ok_and(|id| observed.groups.contains_key(&id));
        !is_there && !held.contains(partition.table_id())
    };
    partitions.into_iter().filter(is_orphan).collect()
}

/// The id that the object holds; none before its birth has begun.
pub fn table_id(table: &Table) -> Option<&str> {
    let id = table.status.as_ref().map(|status| status.table_id.as_str());
    id.filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::*;
    use crate::crd::table::{TableSpec, TableStatus};
    use crate::crd::{Partition, PartitionSpec, partition::Range};
    use crate::known::Words;

    fn partition(id: u64, table: u64) -> Arc<Known> {
        let spec = PartitionSpec {
            table_ref: "music".to_owned(),
            table_id: format!("{table:016x}"),
            partition_id: format!("{id:016x}"),
            range: Range::default(),
            replicas: Vec::new(),
        };
        Arc::new(Known::new(&Partition::new("music-1", spec), &mut Words::default()))
    }

    fn table(id: u64) -> Arc<Table> {
        let schema = model::KeySchema::simple("artist", model::KeyType::S);
        let spec: TableSpec = crate::wish::spec("trv", &model::TableDescriptor::wish("music", schema));
        let mut table = Table::new("music", spec);
        table.status = Some(TableStatus { table_id: format!("{id:016x}"), ..TableStatus::default() });
        Arc::new(table)
    }

    fn observed(groups: &[u64]) -> Observed {
        let groups = groups.iter().map(|id| (PartitionId(*id), Vec::new())).collect();
        Observed { reached: [1, 2, 3].map(NodeId).into(), complete: true, groups, ..Observed::default() }
    }

    #[test]
    fn what_neither_an_object_nor_a_node_knows_is_an_orphan() {
        let all = vec![partition(1, 7), partition(2, 8), partition(3, 9)];
        // The first has a group, the second a table.
        let found = orphans(all, &[table(8)], &observed(&[1]));
        assert_eq!(found, [partition(3, 9)]);
    }

    #[test]
    fn nothing_is_called_an_orphan_while_a_node_is_silent() {
        let silent = Observed { silent: 1, complete: false, ..observed(&[]) };
        assert_eq!(orphans(vec![partition(1, 7)], &[], &silent), []);
        // A cluster without nodes has answered, and has said nothing.
        let nobody = Observed { complete: true, ..Observed::default() };
        assert_eq!(orphans(vec![partition(1, 7)], &[], &nobody), []);
    }
}
