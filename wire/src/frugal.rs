//! Messages are read only if they are not much larger in memory than on the wire.
//!
//! An empty request is two bytes of a frame and two hundred bytes of memory: a hostile frame of the size that is allowed would
//! take gigabytes. So what the elements of a message's lists will take is counted before anything is read, field by field
//! after the protocol files; `build.rs` writes the table. Small messages cannot do harm and are not counted.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// How many times its length a message may take in memory.
const FACTOR: usize = 20;
/// What it may take beside, in bytes: a full frame of the smallest answers is 22 times as large in memory as on the wire.
const CONSTANT: usize = 8 << 20;
/// Messages of this length may be anything: two bytes can become 250 of memory, and thus not [`CONSTANT`].
const HARMLESS: usize = 64 << 10;

/// One field of a message.
pub struct Field {
    number: u64,
    /// The fields of what it holds, where it holds a message.
    inner: Option<&'static [Field]>,
    /// Bytes of memory that each of its occurrences takes, beside what it holds.
    each: usize,
    /// Whether many numbers may stand in one occurrence, a byte each.
    packed: bool,
}

/// A message whose fields are known here.
pub trait Shaped {
    const SHAPE: &'static [Field];
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// Whether a message of these bytes may be read.
pub fn is_frugal<M: Shaped>(bytes: &[u8]) -> bool {
    bytes.len() <= HARMLESS || taken(bytes, M::SHAPE) <= FACTOR * bytes.len() + CONSTANT
}

/// Bytes of memory that the lists in a message take once it is read. What is malformed counts up to where it is.
fn taken(mut bytes: &[u8], shape: &[Field]) -> usize {
    let mut sum: usize = 0;
    while let Some((number, held)) = next(&mut bytes) {
        let Some(field) = shape.iter().find(|field| field.number == number) else { continue };
        let elements = if field.packed { held.len().max(1) } else { 1 };
        sum = sum.saturating_add(field.each * elements);
        if let Some(inner) = field.inner {
            sum = sum.saturating_add(taken(held, inner));
        }
    }
    sum
}

/// The next field's number, and its bytes where it is of any length.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let tag = varint(bytes)?;
    let length = match tag & 7 {
        0 => {
            varint(bytes)?;
            return Some((tag >> 3, &[]));
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        5 => 4,
        // Groups: we send none.
        _ => return None,
    };
    let (held, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((tag >> 3, if tag & 7 == 2 { held } else { &[] }))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// tonic's own codec, but for what would take too much memory.
pub struct Frugal<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Frugal<T, U> {
    fn default() -> Frugal<T, U> {
        Frugal(PhantomData)
    }
}

impl<T, U> Codec for Frugal<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Shaped + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = FrugalDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> FrugalDecoder<U> {
        FrugalDecoder(ProstCodec::<T, U>::default().decoder())
    }
}

pub struct FrugalDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + Shaped> Decoder for FrugalDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if !is_frugal::<U>(bytes.chunk()) {
            return Err(Status::invalid_argument("a message whose lists would take too much memory"));
        }
        self.0.decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{data, memds, raft};

    #[test]
    fn lists_of_next_to_nothing_are_refused() {
        const MANY: usize = 1 << 20;
        let field = |number: u8, held: &[u8]| {
            let mut bytes = vec![number << 3 | 2];
            prost::encoding::encode_varint(held.len() as u64, &mut bytes);
            bytes.extend_from_slice(held);
            bytes
        };
        assert!(!is_frugal::<data::RequestFrame>(&field(1, &[]).repeat(MANY)));
        assert!(!is_frugal::<data::ResponseFrame>(&field(1, &[]).repeat(MANY)));
        let entries = field(8, &[]).repeat(MANY);
        assert!(!is_frugal::<raft::Frame>(&field(4, &entries)));
        assert!(!is_frugal::<memds::Announcement>(&field(2, &[]).repeat(MANY)));
    }

    #[test]
    fn full_frames_of_the_smallest_messages_are_read() {
        let missing = |id| data::Response { id, result: Some(data::response::Result::Got(data::Got { item: None })) };
        let answers = data::ResponseFrame { responses: (0..200_000).map(missing).collect(), stopping: false };
        let bytes = answers.encode_to_vec();
        assert!(bytes.len() > 1 << 20 && is_frugal::<data::ResponseFrame>(&bytes));
        let get = |id| data::Request {
            id,
            partition: 7,
            operation: Some(data::request::Operation::Get(data::Get::default())),
            ..Default::default()
        };
        let requests = data::RequestFrame { requests: (0..100_000).map(get).collect() };
        let bytes = requests.encode_to_vec();
        assert!(bytes.len() > 1 << 20 && is_frugal::<data::RequestFrame>(&bytes));
        let items = vec![bytes::Bytes::from(vec![0; 1024]); 8 << 10];
        let page = data::Scanned { items, ..Default::default() };
        let page = data::Response { id: 1, result: Some(data::response::Result::Scanned(page)) };
        assert!(is_frugal::<data::ResponseFrame>(
            &data::ResponseFrame { responses: vec![page], stopping: false }.encode_to_vec()
        ));
    }
}
