//! Misfortunes that strike a place of somebody's choice, at a moment of his choice.

use crate::core::Core;
use crate::disk::log::LastBatch;
use crate::event::Place;
use crate::faults::{die, jump, lose, partition_around, pause, slow_disk, wipe};
use crate::host::Node;
use crate::invariant::Broken;
use crate::plan::Plan;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Crash,
    /// In the middle of a sync, as after one that fails.
    CrashInSync,
    PowerCut,
    TornTail,
    Rot,
    DiskLost,
    Partition,
    Pause,
    SlowDisk,
    Loss,
    ClockJump,
}

pub const TROUBLES: [(Trouble, &str); 11] = [
    (Trouble::Crash, "a crash"),
    (Trouble::CrashInSync, "a crash in a sync"),
    (Trouble::PowerCut, "a power cut"),
    (Trouble::TornTail, "a torn batch"),
    (Trouble::Rot, "a rotten batch"),
    (Trouble::DiskLost, "a disk lost"),
    (Trouble::Partition, "a partition"),
    (Trouble::Pause, "a pause"),
    (Trouble::SlowDisk, "a slow disk"),
    (Trouble::Loss, "a lossy node"),
    (Trouble::ClockJump, "a clock jump"),
];

/// Whether it may happen in that world at all.
pub fn fits(plan: &Plan, trouble: Trouble) -> bool {
    match trouble {
        Trouble::TornTail => plan.disk.torn,
        Trouble::Rot => plan.rot,
        Trouble::DiskLost => plan.wipes > 0,
        Trouble::Crash
        | Trouble::CrashInSync
        | Trouble::PowerCut
        | Trouble::Partition
        | Trouble::Pause
        | Trouble::SlowDisk
        | Trouble::Loss
        | Trouble::ClockJump => true,
    }
}

/// False where it cannot strike just now.
pub fn strike(core: &mut Core, nodes: &mut [Node], trouble: Trouble, place: Place) -> Result<bool, Broken> {
    let node = &mut nodes[place];
    match trouble {
        Trouble::Crash => {
            core.stats.count("crashes");
            crash(core, node);
        }
        Trouble::CrashInSync | Trouble::TornTail | Trouble::Rot if !node.up => return Ok(false),
        Trouble::CrashInSync => {
            if !node.log.is_syncing() {
                return Ok(false);
            }
            core.stats.count("crashes during a sync");
            let last = if core.rng.permille(500) { LastBatch::Kept } else { LastBatch::Lost };
            die(core, node, last);
        }
        Trouble::TornTail => {
            if !node.log.is_syncing() {
                return Ok(false);
            }
            core.stats.count("torn batches");
            die(core, node, LastBatch::Torn);
        }
        Trouble::Rot => {
            if !core.plan.rot || !node.log.may_rot() {
                return Ok(false);
            }
            core.stats.count("rotten batches");
            core.plan.rot = false;
            die(core, node, LastBatch::Rotten);
        }
        Trouble::PowerCut => {
            core.stats.count("power cuts");
            nodes.iter_mut().for_each(|node| crash(core, node));
        }
        Trouble::DiskLost => return Ok(wipe(core, nodes, place)),
        Trouble::Partition => partition_around(core, nodes.len(), place),
        Trouble::Pause => pause(core, nodes, place),
        Trouble::SlowDisk => slow_disk(core, node),
        Trouble::Loss => lose(core, place),
        Trouble::ClockJump => jump(core, node),
    }
    Ok(true)
}

/// With nothing of its last batch but what was synced.
pub fn crash(core: &mut Core, node: &mut Node) {
    if node.up {
        die(core, node, LastBatch::Lost);
    }
}
