//! An AWS SDK client for a Trivet on loopback.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus, Tag,
};

/// What requests are signed for.
pub const REGION: &str = "us-east-1";

/// Whether the SDK may send an operation again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retries {
    /// As users have it.
    Default,
    /// What was sent once is sent once: a checker must know what it asked for.
    None,
}

/// What `trivet local` takes.
pub fn credentials() -> Credentials {
    Credentials::new("local", "local", None, None, "trivet")
}

/// A client of `http://ADDRESS` with the credentials that `trivet local` prints.
pub fn connect(address: &str, retries: Retries, operation_timeout: Duration) -> Client {
    let retry = match retries {
        Retries::Default => RetryConfig::standard(),
        Retries::None => RetryConfig::disabled(),
    };
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(format!("http://{address}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .retry_config(retry)
        .timeout_config(TimeoutConfig::builder().operation_timeout(operation_timeout).build())
        .build();
    Client::from_conf(config)
}

/// A table's key: strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// `key`.
    Hash,
    /// `key`, then `sort`.
    HashAndSort,
}

/// A table with a string `key` as its hash key, waited for until it serves.
pub async fn create_table(client: &Client, table: &str, partitions: u32, within: Duration) -> anyhow::Result<()> {
    create_table_as(client, table, Schema::Hash, partitions, within).await
}

/// A table with this schema, waited for until it serves.
pub async fn create_table_as(
    client: &Client,
    table: &str,
    schema: Schema,
    partitions: u32,
    within: Duration,
) -> anyhow::Result<()> {
    let parts: &[(&str, KeyType)] = match schema {
        Schema::Hash => &[("key", KeyType::Hash)],
        Schema::HashAndSort => &[("key", KeyType::Hash), ("sort", KeyType::Range)],
    };
    let mut create = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    for (name, part) in parts {
        let definition = AttributeDefinition::builder().attribute_name(*name).attribute_type(ScalarAttributeType::S);
        let element = KeySchemaElement::builder().attribute_name(*name).key_type(part.clone());
        create = create.attribute_definitions(definition.build()?).key_schema(element.build()?);
    }
    create
        .tags(Tag::builder().key("trivet.dev/partitions").value(partitions.to_string()).build()?)
        .send()
        .await
        .context("create the table")?;
    let deadline = Instant::now() + within;
    loop {
        let described = client.describe_table().table_name(table).send().await;
        if let Ok(answer) = described
            && answer.table().and_then(|table| table.table_status()) == Some(&TableStatus::Active)
        {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the table never became active");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
