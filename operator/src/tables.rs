//! What is to be done with one Table object, and what is to be said of it. Pure.

use control::diverged::{self, Confirmed, Divergence, Newest};
use control::plan::Observed;
use kube::ResourceExt as _;
use model::{TableDescriptor, TableStatus as Status};

use crate::crd::Table;
use crate::crd::condition::{BLOCKED, DEGRADED, PROGRESSING, READY, Statement};
use crate::crd::table::DeletionPolicy;
use crate::names::CONFIRM;
use crate::resources::{is_held, is_placed};
use crate::validate::ValidTable;
use crate::wish;

/// What is done with the object before the driver takes over, or after it has nothing to do any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The object is to stay until it is known what becomes of its groups.
    Hold,
    /// Ids and places are given; groups follow.
    GiveBirth(Box<TableDescriptor>),
    /// Somebody has edited what may change.
    Follow,
    /// As DeleteTable.
    Delete,
    /// The table goes out of service; its items stay.
    Retain,
    /// The object goes. What groups there are stay, and are adopted; MemDS forgets a table whose birth was cut short.
    Release,
    /// What a person has confirmed is done, or was said of nothing: it is not to decide the next divergence.
    ForgetConfirmation,
}

/// The resource and the groups come from two histories, or have two keys.
const DIVERGED: &str = "Diverged";

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hindrance {
    pub reason: &'static str,
    pub message: String,
}

/// A table of that name on the nodes, though the object knows nothing of it.
pub fn is_there(name: &str, observed: &Observed) -> bool {
    let named = |table: &TableDescriptor| table.name == name && table.status != Status::Deleting;
    observed.groups.values().flatten().any(|report| report.table.as_deref().is_some_and(named))
}

/// A table of that name that is out of service.
fn retained<'a>(name: &str, observed: &'a Observed) -> Option<&'a TableDescriptor> {
    let mut tables = observed.groups.values().flatten().filter_map(|report| report.table.as_deref());
    tables.find(|table| table.name == name && table.status == Status::Retained)
}

/// What nodes tell of one table.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub observed: &'a Observed,
    /// Of what its groups hold.
    pub newest: Option<&'a Newest>,
}

pub fn decide(valid: &ValidTable<'_>, seen: Seen<'_>) -> Result<Option<Deed>, Hindrance> {
    let Seen { observed, newest } = seen;
    let (table, given) = (valid.table(), valid.given());
    if table.spec.paused {
        return Ok(None);
    }
    if let Some(divergence) = given.and_then(|given| diverged::divergence(given, newest)) {
        return hindered(DIVERGED, to_be_confirmed(table, &divergence));
    }
    if table.annotations().contains_key(CONFIRM) {
        return Ok((!observed.may_hide_a_table()).then_some(Deed::ForgetConfirmation));
    }
    let held = is_held(table);
    if table.metadata.deletion_timestamp.is_some() {
        return if held { decide_deletion(table, given, seen) } else { Ok(None) };
    }
    if !held {
        return Ok(Some(Deed::Hold));
    }
    match given {
        Some(given) if is_placed(table) => decide_change(table, given),
        Some(_) | None => decide_birth(table, given, observed),
    }
}

/// With what there is to do: nothing happens to the table before that.
fn to_be_confirmed(table: &Table, divergence: &Divergence) -> String {
    let word = table.annotations().get(CONFIRM).map_or("", String::as_str);
    let next = match Confirmed::read(word).map(|confirmed| divergence.settled(confirmed).is_some()) {
        Some(true) => format!("{CONFIRM} says {word}: it is done as soon as nodes of two zones answer"),
        None if word.is_empty() => format!(
            "nothing is changed until you annotate the Table with {CONFIRM}=nodes, which keeps what its groups hold, or {CONFIRM}=resource, \
             which writes what the resource says over it"
        ),
        Some(false) => format!("{CONFIRM}={word} does not decide it: annotate the Table with {CONFIRM}=resource"),
        None => format!("{CONFIRM} says {word:?}, which is neither nodes nor resource"),
    };
    format!("{divergence}; {next}")
}

