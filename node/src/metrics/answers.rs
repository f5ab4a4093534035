//! What a node has answered routers: by what they asked, and by what came of it, in the words of `data.proto`.
//!
//! Every counter is there from the start: an answer costs one addition, and one that never was reads 0.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use wire::data::refused::Reason;
use wire::data::request::Operation as Asked;
use wire::data::response::Result as Answer;
use wire::data::write::Action;
use wire::data::written::Outcome as Written;
use wire::data::{Request, Response};

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Get,
    /// A page of a Query or of a Scan.
    Scan,
    Put,
    Update,
    Delete,
    /// Nothing that this node knows of.
    Unknown,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    ConditionFailed,
    Invalid,
    NotLeader,
    StaleEpoch,
    UnknownPartition,
    Overloaded,
    DiskFull,
    /// Perhaps applied.
    Unknown,
    TableGone,
    Expired,
    NotReady,
    Malformed,
    /// Nothing that this node says.
    Unspecified,
}

/// In the order of their declaration, as every counter's place is.
const OPERATIONS: [Operation; Operation::Unknown as usize + 1] =
    [Operation::Get, Operation::Scan, Operation::Put, Operation::Update, Operation::Delete, Operation::Unknown];

const OUTCOMES: [Outcome; Outcome::Unspecified as usize + 1] = [
    Outcome::Ok,
    Outcome::ConditionFailed,
    Outcome::Invalid,
    Outcome::NotLeader,
    Outcome::StaleEpoch,
    Outcome::UnknownPartition,
    Outcome::Overloaded,
    Outcome::DiskFull,
    Outcome::Unknown,
    Outcome::TableGone,
    Outcome::Expired,
    Outcome::NotReady,
    Outcome::Malformed,
    Outcome::Unspecified,
];

impl Operation {
    pub fn of(request: &Request) -> Operation {
        match &request.operation {
            Some(Asked::Get(_)) => Operation::Get,
            Some(Asked::Scan(_)) => Operation::Scan,
            Some(Asked::Write(write)) => match &write.action {
                Some(Action::Put(_)) => Operation::Put,
                Some(Action::Update(_)) => Operation::Update,
                Some(Action::Delete(_)) => Operation::Delete,
                None => Operation::Unknown,
            },
            None => Operation::Unknown,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Scan => "scan",
            Operation::Put => "put",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Unknown => "unknown",
        }
    }
}

impl Outcome {
    fn of(response: &Response) -> Outcome {
        match &response.result {
            Some(Answer::Got(_) | Answer::Scanned(_)) => Outcome::Ok,
            Some(Answer::Written(written)) => match written.outcome() {
                Written::Applied => Outcome::Ok,
                Written::ConditionFailed => Outcome::ConditionFailed,
                Written::Invalid => Outcome::Invalid,
                Written::Unspecified => Outcome::Unspecified,
            },
            Some(Answer::Refused(refused)) => match refused.reason() {
                Reason::NotLeader => Outcome::NotLeader,
                Reason::StaleEpoch => Outcome::StaleEpoch,
                Reason::UnknownPartition => Outcome::UnknownPartition,
                Reason::Overloaded => Outcome::Overloaded,
                Reason::DiskFull => Outcome::DiskFull,
                Reason::Unknown => Outcome::Unknown,
                Reason::TableGone => Outcome::TableGone,
                Reason::Expired => Outcome::Expired,
                Reason::NotReady => Outcome::NotReady,
                Reason::Malformed => Outcome::Malformed,
                Reason::Unspecified => Outcome::Unspecified,
            },
            None => Outcome::Unspecified,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ConditionFailed => "condition_failed",
            Outcome::Invalid => "invalid",
            Outcome::NotLeader => "not_leader",
            Outcome::StaleEpoch => "stale_epoch",
            Outcome::UnknownPartition => "unknown_partition",
            Outcome::Overloaded => "overloaded",
            Outcome::DiskFull => "disk_full",
            Outcome::Unknown => "unknown",
            Outcome::TableGone => "table_gone",
            Outcome::Expired => "expired",
            Outcome::NotReady => "not_ready",
            Outcome::Malformed => "malformed",
            Outcome::Unspecified => "unspecified",
        }
    }
}

/// The counters, by operation and outcome.
pub struct Answers([[IntCounter; OUTCOMES.len()]; OPERATIONS.len()]);

