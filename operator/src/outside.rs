//! What the operator meets outside of its process, and how fast it goes there: in one place, so that tests can stand in for it.
#![expect(clippy::disallowed_types, reason = "it makes the client")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;

use crate::lease::Terms;

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
    pub lease: Terms,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            look: Duration::from_secs(2),
            burst: Duration::from_millis(50),
            busy: Duration::from_millis(100),
            idle: Duration::from_secs(10),
            lease: Terms::default(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_minute_costs_at_most_twenty_calls() {
        const MINUTE: Duration = Duration::from_secs(60);
        let times = |interval: Duration| MINUTE.as_secs().div_ceil(interval.as_secs());
        let watches = (crate::watch::KINDS * 60).div_ceil(crate::watch::LONGEST_SECONDS);
        // A watch that begins asks for the version, and they begin together.
        let calls = times(Pace::default().lease.pace) + times(crate::watch::ASKED_EVERY) + watches + 1
            // How old each definition is.
            + crate::crd::all().len() as u64 * times(crate::definitions::ASKED_EVERY);
        assert!(calls <= 20, "{calls}");
    }
}
