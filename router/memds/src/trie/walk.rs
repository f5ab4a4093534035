//! Going through a trie in the order of its keys.

use super::{Node, common_prefix};

/// Keys in order, with their values.
pub struct Walk<'a, V> {
    /// What is still to be visited, the next one last; beside each node, the length of its parent's path.
    stack: Vec<(&'a Node<V>, usize)>,
    /// The path of the node visited last.
    path: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl<'a, V> Walk<'a, V> {
    pub(super) fn from(root: &'a Node<V>, start: &[u8], end: Option<&[u8]>) -> Walk<'a, V> {
        let mut walk = Walk { stack: Vec::new(), path: Vec::new(), end: end.map(<[u8]>::to_vec) };
        let mut node = root;
        let mut matched = 0;
        loop {
            // `start` begins with `matched` bytes that are the path of `node`'s parent.
            let rest = &start[matched..];
            let common = common_prefix(&node.label, rest);
            if common == rest.len() || (common < node.label.len() && node.label[common] > rest[common]) {
                walk.stack.push((node, matched));
                break;
            }
            if common < node.label.len() {
                break;
            }
            matched += common;
            let (at, same) = match node.child_at(rest[common]) {
                Ok(at) => (at + 1, Some(&node.children[at])),
                Err(at) => (at, None),
            };
            walk.stack.extend(node.children[at..].iter().rev().map(|child| (child, matched)));
            let Some(child) = same else { break };
            node = child;
        }
        walk.path.extend_from_slice(&start[..matched]);
        walk
    }

    pub(super) fn below(root: &'a Node<V>, prefix: &[u8]) -> Walk<'a, V> {
        let mut walk = Walk { stack: Vec::new(), path: prefix.to_vec(), end: None };
        let mut node = root;
        let mut matched = 0;
        loop {
            let rest = &prefix[matched..];
            let common = common_prefix(&node.label, rest);
            if common == rest.len() {
                walk.stack.push((node, matched));
                break;
            }
            if common < node.label.len() {
                break;
            }
            matched += common;
            let Ok(at) = node.child_at(rest[common]) else { break };
            node = &node.children[at];
        }
        walk
    }
}

impl<'a, V> Iterator for Walk<'a, V> {
    type Item = (Vec<u8>, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (node, parent) = self.stack.pop()?;
            self.path.truncate(parent);
            self.path.extend_from_slice(&node.label);
            if self.end.as_ref().is_some_and(|end| self.path >= *end) {
                self.stack.clear();
                return None;
            }
            let below = self.path.len();
            self.stack.extend(node.children.iter().rev().map(|child| (child, below)));
            if let Some(value) = &node.value {
                return Some((self.path.clone(), value));
            }
        }
    }
}
