//! Asks the seeds who is where: each until it has told of another node, then slowly. What fails changes nothing.
//!
//! A seed may be a name that stands for several nodes, this one among them: all of its addresses are asked, since this node
//! and one that knows nobody tell nothing.

use std::sync::Arc;
use std::time::Duration;

use tonic::Request;
use wire::admin::admin_client::AdminClient;
use wire::admin::admin_server::Admin as _;
use wire::admin::{Directory, DirectoryEntry};
use wire::seal::connect::Whom;

use crate::context::Context;
use crate::directory;
use crate::names::Name;
use crate::transport::Connector;
use crate::transport::connector::line;
use wire::error::describe;

const PAUSE_UNTIL_TOLD: Duration = Duration::from_millis(500);
/// A name in DNS may stand for other nodes by then.
const PAUSE: Duration = Duration::from_secs(30);

/// One seed, for ever.
pub async fn ask(context: Arc<Context>, seed: String) {
    let mut name = Name::new(seed);
    loop {
        let mut told = false;
        for address in addresses(&context, &mut name).await {
            match ask_one(&context, &address).await {
                Ok(of_others) => told |= of_others,
                Err(error) => tracing::debug!(address, error = describe(&*error), "a seed does not answer"),
            }
        }
        tokio::time::sleep(if told { PAUSE } else { PAUSE_UNTIL_TOLD }).await;
    }
}

/// Nodes in memory have names of their own.
async fn addresses(context: &Context, name: &mut Name) -> Vec<String> {
    match context.links.connector() {
        Connector::Tonic | Connector::Sealed(_) => name.look_up().await.iter().map(ToString::to_string).collect(),
        Connector::Memory(_) => vec![name.as_str().to_owned()],
    }
}

/// Whether it told of another node than this one.
async fn ask_one(context: &Context, seed: &str) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let directory = context.links.directory();
    let entries = directory.entries().into_iter().map(DirectoryEntry::from).collect();
    let request = Directory { entries };
    let connector = context.links.connector();
    let answer = match connector {
        Connector::Tonic | Connector::Sealed(_) => {
            let line = line(seed, connector.seal(), Whom::AnyNode).await?;
            AdminClient::new(line.channel).exchange_directory(request).await?
        }
        Connector::Memory(memory) => {
            let services = memory.services(seed).ok_or("no node there")?;
            services.admin.exchange_directory(Request::new(request)).await?
        }
    };
    let entries = answer.into_inner().entries;
    let told = entries.iter().any(|entry| entry.node != context.node.0);
    directory.learn(entries.into_iter().map(directory::DirectoryEntry::from));
    Ok(told)
}
