//! Administration's commands on the worker that owns the group.

use std::time::Duration;

use model::{PartitionId, ReplicaId, TableDescriptor, TableStatus};
use replica::{Answer, Health, Input, Refusal, Token};
use wire::admin::health::State;
use wire::admin::{GroupStatus, Progress};

use crate::registry::Summary;
use crate::worker::command::{Command, CommandError, Reply};
use crate::worker::desk::Waiter;
use crate::worker::group::{Group, Phase};
use crate::worker::{Worker, schedule};

impl Worker {
    pub fn command(&mut self, command: Command) {
        match command {
            Command::Create { descriptor, table, reply } => self.create(*descriptor, *table, reply),
            Command::SetTable { partition, table, reply } => {
                self.ask(partition, reply, |token| Input::SetTable { token, table });
            }
            Command::Change { partition, epoch, change, reply } => {
                self.ask(partition, reply, |token| Input::Change { token, epoch, change });
            }
            Command::Transfer { partition, to, reply } => {
                self.ask(partition, reply, |token| Input::Transfer { token, to });
            }
            // Its records would not be written over those of another group, and the right half be nobody's.
            Command::Split { child, reply, .. } if self.knows(child) => {
                drop(reply.send(Err(CommandError::KnownPartition(child))));
            }
            Command::Split { partition, epoch, at, child, reply } => {
                self.ask(partition, reply, |token| Input::Split { token, epoch, at, child });
            }
            Command::Destroy { partition, table, reply } => self.destroy(partition, &table, reply),
            Command::Recover { order, reply } => self.recover(*order, reply),
            Command::List { only, reply } => {
                let living = self.groups.values().filter(|group| only.fits(group.partition, group.table_id()));
                // Whoever waits for the last of a table's groups to go must not miss one that is about to live.
                let births =
                    self.births.iter().filter(|(partition, summary)| only.fits(**partition, summary.table_id()));
                let births = births.map(|(partition, summary)| newborn(*partition, summary));
                let statuses = living.map(|group| self.status(group)).chain(births).collect();
                // Whoever asked may have gone.
                drop(reply.send(statuses));
            }
            Command::Resign { partitions } => {
                for partition in partitions.iter() {
                    let Some(group) = self.groups.get_mut(partition).filter(|group| group.leads()) else { continue };
                    group.inputs.push(Input::Resign);
                    schedule(&mut self.active, group);
                }
            }
        }
    }

    /// Whether that id has ever been a group's here.
    fn knows(&self, partition: PartitionId) -> bool {
        let context = &self.desk.context;
        context.registry.get(partition).is_some() || context.log.accept_from(partition) != ReplicaId(0)
    }

    fn ask(&mut self, partition: PartitionId, reply: Reply, input: impl FnOnce(Token) -> Input) {
        let running = self.groups.get_mut(&partition).filter(|group| group.phase == Phase::Running);
        let Some(group) = running else {
            drop(reply.send(Err(CommandError::UnknownPartition(partition))));
            return;
        };
        let token = self.desk.wait(partition, Waiter::Command(reply));
        group.inputs.push(input(token));
        schedule(&mut self.active, group);
    }

    /// The caller shows the table as it is being deleted: a replica that was away may never hear it from its group.
    fn destroy(&mut self, partition: PartitionId, table: &TableDescriptor, reply: Reply) {
        if self.births.contains_key(&partition) {
            drop(reply.send(Err(CommandError::Busy("it is being born"))));
            return;
        }
        let Some(group) = self.groups.get_mut(&partition) else {
            // Done already.
            drop(reply.send(Ok(())));
            return;
        };
        let known = group.summary.table.as_ref();
        let fits = known.is_none_or(|known| known.id == table.id && known.version <= table.version);
        if table.status != TableStatus::Deleting || !fits {
            drop(reply.send(Err(CommandError::NotDeleting)));
            return;
        }
        group.when_gone.push(reply);
        self.retire(partition);
    }
}

