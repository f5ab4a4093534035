//! A node is measured when it has lived a little: its first items flushed, its first log file full.
//!
//! Seen in its folder, not guessed from the time that has passed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::load::{Load, Running};
use super::subject::Subject;

const AGED_WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which files of items and of the log a node has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Files {
    items: BTreeSet<PathBuf>,
    log: BTreeSet<PathBuf>,
}

impl Files {
    fn of(node: &Path) -> Files {
        Files { items: with_ending(&node.join("items"), "sst"), log: with_ending(&node.join("log"), "raftlog") }
    }

    /// Whether files have come both of items and of the log.
    fn are_newer_than(&self, earlier: &Files) -> bool {
        !self.items.is_subset(&earlier.items) && !self.log.is_subset(&earlier.log)
    }
}

fn with_ending(folder: &Path, ending: &str) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

/// Runs `writes` until every node of `subject` has flushed items and begun another log file; how long that took.
pub async fn age(subject: &Subject, writes: Load) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let folders = subject.node_folders();
    let young: Vec<Files> = folders.iter().map(|folder| Files::of(folder)).collect();
    ensure!(young.iter().all(|files| !files.log.is_empty()), "a node without log files in {folders:?}");
    let running = Running::start(&[writes])?;
    let is_young = |(folder, young): (&PathBuf, &Files)| !Files::of(folder).are_newer_than(young);
    while folders.iter().zip(&young).any(is_young) && begun.elapsed() < AGED_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let parts = tokio::task::spawn_blocking(move || running.stop()).await.context("wait for the load")??;
    ensure!(
        !folders.iter().zip(&young).any(is_young),
        "not every node has flushed its items and filled a log file within {AGED_WITHIN:?}: {:?}",
        parts[0].whole
    );
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_aged_when_both_a_flush_and_a_new_log_file_are_seen() {
        let files = |items: &[&str], log: &[&str]| {
            let set = |names: &[&str]| names.iter().map(PathBuf::from).collect();
            Files { items: set(items), log: set(log) }
        };
        let young = files(&["9.sst"], &["1.raftlog"]);
        assert!(!young.are_newer_than(&young));
        assert!(!files(&["9.sst", "10.sst"], &["1.raftlog"]).are_newer_than(&young));
        assert!(!files(&["9.sst"], &["1.raftlog", "2.raftlog"]).are_newer_than(&young));
        // A compaction or a purge may have taken the old ones meanwhile.
        assert!(files(&["10.sst"], &["2.raftlog"]).are_newer_than(&young));
    }
}
