//! What pieces that are not one token merge into, remembered.
//!
//! Text repeats itself: a small direct-mapped cache answers for most pieces that would have to be
//! merged. A new piece simply takes the place of the one before it.

use crate::count::hash_key;

const SLOTS: usize = 1 << 16;

/// Most ids kept for a piece; of the pieces that fit a key few have more.
const IDS: usize = 7;

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u128,
    len: u32,
    ids: [u32; IDS],
}

/// The memory of one encoding thread, 3 MiB; pages of it that no piece falls on are never touched.
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
    /// Appends the ids of the piece with this key; false when it is not remembered.
    #[inline(always)]
    pub fn append(&self, key: u128, ids: &mut Vec<u32>) -> bool {
        let slot = &self.slots[hash_key(key) as usize % SLOTS];
        let known = slot.key == key;
        if known {
            ids.extend_from_slice(&slot.ids[..slot.len as usize]);
        }
        known
    }

    pub fn remember(&mut self, key: u128, ids: &[u32]) {
        if ids.len() <= IDS {
            let slot = &mut self.slots[hash_key(key) as usize % SLOTS];
            slot.key = key;
            slot.len = ids.len() as u32;
            slot.ids[..ids.len()].copy_from_slice(ids);
        }
    }
}
