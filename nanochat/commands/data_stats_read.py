"""Reads a corpus once for `nanochat data stats`: the shards, or files and folders."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.common.text import size_bytes
from nanochat.config.data_options import DataStatsOptions
from nanochat.data.duplicates import DuplicateCounter
from nanochat.data.extract import Extractor
from nanochat.data.shards import list_shards, open_shard, read_row_group
from nanochat.data.sources import Skips, walk
from nanochat.data.stats import (
    FILES,
    TRAIN,
    VALIDATION,
    Amount,
    Collector,
    CorpusStats,
    CountTokens,
    Document,
    collect,
)
from nanochat.tokenizer.tokenizer import Tokenizer

REPORT_SECONDS = 0.5
"""Between two updates of the line that tells how much has been read."""


def measure(
    options: DataStatsOptions, layout: Layout, tokenizer: Tokenizer | None, contexts: Sequence[int]
) -> tuple[CorpusStats, Skips]:
    """Reads all of the input once. Raises `UserError` for a path that is not there, and a damaged shard."""
    skips = Skips()
    count = None if tokenizer is None else token_counter(tokenizer)
    with DuplicateCounter() as duplicates:
        collector = Collector(duplicates, has_tokens=count is not None, longest=options.longest)
        documents = capped(read(options, layout, skips), options.max_chars)
        with progress() as report:
            collect(documents, collector, count, report)
        return collector.result(contexts), skips


def read(options: DataStatsOptions, layout: Layout, skips: Skips) -> Iterator[Document]:
    """The documents of the paths, else of the shards; what is no text is counted in `skips`."""
    if not options.paths:
        yield from shard_documents(layout.data_dir(options.data_dir))
        return
    if options.data_dir:
        raise UserError("--data-dir and paths are two inputs", "give one of them")
    paths = [str(layout.resolve(path)) for path in options.paths]
    with Extractor(skips, options.text_key, options.doc_chars) as extractor:
        for source in walk(paths, skips):
            for number, text in enumerate(extractor.documents(source), start=1):
                try:
                    text.encode()
                except UnicodeEncodeError:
                    skips.add("not valid Unicode", source.path)
                    continue
                yield Document(text, f"{source.path}, document {number:,}", FILES)


def shard_documents(folder: Path) -> Iterator[Document]:
    """The documents of a folder of shards; of two and more the last is the validation split."""
    shards = list_shards(folder)
    for index, path in enumerate(shards):
        split = VALIDATION if 0 < index == len(shards) - 1 else TRAIN
        number = 0
        with open_shard(path) as file:
            for group in range(file.num_row_groups):
                for text in read_row_group(file, path, group):
                    number += 1
                    yield Document(text, f"{path.name}, document {number:,}", split)


def capped(documents: Iterator[Document], max_chars: int) -> Iterator[Document]:
    """Documents up to and including the one that passes `max_chars` in total; -1: all."""
    total = 0
    for document in documents:
        total += len(document.text)
        yield document
        if 0 <= max_chars < total:
            return


def token_counter(tokenizer: Tokenizer) -> CountTokens:
    """Tokens of each of many texts."""
    return lambda texts: tokenizer.count_batch(texts).tolist()


@contextlib.contextmanager
def progress() -> Iterator[Callable[[Amount], None]]:
    """Shows on a terminal how much has been read, twice a second; the line is gone at the end."""
    shown = time.monotonic()
    wide = 0

    def report(amount: Amount) -> None:
        nonlocal shown, wide
        if sys.stderr.isatty() and time.monotonic() - shown >= REPORT_SECONDS:
            shown = time.monotonic()
            line = f"{amount.documents:,} documents, {size_bytes(amount.bytes)}"
            wide = max(wide, len(line))
            print(f"\r{line:<{wide}}\r", end="", file=sys.stderr, flush=True)

    try:
        yield report
    finally:
        if wide:
            print("\r" + " " * wide + "\r", end="", file=sys.stderr, flush=True)
