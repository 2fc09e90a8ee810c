"""The keys of the Tokenizer screen and of the screens it opens, by group, in the form of `chat_keys`."""

from __future__ import annotations

from tui.chat_keys import Row
from tui.training_keys import TRAINING_KEYS
from tui.vocabulary_keys import VOCABULARY_KEYS

TOKENIZER_KEYS: dict[str, tuple[Row, ...]] = {
    "tokenizer": (
        (
            "vocabulary",
            "b",
            "open_part('vocabulary')",
            "vocabulary",
            "Browse the vocabulary of the tokenizer of this pane",
            True,
            False,
        ),
        (
            "compare",
            "c",
            "open_part('compare')",
            "compare",
            "Compare two tokenizers: tokens only one has, ids that moved, compression",
            False,
            False,
        ),
        (
            "heat",
            "h",
            "open_part('heat')",
            "compression",
            "Compression over corpora, built-in texts and own files, as a heat table",
            False,
            False,
        ),
        ("train", "t", "open_part('train')", "train", "Train a tokenizer", False, True),
        (
            "mask",
            "a",
            "open_part('mask')",
            "mask",
            "A conversation with the role of every token, and whether it is trained",
            False,
            False,
        ),
        (
            "sweep",
            "w",
            "open_part('sweep')",
            "sweep",
            "Sweeps over the size of the vocabulary, drawn",
            False,
            False,
        ),
        (
            "data",
            "d",
            "open_part('data')",
            "data",
            "Numbers about the corpus: documents, scripts, duplicates, tokens",
            False,
            False,
        ),
    ),
    **VOCABULARY_KEYS,
    **TRAINING_KEYS,
}
