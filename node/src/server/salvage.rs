//! A start on a disk where something is not what was written. What is damaged is set aside, not deleted; the groups that it
//! touches stay out, are told to their leaders as unfit, and are rebuilt. Nothing of them votes or is read.
//!
//! **Items.** A compaction or a flush that meets damage stops all writes of the node, and would meet it again after every start.
//! Whoever meets it leaves a note and ends the process ([`crate::context::Context::give_up`]); this start takes that one file out,
//! where it can be taken out alone, and keeps those groups out whose range it touches. Where it cannot, or the engine does not
//! open, all items go, and all groups of the node stay out. First they are kept out, durably, then files are touched: a crash in
//! between begins again.
//!
//! **Log.** One that is unreadable at or below its durable mark holds votes and entries that were acknowledged: nobody of this node
//! may vote as who it was. A new log is written beside it that knows of every group, by what can be read of the old one and by
//! the groups' records, which replica it was, and that it stays out; then it takes the old one's place. A replica that left no
//! readable trace is one that the log may have forgotten: it is not known here, and asks before it votes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use model::{PartitionId, ReplicaId};
use replica::GroupState;

use crate::disk::Disk;
use crate::items::{GroupRecords, Items, ItemsError, ItemsOptions};
use crate::log::{Log, LogGroup, LogListener, LogOptions, Work};
use wire::error::describe;

/// The log; instead of one that has lost what was durable, one that keeps all groups of the node out.
pub fn open_log(
    disk: &Disk,
    options: LogOptions,
    listener: Arc<dyn LogListener>,
    items: &ItemsOptions,
) -> anyhow::Result<Log> {
    disk.finish_replacing_log().context("finish the replacement of the log")?;
    match Log::open(options.clone(), Arc::clone(&listener)) {
        Err(error) if error.is_corrupt() => {
            tracing::error!(
                error = describe(&error),
                "the log has lost what was durable: every replica of this node stays out"
            );
        }
        opened => return opened.context("open the log"),
    }
    let made_out = Log::made_out(&options).context("read what is left of the log")?;
    let anew = disk.log_anew_dir();
    if anew.exists() {
        fs::remove_dir_all(&anew).context("remove a log that was not completed")?;
    }
    let log = Log::open(LogOptions { dir: anew, ..options }, Arc::clone(&listener)).context("begin a log anew")?;
    keep_all_out(&log, &made_out, items)?;
    log.close();
    drop(log);
    let aside = disk.replace_log().context("set the log aside")?;
    tracing::error!(
        ?aside,
        groups = made_out.len(),
        "the log is set aside: every replica of this node is to be rebuilt"
    );
    Log::open(LogOptions { replaces_another: true, ..options }, listener).context("open the new log")
}

/// Of each group the newest replica that log or records know is the one that stays out.
fn keep_all_out(log: &Log, made_out: &[LogGroup], items: &ItemsOptions) -> anyhow::Result<()> {
    let records = match Items::open_at_rest(items.clone()).and_then(|items| items.groups()) {
        Ok(records) => records,
        // They are the next to be set aside; then the log alone knows.
        Err(error) if error.is_corrupt() => Vec::new(),
        Err(error) => return Err(error).context("read the groups' records"),
    };
    let owners = owners(records.iter());
    let mut replicas = owners.clone();
    for found in made_out {
        let replica = replicas.entry(found.partition).or_default();
        *replica = found.accept_from.max(*replica);
    }
    let mut works = Vec::new();
    for (partition, replica) in replicas {
        works.push((partition, Work::AcceptFrom { replica }));
        let lives = made_out.iter().any(|found| found.partition == partition && found.exists);
        if lives || owners.get(&partition) == Some(&replica) {
            works.push((partition, Work::Corrupt));
        }
    }
    ensure!(works.is_empty() || log.run_all(works), "the log is closed");
    Ok(())
}

/// The items, without what is damaged of them.
pub fn open_items(disk: &Disk, log: &Log, options: ItemsOptions) -> anyhow::Result<Items> {
    let damage = match disk.damage().context("read what is damaged")? {
        Some(damage) => damage,
        None => match open_with_room(disk, &options) {
            Err(error) if error.is_corrupt() => {
                let damage = describe(&error);
                disk.note_damage(&damage).context("note what is damaged")?;
                damage
            }
            opened => return opened.context("open the items"),
        },
    };
    tracing::error!(damage, "the items are damaged: what is, is set aside");
    let salvage = Salvage { disk, log, options: &options };
    salvage.items(&damage)?;
    disk.forget_damage().context("forget what was damaged")?;
    Items::open(options).context("open the items")
}

