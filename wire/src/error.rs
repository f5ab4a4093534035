//! Errors in words, for logs and for the other side. Must not decide anything.

/// An error with its sources.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What became of a call, as metrics name it: `ok`, or gRPC's word.
pub fn outcome<T>(answer: &Result<T, tonic::Status>) -> String {
    answer.as_ref().err().map_or_else(|| "ok".to_owned(), |status| format!("{:?}", status.code()))
}
