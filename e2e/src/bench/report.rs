//! The tables that people read, in Markdown: one line per load. Rates and latencies are medians of its runs; what an operation
//! costs is the mean over all runs.

use std::collections::BTreeMap;

use super::accounts::Who;
use super::driver::Counts;
use super::figures::{Figures, mean_of, median, median_of};

/// A table: its heading, then its lines.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[&str]) -> Table {
        Table { columns: columns.iter().map(|name| (*name).to_owned()).collect(), lines: Vec::new() }
    }

    /// The line in Markdown.
    pub fn push(&mut self, cells: Vec<String>) -> String {
        assert_eq!(cells.len(), self.columns.len(), "a line has as many cells as there are columns");
        let text = line(&cells);
        self.lines.push(cells);
        text
    }

    pub fn heading(&self) -> String {
        format!("{}\n|{}", line(&self.columns), "---|".repeat(self.columns.len()))
    }
}

fn line(cells: &[String]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// Closed loops: what an operation costs.
pub fn cost_table() -> Table {
    Table::new(&[
        "load",
        "conns",
        "ops/s",
        "errors",
        "server µs/op",
        "machine µs/op",
        "nodes",
        "router",
        "memds",
        "parent",
        "client",
        "p50 ms",
        "p99",
        "p99.9",
        "switches/op",
        "faults/op",
        "syncs/op",
        "written B/B",
        "MiB",
    ])
}

pub fn cost_cells(name: &str, connections: u64, runs: &[Figures]) -> Vec<String> {
    let [nodes, router, memds, parent] = Who::TRIVET.map(|who| one(mean_of(runs, |run| run.role(who))));
    let writes = runs.iter().any(|run| run.written.is_some());
    let written = mean_of(runs, |run| run.written.unwrap_or(0.0));
    vec![
        name.to_owned(),
        connections.to_string(),
        with_range(runs, 0, |run| run.per_second),
        errors(runs).to_string(),
        mean_with_range(runs, |run| run.servers),
        one(mean_of(runs, |run| run.machine)),
        nodes,
        router,
        memds,
        parent,
        one(mean_of(runs, |run| run.client)),
        two(median_of(runs, |run| run.p50)),
        two(median_of(runs, |run| run.p99)),
        two(median_of(runs, |run| run.p999)),
        two(mean_of(runs, |run| run.switches)),
        two(mean_of(runs, |run| run.faults)),
        format!("{:.3}", mean_of(runs, |run| run.syncs)),
        if writes { one(written) } else { "–".to_owned() },
        format!("{:.0}", median_of(runs, |run| run.memory)),
    ]
}

/// Open loops: how long an operation takes when others do not wait for it, and what is left of the peak beyond it.
pub fn latency_table() -> Table {
    Table::new(&[
        "load",
        "offered",
        "of the peak",
        "answered/s",
        "errors",
        "unsent",
        "p50 ms",
        "p99",
        "p99.9",
        "server µs/op",
        "machine µs/op",
        "client",
        "MiB",
        "new leaders",
    ])
}

pub fn latency_cells(name: &str, per_second: f64, percent: u64, runs: &[Figures]) -> Vec<String> {
    let unsent: u64 = runs.iter().map(|run| run.counts.unsent).sum();
    let leaderships: u64 = runs.iter().map(|run| run.leaderships).sum();
    vec![
        name.to_owned(),
        format!("{per_second:.0}/s"),
        format!("{percent} %"),
        with_range(runs, 0, |run| run.per_second),
        errors(runs).to_string(),
        unsent.to_string(),
        with_range(runs, 2, |run| run.p50),
        with_range(runs, 2, |run| run.p99),
        with_range(runs, 2, |run| run.p999),
        one(mean_of(runs, |run| run.servers)),
        one(mean_of(runs, |run| run.machine)),
        one(mean_of(runs, |run| run.client)),
        format!("{:.0}", median_of(runs, |run| run.memory)),
        leaderships.to_string(),
    ]
}

/// One partition's load beside that of others.
pub fn fairness_table() -> Table {
    Table::new(&[
        "beside it",
        "others' offered/s",
        "answered/s",
        "errors",
        "p50 ms",
        "p99",
        "p99.9",
        "what is beside it: ops/s",
        "its p99",
    ])
}

pub fn fairness_cells(beside: &str, per_second: f64, others: &[Figures], hot: &[Figures]) -> Vec<String> {
    let or_nothing = |text: String| if hot.is_empty() { "–".to_owned() } else { text };
    vec![
        beside.to_owned(),
        format!("{per_second:.0}"),
        with_range(others, 0, |run| run.per_second),
        (errors(others) + errors(hot)).to_string(),
        with_range(others, 2, |run| run.p50),
        with_range(others, 2, |run| run.p99),
        with_range(others, 2, |run| run.p999),
        or_nothing(with_range(hot, 0, |run| run.per_second)),
        or_nothing(two(median_of(hot, |run| run.p99))),
    ]
}

/// The same loads on Trivet and on what it is compared with.
pub fn comparison_table(other: &str) -> Table {
    Table::new(&[
        "load",
        "conns",
        "Trivet ops/s",
        &format!("{other} ops/s"),
        "times",
        "Trivet µs/op",
        &format!("{other} µs/op"),
        "times",
        "Trivet p50, p99 ms",
        &format!("{other} p50, p99 ms"),
    ])
}

pub fn comparison_cells(name: &str, connections: u64, ours: &[Figures], theirs: &[Figures]) -> Vec<String> {
    let rate = |runs| median_of(runs, |run| run.per_second);
    let latencies = |runs| format!("{}, {}", two(median_of(runs, |run| run.p50)), two(median_of(runs, |run| run.p99)));
    vec![
        name.to_owned(),
        connections.to_string(),
        with_range(ours, 0, |run| run.per_second),
        with_range(theirs, 0, |run| run.per_second),
        two(rate(ours) / rate(theirs).max(f64::MIN_POSITIVE)),
        mean_with_range(ours, |run| run.servers),
        mean_with_range(theirs, |run| run.servers),
        two(mean_of(ours, |run| run.servers) / mean_of(theirs, |run| run.servers).max(f64::MIN_POSITIVE)),
        latencies(ours),
        latencies(theirs),
    ]
}

/// CPU by thread name, of several loads: those threads that use a tenth of a µs per operation anywhere.
pub fn threads(loads: &[(String, Vec<Figures>)]) -> String {
    let mut most: BTreeMap<(Who, String), f64> = BTreeMap::new();
    for (thread, us) in loads.iter().flat_map(|(_, runs)| runs).flat_map(|run| &run.by_thread) {
        let seen = most.entry(thread.clone()).or_default();
        *seen = seen.max(*us);
    }
    let mut shown: Vec<((Who, String), f64)> = most.into_iter().filter(|(_, us)| *us >= 0.1).collect();
    shown.sort_by(|((who, _), us), ((other_who, _), other)| who.cmp(other_who).then(other.total_cmp(us)));
    let names: Vec<String> = shown.iter().map(|((who, name), _)| format!("{}: {name}", who.name())).collect();
    let columns: Vec<&str> = ["load"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new(&columns);
    let mut text = vec![table.heading()];
    for (name, runs) in loads {
        let us = |thread: &(Who, String)| one(mean_of(runs, |run| run.by_thread.get(thread).copied().unwrap_or(0.0)));
        text.push(table.push([name.clone()].into_iter().chain(shown.iter().map(|(thread, _)| us(thread))).collect()));
    }
    text.join("\n")
}

/// What went wrong, if anything did.
pub fn wrongs(name: &str, runs: &[Figures]) -> Option<String> {
    let mut sum = Counts::default();
    runs.iter().for_each(|run| sum.add(run.counts));
    let Counts { ok: _, wrong, refused_4xx, failed_5xx, broken, unsent } = sum;
    (sum.errors() + unsent > 0).then(|| {
        format!(
            "{name}: {wrong} answers without what was asked for, {refused_4xx} 4xx, {failed_5xx} 5xx, {broken} broken connections, \
             {unsent} never sent"
        )
    })
}

fn errors(runs: &[Figures]) -> u64 {
    runs.iter().map(|run| run.counts.errors()).sum()
}

fn one(number: f64) -> String {
    format!("{number:.1}")
}

fn two(number: f64) -> String {
    format!("{number:.2}")
}

/// The median; of several runs their range, too.
fn with_range(runs: &[Figures], decimals: usize, of: impl Fn(&Figures) -> f64) -> String {
    let values: Vec<f64> = runs.iter().map(of).collect();
    ranged(median(values.clone()), &values, decimals)
}

/// The mean over all operations; of several runs the range of theirs, too.
fn mean_with_range(runs: &[Figures], of: impl Fn(&Figures) -> f64) -> String {
    let values: Vec<f64> = runs.iter().map(&of).collect();
    ranged(mean_of(runs, of), &values, 1)
}

fn ranged(middle: f64, values: &[f64], decimals: usize) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(0.0, f64::max);
    if values.len() < 2 {
        format!("{middle:.decimals$}")
    } else {
        format!("{middle:.decimals$} ({lowest:.decimals$}–{highest:.decimals$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> Vec<Figures> {
        let run = |per_second, servers| Figures {
            per_second,
            servers,
            by_thread: BTreeMap::from([
                ((Who::Node, "worker".into()), servers / 2.0),
                ((Who::MemDs, "idle".into()), 0.01),
            ]),
            counts: Counts { ok: 9, failed_5xx: 1, ..Counts::default() },
            ..Figures::default()
        };
        vec![run(500.0, 80.0), run(400.0, 90.0)]
    }

    #[test]
    fn lines_have_the_columns_of_their_heading_and_show_ranges() {
        let runs = runs();
        let text = cost_table().push(cost_cells("x", 8, &runs));
        assert!(text.starts_with("| x | 8 | 450 (400–500) | 2 | 85.0 (80.0–90.0) |"), "{text}");
        latency_table().push(latency_cells("x", 100.0, 50, &runs));
        fairness_table().push(fairness_cells("nothing", 100.0, &runs, &[]));
        let text = comparison_table("dynalite").push(comparison_cells("x", 8, &runs[..1], &runs[1..]));
        assert!(text.starts_with("| x | 8 | 500 | 400 | 1.25 | 80.0 | 90.0 | 0.89 |"), "{text}");
        let heading = Table::new(&["a", "b"]).heading();
        assert_eq!(heading, "| a | b |\n|---|---|");
    }

    #[test]
    fn threads_that_use_next_to_nothing_are_left_out() {
        let text = threads(&[("PutItem, 8".to_owned(), runs())]);
        assert_eq!(text, "| load | nodes: worker |\n|---|---|\n| PutItem, 8 | 42.5 |");
    }

    #[test]
    fn what_went_wrong_is_told_by_kind() {
        assert!(wrongs("x", &runs()).unwrap().contains("2 5xx"));
        assert_eq!(wrongs("x", &[Figures::default()]), None);
    }
}
