//! `trivet operator crds`: the resource definitions, printed or brought to the API server. Helm installs definitions once and never
//! upgrades them, so that this is their way.
#![expect(clippy::disallowed_types, reason = "it brings the definitions, and asks how old they are")]

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::Condition as _;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::Notify;

use crate::crd::{self, revision};
use crate::names::OPERATOR_MANAGER;
use crate::plan::Step;

/// How long the API server may take to serve a definition that it has accepted.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two questions how old the definitions are: somebody may bring older ones, and whoever has brought newer ones waits.
pub const ASKED_EVERY: Duration = Duration::from_mins(10);
const OLD_ASKED_EVERY: Duration = Duration::from_secs(15);

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

/// Definitions that are older than this operator: the API server drops what they do not know, without a word. Clones share what is known.
#[derive(Clone, Debug, Default)]
pub struct Age {
    older: Arc<Mutex<Vec<String>>>,
}

impl Age {
    /// Asks again and again; `changed` is notified of every change.
    pub async fn keep(&self, client: &Client, changed: &Notify) -> Infallible {
        loop {
            let is_old = match older(client).await {
                Ok(older) => self.replace(older, changed),
                Err(error) => {
                    tracing::debug!(%error, "how old the definitions are was not heard");
                    false
                }
            };
            tokio::time::sleep(if is_old { OLD_ASKED_EVERY } else { ASKED_EVERY }).await;
        }
    }

    fn replace(&self, next: Vec<String>, changed: &Notify) -> bool {
        let mut older = self.older.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = !next.is_empty();
        if *older != next {
            tracing::info!(older = next.join(", "), "the definitions' age has changed");
            *older = next;
            changed.notify_one();
        }
        is_old
    }

    pub fn blocked(&self) -> Option<Step> {
        let older = self.older.lock().unwrap_or_else(PoisonError::into_inner);
        let message = format!(
            "the definitions {} are older than this operator, and the API server drops what they do not know: bring newer ones by the Job of \
             `helm upgrade`, or by `trivet operator crds --apply`, as somebody who may",
            older.join(", ")
        );
        (!older.is_empty()).then_some(Step::Blocked { reason: "DefinitionsOld", message })
    }
}

/// By name: to list them takes more rights.
async fn older(client: &Client) -> Result<Vec<String>, kube::Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut older = Vec::new();
    for name in crd::all().iter().map(|definition| definition.name_any()) {
        if revision::of(&definitions.get(&name).await?) < revision::ours() {
            older.push(name);
        }
    }
    Ok(older)
}
