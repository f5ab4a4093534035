//! An AWS SDK client for a Trivet on loopback.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};

/// Whether the SDK may send an operation again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// As users have it.
    Default,
    /// What was sent once is sent once: a checker must know what it asked for.
    None,
}

/// A client of `http://ADDRESS` with the credentials that `trivet local` prints.
pub fn connect(address: &str, retries: Retries, operation_timeout: Duration) -> Client {
    let retry = match retries {
        Retries::Default => RetryConfig::standard(),
        Retries::None => RetryConfig::disabled(),
    };
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "trivet"))
        .endpoint_url(format!("http://{address}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(retry)
        .timeout_config(TimeoutConfig::builder().operation_timeout(operation_timeout).build())
        .build();
    Client::from_conf(config)
}