fn decide_birth(
    table: &Table,
    given: Option<&TableDescriptor>,
    observed: &Observed,
) -> Result<Option<Deed>, Hindrance> {
    let name = &table.spec.table_name;
    let wish = given.cloned().or_else(|| wish::descriptor(&table.spec));
    let wished_schema = wish.as_ref().map(|wish| &wish.schema);
    if retained(name, observed).is_some_and(|retained| Some(&retained.schema) != wished_schema) {
        let message = format!(
            "nodes retain the items of an older table {name}, which has another key: apply it with that key, then delete it with deletionPolicy Delete"
        );
        return hindered("Retained", message);
    }
    if is_there(name, observed) {
        // The driver adopts it as soon as every node has answered.
        return hindered(
            "Adopting",
            format!("nodes have table {name} already: it is adopted as soon as every node answers"),
        );
    }
    if observed.may_hide_a_table() {
        let silence = observed.silence();
        return hindered("NodesSilent", format!("{silence}: whether one of them has table {name} is not known"));
    }
    match wish {
        Some(wish) => Ok(Some(Deed::GiveBirth(Box::new(wish)))),
        None => hindered("NoKeyType", "a key of spec.keySchema has no type in spec.attributeDefinitions".to_owned()),
    }
}

fn decide_change(table: &Table, given: &TableDescriptor) -> Result<Option<Deed>, Hindrance> {
    let wished = wish::descriptor(&table.spec);
    if wished.is_none_or(|wished| wished.schema != given.schema) {
        let message = format!(
            "nodes have table {} with another key than spec.keySchema says: correct the spec, or delete the table with its data first",
            given.name
        );
        return hindered(DIVERGED, message);
    }
    let behind = wish::followed(given, &table.spec) != *given;
    Ok((behind && given.status == Status::Active).then_some(Deed::Follow))
}

fn decide_deletion(table: &Table, given: Option<&TableDescriptor>, seen: Seen<'_>) -> Result<Option<Deed>, Hindrance> {
    let Some(given) = given else { return Ok(Some(Deed::Release)) };
    if !is_placed(table) {
        // Groups are born of what is placed, and of nothing else; but the object may come from an older etcd.
        let has_no_group = seen.newest.is_none() && !seen.observed.may_hide_a_table();
        return Ok(has_no_group.then_some(Deed::Release));
    }
    // Taken off in the spec it has to be taken off the table first: somebody deleted the object too early.
    if given.deletion_protection && !table.spec.deletion_protection_enabled {
        return Ok((given.status == Status::Active).then_some(Deed::Follow));
    }
    if given.deletion_protection {
        return hindered(
            "DeletionProtected",
            "the table is protected against deletion: set spec.deletionProtectionEnabled to false".to_owned(),
        );
    }
    let deed = match table.spec.deletion_policy {
        DeletionPolicy::Retain => Deed::Retain,
        DeletionPolicy::Delete => Deed::Delete,
    };
    Ok((given.status == Status::Active).then_some(deed))
}

fn hindered(reason: &'static str, message: String) -> Result<Option<Deed>, Hindrance> {
    Err(Hindrance { reason, message })
}

/// How many of the table's partitions there are, how many have a leader, and how many could lose a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Led {
    pub partitions: usize,
    pub led: usize,
    pub whole: usize,
}

impl Led {
    /// Some nodes may be silent that have all replicas of one.
    pub fn of(self, known: u32) -> Led {
        Led { partitions: self.partitions.max(usize::try_from(known).unwrap_or(usize::MAX)), ..self }
    }
}

