//! Pre-tokenization: cutting a text into the pieces that merges never cross.

use fancy_regex::Regex;

use crate::gpt2::{self, GPT2_PATTERN, R50K_PATTERN};
use crate::gpt4::Family;
use crate::o200k::{self, O200K_PATTERN};
use crate::unicode::{Cases, Classes};

/// A piece of a text that also sees the bytes after it, so that its key is a single load.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'t> {
    text: &'t str,
    start: usize,
    end: usize,
}

impl<'t> Piece<'t> {
    /// The piece that is the whole of `text`.
    pub fn whole(text: &'t str) -> Piece<'t> {
        Piece {
            text,
            start: 0,
            end: text.len(),
        }
    }

    /// Where the piece begins in the text it was cut from, in bytes.
    pub fn start(&self) -> usize {
        self.start
    }

    #[inline(always)]
    pub fn bytes(&self) -> &'t [u8] {
        &self.text.as_bytes()[self.start..self.end]
    }

    #[inline(always)]
    pub fn as_str(&self) -> &'t str {
        &self.text[self.start..self.end]
    }

    /// The key of a piece of 1 to 15 bytes: its bytes in the low end, its length in the top byte.
    /// Never 0.
    #[inline(always)]
    pub fn short_key(&self) -> Option<u128> {
        let len = self.end - self.start;
        if len == 0 || len > KEY_BYTES {
            return None;
        }
        let text = self.text.as_bytes();
        let Some(window) = text[self.start..].first_chunk::<16>() else {
            return short_key(self.bytes());
        };
        let (kept, length) = KEY_PARTS[len];
        Some(u128::from_le_bytes(*window) & kept | length)
    }
}

/// Longest piece that fits a 128-bit key beside its length.
pub const KEY_BYTES: usize = 15;

/// For each length the bits of the key that are text, and those that say the length.
static KEY_PARTS: [(u128, u128); KEY_BYTES + 1] = key_parts();

const fn key_parts() -> [(u128, u128); KEY_BYTES + 1] {
    let mut parts = [(0, 0); KEY_BYTES + 1];
    let mut len = 1;
    while len <= KEY_BYTES {
        parts[len] = (
            u128::MAX >> (128 - 8 * len),
            (len as u128) << (8 * KEY_BYTES),
        );
        len += 1;
    }
    parts
}

/// The key of bytes that stand alone; see [`Piece::short_key`].
pub fn short_key(piece: &[u8]) -> Option<u128> {
    let len = piece.len();
    if len == 0 || len > KEY_BYTES {
        return None;
    }
    let mut bytes = [0u8; 16];
    bytes[..len].copy_from_slice(piece);
    bytes[KEY_BYTES] = len as u8;
    Some(u128::from_le_bytes(bytes))
}

/// A compiled split pattern.
#[derive(Clone, Debug)]
pub enum Splitter {
    Gpt2,
    Gpt4(Family),
    O200k,
    Regex(Box<Regex>),
}

impl Splitter {
    /// Compiles `pattern`; the error is the regular-expression parser's own message.
    pub fn new(pattern: &str) -> Result<Splitter, String> {
        if let Some(family) = Family::of_pattern(pattern) {
            return Ok(Splitter::Gpt4(family));
        }
        match pattern {
            GPT2_PATTERN | R50K_PATTERN => Ok(Splitter::Gpt2),
            O200K_PATTERN => Ok(Splitter::O200k),
            _ => Splitter::regex(pattern),
        }
    }

    /// Compiles `pattern` for the general engine, whatever it spells.
    pub fn regex(pattern: &str) -> Result<Splitter, String> {
        Regex::new(pattern)
            .map(|regex| Splitter::Regex(Box::new(regex)))
            .map_err(|error| error.to_string())
    }

    /// Where a long text can be cut at `from` or later so that both sides split as the whole does:
    /// in the patterns scanned by hand no piece continues from an ASCII letter to whitespace.
    pub fn cut_after(&self, text: &str, from: usize) -> Option<usize> {
        if let Splitter::Regex(_) = self {
            return None;
        }
        let ends_word =
            |pair: &[u8]| pair[0].is_ascii_alphabetic() && matches!(pair[1], b' ' | b'\n');
        let bytes = text.as_bytes().get(from.checked_sub(1)?..)?;
        bytes.windows(2).position(ends_word).map(|at| from + at)
    }

    /// `text` in parts of about `size` bytes that split as the whole does; one part where no cut is known.
    pub fn parts<'t>(
        &self,
        text: &'t str,
        size: usize,
    ) -> impl Iterator<Item = &'t str> + use<'t, '_> {
        let mut rest = Some(text);
        std::iter::from_fn(move || {
            let text = rest.take()?;
            let Some(cut) = self.cut_after(text, size) else {
                return Some(text);
            };
            let (part, later) = text.split_at(cut);
            rest = Some(later);
            Some(part)
        })
    }

    /// Gives every piece in order to `take`. Text that a general pattern does not match is in no
    /// piece; the patterns scanned by hand match everything.
    ///
    /// Fails when the engine gives up on the text (its backtracking limit).
    #[inline]
    pub fn for_each_piece<'t>(
        &self,
        text: &'t str,
        mut take: impl FnMut(Piece<'t>),
    ) -> Result<(), String> {
        let (classes, cases) = (Classes::get(), Cases::get());
        let mut found = match self {
            Splitter::Regex(regex) => Some(regex.find_iter(text)),
            _ => None,
        };
        let mut start = 0;
        // One loop for all, so that what takes the pieces is compiled into it.
        loop {
            let end = match self {
                Splitter::Regex(_) => match found.as_mut().and_then(Iterator::next) {
                    Some(piece) => {
                        let piece = piece.map_err(|error| error.to_string())?;
                        start = piece.start();
                        piece.end()
                    }
                    None => return Ok(()),
                },
                _ if start == text.len() => return Ok(()),
                Splitter::Gpt4(family) => family.piece_end(classes, text, start),
                Splitter::Gpt2 => gpt2::piece_end(classes, text, start),
                Splitter::O200k => o200k::piece_end(classes, cases, text, start),
            };
            take(Piece { text, start, end });
            start = end;
        }
    }
}
