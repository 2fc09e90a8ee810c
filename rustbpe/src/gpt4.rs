//! The GPT-4 family of split patterns without a regular-expression engine.
//!
//! Every character belongs to exactly one of five classes, and the class of one or two characters
//! decides which alternative matches, so the leftmost-first semantics of the pattern become a
//! single forward scan with no backtracking.

use crate::unicode::{Class, Classes};

/// One member of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The most characters `\p{N}{1,n}` takes.
    digits: usize,
    /// cl100k's `\s++$` before `\s*[\r\n]`: whitespace that ends the text is one piece.
    whole_tail: bool,
}

impl Family {
    /// The member that a pattern spells, if it is one.
    pub fn of_pattern(pattern: &str) -> Option<Family> {
        let member = (1..=3).find(|&digits| pattern == gpt4_pattern(digits));
        if let Some(digits) = member {
            return Some(Family {
                digits,
                whole_tail: false,
            });
        }
        (pattern == CL100K_PATTERN).then_some(Family {
            digits: 3,
            whole_tail: true,
        })
    }

    /// End of the piece that starts at `start`, which must be a character boundary before the end.
    #[inline]
    pub fn piece_end(self, classes: &Classes, text: &str, start: usize) -> usize {
        let scan = Scan { classes, text };
        let (class, len) = classes.at(text, start);
        let next = start + len;
        match class {
            Class::Letter => scan.letters_end(next),
            Class::Number => self.number_end(&scan, next),
            Class::Newline => self.whitespace_end(&scan, start),
            Class::Space => match scan.class_after(next) {
                Some((Class::Letter, len)) => scan.letters_end(next + len),
                Some((Class::Other, len)) if scan.byte(start) == b' ' => {
                    scan.symbols_end(next + len)
                }
                _ => self.whitespace_end(&scan, start),
            },
            Class::Other => {
                if scan.byte(start) == b'\''
                    && let Some(len) = contraction_len(&text.as_bytes()[next..])
                {
                    return next + len;
                }
                match scan.class_after(next) {
                    Some((Class::Letter, len)) => scan.letters_end(next + len),
                    _ => scan.symbols_end(next),
                }
            }
        }
    }

    /// `\p{N}{1,n}`, the first number already taken.
    #[inline]
    fn number_end(self, scan: &Scan<'_>, mut at: usize) -> usize {
        for _ in 1..self.digits {
            match scan.class_after(at) {
                Some((Class::Number, len)) => at += len,
                _ => break,
            }
        }
        at
    }

    /// `\s*[\r\n]|\s+(?!\S)|\s+`, with `\s++$` first for cl100k.
    fn whitespace_end(self, scan: &Scan<'_>, start: usize) -> usize {
        let mut at = start;
        let mut last_start = start;
        let mut after_newline = None;
        while let Some((class @ (Class::Space | Class::Newline), len)) = scan.class_after(at) {
            last_start = at;
            at += len;
            if class == Class::Newline {
                after_newline = Some(at);
            }
        }
        let ends_text = at == scan.text.len();
        if self.whole_tail && ends_text {
            return at;
        }
        match after_newline {
            Some(end) => end,
            // The last whitespace before a word belongs to the word's own piece.
            None if !ends_text && last_start > start => last_start,
            None => at,
        }
    }
}

/// The text under scan.
struct Scan<'a> {
    classes: &'a Classes,
    text: &'a str,
}

impl Scan<'_> {
    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes()[at]
    }

    #[inline(always)]
    fn class_after(&self, at: usize) -> Option<(Class, usize)> {
        (at < self.text.len()).then(|| self.classes.at(self.text, at))
    }

    #[inline(always)]
    fn while_class(&self, mut at: usize, wanted: Class) -> usize {
        while let Some((class, len)) = self.class_after(at) {
            if class != wanted {
                break;
            }
            at += len;
        }
        at
    }

    /// End of the letters from `at` on: runs of ASCII letters eight at a time.
    #[inline(always)]
    fn letters_end(&self, mut at: usize) -> usize {
        while let Some(window) = self.text.as_bytes()[at..].first_chunk::<8>() {
            let letters = leading_ascii_letters(u64::from_le_bytes(*window));
            at += letters;
            if letters == 8 {
                continue;
            }
            if window[letters] < 0x80 {
                return at;
            }
            match self.classes.at(self.text, at) {
                (Class::Letter, len) => at += len,
                _ => return at,
            }
        }
        self.while_class(at, Class::Letter)
    }

    /// The rest of `[^\s\p{L}\p{N}]++[\r\n]*`.
    fn symbols_end(&self, at: usize) -> usize {
        let symbols = self.while_class(at, Class::Other);
        self.while_class(symbols, Class::Newline)
    }
}

/// How many of eight bytes, from the low end, are ASCII letters.
#[inline(always)]
fn leading_ascii_letters(window: u64) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let high = window & (0x80 * EACH);
    let lower = (window | (0x20 * EACH)) & (0x7f * EACH);
    // Adding cannot carry into the next byte: the high bits are clear.
    let from_a = lower + (0x80 - b'a' as u64) * EACH;
    let past_z = lower + (0x7f - b'z' as u64) * EACH;
    let letters = from_a & !past_z & !high & (0x80 * EACH);
    ((letters ^ (0x80 * EACH)).trailing_zeros() / 8) as usize
}

/// Bytes that `(?i:[sdmt]|ll|ve|re)` matches at the start of what follows an apostrophe.
#[inline]
fn contraction_len(rest: &[u8]) -> Option<usize> {
    let lower = |n: usize| rest.get(n).map(u8::to_ascii_lowercase);
    match (lower(0)?, lower(1)) {
        (b's' | b'd' | b'm' | b't', _) => Some(1),
        (b'l', Some(b'l')) | (b'v' | b'r', Some(b'e')) => Some(2),
        // U+017F, the long s, folds to s.
        (0xc5, Some(0xbf)) => Some(2),
        _ => None,
    }
}

/// The split pattern with numbers cut after `digits` characters.
pub fn gpt4_pattern(digits: usize) -> String {
    format!(
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+|\p{{N}}{{1,{digits}}}| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    )
}

/// The spelling that tiktoken gives to cl100k_base.
pub const CL100K_PATTERN: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s";
