//! What kind of world a seed stands for: its size, its speeds and which misfortunes visit it.

use replica::Options;

use crate::case::{Case, Numbers, Smaller};
use crate::directed::{ROUNDS, Row};
use crate::faults::CRUEL_ROTS;
use crate::mutant::Mutant;
use crate::rng::{Rng, mix};

pub const MILLISECOND: u64 = 1_000;
pub const SECOND: u64 = 1_000_000;

/// A minute of trouble; the healing comes on top of it.
const TROUBLED_US: u64 = 60 * SECOND;

/// Drawn from the seed before anything happens.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub mutant: Option<Mutant>,
    /// Directed: chance has no other misfortunes.
    pub row: Option<Row>,
    pub nodes: usize,
    /// In the beginning.
    pub groups: usize,
    pub clients: usize,
    pub keys: usize,
    /// Little happens but that processes die, one at a time: times are judged.
    pub calm: bool,
    /// Misfortunes are spread over this time.
    pub drawn_us: u64,
    /// How long they last before everything is healed.
    pub troubled_us: u64,
    /// Only these misfortunes, by number; all where none are named.
    pub only: Option<Numbers>,
    /// Before all is healed, one node stays away for a while: the others must do without it.
    pub straggler: bool,
    pub tick_us: u64,
    pub options: Options,
    pub network: NetworkPlan,
    pub disk: DiskPlan,
    pub crashes: u64,
    pub power_cuts: u64,
    pub partitions: u64,
    pub pauses: u64,
    pub slow_disks: u64,
    pub lossy_nodes: u64,
    pub clock_jumps: u64,
    pub wipes: u64,
    /// A crash may find even a synced last batch unreadable, once in this world.
    pub rot: bool,
    /// And only where it hurts most.
    pub cruel_rot: bool,
    /// Between two attempts to change a group's membership or leader, on average; 0 for none.
    pub mover_us: u64,
    /// Attempts to cut a group in two, at most, and between two of them, on average.
    pub splits: usize,
    pub splitter_us: u64,
    /// Client's pause between two operations, at most.
    pub think_us: u64,
    pub client_timeout_us: u64,
}

#[derive(Clone, Debug)]
pub struct NetworkPlan {
    pub least_us: u64,
    pub spread_us: u64,
    pub loss_permille: u64,
    pub twice_permille: u64,
    /// Delayed up to a minute.
    pub late_permille: u64,
    /// Each message travels alone and overtakes others.
    pub shuffled: bool,
}

#[derive(Clone, Debug)]
pub struct DiskPlan {
    pub sync_us: u64,
    pub apply_us: u64,
    pub read_us: u64,
    pub flush_every_us: u64,
    pub read_failure_permille: u64,
    /// A crash may find the last batch unreadable.
    pub torn: bool,
}

impl Plan {
    /// The plan of that world, and the chances that it takes from here on.
    pub fn of(case: &Case) -> (Plan, Rng) {
        let (mut plan, mut rng) = Plan::draw(case.seed, case.mutant);
        // Known mistakes are found by chance, where none is directed at them.
        let row = case.row.or_else(|| case.mutant.is_none().then(|| Row::of_seed(case.seed)).flatten());
        if let Some(row) = row {
            plan = row.direct(plan);
        }
        let Smaller { milliseconds, clients, groups, faults, no_moves, no_splits, salt } = &case.smaller;
        plan.troubled_us = milliseconds.map_or(plan.troubled_us, |most| plan.troubled_us.min(most * MILLISECOND));
        plan.clients = clients.map_or(plan.clients, |most| plan.clients.min(most));
        plan.groups = groups.map_or(plan.groups, |most| plan.groups.min(most));
        plan.only.clone_from(faults);
        if *no_moves {
            plan.mover_us = 0;
        }
        if *no_splits {
            plan.splits = 0;
        }
        if *salt != 0 {
            rng = Rng::new(case.seed ^ mix(*salt));
        }
        (plan, rng)
    }

