//! A resource that is not the wish its groups follow: an etcd, or a file, that was set back to an older state. Pure.
//!
//! Groups follow the resource: they hold what it says, or something older. Where one holds a newer descriptor, or the same version with
//! another content, resource and groups come from two histories, and only a person knows which of them is right: until then nothing is
//! changed, neither on nodes nor, at somebody's wish, in the resource. The person confirms by [`Confirmed`]: `nodes`, and the resource
//! becomes what the newest group holds; `resource`, and the groups are given the resource's content under a version that none of them
//! has had. A confirmation is worth one divergence: where resource and groups are in step it means nothing, and is taken away.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use model::{TableDescriptor, TableId, TableStatus};

use crate::plan::{Observed, ReplicaReport};

/// Which of the two is right, as a person has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    Nodes,
    Resource,
}

impl Confirmed {
    /// None for what is no such word.
    pub fn read(word: &str) -> Option<Confirmed> {
        [Confirmed::Nodes, Confirmed::Resource].into_iter().find(|known| known.word() == word)
    }

    pub fn word(self) -> &'static str {
        match self {
            Confirmed::Nodes => "nodes",
            Confirmed::Resource => "resource",
        }
    }
}

/// The newest descriptor that a table's replicas hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    pub table: Arc<TableDescriptor>,
    /// Everybody who holds this version holds this content.
    pub agreed: bool,
}

impl Newest {
    /// Of one table's replicas; none where nobody tells.
    pub fn of<'a>(reports: impl IntoIterator<Item = &'a ReplicaReport>) -> Option<Newest> {
        reports.into_iter().filter_map(|report| report.table.as_ref()).fold(None, Newest::heard)
    }

    fn heard(before: Option<Newest>, table: &Arc<TableDescriptor>) -> Option<Newest> {
        let newer = |before: &Newest| table.version > before.table.version;
        match before {
            Some(before) if !newer(&before) => {
                let alike = table.version < before.table.version || *table == before.table;
                Some(Newest { agreed: before.agreed && alike, ..before })
            }
            Some(_) | None => Some(Newest { table: Arc::clone(table), agreed: true }),
        }
    }
}

/// By one walk over all groups, whoever asks for every table.
pub fn newest(observed: &Observed) -> BTreeMap<TableId, Newest> {
    let mut all: BTreeMap<TableId, Option<Newest>> = BTreeMap::new();
    for table in observed.groups.values().flatten().filter_map(|report| report.table.as_ref()) {
        let known = all.entry(table.id).or_default();
        *known = Newest::heard(known.take(), table);
    }
    all.into_iter().filter_map(|(id, newest)| Some((id, newest?))).collect()
}

/// How far resource and groups are apart. Its `Display` is a sentence for people, without the word on how to confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    pub held: Newest,
    pub resource: TableDescriptor,
}

/// None where the groups hold what the resource says, or something older.
pub fn divergence(resource: &TableDescriptor, held: Option<&Newest>) -> Option<Divergence> {
    let held = held?;
    let follows = held.table.version < resource.version || *held.table == *resource && held.agreed;
    (!follows).then(|| Divergence { held: held.clone(), resource: resource.clone() })
}

impl Divergence {
    /// What the resource is to say from now on; none where what was confirmed does not decide it.
    pub fn settled(&self, confirmed: Confirmed) -> Option<TableDescriptor> {
        let Divergence { held: Newest { table: held, agreed }, resource } = self;
        match confirmed {
            Confirmed::Nodes => agreed.then(|| TableDescriptor::clone(held)),
            Confirmed::Resource => {
                // The groups are there, whatever the resource knows of their birth, and are told.
                let status = match resource.status {
                    TableStatus::Creating | TableStatus::Active | TableStatus::Updating => TableStatus::Updating,
                    TableStatus::Deleting => TableStatus::Deleting,
                    TableStatus::Retained => TableStatus::Retained,
                };
                Some(TableDescriptor { status, version: held.version + 1, ..resource.clone() })
            }
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Divergence { held: Newest { table: held, agreed }, resource } = self;
        if !agreed {
            return write!(
                f,
                "its groups hold version {} of the table in more than one form, of which the nodes cannot tell which is right (`resource` alone \
                 can be confirmed)",
                held.version
            );
        }
        let differ = differences(held, resource);
        let differ = if differ.is_empty() { "nothing but the version".to_owned() } else { differ.join(", ") };
        write!(
            f,
            "its groups hold version {} of the table and the resource says {}, as after a return to an older state; what differs: {differ}",
            held.version, resource.version
        )
    }
}

/// What a person would want to compare, in people's words.
pub fn differences(a: &TableDescriptor, b: &TableDescriptor) -> Vec<&'static str> {
    let fields = [
        ("status", a.status != b.status),
        ("key", a.schema != b.schema),
        ("billing mode", a.billing != b.billing),
        ("throughput", a.throughput != b.throughput),
        ("deletion protection", a.deletion_protection != b.deletion_protection),
        ("table class", a.table_class != b.table_class),
        ("tags", a.tags != b.tags),
    ];
    fields.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

#[cfg(test)]
mod tests {
    use model::NodeId;
    use model::units::Consumption;

