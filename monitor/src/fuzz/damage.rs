//! Damage to inputs: as the fuzzer would do it, without its counters, from a seed that brings a failure back.

/// A small generator and the damage that it does.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }

    /// One of `examples`, damaged.
    pub(super) fn damaged(&mut self, examples: &[&[u8]]) -> Vec<u8> {
        const SIGNS: &[u8] = b"[]{}()=\"'`\n.#-0\\:,;/*\xe2 ";
        let mut bytes = examples[self.below(examples.len())].to_vec();
        for _ in 0..=self.below(5) {
            let at = self.below(bytes.len());
            match self.below(8) {
                0 if self.below(4) == 0 => bytes.truncate(at),
                1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => bytes[at] = SIGNS[self.below(SIGNS.len())],
                3 | 4 => {
                    let other = examples[self.below(examples.len())];
                    let from = self.below(other.len());
                    let piece = &other[from..(from + self.below(80)).min(other.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
                5 => {
                    let end = (at + self.below(30)).min(bytes.len());
                    bytes.drain(at..end);
                }
                6 => {
                    let sign = SIGNS[self.below(SIGNS.len())];
                    let most = if self.below(50) == 0 { 5000 } else { 8 };
                    let many = 1 + self.below(most);
                    bytes.splice(at..at, std::iter::repeat_n(sign, many));
                }
                _ => bytes.insert(at, u8::try_from(self.below(256)).unwrap()),
            }
        }
        bytes
    }
}
