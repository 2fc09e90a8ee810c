//! A cache of the ids of pieces that are more than one token.
//!
//! Text repeats itself: a small direct-mapped cache holds most pieces that would have to be merged.
//! A new piece replaces the one in its slot.

use crate::count::hash_key;

/// Number of slots: 3 MiB in all.
const SLOTS: usize = 1 << 16;

/// Most ids kept for a piece: few pieces that fit a key have more, and a slot is 48 bytes.
const IDS: usize = 7;

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u128,
    len: u32,
    ids: [u32; IDS],
}

/// The cache of one encoding thread; memory pages of it that no piece hashes to are never touched.
pub struct PieceCache {
    slots: Box<[Slot]>,
}

impl Default for PieceCache {
    fn default() -> Self {
        PieceCache {
            slots: vec![Slot::default(); SLOTS].into(),
        }
    }
}

impl PieceCache {
    /// Appends the ids of the piece with this key; false when it is not in the cache.
    #[inline(always)]
    pub fn append(&self, key: u128, ids: &mut Vec<u32>) -> bool {
        let slot = &self.slots[hash_key(key) as usize % SLOTS];
        let known = slot.key == key;
        if known {
            ids.extend_from_slice(&slot.ids[..slot.len as usize]);
        }
        known
    }

    pub fn insert(&mut self, key: u128, ids: &[u32]) {
        if ids.len() <= IDS {
            let slot = &mut self.slots[hash_key(key) as usize % SLOTS];
            slot.key = key;
            slot.len = ids.len() as u32;
            slot.ids[..ids.len()].copy_from_slice(ids);
        }
    }
}
