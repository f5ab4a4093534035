//! What the operator counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::calls::Described;

#[derive(Clone)]
pub struct Metrics {
    nodes_ready: IntGaugeVec,
    partitions: IntGaugeVec,
    degraded: IntGaugeVec,
    leaderless: IntGaugeVec,
    tables_hindered: IntGaugeVec,
    looks: IntCounter,
    failures: IntCounter,
    acts: IntGauge,
    requests: IntCounterVec,
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
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let acts = IntGauge::new("operator_acts", "Whether this process is the one that acts")?;
        registry.register(Box::new(acts.clone()))?;
        let requests = Opts::new("trivet_operator_api_requests_total", "Calls of the API server");
        let requests = IntCounterVec::new(requests, &["verb", "resource"])?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Metrics {
            acts,
            requests,
            nodes_ready: gauge("operator_nodes_ready", "Nodes that serve")?,
            partitions: gauge("operator_partitions", "Partitions that nodes have")?,
            degraded: gauge(
                "operator_partitions_degraded",
                "Partitions that have no leader, or fewer than three voters with items",
            )?,
            leaderless: gauge("operator_partitions_leaderless", "Partitions without a leader that serves")?,
            tables_hindered: gauge(
                "operator_tables_blocked",
                "Tables with which nothing goes on before somebody acts",
            )?,
            looks: counter("operator_looks_total", "How often a cluster was looked at")?,
            failures: counter("operator_failures_total", "Steps that could not be done; each is planned again")?,
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

    pub fn acts(&self, does: bool) {
        self.acts.set(i64::from(does));
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
    }
}
