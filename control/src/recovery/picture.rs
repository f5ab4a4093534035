//! What is left of a group, and what people must know before they give the rest up. Pure: the nodes' words in, a decision out.

use std::collections::BTreeSet;

use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaDescriptor, ReplicaId, ReplicaKind, Zone};

/// One replica, in its node's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    pub node: NodeId,
    pub zone: Zone,
    pub replica: ReplicaId,
    /// None before its first snapshot.
    pub descriptor: Option<PartitionDescriptor>,
    pub last_term: u64,
    pub last_index: u64,
    pub committed: u64,
    /// It leads, and its majority follows.
    pub serving: bool,
    /// It may have lost the end of its log.
    pub doubted: bool,
    /// A log replica that leads and can hand nothing on.
    pub starves: bool,
    /// Raft's voters; of a joint configuration both halves.
    pub voters: Vec<ReplicaId>,
    pub voters_outgoing: Vec<ReplicaId>,
}

/// Why there is nothing to recover, or nothing to recover from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("replica {replica} on node {node} leads and serves: the group has its majority")]
    Leads { replica: ReplicaId, node: NodeId },
    #[error("replicas {} answer: they are a majority in two zones, and elect a leader by themselves", list(.replicas))]
    Majority { replicas: Vec<ReplicaId> },
    #[error("no node that answers has a replica of partition {partition} with items")]
    NothingLeft { partition: PartitionId },
}

/// What is left, and what would be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub partition: PartitionId,
    pub epoch: u64,
    /// From which the group would go on.
    pub chosen: Survivor,
    /// They answer, and would be given up.
    pub others: Vec<Survivor>,
    /// They do not answer.
    pub lost: Vec<ReplicaDescriptor>,
}

impl Survivor {
    fn is_kind(&self, kind: ReplicaKind) -> bool {
        let own = self.descriptor.as_ref().and_then(|descriptor| descriptor.replica(self.replica));
        own.is_some_and(|own| own.kind == kind)
    }

    fn epoch(&self) -> u64 {
        self.descriptor.as_ref().map_or(0, |descriptor| descriptor.epoch)
    }

    /// As elections compare logs.
    fn last(&self) -> (u64, u64) {
        (self.last_term, self.last_index)
    }
}

/// Who goes on, if anybody has to: of those with items the one with the newest log, and of them one that is sure of it.
pub fn look(partition: PartitionId, mut survivors: Vec<Survivor>) -> Result<Picture, Refusal> {
    survivors.sort_by_key(|survivor| (survivor.replica, survivor.node));
    if let Some(leader) = survivors.iter().find(|survivor| survivor.serving) {
        return Err(Refusal::Leads { replica: leader.replica, node: leader.node });
    }
    let newest = survivors.iter().map(Survivor::epoch).max().unwrap_or(0);
    for survivor in survivors.iter().filter(|survivor| survivor.epoch() == newest) {
        if let Some(replicas) = majority(survivor, &survivors) {
            return Err(Refusal::Majority { replicas });
        }
    }
    let chosen = survivors
        .iter()
        .enumerate()
        .filter(|(_, survivor)| survivor.is_kind(ReplicaKind::Storage))
        .max_by_key(|(_, survivor)| {
            // Of equal logs the one that knows more of it to be committed: what it has applied of splits and members stays so.
            let known = (survivor.epoch(), survivor.committed);
            (!survivor.doubted, survivor.last(), known, std::cmp::Reverse(survivor.replica))
        })
        .map(|(place, _)| place);
    let Some(chosen) = chosen.map(|place| survivors.remove(place)) else {
        return Err(Refusal::NothingLeft { partition });
    };
    let answers = |id| id == chosen.replica || survivors.iter().any(|other| other.replica == id);
    let newest = std::iter::once(&chosen).chain(&survivors).max_by_key(|survivor| survivor.epoch());
    let members =
        newest.and_then(|newest| newest.descriptor.as_ref()).map_or(&[][..], |newest| newest.replicas.as_slice());
    let lost = members.iter().filter(|member| !answers(member.id)).cloned().collect();
    Ok(Picture { partition, epoch: chosen.epoch(), chosen, others: survivors, lost })
}

