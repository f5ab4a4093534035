//! Secrets and cert-manager's Certificates at the API server, one by one and by name.
#![expect(clippy::disallowed_types, reason = "it reads and writes Secrets")]

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::managed;
use super::secret::Files;
use crate::apply::sentence;
use crate::build::parsed;
use crate::names::OPERATOR_MANAGER;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{what}: {}", sentence(.source))]
    Kubernetes {
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("{0} was written by somebody else")]
    Conflict(String),
    #[error("spec.paused is set")]
    Paused,
    #[error("the API server knows no Certificate of cert-manager.io/v1: install cert-manager")]
    NoCertManager,
}

/// A Secret as it was read, with the version that a later write names.
pub struct Found {
    pub version: String,
    pub data: BTreeMap<String, ByteString>,
}

#[derive(Clone)]
pub struct Store {
    secrets: Api<Secret>,
    certificates: Api<DynamicObject>,
}

impl Store {
    pub fn new(client: Client, namespace: &str) -> Store {
        let certificates = Api::namespaced_with(client.clone(), namespace, &managed::resource());
        Store { secrets: Api::namespaced(client, namespace), certificates }
    }

    pub async fn get(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let found = self.secrets.get_opt(name).await.map_err(|error| failed(format!("read Secret {name}"), error))?;
        Ok(found.map(found_in))
    }

    /// Makes it where no version was read, else changes that version and no other.
    pub async fn write(
        &self,
        name: &str,
        mut metadata: Value,
        version: Option<&str>,
        files: &Files,
    ) -> Result<Found, StoreError> {
        let written = match version {
            None => {
                let object: Secret = parsed(json!({ "metadata": metadata, "type": "Opaque", "data": files.whole() }));
                let parameters =
                    PostParams { field_manager: Some(OPERATOR_MANAGER.to_owned()), ..PostParams::default() };
                self.secrets.create(&parameters, &object).await
            }
            Some(version) => {
                metadata["resourceVersion"] = json!(version);
                let patch = Patch::Merge(json!({ "metadata": metadata, "data": files.merged() }));
                let parameters =
                    PatchParams { field_manager: Some(OPERATOR_MANAGER.to_owned()), ..PatchParams::default() };
                self.secrets.patch(name, &parameters, &patch).await
            }
        };
        written.map(found_in).map_err(|error| match error {
            kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() || status.is_not_found() => {
                StoreError::Conflict(format!("Secret {name}"))
            }
            error => failed(format!("write Secret {name}"), error),
        })
    }

    pub async fn apply_certificate(&self, wished: &DynamicObject) -> Result<(), StoreError> {
        let (name, parameters) = (wished.name_any(), PatchParams::apply(OPERATOR_MANAGER).force());
        match self.certificates.patch(&name, &parameters, &Patch::Apply(wished)).await {
            Ok(_) => Ok(()),
            // Of a kind that it does not know the API server says no more than the number.
            Err(kube::Error::Api(status)) if status.code == 404 => Err(StoreError::NoCertManager),
            Err(error) => Err(failed(format!("write Certificate {name}"), error)),
        }
    }
}

/// What an object was made from.
pub fn content(object: &DynamicObject) -> u64 {
    xxh3_64(json!(object).to_string().as_bytes())
}

fn found_in(secret: Secret) -> Found {
    Found { version: secret.resource_version().unwrap_or_default(), data: secret.data.unwrap_or_default() }
}

fn failed(what: String, source: kube::Error) -> StoreError {
    StoreError::Kubernetes { what, source: Box::new(source) }
}
