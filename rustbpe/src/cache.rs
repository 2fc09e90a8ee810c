//! The ids of pieces that a thread has met before.
//!
//! Text repeats itself: nearly every piece is found here with one load of one cache line, whether it
//! is one token or several. Lines hold two pieces; a new one takes the place of the older. A cache begins
//! small and grows with the text it meets.

use crate::count::hash_key;
use crate::pages::prefer_large;
use crate::pairs::NO_TOKEN;
use crate::sink::{FEW, Sink};
use crate::split::KEY_BYTES;

/// Number of lines in the beginning: 1 MiB, and at most: 16 MiB.
const FIRST_LINES: usize = 1 << 14;
const MOST_LINES: usize = 1 << 18;

/// By so much a cache grows when pieces push each other out.
const GROWTH: usize = 16;

/// Number of places for pieces of more than [`FEW`] tokens: 1.3 MiB in all.
const WIDE: usize = 1 << 14;

/// Number of places for pieces that have no key: 512 KiB in all.
const LONG: usize = 1 << 12;

/// The longest piece that is kept without a key, and the most tokens it may have.
const LONG_BYTES: usize = 64;
const LONG_IDS: usize = 15;

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

impl Line {
    const EMPTY: Line = Line(
        [Slot {
            key: 0,
            ids: [0; FEW],
        }; 2],
    );
}

#[derive(Clone, Copy, Default)]
struct WideSlot {
    key: u128,
    len: u32,
    ids: [u32; KEY_BYTES],
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct LongSlot {
    bytes: [u8; LONG_BYTES],
    ids: [u32; LONG_IDS],
    len: u8,
    tokens: u8,
}

impl LongSlot {
    const EMPTY: LongSlot = LongSlot {
        bytes: [0; LONG_BYTES],
        ids: [0; LONG_IDS],
        len: 0,
        tokens: 0,
    };
}

/// What one encoding thread keeps between texts.
pub struct PieceCache {
    lines: Box<[Line]>,
    /// Pieces pushed out of the lines since these are so many.
    pushed_out: usize,
    /// Both are made when the first piece comes into them.
    wide: Box<[WideSlot]>,
    long: Box<[LongSlot]>,
    /// The ids of a long piece while they are merged.
    pub(crate) merging: Vec<u32>,
}

impl Default for PieceCache {
    fn default() -> Self {
        PieceCache {
            lines: empty_lines(FIRST_LINES),
            pushed_out: 0,
            wide: Box::default(),
            long: Box::default(),
            merging: Vec::new(),
        }
    }
}

fn empty_lines(number: usize) -> Box<[Line]> {
    let mut lines = Vec::with_capacity(number);
    // Before anything is written: a page that the system has given stays as small as it is.
    prefer_large(lines.spare_capacity_mut());
    lines.resize(number, Line::EMPTY);
    lines.into()
}

impl PieceCache {
    #[inline(always)]
    fn place(&self, key: u128) -> usize {
        hash_key(key) as usize & (self.lines.len() - 1)
    }

    /// Asks for the line of a key, before it is needed.
    #[inline(always)]
    pub fn prefetch(&self, key: u128) {
        let line = &self.lines[self.place(key)];
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
        let Line([first, second]) = &self.lines[self.place(key)];
        let slot = if first.key == key { first } else { second };
        let known = slot.key == key;
        if known {
            sink.few(slot.ids, slot.len());
        }
        known
    }

    /// The same for a piece of more than [`FEW`] tokens.
    pub fn give_wide(&self, key: u128, sink: &mut impl Sink) -> bool {
        let slot = self.wide.get(hash_key(key) as usize % WIDE);
        let known = slot.filter(|slot| slot.key == key);
        if let Some(slot) = known {
            sink.many(&slot.ids[..slot.len as usize]);
        }
        known.is_some()
    }

    /// Keeps the ids of a piece, at least one.
    pub fn insert(&mut self, key: u128, ids: &[u32]) {
        if ids.len() > FEW {
            self.insert_wide(key, ids);
            return;
        }
        let mut few = [NO_TOKEN; FEW];
        few[..ids.len()].copy_from_slice(ids);
        let Line(slots) = &mut self.lines[self.place(key)];
        let pushed_out = slots[1].key != 0;
        slots[1] = slots[0];
        slots[0] = Slot { key, ids: few };
        if pushed_out {
            self.pushed_out += 1;
            if self.pushed_out > self.lines.len() / 8 && self.lines.len() < MOST_LINES {
                self.grow();
            }
        }
    }

    fn insert_wide(&mut self, key: u128, ids: &[u32]) {
        if self.wide.is_empty() {
            self.wide = vec![WideSlot::default(); WIDE].into();
        }
        let slot = &mut self.wide[hash_key(key) as usize % WIDE];
        slot.key = key;
        slot.len = ids.len() as u32;
        slot.ids[..ids.len()].copy_from_slice(ids);
    }

    #[cold]
    fn grow(&mut self) {
        let lines = empty_lines(self.lines.len() * GROWTH);
        let old = std::mem::replace(&mut self.lines, lines);
        self.pushed_out = 0;
        // The newer of a line last, so that it is the newer again.
        for slot in old.iter().flat_map(|Line([newer, older])| [older, newer]) {
            if slot.key != 0 {
                let Line(slots) = &mut self.lines[self.place(slot.key)];
                slots[1] = slots[0];
                slots[0] = *slot;
            }
        }
    }

    /// The same as [`PieceCache::give`] for a piece without a key.
    #[inline(always)]
    pub fn give_long(&self, piece: &[u8], sink: &mut impl Sink) -> bool {
        let Some(hash) = hash_long(piece) else {
            return false;
        };
        let slot = self.long.get(hash as usize % LONG);
        let known = slot.filter(|slot| slot.bytes.get(..usize::from(slot.len)) == Some(piece));
        if let Some(slot) = known {
            sink.many(&slot.ids[..usize::from(slot.tokens)]);
        }
        known.is_some()
    }

    /// Keeps the ids of a piece without a key, at least one, where they have room.
    pub fn insert_long(&mut self, piece: &[u8], ids: &[u32]) {
        let Some(hash) = hash_long(piece).filter(|_| ids.len() <= LONG_IDS) else {
            return;
        };
        if self.long.is_empty() {
            self.long = vec![LongSlot::EMPTY; LONG].into();
        }
        let slot = &mut self.long[hash as usize % LONG];
        slot.len = piece.len() as u8;
        slot.tokens = ids.len() as u8;
        slot.bytes[..piece.len()].copy_from_slice(piece);
        slot.ids[..ids.len()].copy_from_slice(ids);
    }
}

/// A hash of all bytes of a piece that has no key; none where it is too long to be kept.
#[inline(always)]
fn hash_long(piece: &[u8]) -> Option<u64> {
    if piece.len() > LONG_BYTES {
        return None;
    }
    let last = u128::from_le_bytes(*piece.last_chunk()?);
    let (chunks, _) = piece.as_chunks::<16>();
    let fold = |hash: u64, chunk: &[u8; 16]| {
        hash_key(u128::from_le_bytes(*chunk) ^ u128::from(hash.rotate_left(29)))
    };
    Some(chunks.iter().fold(hash_key(last), fold))
}
