//! Damaged files: whatever the bytes, an import ends with plugin files that are TOML, or with an error of one line.

use super::*;

/// Files damaged in one run; the seed is fixed, so that a failure comes back.
const ROUNDS: usize = 3000;

/// The published examples.
pub(crate) const EXAMPLES: [&str; 6] = [NAMES, ONE_NAME, ATTRIBUTES, AGENT, COIN, PANOPTES];

/// A small generator and the damage that it does.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }

    /// Bytes without any order.
    pub(crate) fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most))
            .map(|_| u8::try_from(self.below(256)).unwrap())
            .collect()
    }

    /// One of `examples`, damaged.
    pub(crate) fn damaged(&mut self, examples: &[&[u8]]) -> Vec<u8> {
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

/// Imports `bytes` in every way, and checks what comes of it. Returns the plugins.
pub(crate) fn exercise(bytes: &[u8]) -> Vec<Imported> {
    let mut sound = Vec::new();
    let results = [
        import("__init__.py", bytes, None),
        import("agent.json", bytes, None),
        import("agent.json", AGENT.as_bytes(), Some(bytes)),
        import("x.panoptes-plugin", bytes, None),
        import("x", bytes, None),
    ];
    for result in results {
        match result {
            Ok(plugins) => {
                for plugin in plugins {
                    let parsed = plugin.toml.parse::<toml::Table>();
                    assert!(parsed.is_ok(), "{parsed:?}:\n{}", plugin.toml);
                    assert!(
                        !plugin.name.is_empty() && plugin.name.len() <= 64,
                        "{}",
                        plugin.name
                    );
                    assert!(!plugin.name.contains('/'), "{}", plugin.name);
                    let notes = plugin.notes.iter().map(ToString::to_string);
                    notes.for_each(|note| assert!(!note.contains('\n') && note.len() < 1000, "{note}"));
                    sound.push(plugin);
                }
            }
            Err(error) => {
                let error = error.to_string();
                assert!(!error.contains('\n') && error.len() < 1000, "{error}");
            }
        }
    }
    sound
}

#[test]
fn no_damage_makes_it_panic() {
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let examples: Vec<&[u8]> = EXAMPLES.iter().map(|text| text.as_bytes()).collect();
    let mut sound = 0;
    for _ in 0..ROUNDS {
        sound += exercise(&random.damaged(&examples)).len();
        sound += exercise(&random.bytes(80)).len();
    }
    assert!(
        sound > ROUNDS / 4,
        "{sound} sound: the damage was too much to test anything"
    );
}
