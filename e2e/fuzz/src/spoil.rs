//! What may become of good input.

use super::Random;

/// Bytes that lengths, tags and signs are mistaken at.
const ODD: [u8; 12] = [0, 1, 2, 0x7f, 0x80, 0x81, 0xfe, 0xff, b'"', b'{', b'[', b'\\'];
/// What is repeated grows up to this.
const GROWN: usize = 64 * 1024;

/// Spoils `bytes` in one way. `other` is good input, too.
pub fn once(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], pieces: &[&str]) {
    let at = random.below(bytes.len() + 1);
    let to = (at + 1 + random.below(32)).min(bytes.len());
    match random.below(10) {
        0 => flip(random, bytes),
        1 | 2 => set(random, bytes),
        3 => drop(bytes.drain(at.min(to)..to)),
        4 => bytes.truncate(at),
        5 => {
            let from = random.below(other.len() + 1);
            let length = random.below(64).min(other.len() - from);
            drop(bytes.splice(at..at, other[from..from + length].iter().copied()));
        }
        6 => {
            let piece = if pieces.is_empty() { "" } else { *random.pick(pieces) };
            let replaced = if random.one_of(2) { to } else { at };
            drop(bytes.splice(at..replaced, piece.bytes()));
        }
        7 => repeat(random, bytes, at, to),
        8 => {
            let inserted = random.bytes(8);
            drop(bytes.splice(at..at, inserted));
        }
        _ => raise(random, bytes),
    }
}

fn flip(random: &mut Random, bytes: &mut [u8]) {
    let bit = random.below(8);
    let at = random.below(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

fn set(random: &mut Random, bytes: &mut [u8]) {
    let at = random.below(bytes.len());
    let odd = *random.pick(&ODD);
    if let Some(byte) = bytes.get_mut(at) {
        *byte = odd;
    }
}

/// Adds a little to a byte: a length or a count that lies by a little.
fn raise(random: &mut Random, bytes: &mut [u8]) {
    let at = random.below(bytes.len());
    let by = random.byte() % 7;
    if let Some(byte) = bytes.get_mut(at) {
        *byte = byte.wrapping_add(by).wrapping_sub(3);
    }
}

/// Repeats a part: twice, or until it is long.
fn repeat(random: &mut Random, bytes: &mut Vec<u8>, from: usize, to: usize) {
    if from >= to {
        return;
    }
    let part = bytes[from..to].to_vec();
    let most = GROWN.saturating_sub(bytes.len()) / part.len();
    let times = if random.one_of(4) { most } else { random.below(8) };
    let repeated = part.repeat(times);
    drop(bytes.splice(to..to, repeated));
}