    use super::*;
    use crate::plan::tests::table;

    fn report(node: u64, table: &TableDescriptor) -> ReplicaReport {
        ReplicaReport {
            node: NodeId(node),
            descriptor: None,
            table: Some(table.clone().into()),
            serving: false,
            health: None,
            size: None,
            consumption: Consumption::default(),
        }
    }

    fn held(tables: &[&TableDescriptor]) -> Option<Newest> {
        let reports: Vec<_> = tables.iter().zip(1..).map(|(table, node)| report(node, table)).collect();
        Newest::of(&reports)
    }

    fn at(version: u64) -> TableDescriptor {
        TableDescriptor { status: TableStatus::Active, version, ..table("music") }
    }

    fn protected(version: u64) -> TableDescriptor {
        TableDescriptor { deletion_protection: true, ..at(version) }
    }

    #[test]
    fn groups_follow_where_they_hold_the_resource_or_something_older() {
        assert_eq!(divergence(&at(5), None), None);
        assert_eq!(divergence(&at(5), held(&[&at(5), &at(4)]).as_ref()), None);
        assert_eq!(divergence(&at(5), held(&[&protected(4)]).as_ref()), None);
        // However much the older ones differ from each other: all of them get the newer.
        assert_eq!(divergence(&at(5), held(&[&at(4), &protected(4)]).as_ref()), None);
    }

    #[test]
    fn a_newer_version_or_the_same_with_another_content_is_a_divergence() {
        let newer = divergence(&at(2), held(&[&at(1), &protected(5)]).as_ref()).unwrap();
        assert_eq!(newer.settled(Confirmed::Nodes), Some(protected(5)));
        assert_eq!(
            newer.settled(Confirmed::Resource),
            Some(TableDescriptor { status: TableStatus::Updating, ..at(6) })
        );
        assert!(newer.to_string().contains("version 5 of the table and the resource says 2"), "{newer}");
        assert!(newer.to_string().ends_with("what differs: deletion protection"), "{newer}");
        let same = divergence(&at(5), held(&[&protected(5)]).as_ref()).unwrap();
        assert_eq!(same.settled(Confirmed::Nodes), Some(protected(5)));
        // Of which one of two partitions alone was seen when the resource was changed.
        let split = divergence(&at(5), held(&[&at(5), &protected(5)]).as_ref()).unwrap();
        assert_eq!(split.settled(Confirmed::Nodes), None);
        assert_eq!(split.settled(Confirmed::Resource).unwrap().version, 6);
    }

    #[test]
    fn what_is_confirmed_of_the_resource_keeps_its_end() {
        let ends = |status| {
            let resource = TableDescriptor { status, ..at(2) };
            divergence(&resource, held(&[&at(5)]).as_ref()).unwrap().settled(Confirmed::Resource).unwrap().status
        };
        assert_eq!(ends(TableStatus::Creating), TableStatus::Updating);
        assert_eq!(ends(TableStatus::Deleting), TableStatus::Deleting);
        assert_eq!(ends(TableStatus::Retained), TableStatus::Retained);
    }

    #[test]
    fn a_person_says_one_of_two_words() {
        assert_eq!(Confirmed::read("nodes"), Some(Confirmed::Nodes));
        assert_eq!(Confirmed::read("resource"), Some(Confirmed::Resource));
        assert_eq!(Confirmed::read("yes"), None);
    }
}
