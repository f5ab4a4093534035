//! A Partition object as it is held: each word once, however many objects say it. As kube holds it, it is some fifty strings, and a
//! cluster has ten thousand of them. Pure.
//!
//! Names of zones, nodes and tables, and what conditions say, are the same in most of them; the end of one range is the beginning of the
//! next. Of its metadata is held what somebody here asks for.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use kube::api::ObjectMeta;

use crate::crd::condition::Condition;
use crate::crd::partition::{Range, ReplicaStatus, ReplicaWish};
use crate::crd::{Partition, PartitionSpec, PartitionStatus};
use crate::names::CLUSTER_LABEL;

type Word = Arc<str>;

/// What is said by what is held, each once.
#[derive(Debug, Default)]
pub struct Words {
    words: Once<str>,
    said: Once<Said>,
    places: Once<Place>,
}

#[derive(Debug)]
struct Once<T: ?Sized> {
    known: HashSet<Arc<T>>,
    /// How many there may be before those are sought that nobody says any more.
    most: usize,
}

/// So few are not worth a search.
const FEW: usize = 1024;

impl<T: ?Sized> Default for Once<T> {
    fn default() -> Once<T> {
        Once { known: HashSet::new(), most: 0 }
    }
}

impl<T> Once<T>
where
    T: Eq + Hash + ToOwned + ?Sized,
    Arc<T>: From<T::Owned>,
{
    fn hold(&mut self, one: &T) -> Arc<T> {
        if let Some(known) = self.known.get(one) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.most.max(FEW) {
            self.known.retain(|known| Arc::strong_count(known) > 1);
            self.most = self.known.len() * 2;
        }
        let held = Arc::from(one.to_owned());
        self.known.insert(Arc::clone(&held));
        held
    }
}

impl Words {
    fn hold(&mut self, word: &str) -> Word {
        self.words.hold(word)
    }
}

/// A condition, but for when it began.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Said {
    kind: String,
    status: String,
    reason: String,
    message: String,
    observed_generation: i64,
}

/// A replica, but for its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    node: String,
    zone: String,
    role: String,
    kind: String,
    state: String,
}

/// One Partition object.
#[derive(Debug, PartialEq)]
pub struct Known {
    name: Box<str>,
    uid: Option<Box<str>>,
    version: Option<Box<str>>,
    generation: Option<i64>,
    cluster: Option<Word>,
    table_ref: Word,
    table_id: Word,
    partition_id: Box<str>,
    range: KnownRange,
    replicas: Box<[(Word, Word)]>,
    status: Option<KnownStatus>,
}

#[derive(Debug, PartialEq)]
struct KnownStatus {
    observed_generation: i64,
    state: Word,
    why: Word,
    leader: Word,
    zones: Word,
    epoch: u64,
    range: KnownRange,
    replicas: Box<[KnownReplica]>,
    items: u64,
    size_bytes: u64,
    read_units: u64,
    write_units: u64,
    sized_at: Option<Time>,
    conditions: Box<[KnownCondition]>,
}

#[derive(Debug, PartialEq)]
struct KnownRange {
    start: Word,
    end: Option<Word>,
}

#[derive(Debug, PartialEq)]
struct KnownReplica {
    id: u64,
    place: Arc<Place>,
}

#[derive(Debug, PartialEq)]
struct KnownCondition {
    said: Arc<Said>,
    last_transition_time: Time,
}

impl Known {
    pub fn new(object: &Partition, words: &mut Words) -> Known {
        let Partition { metadata, spec, status } = object;
        let PartitionSpec { table_ref, table_id, partition_id, range, replicas } = spec;
        let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
        let cluster = object.labels().get(CLUSTER_LABEL).map(|cluster| words.hold(cluster));
        let wish = |ReplicaWish { zone, node }: &ReplicaWish| (words.hold(zone), words.hold(node));
        let replicas = replicas.iter().map(wish).collect();
        Known {
            name: object.name_any().into(),
            uid: boxed(&metadata.uid),
            version: boxed(&metadata.resource_version),
            generation: metadata.generation,
            cluster,
            table_ref: words.hold(table_ref),
            table_id: words.hold(table_id),
            partition_id: partition_id.as_str().into(),
            range: KnownRange::new(range, words),
            replicas,
            status: status.as_ref().map(|status| KnownStatus::new(status, words)),
        }
    }

