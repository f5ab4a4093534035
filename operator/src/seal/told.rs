//! What is told of a Cluster's certificates: its status, a condition, metrics. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::authority::Waits;
use crate::crd::cluster::TlsStatus;
use crate::crd::condition::{CERTIFICATES, Statement};

/// Renewal begins with 60 days left: with half of them gone nobody renews, and somebody must look.
const ALARM_DAYS: i64 = 30;
const DAY_S: i64 = 24 * 60 * 60;
/// Of many who are waited for, so many are named.
const NAMED: usize = 10;

/// How the certificates are after one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub ca_ends: Option<Timestamp>,
    /// When the first certificate of each role ends.
    pub leaves: BTreeMap<&'static str, Timestamp>,
    /// The hash of what every process is to trust; empty where that is not ours to say.
    pub trust: String,
    /// None where the CA is not ours.
    pub rotating: Option<Rotating>,
    /// The step that this look has brought about.
    pub turned: Option<&'static str>,
    /// What others have yet to do, as they do when all is well.
    pub pending: Option<String>,
    /// The first thing that could not be done.
    pub failure: Option<String>,
}

/// Where the CA's replacement stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotating {
    pub step: &'static str,
    pub since: Timestamp,
    pub waits: Option<Waits>,
}

impl Kept {
    pub fn status(&self) -> TlsStatus {
        let time = |at: &Timestamp| Time(*at);
        let rotating = self.rotating.as_ref();
        let waits = rotating.and_then(|rotating| rotating.waits.as_ref());
        TlsStatus {
            ca_ends: self.ca_ends.as_ref().map(time),
            leaves_end: self.leaves.values().min().map(time),
            trust: self.trust.clone(),
            step: rotating.map(|rotating| rotating.step.to_owned()).unwrap_or_default(),
            since: rotating.map(|rotating| time(&rotating.since)),
            waits_for: waits.map(|waits| named(&waits.for_whom)).unwrap_or_default(),
        }
    }

    /// A look that was cut short has seen less than the one before it, and only what it could not do is news.
    pub fn after(self, before: &Kept) -> Kept {
        if self.ca_ends.is_some() {
            return self;
        }
        let Kept { ca_ends: _, leaves: _, trust: _, rotating: _, turned, pending, failure } = self;
        Kept { turned, pending, failure, ..before.clone() }
    }

    /// Whether all is as it should be, or what is not.
    pub fn statement(&self, now: Timestamp) -> Statement {
        let (reason, message) = self.blocked(now).unwrap_or_else(|| self.progress());
        Statement { kind: CERTIFICATES, holds: reason == "Current", reason: reason.to_owned(), message }
    }

    /// What somebody must look at, as a reason and a sentence.
    pub fn blocked(&self, now: Timestamp) -> Option<(&'static str, String)> {
        if let Some(failure) = &self.failure {
            return Some(("Failed", failure.clone()));
        }
        if let Some((what, days)) = self.days_left(now).into_iter().find(|(_, days)| *days < ALARM_DAYS) {
            return Some((
                "EndsSoon",
                format!("the certificate of {what} ends in {days} days, and nobody has renewed it"),
            ));
        }
        let rotating = self.rotating.as_ref()?;
        let waits = rotating.waits.as_ref().filter(|waits| waits.stuck)?;
        let (step, whom) = (rotating.step, named(&waits.for_whom).join("; "));
        Some((
            "RotationStuck",
            format!("the CA is being replaced, and {step} waits: {whom}; repair or delete what is named"),
        ))
    }

    fn progress(&self) -> (&'static str, String) {
        if let Some(pending) = &self.pending {
            return ("Pending", pending.clone());
        }
        match &self.rotating {
            Some(rotating) if rotating.step != "Settled" => {
                let waits = rotating.waits.iter().flat_map(|waits| named(&waits.for_whom));
                let waits: Vec<String> = waits.collect();
                (
                    "Rotating",
                    format!("the CA is being replaced: {} {}", rotating.step, waits.join("; ")).trim().to_owned(),
                )
            }
            Some(_) | None => ("Current", "every certificate is in its time".to_owned()),
        }
    }

    /// Whole days until the CA (`ca`) and the first certificate of each role end.
    pub fn days_left(&self, now: Timestamp) -> BTreeMap<&'static str, i64> {
        let leaves = self.leaves.iter().map(|(role, ends)| (*role, ends));
        let all = leaves.chain(self.ca_ends.iter().map(|ends| ("ca", ends)));
        all.map(|(what, ends)| (what, (ends.as_second() - now.as_second()).div_euclid(DAY_S))).collect()
    }
}

fn named(whom: &[String]) -> Vec<String> {
    let more = whom.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("and {more} more"));
    whom.iter().take(NAMED).cloned().chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(day * DAY_S).unwrap()
    }

    fn settled() -> Kept {
        Kept {
            ca_ends: Some(day(3650)),
            leaves: [("node", day(90)), ("router", day(80))].into(),
            trust: "hash".to_owned(),
            rotating: Some(Rotating { step: "Settled", since: day(0), waits: None }),
            ..Kept::default()
        }
    }

    fn waiting(whom: usize, stuck: bool) -> Kept {
        let for_whom = (0..whom).map(|number| format!("Pod {number}")).collect();
        let waits = Some(Waits { for_whom, stuck });
        Kept { rotating: Some(Rotating { step: "Sign", since: day(1), waits }), ..settled() }
    }

    #[test]
    fn all_is_well_until_something_ends_soon() {
        assert_eq!(settled().status().leaves_end, Some(Time(day(80))));
        assert_eq!(settled().days_left(day(1)), [("ca", 3649), ("node", 89), ("router", 79)].into());
        let said = settled().statement(day(50));
        assert_eq!((said.holds, said.reason.as_str()), (true, "Current"));
        let said = settled().statement(day(51));
        assert_eq!((said.holds, said.reason.as_str()), (false, "EndsSoon"));
        assert!(said.message.contains("of router ends in 29 days"), "{}", said.message);
    }

    #[test]
    fn a_rotation_says_whom_it_waits_for_and_blocks_only_when_it_is_stuck() {
        let (fresh, stuck) = (waiting(1, false), waiting(12, true));
        let said = fresh.statement(day(1));
        assert_eq!((said.reason.as_str(), fresh.blocked(day(1))), ("Rotating", None));
        assert_eq!(said.message, "the CA is being replaced: Sign Pod 0");
        let (reason, message) = stuck.blocked(day(1)).unwrap();
        assert_eq!(reason, "RotationStuck");
        assert!(message.contains("Pod 9; and 2 more"), "{message}");
        assert_eq!(stuck.status().waits_for.len(), 11);
        assert_eq!(stuck.status().step, "Sign");
    }

    #[test]
    fn a_look_that_was_cut_short_keeps_what_the_one_before_has_seen() {
        let cut = Kept { failure: Some("read Secret x: no".to_owned()), ..Kept::default() };
        let after = cut.after(&settled());
        assert_eq!((after.trust.as_str(), after.failure.as_deref()), ("hash", Some("read Secret x: no")));
        assert_eq!(settled().after(&after).failure, None);
    }

    #[test]
    fn what_could_not_be_done_is_said_first() {
        let failed = Kept { failure: Some("write Secret x: no".to_owned()), ..waiting(1, true) };
        assert_eq!(failed.statement(day(1)).message, "write Secret x: no");
    }
}
