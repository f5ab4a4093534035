//! What the operator writes into Pods is what the processes understand: every argument is parsed by the real configuration, and what the
//! resource says arrives.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use clap::Parser;
use operator::build::{fleet, node};
use operator::crd::Cluster;
use serde_json::json;
use trivet::process::{MemDsArguments, NodeArguments, RouterArguments};

#[derive(Parser)]
struct Process<Arguments: clap::Args> {
    #[command(flatten)]
    arguments: Arguments,
}

/// As Kubernetes starts it: the first word is the subcommand, whose name clap takes for the program's.
fn parsed<Arguments: clap::Args>(subcommand: &str, words: Option<Vec<String>>) -> Arguments {
    let words = words.expect("the container has arguments");
    assert_eq!(words[0], subcommand);
    let words = words.into_iter().map(|word| word.replace("$(POD_IP)", "10.0.0.1"));
    Process::try_parse_from(words).map(|process| process.arguments).unwrap_or_else(|error| panic!("{error}"))
}

fn cluster() -> Cluster {
    let limited = |memory: &str| json!({ "limits": { "memory": memory } });
    let spec = json!({
        "image": "trivet:1",
        "zones": [{ "name": "a", "nodes": 2 }, { "name": "b" }, { "name": "c" }],
        "storage": { "size": "4Gi" },
        "node": { "resources": limited("8Gi"), "replaceAfterSeconds": 77 },
        "routers": { "perZone": 2, "resources": limited("512Mi") },
        "memds": { "resources": limited("1Gi") },
        "credentialsSecret": { "name": "keys" },
        "region": "eu-central-1",
    });
    let metadata = json!({ "name": "trv", "namespace": "shop", "uid": "u" });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).unwrap()
}

#[test]
fn a_node_understands_its_pod() {
    let pod = node::pod(&cluster(), "b", model::NodeId(17));
    let container = pod.spec.unwrap().containers.remove(0);
    let config = parsed::<NodeArguments>("node", container.args).config;
    assert_eq!(config.zone, "b");
    assert_eq!(config.cache.0, 2 << 30);
    assert_eq!(config.reserve.0, (4 << 30) / 10);
    assert_eq!(config.replace_after.duration(), std::time::Duration::from_secs(77));
    assert_eq!(config.memds, ["trv-memds-b:7300", "trv-memds-a:7300", "trv-memds-c:7300"]);
    assert_eq!(config.tls.unwrap().to_str(), Some("/etc/trivet/tls"));
}

#[test]
fn a_router_understands_its_deployment() {
    let deployment = fleet::routers(&cluster(), "c");
    let spec = deployment.spec.unwrap();
    assert_eq!(spec.replicas, Some(2));
    let container = spec.template.spec.unwrap().containers.remove(0);
    let RouterArguments { config, routing, .. } = parsed("router", container.args);
    assert_eq!(config.region, "eu-central-1");
    assert_eq!(config.audit.unwrap().to_str(), Some("-"));
    assert_eq!(config.max_body_memory_bytes, 64 << 20);
    assert_eq!(config.max_answer_memory_bytes, 128 << 20);
    assert_eq!(config.credentials_file.unwrap().to_str(), Some("/etc/trivet/credentials/credentials"));
    assert_eq!(routing.zone, "c");
}

#[test]
fn a_limit_that_is_no_whole_number_leaves_a_router_room_to_work() {
    let mut cluster = cluster();
    let odd = json!({ "limits": { "memory": "1e9" } });
    cluster.spec.routers.resources = Some(serde_json::from_value(odd).unwrap());
    let container = fleet::routers(&cluster, "a").spec.unwrap().template.spec.unwrap().containers.remove(0);
    let config = parsed::<RouterArguments>("router", container.args).config;
    assert_eq!(config.max_body_memory_bytes, 32 << 20);
    assert_eq!(config.max_answer_memory_bytes, 64 << 20);
}

#[test]
fn a_memds_server_understands_its_deployment() {
    let deployment = fleet::mem_ds(&cluster(), "a");
    let container = deployment.spec.unwrap().template.spec.unwrap().containers.remove(0);
    let MemDsArguments { config, .. } = parsed("memds", container.args);
    assert_eq!(config.listen.to_string(), "0.0.0.0:7300");
    assert_eq!(config.tls.unwrap().to_str(), Some("/etc/trivet/tls"));
}
