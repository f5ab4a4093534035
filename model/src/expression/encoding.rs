//! Trees as bytes, for the way from the router to the leader.
//!
//! ```text
//! expression := format u8 (1), count varint, constants, then
//!   condition:  node             update: count varint, actions          projection: count varint, paths
//! node       := tag u8, body     path   := root str, count varint, steps
//! operand    := tag u8, body     step   := 0 u8, name str  |  1 u8, index varint
//! constant   := a value; where one is used stands its place among the constants, as a varint
//! ```
//! A value that is used often is written once. Reading never recurses deeper than the parser would, trusts no count beyond
//! the bytes that are there, and reads no more parts than a text could have written: a part is a byte or two here, and a
//! hundred bytes of memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::condition::{Comparator, Measured, Node, Operand};
use super::parser::DEPTH;
use super::update::{Action, Sum, Term};
use super::{Path, Step};
use crate::codec::{DecodeError, Reader, Writer};
use crate::item::{decode_value, encode_value};
use crate::limits::{EXPRESSION_BYTES, PATH_ELEMENTS};
use crate::value::Value;

const FORMAT: u8 = 1;

type Decoded<T> = Result<T, DecodeError>;

/// Writes a tree, and sets its constants aside.
#[derive(Default)]
pub(super) struct Encoder {
    tree: Vec<u8>,
    constants: Vec<Arc<Value>>,
    places: BTreeMap<*const Value, usize>,
}

/// Reads a tree whose constants are known.
pub(super) struct Decoder {
    input: Reader,
    constants: Vec<Arc<Value>>,
    /// How many parts may still come: each was a byte of the text at least.
    parts_left: usize,
}

/// All bytes of an expression whose tree is what `write` writes.
pub(super) fn encode(write: impl FnOnce(&mut Encoder)) -> Bytes {
    let mut encoder = Encoder::default();
    write(&mut encoder);
    let mut bytes = Vec::new();
    let mut out = Writer(&mut bytes);
    out.u8(FORMAT);
    out.varint(wide(encoder.constants.len()));
    encoder.constants.iter().for_each(|constant| encode_value(constant, &mut out));
    bytes.extend_from_slice(&encoder.tree);
    Bytes::from(bytes)
}

/// What `read` makes of the tree in all the bytes of an expression.
pub(super) fn decode<T>(bytes: Bytes, read: impl FnOnce(&mut Decoder) -> Decoded<T>) -> Decoded<T> {
    let mut input = Reader::new(bytes);
    match input.u8()? {
        FORMAT => {}
        other => return Err(DecodeError::UnknownFormat(other)),
    }
    let mut decoder = Decoder { input, constants: Vec::new(), parts_left: EXPRESSION_BYTES };
    decoder.constants = decoder.all(|decoder| decode_value(&mut decoder.input).map(Arc::new))?;
    let decoded = read(&mut decoder)?;
    decoder.input.finish()?;
    Ok(decoded)
}

/// Lengths in memory fit 64 bits.
fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn deeper(left: usize) -> Decoded<usize> {
    left.checked_sub(1).ok_or(DecodeError::TooDeep(DEPTH))
}

fn comparator_tag(comparator: Comparator) -> u8 {
    match comparator {
        Comparator::Equal => 0,
        Comparator::NotEqual => 1,
        Comparator::Less => 2,
        Comparator::LessOrEqual => 3,
        Comparator::Greater => 4,
        Comparator::GreaterOrEqual => 5,
    }
}

