//! The split pattern of GPT-4o (o200k) without a regular-expression engine.
//!
//! Its words are cut where the case changes. A word is `U*L+`, else `U+L*`, over upper and lower letters;
//! letters without case and marks are both. The engine backtracks; here the last character that is both,
//! remembered while U* is scanned, says at once where it would end.

use crate::gpt4::contraction_len;
use crate::scan::Scan;
use crate::unicode::{Case, Cases, Class, Classes};

/// The spelling that tiktoken gives to o200k_base.
pub const O200K_PATTERN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// End of the piece that starts at `start`, which must be a character boundary before the end.
pub fn piece_end(classes: &Classes, cases: &Cases, text: &str, start: usize) -> usize {
    let scan = Scan::new(classes, text);
    let (class, len) = classes.at(text, start);
    let next = start + len;
    match class {
        Class::Number => scan.numbers_end(next, 3),
        Class::Newline => scan.lines_end(start),
        Class::Letter => contracted(text, word_end(cases, text, start).end()),
        Class::Space | Class::Other => {
            let after = word_end(cases, text, next);
            let end = match after {
                Word::Whole(end) => Some(end),
                // A mark may lead a word, but is a word of its own before it leads capitals.
                _ if cases.at(text, start).0 == Case::Mark => Some(next),
                Word::Capitals(end) => Some(end),
                Word::None => None,
            };
            match end {
                Some(end) => contracted(text, end),
                None if class == Class::Other => symbols_end(&scan, next),
                None => match scan.class_after(next) {
                    Some((Class::Other, len)) if scan.byte(start) == b' ' => {
                        symbols_end(&scan, next + len)
                    }
                    _ => scan.lines_end(start),
                },
            }
        }
    }
}

/// What stands at a place, and where it ends.
enum Word {
    /// `U*L+`
    Whole(usize),
    /// Capital letters that nothing lower follows: only `U+L*` matches.
    Capitals(usize),
    None,
}

impl Word {
    /// The end of a word that begins with a letter, which is always one.
    fn end(&self) -> usize {
        match self {
            Word::Whole(end) | Word::Capitals(end) => *end,
            Word::None => unreachable!("a letter begins a word"),
        }
    }
}

fn word_end(cases: &Cases, text: &str, start: usize) -> Word {
    let mut at = start;
    let mut after_both = None;
    while at < text.len() {
        let (case, len) = cases.at(text, at);
        match case {
            Case::Upper => at += len,
            Case::Uncased | Case::Mark => {
                at += len;
                after_both = Some(at);
            }
            Case::Lower => return Word::Whole(lower_end(cases, text, at + len)),
            Case::None => break,
        }
    }
    match after_both {
        Some(end) => Word::Whole(end),
        None if at > start => Word::Capitals(at),
        None => Word::None,
    }
}

fn lower_end(cases: &Cases, text: &str, mut at: usize) -> usize {
    while at < text.len() {
        match cases.at(text, at) {
            (Case::Lower | Case::Uncased | Case::Mark, len) => at += len,
            _ => break,
        }
    }
    at
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)?`
fn contracted(text: &str, end: usize) -> usize {
    match text.as_bytes()[end..].split_first() {
        Some((b'\'', rest)) => end + contraction_len(rest).map_or(0, |len| 1 + len),
        _ => end,
    }
}

/// The rest of `[^\s\p{L}\p{N}]+[\r\n/]*`.
fn symbols_end(scan: &Scan<'_>, at: usize) -> usize {
    let mut at = scan.while_class(at, Class::Other);
    while let Some((class, len)) = scan.class_after(at) {
        if class != Class::Newline && scan.byte(at) != b'/' {
            break;
        }
        at += len;
    }
    at
}