/// The voters that answer, where they are enough to elect a leader and to commit: a majority of each half of the configuration
/// that this one knows, in two zones.
fn majority(knows: &Survivor, survivors: &[Survivor]) -> Option<Vec<ReplicaId>> {
    let halves = [&knows.voters, &knows.voters_outgoing];
    let all: BTreeSet<ReplicaId> = halves.into_iter().flatten().copied().collect();
    let answering = || survivors.iter().filter(|survivor| all.contains(&survivor.replica));
    let nobody_missing = answering().map(|survivor| survivor.replica).collect::<BTreeSet<_>>() == all;
    // One that doubts its log votes once all the others have told what they have.
    let electors = || answering().filter(|elector| (!elector.doubted || nobody_missing) && !elector.starves);
    let zones: BTreeSet<&Zone> = electors().map(|elector| &elector.zone).collect();
    let elect = |half: &Vec<ReplicaId>| {
        let votes = electors().filter(|elector| half.contains(&elector.replica)).count();
        half.is_empty() || 2 * votes > half.len()
    };
    let enough = !all.is_empty() && halves.into_iter().all(elect) && zones.len() > 1;
    enough.then(|| electors().map(|elector| elector.replica).collect())
}

impl Picture {
    /// Confirms that people decide on this picture and no other: who goes on, up to where it is committed, who answers. Its last
    /// entry does not count: where two voters of one zone are left, they elect each other in turns, and each begins with an entry.
    pub fn code(&self) -> String {
        let Picture { partition, epoch, chosen, others, lost } = self;
        let mut facts = vec![partition.0, *epoch, chosen.replica.0, chosen.node.0, chosen.committed];
        facts.extend(others.iter().flat_map(|other| [other.replica.0, other.node.0, other.epoch()]));
        facts.extend(lost.iter().flat_map(|lost| [lost.id.0, lost.node.0]));
        let bytes = facts.into_iter().flat_map(u64::to_be_bytes);
        // FNV-1a: it is to notice a change, not to withstand anybody.
        let hash = bytes
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
    }

    /// For whoever has to decide.
    pub fn lines(&self) -> Vec<String> {
        let Picture { partition, epoch, chosen, others, lost } = self;
        let mut lines = vec![format!("partition {partition}, epoch {epoch}: its majority does not answer")];
        lines.push(format!("    {}: the group would go on from it", answers(chosen)));
        lines.extend(others.iter().map(|other| format!("    {}: it would be given up", answers(other))));
        lines.extend(lost.iter().map(|lost| {
            let ReplicaDescriptor { id, node, zone, .. } = lost;
            format!("    replica {id} on node {node} in {zone} does not answer: it would be given up")
        }));
        lines.push("what may be lost:".to_owned());
        lines.extend(self.losses().into_iter().map(|loss| format!("  - {loss}")));
        lines.push("afterwards:".to_owned());
        lines.push("  - the group gets its other replicas again by itself, from this one".to_owned());
        lines.push("  - a replica that returns alone is told that it is no member, and removes its data".to_owned());
        lines.push(
            "  - a majority that returns together goes on as a group of its own, with what it had: start those nodes only on \
             empty folders"
                .to_owned(),
        );
        lines
    }

    fn losses(&self) -> Vec<String> {
        let Picture { chosen, others, .. } = self;
        let (index, term) = (chosen.last_index, chosen.last_term);
        let mut losses = vec![format!(
            "every write after entry {index} of term {term} that the others acknowledged without replica {}, which knows of \
             commits up to entry {}: nobody can tell how many there are",
            chosen.replica, chosen.committed
        )];
        if chosen.doubted {
            losses.push(format!(
                "writes that replica {} itself acknowledged last: the end of its log was torn",
                chosen.replica
            ));
        }
        let known = others.iter().map(|other| other.committed).max().filter(|committed| *committed > index);
        losses.extend(known.map(|known| {
            format!("for certain entries {} to {known}: they were committed, and their writes acknowledged", index + 1)
        }));
        losses.extend(others.iter().filter(|other| other.epoch() > chosen.epoch()).map(|other| {
            let (replica, epoch) = (other.replica, other.epoch());
            format!(
                "what replica {replica} knows to have become of the group up to epoch {epoch}: members, and splits: halves that \
                 live by then would overlap"
            )
        }));
        losses.extend(others.iter().filter(|other| other.last() > chosen.last()).map(|other| {
            let beyond =
                other.last_index.saturating_sub(if other.last_term == term { index } else { chosen.committed });
            format!("up to {beyond} entries that replica {} on node {} has beyond it", other.replica, other.node)
        }));
        losses
    }
}

