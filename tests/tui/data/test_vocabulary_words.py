"""What is told of a token of a vocabulary, and the table of tokens as a file."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nanochat.tokenizer.explore.counting import TokenCounts
from nanochat.tokenizer.explore.splitter import Splitter
from tui.data.tokenizer.vocabulary import facts, heading, neighbours, record, wanted, written
from tui.widgets.tokenizer.length_bars import grouped
from tui.widgets.tokenizer.token_facts import TokenFacts


@dataclass
class Holed:
    """A vocabulary in which id 1 has no token."""

    tokens: Mapping[int, bytes] = field(default_factory=lambda: {0: b"a", 2: b" \xe4", 3: b"=1"})
    specials: Mapping[str, int] = field(default_factory=lambda: {"<|end|>": 4})
    name: str = "holed"
    vocab_size: int = 5
    no_tree: str = "it has no merges"
    ranks: None = None

    def token(self, token_id: int) -> bytes:
        return b"<|end|>" if token_id == 4 else self.tokens[token_id]

    def spelled(self, token_id: int) -> str:
        return self.token(token_id).decode("latin-1")


HOLED: Splitter = Holed()  # type: ignore[assignment]
COUNTS = TokenCounts(np.array([8, 0, 1, 0, 0]), 2, 20)


def test_a_token_is_told_with_its_count_and_place() -> None:
    assert dict(facts(HOLED, 0, COUNTS, 1)) == {
        "token": "a",
        "id": "0",
        "bytes": "1: 61",
        "in corpus": "8, 1 in 1 tokens, place 1",
    }
    assert dict(facts(HOLED, 3, COUNTS, 0))["in corpus"] == "never"
    assert dict(facts(HOLED, 2, None, 0))["token"] == "·⟨e4⟩"
    assert "only code places it" in dict(facts(HOLED, 4, COUNTS, 0))["kind"]
    assert list(neighbours(HOLED, 0, 2)) == [(0, "a"), (1, ""), (2, "·⟨e4⟩")]


def test_an_id_without_a_token_says_so() -> None:
    assert "no token has this id" in dict(facts(HOLED, 1, COUNTS, 0))["token"]
    widget = TokenFacts()
    for token in range(5):
        widget.show(HOLED, token, COUNTS, 1)
        lines = [line.plain for line in widget.lines(40, 20)]
        assert any("has no merges" in line for line in lines) == (token in (0, 2, 3))


def test_tokens_are_written_for_programs_and_people() -> None:
    document = json.loads("".join(written(HOLED, [0, 2, 4], COUNTS, "json")))
    assert document[1] == {"id": 2, "text": None, "hex": "20e4", "bytes": 2, "special": False, "count": 1}
    table = list(csv.DictReader(io.StringIO("".join(written(HOLED, [3, 0], None, "csv")))))
    assert [row["token"] for row in table] == ["'=1", "a"]
    assert "count" not in table[0]
    assert "".join(written(HOLED, [0], COUNTS, "md")).splitlines()[0].split("|")[1].strip() == "id"
    assert record(HOLED, 4, None)["special"] is True


def test_the_heading_says_how_much_is_shown() -> None:
    assert heading(HOLED, 5, "") == "holed · 5 tokens"
    assert heading(HOLED, 2, "never") == "holed · 5 tokens · 2 shown · never in the corpus"
    assert wanted("x", "special").kinds == {"special"}


def test_lengths_become_as_many_bars_as_there_is_room_for() -> None:
    lengths = [0, 5, 0, 2, 1, 0, 3]
    assert grouped(lengths, 10) == [("1", 5), ("2", 0), ("3", 2), ("4", 1), ("5", 0), ("6", 3)]
    assert grouped(lengths, 3) == [("1", 5), ("2", 0), ("3+", 6)]
    assert sum(count for _, count in grouped(lengths, 1)) == 11
    assert grouped([], 4) == grouped(lengths, 0) == []