impl Answers {
    pub fn new(registry: &Registry) -> Result<Answers, prometheus::Error> {
        let help = "Answers to routers by operation and outcome";
        let opts = Opts::new("trivet_node_answers_total", help);
        let counters = IntCounterVec::new(opts, &["operation", "outcome"])?;
        registry.register(Box::new(counters.clone()))?;
        let counter =
            |operation: Operation, outcome: Outcome| counters.with_label_values(&[operation.label(), outcome.label()]);
        Ok(Answers(OPERATIONS.map(|operation| OUTCOMES.map(|outcome| counter(operation, outcome)))))
    }

    /// It leaves.
    pub fn answered(&self, operation: Operation, response: &Response) {
        let Answers(counters) = self;
        counters[operation as usize][Outcome::of(response) as usize].inc();
    }

    /// How often one was answered so; none where there is no such counter.
    #[cfg(test)]
    pub fn count(&self, operation: &str, outcome: &str) -> Option<u64> {
        let Answers(counters) = self;
        let operation = OPERATIONS.iter().position(|known| known.label() == operation)?;
        let outcome = OUTCOMES.iter().position(|known| known.label() == outcome)?;
        Some(counters[operation][outcome].get())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wire::data::{Delete, Got, Refused, UpdateAction, Write, Written as WrittenAnswer};

    use super::*;

    fn write(action: Option<Action>) -> Request {
        Request { operation: Some(Asked::Write(Write { action, ..Default::default() })), ..Default::default() }
    }

    fn response(result: Answer) -> Response {
        Response { id: 1, result: Some(result) }
    }

    #[test]
    fn every_counter_stands_at_its_own_place() {
        for (place, operation) in OPERATIONS.into_iter().enumerate() {
            assert_eq!(operation as usize, place);
        }
        for (place, outcome) in OUTCOMES.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
        let labels: BTreeSet<_> = OUTCOMES.into_iter().map(Outcome::label).collect();
        assert_eq!(labels.len(), OUTCOMES.len());
        let labels: BTreeSet<_> = OPERATIONS.into_iter().map(Operation::label).collect();
        assert_eq!(labels.len(), OPERATIONS.len());
    }

    #[test]
    fn a_request_is_counted_as_what_it_asks() {
        let of = |request: &Request| Operation::of(request).label();
        assert_eq!(of(&write(Some(Action::Put(Default::default())))), "put");
        assert_eq!(of(&write(Some(Action::Update(UpdateAction::default())))), "update");
        assert_eq!(of(&write(Some(Action::Delete(Delete {})))), "delete");
        assert_eq!(of(&write(None)), "unknown");
        assert_eq!(of(&Request::default()), "unknown");
        let get = Request { operation: Some(Asked::Get(Default::default())), ..Default::default() };
        let scan = Request { operation: Some(Asked::Scan(Default::default())), ..Default::default() };
        assert_eq!((of(&get), of(&scan)), ("get", "scan"));
    }

    #[test]
    fn an_answer_is_counted_by_what_it_says() {
        let registry = Registry::new();
        let answers = Answers::new(&registry).unwrap();
        let written = |outcome: Written| {
            response(Answer::Written(WrittenAnswer { outcome: outcome.into(), ..Default::default() }))
        };
        for outcome in [Written::Applied, Written::ConditionFailed, Written::Invalid] {
            answers.answered(Operation::Update, &written(outcome));
        }
        let counts = ["ok", "condition_failed", "invalid"].map(|outcome| answers.count("update", outcome));
        assert_eq!(counts, [Some(1); 3]);
        answers.answered(Operation::Get, &response(Answer::Got(Got::default())));
        assert_eq!(answers.count("get", "ok"), Some(1));
        // Every reason there is, by its own name.
        let reasons = (0..).map_while(|number| Reason::try_from(number).ok());
        let mut refusals = 0;
        for reason in reasons {
            let refused = Refused { reason: reason.into(), ..Default::default() };
            answers.answered(Operation::Delete, &response(Answer::Refused(refused)));
            let name = reason.as_str_name().to_lowercase();
            assert_eq!(answers.count("delete", &name), Some(1), "{name}");
            refusals += 1;
        }
        assert_eq!(refusals, 11);
        let series: usize = registry.gather().iter().map(|family| family.get_metric().len()).sum();
        assert_eq!(series, OPERATIONS.len() * OUTCOMES.len(), "those that never were are there, too");
    }
}
