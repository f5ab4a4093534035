//! Whatever zones, nodes and groups there are: no move breaks a rule, an even zone is left alone, an uneven one becomes even by the fewest
//! moves, and who cannot leave is told so.

use std::collections::{BTreeMap, BTreeSet};

use control::plan::{Observed, ReplicaReport};
use model::units::Consumption;
use model::{KeyRange, NodeId, PartitionDescriptor, PartitionId, TableId, Zone};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::{Deed, Next, Place, may_follow, next};
use crate::plan::Why;

const REPLICAS: usize = 3;
/// More deeds than any world here needs.
const MOST: usize = 400;

#[derive(Clone, Debug)]
struct World {
    places: Vec<Place>,
    groups: Vec<PartitionDescriptor>,
    handed_over: BTreeSet<NodeId>,
}

/// Which zones a group is in, and which node of each.
type Wish = (Vec<usize>, [Index; REPLICAS]);

impl World {
    /// `zones`: how many nodes each has.
    fn new(zones: &[usize], wishes: &[Wish]) -> World {
        let place = |zone: usize, number: usize| Place {
            node: NodeId((zone * 10 + number + 1) as u64),
            zone: format!("zone-{zone}"),
            leaving: None,
            ready: true,
        };
        let places =
            zones.iter().enumerate().flat_map(|(zone, nodes)| (0..*nodes).map(move |number| place(zone, number)));
        let born = |(id, (in_zones, nodes)): (u64, &Wish)| {
            let homes = in_zones.iter().zip(nodes).map(|(zone, node)| place(*zone, node.index(zones[*zone])));
            let homes = homes.map(|place| (place.node, Zone(place.zone)));
            PartitionDescriptor::birth(PartitionId(id), TableId(1), KeyRange::ALL, homes)
        };
        let groups = (1..).zip(wishes).map(born).collect();
        World { places: places.collect(), groups, handed_over: BTreeSet::new() }
    }

    fn observed(&self) -> Observed {
        let reports = |group: &PartitionDescriptor| ReplicaReport {
            node: group.replicas[0].node,
            descriptor: Some(group.clone().into()),
            table: None,
            serving: true,
            health: None,
            size: None,
            consumption: Consumption::default(),
        };
        let groups = self.groups.iter().map(|group| (group.id, vec![reports(group)])).collect();
        Observed { complete: true, groups, ..Observed::default() }
    }

    fn next(&self) -> Next {
        next(&self.places, &self.observed(), true, &self.handed_over)
    }

    /// Until nothing is left to do: how many moves it took, and what is said in the end.
    fn run(&mut self) -> Result<(usize, Next), TestCaseError> {
        let mut moves = 0;
        for _ in 0..MOST {
            let next = self.next();
            match next.deed {
                None => return Ok((moves, next)),
                Some(Deed::HandOver(node)) => prop_assert!(self.handed_over.insert(node), "asked twice"),
                Some(Deed::Move(wish)) => {
                    moves += 1;
                    self.carry_out(wish.partition, wish.from, wish.to.unwrap())?;
                }
            }
        }
        Err(TestCaseError::fail("it never ends"))
    }

    fn carry_out(&mut self, partition: PartitionId, from: NodeId, to: NodeId) -> Result<(), TestCaseError> {
        let target = self.places.iter().find(|place| place.node == to).unwrap();
        prop_assert!(target.ready && target.leaving.is_none(), "{target:?} takes something");
        let group = self.groups.iter_mut().find(|group| group.id == partition).unwrap();
        prop_assert!(group.on_node(to).is_none(), "{to} has a replica of {group:?} already");
        let replica = group.replicas.iter_mut().find(|replica| replica.node == from).unwrap();
        (replica.node, replica.zone) = (to, Zone(target.zone.clone()));
        let nodes: BTreeSet<NodeId> = group.replicas.iter().map(|replica| replica.node).collect();
        let zones: BTreeSet<&Zone> = group.replicas.iter().map(|replica| &replica.zone).collect();
        prop_assert_eq!((nodes.len(), zones.len()), (REPLICAS, REPLICAS), "{:?}", group);
        Ok(())
    }

    /// How many replicas each node has, by zone.
    fn loads(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut loads: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for place in &self.places {
            let has = self.groups.iter().filter(|group| group.on_node(place.node).is_some()).count();
            loads.entry(&place.zone).or_default().push(has);
        }
        loads
    }

