//! Choices, made by the noise that the engine gives: the same noise chooses the same.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    /// By FNV-1a, so that every byte counts.
    pub fn from_noise(noise: &[u8]) -> Random {
        Random(
            noise
                .iter()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`; 0 where nothing is.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.bits() % end).unwrap_or(0)
    }

    /// True one time of `times`.
    pub fn one_of(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn byte(&mut self) -> u8 {
        self.bits().to_le_bytes()[0]
    }

    /// A number of any magnitude.
    pub fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.bits() >> shift
    }

    /// # Panics
    ///
    /// Where there is nothing to pick from.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Up to `most` bytes.
    pub fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| self.byte()).collect()
    }

    /// Up to `most` characters, mostly letters.
    pub fn text(&mut self, most: usize) -> String {
        const CHARACTERS: [char; 12] = ['a', 'b', 'c', 'é', '\u{0}', '"', '\\', '\u{1F600}', 'A', 'Z', '0', '_'];
        (0..self.below(most + 1)).map(|_| *self.pick(&CHARACTERS)).collect()
    }
}
