//! What is known of each other node, and what is news. Pure: time is a count of ticks.

use std::collections::BTreeMap;

use model::NodeId;
use wire::raft::Heartbeat;

use crate::neighbours::Rhythm;

/// What a frame says of the node that sent it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub start_number: u64,
    pub disk_full: bool,
    pub heartbeat: Option<Heartbeat>,
}

/// What workers are told of another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing was heard of it for one election time-out, or for three times what it promised.
    Silent,
    /// It is heard again, in the same start.
    Returned,
    /// Its start number is new: what slept in its care has no care any more.
    Restarted,
    /// It is about to stop as planned.
    Stopping,
}

/// What a node tells of itself for placement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub accepts_replicas: bool,
    pub replicas: u32,
    pub log_replicas: u32,
    pub free_bytes: u64,
}

#[derive(Debug)]
struct Neighbour {
    start_number: u64,
    heard_at: u64,
    patience: u64,
    silent: bool,
    stopping: bool,
    /// It has heard that this node stops.
    knows_of_stop: bool,
    disk_full: bool,
    told: Option<Told>,
}

/// What it was promised last, and when.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: u64,
    period: u64,
}

pub struct Table {
    rhythm: Rhythm,
    ticks: u64,
    own: Told,
    /// Heard at least once since this node's start.
    neighbours: BTreeMap<NodeId, Neighbour>,
    sent: BTreeMap<NodeId, Sent>,
    full: usize,
}

impl Table {
    pub fn new(rhythm: Rhythm) -> Table {
        let (neighbours, sent) = (BTreeMap::new(), BTreeMap::new());
        Table { rhythm, ticks: 0, own: Told::default(), neighbours, sent, full: 0 }
    }

    pub fn heard(&mut self, node: NodeId, heard: &Heard) -> Option<News> {
        let Heard { start_number, disk_full, heartbeat } = heard;
        let known = self.neighbours.entry(node).or_insert_with(|| Neighbour::first(*start_number, self.rhythm));
        if known.start_number > *start_number {
            // Late words of an earlier start.
            return None;
        }
        let restarted = known.start_number < *start_number;
        if restarted {
            self.full -= usize::from(known.disk_full);
            *known = Neighbour::first(*start_number, self.rhythm);
        }
        known.heard_at = self.ticks;
        if known.disk_full != *disk_full {
            self.full = if *disk_full { self.full + 1 } else { self.full - 1 };
            known.disk_full = *disk_full;
        }
        let returned = std::mem::take(&mut known.silent);
        let stopping = heartbeat.as_ref().is_some_and(|heartbeat| known.take(heartbeat, self.rhythm));
        match (restarted, stopping, returned) {
            (true, ..) => Some(News::Restarted),
            (false, true, _) => Some(News::Stopping),
            (false, false, true) => Some(News::Returned),
            (false, false, false) => None,
        }
    }

    /// Who is silent from now on.
    pub fn tick(&mut self, own: Told) -> Vec<(NodeId, News)> {
        self.ticks += 1;
        self.own = own;
        let mut news = Vec::new();
        for (node, neighbour) in &mut self.neighbours {
            if !neighbour.silent && self.ticks >= neighbour.heard_at + neighbour.patience {
                neighbour.silent = true;
                news.push((*node, News::Silent));
            }
        }
        news
    }

    /// Whether a heartbeat with that period is to be sent now; then it counts as sent. Nodes of one period are spread over its
    /// ticks, and who has been promised another one hears at once.
    pub fn is_due(&mut self, node: NodeId, period: u64) -> bool {
        let offset = node.0 % period;
        let due = match self.sent.get(&node) {
            Some(sent) if sent.period == period => {
                self.ticks >= sent.at + period || (self.ticks + offset).is_multiple_of(period)
            }
            Some(_) | None => true,
        };
        if due {
            self.sent.insert(node, Sent { at: self.ticks, period });
        }
        due
    }

    pub fn own(&self) -> Told {
        self.own
    }

    pub fn told(&self, node: NodeId) -> Option<Told> {
        self.neighbours.get(&node)?.told
    }

    pub fn is_alive(&self, node: NodeId) -> bool {
        self.neighbours.get(&node).is_some_and(|neighbour| !neighbour.silent)
    }

    pub fn is_stopping(&self, node: NodeId) -> bool {
        self.neighbours.get(&node).is_some_and(|neighbour| neighbour.stopping)
    }

    pub fn is_full(&self, node: NodeId) -> bool {
        self.neighbours.get(&node).is_some_and(|neighbour| neighbour.disk_full)
    }

    pub fn any_full(&self) -> bool {
        self.full > 0
    }

    /// Somebody who is to know that this node stops, and could say so, has not.
    pub fn awaits_word(&self, is_to_know: impl Fn(NodeId) -> bool) -> bool {
        let owes = |neighbour: &Neighbour| !neighbour.silent && !neighbour.stopping && !neighbour.knows_of_stop;
        self.neighbours.iter().any(|(node, neighbour)| owes(neighbour) && is_to_know(*node))
    }
}

impl Neighbour {
    fn first(start_number: u64, rhythm: Rhythm) -> Neighbour {
        Neighbour {
            start_number,
            heard_at: 0,
            // Until it promises something.
            patience: rhythm.patience(rhythm.within_ms(rhythm.period(false))),
            silent: false,
            stopping: false,
            knows_of_stop: false,
            disk_full: false,
            told: None,
        }
    }

