//! The GPT-4 family of split patterns without a regular-expression engine.
//!
//! Every character belongs to exactly one of five classes, and the class of one or two characters
//! decides which alternative matches, so the leftmost-first semantics of the pattern become a
//! single forward scan with no backtracking.

use crate::ascii;
use crate::scan::Scan;
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
    #[inline(always)]
    pub fn piece_end(self, classes: &Classes, text: &str, start: usize) -> usize {
        // Most pieces are ASCII letters, maybe behind one other character, and end within sixteen bytes.
        if let Some(window) = text.as_bytes()[start..].first_chunk::<16>() {
            let lead = u32::from(LEAD[usize::from(window[0])]);
            let letters = (!(ascii::letters(window) >> lead)).trailing_zeros();
            let len = (lead + letters) as usize;
            if letters > 0 && len < 16 && window[len] < 0x80 {
                return start + len;
            }
        }
        self.any_piece_end(classes, text, start)
    }

    #[inline(never)]
    fn any_piece_end(self, classes: &Classes, text: &str, start: usize) -> usize {
        let scan = Scan::new(classes, text);
        let (class, len) = classes.at(text, start);
        let next = start + len;
        match class {
            Class::Letter => scan.letters_end(next),
            Class::Number => scan.numbers_end(next, self.digits),
            Class::Newline => self.whitespace_end(&scan, start),
            Class::Space => match scan.class_after(next) {
                Some((Class::Letter, len)) => scan.letters_end(next + len),
                Some((Class::Other, len)) if scan.byte(start) == b' ' => {
                    symbols_end(&scan, next + len)
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
                    _ => symbols_end(&scan, next),
                }
            }
        }
    }

    /// `\s*[\r\n]|\s+(?!\S)|\s+`, with `\s++$` first for cl100k.
    fn whitespace_end(self, scan: &Scan<'_>, start: usize) -> usize {
        if self.whole_tail {
            let run = scan.whitespace(start);
            if run.ends_text {
                return run.end;
            }
        }
        scan.lines_end(start)
    }
}

/// How many bytes stand before the letters of a word that begins with this one: 0 for an ASCII letter, 1 for
/// ASCII that may lead a word, and for all else a shift that leaves no letter.
static LEAD: [u8; 256] = lead();

const fn lead() -> [u8; 256] {
    let mut lead = [31; 256];
    let mut byte = 0;
    while byte < 0x80 {
        lead[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => 0,
            // An apostrophe may begin a contraction.
            b'0'..=b'9' | b'\r' | b'\n' | b'\'' => 31,
            _ => 1,
        };
        byte += 1;
    }
    lead
}

/// The rest of `[^\s\p{L}\p{N}]++[\r\n]*`.
fn symbols_end(scan: &Scan<'_>, at: usize) -> usize {
    let symbols = scan.while_class(at, Class::Other);
    scan.while_class(symbols, Class::Newline)
}

/// Bytes that `(?i:[sdmt]|ll|ve|re)` matches at the start of what follows an apostrophe.
#[inline]
pub fn contraction_len(rest: &[u8]) -> Option<usize> {
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
