//! Merge training against a restatement of the definition.

use std::collections::HashMap;
use std::convert::Infallible;

use _rustbpe::train::{Corpus, Pair, TrainError, learn_merges};
use proptest::prelude::*;

fn learn(words: &[(Vec<u8>, u64)], wanted: usize) -> Vec<Pair> {
    let mut corpus = Corpus::default();
    for (word, count) in words {
        corpus.push(word, *count);
    }
    learn_merges(corpus, wanted, |_| Ok::<(), Infallible>(())).unwrap()
}

/// Counts every pair anew for every merge.
fn learn_slowly(words: &[(Vec<u8>, u64)], wanted: usize) -> Vec<Pair> {
    let mut words: Vec<(Vec<u32>, u64)> = words
        .iter()
        .map(|(word, count)| (word.iter().map(|&b| u32::from(b)).collect(), *count))
        .collect();
    let mut merges = Vec::new();
    while merges.len() < wanted {
        let mut counts: HashMap<Pair, u64> = HashMap::new();
        for (word, count) in &words {
            for pair in word.windows(2) {
                *counts.entry((pair[0], pair[1])).or_default() += count;
            }
        }
        let best = counts.into_iter().filter(|&(_, count)| count > 0);
        let Some((pair, _)) = best.max_by_key(|&(pair, count)| (count, std::cmp::Reverse(pair)))
        else {
            break;
        };
        let token = 256 + merges.len() as u32;
        for (word, _) in &mut words {
            let mut at = 0;
            while at + 1 < word.len() {
                if (word[at], word[at + 1]) == pair {
                    word.splice(at..at + 2, [token]);
                }
                at += 1;
            }
        }
        merges.push(pair);
    }
    merges
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Few letters and small counts: ties and overlapping repeats everywhere.
    #[test]
    fn merges_are_those_of_the_definition(
        words in prop::collection::vec((prop::collection::vec(97..100u8, 0..14), 0..5u64), 0..12),
        wanted in 0..40usize,
    ) {
        prop_assert_eq!(learn(&words, wanted), learn_slowly(&words, wanted));
    }

    #[test]
    fn merges_of_any_bytes_are_those_of_the_definition(
        words in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), 1..1000u64), 0..12),
    ) {
        prop_assert_eq!(learn(&words, 60), learn_slowly(&words, 60));
    }
}

#[test]
fn equal_counts_go_to_the_smaller_pair() {
    let words = [
        (b"zy".to_vec(), 3),
        (b"ab".to_vec(), 3),
        (b"ac".to_vec(), 3),
    ];
    assert_eq!(learn(&words, 3), [(97, 98), (97, 99), (122, 121)]);
}

#[test]
fn a_run_of_one_letter_merges_from_the_left() {
    let words = [(b"aaaaa".to_vec(), 1)];
    assert_eq!(learn(&words, 9), [(97, 97), (256, 97), (256, 257)]);
}

/// A count over 32 bits outweighs one just under it, and is not cut to fit.
#[test]
fn counts_may_exceed_32_bits() {
    let words = [
        (b"ab".to_vec(), (1 << 33) + 1),
        (b"cd".to_vec(), (1 << 33) + 2),
        (b"ef".to_vec(), (1 << 32) - 1),
    ];
    assert_eq!(learn(&words, 3), [(99, 100), (97, 98), (101, 102)]);
}

#[test]
fn stopping_gives_the_reason() {
    let mut corpus = Corpus::default();
    corpus.push(b"abcdef", 1);
    let stopped = learn_merges(
        corpus,
        5,
        |done| if done == 2 { Err("enough") } else { Ok(()) },
    );
    assert_eq!(stopped, Err(TrainError::Stopped("enough")));
}
