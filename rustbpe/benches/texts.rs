//! Texts to measure with, and what is learned from them.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use _rustbpe::count::PieceCounts;
use _rustbpe::encode::Encoder;
use _rustbpe::split::Splitter;
use _rustbpe::train::{Corpus, Pair, learn_merges};
use _rustbpe::vocab::Vocab;

/// This repository's files of one suffix, up to about `most` bytes.
pub fn files(suffix: &str, most: usize) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut text = String::new();
    let mut folders = vec![root.join("docs"), root.join("nanochat"), root.join("tui")];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(folder)
            .expect("a folder of the repository")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == suffix) && text.len() < most {
                text += &fs::read_to_string(path).expect("a text of the repository");
            }
        }
    }
    text
}

/// Clauses of Chinese characters that follow each other as a linear congruence says: none comes twice.
pub fn chinese(clauses: usize) -> String {
    let words = [
        "我们", "的", "模型", "在", "学习", "语言", "数据", "训练", "一个", "时间", "可以", "问题",
    ];
    let mut state = 1u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    let mut text = String::new();
    for _ in 0..clauses {
        for _ in 0..5 + next(10) {
            text += words[next(words.len() as u32) as usize];
        }
        text += "，";
    }
    text
}

/// The distinct pieces of a text.
pub fn counted(splitter: &Splitter, text: &str) -> PieceCounts {
    let mut counts = PieceCounts::default();
    splitter
        .for_each_piece(text, |piece| counts.add(piece))
        .expect("a pattern scanned by hand never fails");
    counts
}

/// What training starts from.
pub fn corpus(counts: &PieceCounts) -> Corpus {
    let mut corpus = Corpus::default();
    corpus.reserve(counts.bytes());
    counts.for_each(|piece, count| corpus.push(piece, count));
    corpus
}

pub fn learned(corpus: Corpus, merges: usize) -> Vec<Pair> {
    let Ok(learned) = learn_merges::<Infallible>(corpus, merges, |_| Ok(())) else {
        panic!("the texts are short, and nothing stops the training")
    };
    learned
}

/// An encoder with merges learned from `text`.
pub fn encoder(splitter: &Splitter, text: &str, merges: usize) -> Encoder {
    let merges = learned(corpus(&counted(splitter, text)), merges);
    Encoder::from_merges(&merges, &Vocab::from_merges(&merges))
}
