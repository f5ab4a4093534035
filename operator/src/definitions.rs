//! `trivet operator crds`: the resource definitions, printed or brought to the API server. Helm installs definitions once and never
//! upgrades them, so that this is their way.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::Condition as _;
use kube::{Api, Client, ResourceExt as _};

use crate::crd;
use crate::names::OPERATOR_MANAGER;

/// How long the API server may take to serve a definition that it has accepted.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(200);

/// The resource definitions that this version reads and writes.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Writes a file for each into this folder.
    #[arg(long, conflicts_with = "apply", required_unless_present = "apply")]
    pub out: Option<PathBuf>,
    /// Applies them at the API server, and waits until it serves them.
    #[arg(long)]
    pub apply: bool,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.out {
        for (name, text) in crd::files() {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
    }
    if arguments.apply {
        let client = Client::try_default().await.context("find the API server")?;
        apply(client).await?;
    }
    Ok(())
}

/// Asked again and again: to watch them all takes more rights than this needs.
async fn served(definitions: &Api<CustomResourceDefinition>, name: &str) -> anyhow::Result<()> {
    loop {
        let definition = definitions.get(name).await.with_context(|| format!("read {name}"))?;
        if is_crd_established().matches_object(Some(&definition)) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Done when the API server serves all of them.
pub async fn apply(client: Client) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client);
    let parameters = PatchParams::apply(OPERATOR_MANAGER).force();
    for definition in crd::all() {
        let name = definition.name_any();
        let applied = definitions.patch(&name, &parameters, &Patch::Apply(&definition)).await;
        applied.with_context(|| format!("apply {name}"))?;
        let served = tokio::time::timeout(PATIENCE, served(&definitions, &name)).await;
        served.with_context(|| format!("wait until {name} is served"))??;
        tracing::info!(name, "applied");
    }
    Ok(())
}