impl Encoder {
    fn out(&mut self) -> Writer<'_> {
        Writer(&mut self.tree)
    }

    fn tag(&mut self, tag: u8) {
        self.tree.push(tag);
    }

    pub(super) fn all<T>(&mut self, elements: &[T], write: fn(&mut Encoder, &T)) {
        self.out().varint(wide(elements.len()));
        elements.iter().for_each(|element| write(self, element));
    }

    /// Placeholders share their value, so that the same address is the same constant.
    fn constant(&mut self, value: &Arc<Value>) {
        let place = *self.places.entry(Arc::as_ptr(value)).or_insert_with(|| {
            self.constants.push(Arc::clone(value));
            self.constants.len() - 1
        });
        self.out().varint(wide(place));
    }

    pub(super) fn path(&mut self, path: &Path) {
        self.out().str(&path.root);
        self.all(&path.steps, |encoder, step| match step {
            Step::Field(name) => {
                encoder.tag(0);
                encoder.out().str(name);
            }
            Step::Index(index) => {
                encoder.tag(1);
                encoder.out().varint(u64::from(*index));
            }
        });
    }

    pub(super) fn node(&mut self, node: &Node) {
        match node {
            Node::And(all) => {
                self.tag(0);
                self.all(all, Encoder::node);
            }
            Node::Or(any) => {
                self.tag(1);
                self.all(any, Encoder::node);
            }
            Node::Not(negated) => {
                self.tag(2);
                self.node(negated);
            }
            Node::Compare { comparator, left, right } => {
                self.tag(3);
                self.tag(comparator_tag(*comparator));
                self.operands([left, right]);
            }
            Node::Between { value, low, high } => {
                self.tag(4);
                self.operands([value, low, high]);
            }
            Node::In { value, list } => {
                self.tag(5);
                self.operand(value);
                self.all(list, Encoder::operand);
            }
            Node::Exists(path) => {
                self.tag(6);
                self.path(path);
            }
            Node::NotExists(path) => {
                self.tag(7);
                self.path(path);
            }
            Node::HasType(operand, name) => {
                self.tag(8);
                self.operand(operand);
                self.out().str(name);
            }
            Node::BeginsWith(whole, start) => {
                self.tag(9);
                self.operands([whole, start]);
            }
            Node::Contains(whole, part) => {
                self.tag(10);
                self.operands([whole, part]);
            }
        }
    }

    fn operands<const N: usize>(&mut self, operands: [&Operand; N]) {
        operands.into_iter().for_each(|operand| self.operand(operand));
    }

    fn operand(&mut self, operand: &Operand) {
        match operand {
            Operand::Path(path) => {
                self.tag(0);
                self.path(path);
            }
            Operand::Value(value) => {
                self.tag(1);
                self.constant(value);
            }
            Operand::Size(Measured::Path(path)) => {
                self.tag(2);
                self.path(path);
            }
            Operand::Size(Measured::Value(value)) => {
                self.tag(3);
                self.constant(value);
            }
        }
    }

    pub(super) fn action(&mut self, action: &Action) {
        match action {
            Action::Set(path, sum) => {
                self.tag(0);
                self.path(path);
                self.sum(sum);
            }
            Action::Remove(path) => {
                self.tag(1);
                self.path(path);
            }
            Action::Add(path, value) => {
                self.tag(2);
                self.path(path);
                self.constant(value);
            }
            Action::Delete(path, value) => {
                self.tag(3);
                self.path(path);
                self.constant(value);
            }
        }
    }

    fn sum(&mut self, sum: &Sum) {
        let (tag, terms) = match sum {
            Sum::One(term) => (0, vec![term]),
            Sum::Plus(left, right) => (1, vec![left, right]),
            Sum::Minus(left, right) => (2, vec![left, right]),
        };
        self.tag(tag);
        terms.into_iter().for_each(|term| self.term(term));
    }

    fn term(&mut self, term: &Term) {
        match term {
            Term::Path(path) => {
                self.tag(0);
                self.path(path);
            }
            Term::Value(value) => {
                self.tag(1);
                self.constant(value);
            }
            Term::IfNotExists(path, otherwise) => {
                self.tag(2);
                self.path(path);
                self.term(otherwise);
            }
            Term::ListAppend(front, back) => {
                self.tag(3);
                self.term(front);
                self.term(back);
            }
        }
    }
}

impl Decoder {
    fn tag(&mut self) -> Decoded<u8> {
        self.input.u8()
    }

    pub(super) fn all<T>(&mut self, mut read: impl FnMut(&mut Decoder) -> Decoded<T>) -> Decoded<Vec<T>> {
        let count = usize::try_from(self.input.varint()?).unwrap_or(usize::MAX);
        // Every element takes a byte at least.
        if count > self.input.left() {
            return Err(DecodeError::Truncated);
        }
        self.parts_left =
            self.parts_left.checked_sub(count).ok_or(DecodeError::Malformed("expression: too many parts"))?;
        let mut elements = Vec::new();
        for _ in 0..count {
            elements.push(read(self)?);
        }
        Ok(elements)
    }

