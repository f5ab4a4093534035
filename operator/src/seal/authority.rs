//! A Cluster's own CA, and how it is replaced by another without anybody's connection being refused. Pure.
//!
//! ```text
//!  step         trusted (`ca.crt`)   signs   goes on when
//!  Settled      old                  old     a person asks for it, or the CA has lasted half its time
//!  Distribute   old + new            old     every process trusts old + new
//!  Sign         new + old            new     every process has the new order of the two, and so its new certificate
//!  Drop         new                  new     every process trusts new alone
//!  Settled      new                  new
//! ```
//! A process reports the hash of the bundle that it uses. Bundle and certificate come in one Secret and are read together, and the
//! bundle differs in each step: so its hash tells which certificate the process has, too.
//!
//! Where it stands rests with the CA itself, in one object, so that each step is one write: whoever is killed in between goes on there.

use k8s_openapi::jiff::Timestamp;

use super::mint::{AUTHORITY_S, Pair};

/// What is written, others read a while later: the other operators their own certificates, processes the files that kubelet has changed.
const STEP_AT_LEAST_S: i64 = 30;
/// kubelet brings a changed Secret within two minutes; past twice that somebody should look.
const STUCK_AFTER_S: i64 = 300;

/// How far its replacement has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Settled,
    Distribute {
        next: Pair,
    },
    Sign {
        /// One certificate or more.
        previous: String,
    },
    Drop,
}

impl Step {
    pub fn name(&self) -> &'static str {
        match self {
            Step::Settled => "Settled",
            Step::Distribute { .. } => "Distribute",
            Step::Sign { .. } => "Sign",
            Step::Drop => "Drop",
        }
    }
}

/// The CA as it rests in its Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// What leaves are signed by; more than one certificate only where the Secret was lost in the middle of a rotation.
    pub certificate: String,
    /// None where the Secret was lost: nothing is signed until the next CA is trusted.
    pub key: Option<String>,
    pub step: Step,
    pub since: Timestamp,
    /// The wish for a rotation that was taken up last.
    pub answered: String,
}

/// What one process says it trusts: a bundle's hash, or why it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub process: String,
    pub trusts: Result<String, String>,
}

/// All that decides what comes next.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub now: Timestamp,
    /// The wish for a rotation that stands now; empty where there is none.
    pub wish: &'a str,
    /// When the certificate that signs began.
    pub began: Timestamp,
    /// The hash of the bundle as it now is.
    pub bundle: &'a str,
    /// Secrets that do not have the bundle yet.
    pub unwritten: &'a [String],
    pub reports: &'a [Report],
}

/// What is to be done with the CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Rest,
    /// A new one is made, and distributed.
    Begin,
    /// The step is done.
    Advance,
    Wait(Waits),
}

/// Who has not come as far as the step needs, and why, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    pub for_whom: Vec<String>,
    /// It has lasted longer than it should.
    pub stuck: bool,
}

impl Authority {
    /// The first one: nothing has to be replaced.
    pub fn first(pair: Pair, wish: &str, now: Timestamp) -> Authority {
        let Pair { certificate, key } = pair;
        Authority { certificate, key: Some(key), step: Step::Settled, since: now, answered: wish.to_owned() }
    }

    /// In the place of one whose key was lost with its Secret: what its leaves are trusted by is told by their bundle.
    pub fn after_loss(bundle: String, next: Pair, wish: &str, now: Timestamp) -> Authority {
        Authority {
            certificate: bundle,
            key: None,
            step: Step::Distribute { next },
            since: now,
            answered: wish.to_owned(),
        }
    }

    /// What every process is to trust.
    pub fn bundle(&self) -> String {
        match &self.step {
            Step::Settled | Step::Drop => self.certificate.clone(),
            Step::Distribute { next } => joined(&self.certificate, &next.certificate),
            Step::Sign { previous } => joined(&self.certificate, previous),
        }
    }

    /// What new leaves are signed with.
    pub fn signer(&self) -> Option<Pair> {
        let key = self.key.clone()?;
        Some(Pair { certificate: self.certificate.clone(), key })
    }

    /// Replaced from now on.
    pub fn begin(self, next: Pair, wish: &str, now: Timestamp) -> Authority {
        Authority { step: Step::Distribute { next }, since: now, answered: wish.to_owned(), ..self }
    }

    /// The step after this one.
    pub fn advance(self, now: Timestamp) -> Authority {
        let Authority { certificate, key, step, since: _, answered } = self;
        let (certificate, key, step) = match step {
            Step::Distribute { next } => (next.certificate, Some(next.key), Step::Sign { previous: certificate }),
            Step::Sign { previous: _ } => (certificate, key, Step::Drop),
            Step::Drop | Step::Settled => (certificate, key, Step::Settled),
        };
        Authority { certificate, key, step, since: now, answered }
    }

    /// What comes next. A wish that comes in the middle of a rotation is taken up after it.
    pub fn next(&self, seen: &Seen<'_>) -> Next {
        if self.step == Step::Settled {
            let asked = !seen.wish.is_empty() && seen.wish != self.answered;
            let old = seen.now.as_second() - seen.began.as_second() > AUTHORITY_S / 2;
            return if asked || old { Next::Begin } else { Next::Rest };
        }
        let lasted_s = seen.now.as_second() - self.since.as_second();
        let unwritten = seen.unwritten.iter().map(|secret| format!("Secret {secret} is not written"));
        let behind = seen.reports.iter().filter_map(|report| match &report.trusts {
            Ok(hash) if hash == seen.bundle => None,
            Ok(_) => Some(format!("{} has not read its new certificates yet", report.process)),
            Err(why) => Some(format!("{} does not tell what it trusts: {why}", report.process)),
        });
        let for_whom: Vec<String> = unwritten.chain(behind).collect();
        if for_whom.is_empty() && lasted_s >= STEP_AT_LEAST_S {
            return Next::Advance;
        }
        Next::Wait(Waits { stuck: !for_whom.is_empty() && lasted_s >= STUCK_AFTER_S, for_whom })
    }
}

fn joined(first: &str, second: &str) -> String {
    let newline = if first.ends_with('\n') { "" } else { "\n" };
    format!("{first}{newline}{second}")
}

#[cfg(test)]
mod tests;
