//! The newest images of keys whose writes raft has accepted and this replica has not yet applied.
//!
//! Only a leader has one. It is what makes a hot key fast: the next write of the key is evaluated on top of the last without
//! waiting. A turn that raft refuses is taken back whole, in reverse.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

#[derive(Default)]
pub(crate) struct Overlay {
    images: BTreeMap<Bytes, Image>,
    /// In log order: which key was written by which entry.
    written: VecDeque<(u64, Bytes)>,
    /// What this turn replaced.
    turn: Vec<(Bytes, Option<Image>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Encoded attributes; none where the item was deleted.
    pub attributes: Option<Bytes>,
    /// The entry that wrote it.
    pub index: u64,
}

impl Overlay {
    /// A map that was filled keeps a node when it is empty.
    pub(crate) fn shrink(&mut self) {
        if self.images.is_empty() && self.written.is_empty() && self.turn.is_empty() {
            *self = Overlay::default();
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Image> {
        self.images.get(key)
    }

    /// The images stay until this leader writes their keys again, whatever is applied.
    #[cfg(feature = "mutants")]
    pub(crate) fn never_applied(&mut self) {
        self.written.clear();
    }

    /// Part of the turn until [`Overlay::keep_turn`].
    pub(crate) fn put(&mut self, key: Bytes, image: Image) {
        self.written.push_back((image.index, key.clone()));
        let replaced = self.images.insert(key.clone(), image);
        self.turn.push((key, replaced));
    }

    pub(crate) fn keep_turn(&mut self) {
        self.turn.clear();
    }

    pub(crate) fn take_turn_back(&mut self) {
        while let Some((key, replaced)) = self.turn.pop() {
            self.written.pop_back();
            match replaced {
                Some(image) => self.images.insert(key, image),
                None => self.images.remove(&key),
            };
        }
    }

    /// The engine has everything up to this entry.
    pub(crate) fn applied(&mut self, index: u64) {
        while self.written.front().is_some_and(|&(written, _)| written <= index) {
            let (_, key) = self.written.pop_front().expect("there is a first one");
            if self.images.get(&key).is_some_and(|image| image.index <= index) {
                self.images.remove(&key);
            }
        }
    }

    pub(crate) fn check(&self, applied: u64, last_index: u64) {
        assert!(self.turn.is_empty(), "a turn was neither kept nor taken back");
        assert!(self.written.front().is_none_or(|&(index, _)| index > applied), "the overlay holds what is applied");
        assert!(self.written.back().is_none_or(|&(index, _)| index <= last_index), "the overlay is beyond the log");
        assert!(self.images.len() <= self.written.len(), "an image that no entry wrote");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(index: u64, text: &'static str) -> Image {
        Image { attributes: Some(Bytes::from_static(text.as_bytes())), index }
    }

    #[test]
    fn a_refused_turn_leaves_what_was_there_before() {
        let key = Bytes::from_static(b"k");
        let mut overlay = Overlay::default();
        overlay.put(key.clone(), image(11, "one"));
        overlay.keep_turn();
        overlay.put(key.clone(), image(12, "two"));
        overlay.put(key.clone(), image(12, "three"));
        overlay.put(Bytes::from_static(b"other"), image(13, "new"));
        overlay.take_turn_back();
        assert_eq!(overlay.get(&key), Some(&image(11, "one")));
        assert_eq!(overlay.get(b"other"), None);
        overlay.check(10, 11);
        overlay.applied(11);
        assert_eq!(overlay.get(&key), None);
    }

    #[test]
    fn an_image_stays_until_its_own_entry_is_applied() {
        let key = Bytes::from_static(b"k");
        let mut overlay = Overlay::default();
        overlay.put(key.clone(), image(11, "one"));
        overlay.put(key.clone(), image(12, "two"));
        overlay.keep_turn();
        overlay.applied(11);
        assert_eq!(overlay.get(&key), Some(&image(12, "two")));
        overlay.applied(12);
        assert_eq!(overlay.get(&key), None);
    }
}
