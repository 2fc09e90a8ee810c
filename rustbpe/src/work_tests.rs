//! Splitting and encoding take steps in proportion to the text, whatever it is.

use std::convert::Infallible;

use proptest::prelude::*;

use crate::cache::PieceCache;
use crate::encode::Encoder;
use crate::split::Splitter;
use crate::train::{Corpus, learn_merges};
use crate::vocab::Vocab;
use crate::work::counted;
use crate::{CL100K_PATTERN, O200K_PATTERN, R50K_PATTERN, gpt4_pattern};

fn encoder() -> Encoder {
    let mut corpus = Corpus::default();
    corpus.push("aaaaaaaaaaaaaaaaababcabc   \n\n''AAéé漢漢".as_bytes(), 1);
    let merges = learn_merges(corpus, 30, |_| Ok::<(), Infallible>(())).unwrap();
    Encoder::from_merges(&merges, &Vocab::from_merges(&merges))
}

/// Runs of a few characters, some of them long: what makes an engine backtrack or a merge quadratic.
fn runs() -> impl Strategy<Value = String> {
    let unit = "[ab AB1!'/\n\rsé漢\u{301}\u{3000}]{1,4}";
    prop::collection::vec((unit, 1..600usize), 1..6)
        .prop_map(|runs| runs.iter().map(|(unit, n)| unit.repeat(*n)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Splitting takes at most eight steps a byte (pieces of one byte take the most), and all of it at
    /// most 32 (a piece of 64 bytes, merged by scanning). A heap's entry is one step, of log n moves.
    #[test]
    fn steps_are_linear_in_the_text(text in runs()) {
        let encoder = encoder();
        for pattern in [&gpt4_pattern(2), CL100K_PATTERN, R50K_PATTERN, O200K_PATTERN] {
            let splitter = Splitter::new(pattern).unwrap();
            let split = counted(|| splitter.for_each_piece(&text, |_| {}).unwrap());
            prop_assert!(split > 0 && split <= 8 * text.len() + 8, "{split} steps to split {}", text.len());
            let all = counted(|| {
                encoder.count(&splitter, &text, &mut PieceCache::default()).unwrap();
            });
            prop_assert!(all <= 32 * text.len() + 64, "{all} steps for {} bytes", text.len());
        }
    }
}

/// The bound does not grow with the run: a thousand times the text is a thousand times the steps.
#[test]
fn a_long_run_of_one_class_takes_no_more_for_each_byte() {
    let encoder = encoder();
    for unit in [
        "a", " ", "\n", "!", "é", "漢", "A\u{301}", "漢A", " \n", "'s", "1",
    ] {
        for pattern in [
            &gpt4_pattern(2),
            CL100K_PATTERN,
            R50K_PATTERN,
            O200K_PATTERN,
        ] {
            let splitter = Splitter::new(pattern).unwrap();
            for times in [200, 200_000] {
                let text = unit.repeat(times);
                let all = counted(|| {
                    encoder
                        .count(&splitter, &text, &mut PieceCache::default())
                        .unwrap();
                });
                assert!(
                    all <= 32 * text.len() + 64,
                    "{pattern}: {all} steps for {times} {unit:?}"
                );
            }
        }
    }
}
