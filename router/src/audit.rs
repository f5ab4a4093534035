//! The audit log: a line of JSON for every call that is about tables rather than items, and for every client that was not let in.
//!
//! Format 1, one object a line:
//!
//! | Field | What |
//! |---|---|
//! | `audit` | the format's number |
//! | `time` | when it was answered, `2026-11-30T04:13:05Z` |
//! | `event` | `call`, or `refusal` of a client that could not show who it is |
//! | `operation` | as DynamoDB names it; empty where it was none of its names |
//! | `table` | as the request names it, a name or an ARN; null where it names none, or was not read |
//! | `access_key` | who signed, or says so in a refusal; null without a signature |
//! | `client` | the address that the connection came from |
//! | `status`, `error` | the answer's HTTP status, and DynamoDB's name of the error or null |
//! | `request_id` | as the client was told |
//! | `omitted` | refusals that were not written before this line: strangers may come in any number, and a log has an end |
//!
//! A thread writes, so that whoever does not read the log holds up nobody; what cannot be written is counted.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::metrics::Metrics;
use crate::operation::Operation;
use crate::sigv4::authorization;
use crate::sigv4::time::Timestamp;

const FORMAT: u32 = 1;
/// Lines that wait for the writer.
const WAITING_LINES: usize = 4_096;
/// Refusals in one second that are written.
const REFUSALS_A_SECOND: u32 = 100;
/// Of a name that the client gives, in bytes: more than the longest ARN of a table.
const NAME_BYTES: usize = 512;

/// Where a connection came from, on each of its requests.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub SocketAddr);

pub struct Audit {
    lines: SyncSender<Vec<u8>>,
    refusals: Mutex<Refusals>,
    metrics: Metrics,
}

/// One answer.
pub struct Answered<'a> {
    pub parts: &'a Parts,
    pub operation: Option<Operation>,
    /// As [`named_table`] has read it.
    pub table: Option<&'a str>,
    pub status: u16,
    pub error: Option<&'a Error>,
    pub request_id: &'a [u8],
}

#[derive(Serialize)]
struct Line<'a> {
    audit: u32,
    time: String,
    event: &'static str,
    operation: &'static str,
    table: Option<&'a str>,
    access_key: Option<&'a str>,
    client: Option<SocketAddr>,
    status: u16,
    error: Option<&'static str>,
    request_id: &'a str,
    omitted: u64,
}

impl Audit {
    /// Appends to a file; `-` is the process's standard output.
    pub fn open(path: &Path, metrics: Metrics) -> anyhow::Result<Audit> {
        if path == Path::new("-") {
            return Audit::start(io::stdout(), metrics);
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        Audit::start(file.with_context(|| format!("open the audit log {}", path.display()))?, metrics)
    }

    fn start(out: impl Write + Send + 'static, metrics: Metrics) -> anyhow::Result<Audit> {
        let (lines, waiting) = sync_channel(WAITING_LINES);
        let counted = metrics.clone();
        let writer = move || write(out, &waiting, &counted);
        std::thread::Builder::new().name("audit".to_owned()).spawn(writer).context("start the audit log")?;
        Ok(Audit { lines, refusals: Mutex::default(), metrics })
    }

    /// Whether this answer has a line is decided here.
    pub fn answered(&self, answered: &Answered<'_>) {
        let refused = answered.error.is_some_and(Error::is_refusal);
        let about_tables = answered.operation.is_some_and(Operation::is_about_tables);
        if !refused && !about_tables {
            return;
        }
        let Some(omitted) = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).room(refused, Instant::now())
        else {
            return;
        };
        if self.lines.try_send(line(answered, refused, omitted)).is_err() {
            self.metrics.audit_lost();
        }
    }
}

fn line(answered: &Answered<'_>, refused: bool, omitted: u64) -> Vec<u8> {
    let Answered { parts, operation, table, status, error, request_id } = answered;
    let authorization = authorization::find(parts).ok();
    let scope = authorization.as_ref().and_then(|authorization| authorization.scope().ok());
    let line = Line {
        audit: FORMAT,
        time: Timestamp::now().extended(),
        event: if refused { "refusal" } else { "call" },
        operation: operation.map_or("", Operation::name),
        table: table.map(short),
        access_key: scope.map(|scope| short(scope.access_key)),
        client: parts.extensions.get().map(|ClientAddress(address)| *address),
        status: *status,
        error: error.map(Error::name),
        request_id: std::str::from_utf8(request_id).unwrap_or_default(),
        omitted,
    };
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The table that a request about tables names, without a look at anything else in it.
pub fn named_table(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "TableName", alias = "ResourceArn")]
        name: Option<String>,
    }
    serde_json::from_slice::<Named>(body).ok()?.name
}

fn short(name: &str) -> &str {
    let end = name.floor_char_boundary(NAME_BYTES);
    &name[..end]
}

fn write(mut out: impl Write, lines: &Receiver<Vec<u8>>, metrics: &Metrics) {
    while let Ok(line) = lines.recv() {
        if let Err(error) = out.write_all(&line).and_then(|()| out.flush()) {
            tracing::error!(%error, "the audit log cannot be written");
            metrics.audit_lost();
        }
    }
}

/// How many refusals have been written in this second, and how many were not.
#[derive(Default)]
struct Refusals {
    second: Option<Instant>,
    written: u32,
    omitted: u64,
}

impl Refusals {
    /// None where a refusal is one too many; else how many were omitted before.
    fn room(&mut self, refused: bool, now: Instant) -> Option<u64> {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.written) = (Some(now), 0);
        }
        if refused && self.written >= REFUSALS_A_SECOND {
            self.omitted += 1;
            return None;
        }
        self.written += u32::from(refused);
        Some(std::mem::take(&mut self.omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_do_not_fill_the_log_and_calls_are_always_written() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        let written = (0..250).filter(|_| refusals.room(true, now).is_some()).count();
        assert_eq!(written, 100);
        assert_eq!(refusals.room(false, now), Some(150));
        assert_eq!(refusals.room(true, now), None);
        assert_eq!(refusals.room(true, now + Duration::from_secs(1)), Some(1));
    }

    #[test]
    fn the_table_is_read_alone() {
        assert_eq!(named_table(br#"{"KeySchema":[{"x":[1]}],"TableName":"Music"}"#).as_deref(), Some("Music"));
        assert_eq!(named_table(br#"{"ResourceArn":"arn:aws:x"}"#).as_deref(), Some("arn:aws:x"));
        assert_eq!(named_table(br#"{"TableName":7}"#), None);
        assert_eq!(named_table(b"nonsense"), None);
        assert_eq!(short(&"\u{e4}".repeat(400)).len(), NAME_BYTES);
    }
}
