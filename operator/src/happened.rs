//! What has happened to a Table, for its events: from what its status said before and what it says next. Pure.
//!
//! Each writer of a status asks with what it writes: the driver, of the table's course; the looks, of what hinders it. What goes on is in the
//! conditions and is never an event: a status that says the same again tells nothing, however often it is written and whoever begins
//! anew. An event is written after its status, so one that ends in between has told nothing, and nobody tells it twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use control::diverged::differences;
use kube::runtime::events::EventType;
use model::{TableDescriptor, TableStatus as Status};

use crate::crd::TableStatus;
use crate::crd::condition::{BLOCKED, Condition};
use crate::crd::table::Birth;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    pub kind: EventType,
    /// One word for programs.
    pub reason: String,
    /// One sentence for people.
    pub note: String,
    /// What was done. Of two with the same reason and action within six minutes kube's recorder keeps the first one's note, and counts.
    pub action: String,
}

/// In the order in which they are told.
pub fn happened(before: &TableStatus, next: &TableStatus) -> Vec<Happening> {
    let course = placed(next).and_then(|now| course(placed(before).as_ref(), &now));
    course.into_iter().chain(hindrance(blocked(before), blocked(next))).collect()
}

/// What its groups are to hold, once they may be born of it.
fn placed(status: &TableStatus) -> Option<TableDescriptor> {
    let is_placed = status.birth == Birth::Placed && !status.descriptor.is_empty();
    let bytes = BASE64.decode(&status.descriptor).ok().filter(|_| is_placed)?;
    TableDescriptor::decode(Bytes::from(bytes)).ok()
}

fn course(before: Option<&TableDescriptor>, now: &TableDescriptor) -> Option<Happening> {
    let last = before.map(|before| before.status);
    match (last, now.status) {
        (None, Status::Creating) => Some(placed_anew(now)),
        (None, Status::Active | Status::Updating) => Some(normal(
            "Adopted",
            format!("nodes have this table: it goes on with what they hold, version {}", now.version),
        )),
        (Some(Status::Creating), Status::Active) => {
            Some(normal("Active", "every partition has a leader: it is read and written".to_owned()))
        }
        (Some(Status::Active), Status::Active) | (Some(_), Status::Updating) => {
            before.filter(|before| before.version != now.version).map(|before| changed(before, now))
        }
        // The change is told when it begins, and who returns is told when it is taken over.
        (Some(Status::Updating | Status::Retained | Status::Deleting), Status::Active)
        | (Some(_), Status::Creating) => None,
        (Some(Status::Deleting), Status::Deleting) | (Some(Status::Retained), Status::Retained) => None,
        (_, Status::Deleting) => {
            Some(normal("Deleting", "it is being deleted: its partitions go, and its items with them".to_owned()))
        }
        (_, Status::Retained) => Some(normal(
            "Retained",
            "it goes out of service, and its items stay: apply a Table of its name and key, and it returns".to_owned(),
        )),
    }
}

fn placed_anew(table: &TableDescriptor) -> Happening {
    let partitions = match table.initial_partitions.max(1) {
        1 => "its partition has its places: nodes give birth to it".to_owned(),
        more => format!("its {more} partitions have their places: nodes give birth to them"),
    };
    normal("Placed", partitions)
}

/// Each version is another change, however soon one follows the other.
fn changed(before: &TableDescriptor, now: &TableDescriptor) -> Happening {
    let what: Vec<&str> = differences(before, now).into_iter().filter(|field| *field != "status").collect();
    let what = if what.is_empty() { "nothing but the version".to_owned() } else { what.join(", ") };
    let version = now.version;
    let note = format!("its partitions are told of version {version}; what changes: {what}");
    Happening { action: format!("Version{version}"), ..normal("Changed", note) }
}

fn blocked(status: &TableStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.kind == BLOCKED && condition.status == "True")
}

/// By its reason: what the sentence counts may change with every look.
fn hindrance(before: Option<&Condition>, now: Option<&Condition>) -> Option<Happening> {
    match (before, now) {
        (Some(before), Some(now)) if before.reason == now.reason => None,
        (_, Some(now)) => {
            let Condition { reason, message, .. } = now;
            Some(Happening { kind: EventType::Warning, ..normal(reason, message.clone()) })
        }
        (Some(before), None) => {
            let note = format!("{} hinders it no more", before.reason);
            Some(Happening { action: before.reason.clone(), ..normal("Unblocked", note) })
        }
        (None, None) => None,
    }
}

