"""Numbers about a corpus: how much it is, in which scripts, how often twice, how long its documents are.

One pass, in flat memory: of the documents only their sizes are kept.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from nanochat.common.text import sanitize
from nanochat.data.duplicates import DuplicateCounter, Duplicates
from nanochat.data.packing import BUFFER_DOCUMENTS, cropped_share
from nanochat.data.scripts import count_scripts, main_script, scripts

SAMPLE = 20_000
"""Documents, drawn evenly, whose lengths the share cropped is computed from."""
MOST_ROWS = 10_000
"""Rows packed for it at most; then the share hardly changes."""
BEGINNING = 60
"""Characters of a long document that are shown."""
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
TRAIN, VALIDATION, FILES = "training", "validation", "files"
"""Splits; files are not split yet."""

CountTokens = Callable[[Sequence[str]], Sequence[int]]
"""The tokens of each text, without bos."""


@dataclass(frozen=True)
class Document:
    """One document, the split it is in, and where it lies, for people."""

    text: str
    where: str
    split: str = TRAIN


@dataclass
class Amount:
    """How much text. `tokens` is 0 without a tokenizer."""

    documents: int = 0
    bytes: int = 0
    characters: int = 0
    tokens: int = 0

    def add(self, size: int, characters: int, tokens: int) -> None:
        self.documents += 1
        self.bytes += size
        self.characters += characters
        self.tokens += tokens


@dataclass(frozen=True, order=True)
class Long:
    """One of the longest documents."""

    bytes: int
    characters: int
    tokens: int
    where: str
    beginning: str


@dataclass(frozen=True)
class Bin:
    """Documents of `low` to `high` units, both included, and the units in them."""

    low: int
    high: int
    documents: int
    units: int


@dataclass(frozen=True)
class Cropped:
    """What a context does to the documents: those that do not fit it with bos, and the share of the tokens
    that best-fit packing drops (`--long-documents crop`), by a sample of what is not held out."""

    context: int
    longer: int
    share: float | None


@dataclass(frozen=True)
class CorpusStats:
    """All numbers about a corpus. `unit` is what lengths are told in: tokens, or characters without a
    tokenizer."""

    total: Amount
    splits: dict[str, Amount]
    empty: int
    """Documents of white space only."""
    letters: dict[str, int]
    """Characters of each script, the most frequent first; `no letters` has digits, signs and white space."""
    main_scripts: dict[str, Amount]
    """Documents by the script that most of their letters are of, the largest first."""
    duplicates: Duplicates
    longest: list[Long]
    unit: str
    histogram: list[Bin]
    percentiles: dict[str, int]
    cropped: list[Cropped]
    source: str = ""
    """What was read: the folder of shards, or the files and folders, for people."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Collector:
    """Takes documents in, and says what there was. `longest` is how many of the longest are kept."""

    duplicates: DuplicateCounter
    has_tokens: bool
    longest: int = 10
    total: Amount = field(default_factory=Amount)
    splits: dict[str, Amount] = field(default_factory=dict)
    by_script: dict[str, Amount] = field(default_factory=dict)
    empty: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    """Documents by their length, in tokens or characters: as many entries as there are different lengths."""
    sample: list[int] = field(default_factory=list)
    _sampled: int = 0
    _long: list[Long] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def __post_init__(self) -> None:
        self._letters = np.zeros(len(scripts()[0]), dtype=np.int64)

    def add(self, document: Document, tokens: int) -> None:
        """One more document, of so many tokens (0 without a tokenizer)."""
        text = document.text
        raw = text.encode("utf-8", "surrogatepass")
        size, characters = len(raw), len(text)
        counts = count_scripts(text)
        self._letters += counts
        script = main_script(counts)
        for amount in (
            self.total,
            self.splits.setdefault(document.split, Amount()),
            self.by_script.setdefault(script, Amount()),
        ):
            amount.add(size, characters, tokens)
        self.empty += not text.strip()
        self.duplicates.add(raw, held_out=document.split == VALIDATION)
        length = tokens if self.has_tokens else characters
        self.lengths[length] += 1
        if document.split != VALIDATION:
            self._draw(length)
        if len(self._long) < self.longest or (self._long and size > self._long[0].bytes):
            beginning = sanitize(" ".join(text[: 4 * BEGINNING].split())[:BEGINNING])
            self._keep(Long(size, characters, tokens, document.where, beginning))

    def _draw(self, length: int) -> None:
        """Keeps a sample in which every document seen is as likely (Vitter's algorithm R)."""
        self._sampled += 1
        if len(self.sample) < SAMPLE:
            self.sample.append(length)
        elif (place := self._random.randrange(self._sampled)) < SAMPLE:
            self.sample[place] = length

    def _keep(self, document: Long) -> None:
        heapq.heappush(self._long, document)
        if len(self._long) > self.longest:
            heapq.heappop(self._long)

    def result(self, contexts: Sequence[int]) -> CorpusStats:
        """The numbers, with what each of the contexts crops."""
        names, _ = scripts()
        letters = sorted(zip(names, self._letters.tolist(), strict=True), key=lambda one: -one[1])
        return CorpusStats(
            total=self.total,
            splits=self.splits,
            empty=self.empty,
            letters={name: count for name, count in letters if count},
            main_scripts=dict(sorted(self.by_script.items(), key=lambda one: -one[1].bytes)),
            duplicates=self.duplicates.count(),
            longest=sorted(self._long, reverse=True),
            unit="tokens" if self.has_tokens else "characters",
            histogram=histogram(self.lengths),
            percentiles=percentiles(self.lengths),
            cropped=[self._cropped(context) for context in contexts] if self.has_tokens else [],
        )

    def _cropped(self, context: int) -> Cropped:
        longer = sum(n for length, n in self.lengths.items() if length > context)
        share = None
        if self.sample:
            rows = max(1, min(MOST_ROWS, sum(self.sample) // (context + 1)))
            share = cropped_share([length + 1 for length in self.sample], context + 1, BUFFER_DOCUMENTS, rows)
        return Cropped(context, longer, share)


def collect(
    documents: Iterable[Document],
    collector: Collector,
    count_tokens: CountTokens | None,
    report: Callable[[Amount], object] = lambda amount: None,
) -> None:
    """Takes all documents in, in batches; `report` is called after each with what there was so far."""
    for batch in _batches(documents):
        texts = [document.text for document in batch]
        tokens = [0] * len(batch) if count_tokens is None else count_tokens(texts)
        for document, count in zip(batch, tokens, strict=True):
            collector.add(document, count)
        report(collector.total)


BATCH_DOCUMENTS, BATCH_CHARS = 128, 1 << 20


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    chars = 0
    for document in documents:
        batch.append(document)
        chars += len(document.text)
        if len(batch) >= BATCH_DOCUMENTS or chars >= BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def histogram(lengths: Counter[int]) -> list[Bin]:
    """Bins that double: 0, 1, 2–3, 4–7 … from the shortest document to the longest, empty ones between them
    included."""
    documents: Counter[int] = Counter()
    units: Counter[int] = Counter()
    for length, count in lengths.items():
        documents[length.bit_length()] += count
        units[length.bit_length()] += count * length
    if not documents:
        return []
    return [
        Bin((1 << bits) >> 1, max(0, (1 << bits) - 1), documents[bits], units[bits])
        for bits in range(min(documents), max(documents) + 1)
    ]


def percentiles(lengths: Counter[int]) -> dict[str, int]:
    """Lengths that so many per cent of the documents do not exceed, with the shortest and the longest."""
    if not lengths:
        return {}
    ordered = sorted(lengths)
    below = list(accumulate(lengths[length] for length in ordered))
    found = {"min": ordered[0]}
    for percent in PERCENTILES:
        rank = -(-percent * below[-1] // 100)  # the nearest rank
        found[f"p{percent}"] = ordered[next(i for i, count in enumerate(below) if count >= rank)]
    return found | {"max": ordered[-1]}
