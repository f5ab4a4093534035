//! What was measured, beside what is promised.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::Arguments;
use crate::counts::Counts;

const MINUTE_S: f64 = 60.0;
const MB: f64 = 1_000_000.0;
/// A burst that lasts no longer hurts nobody.
const SPAN: Duration = Duration::from_secs(10);
/// A call that is under way is counted by one of the two alone.
const UNDER_WAY: u64 = 2;

/// One phase.
pub struct Row {
    pub name: &'static str,
    pub lasted: Duration,
    pub operator: Counts,
    /// None where the API server's counts began anew meanwhile.
    pub server: Option<Counts>,
    /// How many writes there had been by when.
    pub samples: Vec<(Instant, u64)>,
    pub cpu_s: f64,
    pub resident_bytes: u64,
    pub peak_bytes: u64,
}

pub struct Promise {
    what: String,
    most: f64,
    measured: f64,
}

impl Promise {
    pub fn is_held(&self) -> bool {
        self.measured <= self.most
    }
}

impl Row {
    fn per_minute(&self, amount: f64) -> f64 {
        amount / self.lasted.as_secs_f64() * MINUTE_S
    }

    /// Writes a second, in the ten seconds with most of them.
    fn busiest_per_s(&self) -> f64 {
        let spans = self.samples.iter().enumerate().filter_map(|(first, (begun, before))| {
            let (ended, after) = self.samples[first..].iter().find(|(at, _)| *at - *begun >= SPAN)?;
            Some(count(after - before) / (*ended - *begun).as_secs_f64())
        });
        let short = count(self.operator.writes()) / self.lasted.max(SPAN).as_secs_f64();
        spans.fold(short, f64::max)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn count(count: u64) -> f64 {
    count as f64
}

pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "phase         seconds   calls  writes  of those trivet.dev  API server's  writes/s in 10 s  CPU s/min  peak MB  MB after\n",
    );
    for row in rows {
        let servers = row.server.as_ref().map_or_else(|| "-".to_owned(), |server| server.own_writes().to_string());
        let told = writeln!(
            text,
            "{:<12} {:>8.0} {:>7} {:>7} {:>20} {:>13} {:>17.1} {:>10.1} {:>8.0} {:>9.0}",
            row.name,
            row.lasted.as_secs_f64(),
            row.operator.all(),
            row.operator.writes(),
            row.operator.own_writes(),
            servers,
            row.busiest_per_s(),
            row.per_minute(row.cpu_s),
            count(row.peak_bytes) / MB,
            count(row.resident_bytes) / MB,
        );
        told.expect("a text takes everything");
    }
    text
}

pub fn promises(rows: &[Row], arguments: &Arguments) -> Vec<Promise> {
    let promise = |what: &str, most: f64, measured: f64| Promise { what: what.to_owned(), most, measured };
    let row = |name: &str| rows.iter().find(|row| row.name == name).expect("every phase has its row");
    let most = rows.iter().map(|row| row.peak_bytes).max().unwrap_or(0);
    let changes = f64::from(arguments.changes);
    let mut promises = vec![
        promise("MB at its most", 100.0, count(most) / MB),
        promise("calls in an idle minute", 20.0, row("idle").per_minute(count(row("idle").operator.all()))),
        promise(&format!("writes for {changes} changes"), changes * 1.1, count(row("changes").operator.writes())),
        promise("writes/s when a zone is lost", 50.0, row("zone lost").busiest_per_s()),
    ];
    for row in rows {
        if let Some(server) = &row.server {
            let apart = row.operator.own_writes().abs_diff(server.own_writes());
            promises.push(promise(&format!("counts that are apart, {}", row.name), count(UNDER_WAY), count(apart)));
        }
    }
    promises
}

pub fn verdicts(promises: &[Promise]) -> String {
    let said = promises.iter().map(|promise| {
        let verdict = if promise.is_held() { "held" } else { "BROKEN" };
        format!("{:<6} {:<40} {:>8.0}, at most {:.0}\n", verdict, promise.what, promise.measured, promise.most)
    });
    said.collect()
}
