//! Situations of a cluster's nodes, one YAML file each, and the steps that are planned for them (`form` tells how they are written).
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

mod form;
mod told;

use std::path::Path;

use form::Situation;
use situations::{Planned, have_their_steps};

#[test]
fn every_situation_has_its_steps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node_plan/situations");
    have_their_steps(&folder, 20, |text| {
        let situation: Situation = serde_saphyr::from_str(text).unwrap();
        let (found, said) = told::planned(&situation);
        let Situation { about, steps: wanted, says, .. } = situation;
        Planned { about, wanted, found, says, said }
    });
}
