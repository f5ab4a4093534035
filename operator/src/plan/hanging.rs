//! Pods that hang: people are told which, why, and which field of the spec or which other thing is to be changed.

use super::{Hanging, Hitch, Part, Seen, Step};

/// One ends now and then for want of another that is not there yet: fewer times are no news.
const CRASHES: i32 = 3;
const OUT_OF_MEMORY: &str = "OOMKilled";

/// The first of them, and how many others there are.
pub fn plan(seen: &Seen) -> Option<Step> {
    let mut told = seen.hanging.iter().filter(|hanging| is_news(&hanging.why));
    let first = told.next()?;
    let (reason, why) = sentence(first);
    let others = match told.count() {
        0 => String::new(),
        1 => " (and one more Pod hangs)".to_owned(),
        more => format!(" (and {more} more Pods hang)"),
    };
    let Hanging { pod, part, zone, .. } = first;
    let message = format!("Pod {pod}, a {} of zone {zone}, {why}{others}", part.word());
    Some(Step::Blocked { reason, message })
}

fn is_news(why: &Hitch) -> bool {
    match why {
        Hitch::Crashes { times, .. } => *times >= CRASHES,
        Hitch::Unplaced(_) | Hitch::Image { .. } | Hitch::Secret(_) | Hitch::Refused { .. } => true,
    }
}

/// Why, and the next step.
fn sentence(hanging: &Hanging) -> (&'static str, String) {
    let Hanging { pod, part, zone, why } = hanging;
    let field = part.resources();
    match why {
        Hitch::Unplaced(why) => (
            "Unschedulable",
            format!(
                "is taken by no Kubernetes node: {why}; make room on a Kubernetes node of zone {zone}, add one, or ask for less in {field}"
            ),
        ),
        Hitch::Image { reason, message } => (
            "ImageMissing",
            format!(
                "has no image, {reason}: {message}; set spec.image to one that every Kubernetes node can fetch, or has with \
                 spec.imagePullPolicy Never"
            ),
        ),
        Hitch::Secret(why) => ("SecretMissing", format!("cannot mount a Secret: {why}; {}", secret(why))),
        Hitch::Refused { reason, message } => (
            "PodRefused",
            format!(
                "cannot begin, {reason}: {message}; set spec.image to an image of Trivet, or make what the message names"
            ),
        ),
        Hitch::Crashes { exit_code, reason, .. } if reason == OUT_OF_MEMORY => (
            "PodCrashes",
            format!("was ended for want of memory, with exit code {exit_code}: raise the limit in {field}"),
        ),
        Hitch::Crashes { times, exit_code, reason, message } => {
            let last = [reason.as_str(), message.as_str()].into_iter().filter(|part| !part.is_empty());
            let last = last.collect::<Vec<_>>().join(": ");
            let why = format!(
                "has ended {times} times, the last time with exit code {exit_code} ({last}): see `kubectl logs {pod} --previous`; if \
                 spec.image or {field} has changed, set it back"
            );
            ("PodCrashes", why)
        }
    }
}

/// What Kubernetes calls the volume tells whose Secret it is.
fn secret(why: &str) -> String {
    let credentials = crate::build::fleet::CREDENTIALS;
    if why.contains(&format!("volume \"{credentials}\"")) {
        return format!(
            "make the Secret that spec.credentialsSecret names, with a key `{credentials}`, or name another one there"
        );
    }
    "certificates are made by what spec.tls says: see the condition CertificatesCurrent and the operator's log"
        .to_owned()
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Part::Node => "node",
            Part::MemDs => "MemDS server",
            Part::Router => "router",
        }
    }

    /// Where the spec says what it asks for.
    pub fn resources(self) -> &'static str {
        match self {
            Part::Node => "spec.node.resources",
            Part::MemDs => "spec.memds.resources",
            Part::Router => "spec.routers.resources",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{settled, steps};
    use super::*;

    fn told(part: Part, why: &[Hitch]) -> Option<(&'static str, String)> {
        let hanging = |why: &Hitch| Hanging { pod: "trv-x".to_owned(), part, zone: "b".to_owned(), why: why.clone() };
        let seen = Seen { hanging: why.iter().map(hanging).collect(), ..settled() };
        steps(&seen).into_iter().find_map(|step| match step {
            Step::Blocked { reason, message } => Some((reason, message)),
            _ => None,
        })
    }

    #[track_caller]
    fn says(part: Part, why: Hitch, reason: &str, parts: &[&str]) {
        let (found, message) = told(part, &[why]).unwrap();
        assert_eq!(found, reason, "{message}");
        for part in parts {
            assert!(message.contains(part), "{part:?} in: {message}");
        }
    }

    fn crashes(times: i32, reason: &str) -> Hitch {
        Hitch::Crashes { times, exit_code: 137, reason: reason.to_owned(), message: "no /data".to_owned() }
    }

    #[test]
    fn whoever_hangs_is_named_with_what_is_to_be_changed() {
        let said = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
        let (reason, message) = said("ImagePullBackOff", "Back-off pulling image \"typo\"");
        let names =
            ["Pod trv-x, a node of zone b", "ImagePullBackOff: Back-off pulling image \"typo\"", "set spec.image"];
        says(Part::Node, Hitch::Image { reason, message }, "ImageMissing", &names);
        let (reason, message) = said("RunContainerError", "exec: \"node\": not found");
        says(Part::MemDs, Hitch::Refused { reason, message }, "PodRefused", &["a MemDS server", "spec.image"]);
        let full = Hitch::Unplaced("0/3 nodes: Insufficient cpu".to_owned());
        says(Part::Router, full, "Unschedulable", &["Insufficient cpu", "zone b", "spec.routers.resources"]);
        let secret = |volume: &str| {
            Hitch::Secret(format!("MountVolume.SetUp failed for volume \"{volume}\" : secret \"k\" not found"))
        };
        says(
            Part::Router,
            secret("credentials"),
            "SecretMissing",
            &["secret \"k\" not found", "spec.credentialsSecret"],
        );
        says(Part::Router, secret("tls"), "SecretMissing", &["spec.tls"]);
        says(
            Part::Node,
            crashes(3, "Error"),
            "PodCrashes",
            &["exit code 137 (Error: no /data)", "kubectl logs trv-x --previous"],
        );
        says(Part::Node, crashes(3, "OOMKilled"), "PodCrashes", &["want of memory", "spec.node.resources"]);
    }

    #[test]
    fn the_first_is_told_with_how_many_more_there_are_and_a_few_ends_are_no_news() {
        assert_eq!(told(Part::Router, &[crashes(2, "Error")]), None);
        let full = Hitch::Unplaced("full".to_owned());
        let (_, message) =
            told(Part::Router, &[crashes(2, "Error"), full, crashes(3, "Error"), crashes(4, "")]).unwrap();
        assert!(message.contains("full") && message.ends_with("(and 2 more Pods hang)"), "{message}");
    }
}
