//! Everything that goes wrong: what it is called, how often it is chosen, how long it lasts.

use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    NodeKilled,
    /// Two nodes of two zones, at one moment.
    TwoNodesKilled,
    /// Its cable first, then its power: nobody is told.
    NodeUnplugged,
    RouterKilled,
    MemDsKilled,
    ControlKilled,
    /// Both nodes and the router of a zone, for a while.
    ZoneOut,
    AllNodesKilled,
    EverythingKilled,
    /// SIGSTOP, then SIGCONT.
    NodePaused,
    RouterPaused,
    MemDsPaused,
    NodeCutOff,
    /// It sends and hears nothing.
    NodeDeaf,
    /// It hears and nobody hears it.
    NodeMute,
    /// Between two nodes.
    LinkCut,
    LinkCutOneWay,
    ZoneCutOff,
    /// Two zones do not hear each other; the third hears both.
    ZonesBridged,
    NodeDelayed,
    NodeLossy,
    /// No byte is left on a node's disk; sometimes it must start so.
    DiskFull,
    /// A few writes a second.
    DiskSlow,
    /// The log's sync fails once, by a failpoint: the node must end at once.
    SyncFailed,
    /// A node's folder is gone, and its node comes back as a new one: what it had is rebuilt.
    NodeWiped,
}

impl Kind {
    pub const ALL: [Kind; 25] = [
        Kind::NodeKilled,
        Kind::TwoNodesKilled,
        Kind::NodeUnplugged,
        Kind::RouterKilled,
        Kind::MemDsKilled,
        Kind::ControlKilled,
        Kind::ZoneOut,
        Kind::AllNodesKilled,
        Kind::EverythingKilled,
        Kind::NodePaused,
        Kind::RouterPaused,
        Kind::MemDsPaused,
        Kind::NodeCutOff,
        Kind::NodeDeaf,
        Kind::NodeMute,
        Kind::LinkCut,
        Kind::LinkCutOneWay,
        Kind::ZoneCutOff,
        Kind::ZonesBridged,
        Kind::NodeDelayed,
        Kind::NodeLossy,
        Kind::DiskFull,
        Kind::DiskSlow,
        Kind::SyncFailed,
        Kind::NodeWiped,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::NodeKilled => "node killed",
            Kind::TwoNodesKilled => "two nodes killed",
            Kind::NodeUnplugged => "node unplugged",
            Kind::RouterKilled => "router killed",
            Kind::MemDsKilled => "MemDS killed",
            Kind::ControlKilled => "control killed",
            Kind::ZoneOut => "zone out",
            Kind::AllNodesKilled => "all nodes killed",
            Kind::EverythingKilled => "everything killed",
            Kind::NodePaused => "node paused",
            Kind::RouterPaused => "router paused",
            Kind::MemDsPaused => "MemDS paused",
            Kind::NodeCutOff => "node cut off",
            Kind::NodeDeaf => "node deaf",
            Kind::NodeMute => "node mute",
            Kind::LinkCut => "link cut",
            Kind::LinkCutOneWay => "link cut one way",
            Kind::ZoneCutOff => "zone cut off",
            Kind::ZonesBridged => "two zones cut apart",
            Kind::NodeDelayed => "node delayed",
            Kind::NodeLossy => "node lossy",
            Kind::DiskFull => "disk full",
            Kind::DiskSlow => "disk slow",
            Kind::SyncFailed => "sync failed",
            Kind::NodeWiped => "node wiped",
        }
    }

    /// How often it is chosen.
    fn weight(self) -> u64 {
        match self {
            Kind::NodeKilled | Kind::NodePaused | Kind::NodeCutOff => 4,
            Kind::TwoNodesKilled
            | Kind::NodeUnplugged
            | Kind::NodeDeaf
            | Kind::NodeMute
            | Kind::LinkCutOneWay
            | Kind::ZoneOut
            | Kind::ZoneCutOff
            | Kind::ZonesBridged
            | Kind::NodeDelayed
            | Kind::NodeLossy
            | Kind::DiskFull
            | Kind::DiskSlow
            | Kind::SyncFailed
            | Kind::NodeWiped => 2,
            Kind::RouterKilled
            | Kind::MemDsKilled
            | Kind::ControlKilled
            | Kind::AllNodesKilled
            | Kind::EverythingKilled
            | Kind::RouterPaused
            | Kind::MemDsPaused
            | Kind::LinkCut => 1,
        }
    }

    /// Shortest and longest, in milliseconds.
    fn lasts_ms(self) -> (u64, u64) {
        match self {
            Kind::NodeKilled
            | Kind::TwoNodesKilled
            | Kind::RouterKilled
            | Kind::MemDsKilled
            | Kind::ControlKilled
            | Kind::AllNodesKilled
            | Kind::EverythingKilled => (100, 4_000),
            Kind::NodePaused | Kind::RouterPaused | Kind::MemDsPaused => (500, 10_000),
            Kind::NodeUnplugged | Kind::ZoneOut => (2_000, 12_000),
            Kind::NodeCutOff
            | Kind::NodeDeaf
            | Kind::NodeMute
            | Kind::LinkCut
            | Kind::LinkCutOneWay
            | Kind::ZoneCutOff
            | Kind::ZonesBridged => (2_000, 12_000),
            Kind::NodeDelayed | Kind::NodeLossy | Kind::DiskSlow => (4_000, 12_000),
            Kind::DiskFull => (3_000, 8_000),
            Kind::SyncFailed => (1_000, 5_000),
            Kind::NodeWiped => (100, 1_000),
        }
    }

    /// Two copies of some groups are all that is left of them: it strikes where every group is whole, and no other fault may join it.
    pub fn strikes_alone(self) -> bool {
        self == Kind::NodeWiped
    }

    pub fn duration(self, random: &mut Random) -> Duration {
        let (shortest, longest) = self.lasts_ms();
        Duration::from_millis(shortest + random.below(longest - shortest))
    }

    /// One of these, by weight; they must not be empty.
    pub fn choose(kinds: &[Kind], random: &mut Random) -> Kind {
        let mut left = random.below(kinds.iter().map(|kind| kind.weight()).sum());
        for kind in kinds {
            if left < kind.weight() {
                return *kind;
            }
            left -= kind.weight();
        }
        kinds[0]
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
