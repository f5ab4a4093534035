//! What a certificate and its authorities say, read once: a chain and its key, whom it speaks for, until when, who is trusted.

use std::sync::Arc;

use ring::digest;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::identity::{Identity, NoIdentity};
use super::trust::{Side, Trust};

/// The three files of a seal, as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// `ca.crt`: certificates of one or more authorities, all of them trusted.
    pub ca: Vec<u8>,
    /// `tls.crt`: this process's certificate, then those between it and an authority, if any.
    pub certificate: Vec<u8>,
    /// `tls.key`: the key of the first of them.
    pub key: Vec<u8>,
}

/// A chain of certificates, the one that speaks for somebody first. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain(Vec<CertificateDer<'static>>);

/// Everything that was read.
pub(super) struct Material {
    pub chain: Chain,
    pub key: PrivateKeyDer<'static>,
    pub identity: Identity,
    /// Seconds since 1970.
    pub not_after: i64,
    pub trust: Arc<Trust>,
    /// Lowercase hexadecimal SHA-256 of `ca.crt`.
    pub bundle: String,
}

/// Why a seal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("failed to read {0}")]
    File(String, #[source] std::io::Error),
    #[error("{0} holds no {1} in PEM")]
    Nothing(&'static str, &'static str),
    #[error("{0} is malformed: {1}")]
    Malformed(&'static str, String),
    #[error("tls.crt speaks for nobody")]
    Nobody(#[from] Nobody),
    #[error("a certificate of ca.crt cannot be trusted: {0}")]
    Authority(String),
    #[error("tls.crt would be refused by everyone who trusts ca.crt: {0}")]
    Untrusted(String),
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(String),
    #[error("the certificate speaks for {now}, and this process is {was}")]
    OtherIdentity { was: Box<Identity>, now: Box<Identity> },
    #[error("the certificate speaks for {0}, which is no {1}")]
    OtherRole(Identity, &'static str),
    #[error("failed to watch the folder")]
    Watch(#[source] std::io::Error),
}

/// Why a certificate speaks for nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nobody {
    #[error("a certificate is malformed: {0}")]
    Malformed(String),
    #[error("a certificate names {0} URIs, and an identity is one")]
    Uris(usize),
    #[error(transparent)]
    NoIdentity(#[from] NoIdentity),
}

impl Pem {
    pub(super) fn read(&self) -> Result<Material, SealError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates("ca.crt", &self.ca)? {
            roots.add(authority).map_err(|error| SealError::Authority(error.to_string()))?;
        }
        let chain = Chain(certificates("tls.crt", &self.certificate)?);
        let key = match PrivateKeyDer::from_pem_slice(&self.key) {
            Ok(key) => key,
            Err(rustls::pki_types::pem::Error::NoItemsFound) => {
                return Err(SealError::Nothing("tls.key", "private key"));
            }
            Err(error) => return Err(SealError::Malformed("tls.key", error.to_string())),
        };
        let leaf = parsed(chain.leaf())?;
        let identity = identity(&leaf)?;
        let not_after = leaf.validity().not_after.timestamp();
        let trust = Arc::new(Trust::new(roots, identity.clone())?);
        for side in [Side::Client, Side::Server] {
            trust.judge(side, &chain).map_err(|error| SealError::Untrusted(super::words::plainly(&error)))?;
        }
        Ok(Material { chain, key, identity, not_after, trust, bundle: bundle(&self.ca) })
    }
}

impl Chain {
    pub fn of(certificates: &[CertificateDer<'_>]) -> Option<Chain> {
        let certificates: Vec<_> = certificates.iter().map(|one| one.clone().into_owned()).collect();
        (!certificates.is_empty()).then_some(Chain(certificates))
    }

    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.0[0]
    }

    /// Those between the leaf and an authority.
    pub fn between(&self) -> &[CertificateDer<'static>] {
        &self.0[1..]
    }

    pub fn to_vec(&self) -> Vec<CertificateDer<'static>> {
        self.0.clone()
    }
}

/// What names a bundle of authorities: lowercase hexadecimal SHA-256 of `ca.crt`.
pub fn bundle(ca: &[u8]) -> String {
    digest::digest(&digest::SHA256, ca).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whom a certificate speaks for, whoever signed it.
pub(super) fn identity_of(certificate: &CertificateDer<'_>) -> Result<Identity, Nobody> {
    identity(&parsed(certificate)?)
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Nobody> {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => Ok(parsed),
        Err(error) => Err(Nobody::Malformed(error.to_string())),
    }
}

fn identity(certificate: &X509Certificate<'_>) -> Result<Identity, Nobody> {
    let names = match certificate.subject_alternative_name() {
        Ok(names) => names,
        Err(error) => return Err(Nobody::Malformed(error.to_string())),
    };
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let uris: Vec<&str> = names
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris.as_slice() {
        [uri] => Ok(uri.parse()?),
        others => Err(Nobody::Uris(others.len())),
    }
}

fn certificates(file: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SealError> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(none) if none.is_empty() => Err(SealError::Nothing(file, "certificate")),
        Ok(found) => Ok(found),
        Err(error) => Err(SealError::Malformed(file, error.to_string())),
    }
}
