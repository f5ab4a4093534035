//! Makes CAs and certificates, and reads them. Its only source beside its arguments is the machine's randomness, for keys.
//!
//! Keys are ECDSA P-256: every TLS library knows them, a signature is cheap, and a certificate stays small.

use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::time::ASN1Time;

const DAY_S: i64 = 24 * 60 * 60;
/// Machines' clocks differ: a certificate is good from a while before it was made.
const BACKDATED_S: i64 = 60 * 60;
/// A CA is replaced at half of this. Were nobody there to do it, leaves would end first by far, so that the CA's end is never what a
/// data plane without an operator runs into.
pub const AUTHORITY_S: i64 = 10 * 365 * DAY_S;
/// Leaves last so long, since the data plane must outlive an operator that is dead for weeks.
pub const LEAF_S: i64 = 90 * DAY_S;
const SERIAL_BYTES: usize = 16;

/// A certificate with its key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// Without the key, which belongs in no log.
impl std::fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub begins: Timestamp,
    pub ends: Timestamp,
    /// Its URI; none where it has not exactly one.
    pub identity: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("{0} is a time that no certificate can have")]
    Time(Timestamp),
    #[error("the machine has no randomness: {0}")]
    Randomness(getrandom::Error),
    #[error("no certificate that can be read: {0}")]
    Unreadable(String),
}

/// A new CA, which signs leaves only.
pub fn authority(now: Timestamp) -> Result<Pair, MintError> {
    let serial = serial()?;
    let mut params = params(now, AUTHORITY_S)?;
    // A name of its own: who checks a leaf finds its CA by name.
    let number: String = serial[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::CommonName, format!("trivet CA {number}"));
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() })
}

/// A new certificate for who bears the identity, as server and as client.
pub fn leaf(authority: &Pair, identity: &str, now: Timestamp) -> Result<Pair, MintError> {
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, KeyPair::from_pem(&authority.key)?)?;
    let mut params = params(now, LEAF_S)?;
    let role = identity.rsplit('/').next().unwrap_or(identity);
    params.distinguished_name.push(DnType::CommonName, role);
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

fn params(now: Timestamp, lasts_s: i64) -> Result<CertificateParams, MintError> {
    let at = |offset_s: i64| {
        let time = ASN1Time::from_timestamp(now.as_second().saturating_add(offset_s));
        time.map(|time| time.to_datetime()).map_err(|_outside| MintError::Time(now))
    };
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (at(-BACKDATED_S)?, at(lasts_s)?);
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// Positive, and not zero.
fn serial() -> Result<[u8; SERIAL_BYTES], MintError> {
    let mut serial = [0; SERIAL_BYTES];
    getrandom::fill(&mut serial).map_err(MintError::Randomness)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}

/// The first certificate of a PEM text.
pub fn read(pem: &str) -> Result<Said, MintError> {
    let blocks = blocks(pem)?;
    let first = blocks.first().ok_or_else(|| MintError::Unreadable("it is empty".to_owned()))?;
    let certificate = parsed(first)?;
    let time = |time: ASN1Time| {
        Timestamp::from_second(time.timestamp()).map_err(|error| MintError::Unreadable(error.to_string()))
    };
    let validity = certificate.validity();
    Ok(Said { begins: time(validity.not_before)?, ends: time(validity.not_after)?, identity: identity(&certificate) })
}

fn identity(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    });
    let first = uris.next();
    if uris.next().is_some() { None } else { first }
}

/// When the first of the certificates of a PEM text ends.
pub fn earliest_end(pem: &str) -> Result<Timestamp, MintError> {
    let mut ends = Vec::new();
    for block in blocks(pem)? {
        ends.push(parsed(&block)?.validity().not_after.timestamp());
    }
    let first = ends.into_iter().min().ok_or_else(|| MintError::Unreadable("it is empty".to_owned()))?;
    Timestamp::from_second(first).map_err(|error| MintError::Unreadable(error.to_string()))
}

/// Whether one of the authorities (a PEM text with one or more) has signed the certificate, which the key belongs to.
pub fn is_sound(leaf: &Pair, authorities: &str) -> bool {
    let (Ok(leaves), Ok(authorities)) = (blocks(&leaf.certificate), blocks(authorities)) else { return false };
    let (Some(Ok(certificate)), Ok(key)) = (leaves.first().map(parsed), KeyPair::from_pem(&leaf.key)) else {
        return false;
    };
    let signed = |authority: &Pem| {
        parsed(authority).is_ok_and(|authority| {
            authority.subject() == certificate.issuer()
                && certificate.verify_signature(Some(authority.public_key())).is_ok()
        })
    };
    certificate.public_key().raw == key.subject_public_key_info() && authorities.iter().any(signed)
}

fn blocks(pem: &str) -> Result<Vec<Pem>, MintError> {
    let found: Result<Vec<Pem>, _> = Pem::iter_from_buffer(pem.as_bytes()).collect();
    found.map_err(|error| MintError::Unreadable(error.to_string()))
}

fn parsed(block: &Pem) -> Result<X509Certificate<'_>, MintError> {
    block.parse_x509().map_err(|error| MintError::Unreadable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: &str = "spiffe://trivet/shop/trv/node/000000000000001f";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn now() -> Timestamp {
        at(1_800_000_000)
    }

    #[test]
    fn a_leaf_says_who_its_bearer_is_and_how_long() {
        let authority = authority(now()).unwrap();
        let leaf = leaf(&authority, IDENTITY, now()).unwrap();
        let said = read(&leaf.certificate).unwrap();
        assert_eq!(said.identity.as_deref(), Some(IDENTITY));
        assert_eq!(said.begins, at(1_800_000_000 - 3_600));
        assert_eq!(said.ends, at(1_800_000_000 + 90 * 86_400));
        assert_eq!(read(&authority.certificate).unwrap().identity, None);
        assert_eq!(earliest_end(&authority.certificate).unwrap(), at(1_800_000_000 + 3_650 * 86_400));
        let both = format!("{}{}", authority.certificate, leaf.certificate);
        assert_eq!(earliest_end(&both).unwrap(), said.ends);
    }

    #[test]
    fn a_leaf_is_sound_under_the_authority_that_signed_it_and_with_its_own_key() {
        let (old, new) = (authority(now()).unwrap(), authority(now()).unwrap());
        assert_ne!(old.certificate, new.certificate);
        let (first, second) = (leaf(&old, IDENTITY, now()).unwrap(), leaf(&old, IDENTITY, now()).unwrap());
        assert_ne!(first.key, second.key);
        assert!(is_sound(&first, &old.certificate));
        assert!(is_sound(&first, &format!("{}{}", new.certificate, old.certificate)));
        assert!(!is_sound(&first, &new.certificate));
        let mixed = Pair { key: second.key, ..first.clone() };
        assert!(!is_sound(&mixed, &old.certificate));
        assert!(!is_sound(&Pair { certificate: "scrap".to_owned(), ..first.clone() }, &old.certificate));
        assert!(!is_sound(&Pair { key: String::new(), ..first }, &old.certificate));
    }

    #[test]
    fn scrap_is_no_certificate() {
        assert!(read("").is_err());
        assert!(read("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
        assert!(earliest_end("scrap").is_err());
    }

    #[test]
    fn no_key_is_shown() {
        let pair = authority(now()).unwrap();
        assert!(!format!("{pair:?}").contains("PRIVATE"), "{pair:?}");
    }
}
