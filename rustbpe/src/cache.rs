//! The ids of pieces that a thread has met before.
//!
//! Text repeats itself: nearly every piece is found here with one load of one cache line, whether it
//! is one token or several. Lines hold two pieces; a new one takes the place of the older.

use crate::count::hash_key;
use crate::pages::prefer_large;
use crate::pairs::NO_TOKEN;
use crate::sink::{FEW, Sink};
use crate::split::KEY_BYTES;

/// Number of lines: 8 MiB in all.
const LINES: usize = 1 << 17;

/// Number of places for pieces of more than [`FEW`] tokens: 1.3 MiB in all.
const WIDE: usize = 1 << 14;

/// A piece and its ids; [`NO_TOKEN`] after the last of them.
#[derive(Clone, Copy)]
#[repr(C)]
struct Slot {
    key: u128,
    ids: [u32; FEW],
}

impl Slot {
    #[inline(always)]
    fn len(&self) -> usize {
        1 + self.ids[1..].iter().filter(|&&id| id != NO_TOKEN).count()
    }
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([Slot; 2]);

#[derive(Clone, Copy, Default)]
struct WideSlot {
    key: u128,
    len: u32,
    ids: [u32; KEY_BYTES],
}

/// What one encoding thread keeps between texts.
pub struct PieceCache {
    lines: Box<[Line]>,
    wide: Box<[WideSlot]>,
    /// Room for the ids of a part of a text.
    pub(crate) room: Vec<u32>,
    /// The ids of a long piece while they are merged.
    pub(crate) merging: Vec<u32>,
}

impl Default for PieceCache {
    fn default() -> Self {
        let empty = Line(
            [Slot {
                key: 0,
                ids: [0; FEW],
            }; 2],
        );
        let mut lines = Vec::with_capacity(LINES);
        // Before anything is written: a page that the system has given stays as small as it is.
        prefer_large(lines.spare_capacity_mut());
        lines.resize(LINES, empty);
        PieceCache {
            lines: lines.into(),
            wide: vec![WideSlot::default(); WIDE].into(),
            room: Vec::new(),
            merging: Vec::new(),
        }
    }
}

impl PieceCache {
    /// Asks for the line of a key, before it is needed.
    #[inline(always)]
    pub fn prefetch(&self, key: u128) {
        let line = &self.lines[hash_key(key) as usize % LINES];
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction reads nothing that the program can see, and the address is valid.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }

    /// Gives the ids of the piece with this key to `sink`; false when they are not here.
    #[inline(always)]
    pub fn give(&self, key: u128, sink: &mut impl Sink) -> bool {
        let Line([first, second]) = &self.lines[hash_key(key) as usize % LINES];
        let slot = if first.key == key { first } else { second };
        let known = slot.key == key;
        if known {
            sink.few(slot.ids, slot.len());
        }
        known
    }

    /// The same for a piece of more than [`FEW`] tokens.
    pub fn give_wide(&self, key: u128, sink: &mut impl Sink) -> bool {
        let slot = &self.wide[hash_key(key) as usize % WIDE];
        let known = slot.key == key;
        if known {
            sink.many(&slot.ids[..slot.len as usize]);
        }
        known
    }

    /// Keeps the ids of a piece, at least one.
    pub fn insert(&mut self, key: u128, ids: &[u32]) {
        if ids.len() > FEW {
            let slot = &mut self.wide[hash_key(key) as usize % WIDE];
            slot.key = key;
            slot.len = ids.len() as u32;
            slot.ids[..ids.len()].copy_from_slice(ids);
            return;
        }
        let mut few = [NO_TOKEN; FEW];
        few[..ids.len()].copy_from_slice(ids);
        let Line(slots) = &mut self.lines[hash_key(key) as usize % LINES];
        slots[1] = slots[0];
        slots[0] = Slot { key, ids: few };
    }
}
