//! What a run of chaos did and saw, as tables in Markdown.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::Kind;
use super::probe::Window;
use super::workload::Counts;

/// Every fault, with what its window has shown.
#[derive(Default)]
pub struct Summary {
    alone: BTreeMap<Kind, Vec<Window>>,
    together: Vec<(Kind, Kind, Window)>,
}

impl Summary {
    pub fn add(&mut self, kind: Kind, also: Option<Kind>, window: Window) {
        match also {
            Some(other) => self.together.push((kind, other, window)),
            None => self.alone.entry(kind).or_default().push(window),
        }
    }

    pub fn faults(&self) -> usize {
        self.alone.values().map(Vec::len).sum::<usize>() + 2 * self.together.len()
    }

    pub fn lines(&self, counts: Counts) -> Vec<String> {
        let Counts { done, condition_failed, failed, unknown, unanswered } = counts;
        let mut lines = vec![
            "| operations | count |".to_owned(),
            "|---|---:|".to_owned(),
            format!("| carried out | {done} |"),
            format!("| condition failed | {condition_failed} |"),
            format!("| surely not carried out | {failed} |"),
            format!("| writes of unknown outcome | {unknown} |"),
            format!("| strong reads without an answer | {unanswered} |"),
            String::new(),
            "| fault | times | write gap: median | longest |".to_owned(),
            "|---|---:|---:|---:|".to_owned(),
        ];
        for (kind, windows) in &self.alone {
            lines.push(line(&kind.to_string(), windows.iter().map(|window| window.longest).collect()));
        }
        if !self.together.is_empty() {
            let gaps = self.together.iter().map(|(_, _, window)| window.longest).collect();
            lines.push(line("two of them at once", gaps));
        }
        if let Some((kind, other, window)) = self.together.iter().max_by_key(|(_, _, window)| window.longest) {
            let seconds = window.longest.as_secs_f64();
            lines.push(String::new());
            lines.push(format!("The longest gap of two at once, {seconds:.1} s, came with {kind} and {other}."));
        }
        lines
    }
}

fn line(name: &str, mut gaps: Vec<Duration>) -> String {
    gaps.sort_unstable();
    let seconds = |gap: Option<&Duration>| gap.map_or(0.0, Duration::as_secs_f64);
    let (times, median, longest) = (gaps.len(), seconds(gaps.get(gaps.len() / 2)), seconds(gaps.last()));
    format!("| {name} | {times} | {median:.1} s | {longest:.1} s |")
}
