"""Texts for the tokenizer's properties, and the patterns they are cut by."""

import regex
from hypothesis import strategies as st

SPLIT_PATTERN = "|".join(
    (
        r"'(?i:[sdmt]|ll|ve|re)",
        r"[^\r\n\p{L}\p{N}]?+\p{L}+",
        r"\p{N}{1,2}",
        r" ?[^\s\p{L}\p{N}]++[\r\n]*",
        r"\s*[\r\n]",
        r"\s+(?!\S)",
        r"\s+",
    )
)
GPT4_PATTERN = SPLIT_PATTERN.replace("{1,2}", "{1,3}")
GENERAL_PATTERN = f"(?:{SPLIT_PATTERN})"
"""The same language, spelled so that only the regular-expression engine knows it."""

# Left out: surrogates and code points unassigned in this Python's Unicode, on whose class two engines of
# different ages may differ, and the separators U+001C to U+001F, which are whitespace to Python alone.
characters = st.characters(exclude_categories=("Cs", "Cn"), exclude_characters="\x1c\x1d\x1e\x1f")
telling = st.sampled_from("aabbcS tdl'’ \n\r\t  012²!?.-éßſ中文字한😀́")
texts = st.text(st.one_of(telling, characters), max_size=60)
repeats = st.builds(lambda unit, n: unit * n, st.text(telling, min_size=1, max_size=3), st.integers(1, 30))
documents = st.lists(st.one_of(texts, repeats, st.just("")), max_size=8)
tied = st.lists(st.text(st.sampled_from("ab "), max_size=25), max_size=6)
"""Corpora of two letters, where ties and overlapping repeats are the rule."""


def pieces(pattern: str, text: str) -> list[str]:
    """`text` cut by `pattern`, by an engine unrelated to the crate's."""
    return [match.group() for match in regex.finditer(pattern, text)]
