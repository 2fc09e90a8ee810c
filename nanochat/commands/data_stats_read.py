"""Reads a corpus once for `nanochat data stats`: the shards, or files and folders."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.common.progress_lines import Report
from nanochat.common.text import size_bytes
from nanochat.config.data_options import DataStatsOptions
from nanochat.data.duplicates import DuplicateCounter
from nanochat.data.expected import expected_bytes
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


def measure(
    options: DataStatsOptions,
    layout: Layout,
    tokenizer: Tokenizer | None,
    contexts: Sequence[int],
    report: Report = lambda *_, **__: None,
) -> tuple[CorpusStats, Skips]:
    """Reads all of the input once; `report` hears how far it is.

    Raises `UserError` for a path that is not there, and a damaged shard.
    """
    expected = expected_text(options, layout)

    def told(amount: Amount) -> None:
        share = min(1.0, amount.bytes / expected) if expected else None
        note = f"{amount.documents:,} documents, {size_bytes(amount.bytes)}"
        report("reading", share, note, documents=amount.documents, bytes=amount.bytes)

    skips = Skips()
    count = None if tokenizer is None else token_counter(tokenizer)
    with DuplicateCounter() as duplicates:
        collector = Collector(duplicates, has_tokens=count is not None, longest=options.longest)
        documents = capped(read(options, layout, skips), options.max_chars)
        collect(documents, collector, count, told)
        report("counting duplicates", None, f"{collector.total.documents:,} documents")
        return replace(collector.result(contexts), source=_source(options, layout)), skips


def _source(options: DataStatsOptions, layout: Layout) -> str:
    """What is read, in a line."""
    return ", ".join(options.paths) or layout.told(layout.data_dir(options.data_dir))


def expected_text(options: DataStatsOptions, layout: Layout) -> int:
    """About how many bytes of text will be read; 0 where that is not known."""
    if options.paths:
        return 0
    size = expected_bytes(list_shards(layout.data_dir(options.data_dir)))
    return size if options.max_chars < 0 else min(size, options.max_chars)


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
