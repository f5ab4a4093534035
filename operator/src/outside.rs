//! What the operator meets outside of its process, and how fast it goes there: in one place, so that tests can stand in for it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;

/// From the name of a process to where it is reached.
pub type Locate = Arc<dyn Fn(&str) -> String + Send + Sync>;

#[derive(Clone)]
pub struct Outside {
    pub client: Client,
    pub locate: Locate,
    pub pace: Pace,
}

/// How often it looks.
#[derive(Clone, Debug)]
pub struct Pace {
    /// What nodes say changes without Kubernetes noticing: they are asked so often.
    pub look: Duration,
    /// Changes come in bursts: the look waits for the rest of one.
    pub burst: Duration,
    /// The driver's, while some table is on its way, and while none is.
    pub busy: Duration,
    pub idle: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            look: Duration::from_secs(2),
            burst: Duration::from_millis(50),
            busy: Duration::from_millis(100),
            idle: Duration::from_secs(10),
        }
    }
}

impl Outside {
    /// The API server that the process is told of, and names as Kubernetes resolves them.
    pub async fn of_kubernetes() -> anyhow::Result<Outside> {
        let client = Client::try_default().await.context("find the API server")?;
        Ok(Outside { client, locate: Arc::new(str::to_owned), pace: Pace::default() })
    }
}
