"""Texts by tokenizers: what is measured, and what of it is shown, as figures of `tok_eval`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nanochat.tokenizer.evaluation import Count, fewer_percent
from tui.data.tokenizer.corpora import corpora

if TYPE_CHECKING:
    from nanochat.common.paths import Layout
    from nanochat.tokenizer.evaluation import Vocabulary
    from nanochat.tokenizer.explore.splitter import Splitter

MAX_CHARACTERS = 20_000_000
"""Of each own file or folder, as in `tok_eval`."""
LEVELS = 8
"""Steps of the heat."""


@dataclass(frozen=True)
class TextSource:
    """A text: `documents` reads it, in the thread that measures; `group` is what kind of text it is."""

    name: str
    group: Literal["built-in", "corpus", "own"]
    documents: Callable[[], Iterable[str]]


def text_sources(layout: Layout, own: Sequence[str]) -> list[TextSource]:
    """The built-in texts, the first row group of each corpus's training and validation shards, and the
    files and folders of the user. Reads folders: call it in a thread."""
    from nanochat.data.measured_texts import text_names
    from nanochat.tokenizer.sample_texts import TEXTS

    found = [TextSource(name, "built-in", partial(_one, text)) for name, text in TEXTS.items()]
    several = corpora(layout)
    for corpus in several:
        for split in ("train", "val"):
            name = split if len(several) == 1 else f"{corpus.name} {split}"
            found.append(TextSource(name, "corpus", partial(_shards, corpus.folder, split)))
    places = [layout.resolve(path) for path in own]
    names = text_names(places, [source.name for source in found])
    own_ones = zip(names, places, strict=True)
    return [*found, *(TextSource(name, "own", partial(_own, place)) for name, place in own_ones)]


def _one(text: str) -> Iterable[str]:
    return [text]


def _shards(folder: Path, split: str) -> Iterable[str]:
    from nanochat.data.measured_texts import shard_texts

    return [shard_texts(folder)[split]]


def _own(path: Path) -> Iterable[str]:
    from nanochat.data.measured_texts import own_documents

    return own_documents(path, max_chars=MAX_CHARACTERS)


# ---- figures -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """What a cell shows of a text in a tokenizer, `first` being the tokenizer of the first column.

    `higher` values are better or not (None: neither); `by_row` scales the heat within a text, where values of
    different texts are no measure of each other.
    """

    title: str
    value: Callable[[Count, Count], float | None]
    shown: Callable[[float], str]
    higher: bool | None = True
    by_row: bool = False


FIGURES: dict[str, Figure] = {
    "bytes": Figure("bytes a token", lambda count, first: count.bytes_per_token or None, "{:.3f}".format),
    "fewer": Figure(
        "% fewer tokens than the first column",
        lambda count, first: fewer_percent(count, first) if count is not first else None,
        "{:+.1f}%".format,
    ),
    "tokens": Figure(
        "tokens", lambda count, first: float(count.tokens), "{:,.0f}".format, higher=False, by_row=True
    ),
    "characters": Figure(
        "tokens a character", lambda count, first: count.tokens_per_character, "{:.3f}".format, higher=False
    ),
    "words": Figure(
        "tokens a word", lambda count, first: count.tokens_per_word or None, "{:.2f}".format, higher=False
    ),
    "used": Figure(
        "% of the ids used", lambda count, first: count.used_percent, "{:.2f}%".format, higher=None
    ),
    "part": Figure(
        "% tokens of half characters", lambda count, first: count.partial_percent, "{:.2f}%".format, False
    ),
}
"""By name, in the order of the key."""


@dataclass(frozen=True)
class HeatCell:
    """A value, its step of the heat from 0 to 7, and whether it is the best of its row.

    A figure that means nothing there has no value. Characters and words, which are no vocabularies that a
    model could have, have no heat and are never the best.
    """

    value: float | None
    text: str
    level: int | None
    best: bool


@dataclass(frozen=True, eq=False)
class HeatRow:
    """A text, with a cell for each tokenizer, None where there is none (yet); `problem` says why."""

    source: TextSource
    count: Count | None
    cells: tuple[HeatCell | None, ...]
    problem: str = ""


@dataclass(eq=False)
class Column:
    """A tokenizer that is measured; `vocabulary` is made in the thread that measures first."""

    splitter: Splitter
    title: str
    vocabulary: Vocabulary | None = None

    @property
    def is_ranked(self) -> bool:
        """Whether it has ids, as a vocabulary of a model."""
        return self.splitter.vocab_size is not None


@dataclass(eq=False)
class Board:
    """What was measured: for each text and tokenizer a `Count`, as far as it is done."""

    columns: list[Column] = field(default_factory=list)
    sources: list[TextSource] = field(default_factory=list)
    counts: dict[tuple[str, int], Count] = field(default_factory=dict)
    """By the text's name and the identity of the column."""
    problems: dict[str, str] = field(default_factory=dict)
    """By the text's name."""

    def count(self, source: TextSource, column: Column) -> Count | None:
        """What a text is in a tokenizer; None before it is measured."""
        return self.counts.get((source.name, id(column)))

    def missing(self) -> tuple[TextSource, list[Column]] | None:
        """The next text that is not measured in every tokenizer, and in which not."""
        for source in self.sources:
            left = [column for column in self.columns if self.count(source, column) is None]
            if left and source.name not in self.problems:
                return source, left
        return None

    def take(self, source: TextSource, columns: Sequence[Column], counts: Sequence[Count]) -> None:
        """Keeps what was measured."""
        for column, count in zip(columns, counts, strict=True):
            self.counts[source.name, id(column)] = count

    def forget(self, source: TextSource) -> None:
        """Drops what was measured of a text: another one may come under its name."""
        self.problems.pop(source.name, None)
        for column in self.columns:
            self.counts.pop((source.name, id(column)), None)

    def done(self) -> tuple[int, int]:
        """How many cells there are a value for, and how many there are."""
        there = sum(
            self.count(source, column) is not None for source in self.sources for column in self.columns
        )
        return there, len(self.sources) * len(self.columns)

    def measured(self) -> dict[str, list[Count]]:
        """The texts that are measured in every tokenizer, under names that tell the tokenizers apart."""
        found: dict[str, list[Count]] = {}
        for source in self.sources:
            counts = [self.count(source, column) for column in self.columns]
            if counts and all(count is not None for count in counts):
                found[source.name] = [count for count in counts if count is not None]
        return found

    def rows(self, figure: Figure) -> list[HeatRow]:
        """A row a text: the values of a figure with their heat."""
        every = [value for source in self.sources for value in self._ranked(source, figure)]
        return [self._row(source, figure, every) for source in self.sources]

    def _values(self, source: TextSource, figure: Figure) -> list[float | None]:
        """A figure of a text in each tokenizer, None where there is none (yet)."""
        counts = [self.count(source, column) for column in self.columns]
        first = counts[0] if counts else None
        return [None if count is None or first is None else figure.value(count, first) for count in counts]

    def _ranked(self, source: TextSource, figure: Figure) -> list[float]:
        """The values of a text that are measured against each other."""
        pairs = zip(self._values(source, figure), self.columns, strict=True)
        return [value for value, column in pairs if value is not None and column.is_ranked]

    def _row(self, source: TextSource, figure: Figure, every: Sequence[float]) -> HeatRow:
        there = self._ranked(source, figure)
        best = None
        if len(there) > 1 and figure.higher is not None:
            best = max(there) if figure.higher else min(there)
        scale = there if figure.by_row else every
        cells: list[HeatCell | None] = []
        for column, value in zip(self.columns, self._values(source, figure), strict=True):
            if value is None:
                cells.append(None if self.count(source, column) is None else HeatCell(None, "–", None, False))
            else:
                heat = level(value, scale, figure.higher) if column.is_ranked else None
                is_best = column.is_ranked and value == best
                cells.append(HeatCell(value, figure.shown(value), heat, is_best))
        counts = [self.count(source, column) for column in self.columns]
        count = next((one for one in counts if one is not None), None)
        return HeatRow(source, count, tuple(cells), self.problems.get(source.name, ""))