/// What is given up for a start is free for everybody: another node of this disk may be the first to take it.
fn open_with_room(disk: &Disk, options: &ItemsOptions) -> Result<Items, ItemsError> {
    loop {
        match open_sound(options) {
            Err(error) if error.is_no_room() && gives_up_step(disk) => {
                tracing::warn!(
                    error = describe(&error),
                    "no room to open the items; a part of the reserve was given up"
                );
            }
            opened => return opened,
        }
    }
}

fn gives_up_step(disk: &Disk) -> bool {
    disk.give_up_step().unwrap_or_else(|error| {
        tracing::warn!(error = describe(&error), "failed to give up a part of the reserve");
        false
    })
}

/// Every group's records can be read.
fn open_sound(options: &ItemsOptions) -> Result<Items, ItemsError> {
    let items = Items::open(options.clone())?;
    items.groups()?;
    Ok(items)
}

struct Salvage<'a> {
    disk: &'a Disk,
    log: &'a Log,
    options: &'a ItemsOptions,
}

impl Salvage<'_> {
    fn items(&self, damage: &str) -> anyhow::Result<()> {
        let records = match Items::open_at_rest(self.options.clone()) {
            Ok(items) => {
                let records = items.groups();
                if let Ok(records) = &records
                    && self.without_one_file(&items, damage, records)?
                {
                    return Ok(());
                }
                records.unwrap_or_default()
            }
            Err(error) if error.is_corrupt() => Vec::new(),
            Err(error) => return Err(error).context("open the damaged items"),
        };
        self.all_items(&records)
    }

    /// Whether that was enough.
    fn without_one_file(&self, items: &Items, damage: &str, records: &[GroupRecords]) -> anyhow::Result<bool> {
        if crate::items::named_file(damage).is_none() {
            return Ok(false);
        }
        let Some(file) = items.damaged_file(damage).context("look for the damaged file")? else {
            // An earlier start has come so far.
            return Ok(true);
        };
        if !file.is_apart() {
            return Ok(false);
        }
        let touched = records.iter().filter(|records| {
            let state = records.state.clone().map(GroupState::decode);
            state.is_some_and(|state| {
                state.is_ok_and(|state| file.touches(state.descriptor.table, &state.descriptor.range))
            })
        });
        self.keep_out(&owners(touched))?;
        let aside = self.disk.aside(&file.name).context("make room for what is set aside")?;
        items.take_out(&file, &self.options.dir, &aside).context("take a damaged file out of the items")
    }

    /// Nothing but the records is left, by which the groups' leaders are known.
    fn all_items(&self, records: &[GroupRecords]) -> anyhow::Result<()> {
        let mut groups = owners(records.iter());
        let in_log = self.log.groups().into_iter().filter(|group| group.exists);
        groups.extend(in_log.map(|group| (group.partition, group.accept_from)));
        self.keep_out(&groups)?;
        let aside = self.disk.move_aside(&self.options.dir, "items").context("set the items aside")?;
        tracing::error!(
            ?aside,
            groups = groups.len(),
            "all items are set aside: every replica of this node is to be rebuilt"
        );
        let items = Items::open(self.options.clone()).context("begin the items anew")?;
        items.put_groups(records).context("keep the groups' records")
    }

    /// Durable when it returns.
    fn keep_out(&self, groups: &BTreeMap<PartitionId, ReplicaId>) -> anyhow::Result<()> {
        let mut works = Vec::new();
        for (&partition, &replica) in groups {
            let accepted = self.log.accept_from(partition);
            if replica < accepted {
                // It is retired already.
                continue;
            }
            tracing::error!(%partition, %replica, "the replica's items are damaged; it stays out");
            if replica > accepted {
                works.push((partition, Work::AcceptFrom { replica }));
            }
            works.push((partition, Work::Corrupt));
        }
        ensure!(works.is_empty() || self.log.run_all(works), "the log is closed");
        Ok(())
    }
}

/// Whose records they are.
fn owners<'a>(records: impl Iterator<Item = &'a GroupRecords>) -> BTreeMap<PartitionId, ReplicaId> {
    let owner = |records: &GroupRecords| {
        let state = GroupState::decode(records.state.clone()?).ok()?;
        Some((records.partition, state.replica))
    };
    records.filter_map(owner).collect()
}