    /// Places for groups: those of the beginning, and all that splits may make.
    pub fn seats(&self) -> usize {
        self.groups + self.splits
    }

    pub fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Somebody moves replicas, and makes groups whole again.
    pub fn is_moved(&self) -> bool {
        self.mover_us > 0 || self.wipes > 0 || self.repairs()
    }

    /// Leaders make their groups whole themselves.
    pub fn repairs(&self) -> bool {
        self.options.suspect_ticks > 0
    }

    /// Nothing goes wrong but what is directed: times are judged.
    pub fn judges_times(&self) -> bool {
        self.row == Some(Row::Tail)
    }

    /// A batch may rot at any time.
    pub fn rots_anywhere(&self) -> bool {
        self.rot && !self.cruel_rot
    }

    /// How many misfortunes are drawn.
    pub fn misfortunes(&self) -> usize {
        if self.row.is_some() {
            return ROUNDS;
        }
        let Plan { crashes, power_cuts, partitions, pauses, slow_disks, lossy_nodes, .. } = self;
        let Plan { clock_jumps, wipes, rot, cruel_rot, .. } = self;
        let all = crashes + crashes / 4 + power_cuts + partitions + pauses + slow_disks + lossy_nodes;
        let all = all + clock_jumps + wipes;
        let all = all + if *rot && *cruel_rot { CRUEL_ROTS } else { 0 };
        usize::try_from(all).expect("tens of misfortunes")
    }

    fn draw(seed: u64, mutant: Option<Mutant>) -> (Plan, Rng) {
        let mut rng = Rng::new(seed);
        let r = &mut rng;
        let big = r.permille(150);
        let nodes = usize::try_from(r.range(3, 7)).expect("a handful of nodes");
        let groups = usize::try_from(if big { r.range(24, 61) } else { r.range(2, 20) }).expect("tens of groups");
        let chance = |r: &mut Rng, permille: u64, low: u64, high: u64| {
            if r.permille(permille) { r.range(low, high) } else { 0 }
        };
        let (rot, cruel_rot) = (r.permille(250), r.permille(500));
        let disk = draw_disk(r);
        let options = Options { sleep_ticks: chance(r, 500, 3, 25), ..draw_options(r, seed) };
        let plan = Plan {
            seed,
            mutant,
            row: None,
            nodes,
            groups,
            clients: usize::try_from(r.range(3, 13)).expect("a few clients"),
            keys: usize::try_from(r.range(1, 6)).expect("a few keys"),
            calm: false,
            drawn_us: TROUBLED_US,
            troubled_us: TROUBLED_US,
            only: None,
            straggler: r.permille(500),
            tick_us: 100 * MILLISECOND,
            options,
            network: draw_network(r),
            disk: disk.clone(),

            crashes: r.range(2, 17),
            power_cuts: chance(r, 300, 1, 3),
            partitions: chance(r, 700, 1, 11),
            pauses: chance(r, 400, 1, 7),
            slow_disks: chance(r, 300, 1, 6),
            lossy_nodes: chance(r, 300, 1, 4),
            clock_jumps: chance(r, 500, 1, 7),
            // A torn tail next to a lost disk may be two losses: nobody can tell, and the group rightly waits for ever.
            wipes: if rot || disk.torn { 0 } else { chance(r, 500, 1, 4) },
            rot,
            cruel_rot,
            mover_us: chance(r, 900, 50, 1500) * MILLISECOND,
            splits: usize::try_from(chance(r, 600, 1, 13)).expect("a few splits"),
            splitter_us: r.range(300, 6_000) * MILLISECOND,
            think_us: r.range(2, 100) * MILLISECOND,
            client_timeout_us: r.range(1, 5) * SECOND,
        };
        let mut plan = if r.permille(80) { calm(plan, r) } else { plan };
        draw_repair(r, &mut plan.options);
        (plan, rng)
    }
}

