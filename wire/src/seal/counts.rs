//! What a seal counts, and how seldom it speaks of what repeats.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What strangers do over and over is logged so often at most.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What became of a new content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Changed,
    /// It cannot be used; the old one stays.
    Refused,
}

/// What is refused at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A connection: no TLS, no certificate, or not one to be believed.
    Connection,
    /// A call that its caller's role may not make, or one in another's name.
    Call,
    /// A connection that stood when its counterpart's certificate ceased to be trusted.
    Distrusted,
}

#[derive(Default)]
pub(super) struct Counts {
    changed: AtomicU64,
    unusable: AtomicU64,
    connections: AtomicU64,
    calls: AtomicU64,
    distrusted: AtomicU64,
    pub log: Seldom,
}

/// Says yes once in a while.
#[derive(Default)]
pub(super) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    pub fn may_log(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may = last.is_none_or(|last| now.duration_since(last) >= LOG_EVERY);
        if may {
            *last = Some(now);
        }
        may
    }
}

impl Counts {
    pub fn reloaded(&self, outcome: Outcome) {
        match outcome {
            Outcome::Changed => &self.changed,
            Outcome::Refused => &self.unusable,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, refusal: Refusal) -> &AtomicU64 {
        match refusal {
            Refusal::Connection => &self.connections,
            Refusal::Call => &self.calls,
            Refusal::Distrusted => &self.distrusted,
        }
    }

    pub fn refuse(&self, refusal: Refusal) {
        self.of(refusal).fetch_add(1, Ordering::Relaxed);
    }

    pub fn distrust(&self, connections: u64) {
        self.distrusted.fetch_add(connections, Ordering::Relaxed);
    }

    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.of(refusal).load(Ordering::Relaxed)
    }

    pub fn render(&self, days_left: i64) -> String {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut text = String::new();
        let mut say = |name: &str, kind: &str, help: &str, values: &[(&str, String)]| {
            // Nothing fails to be written to memory.
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").unwrap_or_default();
            for (labels, value) in values {
                writeln!(text, "{name}{labels} {value}").unwrap_or_default();
            }
        };
        let help = "Days until this process's certificate expires, rounded down.";
        say("trivet_certificate_days_left", "gauge", help, &[("", days_left.to_string())]);
        let reloads = [
            (r#"{outcome="changed"}"#, read(&self.changed).to_string()),
            (r#"{outcome="refused"}"#, read(&self.unusable).to_string()),
        ];
        let help = "New certificates and authorities by whether they could be used; else the old ones stay.";
        say("trivet_certificate_reloads_total", "counter", help, &reloads);
        let refusals = [
            (r#"{what="connection"}"#, read(&self.connections).to_string()),
            (r#"{what="call"}"#, read(&self.calls).to_string()),
            (r#"{what="distrusted"}"#, read(&self.distrusted).to_string()),
        ];
        let help = "Connections and calls refused for who was at the other end.";
        say("trivet_seal_refused_total", "counter", help, &refusals);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_logged_once() {
        let seldom = Seldom::default();
        assert_eq!([seldom.may_log(), seldom.may_log(), seldom.may_log()], [true, false, false]);
    }

    #[test]
    fn metrics_are_as_prometheus_reads_them() {
        let counts = Counts::default();
        counts.reloaded(Outcome::Changed);
        counts.refuse(Refusal::Call);
        counts.refuse(Refusal::Call);
        let text = counts.render(-3);
        for line in [
            "# TYPE trivet_certificate_days_left gauge",
            "trivet_certificate_days_left -3",
            r#"trivet_certificate_reloads_total{outcome="changed"} 1"#,
            r#"trivet_certificate_reloads_total{outcome="refused"} 0"#,
            r#"trivet_seal_refused_total{what="call"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
