//! Who may sign now: the access key of the flags, and the credentials file, which is looked at again and again.
//!
//! A mounted Secret changes behind its readers' backs, by another file under the same name. What cannot be read, or names nobody,
//! changes nothing: whoever could sign still can, until the file is sound again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::sigv4::Verifier;
use crate::sigv4::credentials::FixedCredentials;

/// How soon a changed file counts. It is a few lines, and read whole each time: what a link points to has a time of its own.
const LOOK_EVERY: Duration = Duration::from_secs(2);

pub struct Keyring {
    /// Access key and secret.
    flags: Option<(String, String)>,
    file: Option<PathBuf>,
    /// The region that clients sign for; none for any.
    region: Option<String>,
    /// What the file said when it was last sound.
    text: Mutex<String>,
    verifier: RwLock<Arc<Verifier>>,
}

impl Keyring {
    /// None with `--no-auth`.
    pub fn open(config: &Config) -> anyhow::Result<Option<Arc<Keyring>>> {
        if config.no_auth {
            return Ok(None);
        }
        let flags = config.access_key.clone().zip(config.secret_key.clone());
        let file = config.credentials_file.clone();
        let region = (!config.any_region).then(|| config.region.clone());
        let text = read(file.as_ref())?;
        let verifier = verifier(flags.as_ref(), &text, region.clone())?;
        let (text, verifier) = (Mutex::new(text), RwLock::new(Arc::new(verifier)));
        Ok(Some(Arc::new(Keyring { flags, file, region, text, verifier })))
    }

    /// Who holds signatures against the credentials of now.
    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::clone(&self.verifier.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the file says something else than before, which then counts.
    fn look(&self) -> anyhow::Result<bool> {
        let text = read(self.file.as_ref())?;
        let mut known = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if text == *known {
            return Ok(false);
        }
        // Made anew whole: it keeps keys that were derived from secrets.
        let verifier = verifier(self.flags.as_ref(), &text, self.region.clone())?;
        *self.verifier.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(verifier);
        *known = text;
        Ok(true)
    }

    /// For as long as the router runs. What is wrong with the file is counted each time, and told once.
    pub async fn watch(self: Arc<Self>, metrics: Metrics) {
        if self.file.is_none() {
            return;
        }
        let mut told = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let keyring = Arc::clone(&self);
            let Ok(looked) = tokio::task::spawn_blocking(move || keyring.look()).await else { return };
            let wrong = looked.as_ref().err().map(|error| format!("{error:#}"));
            match (&wrong, looked) {
                (Some(error), _) => {
                    metrics.credentials_refused();
                    if told != wrong {
                        tracing::warn!(error, "the credentials file is not used; the old credentials stay");
                    }
                }
                (None, Ok(true)) => tracing::info!("the credentials have changed"),
                (None, _) => {}
            }
            told = wrong;
        }
    }
}

fn read(file: Option<&PathBuf>) -> anyhow::Result<String> {
    let Some(path) = file else { return Ok(String::new()) };
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn verifier(flags: Option<&(String, String)>, text: &str, region: Option<String>) -> anyhow::Result<Verifier> {
    let mut credentials = FixedCredentials::default();
    if let Some((access_key, secret_key)) = flags {
        credentials.add(access_key, secret_key);
    }
    credentials.add_file(text).context("parse the credentials file")?;
    if credentials.is_empty() {
        bail!("no credentials: give --access-key and --secret-key, or --credentials-file, or --no-auth");
    }
    Ok(Verifier::new(Box::new(credentials), region))
}