    fn constant(&mut self) -> Decoded<Arc<Value>> {
        let place = usize::try_from(self.input.varint()?).ok();
        let constant = place.and_then(|place| self.constants.get(place));
        constant.map(Arc::clone).ok_or(DecodeError::Malformed("constant: there is none of this number"))
    }

    pub(super) fn path(&mut self) -> Decoded<Path> {
        let root = self.input.string()?;
        let steps = self.all(|decoder| match decoder.tag()? {
            0 => Ok(Step::Field(decoder.input.string()?)),
            1 => {
                let index = u32::try_from(decoder.input.varint()?).ok();
                index.map(Step::Index).ok_or(DecodeError::Malformed("list index"))
            }
            tag => Err(DecodeError::UnknownTag { what: "path step", tag }),
        })?;
        if steps.len() >= PATH_ELEMENTS {
            return Err(DecodeError::TooDeep(PATH_ELEMENTS));
        }
        Ok(Path { root, steps })
    }

    pub(super) fn node(&mut self) -> Decoded<Node> {
        self.nested_node(DEPTH)
    }

    fn nested_node(&mut self, levels: usize) -> Decoded<Node> {
        let levels = deeper(levels)?;
        Ok(match self.tag()? {
            0 => Node::And(self.all(|decoder| decoder.nested_node(levels))?),
            1 => Node::Or(self.all(|decoder| decoder.nested_node(levels))?),
            2 => Node::Not(Box::new(self.nested_node(levels)?)),
            3 => Node::Compare { comparator: self.comparator()?, left: self.operand()?, right: self.operand()? },
            4 => Node::Between { value: self.operand()?, low: self.operand()?, high: self.operand()? },
            5 => Node::In { value: self.operand()?, list: self.all(Decoder::operand)? },
            6 => Node::Exists(self.path()?),
            7 => Node::NotExists(self.path()?),
            8 => Node::HasType(self.operand()?, self.input.string()?),
            9 => Node::BeginsWith(self.operand()?, self.operand()?),
            10 => Node::Contains(self.operand()?, self.operand()?),
            tag => return Err(DecodeError::UnknownTag { what: "condition", tag }),
        })
    }

    fn comparator(&mut self) -> Decoded<Comparator> {
        Ok(match self.tag()? {
            0 => Comparator::Equal,
            1 => Comparator::NotEqual,
            2 => Comparator::Less,
            3 => Comparator::LessOrEqual,
            4 => Comparator::Greater,
            5 => Comparator::GreaterOrEqual,
            tag => return Err(DecodeError::UnknownTag { what: "comparator", tag }),
        })
    }

    fn operand(&mut self) -> Decoded<Operand> {
        Ok(match self.tag()? {
            0 => Operand::Path(self.path()?),
            1 => Operand::Value(self.constant()?),
            2 => Operand::Size(Measured::Path(self.path()?)),
            3 => Operand::Size(Measured::Value(self.constant()?)),
            tag => return Err(DecodeError::UnknownTag { what: "operand", tag }),
        })
    }

    pub(super) fn action(&mut self) -> Decoded<Action> {
        Ok(match self.tag()? {
            0 => Action::Set(self.path()?, self.sum()?),
            1 => Action::Remove(self.path()?),
            2 => Action::Add(self.path()?, self.constant()?),
            3 => Action::Delete(self.path()?, self.constant()?),
            tag => return Err(DecodeError::UnknownTag { what: "action", tag }),
        })
    }

    fn sum(&mut self) -> Decoded<Sum> {
        Ok(match self.tag()? {
            0 => Sum::One(self.term(DEPTH)?),
            1 => Sum::Plus(self.term(DEPTH)?, self.term(DEPTH)?),
            2 => Sum::Minus(self.term(DEPTH)?, self.term(DEPTH)?),
            tag => return Err(DecodeError::UnknownTag { what: "sum", tag }),
        })
    }

    fn term(&mut self, levels: usize) -> Decoded<Term> {
        let levels = deeper(levels)?;
        Ok(match self.tag()? {
            0 => Term::Path(self.path()?),
            1 => Term::Value(self.constant()?),
            2 => Term::IfNotExists(self.path()?, Box::new(self.term(levels)?)),
            3 => Term::ListAppend(Box::new(self.term(levels)?), Box::new(self.term(levels)?)),
            tag => return Err(DecodeError::UnknownTag { what: "term", tag }),
        })
    }
}
