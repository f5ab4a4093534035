//! Hostile input: made from random bytes and from good input that is spoilt, and what reading it may cost.
//!
//! `bolero` calls a target with the files of its corpus and then with random bytes, for a second in `make test` and for a
//! minute in `make fuzz`. Random bytes alone end at the first byte of a format, so here they are also the seed of what is made
//! of good input: bytes flipped, cut, repeated, taken from elsewhere.
//!
//! ```text
//! noise ──► noise itself;  a seed of the corpus, spoilt;  a value that the target makes, as it is and spoilt ──► the target
//! ```
//! A target must not panic, and must not take more memory than [`FACTOR`] times its input. Only dev-dependencies name this
//! crate: it brings an allocator that counts.

mod random;
mod spoil;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub use random::Random;

/// How many times its input's length a reader may allocate at once.
pub const FACTOR: usize = 20;
/// What it may allocate whatever the input: error sentences, first buffers.
pub const CONSTANT: usize = 64 * 1024;

/// The most bytes that this thread held at once while `work` ran, beyond what it held before.
pub fn peak_bytes(work: impl FnOnce()) -> usize {
    usize::try_from(allocation_counter::measure(work).bytes_max).unwrap_or(usize::MAX)
}

/// Where hostile input comes from, and how it is held against its bounds.
pub struct Fuzz {
    seeds: Vec<Vec<u8>>,
    pieces: &'static [&'static str],
    factor: usize,
    constant: usize,
}

impl Fuzz {
    /// `folder` is the folder of the target's corpus; a target without a seed is a mistake.
    ///
    /// # Panics
    ///
    /// Where there is no corpus.
    pub fn with_corpus(folder: impl AsRef<Path>) -> Fuzz {
        let folder = folder.as_ref();
        let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("read {}: {error}", folder.display()));
        let mut paths: Vec<_> = files.map(|file| file.expect("the corpus can be listed").path()).collect();
        paths.sort();
        let seeds: Vec<Vec<u8>> =
            paths.iter().map(|path| std::fs::read(path).expect("the corpus can be read")).collect();
        assert!(!seeds.is_empty(), "{} holds no seed", folder.display());
        Fuzz { seeds, pieces: &[], factor: FACTOR, constant: CONSTANT }
    }

    /// Texts that mean something to the target: they are put into what is spoilt.
    pub fn with_pieces(self, pieces: &'static [&'static str]) -> Fuzz {
        Fuzz { pieces, ..self }
    }

    /// Another factor, where it can be said why.
    pub fn with_factor(self, factor: usize) -> Fuzz {
        Fuzz { factor, ..self }
    }

    /// Another constant, where it can be said why.
    pub fn with_constant(self, constant: usize) -> Fuzz {
        Fuzz { constant, ..self }
    }

    /// Calls `target` with what becomes of `noise`. `make` makes good input.
    pub fn feed(&self, noise: &[u8], make: impl Fn(&mut Random) -> Vec<u8>, target: impl Fn(&[u8])) {
        let mut random = Random::from_noise(noise);
        self.hold(noise, &target);
        let seed = random.pick(&self.seeds).clone();
        self.hold(&self.spoilt(&mut random, seed), &target);
        let made = make(&mut random);
        self.hold(&made, &target);
        self.hold(&self.spoilt(&mut random, made), &target);
    }

    fn spoilt(&self, random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=random.below(6) {
            let other = random.pick(&self.seeds);
            spoil::once(random, &mut bytes, other, self.pieces);
        }
        bytes
    }

    /// Runs the target on one input and names the input where a bound is broken.
    ///
    /// # Panics
    ///
    /// Where the target panics or takes too much memory.
    pub fn hold(&self, input: &[u8], target: impl Fn(&[u8])) {
        let mut outcome = Ok(());
        let bytes = peak_bytes(|| outcome = catch_unwind(AssertUnwindSafe(|| target(input))));
        let shown = || input.escape_ascii().to_string().chars().take(4000).collect::<String>();
        if let Err(cause) = outcome {
            let said = cause.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or("nothing");
            panic!("panicked saying: {said}\nwith {} bytes: {}", input.len(), shown());
        }
        let most = self.factor * input.len() + self.constant;
        assert!(bytes <= most, "{bytes} bytes were allocated for {} bytes: {}", input.len(), shown());
    }
}
