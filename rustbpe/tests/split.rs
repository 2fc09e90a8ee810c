//! The hand-written splitters against the regular expressions that they stand for.

use std::sync::LazyLock;

use _rustbpe::split::Splitter;
use _rustbpe::{CL100K_PATTERN, GPT2_PATTERN, O200K_PATTERN, R50K_PATTERN, gpt4_pattern};
use proptest::prelude::*;

/// Each pattern that is scanned by hand with our splitter and the regular expression, which takes long to compile.
static FAMILY: LazyLock<Vec<(String, Splitter, Splitter)>> = LazyLock::new(|| {
    let gpt4 = (1..=3).map(gpt4_pattern);
    let others = [CL100K_PATTERN, GPT2_PATTERN, R50K_PATTERN, O200K_PATTERN];
    let patterns = gpt4.chain(others.map(String::from));
    let compile = |pattern: String| {
        let ours = Splitter::new(&pattern).unwrap();
        let regex = Splitter::regex(&pattern).unwrap();
        assert!(
            !matches!(ours, Splitter::Regex(_)),
            "{pattern} is scanned by hand"
        );
        assert!(matches!(regex, Splitter::Regex(_)));
        (pattern, ours, regex)
    };
    patterns.map(compile).collect()
});

fn pieces<'t>(splitter: &Splitter, text: &'t str) -> Vec<&'t str> {
    let mut pieces = Vec::new();
    splitter
        .for_each_piece(text, |piece| pieces.push(piece.as_str()))
        .unwrap();
    pieces
}

fn assert_same_pieces(text: &str) {
    for (pattern, ours, regex) in FAMILY.iter() {
        assert_eq!(
            pieces(ours, text),
            pieces(regex, text),
            "{pattern} on {text:?}"
        );
    }
}

/// Characters that the alternatives of the pattern turn on, and neighbours of the classes' edges.
fn telling_char() -> impl Strategy<Value = char> {
    prop_oneof![
        4 => prop::sample::select("aZsdmtlvreSLVRE'’ſK019 \n\r\t".chars().collect::<Vec<_>>()),
        2 => prop::sample::select("\u{b}\u{c}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{3000}\u{200b}\u{feff}".chars().collect::<Vec<_>>()),
        2 => prop::sample::select("ABxyzÉǅΣʰªⅰ漢字\u{301}\u{903}\u{20dd}/".chars().collect::<Vec<_>>()),
        2 => prop::sample::select("!?._-(){}#@$€😀\u{301}\u{94d}中文字日本語한국éßДΩب²½Ⅷ٣①".chars().collect::<Vec<_>>()),
        1 => any::<char>(),
    ]
}

/// Where only the case of letters and marks tells, and what cuts words besides.
fn words() -> impl Strategy<Value = String> {
    "[aBÉéǅʰ漢\u{301} '/slLvVeE1\n]{0,40}"
}

fn telling_text() -> impl Strategy<Value = String> {
    prop::collection::vec(telling_char(), 0..60).prop_map(String::from_iter)
}

/// Long runs, where the scan takes several bytes at a time.
fn long_runs() -> impl Strategy<Value = String> {
    prop::collection::vec((telling_char(), 1..40usize), 0..8)
        .prop_map(|runs| runs.iter().map(|(c, n)| c.to_string().repeat(*n)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splits_as_the_regular_expression_does(text in telling_text()) {
        assert_same_pieces(&text);
    }

    #[test]
    fn splits_words_as_the_regular_expression_does(text in words()) {
        assert_same_pieces(&text);
    }

    #[test]
    fn splits_long_runs_as_the_regular_expression_does(text in long_runs()) {
        assert_same_pieces(&text);
    }

    #[test]
    fn pieces_join_to_the_text(text in telling_text()) {
        for (_, ours, _) in FAMILY.iter() {
            prop_assert_eq!(pieces(ours, &text).concat(), text.clone());
        }
    }

    #[test]
    fn a_long_text_splits_the_same_in_parts(words in prop::collection::vec(telling_text(), 1..6), from in 1..80usize) {
        let text = words.join("a b");
        for (_, splitter, _) in FAMILY.iter() {
            if let Some(cut) = splitter.cut_after(&text, from) {
                prop_assert!(cut >= from && cut < text.len());
                let (head, tail) = text.split_at(cut);
                let parts = [pieces(splitter, head), pieces(splitter, tail)].concat();
                prop_assert_eq!(parts, pieces(splitter, &text));
            }
        }
    }

    #[test]
    fn a_key_is_the_same_inside_a_text_and_alone(text in telling_text()) {
        let (_, ours, _) = &FAMILY[1];
        ours.for_each_piece(&text, |piece| {
            assert_eq!(piece.short_key(), _rustbpe::split::short_key(piece.bytes()));
        }).unwrap();
    }
}

/// Every code point beside letters, numbers, spaces, an apostrophe and the ends of lines: the classes
/// of both engines are the same over all of Unicode. One pattern for each scan: they share the classes.
#[test]
fn every_code_point_is_of_the_same_class() {
    let all: Vec<char> = ('\0'..=char::MAX).collect();
    for block in all.chunks(0x2000) {
        let text: String = block
            .iter()
            .map(|c| format!("a{c}b{c}{c} {c}1{c}'{c}s \n{c}\n{c} {c}"))
            .collect();
        for wanted in [&gpt4_pattern(2), R50K_PATTERN, O200K_PATTERN] {
            let known = FAMILY.iter().find(|(pattern, ..)| pattern == wanted);
            let (_, ours, regex) = known.unwrap();
            assert!(pieces(ours, &text) == pieces(regex, &text), "{wanted}");
        }
    }
}

#[test]
fn an_unknown_pattern_goes_to_the_general_engine() {
    let splitter = Splitter::new(r"\w+").unwrap();
    assert!(matches!(splitter, Splitter::Regex(_)));
    assert_eq!(pieces(&splitter, "ab, cd"), ["ab", "cd"]);
    assert_eq!(splitter.cut_after("ab cd ef", 1), None);
}

#[test]
fn a_bad_pattern_is_told() {
    assert!(Splitter::new("(").unwrap_err().contains("parenthesis"));
}
