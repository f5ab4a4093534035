//! Asks the processes of a Cluster what they trust: `GET /trust` at the port of their metrics.
//!
//! A Pod counts from the moment on that a Kubernetes node has it: from then on its files may be those of before. One that no Kubernetes
//! node has taken reads them when it starts, and has nothing to say yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::seal;

use super::authority::Report;
use crate::build::METRICS_PORT;

/// Whose Pods have certificates.
const SEALED: [&str; 3] = ["node", "router", "memds"];
const COMPONENT: &str = "app.kubernetes.io/component";
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are asked at once.
const AT_ONCE: usize = 32;
/// A head and a hash.
const ANSWER_BYTES: u64 = 4 << 10;

/// A process that is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// As its Pod is called.
    pub name: String,
    /// Where its metrics are; none while it has no address.
    pub address: Option<String>,
}

/// The processes of a Cluster, in the order of their names.
pub fn processes(pods: &[Arc<Pod>]) -> Vec<Process> {
    let mut found: Vec<Process> = pods.iter().filter(|pod| may_run(pod)).map(|pod| process(pod)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn may_run(pod: &Pod) -> bool {
    let labels: &BTreeMap<String, String> = pod.labels();
    let sealed = labels.get(COMPONENT).is_some_and(|component| SEALED.contains(&component.as_str()));
    let taken = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    sealed && taken && !matches!(phase, "Failed" | "Succeeded")
}

fn process(pod: &Pod) -> Process {
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
    Process { name: format!("Pod {}", pod.name_any()), address: ip.map(|ip| format!("{ip}:{METRICS_PORT}")) }
}

/// The hash that a process reports of a bundle: SHA-256 of its bytes, in hexadecimal digits.
pub fn hash(bundle: &str) -> String {
    seal::bundle(bundle.as_bytes())
}

/// What each of them says.
pub async fn ask(processes: &[Process]) -> Vec<Report> {
    let mut reports = Vec::with_capacity(processes.len());
    for some in processes.chunks(AT_ONCE) {
        reports.extend(futures::future::join_all(some.iter().map(ask_one)).await);
    }
    reports
}

async fn ask_one(process: &Process) -> Report {
    let trusts = match &process.address {
        None => Err("it has no address yet".to_owned()),
        Some(address) => match tokio::time::timeout(PATIENCE, get(address)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()).and_then(|answer| trusted(&answer)),
            Err(_late) => Err("it does not answer".to_owned()),
        },
    };
    Report { process: process.name.clone(), trusts }
}

async fn get(address: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /trust HTTP/1.1\r\nhost: trivet\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The hash in the answer's body.
fn trusted(answer: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.trim().to_owned()),
        Some("404") => Err("it has no certificates".to_owned()),
        _ => Err("it answers something else".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    fn pod(name: &str, component: &str, node: Option<&str>, phase: &str) -> Arc<Pod> {
        let pod = json!({
            "metadata": { "name": name, "labels": { "app.kubernetes.io/component": component } },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "phase": phase, "podIP": node.map(|_| "10.0.0.1") },
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn whoever_may_have_read_old_files_is_asked() {
        let pods = [
            pod("router", "router", Some("n1"), "Running"),
            pod("late", "node", Some("n1"), "Pending"),
            pod("homeless", "node", None, "Pending"),
            pod("evicted", "memds", Some("n1"), "Failed"),
            pod("person", "admin", Some("n1"), "Running"),
        ];
        let address = Some("10.0.0.1:9600".to_owned());
        let named = |name: &str| Process { name: format!("Pod {name}"), address: address.clone() };
        assert_eq!(processes(&pods), [named("late"), named("router")]);
    }

    #[test]
    fn a_hash_is_that_of_the_bytes() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[tokio::test]
    async fn what_a_process_says_is_told_and_why_it_says_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            for answer in ["200 OK\r\n\r\nabc\n", "404 Not Found\r\n\r\n", "500 Oh\r\n\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /trust HTTP/1.1\r\n"));
                stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.unwrap();
            }
        });
        let process = Process { name: "Pod a".to_owned(), address: Some(address) };
        let mut said = Vec::new();
        for _ in 0..3 {
            said.extend(ask(std::slice::from_ref(&process)).await.into_iter().map(|report| report.trusts));
        }
        let refused = |why: &str| Err(why.to_owned());
        assert_eq!(
            said,
            [Ok("abc".to_owned()), refused("it has no certificates"), refused("it answers something else")]
        );
        served.await.unwrap();
        assert!(ask_one(&process).await.trusts.is_err());
        assert_eq!(ask_one(&Process { address: None, ..process }).await.trusts, refused("it has no address yet"));
    }
}