    pub fn is_of_cluster(&self, name: &str) -> bool {
        self.cluster.as_deref() == Some(name)
    }

    pub fn table_id(&self) -> &str {
        &self.table_id
    }

    /// 16 hexadecimal digits.
    pub fn partition_id(&self) -> &str {
        &self.partition_id
    }

    /// 0 where nobody has told.
    pub fn epoch(&self) -> u64 {
        self.status.as_ref().map_or(0, |status| status.epoch)
    }

    /// As Kubernetes has it, but for what nobody here asks for.
    pub fn object(&self) -> Partition {
        let Known {
            name,
            uid,
            version,
            generation,
            cluster,
            table_ref,
            table_id,
            partition_id,
            range,
            replicas,
            status,
        } = self;
        let text = |held: &Option<Box<str>>| held.as_deref().map(str::to_owned);
        let labels = cluster.as_ref().map(|cluster| [(CLUSTER_LABEL.to_owned(), cluster.to_string())].into());
        let wish = |(zone, node): &(Word, Word)| ReplicaWish { zone: zone.to_string(), node: node.to_string() };
        Partition {
            metadata: ObjectMeta {
                name: Some(name.to_string()),
                uid: text(uid),
                resource_version: text(version),
                generation: *generation,
                labels,
                ..ObjectMeta::default()
            },
            spec: PartitionSpec {
                table_ref: table_ref.to_string(),
                table_id: table_id.to_string(),
                partition_id: partition_id.to_string(),
                range: range.range(),
                replicas: replicas.iter().map(wish).collect(),
            },
            status: status.as_ref().map(KnownStatus::status),
        }
    }
}

impl KnownStatus {
    fn new(status: &PartitionStatus, words: &mut Words) -> KnownStatus {
        let PartitionStatus {
            observed_generation,
            state,
            why,
            leader,
            zones,
            epoch,
            range,
            replicas,
            items,
            size_bytes,
            read_units,
            write_units,
            sized_at,
            conditions,
        } = status;
        KnownStatus {
            observed_generation: *observed_generation,
            state: words.hold(state),
            why: words.hold(why),
            leader: words.hold(leader),
            zones: words.hold(zones),
            epoch: *epoch,
            range: KnownRange::new(range, words),
            replicas: replicas.iter().map(|replica| KnownReplica::new(replica, words)).collect(),
            items: *items,
            size_bytes: *size_bytes,
            read_units: *read_units,
            write_units: *write_units,
            sized_at: sized_at.clone(),
            conditions: conditions.iter().map(|condition| KnownCondition::new(condition, words)).collect(),
        }
    }

    fn status(&self) -> PartitionStatus {
        let KnownStatus {
            observed_generation,
            state,
            why,
            leader,
            zones,
            epoch,
            range,
            replicas,
            items,
            size_bytes,
            read_units,
            write_units,
            sized_at,
            conditions,
        } = self;
        PartitionStatus {
            observed_generation: *observed_generation,
            state: state.to_string(),
            why: why.to_string(),
            leader: leader.to_string(),
            zones: zones.to_string(),
            epoch: *epoch,
            range: range.range(),
            replicas: replicas.iter().map(KnownReplica::replica).collect(),
            items: *items,
            size_bytes: *size_bytes,
            read_units: *read_units,
            write_units: *write_units,
            sized_at: sized_at.clone(),
            conditions: conditions.iter().map(KnownCondition::condition).collect(),
        }
    }
}

impl KnownRange {
    fn new(range: &Range, words: &mut Words) -> KnownRange {
        let Range { start, end } = range;
        KnownRange { start: words.hold(start), end: end.as_ref().map(|end| words.hold(end)) }
    }

    fn range(&self) -> Range {
        let KnownRange { start, end } = self;
        Range { start: start.to_string(), end: end.as_ref().map(ToString::to_string) }
    }
}

