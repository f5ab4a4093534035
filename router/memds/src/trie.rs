//! An order-preserving compressed trie with a hash per subtree (the paper's Perkle tree): floor, ceiling, prefix, between,
//! and the differences of two tries in time that follows the differences.
//!
//! Pure. The shape follows from the keys alone, never from the order in which they came, so equal contents have equal
//! hashes. Depth is at most the length of the longest key.

mod compare;
mod walk;

pub use compare::Difference;
pub use walk::Walk;

use xxhash_rust::xxh3::Xxh3;

/// What of a value two tries compare.
pub trait Digest {
    fn digest(&self) -> u64;
}

#[derive(Clone, Debug)]
pub struct Trie<V> {
    /// Its label is empty.
    root: Node<V>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Node<V> {
    /// What the keys below have in common beyond the parent's; empty only at the root.
    label: Vec<u8>,
    value: Option<V>,
    /// Sorted by the first byte of their labels, which differ.
    children: Vec<Node<V>>,
    /// Of the value and the children with their labels, without this node's own label.
    hash: u64,
}

impl<V> Node<V> {
    fn leaf(label: &[u8], value: V) -> Node<V> {
        Node { label: label.to_vec(), value: Some(value), children: Vec::new(), hash: 0 }
    }

    /// Where a child that begins with `first` is, or would be.
    fn child_at(&self, first: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&first, |child| child.label[0])
    }
}

impl<V: Digest> Node<V> {
    fn rehash(&mut self) {
        let mut hash = Xxh3::new();
        match &self.value {
            Some(value) => {
                hash.update(&[1]);
                hash.update(&value.digest().to_be_bytes());
            }
            None => hash.update(&[0]),
        }
        for child in &self.children {
            hash.update(&(child.label.len() as u64).to_be_bytes());
            hash.update(&child.label);
            hash.update(&child.hash.to_be_bytes());
        }
        self.hash = hash.digest();
    }

    /// Keeps the first `at` bytes of the label here, and hangs the rest below.
    fn cut(&mut self, at: usize) {
        let mut below = Node {
            label: self.label.split_off(at),
            value: self.value.take(),
            children: std::mem::take(&mut self.children),
            hash: 0,
        };
        below.rehash();
        self.children.push(below);
    }

    /// Takes the only child's place: a node without a value and with one child is not allowed.
    fn join_only_child(&mut self) {
        if self.value.is_some() || self.children.len() != 1 {
            return;
        }
        if let Some(child) = self.children.pop() {
            self.label.extend_from_slice(&child.label);
            self.value = child.value;
            self.children = child.children;
        }
    }

    /// `rest` is the key beyond this node's label.
    fn insert(&mut self, rest: &[u8], value: V) -> Option<V> {
        let old = match rest.first() {
            None => self.value.replace(value),
            Some(first) => match self.child_at(*first) {
                Err(at) => {
                    let mut leaf = Node::leaf(rest, value);
                    leaf.rehash();
                    self.children.insert(at, leaf);
                    None
                }
                Ok(at) => {
                    let child = &mut self.children[at];
                    let common = common_prefix(&child.label, rest);
                    if common < child.label.len() {
                        child.cut(common);
                    }
                    child.insert(&rest[common..], value)
                }
            },
        };
        self.rehash();
        old
    }

    fn remove(&mut self, rest: &[u8]) -> Option<V> {
        let old = match rest.first() {
            None => self.value.take()?,
            Some(first) => {
                let at = self.child_at(*first).ok()?;
                let child = &mut self.children[at];
                let below = rest.strip_prefix(child.label.as_slice())?;
                let old = child.remove(below)?;
                if child.value.is_none() && child.children.is_empty() {
                    self.children.remove(at);
                } else {
                    child.join_only_child();
                    child.rehash();
                }
                old
            }
        };
        self.rehash();
        Some(old)
    }
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

impl<V: Digest> Default for Trie<V> {
    fn default() -> Self {
        let mut root = Node { label: Vec::new(), value: None, children: Vec::new(), hash: 0 };
        root.rehash();
        Trie { root, len: 0 }
    }
}

impl<V: Digest> Trie<V> {
    /// What was there before.
    pub fn insert(&mut self, key: &[u8], value: V) -> Option<V> {
        let old = self.root.insert(key, value);
        if old.is_none() {
            self.len += 1;
        }
        old
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        let old = self.root.remove(key)?;
        self.len -= 1;
        Some(old)
    }

