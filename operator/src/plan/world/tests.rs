//! What must hold in the small world, whatever happens.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_needed_goes_and_all_is_as_wished_in_the_end(
        events in prop::collection::vec((0u8..20, 0usize..64, 0usize..30), 0..24),
    ) {
        let mut world = World::new();
        prop_assert_eq!(world.is_as_wished(), Ok(()));
        for (what, whom, looks) in events {
            world.happen(what, whom);
            for _ in 0..looks {
                world.look();
            }
        }
        world.heal();
        world.settle();
        world.bring_back();
        world.settle();
        prop_assert_eq!(world.is_as_wished().map_err(|why| format!("{why}; {}", world.told())), Ok(()));
    }
}

/// The Pod of a new node must not take the place of one that is replaced at once.
#[test]
fn a_wish_is_taken_back_while_another_node_comes() {
    let mut world = World::new();
    for (what, whom) in [(14, 0), (9, 20)] {
        world.happen(what, whom);
        world.look();
    }
    world.heal();
    world.settle();
    assert_eq!(world.is_as_wished().map_err(|why| format!("{why}; {}", world.told())), Ok(()));
}

/// "3 became 45": a zone whose Kubernetes nodes die one after the other, for as long as there are any.
#[test]
fn a_zone_that_loses_every_host_has_never_more_than_one_replacement_for_each_loss() {
    let mut world = World::new();
    for _ in 0..12 {
        let lost: Vec<usize> = (0..world.hosts.len()).filter(|host| world.in_use(*host, "b")).collect();
        for host in lost {
            world.hosts[host].there = false;
        }
        for _ in 0..60 {
            world.look();
            let in_zone = world.disks.values().filter(|disk| disk.claim.zone == "b").count();
            assert!(in_zone <= 2, "{in_zone} claims in a zone of one node");
        }
    }
}
