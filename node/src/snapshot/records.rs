//! Log replicas' snapshots, put in place: records without items, so that many take one flush and two syncs together.
//!
//! ```text
//! log: receiving at i, with its manifest ─► all records in one write ─► one flush ─► log begins after i
//!      └──────── a start that finds this finishes from the manifest that the log keeps ────────┘
//! ```
//! A node that dies has a thousand groups ask one or two others for a log replica at the same moment. A folder, an ingest and a
//! dozen syncs for each of them would keep the last waiting for half a minute.

use bytes::Bytes;
use replica::Install;

use super::install::Manifest;
use super::{SnapshotError, malformed};
use crate::items::Items;
use crate::log::{Log, Work};

/// Durable for all of them when it returns: `Input::Installed`. For a pool; none of the groups applies anything meanwhile. Where
/// the disk has no room, `again` says whether to try once more.
pub fn install<'a>(
    items: &Items,
    log: &Log,
    installs: impl Iterator<Item = &'a Install>,
    mut again: impl FnMut(&SnapshotError) -> bool,
) -> Result<(), SnapshotError> {
    let manifests: Vec<Manifest> = installs.map(|install| Manifest::of(install, Vec::new())).collect();
    let attempt = || {
        mark(log, &manifests)?;
        write(items, &manifests)?;
        begin_logs(log, &manifests)
    };
    let mut result = attempt();
    while let Err(error) = &result
        && error.is_no_room()
        && again(error)
    {
        result = attempt();
    }
    result
}

/// From then on a start finishes what is marked.
pub(super) fn mark(log: &Log, manifests: &[Manifest]) -> Result<(), SnapshotError> {
    run(log, manifests, Manifest::receiving)
}

pub(super) fn write(items: &Items, manifests: &[Manifest]) -> Result<(), SnapshotError> {
    let records: Vec<_> = manifests.iter().map(Manifest::records).collect();
    Ok(items.replace_groups(&records)?)
}

fn begin_logs(log: &Log, manifests: &[Manifest]) -> Result<(), SnapshotError> {
    run(log, manifests, Manifest::received)
}

/// At start: what a crash cut short. Records that stand already are written again, and are the same.
pub(super) fn finish(manifest: Bytes, items: &Items, log: &Log) -> Result<(), SnapshotError> {
    let manifest = Manifest::decode(manifest.into()).map_err(malformed("snapshot manifest"))?;
    tracing::info!(partition = %manifest.partition, index = manifest.index, "finishing the installation of a log replica");
    let manifests = [manifest];
    write(items, &manifests)?;
    begin_logs(log, &manifests)
}

fn run(log: &Log, manifests: &[Manifest], work: impl Fn(&Manifest) -> Work) -> Result<(), SnapshotError> {
    let works = manifests.iter().map(|manifest| (manifest.partition, work(manifest)));
    if log.run_all(works.collect()) { Ok(()) } else { Err(SnapshotError::LogClosed) }
}