    /// Equal for equal contents.
    pub fn hash(&self) -> u64 {
        self.root.hash
    }
}

impl<V> Trie<V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, key: &[u8]) -> Option<&V> {
        let mut node = &self.root;
        let mut rest = key;
        while let Some(first) = rest.first() {
            node = &node.children[node.child_at(*first).ok()?];
            rest = rest.strip_prefix(node.label.as_slice())?;
        }
        node.value.as_ref()
    }

    /// The greatest key that is not greater than `key`.
    pub fn floor(&self, key: &[u8]) -> Option<(Vec<u8>, &V)> {
        let mut path = Vec::new();
        let value = self.floor_found(key)?.resolve(key, |bytes| path.extend_from_slice(bytes));
        Some((path, value))
    }

    /// Like [`Trie::floor`], without putting the key together.
    pub fn floor_value(&self, key: &[u8]) -> Option<&V> {
        Some(self.floor_found(key)?.resolve(key, |_| {}))
    }

    fn floor_found(&self, key: &[u8]) -> Option<Floor<'_, V>> {
        let mut best: Option<Floor<'_, V>> = None;
        let mut node = &self.root;
        let mut matched = 0;
        loop {
            if let Some(value) = &node.value {
                best = Some(Floor::Here { matched, value });
            }
            let rest = &key[matched..];
            let Some(first) = rest.first() else { break };
            let (at, same) = match node.child_at(*first) {
                Ok(at) => (at, node.children.get(at)),
                Err(at) => (at, None),
            };
            if let Some(before) = at.checked_sub(1) {
                best = Some(Floor::GreatestBelow { matched, node: &node.children[before] });
            }
            let Some(child) = same else { break };
            if rest.starts_with(&child.label) {
                matched += child.label.len();
                node = child;
            } else {
                if child.label.as_slice() < rest {
                    best = Some(Floor::GreatestBelow { matched, node: child });
                }
                break;
            }
        }
        best
    }

    /// The least key that is not less than `key`.
    pub fn ceiling(&self, key: &[u8]) -> Option<(Vec<u8>, &V)> {
        self.between(key, None).next()
    }

    /// Everything, in order.
    pub fn iter(&self) -> Walk<'_, V> {
        self.between(&[], None)
    }

    /// `start ≤ key < end`, in order; no end reaches to the last key.
    pub fn between(&self, start: &[u8], end: Option<&[u8]>) -> Walk<'_, V> {
        Walk::from(&self.root, start, end)
    }

    /// The keys that begin with `prefix`, in order.
    pub fn prefix(&self, prefix: &[u8]) -> Walk<'_, V> {
        Walk::below(&self.root, prefix)
    }
}

/// Where the best key so far is, before its bytes are put together.
enum Floor<'a, V> {
    /// The first `matched` bytes of the key that was asked for.
    Here { matched: usize, value: &'a V },
    /// The last key under `node`, whose parent's path are the first `matched` bytes of the key that was asked for.
    GreatestBelow { matched: usize, node: &'a Node<V> },
}

impl<'a, V> Floor<'a, V> {
    /// Hands the pieces of the found key to `piece`, in order.
    fn resolve(self, key: &[u8], mut piece: impl FnMut(&[u8])) -> &'a V {
        match self {
            Floor::Here { matched, value } => {
                piece(&key[..matched]);
                value
            }
            Floor::GreatestBelow { matched, mut node } => {
                piece(&key[..matched]);
                piece(&node.label);
                while let Some(last) = node.children.last() {
                    node = last;
                    piece(&node.label);
                }
                node.value.as_ref().expect("a node without children has a value")
            }
        }
    }
}

#[cfg(test)]
mod tests;
