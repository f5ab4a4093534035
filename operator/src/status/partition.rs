//! What is said of a Partition: what its leader says of its group, in one word for programs and in a sentence with the next step for people.

use std::collections::BTreeSet;

use control::plan::{Observed, ReplicaReport, newest_descriptor};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::{PartitionDescriptor, PartitionId, ReplicaDescriptor, ReplicaKind, ReplicaRole};
use wire::admin::Health;
use wire::admin::health::State;

use super::{counted, statement, zones_are_safe};
use crate::crd::cluster::ZoneMode;
use crate::crd::condition::{BLOCKED, DEGRADED, PROGRESSING, READY, SAFE, Statement, conditions};
use crate::crd::partition::ReplicaStatus;
use crate::crd::{Partition, PartitionStatus};
use crate::figures::Figures;
use crate::resources::range;

/// None where those that have it have not told what it is.
pub fn partition(object: &Partition, observed: &Observed, mode: ZoneMode, now: &Time) -> Option<PartitionStatus> {
    let id = PartitionId(u64::from_str_radix(&object.spec.partition_id, 16).ok()?);
    let generation = object.metadata.generation.unwrap_or(0);
    let before = object.status.clone().unwrap_or_default();
    let Some(reports) = observed.groups.get(&id) else {
        return Some(unseen(before, generation, mode, now));
    };
    let newest = newest_descriptor(reports)?;
    let leader = reports.iter().find(|report| report.serving);
    let health = leader.and_then(|leader| leader.health.as_ref());
    let standing = standing(reports, newest);
    let mut said = standing.statements(leader.is_some());
    said.push(safe(newest, mode));
    let Figures { items, size_bytes, read_units, write_units, sized_at } =
        Figures::from(&before).next(&counted(reports), now);
    Some(PartitionStatus {
        observed_generation: generation,
        state: standing.state.to_owned(),
        why: health.map(|health| health.why.clone()).unwrap_or_default(),
        leader: leader.map(|leader| leader.node.to_string()).unwrap_or_default(),
        zones: zones(newest),
        epoch: newest.epoch,
        range: range(&newest.range),
        replicas: newest.replicas.iter().map(|replica| told(replica, leader)).collect(),
        items,
        size_bytes,
        read_units,
        write_units,
        sized_at,
        conditions: conditions(&before.conditions, said, generation, now),
    })
}

/// No node that answered has it: what is not seen stays as it was last seen, but for what is the case now.
fn unseen(before: PartitionStatus, generation: i64, mode: ZoneMode, now: &Time) -> PartitionStatus {
    let message = "no node that answers has a replica of it: see the Cluster's nodes".to_owned();
    let mut said = Standing { state: "Unknown", message, goes_on: false, waits: false }.statements(false);
    said.push(zones_are_safe(mode));
    let untold = |replica: &ReplicaStatus| ReplicaStatus { state: UNTOLD.to_owned(), ..replica.clone() };
    PartitionStatus {
        replicas: before.replicas.iter().map(untold).collect(),
        observed_generation: generation,
        state: "Unknown".to_owned(),
        leader: String::new(),
        conditions: conditions(&before.conditions, said, generation, now),
        ..before
    }
}

/// How much a change is worth of what may be written: who has no leader is told of first, and how much there is comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    Leaderless,
    State,
    Figures,
}

pub fn worth(before: &PartitionStatus, next: &PartitionStatus) -> Worth {
    let Figures { items, size_bytes, read_units, write_units, sized_at } = next.into();
    if next.leader.is_empty() {
        Worth::Leaderless
    } else if *next == (PartitionStatus { items, size_bytes, read_units, write_units, sized_at, ..before.clone() }) {
        Worth::Figures
    } else {
        Worth::State
    }
}

const WHOLE: &str = "Whole";
const MOVING: &str = "Moving";
const UNTOLD: &str = "Unknown";

