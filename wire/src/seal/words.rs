//! What went wrong between two processes, in words that say what to look at.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

pub(super) fn plainly(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::NoCertificatesPresented | Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "a certificate is demanded, and none was shown".to_owned()
        }
        Error::InvalidMessage(_) => "the other side speaks no TLS: its port or its connections are plain".to_owned(),
        Error::AlertReceived(alert) => refused(*alert),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        // An authority of the same name has another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the certificate is signed by no authority that is trusted here".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the certificate has expired ({error})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate is not valid yet ({error})")
        }
        CertificateError::Other(why) => why.to_string(),
        other => format!("the certificate is refused: {other}"),
    }
}

fn refused(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it is signed by no authority that is trusted there"
        }
        AlertDescription::CertificateExpired => "it has expired, or is not valid yet",
        AlertDescription::CertificateUnknown => "it speaks for nobody, or for another cluster",
        AlertDescription::UnrecognisedName => return "no cluster of that name is served there".to_owned(),
        AlertDescription::ProtocolVersion => return "the other side speaks no TLS 1.3".to_owned(),
        other => return format!("the other side ended the handshake: {other:?}"),
    };
    format!("the other side refuses this process's certificate: {why}")
}

/// The same error, with what TLS said of it in words.
pub(crate) fn explained(error: io::Error) -> io::Error {
    let plain = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map(plainly);
    match plain {
        Some(plain) => io::Error::new(error.kind(), plain),
        None => error,
    }
}

/// The same for a handshake, which others also end without a word.
pub(super) fn of_handshake(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            let text = "the other side ended the handshake without a word: its port may be plain";
            io::Error::new(error.kind(), text)
        }
        _ => explained(error),
    }
}