/// A world in which nothing goes wrong, busy enough that a pause is noticed.
pub fn quiet(seed: u64) -> (Plan, Rng) {
    let (drawn, rng) = Plan::draw(seed, None);
    let plan = Plan {
        calm: false,
        nodes: 3 + usize::from(seed.is_multiple_of(2)) * 3,
        groups: 4,
        clients: 12,
        keys: 4,
        drawn_us: 10 * SECOND,
        troubled_us: 10 * SECOND,
        straggler: false,
        options: Options { seed, ..Options::default() },
        network: smooth_network(),
        disk: smooth_disk(&drawn.disk),
        mover_us: 0,
        splits: 0,
        think_us: 30 * MILLISECOND,
        client_timeout_us: 400 * MILLISECOND,
        ..without_trouble(drawn)
    };
    (plan, rng)
}

/// Groups sleep, and wake when a process dies.
fn calm(drawn: Plan, r: &mut Rng) -> Plan {
    Plan {
        calm: true,
        groups: drawn.groups.min(12),
        clients: 3,
        straggler: false,
        options: Options { seed: drawn.seed, sleep_ticks: r.range(3, 15), ..Options::default() },
        network: smooth_network(),
        disk: smooth_disk(&drawn.disk),
        crashes: r.range(3, 9),
        mover_us: 0,
        splits: 0,
        think_us: r.range(1_000, 6_000) * MILLISECOND,
        ..without_trouble(drawn)
    }
}

pub(crate) fn without_trouble(drawn: Plan) -> Plan {
    Plan {
        crashes: 0,
        power_cuts: 0,
        partitions: 0,
        pauses: 0,
        slow_disks: 0,
        lossy_nodes: 0,
        clock_jumps: 0,
        wipes: 0,
        rot: false,
        ..drawn
    }
}

pub(crate) fn smooth_network() -> NetworkPlan {
    NetworkPlan {
        loss_permille: 0,
        twice_permille: 0,
        late_permille: 0,
        shuffled: false,
        spread_us: 1_000,
        least_us: 100,
    }
}

pub(crate) fn smooth_disk(drawn: &DiskPlan) -> DiskPlan {
    DiskPlan { sync_us: 500, apply_us: 500, read_us: 200, read_failure_permille: 0, torn: false, ..drawn.clone() }
}

fn draw_options(r: &mut Rng, seed: u64) -> Options {
    let defaults = Options { seed, ..Options::default() };
    if r.permille(500) {
        return defaults;
    }
    // Small limits meet their edges.
    Options {
        entry_bytes: 200,
        queued_requests: 8,
        queued_bytes: 4 << 10,
        uncommitted_bytes: 4 << 10,
        cache_bytes: 512,
        log_bytes: r.range(256, 8 << 10),
        ..defaults
    }
}

/// In every other world leaders repair their groups, sooner than they would anywhere else.
fn draw_repair(r: &mut Rng, options: &mut Options) {
    if r.permille(500) {
        options.suspect_ticks = r.range(12, 40);
        options.planned_stop_ticks = r.range(20, 100);
        options.replace_after_ticks = r.range(50, 150);
    }
}

fn draw_network(r: &mut Rng) -> NetworkPlan {
    let rough = r.permille(600);
    NetworkPlan {
        least_us: r.range(50, 1_000),
        spread_us: if rough { r.range(1_000, 60_000) } else { r.range(100, 2_000) },
        loss_permille: if rough { r.range(0, 150) } else { 0 },
        twice_permille: if rough { r.range(0, 100) } else { 1 },
        late_permille: if rough { r.range(0, 20) } else { 0 },
        shuffled: rough && r.permille(500),
    }
}

fn draw_disk(r: &mut Rng) -> DiskPlan {
    DiskPlan {
        sync_us: r.range(50, 5_000),
        apply_us: r.range(10, 20_000),
        read_us: r.range(10, 5_000),
        flush_every_us: r.range(200, 5_000) * MILLISECOND,
        read_failure_permille: if r.permille(100) { 20 } else { 0 },
        torn: r.permille(500),
    }
}
