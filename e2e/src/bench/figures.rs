//! An outcome in the units that people compare: per second, per operation.

use std::collections::BTreeMap;

use super::accounts::Who;
use super::driver::{Counts, Part};
use super::load::Outcome;

/// One run of one load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub per_second: f64,
    pub counts: Counts,
    /// CPU in µs per operation: of all servers, by their own accounts.
    pub servers: f64,
    /// Of everything but the client that ran on the machine meanwhile.
    pub machine: f64,
    pub client: f64,
    pub by_role: BTreeMap<Who, f64>,
    /// By role and thread name.
    pub by_thread: BTreeMap<(Who, String), f64>,
    /// Milliseconds.
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// Of the servers, per operation.
    pub switches: f64,
    pub faults: f64,
    pub syncs: f64,
    /// What the servers had written to disks, per byte of the items that were written; nothing if none were.
    pub written: Option<f64>,
    /// At the end, in MiB.
    pub memory: f64,
    pub leaderships: u64,
    /// Processors' time that others on the machine's host took, as a share of what there was.
    pub stolen: f64,
}

impl Figures {
    /// Of an outcome of one load whose successes wrote so many bytes each.
    pub fn of(outcome: &Outcome, bytes_per_operation: Option<u64>) -> Figures {
        let mut sum = Part::default();
        outcome.parts.iter().for_each(|part| sum.add(part));
        let mut figures = Figures::of_part(&sum, outcome);
        // An operation is one that succeeded; what errors cost is laid upon the successes.
        let operations = sum.counts.ok.max(1) as f64;
        let per_operation = |used: u64| used as f64 / operations;
        let used = &outcome.used;
        let servers = used.servers();
        figures.servers = per_operation(servers.cpu_us);
        figures.client = per_operation(used.client_us());
        figures.machine = per_operation(used.machine_us.saturating_sub(used.client_us()));
        figures.by_role = used.roles.iter().map(|(who, used)| (*who, per_operation(used.cpu_us))).collect();
        let threads = used.threads_ns.iter().filter(|((who, _), _)| *who != Who::Client);
        figures.by_thread = threads.map(|(thread, ns)| (thread.clone(), per_operation(*ns) / 1e3)).collect();
        figures.switches = per_operation(servers.switches);
        figures.faults = per_operation(servers.minor_faults);
        figures.syncs = per_operation(outcome.counted.syncs);
        figures.written = bytes_per_operation.map(|bytes| per_operation(servers.written_bytes) / bytes as f64);
        figures.memory = outcome.memory_kib as f64 / 1024.0;
        figures.leaderships = outcome.counted.leaderships;
        let there_was =
            outcome.lasted.as_secs_f64() * 1e6 * std::thread::available_parallelism().map_or(1, usize::from) as f64;
        figures.stolen = used.stolen_us as f64 / there_was;
        figures
    }

    /// Of one load among several: what they cost cannot be told apart.
    pub fn of_part(part: &Part, outcome: &Outcome) -> Figures {
        let quantile = |per_mille| part.latencies.quantile(per_mille).as_secs_f64() * 1e3;
        Figures {
            per_second: part.counts.ok as f64 / outcome.lasted.as_secs_f64(),
            counts: part.counts,
            p50: quantile(500),
            p99: quantile(990),
            p999: quantile(999),
            ..Figures::default()
        }
    }

    pub fn role(&self, who: Who) -> f64 {
        self.by_role.get(&who).copied().unwrap_or(0.0)
    }
}

/// The median; of an even number the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

/// The mean of a figure per operation over all operations of all runs. Flushes and compactions come in lumps, which the median
/// of a few runs would hide.
pub fn mean_of(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let operations = |run: &Figures| run.counts.ok as f64;
    let sum: f64 = runs.iter().map(operations).sum();
    runs.iter().map(|run| of(run) * operations(run)).sum::<f64>() / sum.max(1.0)
}

/// The median of a figure over runs.
pub fn median_of(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    median(runs.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::accounts::{Accounts, Used};
    use crate::bench::subject::Counters;

    #[test]
    fn figures_are_per_operation_and_leave_the_client_out() {
        let role = |cpu_us, switches| Used { cpu_us, switches, minor_faults: 500, written_bytes: 1_024_000 };
        let used = Accounts {
            roles: BTreeMap::from([
                (Who::Node, role(60_000, 1_500)),
                (Who::Router, role(20_000, 0)),
                (Who::Client, role(10_000, 99_000)),
            ]),
            threads_ns: BTreeMap::from([
                ((Who::Node, "worker".into()), 50_000_000),
                ((Who::Client, "client".into()), 9),
            ]),
            machine_us: 110_000,
            stolen_us: 0,
        };
        let counts = Counts { ok: 1_000, failed_5xx: 2, ..Counts::default() };
        let part = Part { counts, ..Part::default() };
        let counted = Counters { syncs: 200, leaderships: 1, shed: 0 };
        let outcome = Outcome { parts: vec![part], lasted: Duration::from_secs(2), used, counted, memory_kib: 2048 };
        let figures = Figures::of(&outcome, Some(1024));
        assert_eq!((figures.per_second, figures.servers, figures.client, figures.machine), (500.0, 80.0, 10.0, 100.0));
        assert_eq!((figures.switches, figures.faults, figures.syncs, figures.written), (1.5, 1.0, 0.2, Some(2.0)));
        assert_eq!((figures.memory, figures.leaderships, figures.role(Who::Router)), (2.0, 1, 20.0));
        assert_eq!(figures.by_thread, BTreeMap::from([((Who::Node, "worker".into()), 50.0)]));
        assert_eq!(Figures::of(&outcome, None).written, None);
    }

    #[test]
    fn a_lump_in_one_run_is_laid_upon_all_operations() {
        let run = |servers, ok| Figures { servers, counts: Counts { ok, ..Counts::default() }, ..Figures::default() };
        let runs = [run(50.0, 1_000), run(50.0, 2_000), run(200.0, 1_000)];
        assert_eq!(mean_of(&runs, |run| run.servers), 87.5);
        assert_eq!(mean_of(&[], |run| run.servers), 0.0);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