fn normal(reason: &str, note: String) -> Happening {
    Happening { kind: EventType::Normal, reason: reason.to_owned(), note, action: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use model::{KeySchema, KeyType};

    use super::*;

    fn table(status: Status, version: u64) -> TableDescriptor {
        let wish = TableDescriptor::wish("music", KeySchema::simple("artist", KeyType::S));
        TableDescriptor { status, version, initial_partitions: 12, ..wish }
    }

    fn holds(table: &TableDescriptor) -> TableStatus {
        TableStatus { birth: Birth::Placed, descriptor: BASE64.encode(table.encode()), ..TableStatus::default() }
    }

    fn at(status: Status, version: u64) -> TableStatus {
        holds(&table(status, version))
    }

    fn hindered(reason: &str, message: &str) -> TableStatus {
        let condition = |kind: &str, status: &str| Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: 1,
        };
        let holds = if reason == "Active" { "False" } else { "True" };
        TableStatus {
            conditions: vec![condition("Ready", "True"), condition(BLOCKED, holds)],
            ..TableStatus::default()
        }
    }

    fn reasons(before: &TableStatus, next: &TableStatus) -> Vec<String> {
        happened(before, next).into_iter().map(|happening| happening.reason).collect()
    }

    fn note(before: &TableStatus, next: &TableStatus) -> String {
        happened(before, next).remove(0).note
    }

    #[test]
    fn a_table_is_told_of_from_its_birth_to_its_end_each_step_once() {
        let placing = TableStatus { birth: Birth::Placing, ..at(Status::Creating, 1) };
        let course = [
            TableStatus::default(),
            placing.clone(),
            at(Status::Creating, 1),
            at(Status::Active, 2),
            at(Status::Updating, 3),
            at(Status::Active, 4),
            at(Status::Deleting, 5),
        ];
        let told: Vec<_> = course.windows(2).map(|pair| reasons(&pair[0], &pair[1]).join(" ")).collect();
        assert_eq!(told, ["", "Placed", "Active", "Changed", "", "Deleting"]);
        assert!(note(&placing, &course[2]).starts_with("its 12 partitions have their places"));
        for status in &course {
            assert_eq!(happened(status, status), [], "what is said again is no news");
        }
    }

    #[test]
    fn what_nodes_have_is_adopted_whether_the_object_was_there_or_not() {
        let placing = TableStatus { birth: Birth::Placing, ..at(Status::Active, 7) };
        assert_eq!(reasons(&TableStatus::default(), &placing), [""; 0]);
        assert_eq!(reasons(&placing, &at(Status::Active, 7)), ["Adopted"]);
        assert_eq!(reasons(&TableStatus::default(), &at(Status::Updating, 8)), ["Adopted"], "one that was retained");
        assert!(note(&placing, &at(Status::Active, 7)).ends_with("version 7"));
    }

    #[test]
    fn a_change_says_what_changes_and_each_counts_for_itself() {
        let before = table(Status::Active, 2);
        let tags = vec![("team".to_owned(), "blue".to_owned())];
        let next = TableDescriptor { tags, deletion_protection: true, ..table(Status::Updating, 3) };
        let told = happened(&holds(&before), &holds(&next)).remove(0);
        assert_eq!(told.note, "its partitions are told of version 3; what changes: deletion protection, tags");
        let later = TableDescriptor { version: 5, ..next.clone() };
        assert_ne!(happened(&holds(&before), &holds(&later))[0].action, told.action);
        // As a person has confirmed it.
        assert_eq!(reasons(&holds(&before), &at(Status::Active, 5)), ["Changed"]);
        assert_eq!(reasons(&holds(&next), &at(Status::Updating, 6)), ["Changed"]);
    }

    #[test]
    fn one_that_goes_out_of_service_says_how_it_returns() {
        assert!(note(&at(Status::Active, 2), &at(Status::Retained, 3)).contains("and it returns"));
        assert_eq!(reasons(&at(Status::Retained, 3), &at(Status::Retained, 3)), [""; 0]);
    }

    #[test]
    fn a_hindrance_is_told_when_it_begins_and_when_it_is_over() {
        let (free, silent) = (hindered("Active", "so"), hindered("NodesSilent", "2 nodes do not answer"));
        let told = happened(&free, &silent).remove(0);
        assert_eq!((told.kind, told.reason.as_str()), (EventType::Warning, "NodesSilent"));
        assert_eq!(told.note, "2 nodes do not answer");
        assert_eq!(happened(&silent, &hindered("NodesSilent", "3 nodes do not answer")), []);
        assert_eq!(reasons(&silent, &hindered("Adopting", "nodes have it")), ["Adopting"]);
        let over = happened(&silent, &free).remove(0);
        assert_eq!((over.kind, over.reason.as_str()), (EventType::Normal, "Unblocked"));
        assert_eq!(over.note, "NodesSilent hinders it no more");
    }
}
