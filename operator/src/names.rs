//! How things are called in Kubernetes: pure functions of what they belong to, so that two who make the same thing meet at
//! one object.

use model::{NodeId, PartitionId};
use xxhash_rust::xxh3::xxh3_64;

/// Who writes what people wish on behalf of SDKs: CreateTable, UpdateTable, DeleteTable.
pub const API_MANAGER: &str = "trivet-api";
/// Who writes what a table's groups are to hold: of a Table's status its id, its birth and its descriptor.
pub const DRIVER_MANAGER: &str = "trivet-driver";
/// Who writes everything else.
pub const OPERATOR_MANAGER: &str = "trivet-operator";

pub const CLUSTER_LABEL: &str = "trivet.dev/cluster";
pub const ZONE_LABEL: &str = "trivet.dev/zone";
pub const NODE_LABEL: &str = "trivet.dev/node";
pub const TABLE_LABEL: &str = "trivet.dev/table-id";
pub const ZONE_TOPOLOGY: &str = "topology.kubernetes.io/zone";
/// On a Table that is Diverged, by a person: `nodes` or `resource`, whichever is right.
pub const CONFIRM: &str = "trivet.dev/confirm";
/// On a Kubernetes node that is cordoned, with the value `true`: its nodes of ours are to go elsewhere.
pub const DRAIN: &str = "trivet.dev/drain";

/// Longest name of an object.
const LONGEST_NAME: usize = 253;
/// What is kept of a table's name before the digits of a hash or an id.
const SLUG: usize = 40;

/// The Table object of a table: its own name where Kubernetes allows it, else a slug of it and 8 digits of its hash.
pub fn table(table_name: &str) -> String {
    if is_allowed(table_name) {
        return table_name.to_owned();
    }
    format!("{}-{:08x}", slug(table_name), xxh3_64(table_name.as_bytes()) >> 32)
}

pub fn partition(table_name: &str, id: PartitionId) -> String {
    format!("{}-{id}", slug(table_name))
}

/// The Pod and the claim of a node.
pub fn node(cluster: &str, id: NodeId) -> String {
    format!("{cluster}-node-{id}")
}

/// DNS subdomains of RFC 1123.
fn is_allowed(name: &str) -> bool {
    let label = |label: &str| {
        let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        label.starts_with(ends) && label.ends_with(ends) && label.chars().all(|c| ends(c) || c == '-')
    };
    name.len() <= LONGEST_NAME && name.split('.').all(label)
}

fn slug(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let slug: String = name.chars().map(kept).take(SLUG).collect();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "table".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_its_name_where_kubernetes_allows_it() {
        assert_eq!(table("music"), "music");
        assert_eq!(table("music.2026-11"), "music.2026-11");
    }

    #[test]
    fn other_names_become_a_slug_and_a_hash() {
        let names = ["Music", "music_1", "music-", "_._", "-a.b", "a..b", &"x".repeat(254)];
        let mut found: Vec<String> = names.iter().map(|name| table(name)).collect();
        for (name, object) in names.iter().zip(&found) {
            assert!(is_allowed(object), "{name} became {object}");
            assert_ne!(name, object);
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), names.len());
        assert_ne!(table("Music"), table("MUSIC"));
    }

    #[test]
    fn a_partition_is_called_by_its_id() {
        assert_eq!(partition("Music", PartitionId(0x1f)), "music-000000000000001f");
    }
}
