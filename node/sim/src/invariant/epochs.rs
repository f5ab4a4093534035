//! Membership epochs: they only rise in a replica, and one epoch is one descriptor in the whole group.

use std::collections::BTreeMap;

use model::PartitionDescriptor;

use crate::event::Group;
use crate::invariant::{Broken, Verdict};

#[derive(Default)]
pub struct Epochs {
    descriptors: BTreeMap<(Group, u64), PartitionDescriptor>,
}

impl Epochs {
    pub fn seen(
        &mut self,
        group: Group,
        before: Option<&PartitionDescriptor>,
        now: Option<&PartitionDescriptor>,
    ) -> Verdict {
        let Some(now) = now else {
            if before.is_some() {
                return Err(Broken::new("epochs", group, String::from("a replica lost its descriptor")));
            }
            return Ok(());
        };
        if let Some(before) = before {
            if before == now {
                return Ok(());
            }
            if before.epoch >= now.epoch || before.next_replica > now.next_replica {
                let what = format!("{now:?} came after {before:?}");
                return Err(Broken::new("epochs", group, what));
            }
        }
        let known = self.descriptors.entry((group, now.epoch)).or_insert_with(|| now.clone());
        if known != now {
            return Err(Broken::new("epochs", group, format!("one epoch, two descriptors: {known:?} and {now:?}")));
        }
        Ok(())
    }
}
