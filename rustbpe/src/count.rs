//! Counting distinct pieces.
//!
//! Nearly every piece is under 16 bytes, so it is kept inline as one 128-bit key (bytes and length)
//! in an open-addressing table: a lookup is one load, one multiply and one compare. Longer pieces
//! go to an ordinary map.

use hashbrown::HashMap;

use crate::pages::prefer_large;
use crate::split::{KEY_BYTES, Piece};

/// Hashes a key by a folded multiply: the high half of the 128-bit product xor the low half. The
/// constants are fractional bits of irrational numbers, so that neighbouring keys spread.
#[inline(always)]
pub fn hash_key(key: u128) -> u64 {
    let low = (key as u64) ^ 0x9e37_79b9_7f4a_7c15;
    let high = ((key >> 64) as u64) ^ 0xd1b5_4a32_d192_ed03;
    let product = u128::from(low) * u128::from(high);
    (product as u64) ^ ((product >> 64) as u64)
}

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u128,
    count: u64,
}

/// Distinct pieces and how often each occurred.
pub struct PieceCounts {
    slots: Box<[Slot]>,
    used: usize,
    long: HashMap<Vec<u8>, u64>,
}

impl Default for PieceCounts {
    fn default() -> Self {
        PieceCounts {
            slots: empty(1 << 12),
            used: 0,
            long: HashMap::new(),
        }
    }
}

fn empty(slots: usize) -> Box<[Slot]> {
    let mut table = Vec::with_capacity(slots);
    prefer_large(table.spare_capacity_mut());
    table.resize(slots, Slot::default());
    table.into()
}

impl PieceCounts {
    /// The bytes of all distinct pieces, and one more for each.
    pub fn bytes(&self) -> usize {
        let mut bytes = 0;
        self.for_each(|piece, _| bytes += piece.len() + 1);
        bytes
    }

    /// Number of distinct pieces.
    pub fn len(&self) -> usize {
        self.used + self.long.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    pub fn add(&mut self, piece: Piece<'_>) {
        match piece.short_key() {
            Some(key) => self.add_key(key, 1),
            None if piece.bytes().is_empty() => {}
            None => *self.long.entry_ref(piece.bytes()).or_insert(0) += 1,
        }
    }

    #[inline]
    fn add_key(&mut self, key: u128, count: u64) {
        let mask = self.slots.len() - 1;
        let mut at = hash_key(key) as usize & mask;
        loop {
            let slot = &mut self.slots[at];
            if slot.key == key {
                slot.count += count;
                return;
            }
            if slot.key == 0 {
                *slot = Slot { key, count };
                self.used += 1;
                if self.used * 2 > self.slots.len() {
                    self.grow();
                }
                return;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let larger = empty(self.slots.len() * 2);
        let old = std::mem::replace(&mut self.slots, larger);
        self.used = 0;
        for slot in old.iter().filter(|slot| slot.key != 0) {
            self.add_key(slot.key, slot.count);
        }
    }

    /// Adds all counts of `other`.
    pub fn add_all(&mut self, other: PieceCounts) {
        for slot in other.slots.iter().filter(|slot| slot.key != 0) {
            self.add_key(slot.key, slot.count);
        }
        for (piece, count) in other.long {
            *self.long.entry(piece).or_insert(0) += count;
        }
    }

    /// Calls `take` with each distinct piece and its count, in no particular order.
    pub fn for_each(&self, mut take: impl FnMut(&[u8], u64)) {
        for slot in self.slots.iter().filter(|slot| slot.key != 0) {
            let bytes = slot.key.to_le_bytes();
            take(&bytes[..bytes[KEY_BYTES] as usize], slot.count);
        }
        for (piece, &count) in &self.long {
            take(piece, count);
        }
    }
}