/// The replica's answer to a command.
pub fn answered(group: &Group, reply: Reply, answer: Answer) {
    let result = match answer {
        Answer::Refused(refusal) => {
            let leader = match &refusal {
                Refusal::NotLeader { leader } => leader.and_then(|leader| group.node_of(leader)),
                Refusal::StaleEpoch { .. }
                | Refusal::Overloaded
                | Refusal::Unknown
                | Refusal::TableGone
                | Refusal::NotReady
                | Refusal::Impossible { .. }
                | Refusal::ReadFailed => None,
            };
            Err(CommandError::Refused { refusal, leader })
        }
        Answer::Done | Answer::Written { .. } | Answer::ConditionFailed { .. } | Answer::Invalid { .. } => Ok(()),
    };
    // Whoever asked may have gone.
    drop(reply.send(result));
}

impl Worker {
    fn status(&self, group: &Group) -> GroupStatus {
        let size = self.desk.context.tally.size(group.partition);
        let consumption = group.consumption();
        GroupStatus {
            items: size.map(|size| size.items),
            bytes: size.map(|size| size.bytes),
            read_milliunits: consumption.map(|consumption| consumption.read_milliunits),
            write_milliunits: consumption.map(|consumption| consumption.write_milliunits),
            ..status(group, self.tick)
        }
    }
}

/// As the replica says it.
fn status(group: &Group, tick: Duration) -> GroupStatus {
    let status = group.replica.status();
    let standing = group.replica.standing();
    let ids = |ids: &[ReplicaId]| ids.iter().map(|id| id.0).collect();
    let progress = |progress: &replica::Progress| Progress {
        replica: progress.replica.0,
        matched: progress.matched,
        recently_active: progress.recently_active,
        receiving_snapshot: progress.receiving_snapshot,
    };
    GroupStatus {
        partition: group.partition.0,
        descriptor: group.summary.descriptor.as_ref().map(|descriptor| descriptor.encode()).unwrap_or_default(),
        table: group.summary.table.as_ref().map(|table| table.encode()).unwrap_or_default(),
        replica: status.replica.0,
        leader: status.leader.map_or(0, |leader| leader.0),
        term: status.term,
        last_index: status.last_index,
        committed: status.committed,
        applied: status.applied,
        serving: status.serving,
        progress: status.progress.iter().map(progress).collect(),
        in_joint_change: status.in_joint_change,
        asleep: status.asleep,
        last_term: standing.last_term,
        tail_doubted: standing.tail_doubted,
        voters: ids(&standing.voters),
        voters_outgoing: ids(&standing.voters_outgoing),
        health: status
            .health
            .map(|(health, ticks)| told(group, health, tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)))),
        ..GroupStatus::default()
    }
}

fn told(group: &Group, health: Health, since: Duration) -> wire::admin::Health {
    let for_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let base = |state| wire::admin::Health { state: state as i32, for_ms, ..Default::default() };
    match health {
        Health::Whole => base(State::Whole),
        Health::Missing { replica, why } => wire::admin::Health { replica: replica.0, why, ..base(State::Missing) },
        Health::StoodIn { log, lost, why } => stood_in(log, lost, why, base(State::StoodIn)),
        Health::ShortOfZone { log, lost, why } => stood_in(log, lost, why, base(State::ShortOfZone)),
        Health::Rebuilding { replica } => {
            let percent = group.outgoing.get(&replica).map_or(0, |outgoing| outgoing.percent());
            wire::admin::Health { replica: replica.0, percent, ..base(State::Rebuilding) }
        }
        Health::Short { why } => wire::admin::Health { why, ..base(State::Short) },
        Health::NeedsArchive => base(State::NeedsArchive),
        Health::Leaderless => base(State::Leaderless),
    }
}

fn stood_in(log: ReplicaId, lost: Option<ReplicaId>, why: String, base: wire::admin::Health) -> wire::admin::Health {
    let replica = lost.map_or(0, |ReplicaId(lost)| lost);
    wire::admin::Health { replica, stand_in: log.0, why, ..base }
}

fn newborn(partition: PartitionId, summary: &Summary) -> GroupStatus {
    GroupStatus {
        partition: partition.0,
        descriptor: summary.descriptor.as_ref().map(|descriptor| descriptor.encode()).unwrap_or_default(),
        table: summary.table.as_ref().map(|table| table.encode()).unwrap_or_default(),
        replica: summary.replica.0,
        ..GroupStatus::default()
    }
}
