//! What differs between two tries, found by descending only where the hashes differ.

use std::cmp::Ordering;

use super::{Digest, Node, Trie, common_prefix};

/// One key whose values differ; a side that lacks the key has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<'a, V> {
    pub key: Vec<u8>,
    pub here: Option<&'a V>,
    pub there: Option<&'a V>,
}

/// A subtree, entered in the middle of its label.
struct Part<'a, V> {
    node: &'a Node<V>,
    label: &'a [u8],
}

impl<V> Clone for Part<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Part<'_, V> {}

impl<'a, V> Part<'a, V> {
    fn whole(node: &'a Node<V>) -> Part<'a, V> {
        Part { node, label: &node.label }
    }
}

impl<V: Digest> Trie<V> {
    /// In the order of the keys.
    pub fn differences<'a>(&'a self, other: &'a Trie<V>) -> Vec<Difference<'a, V>> {
        let mut found = Found { path: Vec::new(), differences: Vec::new() };
        found.compare(Part::whole(&self.root), Part::whole(&other.root));
        found.differences
    }
}

struct Found<'a, V> {
    /// The path of the parts' parents.
    path: Vec<u8>,
    differences: Vec<Difference<'a, V>>,
}

impl<'a, V: Digest> Found<'a, V> {
    fn compare(&mut self, here: Part<'a, V>, there: Part<'a, V>) {
        if here.label == there.label && here.node.hash == there.node.hash {
            return;
        }
        let depth = self.path.len();
        let common = common_prefix(here.label, there.label);
        self.path.extend_from_slice(&here.label[..common]);
        match (here.label.get(common), there.label.get(common)) {
            (None, None) => {
                self.value(here.node.value.as_ref(), there.node.value.as_ref());
                self.children(&whole(here.node), &whole(there.node));
            }
            (None, Some(_)) => {
                self.value(here.node.value.as_ref(), None);
                self.children(&whole(here.node), &[Part { label: &there.label[common..], ..there }]);
            }
            (Some(_), None) => {
                self.value(None, there.node.value.as_ref());
                self.children(&[Part { label: &here.label[common..], ..here }], &whole(there.node));
            }
            (Some(_), Some(_)) => self.children(
                &[Part { label: &here.label[common..], ..here }],
                &[Part { label: &there.label[common..], ..there }],
            ),
        }
        self.path.truncate(depth);
    }

    /// Both in the order of the first bytes of their labels.
    fn children(&mut self, here: &[Part<'a, V>], there: &[Part<'a, V>]) {
        let mut here = here.iter().peekable();
        let mut there = there.iter().peekable();
        loop {
            let order = match (here.peek(), there.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.label[0].cmp(&b.label[0]),
            };
            let a = if order.is_le() { here.next() } else { None };
            let b = if order.is_ge() { there.next() } else { None };
            match (a, b) {
                (Some(a), Some(b)) => self.compare(*a, *b),
                (Some(a), None) => self.only(*a, Side::Here),
                (None, Some(b)) => self.only(*b, Side::There),
                (None, None) => return,
            }
        }
    }

    fn value(&mut self, here: Option<&'a V>, there: Option<&'a V>) {
        if here.map(Digest::digest) != there.map(Digest::digest) {
            self.differences.push(Difference { key: self.path.clone(), here, there });
        }
    }

    fn only(&mut self, part: Part<'a, V>, side: Side) {
        let depth = self.path.len();
        self.path.extend_from_slice(part.label);
        match side {
            Side::Here => self.value(part.node.value.as_ref(), None),
            Side::There => self.value(None, part.node.value.as_ref()),
        }
        for child in &part.node.children {
            self.only(Part::whole(child), side);
        }
        self.path.truncate(depth);
    }
}

#[derive(Clone, Copy)]
enum Side {
    Here,
    There,
}

fn whole<V>(node: &Node<V>) -> Vec<Part<'_, V>> {
    node.children.iter().map(Part::whole).collect()
}
