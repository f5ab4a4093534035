//! The dearest functions of each thread, by themselves and with what they call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::stacks::Stack;

/// Widest name that is shown in full.
const NAME: usize = 90;

/// What a sample stands for.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// µs of CPU per operation.
    pub us_per_sample: f64,
    /// Functions of each thread that are shown.
    pub top: usize,
}

#[derive(Default)]
struct Thread<'a> {
    samples: u64,
    alone: BTreeMap<&'a str, u64>,
    inclusive: BTreeMap<&'a str, u64>,
}

/// `role_of` says what a process is; processes of one role are summed up.
pub fn print(stacks: &[Stack], role_of: impl Fn(u32) -> String, scale: Scale) -> String {
    let mut threads: BTreeMap<(String, &str), Thread<'_>> = BTreeMap::new();
    for stack in stacks {
        let thread = threads.entry((role_of(stack.pid), &stack.thread)).or_default();
        thread.samples += 1;
        if let Some(leaf) = stack.frames.last() {
            *thread.alone.entry(leaf).or_default() += 1;
        }
        for name in stack.frames.iter().map(String::as_str).collect::<BTreeSet<&str>>() {
            *thread.inclusive.entry(name).or_default() += 1;
        }
    }
    let all = stacks.len().max(1) as f64;
    let mut sorted: Vec<_> = threads.iter().collect();
    sorted.sort_by_key(|(_, thread)| std::cmp::Reverse(thread.samples));
    let mut text = String::new();
    for ((role, name), thread) in sorted {
        let samples = thread.samples as f64;
        let (share, us) = (100.0 * samples / all, samples * scale.us_per_sample);
        // Writing to a string cannot fail.
        writeln!(text, "== {role}/{name}: {share:.1} % of all samples, {us:.1} µs per operation").unwrap_or_default();
        let columns = ["µs/op", "% of it", "by itself", "µs/op", "% of it", "with what it calls"];
        writeln!(
            text,
            "{:>6} {:>7}  {:NAME$} | {:>6} {:>7}  {}",
            columns[0], columns[1], columns[2], columns[3], columns[4], columns[5]
        )
        .unwrap_or_default();
        let (alone, inclusive) = (dearest(&thread.alone, scale.top), dearest(&thread.inclusive, scale.top));
        for row in 0..alone.len().max(inclusive.len()) {
            let cell = |list: &[(&str, u64)]| {
                list.get(row).map_or_else(String::new, |(name, count)| {
                    let (us, share) = (*count as f64 * scale.us_per_sample, 100.0 * *count as f64 / samples);
                    format!("{us:6.2} {share:7.1}  {}", shortened(name))
                })
            };
            writeln!(text, "{:width$} | {}", cell(&alone), cell(&inclusive), width = NAME + 16).unwrap_or_default();
        }
        text.push('\n');
    }
    text
}

fn dearest<'a>(counts: &BTreeMap<&'a str, u64>, top: usize) -> Vec<(&'a str, u64)> {
    let mut sorted: Vec<(&str, u64)> = counts.iter().map(|(name, count)| (*name, *count)).collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    sorted.truncate(top);
    sorted
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME { name.to_owned() } else { name.chars().take(NAME - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_counts_once_for_each_sample_it_is_in() {
        let stack = |frames: &[&str]| Stack {
            pid: 1,
            thread: "worker".into(),
            frames: frames.iter().map(|name| (*name).to_owned()).collect(),
        };
        let stacks = [stack(&["main", "again", "again"]), stack(&["main", "once"]), stack(&["main", "again"])];
        let text = print(&stacks, |_| "node".into(), Scale { us_per_sample: 10.0, top: 2 });
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<&str>>().join(" ")).collect();
        assert_eq!(lines[0], "== node/worker: 100.0 % of all samples, 30.0 µs per operation");
        assert_eq!(lines[2], "20.00 66.7 again | 30.00 100.0 main");
        assert_eq!(lines[3], "10.00 33.3 once | 20.00 66.7 again");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"x".repeat(200)).chars().count(), NAME);
    }
}
