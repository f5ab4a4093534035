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
        world.live(events);
        prop_assert_eq!(world.is_as_wished().map_err(|why| format!("{why}; {}", world.told())), Ok(()));
    }
}

/// What happened, to whom, and how many looks came after it: histories whose end was not as wished, each by a mistake of its own.
const MISTAKES: [&[(u8, usize, usize)]; 6] = [
    // The Pod of a new node took the place of one that was replaced at once.
    &[(14, 0, 1), (9, 20, 1)],
    // Two silent ones of a zone waited for each other.
    &[(9, 61, 6), (7, 21, 3)],
    &[(9, 61, 6), (0, 10, 0), (7, 9, 0), (2, 50, 3), (7, 1, 0)],
    &[(11, 2, 9), (0, 54, 0), (9, 62, 1), (13, 2, 2), (5, 42, 1), (11, 11, 0), (11, 22, 0)],
    // Volumes of three zones were lost, and people did not do what they were told.
    &[(9, 44, 0), (7, 26, 3), (0, 12, 0), (11, 46, 0), (0, 17, 5), (13, 2, 4), (13, 29, 0), (5, 4, 0)],
    &[(10, 19, 0), (6, 18, 1), (5, 50, 1), (15, 0, 0), (12, 0, 4), (12, 20, 0), (9, 45, 2), (14, 0, 2)],
];

#[test]
fn mistakes_are_made_once() {
    for events in MISTAKES {
        let mut world = World::new();
        world.live(events.iter().copied());
        let end = world.is_as_wished().map_err(|why| format!("{events:?}: {why}; {}", world.told()));
        assert_eq!(end, Ok(()));
    }
}

impl World {
    /// Through all of it, and until everything is made good and calm.
    fn live(&mut self, events: impl IntoIterator<Item = (u8, usize, usize)>) {
        for (what, whom, looks) in events {
            self.happen(what, whom);
            for _ in 0..looks {
                self.look();
            }
        }
        self.heal();
        self.settle();
        self.bring_back();
        self.settle();
    }
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
