//! What the operator counts.

use std::collections::BTreeMap;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use wire::error::outcome;

use crate::calls::Described;

use crate::seal::bearer::{Bearer, ROLES};

#[derive(Clone)]
pub struct Metrics {
    nodes_ready: IntGaugeVec,
    partitions: IntGaugeVec,
    degraded: IntGaugeVec,
    leaderless: IntGaugeVec,
    tables_hindered: IntGaugeVec,
    certificate_days_left: IntGaugeVec,
    looks: IntCounter,
    failures: IntCounter,
    acts: IntGauge,
    requests: IntCounterVec,
    answers: IntCounterVec,
}

/// What one look at a cluster has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub nodes_ready: usize,
    pub partitions: usize,
    pub degraded: usize,
    pub leaderless: usize,
    pub tables_hindered: usize,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &["cluster"])?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let days = Opts::new(
            "trivet_certificate_days_left",
            "Days until the CA, or the first certificate of a role, ends; renewal begins with 60 left, and under 30 somebody must look",
        );
        let certificate_days_left = IntGaugeVec::new(days, &["cluster", "certificate"])?;
        registry.register(Box::new(certificate_days_left.clone()))?;
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let acts = IntGauge::new("trivet_operator_acts", "Whether this process is the one that acts")?;
        registry.register(Box::new(acts.clone()))?;
        let requests = Opts::new("trivet_operator_api_requests_total", "Calls of the API server");
        let requests = IntCounterVec::new(requests, &["verb", "resource"])?;
        registry.register(Box::new(requests.clone()))?;
        let answers = Opts::new(
            "trivet_control_answers_total",
            "Answers of the control service by operation and outcome: ok, or gRPC's word",
        );
        let answers = IntCounterVec::new(answers, &["operation", "outcome"])?;
        registry.register(Box::new(answers.clone()))?;
        Ok(Metrics {
            acts,
            requests,
            answers,
            nodes_ready: gauge("trivet_operator_nodes_ready", "Nodes that serve")?,
            partitions: gauge("trivet_operator_partitions", "Partitions that nodes have")?,
            degraded: gauge(
                "trivet_operator_partitions_degraded",
                "Partitions that have no leader, or fewer than three voters with items",
            )?,
            leaderless: gauge("trivet_operator_partitions_leaderless", "Partitions without a leader that serves")?,
            tables_hindered: gauge(
                "trivet_operator_tables_blocked",
                "Tables with which nothing goes on before somebody acts",
            )?,
            certificate_days_left,
            looks: counter("trivet_operator_looks_total", "How often a cluster was looked at")?,
            failures: counter("trivet_operator_failures_total", "Steps that could not be done; each is planned again")?,
        })
    }

    pub fn looked(&self, cluster: &str, counts: Counts) {
        let Counts { nodes_ready, partitions, degraded, leaderless, tables_hindered } = counts;
        let set = |gauge: &IntGaugeVec, count: usize| {
            gauge.with_label_values(&[cluster]).set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        set(&self.nodes_ready, nodes_ready);
        set(&self.partitions, partitions);
        set(&self.degraded, degraded);
        set(&self.leaderless, leaderless);
        set(&self.tables_hindered, tables_hindered);
        self.looks.inc();
    }

    pub fn called(&self, call: &Described) {
        self.requests.with_label_values(&[call.verb, call.resource.as_str()]).inc();
    }

    pub fn answered<T>(&self, operation: &str, answer: &Result<T, tonic::Status>) {
        self.answers.with_label_values(&[operation, &outcome(answer)]).inc();
    }

    pub fn acts(&self, does: bool) {
        self.acts.set(i64::from(does));
    }

    /// By what the certificates are of: the CA, or a role.
    pub fn certified(&self, cluster: &str, days_left: &BTreeMap<&'static str, i64>) {
        for (certificate, days) in days_left {
            self.certificate_days_left.with_label_values(&[cluster, certificate]).set(*days);
        }
    }

    pub fn failed(&self) {
        self.failures.inc();
    }

    /// Nobody looks after it any more.
    pub fn forget(&self, cluster: &str) {
        for gauge in [&self.nodes_ready, &self.partitions, &self.degraded, &self.leaderless, &self.tables_hindered] {
            // Absent where it was never looked at.
            drop(gauge.remove_label_values(&[cluster]));
        }
        for certificate in ROLES.map(Bearer::role).into_iter().chain(["ca", "node"]) {
            drop(self.certificate_days_left.remove_label_values(&[cluster, certificate]));
        }
    }
}