    fn is_even(&self) -> bool {
        self.loads().values().all(|loads| loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1)
    }

    /// The fewest moves after which no node of a zone has two more than another of it.
    fn least(&self) -> usize {
        let of_zone = |loads: &Vec<usize>| {
            let mut loads = loads.clone();
            loads.sort_unstable_by_key(|load| std::cmp::Reverse(*load));
            let (all, nodes) = (loads.iter().sum::<usize>(), loads.len());
            // Who has most keeps one more where it does not come out even.
            let keeps = |rank: usize| all / nodes + usize::from(rank < all % nodes);
            loads.iter().enumerate().map(|(rank, load)| load.saturating_sub(keeps(rank))).sum::<usize>()
        };
        self.loads().values().map(of_zone).sum()
    }

    /// Whether some group's replica could leave that place.
    fn has_room(&self, leaver: &Place, group: &PartitionDescriptor) -> bool {
        let others = || group.replicas.iter().filter(|replica| replica.node != leaver.node);
        self.places.iter().any(|place| {
            place.ready
                && may_follow(place, leaver)
                && others().all(|other| other.node != place.node && other.zone.0 != place.zone)
        })
    }
}

fn world() -> impl Strategy<Value = World> {
    prop::collection::vec(1usize..5, REPLICAS..6).prop_flat_map(|zones| {
        let in_zones = subsequence((0..zones.len()).collect::<Vec<_>>(), REPLICAS);
        let wish = (in_zones, prop::array::uniform3(any::<Index>()));
        prop::collection::vec(wish, 0..24).prop_map(move |wishes| World::new(&zones, &wishes))
    })
}

const WHYS: [Why; 4] = [Why::Drained, Why::ScaledIn, Why::ClaimDeleted, Why::ZoneRemoved];

/// What becomes of a node: most stay as they are.
fn fate() -> impl Strategy<Value = (Option<Why>, bool)> {
    let leaving = prop::option::weighted(0.3, prop::sample::select(WHYS.to_vec()));
    (leaving, prop::bool::weighted(0.8))
}

proptest! {
    #[test]
    fn zones_become_even_by_the_fewest_moves_and_are_left_alone_then(mut world in world()) {
        let least = world.least();
        let (moves, end) = world.run()?;
        prop_assert!(world.is_even(), "{:?}", world.loads());
        prop_assert_eq!((moves, end), (least, Next::default()));
        prop_assert_eq!(world.least(), 0);
    }

    #[test]
    fn a_node_that_is_added_gets_its_share_by_the_fewest_moves(mut world in world(), zone in 0usize..REPLICAS) {
        world.run()?;
        let before = world.loads().into_iter().map(|(zone, loads)| (zone.to_owned(), loads)).collect::<BTreeMap<_, _>>();
        let zone = format!("zone-{zone}");
        world.places.push(Place { node: NodeId(99), zone: zone.clone(), leaving: None, ready: true });
        let least = world.least();
        let (moves, _) = world.run()?;
        let has = world.groups.iter().filter(|group| group.on_node(NodeId(99)).is_some()).count();
        // To the one that came, and to nobody else.
        prop_assert_eq!((moves, has), (least, least));
        let all: usize = before[&zone].iter().sum();
        prop_assert_eq!(has, all / (before[&zone].len() + 1));
    }

    #[test]
    fn who_leaves_gives_all_away_or_is_told_why_not(mut world in world(), fates in prop::collection::vec(fate(), 20)) {
        for (place, (leaving, ready)) in world.places.iter_mut().zip(fates) {
            (place.leaving, place.ready) = (leaving, ready);
        }
        let (_, end) = world.run()?;
        for leaver in world.places.iter().filter(|place| place.leaving.is_some()) {
            let left: Vec<_> = world.groups.iter().filter(|group| group.on_node(leaver.node).is_some()).collect();
            let told = end.stuck.iter().find(|stuck| stuck.node == leaver.node);
            // One waits for a node that starts, and the others for their turn.
            prop_assert!(left.is_empty() || told.is_some() || end.acting.is_some(), "{leaver:?} keeps {left:?}");
            if let Some(stuck) = told {
                prop_assert!(left.iter().any(|group| !world.has_room(leaver, group)), "{stuck:?}");
                prop_assert!(stuck.message.contains("add one"));
            }
        }
    }
}
