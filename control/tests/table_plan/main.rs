//! Situations of tables, one YAML file each, and the steps that are planned for them (`form` tells how they are written).
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

mod form;
mod properties;

use std::path::Path;

use control::plan::{Step, plan};
use form::{Situation, told};
use situations::{Planned, have_their_steps};

/// All steps, and all that is said of what blocks.
fn planned(situation: &Situation) -> (Vec<String>, String) {
    let (wished, observed) = (situation.wished(), situation.observed());
    let steps = plan(&wished, &observed);
    let said = steps.iter().filter_map(|step| match step {
        Step::Blocked { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    (steps.iter().map(told).collect(), said.collect::<Vec<_>>().join("\n"))
}

#[test]
fn every_situation_has_its_steps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/table_plan/situations");
    have_their_steps(&folder, 20, |text| {
        let situation: Situation = serde_saphyr::from_str(text).unwrap();
        let (found, said) = planned(&situation);
        let Situation { about, steps: wanted, says, .. } = situation;
        Planned { about, wanted, found, says, said }
    });
}
