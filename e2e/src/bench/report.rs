//! The table that people read: one line per scenario and number of connections, the median of its runs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::accounts::Who;
use super::load::{Counts, Outcome};

/// One run in the units that are printed; CPU is in µs per operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub per_second: f64,
    pub servers: f64,
    pub by_role: BTreeMap<Who, f64>,
    /// Role and thread name.
    pub by_thread: BTreeMap<(Who, String), f64>,
    pub client: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    /// Context switches of the servers per operation.
    pub switches: f64,
    /// Processors that neither servers nor client kept busy: the kernel's own work, and other people's.
    pub others: f64,
    pub counts: Counts,
}

impl Figures {
    /// An operation is one that succeeded; what errors cost is laid upon the successes.
    pub fn of(outcome: &Outcome) -> Figures {
        let seconds = outcome.lasted.as_secs_f64();
        let operations = outcome.counts.ok.max(1) as f64;
        let per_operation = |used: u64| used as f64 / operations;
        let used = &outcome.used;
        let client_us = used.cpu_us.get(&Who::Client).copied().unwrap_or(0);
        let others_us = used.machine_us.saturating_sub(used.servers_us() + client_us);
        let quantile = |per_mille| outcome.latencies.quantile(per_mille).as_secs_f64() * 1e3;
        Figures {
            per_second: outcome.counts.ok as f64 / seconds,
            servers: per_operation(used.servers_us()),
            by_role: used.cpu_us.iter().map(|(who, us)| (*who, per_operation(*us))).collect(),
            by_thread: used.threads_us.iter().map(|(thread, us)| (thread.clone(), per_operation(*us))).collect(),
            client: per_operation(client_us),
            p50_ms: quantile(500),
            p99_ms: quantile(990),
            p999_ms: quantile(999),
            switches: per_operation(used.server_switches()),
            others: others_us as f64 / 1e6 / seconds,
            counts: outcome.counts,
        }
    }

    fn role(&self, who: Who) -> f64 {
        self.by_role.get(&who).copied().unwrap_or(0.0)
    }
}

/// The heading of the table.
pub fn heading() -> String {
    let names = "| load | conns | ops/s | errors | server µs/op | nodes | router | memds | parent | client µs/op \
                 | p50 ms | p99 | p99.9 | switches/op | others' CPUs |";
    format!("{names}\n|{}", "---|".repeat(names.matches('|').count() - 1))
}

/// One line of it; with several runs, ops/s and server µs show their range.
pub fn line(name: &str, connections: u64, runs: &[Figures]) -> String {
    let median = |of: &dyn Fn(&Figures) -> f64| middle(runs.iter().map(of).collect());
    let errors: u64 = runs.iter().map(|run| run.counts.errors()).sum();
    let [nodes, router, memds, parent] = Who::SERVERS.map(|who| median(&|run| run.role(who)));
    format!(
        "| {name} | {connections} | {} | {errors} | {} | {nodes:.1} | {router:.1} | {memds:.1} | {parent:.1} | {:.1} \
         | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
        with_range(runs.iter().map(|run| run.per_second).collect(), 0),
        with_range(runs.iter().map(|run| run.servers).collect(), 1),
        median(&|run| run.client),
        median(&|run| run.p50_ms),
        median(&|run| run.p99_ms),
        median(&|run| run.p999_ms),
        median(&|run| run.switches),
        median(&|run| run.others),
    )
}

/// The threads that used most, dearest first, for one run.
pub fn threads(figures: &Figures) -> String {
    let mut threads: Vec<_> = figures.by_thread.iter().filter(|(_, us)| **us >= 0.1).collect();
    threads.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let parts = threads.iter().map(|((who, name), us)| format!("{}/{name} {us:.1}", who.name()));
    format!("  µs/op by thread: {}", parts.collect::<Vec<_>>().join(", "))
}

/// What went wrong, if anything did.
pub fn errors(counts: Counts) -> Option<String> {
    let Counts { ok: _, short, refused_4xx, failed_5xx, broken } = counts;
    (counts.errors() > 0).then(|| {
        format!("  errors: {short} without the item, {refused_4xx} 4xx, {failed_5xx} 5xx, {broken} broken connections")
    })
}

/// Memory of the servers.
pub fn memory(resident: &BTreeMap<Who, (u32, u64)>, lasted: Duration) -> String {
    let servers = resident.iter().filter(|(who, _)| **who != Who::Client);
    let parts = servers.clone().map(|(who, (count, kib))| format!("{} ({count}) {}", who.name(), kib / 1024));
    let sum: u64 = servers.clone().map(|(_, (_, kib))| kib / 1024).sum();
    let parts = parts.collect::<Vec<_>>().join(", ");
    format!("resident memory in MiB after {:.0} s: {parts}; together {sum}", lasted.as_secs_f64())
}

fn with_range(values: Vec<f64>, decimals: usize) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(0.0, f64::max);
    let alone = values.len() < 2;
    let middle = middle(values);
    if alone {
        format!("{middle:.decimals$}")
    } else {
        format!("{middle:.decimals$} ({lowest:.decimals$}–{highest:.decimals$})")
    }
}

/// The median; of an even number the mean of the middle two.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::accounts::Accounts;

    fn outcome() -> Outcome {
        Outcome {
            counts: Counts { ok: 1_000, failed_5xx: 2, ..Counts::default() },
            lasted: Duration::from_secs(2),
            used: Accounts {
                cpu_us: BTreeMap::from([(Who::Node, 60_000), (Who::Router, 20_000), (Who::Client, 10_000)]),
                switches: BTreeMap::from([(Who::Node, 1_500), (Who::Client, 99_000)]),
                threads_us: BTreeMap::from([((Who::Node, "worker".into()), 50_000)]),
                machine_us: 1_090_000,
            },
            ..Outcome::default()
        }
    }

    #[test]
    fn figures_are_per_operation_and_leave_the_client_out() {
        let figures = Figures::of(&outcome());
        assert_eq!((figures.per_second, figures.servers, figures.client), (500.0, 80.0, 10.0));
        assert_eq!((figures.switches, figures.others), (1.5, 0.5));
        assert_eq!(threads(&figures), "  µs/op by thread: nodes/worker 50.0");
    }

    #[test]
    fn a_line_has_as_many_columns_as_the_heading() {
        let figures = Figures::of(&outcome());
        let columns = |text: &str| text.matches('|').count();
        let heading = heading();
        let expected = columns(heading.lines().next().unwrap());
        assert_eq!(columns(heading.lines().last().unwrap()), expected);
        assert_eq!(columns(&line("x", 8, std::slice::from_ref(&figures))), expected);
        let slower = Figures { per_second: 400.0, ..figures.clone() };
        assert!(line("x", 8, &[figures, slower]).contains("| 450 (400–500) | 4 | 80.0 (80.0–80.0) |"));
    }

    #[test]
    fn the_middle_of_an_even_number_lies_between() {
        assert_eq!(middle(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(vec![4.0, 1.0]), 2.5);
    }
}
