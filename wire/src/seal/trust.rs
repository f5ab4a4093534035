//! Who is believed: a chain to one of the authorities, and an identity of one's own cluster. Host names are not looked at.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::identity::Identity;
use super::material::{Chain, Nobody, SealError, identity_of};

/// Which end of a connection the counterpart is: certificates may be for one of both alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Why a certificate is refused that an authority has signed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stranger {
    #[error(transparent)]
    Nobody(#[from] Nobody),
    #[error("{stranger} is of another cluster than {own}")]
    OtherCluster { stranger: Box<Identity>, own: Box<Identity> },
}

pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
    own: Identity,
}

/// The one library of ciphers that this process uses.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Trust {
    pub fn new(roots: RootCertStore, own: Identity) -> Result<Trust, SealError> {
        let (roots, provider) = (Arc::new(roots), provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
        let clients = clients.map_err(|error| SealError::Authority(error.to_string()))?;
        Ok(Trust { roots, clients, provider, own })
    }

    /// Whether the chain is to be believed now.
    pub fn judge(&self, side: Side, chain: &Chain) -> Result<Identity, Error> {
        self.judge_parts(side, chain.leaf(), chain.between(), UnixTime::now())
    }

    fn judge_parts(
        &self,
        side: Side,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Identity, Error> {
        match side {
            Side::Client => {
                self.clients.verify_client_cert(leaf, between, now)?;
            }
            Side::Server => {
                let algorithms = self.provider.signature_verification_algorithms.all;
                let parsed = ParsedCertificate::try_from(leaf)?;
                verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, between, now, algorithms)?;
            }
        }
        self.kin(leaf)
            .map_err(|stranger| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(stranger)))))
    }

    fn kin(&self, leaf: &CertificateDer<'_>) -> Result<Identity, Stranger> {
        let found = identity_of(leaf)?;
        if !found.is_kin_of(&self.own) {
            return Err(Stranger::OtherCluster { stranger: Box::new(found), own: Box::new(self.own.clone()) });
        }
        Ok(found)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("own", &self.own).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge_parts(Side::Server, end_entity, intermediates, now).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Trust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Clients have one certificate each: nothing to choose, and no need to tell strangers.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge_parts(Side::Client, end_entity, intermediates, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