/// How it is with a group.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    /// One word.
    state: &'static str,
    /// One sentence, with the next step where there is one for people.
    message: String,
    /// Its nodes do something about it.
    goes_on: bool,
    /// Nothing goes on before somebody acts.
    waits: bool,
}

impl Standing {
    fn statements(&self, is_led: bool) -> Vec<Statement> {
        let Standing { state, message, goes_on, waits } = self;
        let say = |kind, holds| statement(kind, holds, state, message);
        let is_weak = !matches!(*state, WHOLE | MOVING);
        vec![say(READY, is_led), say(PROGRESSING, *goes_on), say(DEGRADED, is_weak), say(BLOCKED, *waits)]
    }
}

/// As its leader says; without one, as anybody who misses it.
fn standing(reports: &[ReplicaReport], newest: &PartitionDescriptor) -> Standing {
    let Some(leader) = reports.iter().find(|report| report.serving) else {
        let healths = reports.iter().filter_map(|report| report.health.as_ref());
        let is_lost = healths.map(Health::state).any(|state| state == State::Leaderless);
        return leaderless(is_lost);
    };
    let Some(health) = &leader.health else {
        let message = "its leader does not say".to_owned();
        return Standing { state: "Unknown", message, goes_on: false, waits: false };
    };
    let (state, message) = words(health.state());
    if health.state() == State::Whole {
        return whole(newest);
    }
    let hindered = !health.why.is_empty();
    let waits = hindered || health.state() == State::NeedsArchive;
    let message = match hindered {
        true => format!("{message}. {}: bring back the node that is away, or give the Cluster another one", health.why),
        false => message.to_owned(),
    };
    Standing { state, message, goes_on: !waits, waits }
}

/// A replica that has just come, or that is to take another's place, does not vote.
fn whole(newest: &PartitionDescriptor) -> Standing {
    let moves = newest.replicas.iter().any(|replica| replica.role == ReplicaRole::Learner);
    let (state, message) = match moves {
        true => (MOVING, "all its voters are heard, and a replica comes to another node"),
        false => (WHOLE, words(State::Whole).1),
    };
    Standing { state, message: message.to_owned(), goes_on: moves, waits: false }
}

fn leaderless(is_lost: bool) -> Standing {
    let message = match is_lost {
        true => "most of its voters are away, and nobody can lead: bring their nodes back",
        false => words(State::Leaderless).1,
    };
    Standing { state: "Leaderless", message: message.to_owned(), goes_on: !is_lost, waits: is_lost }
}

fn words(state: State) -> (&'static str, &'static str) {
    match state {
        State::Unspecified => ("Unknown", "its leader does not say"),
        State::Whole => (WHOLE, "three voters have its items, and all are heard"),
        State::Missing => ("Missing", "a voter is silent; a log replica takes its place in seconds"),
        State::StoodIn => ("StoodIn", "a log replica votes in the place of a voter that is away"),
        State::ShortOfZone => (
            "ShortOfZone",
            "a log replica votes in the place of a voter that is away, in the zone of another: that zone's loss would stop the partition",
        ),
        State::Rebuilding => ("Rebuilding", "a replica is rebuilt, or is back and not level yet"),
        State::Short => ("Short", "two voters are left, or one, and nothing stands in for the others"),
        State::NeedsArchive => (
            "NeedsArchive",
            "a log replica leads, and has too little of the log for those that have items: bring back a node that has its items",
        ),
        State::Leaderless => ("Leaderless", "no replica that was asked leads"),
    }
}

/// Whether voters are where one failure takes one of them.
fn safe(descriptor: &PartitionDescriptor, mode: ZoneMode) -> Statement {
    let voters = || descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    let zones: BTreeSet<&str> = voters().map(|replica| replica.zone.0.as_str()).collect();
    if mode == ZoneMode::Labelled && zones.len() < voters().count() {
        return statement(SAFE, false, "ZoneShared", "two of its voters are in one zone: one failure may take both");
    }
    zones_are_safe(mode)
}

