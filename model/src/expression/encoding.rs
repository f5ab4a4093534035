//! Trees as bytes, for the way from the router to the leader.
//!
//! ```text
//! expression := format u8 (1), then
//!   condition:  node             update: count varint, actions          projection: count varint, paths
//! node       := tag u8, body     path   := root str, count varint, steps
//! operand    := tag u8, body     step   := 0 u8, name str  |  1 u8, index varint
//! ```
//! Reading never recurses deeper than the parser would, and trusts no count beyond the bytes that are there.

use bytes::Bytes;

use super::condition::{Comparator, Measured, Node, Operand};
use super::parser::DEPTH;
use super::update::{Action, Sum, Term};
use super::{Path, Step};
use crate::codec::{DecodeError, Reader, Writer};
use crate::item::{decode_value, encode_value};
use crate::limits::PATH_ELEMENTS;

const FORMAT: u8 = 1;

type Decoded<T> = Result<T, DecodeError>;

/// The format byte, and then what `write` appends.
pub(super) fn encode(write: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut bytes = Vec::new();
    let mut out = Writer(&mut bytes);
    out.u8(FORMAT);
    write(&mut out);
    Bytes::from(bytes)
}

/// What `read` makes of all the bytes behind the format byte.
pub(super) fn decode<T>(bytes: Bytes, read: impl FnOnce(&mut Reader) -> Decoded<T>) -> Decoded<T> {
    let mut input = Reader::new(bytes);
    match input.u8()? {
        FORMAT => {}
        other => return Err(DecodeError::UnknownFormat(other)),
    }
    let decoded = read(&mut input)?;
    input.finish()?;
    Ok(decoded)
}

pub(super) fn write_all<T>(elements: &[T], out: &mut Writer<'_>, write: fn(&T, &mut Writer<'_>)) {
    // A length in memory fits 64 bits.
    out.varint(u64::try_from(elements.len()).unwrap_or(u64::MAX));
    elements.iter().for_each(|element| write(element, out));
}

pub(super) fn read_all<T>(input: &mut Reader, mut read: impl FnMut(&mut Reader) -> Decoded<T>) -> Decoded<Vec<T>> {
    let count = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
    // Every element takes a byte at least.
    if count > input.left() {
        return Err(DecodeError::Truncated);
    }
    (0..count).map(|_| read(input)).collect()
}

pub(super) fn write_path(path: &Path, out: &mut Writer<'_>) {
    out.str(&path.root);
    write_all(&path.steps, out, |step, out| match step {
        Step::Field(name) => {
            out.u8(0);
            out.str(name);
        }
        Step::Index(index) => {
            out.u8(1);
            out.varint(u64::from(*index));
        }
    });
}

pub(super) fn read_path(input: &mut Reader) -> Decoded<Path> {
    let root = input.string()?;
    let steps = read_all(input, |input| match input.u8()? {
        0 => Ok(Step::Field(input.string()?)),
        1 => match u32::try_from(input.varint()?) {
            Ok(index) => Ok(Step::Index(index)),
            Err(_) => Err(DecodeError::Malformed("list index")),
        },
        tag => Err(DecodeError::UnknownTag { what: "path step", tag }),
    })?;
    if steps.len() >= PATH_ELEMENTS {
        return Err(DecodeError::TooDeep(PATH_ELEMENTS));
    }
    Ok(Path { root, steps })
}

fn deeper(left: usize) -> Decoded<usize> {
    left.checked_sub(1).ok_or(DecodeError::TooDeep(DEPTH))
}

pub(super) fn write_node(node: &Node, out: &mut Writer<'_>) {
    match node {
        Node::And(all) => {
            out.u8(0);
            write_all(all, out, write_node);
        }
        Node::Or(any) => {
            out.u8(1);
            write_all(any, out, write_node);
        }
        Node::Not(negated) => {
            out.u8(2);
            write_node(negated, out);
        }
        Node::Compare { comparator, left, right } => {
            out.u8(3);
            out.u8(comparator_tag(*comparator));
            [left, right].into_iter().for_each(|operand| write_operand(operand, out));
        }
        Node::Between { value, low, high } => {
            out.u8(4);
            [value, low, high].into_iter().for_each(|operand| write_operand(operand, out));
        }
        Node::In { value, list } => {
            out.u8(5);
            write_operand(value, out);
            write_all(list, out, write_operand);
        }
        Node::Exists(path) => {
            out.u8(6);
            write_path(path, out);
        }
        Node::NotExists(path) => {
            out.u8(7);
            write_path(path, out);
        }
        Node::HasType(operand, name) => {
            out.u8(8);
            write_operand(operand, out);
            out.str(name);
        }
        Node::BeginsWith(whole, start) => {
            out.u8(9);
            [whole, start].into_iter().for_each(|operand| write_operand(operand, out));
        }
        Node::Contains(whole, part) => {
            out.u8(10);
            [whole, part].into_iter().for_each(|operand| write_operand(operand, out));
        }
    }
}

pub(super) fn read_node(input: &mut Reader) -> Decoded<Node> {
    node(input, DEPTH)
}