def level(value: float, among: Sequence[float], higher: bool | None) -> int | None:
    """The step of the heat, 7 the best of all; by ratio where all are above 0. None where all are equal."""
    if higher is None:
        return None
    low, high = min(among), max(among)
    if low > 0:
        value, low, high = math.log(value), math.log(low), math.log(high)
    if not high > low:
        return None
    share = (value - low) / (high - low)
    return round((share if higher else 1 - share) * (LEVELS - 1))


def measure(source: TextSource, columns: Sequence[Column], cancelled: Callable[[], bool]) -> list[Count]:
    """One text in these tokenizers; call it in a thread. Raises `UserError` for a text that cannot be read or
    is empty, `Stopped` once `cancelled()` says so."""
    from nanochat.common.errors import UserError
    from nanochat.tokenizer.explore.compression import count_documents, vocabulary_of

    for column in columns:
        if column.vocabulary is None:
            column.vocabulary = vocabulary_of(column.splitter)
    vocabularies = [column.vocabulary for column in columns if column.vocabulary is not None]
    splitters = [column.splitter for column in columns]
    counts = count_documents(source.documents(), splitters, vocabularies, cancelled)
    if not counts[0].size.bytes:
        raise UserError("there is no text in it", "name files and folders that hold text")
    return counts


def as_document(measured: Mapping[str, Sequence[Count]], kind: str) -> str:
    """Every figure as csv, md or json, as `tok_compare` prints them."""
    from nanochat.commands.tok_compare_print import as_csv, as_json, as_markdown

    forms = {"csv": as_csv, "md": as_markdown, "json": as_json}
    return forms[kind](None, named(measured), 0)


def named(measured: Mapping[str, Sequence[Count]]) -> dict[str, list[Count]]:
    """The same with names that tell tokenizers of one name apart."""
    from nanochat.tokenizer.explore.compression import distinct

    found: dict[str, list[Count]] = {}
    for text, counts in measured.items():
        told = found.setdefault(text, [])
        for count, vocabulary in zip(counts, distinct([one.vocabulary for one in counts]), strict=True):
            told.append(renamed := copy(count))
            renamed.vocabulary = vocabulary
    return found
