//! A folder with `ca.crt`, `tls.crt` and `tls.key`, followed as long as the seal is in use.
//!
//! It is polled: Kubernetes swaps a symbolic link, others write file by file, and neither is in a hurry. A thread of its own reads it,
//! so that a slow disk holds nobody up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::material::{Pem, SealError};
use super::{Inner, Seal};

/// Kubernetes itself takes a minute to bring a Secret's change.
const POLL: Duration = Duration::from_secs(2);
/// What Kubernetes swaps: all files of one version of a Secret.
const VERSION: &str = "..data";

pub(super) fn read(folder: &Path) -> Result<Pem, SealError> {
    // The link is followed once: three files that are read through it could be of two versions.
    let folder = match folder.join(VERSION).canonicalize() {
        Ok(version) => version,
        Err(_not_of_kubernetes) => folder.to_owned(),
    };
    let file = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| SealError::File(path.display().to_string(), error))
    };
    Ok(Pem { ca: file("ca.crt")?, certificate: file("tls.crt")?, key: file("tls.key")? })
}

/// The thread; it ends soon after this is dropped.
pub(super) struct Following {
    _end: mpsc::Sender<()>,
}

impl Following {
    pub fn start(seal: &Seal, folder: &Path, used: Pem) -> io::Result<Following> {
        let (end, ended) = mpsc::channel();
        let follower = Follower { seal: Arc::downgrade(&seal.inner), folder: folder.to_owned(), used, complaint: None };
        thread::Builder::new().name("seal".to_owned()).spawn(move || follower.follow(&ended))?;
        Ok(Following { _end: end })
    }
}

struct Follower {
    seal: Weak<Inner>,
    folder: PathBuf,
    /// What is in use.
    used: Pem,
    /// The last thing that was said of a content that cannot be used.
    complaint: Option<String>,
}

impl Follower {
    fn follow(mut self, ended: &mpsc::Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(POLL) {
            let Some(inner) = self.seal.upgrade() else { return };
            self.look(&Seal { inner });
        }
    }

    /// A content that could not be used is tried again: its time may come.
    fn look(&mut self, seal: &Seal) {
        let error = match read(&self.folder) {
            Ok(found) if found == self.used => {
                self.complaint = None;
                return;
            }
            Ok(found) => match seal.change(found.clone()) {
                Ok(()) => {
                    seal.inner.counts.reloaded(super::Outcome::Changed);
                    tracing::info!(trust = seal.trust(), days_left = seal.days_left(), "uses a new certificate");
                    (self.used, self.complaint) = (found, None);
                    return;
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        let complaint = crate::error::describe(&error);
        if self.complaint.as_ref() != Some(&complaint) {
            seal.inner.counts.reloaded(super::Outcome::Refused);
            let days_left = seal.days_left();
            tracing::warn!(error = complaint, days_left, "the new certificate cannot be used; the old one stays");
            self.complaint = Some(complaint);
        }
    }
}