fn answers(survivor: &Survivor) -> String {
    let Survivor { node, zone, replica, last_term, last_index, committed, .. } = survivor;
    let what = match (survivor.is_kind(ReplicaKind::Storage), survivor.is_kind(ReplicaKind::Log)) {
        (true, _) => "has items",
        (false, true) => "has a log and no items",
        (false, false) => "has nothing of use",
    };
    let doubt = if survivor.doubted { ", but for an end that may be torn" } else { "" };
    format!(
        "replica {replica} on node {node} in {zone} {what}, and entries up to {last_index} of term {last_term} ({committed} \
         committed){doubt}"
    )
}

fn list(replicas: &[ReplicaId]) -> String {
    replicas.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use model::ReplicaRole;

    use super::*;
    use crate::plan::tests::partition;

    const PARTITION: PartitionId = PartitionId(3);

    /// Of a group of three, in zones a, b, c.
    fn survivor(id: u64, last: (u64, u64)) -> Survivor {
        let descriptor = partition(3, 7);
        let own = descriptor.replica(ReplicaId(id)).unwrap();
        Survivor {
            node: own.node,
            zone: own.zone.clone(),
            replica: own.id,
            last_term: last.0,
            last_index: last.1,
            committed: 50,
            serving: false,
            doubted: false,
            starves: false,
            voters: [1, 2, 3].map(ReplicaId).into(),
            voters_outgoing: Vec::new(),
            descriptor: Some(descriptor),
        }
    }

    fn chosen(survivors: &[Survivor]) -> Result<u64, Refusal> {
        look(PARTITION, survivors.to_vec()).map(|picture| picture.chosen.replica.0)
    }

    #[test]
    fn one_of_three_goes_on() {
        let picture = look(PARTITION, vec![survivor(2, (6, 57))]).unwrap();
        assert_eq!((picture.chosen.replica, picture.epoch, picture.others.len()), (ReplicaId(2), 1, 0));
        assert_eq!(picture.lost.iter().map(|lost| lost.id.0).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn a_leader_and_a_majority_in_two_zones_are_let_alone() {
        let leads = Survivor { serving: true, ..survivor(2, (6, 57)) };
        assert_eq!(chosen(&[leads]), Err(Refusal::Leads { replica: ReplicaId(2), node: survivor(2, (6, 57)).node }));
        let two = [survivor(1, (6, 57)), survivor(2, (6, 50))];
        assert_eq!(chosen(&two), Err(Refusal::Majority { replicas: vec![ReplicaId(1), ReplicaId(2)] }));
    }

    #[test]
    fn two_voters_in_one_zone_cannot_commit() {
        let mut two = [survivor(1, (6, 57)), survivor(2, (6, 58))];
        two[1].zone = two[0].zone.clone();
        assert_eq!(chosen(&two), Ok(2));
    }

    #[test]
    fn one_that_doubts_its_log_elects_nobody_unless_all_answer_and_goes_on_only_if_nobody_else_can() {
        let doubted = Survivor { doubted: true, ..survivor(1, (6, 57)) };
        assert_eq!(chosen(&[doubted.clone(), survivor(2, (6, 50))]), Ok(2));
        assert_eq!(chosen(&[doubted]), Ok(1));
        let all = [1, 2, 3].map(|id| Survivor { doubted: true, ..survivor(id, (6, 57)) });
        assert!(matches!(chosen(&all), Err(Refusal::Majority { .. })));
    }

    #[test]
    fn both_halves_of_a_joint_configuration_are_needed() {
        let joint = |id| Survivor { voters_outgoing: [1, 4, 5].map(ReplicaId).into(), ..survivor(id, (6, 57)) };
        assert_eq!(chosen(&[joint(2), joint(3)]), Ok(2));
        let joint = |id| Survivor { voters_outgoing: [1, 2, 4].map(ReplicaId).into(), ..survivor(id, (6, 57)) };
        assert!(matches!(chosen(&[joint(1), joint(2)]), Err(Refusal::Majority { .. })));
    }

    #[test]
    fn the_newest_configuration_says_who_is_enough() {
        let mut removed = [survivor(1, (6, 57)), survivor(2, (6, 58))];
        let newer = removed[1].descriptor.as_mut().unwrap();
        newer.epoch += 2;
        removed[1].voters = [2, 4, 5].map(ReplicaId).into();
        assert_eq!(chosen(&removed), Ok(2));
    }

    fn without_items(mut survivor: Survivor) -> Survivor {
        let id = survivor.replica;
        let own = survivor.descriptor.as_mut().unwrap().replicas.iter_mut().find(|replica| replica.id == id).unwrap();
        own.kind = ReplicaKind::Log;
        survivor
    }

    #[test]
    fn a_log_is_nothing_to_go_on_from_and_what_it_knows_is_told() {
        let log = without_items(survivor(1, (6, 60)));
        assert_eq!(chosen(std::slice::from_ref(&log)), Err(Refusal::NothingLeft { partition: PARTITION }));
        let log = Survivor { starves: true, committed: 59, ..log };
        let picture = look(PARTITION, vec![log, survivor(2, (6, 57))]).unwrap();
        assert_eq!(picture.chosen.replica, ReplicaId(2));
        let text = picture.lines().join("\n");
        assert!(text.contains("every write after entry 57 of term 6"), "{text}");
        assert!(text.contains("for certain entries 58 to 59"), "{text}");
        assert!(text.contains("up to 3 entries that replica 1"), "{text}");
        assert!(text.contains("replica 3 on node") && text.contains("does not answer"), "{text}");
        assert!(text.contains("only on empty folders"), "{text}");
    }

    #[test]
    fn of_equal_logs_the_one_that_has_applied_more_goes_on_and_a_newer_state_elsewhere_is_told() {
        // In one zone, or they would elect a leader.
        let mut two = [survivor(1, (6, 57)), survivor(2, (6, 57))];
        two[1].zone = two[0].zone.clone();
        two[1].descriptor.as_mut().unwrap().epoch += 1;
        assert_eq!(chosen(&two), Ok(2));
        two[0].last_index += 1;
        let picture = look(PARTITION, two.into()).unwrap();
        assert_eq!(picture.chosen.replica, ReplicaId(1));
        let text = picture.lines().join("\n");
        assert!(text.contains("up to epoch 2: members, and splits"), "{text}");
    }

    #[test]
    fn a_learner_with_items_goes_on_where_nobody_else_is_left() {
        let mut learner = survivor(3, (6, 40));
        learner.descriptor.as_mut().unwrap().replicas[2].role = ReplicaRole::Learner;
        learner.voters = [1, 2].map(ReplicaId).into();
        assert_eq!(chosen(&[learner]), Ok(3));
    }

    #[test]
    fn the_code_is_another_when_anything_of_the_picture_is() {
        let picture = |survivors: &[Survivor]| look(PARTITION, survivors.to_vec()).unwrap();
        let code = picture(&[survivor(2, (6, 57))]).code();
        assert_eq!(code.len(), 8);
        assert_eq!(code, picture(&[survivor(2, (7, 58))]).code());
        let mut others = vec![picture(&[survivor(1, (6, 57))])];
        others.push(picture(&[Survivor { committed: 51, ..survivor(2, (6, 57)) }]));
        others.push(picture(
            &[without_items(survivor(1, (6, 57))), survivor(2, (6, 57))]
                .map(|survivor| Survivor { zone: Zone("a".into()), ..survivor }),
        ));
        let mut later = survivor(2, (6, 57));
        later.descriptor.as_mut().unwrap().epoch += 1;
        others.push(picture(&[later]));
        assert!(others.iter().all(|other| other.code() != code), "{others:#?}");
    }
}