/// What every Table carries.
pub fn statements(
    given: Option<&TableDescriptor>,
    held: Led,
    hindrance: Option<&Hindrance>,
    paused: bool,
) -> Vec<Statement> {
    let Led { partitions, led, .. } = held;
    let status = given.map(|given| given.status);
    let serves = matches!(status, Some(Status::Active | Status::Updating)) && led == partitions && partitions > 0;
    // What its resource says is not what its groups hold.
    let is_diverged = hindrance.is_some_and(|hindrance| hindrance.reason == DIVERGED);
    let (reason, message) = match (status, hindrance) {
        _ if paused => ("Paused", "spec.paused is set: nothing of the table is changed".to_owned()),
        (_, Some(Hindrance { reason, message })) => (*reason, message.clone()),
        (None, None) => ("Planning", "places for its partitions are chosen".to_owned()),
        (Some(Status::Creating), None) => ("Creating", format!("{led} of {partitions} partitions have a leader")),
        (Some(Status::Deleting), None) => ("Deleting", format!("{partitions} partitions are left")),
        (Some(Status::Retained), None) => {
            ("Retaining", "its partitions are told that it goes out of service".to_owned())
        }
        (Some(_), None) if !serves => ("Leaderless", format!("{led} of {partitions} partitions have a leader")),
        (Some(Status::Updating), None) => ("Updating", "its partitions are told of the change".to_owned()),
        (Some(Status::Active), None) => ("Active", format!("all {partitions} partitions have a leader")),
    };
    let progressing = hindrance.is_none() && !paused && status != Some(Status::Active);
    let say = |kind, holds| Statement { kind, holds, reason: reason.to_owned(), message: message.clone() };
    let blocked = hindrance.is_some();
    vec![
        say(READY, serves && !is_diverged),
        say(PROGRESSING, progressing),
        weakness(status, held),
        say(BLOCKED, blocked),
    ]
}

