//! Everything a client can be refused with, in DynamoDB's vocabulary, and the one table from it to HTTP.
//!
//! Rooms below speak their own words; they are turned into these once, at the seam (`From<Failure>`).

use std::borrow::Cow;

use bytes::Bytes;
use model::item::decode_attributes;

use crate::json::write::Writer;
use crate::routing::{ControlCode, Failure};

/// A sentence of DynamoDB's.
pub type Text = Cow<'static, str>;

/// A refusal, as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unknown operation")]
    UnknownOperation,
    /// The body is not JSON (no sentence), or a value in it has the wrong JSON type.
    #[error("serialization: {}", .0.as_deref().unwrap_or("not json"))]
    Serialization(Option<Text>),
    #[error("missing authentication token")]
    MissingAuthenticationToken,
    #[error("incomplete signature: {0}")]
    IncompleteSignature(Text),
    #[error("invalid signature: {0}")]
    InvalidSignature(Text),
    #[error("unrecognized client")]
    UnrecognizedClient,
    #[error("access denied: {0}")]
    AccessDenied(Text),
    #[error("validation: {0}")]
    Validation(Text),
    /// With the item as it was (encoded attributes), if the request asked for it.
    #[error("the condition failed")]
    ConditionalCheckFailed { item: Option<Bytes> },
    #[error("not found: {0}")]
    ResourceNotFound(Text),
    #[error("in use: {0}")]
    ResourceInUse(Text),
    #[error("limit exceeded: {0}")]
    LimitExceeded(Text),
    /// Our fault, and perhaps applied.
    #[error("internal: {0}")]
    Internal(Text),
    /// Our fault, and surely not applied: too much work, or no room.
    #[error("unavailable: {0}")]
    ServiceUnavailable(Text),
}

/// One line of the table: status, prefix and name of `__type`, and what the sentence's field is called.
struct Line {
    status: u16,
    prefix: &'static str,
    name: &'static str,
    field: &'static str,
}

const SERVICE: &str = "com.amazon.coral.service#";
const VALIDATE: &str = "com.amazon.coral.validate#";
const AVAILABILITY: &str = "com.amazon.coral.availability#";
const DYNAMODB: &str = "com.amazonaws.dynamodb.v20120810#";

const fn line(status: u16, prefix: &'static str, name: &'static str, field: &'static str) -> Line {
    Line { status, prefix, name, field }
}

/// DynamoDB's sentence where a table or an index is not there, or not ready for data operations.
pub const TABLE_NOT_FOUND: &str = "Requested resource not found";

impl Error {
    pub fn validation(sentence: impl Into<Text>) -> Error {
        Error::Validation(sentence.into())
    }

    /// "One or more parameter values were invalid: …"
    pub fn invalid_parameter(sentence: &str) -> Error {
        Error::Validation(format!("One or more parameter values were invalid: {sentence}").into())
    }

    /// A part of the API that is not there yet: refused, never ignored.
    pub fn not_supported(what: &str) -> Error {
        Error::Validation(format!("{what} is not supported yet").into())
    }

    pub fn table_not_found() -> Error {
        Error::ResourceNotFound(TABLE_NOT_FOUND.into())
    }

    /// As operations on tables say it.
    pub fn named_table_not_found(name: &str) -> Error {
        Error::ResourceNotFound(format!("{TABLE_NOT_FOUND}: Table: {name} not found").into())
    }

