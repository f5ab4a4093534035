//! Asks the seeds who is where: at the start until each has answered once, then slowly. What fails changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tonic::Request;
use wire::admin::admin_client::AdminClient;
use wire::admin::admin_server::Admin as _;
use wire::admin::{Directory, DirectoryEntry};

use crate::context::Context;
use crate::directory;
use crate::error::describe;
use crate::transport::Connector;
use crate::transport::connector::channel;

const PAUSE_UNTIL_ANSWERED: Duration = Duration::from_millis(500);
/// A name in DNS may stand for other nodes by then.
const PAUSE: Duration = Duration::from_secs(30);

pub async fn ask(context: Arc<Context>, seeds: Vec<String>) {
    let mut silent: BTreeSet<&String> = seeds.iter().collect();
    loop {
        for seed in &seeds {
            match ask_one(&context, seed).await {
                Ok(()) => {
                    silent.remove(seed);
                }
                Err(error) => tracing::debug!(seed, error = describe(&*error), "a seed does not answer"),
            }
        }
        tokio::time::sleep(if silent.is_empty() { PAUSE } else { PAUSE_UNTIL_ANSWERED }).await;
    }
}

async fn ask_one(context: &Context, seed: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let directory = context.links.directory();
    let entries = directory.entries().into_iter().map(DirectoryEntry::from).collect();
    let request = Directory { entries };
    let answer = match context.links.connector() {
        Connector::Tonic => AdminClient::new(channel(seed).await?).exchange_directory(request).await?,
        Connector::Memory(memory) => {
            let services = memory.services(seed).ok_or("no node there")?;
            services.admin.exchange_directory(Request::new(request)).await?
        }
    };
    directory.learn(answer.into_inner().entries.into_iter().map(directory::DirectoryEntry::from));
    Ok(())
}
