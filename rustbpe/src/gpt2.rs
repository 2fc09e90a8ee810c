//! The split patterns of GPT-2 (r50k) without a regular-expression engine.

use crate::scan::Scan;
use crate::unicode::{Class, Classes};

/// The spelling that tiktoken gives to r50k_base and p50k_base.
pub const R50K_PATTERN: &str =
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s";

/// The spelling of GPT-2's own code, which means the same.
pub const GPT2_PATTERN: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// End of the piece that starts at `start`, which must be a character boundary before the end.
pub fn piece_end(classes: &Classes, text: &str, start: usize) -> usize {
    let scan = Scan::new(classes, text);
    if scan.byte(start) == b'\''
        && let Some(len) = contraction_len(&text.as_bytes()[start + 1..])
    {
        return start + 1 + len;
    }
    // A space goes with the run that follows it.
    let from = start + usize::from(scan.byte(start) == b' ');
    match scan.class_after(from) {
        Some((Class::Letter, len)) => scan.letters_end(from + len),
        Some((Class::Number, len)) => scan.while_class(from + len, Class::Number),
        Some((Class::Other, len)) => scan.while_class(from + len, Class::Other),
        _ => whitespace_end(&scan, start),
    }
}

/// `\s+(?!\S)|\s+`
fn whitespace_end(scan: &Scan<'_>, start: usize) -> usize {
    let run = scan.whitespace(start);
    // The last whitespace before a word is left to it, unless there is no other.
    if run.ends_text || run.last_start == start {
        run.end
    } else {
        run.last_start
    }
}

/// Bytes that `[sdmt]|ll|ve|re` matches at the start of what follows an apostrophe.
fn contraction_len(rest: &[u8]) -> Option<usize> {
    match rest {
        [b's' | b'd' | b'm' | b't', ..] => Some(1),
        [b'l', b'l', ..] | [b'v' | b'r', b'e', ..] => Some(2),
        _ => None,
    }
}