    /// Whether the client could not show who it is.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Error::MissingAuthenticationToken
                | Error::IncompleteSignature(_)
                | Error::InvalidSignature(_)
                | Error::UnrecognizedClient
        )
    }

    /// The table to HTTP.
    fn line(&self) -> Line {
        match self {
            Error::UnknownOperation => line(400, SERVICE, "UnknownOperationException", "message"),
            Error::Serialization(_) => line(400, SERVICE, "SerializationException", "Message"),
            Error::MissingAuthenticationToken => line(400, SERVICE, "MissingAuthenticationTokenException", "message"),
            Error::IncompleteSignature(_) => line(400, SERVICE, "IncompleteSignatureException", "message"),
            Error::InvalidSignature(_) => line(400, SERVICE, "InvalidSignatureException", "message"),
            Error::UnrecognizedClient => line(400, SERVICE, "UnrecognizedClientException", "message"),
            Error::AccessDenied(_) => line(400, SERVICE, "AccessDeniedException", "Message"),
            Error::Validation(_) => line(400, VALIDATE, "ValidationException", "message"),
            Error::ConditionalCheckFailed { .. } => line(400, DYNAMODB, "ConditionalCheckFailedException", "message"),
            Error::ResourceNotFound(_) => line(400, DYNAMODB, "ResourceNotFoundException", "message"),
            Error::ResourceInUse(_) => line(400, DYNAMODB, "ResourceInUseException", "message"),
            Error::LimitExceeded(_) => line(400, DYNAMODB, "LimitExceededException", "message"),
            Error::Internal(_) => line(500, DYNAMODB, "InternalServerError", "message"),
            Error::ServiceUnavailable(_) => line(503, AVAILABILITY, "ServiceUnavailableException", "message"),
        }
    }

    fn sentence(&self) -> Option<&str> {
        match self {
            Error::UnknownOperation => None,
            Error::Serialization(sentence) => sentence.as_deref(),
            Error::MissingAuthenticationToken => Some("Request is missing Authentication Token"),
            Error::UnrecognizedClient => Some("The security token included in the request is invalid."),
            Error::ConditionalCheckFailed { .. } => Some("The conditional request failed"),
            Error::IncompleteSignature(sentence)
            | Error::InvalidSignature(sentence)
            | Error::AccessDenied(sentence)
            | Error::Validation(sentence)
            | Error::ResourceNotFound(sentence)
            | Error::ResourceInUse(sentence)
            | Error::LimitExceeded(sentence)
            | Error::Internal(sentence)
            | Error::ServiceUnavailable(sentence) => Some(sentence),
        }
    }

    pub fn status(&self) -> u16 {
        self.line().status
    }

    /// DynamoDB's name of the exception.
    pub fn name(&self) -> &'static str {
        self.line().name
    }

    /// The answer's body.
    pub fn body(&self) -> Vec<u8> {
        let line = self.line();
        let mut json = Writer::new();
        json.object(|json| {
            json.key("__type");
            json.text_parts(line.prefix, line.name);
            if let Error::ConditionalCheckFailed { item: Some(item) } = self
                && let Ok(item) = decode_attributes(item)
            {
                json.key("Item");
                json.item(&item);
            }
            if let Some(sentence) = self.sentence() {
                json.key(line.field);
                json.text(sentence);
            }
        });
        json.finish()
    }
}

impl From<Failure> for Error {
    /// A table that is not ACTIVE is not there, for whoever reads or writes items.
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::TableNotFound | Failure::TableNotActive => Error::table_not_found(),
            Failure::Unavailable(why) => {
                tracing::debug!(%why, "routing could not answer");
                Error::Internal("Internal server error: the partition is not available now".into())
            }
            Failure::Overloaded(why) => {
                tracing::debug!(%why, "routing is overloaded");
                Error::ServiceUnavailable(
                    "Service is unavailable: too many requests; reduce the rate and try again".into(),
                )
            }
            Failure::Unknown => Error::Internal("Internal server error: the outcome of the write is not known".into()),
            Failure::Control { code, message } => match code {
                ControlCode::ResourceInUse => Error::ResourceInUse(message.into()),
                ControlCode::ResourceNotFound => Error::ResourceNotFound(message.into()),
                ControlCode::Validation => Error::Validation(message.into()),
                ControlCode::LimitExceeded => Error::LimitExceeded(message.into()),
            },
        }
    }
}

impl From<model::expression::ExpressionError> for Error {
    fn from(error: model::expression::ExpressionError) -> Error {
        Error::Validation(error.0.into())
    }
}

/// Bytes that a node answered and that cannot be read: a bug or corruption, never the client's fault.
impl From<model::codec::DecodeError> for Error {
    fn from(error: model::codec::DecodeError) -> Error {
        tracing::error!(%error, "a node's answer cannot be decoded");
        Error::Internal("Internal server error: an answer could not be read".into())
    }
}
