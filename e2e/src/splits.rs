//! `trivet admin split`, somewhere in the middle of a partition: keys are spread by their hashes.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

use crate::random::Random;

/// How long nodes that were killed a moment ago may take until they tell of their partitions.
const TOLD_WITHIN: Duration = Duration::from_secs(60);
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// Splits the partitions of one table of a `trivet local`.
#[derive(Clone, Debug)]
pub struct Splitter {
    pub binary: PathBuf,
    pub data: PathBuf,
    pub table: String,
}

/// As `trivet admin groups` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    pub id: String,
    /// The first eight bytes of its first key.
    pub start: u64,
}

impl Splitter {
    fn admin(&self) -> Command {
        let mut admin = Command::new(&self.binary);
        admin.args(["admin", "--data"]).arg(&self.data).stdin(Stdio::null()).kill_on_drop(true);
        admin
    }

    /// In the order of their ranges, as far as nodes answer; at least one.
    pub async fn partitions(&self) -> anyhow::Result<Vec<Printed>> {
        let deadline = Instant::now() + TOLD_WITHIN;
        loop {
            match self.told().await {
                Ok(partitions) if !partitions.is_empty() => return Ok(partitions),
                Ok(_) => ensure!(Instant::now() < deadline, "no node told of a partition"),
                Err(error) => ensure!(Instant::now() < deadline, "{error:#}"),
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    async fn told(&self) -> anyhow::Result<Vec<Printed>> {
        let groups = self.admin().arg("groups").output().await.context("ask for the groups")?;
        ensure!(groups.status.success(), "{}", String::from_utf8_lossy(&groups.stderr));
        Ok(parse(&String::from_utf8_lossy(&groups.stdout), &self.table))
    }

    /// Begins to split one of them; whoever began it may wait for its end.
    pub async fn begin(&self, random: &mut Random) -> anyhow::Result<Child> {
        let partitions = self.partitions().await?;
        let count = u64::try_from(partitions.len()).context("count the partitions")?;
        let chosen = usize::try_from(random.below(count)).context("choose a partition")?;
        let Printed { id, start } = &partitions[chosen];
        let end = partitions.get(chosen + 1).map_or(u64::MAX, |next| next.start);
        let at = format!("{:016x}", start + end.saturating_sub(*start) / 2);
        let mut split = self.admin();
        split.args(["split", "--partition", id, "--at", &at]).stdout(Stdio::null()).stderr(Stdio::piped());
        split.spawn().context("start a split")
    }
}

fn parse(groups: &str, table: &str) -> Vec<Printed> {
    let mut partitions: Vec<Printed> = Vec::new();
    let mut named = None;
    for line in groups.lines() {
        if !line.starts_with(' ') {
            named = line.strip_prefix(table).and_then(|rest| rest.strip_prefix("  partition "));
        } else if let (Some(id), Some((_, range))) = (named, line.split_once("; from ")) {
            let digits: String = range.chars().take(16).take_while(char::is_ascii_hexdigit).collect();
            let start = u64::from_str_radix(&digits, 16).unwrap_or(0);
            if partitions.last().is_none_or(|last| last.id != id) {
                partitions.push(Printed { id: id.to_owned(), start });
            }
        }
    }
    partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_read_as_they_are_printed() {
        let groups = "other  partition 01\n    replica 1 on node 0a in a leads, term 6, applied 3 of 3; from 77, epoch 1\n\
                      crash  partition 0f\n    replica 1 on node 0a in a leads, term 6, applied 3 of 3; from the first key, epoch 1\n\
                      \x20   replica 2 on node 0b in b follows, term 6, applied 3 of 3; from the first key, epoch 1\n\
                      crash  partition 0e\n    replica 1 on node 0a in a leads, term 6, applied 3 of 3; from 8000000000000000ff, epoch 2\n";
        let printed = |id: &str, start| Printed { id: id.to_owned(), start };
        assert_eq!(parse(groups, "crash"), [printed("0f", 0), printed("0e", 1 << 63)]);
    }
}
