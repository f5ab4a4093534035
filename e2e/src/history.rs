//! What a history of operations must look like, whatever was killed meanwhile.
//!
//! Every key holds a list that grows by conditional writes: a write carries a token never used before and succeeds only if
//! the list has the length the writer believes. So a later strong read shows everything at once:
//!
//! - **nothing lost**: the token of an acknowledged write stands at its place for ever after;
//! - **nothing twice**: no token stands twice, no two acknowledged writes have one place;
//! - **nothing invented**: every token in the list was written by somebody, and its write was acknowledged or unknown;
//! - **no stale strong read**: a list read is at least as long as every write acknowledged before the read began, and any
//!   two reads agree on their common part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A key, and a token of a write.
pub type Key = String;
pub type Token = String;

/// What is known of one key.
#[derive(Default)]
struct KeyHistory {
    /// Place → token of the acknowledged write.
    acknowledged: BTreeMap<usize, Token>,
    /// Tokens whose write was sent and has no outcome yet, or never will have one.
    open: BTreeSet<Token>,
    /// Tokens that were refused for sure: they must never be seen.
    refused: BTreeSet<Token>,
    /// The longest list any strong read has shown.
    seen: Vec<Token>,
}

/// All keys.
#[derive(Default)]
pub struct History {
    keys: BTreeMap<Key, KeyHistory>,
}

/// What a history must not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How one write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    /// The condition failed, or the request was surely not carried out.
    Refused,
    Unknown,
}

impl History {
    /// Before a write is sent.
    pub fn begin_write(&mut self, key: &str, token: &str) {
        self.keys.entry(key.to_owned()).or_default().open.insert(token.to_owned());
    }

    /// After its answer: it would stand at `place` (0 is the list's first).
    pub fn end_write(&mut self, key: &str, token: &str, place: usize, outcome: Outcome) -> Result<(), Violation> {
        let history = self.keys.entry(key.to_owned()).or_default();
        match outcome {
            Outcome::Unknown => return Ok(()),
            Outcome::Refused => {
                history.open.remove(token);
                history.refused.insert(token.to_owned());
                return Ok(());
            }
            Outcome::Acknowledged => history.open.remove(token),
        };
        if let Some(other) = history.acknowledged.insert(place, token.to_owned()) {
            return Err(Violation(format!("{key}[{place}]: both {other} and {token} were acknowledged there")));
        }
        match history.seen.get(place) {
            Some(seen) if seen != token => {
                Err(Violation(format!("{key}[{place}]: {token} was acknowledged, a read showed {seen}")))
            }
            _ => Ok(()),
        }
    }

    /// Before a strong read is sent: how long its list must be at least.
    pub fn begin_read(&self, key: &str) -> usize {
        let Some(history) = self.keys.get(key) else { return 0 };
        let acknowledged = history.acknowledged.last_key_value().map_or(0, |(place, _)| place + 1);
        acknowledged.max(history.seen.len())
    }

    /// After its answer.
    pub fn end_read(&mut self, key: &str, at_least: usize, list: Vec<Token>) -> Result<(), Violation> {
        let history = self.keys.entry(key.to_owned()).or_default();
        if list.len() < at_least {
            let length = list.len();
            return Err(Violation(format!("{key}: a strong read showed {length} writes where {at_least} were known")));
        }
        for (place, token) in list.iter().enumerate() {
            history.check_place(key, place, token)?;
        }
        let distinct: BTreeSet<&Token> = list.iter().collect();
        if distinct.len() != list.len() {
            return Err(Violation(format!("{key}: a write stands twice in {list:?}")));
        }
        if list.len() > history.seen.len() {
            history.seen = list;
        }
        Ok(())
    }

    /// (acknowledged, unknown) writes so far.
    pub fn counts(&self) -> (usize, usize) {
        let acknowledged = self.keys.values().map(|history| history.acknowledged.len()).sum();
        let open = self.keys.values().map(|history| history.open.len()).sum();
        (acknowledged, open)
    }

    pub fn keys(&self) -> Vec<Key> {
        self.keys.keys().cloned().collect()
    }
}

impl KeyHistory {
    fn check_place(&self, key: &str, place: usize, token: &Token) -> Result<(), Violation> {
        if let Some(acknowledged) = self.acknowledged.get(&place) {
            if acknowledged != token {
                return Err(Violation(format!(
                    "{key}[{place}]: {acknowledged} was acknowledged, {token} stands there"
                )));
            }
            return Ok(());
        }
        if let Some(seen) = self.seen.get(place)
            && seen != token
        {
            return Err(Violation(format!("{key}[{place}]: one read showed {seen}, a later one {token}")));
        }
        if self.refused.contains(token) {
            return Err(Violation(format!("{key}[{place}]: {token} was refused and stands there")));
        }
        let elsewhere = self.acknowledged.values().any(|other| other == token);
        if elsewhere || !self.open.contains(token) {
            return Err(Violation(format!("{key}[{place}]: nobody wrote {token} there")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(tokens: &[&str]) -> Vec<Token> {
        tokens.iter().map(|token| (*token).to_owned()).collect()
    }

    fn history(acknowledged: &[&str]) -> History {
        let mut history = History::default();
        for (place, token) in acknowledged.iter().enumerate() {
            history.begin_write("k", token);
            history.end_write("k", token, place, Outcome::Acknowledged).unwrap();
        }
        history
    }

    #[test]
    fn a_lost_write_is_found() {
        let mut history = history(&["a", "b"]);
        let at_least = history.begin_read("k");
        assert!(history.end_read("k", at_least, list(&["a"])).is_err());
        assert!(history.end_read("k", at_least, list(&["a", "b"])).is_ok());
    }

    #[test]
    fn a_write_that_counts_twice_is_found() {
        let mut history = history(&["a"]);
        history.begin_write("k", "b");
        assert!(history.end_read("k", 1, list(&["a", "b", "b"])).is_err());
        assert!(history.end_write("k", "b", 0, Outcome::Acknowledged).is_err());
    }

    #[test]
    fn an_unknown_write_may_stand_or_not() {
        let mut history = history(&["a"]);
        history.begin_write("k", "b");
        history.end_write("k", "b", 1, Outcome::Unknown).unwrap();
        assert!(history.end_read("k", 1, list(&["a"])).is_ok());
        assert!(history.end_read("k", 1, list(&["a", "b"])).is_ok());
        assert!(history.end_read("k", history.begin_read("k"), list(&["a"])).is_err(), "once seen it stays");
    }

    #[test]
    fn a_refused_or_invented_write_is_found() {
        let mut history = history(&["a"]);
        history.begin_write("k", "b");
        history.end_write("k", "b", 1, Outcome::Refused).unwrap();
        assert!(history.end_read("k", 1, list(&["a", "b"])).is_err());
        assert!(history.end_read("k", 1, list(&["a", "z"])).is_err());
    }

    #[test]
    fn a_read_older_than_an_acknowledgement_is_found() {
        let history = history(&["a", "b", "c"]);
        assert_eq!(history.begin_read("k"), 3);
    }
}