    /// Whether it is about to stop, which it was not before.
    fn take(&mut self, heartbeat: &Heartbeat, rhythm: Rhythm) -> bool {
        let Heartbeat {
            accepts_replicas,
            replicas,
            log_replicas,
            free_bytes,
            stopping,
            next_within_ms,
            heard_stopping,
        } = *heartbeat;
        self.told = Some(Told { accepts_replicas, replicas, log_replicas, free_bytes });
        self.patience = rhythm.patience(next_within_ms);
        self.knows_of_stop |= heard_stopping;
        let news = stopping && !self.stopping;
        self.stopping |= stopping;
        news
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OTHER: NodeId = NodeId(2);
    const RHYTHM: Rhythm = Rhythm { tick: Duration::from_millis(100), heartbeat_ticks: 2, election_ticks: 10 };

    fn frame(start_number: u64) -> Heard {
        Heard { start_number, disk_full: false, heartbeat: None }
    }

    fn beat(start_number: u64, next_within_ms: u32) -> Heard {
        let heartbeat = Heartbeat { next_within_ms, replicas: 7, accepts_replicas: true, ..Heartbeat::default() };
        Heard { heartbeat: Some(heartbeat), ..frame(start_number) }
    }

    fn stopping(start_number: u64) -> Heard {
        let heartbeat = Heartbeat { stopping: true, next_within_ms: 200, ..Heartbeat::default() };
        Heard { heartbeat: Some(heartbeat), ..frame(start_number) }
    }

    /// News of so many ticks, with the tick of each.
    fn ticks(table: &mut Table, count: u64) -> Vec<(u64, News)> {
        (1..=count).flat_map(|n| table.tick(Told::default()).into_iter().map(move |(_, news)| (n, news))).collect()
    }

    #[test]
    fn who_is_not_heard_for_an_election_time_out_is_silent_once_and_any_frame_ends_it() {
        let mut table = Table::new(RHYTHM);
        assert!(!table.is_alive(OTHER) && ticks(&mut table, 40).is_empty(), "nothing is known of it");
        assert_eq!(table.heard(OTHER, &beat(5, 200)), None);
        assert_eq!(ticks(&mut table, 9), []);
        assert_eq!(table.heard(OTHER, &frame(5)), None);
        assert_eq!(ticks(&mut table, 30), [(10, News::Silent)]);
        assert!(!table.is_alive(OTHER));
        assert_eq!(table.heard(OTHER, &frame(5)), Some(News::Returned));
        assert!(table.is_alive(OTHER));
    }

    #[test]
    fn one_who_speaks_seldom_is_given_longer() {
        let mut table = Table::new(RHYTHM);
        table.heard(OTHER, &beat(5, 1000));
        assert_eq!(ticks(&mut table, 40), [(30, News::Silent)]);
    }

    #[test]
    fn a_new_start_is_news_whatever_went_before_and_an_old_one_says_nothing() {
        let mut table = Table::new(RHYTHM);
        table.heard(OTHER, &beat(5, 200));
        assert_eq!(table.heard(OTHER, &stopping(5)), Some(News::Stopping));
        assert_eq!(table.heard(OTHER, &stopping(5)), None);
        assert_eq!(table.heard(OTHER, &beat(5, 200)), None, "it goes on stopping until it starts anew");
        assert!(table.is_stopping(OTHER) && table.is_alive(OTHER));
        assert_eq!(ticks(&mut table, 20), [(10, News::Silent)]);
        assert_eq!(table.heard(OTHER, &frame(6)), Some(News::Restarted));
        assert!(table.is_alive(OTHER) && !table.is_stopping(OTHER));
        assert_eq!(table.told(OTHER), None, "what the last start told is forgotten");
        assert_eq!(table.heard(OTHER, &stopping(5)), None);
        assert!(!table.is_stopping(OTHER));
    }

    #[test]
    fn full_disks_are_counted_by_node() {
        let mut table = Table::new(RHYTHM);
        let full = |start_number| Heard { disk_full: true, ..frame(start_number) };
        for node in [2, 3] {
            table.heard(NodeId(node), &full(5));
            table.heard(NodeId(node), &full(5));
        }
        assert!(table.any_full() && table.is_full(OTHER) && !table.is_full(NodeId(4)));
        table.heard(OTHER, &frame(5));
        assert!(table.any_full() && !table.is_full(OTHER));
        table.heard(NodeId(3), &frame(6));
        assert!(!table.any_full());
    }

    #[test]
    fn heartbeats_are_due_by_their_period_and_at_once_when_it_changes() {
        let mut table = Table::new(RHYTHM);
        let mut sent = |period: u64, count: u64| -> Vec<u64> {
            let mut at = Vec::new();
            for n in 1..=count {
                table.tick(Told::default());
                if table.is_due(OTHER, period) {
                    at.push(n);
                }
            }
            at
        };
        assert_eq!(sent(2, 7), [1, 2, 4, 6]);
        let seldom = sent(10, 30);
        assert_eq!((seldom[0], seldom.len()), (1, 3));
        assert_eq!(sent(2, 1), [1]);
    }

    #[test]
    fn who_stops_waits_for_the_word_of_those_who_live_and_are_to_know() {
        let mut table = Table::new(RHYTHM);
        table.heard(OTHER, &beat(5, 200));
        table.heard(NodeId(3), &beat(5, 200));
        let all = |_: NodeId| true;
        assert!(table.awaits_word(all) && !table.awaits_word(|_| false));
        let heartbeat = Heartbeat { heard_stopping: true, next_within_ms: 200, ..Heartbeat::default() };
        table.heard(OTHER, &Heard { heartbeat: Some(heartbeat), ..frame(5) });
        assert!(table.awaits_word(all));
        table.heard(NodeId(3), &stopping(5));
        assert!(!table.awaits_word(all), "one that stops, too, needs not know");
        table.heard(NodeId(3), &frame(6));
        assert!(table.awaits_word(all));
        ticks(&mut table, 40);
        assert!(!table.awaits_word(all), "and silent ones cannot say so");
    }
}
