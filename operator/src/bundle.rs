//! `trivet admin dump`: what another person needs to understand a Cluster from afar, in one file.
//!
//! Objects, events, logs and metrics; never a Secret, never an item. What cannot be read is named in `missing.txt`, and is no reason to stop:
//! a bundle is asked for when something is broken.
#![expect(clippy::disallowed_types, reason = "a command of its own")]

use std::fmt::Debug;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::crd::{Cluster, Partition, Table};

/// Most lines of one log that are kept, its last.
const LOG_LINES: i64 = 20_000;
/// The port of every Pod that serves `/metrics`.
const METRICS_PORT: &str = "metrics";

/// What is collected.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The namespace: every Cluster in it is collected.
    #[arg(long, env = "TRIVET_NAMESPACE", default_value = "trivet")]
    pub namespace: String,
    /// The file that is written, a tar archive packed by gzip.
    #[arg(long, default_value = "trivet-dump.tar.gz")]
    pub out: PathBuf,
}

/// Writes the file. `say` is told how far it is.
pub async fn run(arguments: &Arguments, say: impl Fn(&str)) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("find the API server")?;
    collect(client, arguments, say).await
}

/// As `run`, at this API server.
pub async fn collect(client: Client, arguments: &Arguments, say: impl Fn(&str)) -> anyhow::Result<()> {
    let path = &arguments.out;
    let file = std::fs::File::create_new(path).with_context(|| format!("create {}", path.display()))?;
    let packed = GzEncoder::new(file, Compression::default());
    let mut bundle = Bundle {
        client,
        namespace: &arguments.namespace,
        archive: tar::Builder::new(packed),
        missing: Vec::new(),
        files: 0,
    };
    say("objects");
    bundle.objects().await?;
    let pods = bundle.pods().await;
    for pod in &pods {
        say(&format!("Pod {}", pod.name_any()));
        bundle.logs(pod).await?;
        bundle.metrics(pod).await?;
    }
    let (files, missing) = bundle.end().with_context(|| format!("write {}", path.display()))?;
    say(&format!("{}: {files} files, {missing} more could not be read", path.display()));
    Ok(())
}

struct Bundle<'a, W: Write> {
    client: Client,
    namespace: &'a str,
    archive: tar::Builder<W>,
    /// What could not be read, and why.
    missing: Vec<String>,
    files: usize,
}

impl<W: Write> Bundle<'_, W> {
    async fn objects(&mut self) -> anyhow::Result<()> {
        self.namespaced::<Cluster>().await?;
        self.namespaced::<Table>().await?;
        self.namespaced::<Partition>().await?;
        self.namespaced::<Pod>().await?;
        self.namespaced::<PersistentVolumeClaim>().await?;
        self.namespaced::<Deployment>().await?;
        self.namespaced::<Service>().await?;
        self.namespaced::<PodDisruptionBudget>().await?;
        self.namespaced::<Event>().await?;
        self.list(Api::<Node>::all(self.client.clone())).await?;
        self.list(Api::<PersistentVolume>::all(self.client.clone())).await?;
        self.list(Api::<StorageClass>::all(self.client.clone())).await
    }

    async fn namespaced<K>(&mut self) -> anyhow::Result<()>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        self.list(Api::<K>::namespaced(self.client.clone(), self.namespace)).await
    }

    /// All of one kind, as a stream of YAML documents.
    async fn list<K>(&mut self, api: Api<K>) -> anyhow::Result<()>
    where
        K: Resource + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        let plural = K::plural(&K::DynamicType::default()).into_owned();
        let listed = match api.list(&ListParams::default()).await {
            Ok(listed) => listed,
            Err(error) => {
                self.missing.push(format!("{plural}: {error}"));
                return Ok(());
            }
        };
        let mut text = String::new();
        for mut object in listed {
            // Who wrote which field is as large as the object itself.
            object.meta_mut().managed_fields = None;
            text.push_str("---\n");
            text.push_str(&serde_saphyr::to_string(&object).with_context(|| format!("write {plural} as YAML"))?);
        }
        self.add(&format!("{plural}.yaml"), text.as_bytes())
    }

    async fn pods(&mut self) -> Vec<Pod> {
        let listed = Api::<Pod>::namespaced(self.client.clone(), self.namespace).list(&ListParams::default()).await;
        // That they cannot be listed is said already.
        listed.map(|listed| listed.items).unwrap_or_default()
    }

    async fn logs(&mut self, pod: &Pod) -> anyhow::Result<()> {
        let (api, name) = (Api::<Pod>::namespaced(self.client.clone(), self.namespace), pod.name_any());
        let restarted = |container: &str| {
            let statuses = pod.status.iter().filter_map(|status| status.container_statuses.as_ref()).flatten();
            statuses.into_iter().any(|status| status.name == container && status.restart_count > 0)
        };
        for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
            let container = container.name.clone();
            for previous in [false, true].into_iter().filter(|previous| !previous || restarted(&container)) {
                let parameters = LogParams {
                    container: Some(container.clone()),
                    previous,
                    timestamps: true,
                    tail_lines: Some(LOG_LINES),
                    ..LogParams::default()
                };
                let file = format!("logs/{name}/{container}{}.log", if previous { ".previous" } else { "" });
                match api.logs(&name, &parameters).await {
                    Ok(text) => self.add(&file, text.as_bytes())?,
                    Err(error) => self.missing.push(format!("{file}: {error}")),
                }
            }
        }
        Ok(())
    }

    /// Through the API server: a person has no other way to a Pod.
    async fn metrics(&mut self, pod: &Pod) -> anyhow::Result<()> {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        let Some(port) = ports.find(|port| port.name.as_deref() == Some(METRICS_PORT)) else { return Ok(()) };
        let (name, port) = (pod.name_any(), port.container_port);
        let file = format!("metrics/{name}.txt");
        let path = format!("/api/v1/namespaces/{}/pods/{name}:{port}/proxy/metrics", self.namespace);
        let request = http::Request::get(path).body(Vec::new()).context("ask for metrics")?;
        match self.client.request_text(request).await {
            Ok(text) => self.add(&file, text.as_bytes()),
            Err(error) => {
                self.missing.push(format!("{file}: {error}"));
                Ok(())
            }
        }
    }

    fn add(&mut self, file: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let path = format!("trivet-dump/{file}");
        self.archive.append_data(&mut header, path, bytes).with_context(|| format!("add {file}"))?;
        self.files += 1;
        Ok(())
    }
}

impl<W: Write> Bundle<'_, GzEncoder<W>> {
    /// How many files it has, and how many more could not be read.
    fn end(mut self) -> anyhow::Result<(usize, usize)> {
        let missing = self.missing.join("\n");
        self.add("missing.txt", missing.as_bytes())?;
        self.archive.into_inner()?.finish()?.flush()?;
        Ok((self.files, self.missing.len()))
    }
}
