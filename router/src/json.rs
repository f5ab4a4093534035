//! JSON, as DynamoDB speaks it: requests are read in one pass straight into `model`'s values, with DynamoDB's own errors
//! for wrong types; answers are written straight from them. There is no document tree.
//!
//! Reading finds two kinds of faults. A wrong JSON type is a `SerializationException` and ends it at once. A value that is
//! well typed and not valid (an empty set, a number out of range) is a `ValidationException` that DynamoDB gives only after
//! it has checked the request's shape, so it is kept where it stands: see [`attribute::Attributes`].

pub mod attribute;
pub mod field;
pub mod shape;
pub mod write;

use serde::de::DeserializeOwned;

use crate::error::Error;

/// Reads a request. Nesting beyond 128 levels of JSON is refused by the parser.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Error::Serialization(None));
    }
    serde_json::from_slice(body).map_err(|error| Error::Serialization(sentence(&error).map(Into::into)))
}

/// The sentence of a wrong type, without the position that `serde_json` adds; none where the text is not JSON.
fn sentence(error: &serde_json::Error) -> Option<String> {
    if !error.is_data() {
        return None;
    }
    let mut text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    if text.ends_with(&position) {
        text.truncate(text.len() - position.len());
    }
    Some(text)
}
