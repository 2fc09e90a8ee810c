//! Encoding against merging by the definition.

use std::convert::Infallible;

use _rustbpe::cache::PieceCache;
use _rustbpe::encode::Encoder;
use _rustbpe::split::Splitter;
use _rustbpe::train::{Corpus, Pair, learn_merges};
use _rustbpe::vocab::Vocab;
use proptest::prelude::*;

fn learn(text: &str, wanted: usize) -> Vec<Pair> {
    let mut corpus = Corpus::default();
    corpus.push(text.as_bytes(), 1);
    learn_merges(corpus, wanted, |_| Ok::<(), Infallible>(())).unwrap()
}

/// Merges the earliest learned pair, leftmost first, until none is left.
fn encode_slowly(merges: &[Pair], text: &str) -> Vec<u32> {
    let mut ids: Vec<u32> = text.bytes().map(u32::from).collect();
    let rank = |pair: &[u32]| merges.iter().position(|&merge| merge == (pair[0], pair[1]));
    loop {
        let ranked = ids
            .windows(2)
            .enumerate()
            .filter_map(|(at, pair)| Some((rank(pair)?, at)));
        let Some((merge, at)) = ranked.min() else {
            return ids;
        };
        ids.splice(at..at + 2, [256 + merge as u32]);
    }
}

fn encode(encoder: &Encoder, cache: &mut PieceCache, text: &str) -> Vec<u32> {
    let whole_text = Splitter::new(r"(?s).+").unwrap();
    let mut ids = Vec::new();
    encoder.encode(&whole_text, text, cache, &mut ids).unwrap();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Texts of one piece, short and long (heap), and each twice (cache).
    #[test]
    fn encodes_as_the_definition_does(
        corpus in "[ab]{0,60}[a-d]{0,60}é{0,5}",
        texts in prop::collection::vec("[a-dé]{0,20}|[ab]{60,200}", 1..5),
    ) {
        let merges = learn(&corpus, 30);
        let vocab = Vocab::from_merges(&merges);
        let encoder = Encoder::from_merges(&merges, &vocab);
        let mut cache = PieceCache::default();
        for text in texts.iter().chain(&texts) {
            let ids = encode(&encoder, &mut cache, text);
            prop_assert_eq!(&ids, &encode_slowly(&merges, text));
            prop_assert_eq!(vocab.decode(&ids).unwrap(), text.as_bytes());
        }
    }

    /// A learned vocabulary never makes the same bytes twice, so the ranks say all of the merges.
    #[test]
    fn ranks_alone_encode_like_the_merges(corpus in "[ab]{0,80}[a-c]{0,40}", text in "[abc]{0,100}") {
        let merges = learn(&corpus, 40);
        let vocab = Vocab::from_merges(&merges);
        let by_merges = Encoder::from_merges(&merges, &vocab);
        let by_ranks = Encoder::from_ranks(&vocab).unwrap();
        let ours = encode(&by_merges, &mut PieceCache::default(), &text);
        prop_assert_eq!(ours, encode(&by_ranks, &mut PieceCache::default(), &text));
    }
}

/// A megabyte without a boundary takes n log n steps, not n².
#[test]
fn one_huge_piece_is_quick() {
    let merges = learn(&"ab".repeat(64), 20);
    let encoder = Encoder::from_merges(&merges, &Vocab::from_merges(&merges));
    let text = "ab".repeat(500_000);
    let ids = encode(&encoder, &mut PieceCache::default(), &text);
    assert!(ids.len() < text.len() / 64, "{} ids", ids.len());
}

/// More pieces than the cache has places, alike in their first bytes: a place is taken over, never mistaken.
#[test]
fn the_cache_never_answers_for_another_piece() {
    let merges = learn("wordword12121313", 12);
    let encoder = Encoder::from_merges(&merges, &Vocab::from_merges(&merges));
    let splitter = Splitter::new(r"\S+").unwrap();
    let text: String = (0..150_000).map(|n| format!("word{n} ")).collect();
    let mut cache = PieceCache::default();
    let mut ids = Vec::new();
    encoder
        .encode(&splitter, &text, &mut cache, &mut ids)
        .unwrap();
    let expected: Vec<u32> = text
        .split_whitespace()
        .flat_map(|word| encode_slowly(&merges, word))
        .collect();
    assert!(ids == expected, "a piece was given another's ids");
}

#[test]
fn ranks_without_a_byte_are_refused() {
    let vocab = Vocab::from_tokens([b"a".as_slice(), b"b"]);
    assert_eq!(Encoder::from_ranks(&vocab).err(), Some(0));
}