fn node(input: &mut Reader, levels: usize) -> Decoded<Node> {
    let levels = deeper(levels)?;
    Ok(match input.u8()? {
        0 => Node::And(read_all(input, |input| node(input, levels))?),
        1 => Node::Or(read_all(input, |input| node(input, levels))?),
        2 => Node::Not(Box::new(node(input, levels)?)),
        3 => Node::Compare { comparator: comparator(input)?, left: read_operand(input)?, right: read_operand(input)? },
        4 => Node::Between { value: read_operand(input)?, low: read_operand(input)?, high: read_operand(input)? },
        5 => Node::In { value: read_operand(input)?, list: read_all(input, read_operand)? },
        6 => Node::Exists(read_path(input)?),
        7 => Node::NotExists(read_path(input)?),
        8 => Node::HasType(read_operand(input)?, input.string()?),
        9 => Node::BeginsWith(read_operand(input)?, read_operand(input)?),
        10 => Node::Contains(read_operand(input)?, read_operand(input)?),
        tag => return Err(DecodeError::UnknownTag { what: "condition", tag }),
    })
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

fn comparator(input: &mut Reader) -> Decoded<Comparator> {
    Ok(match input.u8()? {
        0 => Comparator::Equal,
        1 => Comparator::NotEqual,
        2 => Comparator::Less,
        3 => Comparator::LessOrEqual,
        4 => Comparator::Greater,
        5 => Comparator::GreaterOrEqual,
        tag => return Err(DecodeError::UnknownTag { what: "comparator", tag }),
    })
}

fn write_operand(operand: &Operand, out: &mut Writer<'_>) {
    match operand {
        Operand::Path(path) => {
            out.u8(0);
            write_path(path, out);
        }
        Operand::Value(value) => {
            out.u8(1);
            encode_value(value, out);
        }
        Operand::Size(Measured::Path(path)) => {
            out.u8(2);
            write_path(path, out);
        }
        Operand::Size(Measured::Value(value)) => {
            out.u8(3);
            encode_value(value, out);
        }
    }
}

fn read_operand(input: &mut Reader) -> Decoded<Operand> {
    Ok(match input.u8()? {
        0 => Operand::Path(read_path(input)?),
        1 => Operand::Value(decode_value(input)?),
        2 => Operand::Size(Measured::Path(read_path(input)?)),
        3 => Operand::Size(Measured::Value(decode_value(input)?)),
        tag => return Err(DecodeError::UnknownTag { what: "operand", tag }),
    })
}

pub(super) fn write_action(action: &Action, out: &mut Writer<'_>) {
    match action {
        Action::Set(path, sum) => {
            out.u8(0);
            write_path(path, out);
            write_sum(sum, out);
        }
        Action::Remove(path) => {
            out.u8(1);
            write_path(path, out);
        }
        Action::Add(path, value) => {
            out.u8(2);
            write_path(path, out);
            encode_value(value, out);
        }
        Action::Delete(path, value) => {
            out.u8(3);
            write_path(path, out);
            encode_value(value, out);
        }
    }
}

pub(super) fn read_action(input: &mut Reader) -> Decoded<Action> {
    Ok(match input.u8()? {
        0 => Action::Set(read_path(input)?, read_sum(input)?),
        1 => Action::Remove(read_path(input)?),
        2 => Action::Add(read_path(input)?, decode_value(input)?),
        3 => Action::Delete(read_path(input)?, decode_value(input)?),
        tag => return Err(DecodeError::UnknownTag { what: "action", tag }),
    })
}

fn write_sum(sum: &Sum, out: &mut Writer<'_>) {
    let (tag, terms) = match sum {
        Sum::One(term) => (0, vec![term]),
        Sum::Plus(left, right) => (1, vec![left, right]),
        Sum::Minus(left, right) => (2, vec![left, right]),
    };
    out.u8(tag);
    terms.into_iter().for_each(|term| write_term(term, out));
}

fn read_sum(input: &mut Reader) -> Decoded<Sum> {
    Ok(match input.u8()? {
        0 => Sum::One(term(input, DEPTH)?),
        1 => Sum::Plus(term(input, DEPTH)?, term(input, DEPTH)?),
        2 => Sum::Minus(term(input, DEPTH)?, term(input, DEPTH)?),
        tag => return Err(DecodeError::UnknownTag { what: "sum", tag }),
    })
}

fn write_term(term: &Term, out: &mut Writer<'_>) {
    match term {
        Term::Path(path) => {
            out.u8(0);
            write_path(path, out);
        }
        Term::Value(value) => {
            out.u8(1);
            encode_value(value, out);
        }
        Term::IfNotExists(path, otherwise) => {
            out.u8(2);
            write_path(path, out);
            write_term(otherwise, out);
        }
        Term::ListAppend(front, back) => {
            out.u8(3);
            write_term(front, out);
            write_term(back, out);
        }
    }
}

fn term(input: &mut Reader, levels: usize) -> Decoded<Term> {
    let levels = deeper(levels)?;
    Ok(match input.u8()? {
        0 => Term::Path(read_path(input)?),
        1 => Term::Value(decode_value(input)?),
        2 => Term::IfNotExists(read_path(input)?, Box::new(term(input, levels)?)),
        3 => Term::ListAppend(Box::new(term(input, levels)?), Box::new(term(input, levels)?)),
        tag => return Err(DecodeError::UnknownTag { what: "term", tag }),
    })
}