/// Without a count: it would be written again with every partition that comes or goes.
fn weakness(status: Option<Status>, held: Led) -> Statement {
    let is_born = !matches!(status, None | Some(Status::Creating));
    let (holds, reason, message) = match is_born && held.whole < held.partitions {
        true => (
            true,
            "WeakPartitions",
            "some of its partitions have no leader, or could not lose a node: see `kubectl get partitions`",
        ),
        false => (false, "AllWhole", "each of its partitions could lose a node"),
    };
    Statement { kind: DEGRADED, holds, reason: reason.to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use model::units::Consumption;
    use model::{KeySchema, KeyType, NodeId};

    use super::*;
    use crate::crd::table::{Birth, TableStatus};
    use crate::resources::FINALIZER;

    fn descriptor(status: Status) -> TableDescriptor {
        TableDescriptor {
            status,
            version: 3,
            ..TableDescriptor::wish("music", KeySchema::simple("artist", KeyType::S))
        }
    }

    fn object(birth: Birth) -> Table {
        let mut table = Table::new("music", wish::spec("trv", &descriptor(Status::Active)));
        table.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        table.status = Some(TableStatus { birth, descriptor: "set".to_owned(), ..TableStatus::default() });
        table
    }

    fn observed() -> Observed {
        Observed { reached: [1, 2, 3].map(NodeId).into(), complete: true, ..Observed::default() }
    }

    fn nodes(observed: &Observed) -> Seen<'_> {
        Seen { observed, newest: None }
    }

    fn decide(table: &Table, given: Option<&TableDescriptor>, seen: Seen<'_>) -> Result<Option<Deed>, Hindrance> {
        super::decide(&ValidTable::of(table, given.cloned()), seen)
    }

    fn reason(decided: Result<Option<Deed>, Hindrance>) -> &'static str {
        decided.expect_err("it is hindered").reason
    }

    #[test]
    fn a_new_object_is_held_and_then_born() {
        let mut table = object(Birth::Placing);
        (table.status, table.metadata.finalizers) = (None, None);
        assert_eq!(decide(&table, None, nodes(&observed())), Ok(Some(Deed::Hold)));
        table.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        let born = decide(&table, None, nodes(&observed()));
        assert!(matches!(born, Ok(Some(Deed::GiveBirth(wish))) if wish.name == "music" && wish.version == 0));
    }

    #[test]
    fn a_birth_that_was_cut_short_goes_on_with_the_id_it_has() {
        let given = descriptor(Status::Creating);
        let born = decide(&object(Birth::Placing), Some(&given), nodes(&observed()));
        assert!(matches!(born, Ok(Some(Deed::GiveBirth(wish))) if wish.version == 3));
    }

    #[test]
    fn nothing_is_born_while_nodes_might_have_it() {
        let mut table = object(Birth::Placing);
        table.status = None;
        let silent = Observed { silent: 2, silent_zones: 2, complete: false, ..observed() };
        assert_eq!(reason(decide(&table, None, nodes(&silent))), "NodesSilent");
        assert_eq!(reason(decide(&table, None, nodes(&Observed::default()))), "NodesSilent");
        let mut there = observed();
        let report = control::plan::ReplicaReport {
            node: NodeId(1),
            descriptor: None,
            table: Some(descriptor(Status::Active).into()),
            serving: false,
            health: None,
            size: None,
            consumption: Consumption::default(),
        };
        there.groups.insert(model::PartitionId(1), vec![report]);
        assert_eq!(reason(decide(&table, None, nodes(&there))), "Adopting");
    }

    #[test]
    fn edits_are_followed_once_the_table_is_active() {
        let mut table = object(Birth::Placed);
        let given = descriptor(Status::Active);
        assert_eq!(decide(&table, Some(&given), nodes(&observed())), Ok(None));
        table.spec.deletion_protection_enabled = true;
        assert_eq!(decide(&table, Some(&given), nodes(&observed())), Ok(Some(Deed::Follow)));
        assert_eq!(decide(&table, Some(&descriptor(Status::Updating)), nodes(&observed())), Ok(None));
        table.spec.paused = true;
        assert_eq!(decide(&table, Some(&given), nodes(&observed())), Ok(None));
        let other = TableDescriptor { schema: KeySchema::simple("song", KeyType::S), ..given };
        table.spec.paused = false;
        assert_eq!(reason(decide(&table, Some(&other), nodes(&observed()))), "Diverged");
    }

    #[test]
    fn a_table_whose_groups_hold_something_newer_waits_for_a_word() {
        let given = descriptor(Status::Active);
        let protected = TableDescriptor { deletion_protection: true, version: given.version + 2, ..given.clone() };
        let newest = Newest { table: protected.into(), agreed: true };
        let seen = observed();
        let says = |table: &Table, newest: &Newest| {
            let hindrance = decide(table, Some(&given), Seen { observed: &seen, newest: Some(newest) }).unwrap_err();
            assert_eq!(hindrance.reason, "Diverged");
            hindrance.message
        };
        let mut table = object(Birth::Placed);
        table.spec.deletion_protection_enabled = true;
        assert!(says(&table, &newest).contains("annotate the Table with trivet.dev/confirm=nodes"));
        // Also one that somebody has deleted: it says why it stays.
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        let deleted = Table {
            metadata: kube::api::ObjectMeta { deletion_timestamp: Some(now), ..table.metadata.clone() },
            ..table.clone()
        };
        assert!(says(&deleted, &newest).contains("what differs: deletion protection"));
        table.annotations_mut().insert(CONFIRM.to_owned(), "yes".to_owned());
        assert!(says(&table, &newest).ends_with("says \"yes\", which is neither nodes nor resource"));
        table.annotations_mut().insert(CONFIRM.to_owned(), "nodes".to_owned());
        assert!(says(&table, &newest).contains("trivet.dev/confirm says nodes: it is done"));
        let torn = Newest { agreed: false, ..newest };
        assert!(says(&table, &torn).ends_with("annotate the Table with trivet.dev/confirm=resource"));
        // It is worth one divergence: gone before anything else is done, and not while a newer one may go unseen.
        let in_step = Newest { table: given.clone().into(), agreed: true };
        let decided = |seen| decide(&table, Some(&given), Seen { observed: seen, newest: Some(&in_step) });
        assert_eq!(decided(&seen), Ok(Some(Deed::ForgetConfirmation)));
        let silent = Observed { silent: 2, silent_zones: 2, complete: false, ..observed() };
        assert_eq!(decided(&silent), Ok(None));
    }

    #[test]
    fn deletion_is_what_the_policy_says() {
        let mut table = object(Birth::Placed);
        table.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
        let given = descriptor(Status::Active);
        assert_eq!(decide(&table, Some(&given), nodes(&observed())), Ok(Some(Deed::Retain)));
        assert_eq!(decide(&table, Some(&descriptor(Status::Retained)), nodes(&observed())), Ok(None));
        // Nothing was born of it.
        assert_eq!(decide(&table, None, nodes(&observed())), Ok(Some(Deed::Release)));
        let unborn = Table { status: object(Birth::Placing).status, ..table.clone() };
        let begun = descriptor(Status::Creating);
        assert_eq!(decide(&unborn, Some(&begun), nodes(&observed())), Ok(Some(Deed::Release)));
        let silent = Observed { silent: 2, silent_zones: 2, complete: false, ..observed() };
        assert_eq!(decide(&unborn, Some(&begun), nodes(&silent)), Ok(None));
        let protected = TableDescriptor { deletion_protection: true, ..given.clone() };
        table.spec.deletion_protection_enabled = true;
        assert_eq!(reason(decide(&table, Some(&protected), nodes(&observed()))), "DeletionProtected");
        // Its protection is taken off as the sentence says, and then it goes.
        table.spec.deletion_protection_enabled = false;
        assert_eq!(decide(&table, Some(&protected), nodes(&observed())), Ok(Some(Deed::Follow)));
        let told = TableDescriptor { status: Status::Updating, ..protected.clone() };
        assert_eq!(decide(&table, Some(&told), nodes(&observed())), Ok(None));
        table.spec.deletion_policy = DeletionPolicy::Delete;
        assert_eq!(decide(&table, Some(&given), nodes(&observed())), Ok(Some(Deed::Delete)));
        assert_eq!(decide(&table, Some(&descriptor(Status::Deleting)), nodes(&observed())), Ok(None));
        table.spec.deletion_protection_enabled = true;
        assert_eq!(reason(decide(&table, Some(&protected), nodes(&observed()))), "DeletionProtected");
    }

    #[test]
    fn a_retained_table_returns_only_under_its_key() {
        let mut table = object(Birth::Placing);
        table.status = None;
        let mut seen = observed();
        let mut retained = descriptor(Status::Retained);
        let report = |table: &TableDescriptor| control::plan::ReplicaReport {
            node: NodeId(1),
            descriptor: None,
            table: Some(table.clone().into()),
            serving: true,
            health: None,
            size: None,
            consumption: Consumption::default(),
        };
        seen.groups.insert(model::PartitionId(1), vec![report(&retained)]);
        assert_eq!(reason(decide(&table, None, nodes(&seen))), "Adopting");
        retained.schema = KeySchema::simple("song", KeyType::S);
        seen.groups.insert(model::PartitionId(1), vec![report(&retained)]);
        assert_eq!(reason(decide(&table, None, nodes(&seen))), "Retained");
    }

    #[test]
    fn a_table_is_ready_when_every_partition_has_a_leader() {
        let summary = |status, led, hindrance: Option<&Hindrance>| {
            let given = descriptor(status);
            holding(&statements(Some(&given), Led { partitions: 3, led, whole: 3 }, hindrance, false))
        };
        assert_eq!(summary(Status::Creating, 3, None), [PROGRESSING]);
        assert_eq!(summary(Status::Active, 3, None), [READY]);
        assert_eq!(summary(Status::Active, 2, None), [""; 0]);
        let protected = Hindrance { reason: "DeletionProtected", message: "…".to_owned() };
        assert_eq!(summary(Status::Active, 3, Some(&protected)), [READY, BLOCKED]);
        // It serves, but not what its resource says.
        let diverged = Hindrance { reason: DIVERGED, message: "…".to_owned() };
        assert_eq!(summary(Status::Active, 3, Some(&diverged)), [BLOCKED]);
    }

    fn holding(said: &[Statement]) -> Vec<&'static str> {
        said.iter().filter(|said| said.holds).map(|said| said.kind).collect()
    }

    #[test]
    fn a_table_is_degraded_where_one_of_its_partitions_is_and_while_it_is_born_it_is_not() {
        let summary = |status, whole| {
            holding(&statements(Some(&descriptor(status)), Led { partitions: 3, led: 3, whole }, None, false))
        };
        assert_eq!(summary(Status::Active, 2), [READY, DEGRADED]);
        assert_eq!(summary(Status::Active, 3), [READY]);
        assert_eq!(summary(Status::Creating, 0), [PROGRESSING]);
    }

    #[test]
    fn a_paused_table_says_so_and_goes_nowhere() {
        let led = Led { partitions: 3, led: 3, whole: 3 };
        let said = statements(Some(&descriptor(Status::Updating)), led, None, true);
        assert_eq!(holding(&said), [READY]);
        assert_eq!(said[0].reason, "Paused");
        let unborn = statements(None, Led::default(), None, true);
        assert_eq!((holding(&unborn), unborn[0].reason.as_str()), (Vec::new(), "Paused"));
    }
}
