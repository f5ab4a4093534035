//! Take-over: in a calm world a sleeping group whose leader's node dies has another leader soon.

use crate::core::Core;
use crate::event::{Event, Group, Place};
use crate::host::Node;
use crate::invariant::{Broken, Verdict};
use crate::plan::MILLISECOND;
use crate::queue::Time;

/// Silence for an election time-out, four ticks of paced waking, a campaign, and what slow clocks add. Who has to campaign a
/// second time is later.
const WITHIN_US: Time = 2_500 * MILLISECOND;

/// The node is about to die, and nothing else is wrong: whoever it leads in sleep is looked at again.
pub fn watch(core: &mut Core, nodes: &[Node], dies: Place) {
    let others_live = nodes.iter().all(|node| node.place == dies || node.up);
    if !core.plan.calm || core.healed || !others_live {
        return;
    }
    let deaths = core.deaths + 1;
    for (group, running) in nodes[dies].running.iter().enumerate() {
        let led_in_sleep =
            running.as_ref().is_some_and(|running| running.status.leader == Some(running.id) && running.status.asleep);
        if led_in_sleep {
            core.after(WITHIN_US, Event::CheckTakeOver { group, deaths });
        }
    }
}

/// Unless another process has died since.
pub fn check(core: &Core, nodes: &[Node], group: Group, deaths: u64) -> Verdict {
    if core.healed || core.deaths != deaths {
        return Ok(());
    }
    let running = nodes.iter().filter(|node| node.up).filter_map(|node| node.running[group].as_ref());
    let newest = running.max_by_key(|running| running.status.term);
    if newest.is_some_and(|running| running.status.leader.is_some()) {
        return Ok(());
    }
    let state = crate::invariant::liveness::describe(core, nodes, group);
    let what = format!("nobody leads {} ms after the leader's node died{state}", WITHIN_US / MILLISECOND);
    Err(Broken::new("take-over", group, what))
}
