//! Tables of which something could not be done: each is tried again by itself, ever more seldom, and says what failed. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

struct Trouble {
    what: String,
    /// From one try to the next.
    pause: Duration,
    next_try: Instant,
}

pub struct Troubles {
    first_pause: Duration,
    longest_pause: Duration,
    tables: BTreeMap<String, Trouble>,
}

impl Troubles {
    pub fn new(first_pause: Duration, longest_pause: Duration) -> Troubles {
        Troubles { first_pause, longest_pause, tables: BTreeMap::new() }
    }

    pub fn begin(&mut self, table: &str, what: String, now: Instant) {
        let before = self.tables.get(table).map(|trouble| trouble.pause);
        let pause = before.map_or(self.first_pause, |pause| pause.saturating_mul(2)).min(self.longest_pause);
        self.tables.insert(table.to_owned(), Trouble { what, pause, next_try: now + pause });
    }

    pub fn over(&mut self, table: &str) {
        self.tables.remove(table);
    }

    /// Of a table with which there is nothing to do any more nothing fails.
    pub fn only(&mut self, is_planned: impl Fn(&str) -> bool) {
        self.tables.retain(|name, _| is_planned(name));
    }

    /// Whether it is too early for the next try.
    pub fn wait(&self, table: &str, now: Instant) -> bool {
        self.tables.get(table).is_some_and(|trouble| now < trouble.next_try)
    }

    /// How long until the first of them is tried; none where there is no trouble.
    pub fn next_try(&self, now: Instant) -> Option<Duration> {
        let next = self.tables.values().map(|trouble| trouble.next_try).min();
        next.map(|next| next.saturating_duration_since(now).max(self.first_pause))
    }

    /// What hinders tables: what the plan says, and what failed of the others.
    pub fn told(&self, blocked: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut told: BTreeMap<String, String> =
            self.tables.iter().map(|(table, trouble)| (table.clone(), format!("Failed: {}", trouble.what))).collect();
        told.extend(blocked.clone());
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_fails_again_is_tried_more_seldom() {
        let (second, now) = (Duration::from_secs(1), Instant::now());
        let mut troubles = Troubles::new(second, second * 5);
        assert_eq!(troubles.next_try(now), None);
        for pause in [1, 2, 4, 5, 5] {
            troubles.begin("music", "no room".to_owned(), now);
            assert!(troubles.wait("music", now + second * pause - Duration::from_millis(1)), "{pause}");
            assert!(!troubles.wait("music", now + second * pause) && !troubles.wait("films", now), "{pause}");
            assert_eq!(troubles.next_try(now), Some(second * pause));
        }
        let reason = |troubles: &Troubles, blocked: &[(&str, &str)]| {
            let blocked = blocked.iter().map(|(table, why)| ((*table).to_owned(), (*why).to_owned())).collect();
            troubles.told(&blocked).remove("music")
        };
        assert_eq!(reason(&troubles, &[]), Some("Failed: no room".to_owned()));
        assert_eq!(reason(&troubles, &[("music", "Diverged: so")]), Some("Diverged: so".to_owned()));
        troubles.over("music");
        assert_eq!(reason(&troubles, &[]), None);
        troubles.begin("music", "no room".to_owned(), now);
        assert_eq!(troubles.next_try(now), Some(second));
        troubles.only(|table| table == "films");
        assert_eq!(troubles.next_try(now), None);
    }
}
