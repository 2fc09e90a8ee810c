//! Places inside a piece that no merge can cross.
//!
//! A merge over the place between two characters makes a token that has an end of the first and a beginning
//! of the second side by side. Where no token has, both sides merge as if they stood alone. A clause of
//! Chinese, which is one piece and hardly ever occurs twice, falls into words, which do.

use crate::vocab::Vocab;
use crate::work;

/// Bits of the filter for each pair of characters: it takes one pair in sixteen for one that it is not.
const FILTER_BITS: usize = 16;

/// Which characters stand side by side in a token, and so may be merged over.
pub struct Cuts {
    /// A bit for the hash of each pair of whole characters that a token holds.
    pairs: Box<[u64]>,
    /// The last byte of the first and the first byte of the second, where a token holds one of them in part.
    parts: Box<[u64]>,
}

impl Cuts {
    pub fn new(vocab: &Vocab) -> Cuts {
        let mut pairs = Vec::new();
        let mut parts = vec![0; (1 << 16) / 64];
        for token in vocab.iter() {
            for at in (1..token.len()).filter(|&at| begins_character(token[at])) {
                match (last_character(&token[..at]), first_character(&token[at..])) {
                    (Some(first), Some(second)) => pairs.push(hash(first, second)),
                    _ => {
                        let (word, bit) = ends(token[at - 1], token[at]);
                        parts[word] |= bit;
                    }
                }
            }
        }
        let mut cuts = Cuts {
            pairs: vec![0; (pairs.len() * FILTER_BITS / 64).next_power_of_two()].into(),
            parts: parts.into(),
        };
        for hash in pairs {
            let (word, bit) = cuts.bit(hash);
            cuts.pairs[word] |= bit;
        }
        cuts
    }

    /// The parts of `piece` that merge alone, in order: one where no place to cut is found. A piece that is no
    /// UTF-8 is not cut.
    #[inline(always)]
    pub fn parts<'p>(&self, piece: &'p [u8]) -> impl Iterator<Item = &'p [u8]> + use<'p, '_> {
        let mut rest = piece;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (part, later) = rest.split_at(self.first_end(rest));
            rest = later;
            Some(part)
        })
    }

    /// Where the first part ends.
    #[inline(always)]
    fn first_end(&self, piece: &[u8]) -> usize {
        let mut at = 0;
        let Some(mut first) = character(piece, 0) else {
            return piece.len();
        };
        loop {
            work::step();
            at += first.len;
            match character(piece, at) {
                Some(second) => {
                    if !self.may_cross(first, second) {
                        return at;
                    }
                    first = second;
                }
                None => return piece.len(),
            }
        }
    }

    #[inline(always)]
    fn may_cross(&self, first: Character, second: Character) -> bool {
        let (word, bit) = self.bit(hash(first.bytes, second.bytes));
        if self.pairs[word] & bit != 0 {
            return true;
        }
        let (word, bit) = ends(first.last(), second.bytes as u8);
        self.parts[word] & bit != 0
    }

    #[inline(always)]
    fn bit(&self, hash: u64) -> (usize, u64) {
        let word = (hash >> 32) as usize & (self.pairs.len() - 1);
        (word, 1 << (hash >> 26 & 63))
    }
}

/// The bytes of a character, the first the lowest.
#[derive(Clone, Copy)]
struct Character {
    bytes: u32,
    len: usize,
}

impl Character {
    #[inline(always)]
    fn last(self) -> u8 {
        (self.bytes >> (8 * (self.len - 1))) as u8
    }
}

/// The character that begins at `at`; none at the end, and where its bytes are not all there.
#[inline(always)]
fn character(bytes: &[u8], at: usize) -> Option<Character> {
    let len = length(*bytes.get(at)?);
    let bytes = match bytes.get(at..).and_then(<[u8]>::first_chunk::<4>) {
        Some(four) => u32::from_le_bytes(*four),
        None => {
            let mut four = [0; 4];
            let rest = &bytes[at..];
            four.get_mut(..rest.len())?.copy_from_slice(rest);
            (rest.len() >= len).then_some(u32::from_le_bytes(four))?
        }
    };
    let bytes = bytes & (u32::MAX >> (32 - 8 * len));
    Some(Character { bytes, len })
}

/// The bytes of the whole character at the front, if it is whole.
fn first_character(bytes: &[u8]) -> Option<u32> {
    character(bytes, 0).map(|character| character.bytes)
}

/// The bytes of the whole character at the back, if it is whole.
fn last_character(bytes: &[u8]) -> Option<u32> {
    let start = bytes.iter().rposition(|&byte| begins_character(byte))?;
    let last = character(bytes, start)?;
    (start + last.len == bytes.len()).then_some(last.bytes)
}

#[inline(always)]
fn begins_character(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// Bytes of a character that begins so.
#[inline(always)]
fn length(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    }
}

#[inline(always)]
fn hash(first: u32, second: u32) -> u64 {
    (u64::from(first) << 32 | u64::from(second)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The place of two bytes in a set of pairs of bytes.
#[inline(always)]
fn ends(last: u8, first: u8) -> (usize, u64) {
    let place = usize::from(last) << 8 | usize::from(first);
    (place / 64, 1 << (place % 64))
}