fn zones(descriptor: &PartitionDescriptor) -> String {
    let voters = descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    let mut zones: Vec<&str> = voters.map(|replica| replica.zone.0.as_str()).collect();
    zones.sort_unstable();
    zones.join(",")
}

fn told(replica: &ReplicaDescriptor, leader: Option<&ReplicaReport>) -> ReplicaStatus {
    let role = match replica.role {
        ReplicaRole::Voter => "Voter",
        ReplicaRole::Learner => "Learner",
    };
    let kind = match replica.kind {
        ReplicaKind::Storage => "Storage",
        ReplicaKind::Log => "Log",
    };
    ReplicaStatus {
        id: replica.id.0,
        node: replica.node.to_string(),
        zone: replica.zone.0.clone(),
        role: role.to_owned(),
        kind: kind.to_owned(),
        state: replica_state(replica, leader).to_owned(),
    }
}

/// As the leader sees it.
fn replica_state(replica: &ReplicaDescriptor, leader: Option<&ReplicaReport>) -> &'static str {
    let Some(leader) = leader else { return UNTOLD };
    let health = leader.health.as_ref().filter(|health| health.replica == replica.id.0);
    match health.map(Health::state) {
        _ if leader.node == replica.node => "Leading",
        Some(State::Missing | State::StoodIn | State::ShortOfZone) => "Away",
        Some(State::Rebuilding) => "Rebuilding",
        _ if replica.role == ReplicaRole::Learner => "Joining",
        _ => "Following",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, descriptor, object, observed};
    use super::*;

    #[test]
    fn a_partition_tells_who_leads_where_and_how_whole_it_is() {
        let said = partition(&object(), &observed(State::Whole), ZoneMode::Labelled, &at(1)).unwrap();
        assert_eq!((said.state.as_str(), said.leader.as_str()), ("Whole", "0000000000000002"));
        assert_eq!((said.zones.as_str(), said.epoch, said.range.start.as_str()), ("a,b,c", 5, "07"));
        let said = partition(&object(), &observed(State::StoodIn), ZoneMode::Labelled, &at(1)).unwrap();
        assert_eq!((said.state.as_str(), said.why.as_str()), ("StoodIn", "so"));
        assert_eq!(
            said.conditions.iter().map(|c| c.status.as_str()).collect::<Vec<_>>(),
            ["True", "False", "True", "True", "True"]
        );
    }

    #[test]
    fn a_condition_keeps_its_time_as_long_as_it_holds() {
        let mut object = object();
        object.status = partition(&object, &observed(State::Whole), ZoneMode::Labelled, &at(1));
        let later = partition(&object, &observed(State::Missing), ZoneMode::Labelled, &at(2)).unwrap();
        let times: Vec<_> = later.conditions.iter().map(|condition| condition.last_transition_time.clone()).collect();
        assert_eq!(times, [1, 1, 2, 2, 1].map(at));
        assert_eq!(partition(&object, &observed(State::Whole), ZoneMode::Labelled, &at(3)), object.status);
    }

    #[test]
    fn what_is_not_seen_stays_as_it_was_seen() {
        let mut object = object();
        object.status = partition(&object, &observed(State::Whole), ZoneMode::Labelled, &at(1));
        let unseen = partition(&object, &Observed::default(), ZoneMode::Labelled, &at(2)).unwrap();
        assert_eq!((unseen.state.as_str(), unseen.leader.as_str(), unseen.epoch), ("Unknown", "", 5));
        assert_eq!(holding(&unseen), [DEGRADED, SAFE]);
        assert!(unseen.replicas.iter().all(|replica| replica.state == UNTOLD) && unseen.replicas.len() == 3);
    }

    #[test]
    fn two_voters_in_one_zone_are_not_safe() {
        let mut shared = descriptor();
        shared.replicas[1].zone = shared.replicas[0].zone.clone();
        let said = safe(&shared, ZoneMode::Labelled);
        assert_eq!((said.holds, said.reason.as_str()), (false, "ZoneShared"));
    }

    fn with(state: State, why: &str, replica: u64) -> PartitionStatus {
        let mut observed = observed(state);
        let health = Health { state: state.into(), why: why.to_owned(), replica, ..Health::default() };
        observed.groups.get_mut(&PartitionId(9)).unwrap()[1].health = Some(health);
        partition(&object(), &observed, ZoneMode::Labelled, &at(1)).unwrap()
    }

    fn holding(status: &PartitionStatus) -> Vec<&str> {
        let holds = status.conditions.iter().filter(|condition| condition.status == "True");
        holds.map(|condition| condition.kind.as_str()).collect()
    }

    #[test]
    fn what_nodes_do_about_it_progresses_and_what_hinders_them_blocks_with_the_next_step() {
        assert_eq!(holding(&with(State::Whole, "", 0)), [READY, SAFE]);
        for state in [State::Missing, State::StoodIn, State::ShortOfZone, State::Rebuilding, State::Short] {
            assert_eq!(holding(&with(state, "", 3)), [READY, PROGRESSING, DEGRADED, SAFE], "{state:?}");
            let blocked = with(state, "zone c has no spare node", 3);
            assert_eq!(holding(&blocked), [READY, DEGRADED, BLOCKED, SAFE], "{state:?}");
            let message = &blocked.conditions[3].message;
            assert!(message.contains("zone c has no spare node: bring back the node that is away"), "{message}");
        }
        assert_eq!(holding(&with(State::NeedsArchive, "", 3)), [READY, DEGRADED, BLOCKED, SAFE]);
    }

    #[test]
    fn without_a_leader_it_waits_for_an_election_or_for_people() {
        let without = |state: State| {
            let mut observed = observed(state);
            let reports = observed.groups.get_mut(&PartitionId(9)).unwrap();
            reports.iter_mut().for_each(|report| report.serving = false);
            partition(&object(), &observed, ZoneMode::Labelled, &at(1)).unwrap()
        };
        assert_eq!(holding(&without(State::Whole)), [PROGRESSING, DEGRADED, SAFE]);
        assert_eq!(holding(&without(State::Leaderless)), [DEGRADED, BLOCKED, SAFE]);
        assert!(without(State::Whole).replicas.iter().all(|replica| replica.state == "Unknown"));
    }

    #[test]
    fn each_replica_has_the_state_that_its_leader_sees() {
        let states = |status: &PartitionStatus| {
            status.replicas.iter().map(|replica| replica.state.clone()).collect::<Vec<String>>()
        };
        assert_eq!(states(&with(State::Whole, "", 0)), ["Following", "Leading", "Following"]);
        let third = descriptor().replicas[2].id.0;
        assert_eq!(states(&with(State::Missing, "", third)), ["Following", "Leading", "Away"]);
        assert_eq!(states(&with(State::Rebuilding, "", third)), ["Following", "Leading", "Rebuilding"]);
    }

    #[test]
    fn a_replica_that_comes_to_another_node_is_no_weakness() {
        let mut observed = observed(State::Whole);
        let mut moving = descriptor();
        let mut fourth = moving.replicas[2].clone();
        (fourth.id.0, fourth.node.0, fourth.role) = (77, 8, ReplicaRole::Learner);
        moving.replicas.push(fourth);
        observed.groups.get_mut(&PartitionId(9)).unwrap()[1].descriptor =
            Some(PartitionDescriptor { epoch: 6, ..moving }.into());
        let said = partition(&object(), &observed, ZoneMode::Labelled, &at(1)).unwrap();
        assert_eq!((said.state.as_str(), said.replicas[3].state.as_str()), ("Moving", "Joining"));
        assert_eq!(holding(&said), [READY, PROGRESSING, SAFE]);
    }
}
