//! Keeps the ledger of a long run in a file beside the program: written whole or not at all, a few seconds old at most.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sim::ledger::Ledger;
use sim::rng::bytes_hash;

/// A power cut costs so much at most, and a seed takes a tenth of it.
const WRITTEN_EVERY: Duration = Duration::from_secs(3);

pub struct Keeper {
    pub ledger: Ledger,
    path: PathBuf,
    written: Instant,
    /// Held while this run lasts.
    _lock: File,
}

impl Keeper {
    /// Goes on with what a run like this has left, if this very program left it; says so in a line, or why not.
    pub fn open(run: &str, first: u64, fresh: bool) -> anyhow::Result<(Keeper, Option<String>)> {
        let program = std::env::current_exe().context("find the program")?;
        let code = bytes_hash(&fs::read(&program).context("read the program")?);
        let folder = program.parent().unwrap_or(Path::new(".")).join("sim-runs");
        Keeper::open_in(&folder, code, &Begin { run, first, fresh })
    }

    fn open_in(folder: &Path, code: u64, begin: &Begin<'_>) -> anyhow::Result<(Keeper, Option<String>)> {
        let Begin { run, first, fresh } = *begin;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let path = folder.join(format!("{:016x}.ledger", bytes_hash(run.as_bytes())));
        let lock = path.with_extension("lock");
        let lock = File::create(&lock).with_context(|| format!("open {}", lock.display()))?;
        if lock.try_lock().is_err() {
            bail!("a run of just these seeds is under way ({})", path.display());
        }
        let (ledger, said) = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => (None, None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
            Ok(_) if fresh => (None, Some(String::from("begins anew, as it was asked to"))),
            Ok(text) => match Ledger::resumed(&text, code, run) {
                Ok(ledger) => {
                    let said = format!("goes on after {} seeds", ledger.stats.seeds);
                    (Some(ledger), Some(said))
                }
                Err(unusable) => (None, Some(format!("begins anew: {} is of no use, {unusable}", path.display()))),
            },
        };
        let ledger = ledger.unwrap_or_else(|| Ledger::begun(code, run, first));
        Ok((Keeper { ledger, path, written: now(), _lock: lock }, said))
    }

    pub fn write_when_due(&mut self) -> anyhow::Result<()> {
        if self.written.elapsed() < WRITTEN_EVERY {
            return Ok(());
        }
        self.write()
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut file = File::create(&fresh).context("begin the ledger")?;
        file.write_all(self.ledger.text().as_bytes()).context("write the ledger")?;
        file.sync_all().context("sync the ledger")?;
        fs::rename(&fresh, &self.path).context("put the ledger in its place")?;
        self.written = now();
        Ok(())
    }

    /// The run is over: the next one like it begins anew.
    pub fn close(self) -> anyhow::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("remove the ledger"),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

struct Begin<'a> {
    run: &'a str,
    first: u64,
    fresh: bool,
}

/// For people who wait, and for nothing in a world.
#[expect(clippy::disallowed_methods, reason = "the command tells how long it takes; worlds have a time of their own")]
pub fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use sim::core::Stats;

    use super::*;

    fn begin(run: &str) -> Begin<'_> {
        Begin { run, first: 1, fresh: false }
    }

    #[test]
    fn a_run_goes_on_where_it_was_and_begins_anew_when_it_was_over() {
        let folder = std::env::temp_dir().join(format!("sim-keeper-{}", std::process::id()));
        let (mut keeper, said) = Keeper::open_in(&folder, 7, &begin("a")).unwrap();
        assert_eq!(said, None);
        assert!(Keeper::open_in(&folder, 7, &begin("a")).is_err(), "two at once");
        keeper.ledger.add(1, &Stats { seeds: 1, ..Stats::default() }, None);
        keeper.write().unwrap();
        // As if the process had been killed.
        drop(keeper);
        let (other, said) = Keeper::open_in(&folder, 8, &begin("a")).unwrap();
        assert!(said.unwrap().contains("another build") && !other.ledger.done.has(1));
        drop(other);
        let (keeper, said) = Keeper::open_in(&folder, 7, &begin("a")).unwrap();
        assert_eq!(said.as_deref(), Some("goes on after 1 seeds"));
        assert!(keeper.ledger.done.has(1));
        keeper.close().unwrap();
        let (keeper, said) = Keeper::open_in(&folder, 7, &begin("a")).unwrap();
        assert!(said.is_none() && !keeper.ledger.done.has(1));
        drop(keeper);
        fs::remove_dir_all(folder).unwrap();
    }
}
