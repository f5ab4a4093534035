//! What failures cost real processes: how long until groups are whole again, and what clients see of it.
//!
//! Each part has a `trivet local --processes` of its own with two nodes in each zone, so that a node is left where one was lost.
//! Nodes are killed by their process id; how groups are is what nodes tell administrators.
//!
//! - [`settings`] says what is asked for; [`house`] is what is hurt, [`stock`] what is in it, [`foreground`] who uses it meanwhile;
//! - [`lost`] has nodes that stay dead, one group or a thousand; [`led`] leaders that are killed or stopped;
//! - [`away`] a node that comes back, [`rebuilt`] one that does not and whose place is taken;
//! - [`memory`] sees how much nodes take through all of it; [`row`] says what was promised and what was measured.

pub mod away;
pub mod foreground;
pub mod house;
pub mod led;
pub mod lost;
pub mod memory;
pub mod rebuilt;
pub mod row;
pub mod settings;
pub mod stock;

use memory::Memory;
use row::Row;
use settings::{Part, Settings};

/// What every part needs.
pub struct Bench {
    pub settings: Settings,
    pub memory: Memory,
    /// Tells how it goes on.
    pub say: fn(&str),
}

impl Bench {
    pub async fn measure(&self, part: Part) -> anyhow::Result<Vec<Row>> {
        match part {
            Part::Lost => lost::one_group(self).await,
            Part::Killed => led::killed(self).await,
            Part::Drained => led::drained(self).await,
            Part::Rebuilt => rebuilt::measure(self).await,
            Part::Many => lost::many_groups(self).await,
            Part::Away => away::measure(self).await,
        }
    }
}
