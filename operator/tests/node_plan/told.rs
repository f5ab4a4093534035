//! What is planned, in words.

use std::collections::BTreeSet;

use model::NodeId;
use operator::moves::{self, Deed};
use operator::observe::places;
use operator::plan::{self, Step};
use operator::validate;

use crate::form::Situation;

/// The first id that is drawn.
const DRAWN: u64 = 101;

/// All steps, as a look has them, and all that is said of what blocks.
pub fn planned(situation: &Situation) -> (Vec<String>, String) {
    let (seen, observed) = situation.seen();
    let mut next_id = DRAWN..;
    let steps = plan::plan(&validate::nodes(&seen), || NodeId(next_id.next().unwrap()));
    let next = moves::next(&places(&seen), &observed, seen.whole, &situation.handed_over());
    let stuck: Vec<Step> =
        next.stuck.into_iter().map(|stuck| Step::Blocked { reason: "NoRoom", message: stuck.message }).collect();
    let steps: Vec<Step> = steps.into_iter().chain(stuck).collect();
    let deed = next.deed.filter(|_| !plan::stops(&steps));
    let told = steps.iter().map(told).chain(deed.as_ref().map(told_deed)).collect();
    let said: BTreeSet<&str> = steps.iter().filter_map(message).collect();
    (told, said.into_iter().collect::<Vec<_>>().join("\n"))
}

fn message(step: &Step) -> Option<&str> {
    match step {
        Step::Blocked { message, .. } => Some(message),
        _ => None,
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::CreateClaim { zone, node } => format!("a claim in zone {zone} for node {}", node.0),
        Step::CreatePod { node, .. } => format!("a Pod for node {}", node.0),
        Step::DeletePod { name, why } => format!("delete {name}: {why}"),
        Step::RecordStore { node, store } => format!("write down that disk {store} becomes node {}", node.0),
        Step::Format { node, store, .. } => format!("format disk {store} as node {}", node.0),
        Step::MarkLost { node, why } => format!("give up node {}: {why}", node.0),
        Step::Leave { node } => format!("node {} is to leave", node.0),
        Step::Stay { node } => format!("node {} stays", node.0),
        Step::DeleteClaim { node } => format!("delete the claim of node {}", node.0),
        Step::GrowClaim { node, size } => format!("let the volume of node {} grow to {size}", node.0),
        Step::RemoveFleet { zone } => format!("remove the routers and MemDS of zone {zone}"),
        Step::Blocked { reason, .. } => format!("blocked: {reason}"),
    }
}

fn told_deed(deed: &Deed) -> String {
    match deed {
        Deed::HandOver(node) => format!("node {} gives away what it leads", node.0),
        Deed::Move(wish) => {
            let to = wish.to.map_or_else(|| "anywhere".to_owned(), |to| format!("node {}", to.0));
            format!("move partition {} from node {} to {to}", wish.partition.0, wish.from.0)
        }
    }
}
