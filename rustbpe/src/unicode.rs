//! Character classes of the split patterns of GPT-2, GPT-4 and GPT-4o.
//!
//! The ranges come from `regex-syntax`, the parser below `fancy-regex`, so the hand-written splitter
//! and the regular expression can never disagree about what a letter is.

use std::sync::LazyLock;

use regex_syntax::hir::{Class as HirClass, HirKind};

use crate::work;

/// What the patterns of GPT-2 and GPT-4 distinguish. `Space` is `\s` without carriage return and line feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    Other = 0,
    Letter = 1,
    Number = 2,
    Space = 3,
    Newline = 4,
}

/// What the words of GPT-4o's pattern distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Case {
    None = 0,
    Upper = 1,
    Lower = 2,
    /// A letter that is neither.
    Uncased = 3,
    Mark = 4,
}

const CODE_POINTS: usize = 0x11_0000;
const BLOCK: usize = 256;

/// A two-stage table: equal blocks of 256 code points are stored once (about 35 KiB in all).
pub struct Table<C> {
    ascii: [C; 128],
    block_of: Box<[u16]>,
    blocks: Box<[C]>,
}

pub type Classes = Table<Class>;
pub type Cases = Table<Case>;

static CLASSES: LazyLock<Classes> = LazyLock::new(|| {
    let classes = [
        (r"\p{L}", Class::Letter),
        (r"\p{N}", Class::Number),
        (r"\s", Class::Space),
        (r"[\r\n]", Class::Newline),
    ];
    Table::build(Class::Other, &classes)
});

static CASES: LazyLock<Cases> = LazyLock::new(|| {
    let cases = [
        (r"[\p{Lu}\p{Lt}]", Case::Upper),
        (r"\p{Ll}", Case::Lower),
        (r"[\p{Lm}\p{Lo}]", Case::Uncased),
        (r"\p{M}", Case::Mark),
    ];
    Table::build(Case::None, &cases)
});

impl Classes {
    pub fn get() -> &'static Classes {
        &CLASSES
    }
}

impl Cases {
    pub fn get() -> &'static Cases {
        &CASES
    }
}

impl<C: Copy + PartialEq> Table<C> {
    /// A later pattern goes over an earlier one; what none matches is `rest`.
    fn build(rest: C, patterns: &[(&str, C)]) -> Table<C> {
        let mut flat: Box<[C]> = vec![rest; CODE_POINTS].into();
        for &(pattern, class) in patterns {
            for (first, last) in ranges(pattern) {
                flat[first as usize..=last as usize].fill(class);
            }
        }
        let mut ascii = [rest; 128];
        ascii.copy_from_slice(&flat[..128]);
        let mut blocks: Vec<C> = Vec::new();
        let mut block_of = Vec::with_capacity(CODE_POINTS / BLOCK);
        for block in flat.chunks_exact(BLOCK) {
            let known = blocks.chunks_exact(BLOCK).position(|b| b == block);
            block_of.push(known.unwrap_or(blocks.len() / BLOCK) as u16);
            if known.is_none() {
                blocks.extend_from_slice(block);
            }
        }
        Table {
            ascii,
            block_of: block_of.into(),
            blocks: blocks.into(),
        }
    }

    /// Class and UTF-8 length of the character that starts at `at`.
    #[inline(always)]
    pub fn at(&self, text: &str, at: usize) -> (C, usize) {
        work::step();
        let bytes = text.as_bytes();
        let first = bytes[at];
        if first < 0x80 {
            return (self.ascii[first as usize], 1);
        }
        self.wide_at(bytes, at)
    }

    #[inline]
    fn wide_at(&self, bytes: &[u8], at: usize) -> (C, usize) {
        let first = bytes[at];
        let tail = |n: usize| u32::from(bytes[at + n] & 0x3f);
        let (code, len) = if first < 0xe0 {
            (u32::from(first & 0x1f) << 6 | tail(1), 2)
        } else if first < 0xf0 {
            (u32::from(first & 0x0f) << 12 | tail(1) << 6 | tail(2), 3)
        } else {
            let high = u32::from(first & 0x07) << 18 | tail(1) << 12;
            (high | tail(2) << 6 | tail(3), 4)
        };
        let block = self.block_of[code as usize / BLOCK] as usize;
        (self.blocks[block * BLOCK + code as usize % BLOCK], len)
    }
}

/// Inclusive ranges of code points that a one-class pattern matches.
fn ranges(pattern: &str) -> Vec<(u32, u32)> {
    let hir = regex_syntax::parse(pattern).expect("a constant pattern parses");
    match hir.into_kind() {
        HirKind::Class(HirClass::Unicode(class)) => class
            .iter()
            .map(|range| (range.start() as u32, range.end() as u32))
            .collect(),
        HirKind::Class(HirClass::Bytes(class)) => class
            .iter()
            .map(|range| (u32::from(range.start()), u32::from(range.end())))
            .collect(),
        kind => unreachable!("{pattern} is one class, not {kind:?}"),
    }
}
