//! What a MemDS server counts.

use prometheus::{Encoder, IntCounter, IntGauge, Registry, TextEncoder};

use crate::map::Counts;

#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Look-ups answered.
    pub lookups: IntCounter,
    /// Frames of look-ups answered.
    pub lookup_frames: IntCounter,
    /// Announcements taken in.
    pub announcements: IntCounter,
    /// Descriptors that could not be decoded.
    pub malformed: IntCounter,
    /// Tables known.
    pub tables: IntGauge,
    /// Partitions known.
    pub partitions: IntGauge,
    /// Partitions of which nobody says who leads. Brought up to date when metrics are read.
    pub leaderless: IntGauge,
    /// Nodes known.
    pub nodes: IntGauge,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Metrics {
            registry: registry.clone(),
            lookups: counter("trivet_memds_lookups_total", "Look-ups answered.")?,
            lookup_frames: counter("trivet_memds_lookup_frames_total", "Frames of look-ups answered.")?,
            announcements: counter("trivet_memds_announcements_total", "Announcements taken in.")?,
            malformed: counter("trivet_memds_malformed_descriptors_total", "Descriptors that could not be decoded.")?,
            tables: gauge("trivet_memds_tables", "Tables known.")?,
            partitions: gauge("trivet_memds_partitions", "Partitions known.")?,
            leaderless: gauge("trivet_memds_leaderless_partitions", "Partitions without a known leader.")?,
            nodes: gauge("trivet_memds_nodes", "Nodes known.")?,
        })
    }

    /// In Prometheus' text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    pub(crate) fn holds(&self, counts: Counts) {
        let Counts { tables, partitions, nodes } = counts;
        for (gauge, count) in [(&self.tables, tables), (&self.partitions, partitions), (&self.nodes, nodes)] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
