//! How often the API server was called for what, in Kubernetes' words, as the operator counts it and as the API server does.

use std::collections::BTreeMap;

/// By verb and resource: `("patch", "partitions/status")`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    calls: BTreeMap<(String, String), u64>,
}

const OURS: [&str; 3] = ["clusters", "tables", "partitions"];
const READS: [&str; 3] = ["get", "list", "watch"];

/// `1234` or `1.234e+06`, as Prometheus writes a count.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is whole, and never negative")]
fn whole(value: &str) -> u64 {
    value.trim().parse::<f64>().unwrap() as u64
}

impl Counts {
    /// From the operator's `/metrics`.
    pub fn of_operator(text: &str) -> Counts {
        let described = |labels: &BTreeMap<&str, &str>| {
            Some((labels.get("verb")?.to_string(), labels.get("resource")?.to_string()))
        };
        Counts::read(text, "trivet_operator_api_requests_total", described)
    }

    /// From the API server's: of everybody who calls it.
    pub fn of_server(text: &str) -> Counts {
        let described = |labels: &BTreeMap<&str, &str>| {
            let verb = match *labels.get("verb")? {
                "POST" => "create",
                "PUT" => "update",
                "PATCH" | "APPLY" => "patch",
                "DELETE" => "delete",
                "DELETECOLLECTION" => "deletecollection",
                "GET" => "get",
                "LIST" => "list",
                "WATCH" => "watch",
                _ => return None,
            };
            let resource = labels.get("resource").filter(|resource| !resource.is_empty())?;
            let under = labels.get("subresource").filter(|under| !under.is_empty());
            let resource = under.map_or_else(|| (*resource).to_owned(), |under| format!("{resource}/{under}"));
            Some((verb.to_owned(), resource))
        };
        Counts::read(text, "apiserver_request_total", described)
    }

    fn read(text: &str, name: &str, described: impl Fn(&BTreeMap<&str, &str>) -> Option<(String, String)>) -> Counts {
        let mut calls = BTreeMap::new();
        for line in text.lines() {
            let Some((labels, value)) =
                line.strip_prefix(name).and_then(|rest| rest.strip_prefix('{')?.split_once("} "))
            else {
                continue;
            };
            let labels = labels.split("\",").filter_map(|pair| pair.trim_end_matches('"').split_once("=\"")).collect();
            if let Some(call) = described(&labels) {
                *calls.entry(call).or_default() += whole(value);
            }
        }
        Counts { calls }
    }

    pub fn since(&self, before: &Counts) -> Counts {
        let more = |(call, count): (&(String, String), &u64)| {
            let more = count - before.calls.get(call).copied().unwrap_or(0);
            (more > 0).then(|| (call.clone(), more))
        };
        Counts { calls: self.calls.iter().filter_map(more).collect() }
    }

    pub fn all(&self) -> u64 {
        self.calls.values().sum()
    }

    pub fn writes(&self) -> u64 {
        self.of(|verb, _| !READS.contains(&verb))
    }

    pub fn lists_of(&self, resource: &str) -> u64 {
        self.of(|verb, of| verb == "list" && of == resource)
    }

    /// What nobody but the operator writes while it is measured.
    pub fn own_writes(&self) -> u64 {
        self.of(|verb, resource| !READS.contains(&verb) && OURS.contains(&resource.split('/').next().unwrap()))
    }

    fn of(&self, is: impl Fn(&str, &str) -> bool) -> u64 {
        self.calls.iter().filter(|((verb, resource), _)| is(verb, resource)).map(|(_, count)| count).sum()
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said: Vec<String> =
            self.calls.iter().map(|((verb, resource), n)| format!("{n} {verb} {resource}")).collect();
        write!(f, "{}", said.join(", "))
    }
}
