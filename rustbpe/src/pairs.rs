//! Which pairs of tokens merge, and into what: one lookup in a flat table.

use crate::train::Pair;

/// Not a token. As a rank it says that a pair does not merge, and sorts after every real one.
pub const NO_TOKEN: u32 = u32::MAX;

/// (left, right) → the token they merge into; lower ids merge first.
pub struct PairRanks {
    slots: Box<[(u64, u32)]>,
}

impl PairRanks {
    pub fn new(pairs: &[(Pair, u32)]) -> PairRanks {
        // Sparse, because most lookups are of pairs that do not merge, and should end at once.
        let slots = vec![(u64::MAX, NO_TOKEN); (pairs.len() * 4).next_power_of_two().max(16)];
        let mut ranks = PairRanks {
            slots: slots.into(),
        };
        for &((left, right), token) in pairs {
            let key = u64::from(left) << 32 | u64::from(right);
            let at = ranks.find(key);
            ranks.slots[at] = (key, token);
        }
        ranks
    }

    #[inline(always)]
    fn find(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let product = u128::from(key ^ (key >> 29)) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        let mut at = ((product >> 64) as usize ^ product as usize) & mask;
        while self.slots[at].0 != key && self.slots[at].0 != u64::MAX {
            at = (at + 1) & mask;
        }
        at
    }

    /// The merged token, `NO_TOKEN` when the pair does not merge.
    #[inline(always)]
    pub fn get(&self, left: u32, right: u32) -> u32 {
        self.slots[self.find(u64::from(left) << 32 | u64::from(right))].1
    }
}
