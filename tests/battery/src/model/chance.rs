//! Chance from a seed (`SplitMix64`): the same seed, the same world.

use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Chance {
    state: u64,
}

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to less than `end`, which is at least 1.
    pub(crate) const fn below(&mut self, end: usize) -> usize {
        (((self.draw() >> 32) * end as u64) >> 32) as usize
    }

    pub(crate) const fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(crate) const fn percent(&mut self, part: usize) -> bool {
        self.below(100) < part
    }

    pub(crate) fn among<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            return None;
        }
        let at = self.below(items.len());
        items.get(at)
    }

    /// Whole seconds from `least` to `most`.
    pub(crate) const fn seconds(&mut self, least: usize, most: usize) -> Duration {
        Duration::from_secs((least + self.below(most - least + 1)) as u64)
    }
}
