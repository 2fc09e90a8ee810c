//! Which pairs of tokens merge, and into what.

use crate::train::Pair;
use crate::work;

/// Not a token. As a rank it says that a pair does not merge, and sorts after every real one.
pub const NO_TOKEN: u32 = u32::MAX;

/// Bits of the filter for each pair: one pair in sixteen that does not merge gets past it.
const FILTER_BITS: usize = 16;

/// (left, right) → the token they merge into; lower ids merge first.
///
/// Most lookups are of pairs that do not merge. A filter of one bit for each hash answers those from
/// memory that fits the second-level cache; only what passes it is looked up in the table.
pub struct PairRanks {
    slots: Box<[(u64, u32)]>,
    filter: Box<[u64]>,
    /// The pairs of two bytes, which every merging begins with.
    of_bytes: Box<[u32]>,
}

impl PairRanks {
    /// A table with room for so many pairs.
    pub fn with_room(pairs: usize) -> PairRanks {
        let slots = vec![(u64::MAX, NO_TOKEN); (pairs * 2).next_power_of_two().max(16)];
        let words = (pairs * FILTER_BITS / 64).next_power_of_two();
        PairRanks {
            slots: slots.into(),
            filter: vec![0; words].into(),
            of_bytes: vec![NO_TOKEN; 1 << 16].into(),
        }
    }

    /// Adds a pair and the token they merge into. The table must have room for it.
    pub fn insert(&mut self, (left, right): Pair, token: u32) {
        let key = key(left, right);
        let hash = hash(key);
        let at = self.find(key, hash);
        self.slots[at] = (key, token);
        let (word, bit) = self.bit(hash);
        self.filter[word] |= bit;
    }

    /// Says that two bytes merge into a token.
    pub fn insert_bytes(&mut self, first: u8, second: u8, token: u32) {
        self.of_bytes[usize::from(first) << 8 | usize::from(second)] = token;
    }

    #[inline(always)]
    fn bit(&self, hash: u64) -> (usize, u64) {
        // Bits that the table's index does not use.
        let word = (hash >> 40) as usize & (self.filter.len() - 1);
        (word, 1 << (hash >> 34 & 63))
    }

    #[inline(always)]
    fn find(&self, key: u64, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].0 != key && self.slots[at].0 != u64::MAX {
            at = (at + 1) & mask;
        }
        at
    }

    /// The merged token, `NO_TOKEN` when the pair does not merge.
    #[inline(always)]
    pub fn get(&self, left: u32, right: u32) -> u32 {
        work::step();
        let key = key(left, right);
        let hash = hash(key);
        let (word, bit) = self.bit(hash);
        if self.filter[word] & bit == 0 {
            return NO_TOKEN;
        }
        self.slots[self.find(key, hash)].1
    }

    /// The token of two bytes, `NO_TOKEN` when they do not merge.
    #[inline(always)]
    pub fn of_bytes(&self, first: u8, second: u8) -> u32 {
        self.of_bytes[usize::from(first) << 8 | usize::from(second)]
    }
}

#[inline(always)]
fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

#[inline(always)]
fn hash(key: u64) -> u64 {
    let product = u128::from(key ^ (key >> 29)) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
    (product >> 64) as u64 ^ product as u64
}
