//! What is counted at the router: every answer by operation, table and outcome, and how long it took.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Whose doing an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// The request was refused for what it asked.
    CustomerError,
    /// We failed.
    ServiceError,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::CustomerError => "customer_error",
            Outcome::ServiceError => "service_error",
        }
    }

    /// By HTTP status.
    pub fn of(status: u16) -> Outcome {
        match status {
            ..400 => Outcome::Success,
            400..500 => Outcome::CustomerError,
            500.. => Outcome::ServiceError,
        }
    }
}

/// The router's metrics.
#[derive(Clone)]
pub struct Metrics {
    /// Answers by operation, table and outcome. The table is empty where the request did not reach one that exists.
    answers: IntCounterVec,
    /// Seconds from a request's head to its answer, by operation.
    seconds: HistogramVec,
    /// Connections now.
    connections: IntGauge,
    /// Connections that we closed, by reason.
    closed: IntCounterVec,
    /// Looks at a credentials file that could not be used.
    credentials_refused: IntCounter,
    /// Lines of the audit log that were not written.
    audit_lost: IntCounter,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let answers = IntCounterVec::new(
            Opts::new("trivet_router_answers_total", "Answers by operation, table and outcome."),
            &["operation", "table", "outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("trivet_router_answer_seconds", "Seconds from a request's head to its answer.")
                .buckets(prometheus::exponential_buckets(0.000_5, 2.0, 16)?),
            &["operation"],
        )?;
        let connections = IntGauge::new("trivet_router_connections", "Connections of clients now.")?;
        let closed = IntCounterVec::new(
            Opts::new("trivet_router_connections_closed_total", "Connections that the router closed, by reason."),
            &["reason"],
        )?;
        let credentials_refused = IntCounter::new(
            "trivet_router_credentials_refused_total",
            "Looks at a credentials file that could not be used; the old credentials stay.",
        )?;
        let audit_lost = IntCounter::new(
            "trivet_router_audit_lines_lost_total",
            "Lines of the audit log that could not be written, or not fast enough.",
        )?;
        registry.register(Box::new(audit_lost.clone()))?;
        registry.register(Box::new(answers.clone()))?;
        registry.register(Box::new(credentials_refused.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(closed.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Metrics { answers, seconds, connections, closed, credentials_refused, audit_lost })
    }

    /// A connection was accepted; the gauge counts it until [`Metrics::left`].
    pub fn entered(&self) {
        self.connections.inc();
    }

    pub fn left(&self) {
        self.connections.dec();
    }

    pub fn closed(&self, reason: &'static str) {
        self.closed.with_label_values(&[reason]).inc();
    }

    pub fn credentials_refused(&self) {
        self.credentials_refused.inc();
    }

    pub fn audit_lost(&self) {
        self.audit_lost.inc();
    }

    pub fn answered(&self, operation: &'static str, table: &str, status: u16, took: Duration) {
        self.answers.with_label_values(&[operation, table, Outcome::of(status).label()]).inc();
        self.seconds.with_label_values(&[operation]).observe(took.as_secs_f64());
    }
}