impl KnownReplica {
    fn new(replica: &ReplicaStatus, words: &mut Words) -> KnownReplica {
        let ReplicaStatus { id, node, zone, role, kind, state } = replica.clone();
        KnownReplica { id, place: words.places.hold(&Place { node, zone, role, kind, state }) }
    }

    fn replica(&self) -> ReplicaStatus {
        let Place { node, zone, role, kind, state } = Place::clone(&self.place);
        ReplicaStatus { id: self.id, node, zone, role, kind, state }
    }
}

impl KnownCondition {
    fn new(condition: &Condition, words: &mut Words) -> KnownCondition {
        let Condition { kind, status, reason, message, last_transition_time, observed_generation } = condition.clone();
        let said = words.said.hold(&Said { kind, status, reason, message, observed_generation });
        KnownCondition { said, last_transition_time }
    }

    fn condition(&self) -> Condition {
        let Said { kind, status, reason, message, observed_generation } = Said::clone(&self.said);
        let last_transition_time = self.last_transition_time.clone();
        Condition { kind, status, reason, message, last_transition_time, observed_generation }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::names::TABLE_LABEL;

    fn partition(number: u64, message: &str) -> Partition {
        let replica = |id: u64| json!({ "id": id, "node": format!("n{id}"), "zone": "a", "role": "Voter", "kind": "Log", "state": "Level" });
        let condition = json!({
            "type": "Ready", "status": "True", "reason": "Whole", "message": message,
            "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 6,
        });
        let object = json!({
            "apiVersion": "trivet.dev/v1alpha1", "kind": "Partition",
            "metadata": {
                "name": format!("music-{number}"), "uid": "u1", "resourceVersion": "17", "generation": 4,
                "labels": { CLUSTER_LABEL: "trv" },
            },
            "spec": {
                "tableRef": "music", "tableId": "t7", "partitionId": format!("{number:016x}"),
                "range": { "start": "07", "end": "08" }, "replicas": [{ "zone": "z", "node": "n9" }],
            },
            "status": {
                "observedGeneration": 4, "state": "Missing", "why": "so", "leader": "n1", "zones": "a,b,c", "epoch": 5, "range": { "start": "06" },
                "replicas": [replica(1), replica(2)], "items": 1200, "sizeBytes": 57000,
                "readUnits": 70, "writeUnits": 9, "sizedAt": "2026-01-02T03:04:06Z",
                "conditions": [condition],
            },
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_is_held_is_the_object_but_for_metadata_that_nobody_asks_for() {
        let mut words = Words::default();
        let object = partition(3, "it is");
        let known = Known::new(&object, &mut words);
        assert_eq!(known.object(), object);
        assert!(known.is_of_cluster("trv") && !known.is_of_cluster("other"));
        assert_eq!((known.table_id(), known.partition_id()), ("t7", "0000000000000003"));
        let mut more = object.clone();
        more.labels_mut().insert(TABLE_LABEL.to_owned(), "t7".to_owned());
        more.metadata.namespace = Some("default".to_owned());
        assert_eq!(Known::new(&more, &mut words), known);
        let bare = Partition {
            status: None,
            metadata: ObjectMeta { name: Some("x".to_owned()), ..ObjectMeta::default() },
            ..object
        };
        let known = Known::new(&bare, &mut words);
        assert_eq!(known.object(), bare);
        assert!(!known.is_of_cluster("trv"));
    }

    #[test]
    fn a_word_is_held_once_and_no_longer_than_it_is_said() {
        let mut words = Words::default();
        let [one, other] = [3, 4].map(|number| Known::new(&partition(number, "it is"), &mut words));
        assert!(Arc::ptr_eq(&one.table_id, &other.table_id));
        let said = words.said.known.len();
        for number in 0..10 * FEW {
            drop(Known::new(&partition(3, &format!("for the {number}. time")), &mut words));
        }
        assert!(words.said.known.len() <= 2 * FEW.max(said), "{} conditions", words.said.known.len());
        assert_eq!(one.object(), partition(3, "it is"));
    }
}
