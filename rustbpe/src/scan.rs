//! What the hand-written scans of split patterns have in common: runs of one class.

use crate::ascii;
use crate::unicode::{Class, Classes};
use crate::work;

/// The text under scan.
pub struct Scan<'a> {
    classes: &'a Classes,
    text: &'a str,
}

/// A run of whitespace.
pub struct Whitespace {
    pub end: usize,
    /// Where its last character starts.
    pub last_start: usize,
    /// The end of its last line end.
    pub after_newline: Option<usize>,
    pub ends_text: bool,
}

impl<'a> Scan<'a> {
    #[inline(always)]
    pub fn new(classes: &'a Classes, text: &'a str) -> Scan<'a> {
        work::step();
        Scan { classes, text }
    }

    #[inline(always)]
    pub fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes()[at]
    }

    #[inline(always)]
    pub fn class_after(&self, at: usize) -> Option<(Class, usize)> {
        (at < self.text.len()).then(|| self.classes.at(self.text, at))
    }

    #[inline(always)]
    pub fn while_class(&self, mut at: usize, wanted: Class) -> usize {
        while let Some((class, len)) = self.class_after(at) {
            if class != wanted {
                break;
            }
            at += len;
        }
        at
    }

    /// End of the letters from `at` on: runs of ASCII letters sixteen at a time.
    #[inline(always)]
    pub fn letters_end(&self, mut at: usize) -> usize {
        while let Some(window) = self.text.as_bytes()[at..].first_chunk::<16>() {
            let letters = (!ascii::letters(window)).trailing_zeros() as usize;
            at += letters;
            if letters == 16 {
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

    /// `\p{N}{1,most}`, the first number already taken.
    #[inline(always)]
    pub fn numbers_end(&self, mut at: usize, most: usize) -> usize {
        for _ in 1..most {
            match self.class_after(at) {
                Some((Class::Number, len)) => at += len,
                _ => break,
            }
        }
        at
    }

    /// The run of whitespace that starts at `start`.
    pub fn whitespace(&self, start: usize) -> Whitespace {
        let mut run = Whitespace {
            end: start,
            last_start: start,
            after_newline: None,
            ends_text: false,
        };
        while let Some((class @ (Class::Space | Class::Newline), len)) = self.class_after(run.end) {
            run.last_start = run.end;
            run.end += len;
            if class == Class::Newline {
                run.after_newline = Some(run.end);
            }
        }
        run.ends_text = run.end == self.text.len();
        run
    }

    /// `\s*[\r\n]|\s+(?!\S)|\s+`, and the same with `[\r\n]+`.
    pub fn lines_end(&self, start: usize) -> usize {
        let run = self.whitespace(start);
        match run.after_newline {
            Some(end) => end,
            // The last whitespace before a word belongs to the word's own piece.
            None if !run.ends_text && run.last_start > start => run.last_start,
            None => run.end,
        }
    }
}
