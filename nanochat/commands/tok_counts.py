"""`nanochat tok_counts`: how often each token stands in a corpus, and those that it never or hardly has."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nanochat.commands.corpus_counts import Corpus, Progress, count_tokens, kept_counts
from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import safe_json
from nanochat.common.table_formats import csv_text, markdown
from nanochat.common.text import sanitize, size_bytes
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.data_options import TokCountsOptions
from nanochat.tokenizer.explore.counting import HARDLY
from nanochat.tokenizer.explore.spelling import shown

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.counting import Rare, TokenCounts
    from nanochat.tokenizer.explore.splitter import Splitter

COLUMNS = ("id", "token", "count", "bytes", "hex")


def parser() -> Parser:
    """The parser of `nanochat tok_counts`."""
    made = command_parser(
        "nanochat tok_counts",
        "Count how often each token stands in the training shards, once for each tokenizer and corpus, and "
        "list the tokens that are never or hardly there: a model trained on it does not learn them.",
        TokCountsOptions,
    )
    forms = made.add_mutually_exclusive_group()
    for form, what in (("json", "one JSON document"), ("md", "a Markdown table"), ("csv", "a csv table")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=what)
    return made


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat tok_counts …` and returns its exit code."""
    given, layout = parse(parser(), argv)
    options = collect(TokCountsOptions, given)

    from nanochat.tokenizer.explore.counting import rare
    from nanochat.tokenizer.explore.sources import open_source

    if not options.tokenizer and not layout.tokenizer.exists():
        raise UserError(
            f"no tokenizer in {layout.tokenizer}",
            "train one first: nanochat tok_train, or name one: --tokenizer NAME_OR_PATH",
        )
    spec = options.tokenizer or str(layout.tokenizer)
    splitter = open_source(spec, layout, pattern=options.pattern, offline=options.offline)
    if not splitter.vocab_size:
        raise UserError(f"{splitter.name} has no vocabulary to count", "name a tokenizer with ids")
    folder = layout.data_dir(options.data_dir)
    corpus = Corpus(layout.told(folder), folder)
    counts = kept_counts(layout.base, splitter, corpus)
    if counts is None:
        counts = count_tokens(layout.base, splitter, corpus, _tell, lambda: False)
    assert counts is not None  # only a cancel gives none
    found = rare(splitter, counts)
    listed = _listed(splitter, found, options.only)
    if given.form == "json":
        print(safe_json(_document(splitter, corpus, counts, found, listed), 1))
    elif given.form == "csv":
        print(csv_text(COLUMNS, (_row(splitter, counts, token) for token in listed)), end="")
    else:
        kept = listed if options.limit < 0 else listed[: options.limit]
        lines = _summary(splitter, corpus, counts, found)
        if given.form == "md":
            print(_page(splitter, counts, kept, lines), end="")
        else:
            print(*lines, *_lines(splitter, counts, kept, len(listed)), sep="\n")
    return Exit.OK


def _listed(splitter: "Splitter", found: "Rare", only: str) -> list[int]:
    """The ids to list, rising; of the rare ones single bytes last, which have to be there."""
    if only == "all":
        return list(range(splitter.vocab_size or 0))
    ids = {"never": (found.never,), "hardly": (found.hardly,)}.get(only, (found.never, found.hardly))
    every = (int(token) for part in ids for token in part)
    return sorted(every, key=lambda token: (len(_bytes(splitter, token)) == 1, token))


def _tell(progress: Progress) -> None:
    if sys.stderr.isatty():
        print(f"\rcounting {progress} ", end="\n" if progress.share >= 1 else "", file=sys.stderr, flush=True)


def _bytes(splitter: "Splitter", token: int) -> bytes:
    try:
        return splitter.token(token)
    except KeyError:
        return b""


def _row(splitter: "Splitter", counts: "TokenCounts", token: int) -> list[str | int]:
    raw = _bytes(splitter, token)
    return [token, shown(raw), int(counts.counts[token]), len(raw), raw.hex()]


def _summary(splitter: "Splitter", corpus: Corpus, counts: "TokenCounts", found: "Rare") -> list[str]:
    return [
        sanitize(
            f"{splitter.name}: {splitter.vocab_size or 0:,} ids; {corpus.name}: "
            f"{counts.documents:,} documents, {size_bytes(counts.bytes)}, {counts.tokens:,} tokens"
        ),
        f"never: {len(found.never):,} ids; hardly, under {HARDLY} times: {len(found.hardly):,} more",
    ]


def _page(splitter: "Splitter", counts: "TokenCounts", listed: Sequence[int], lines: Sequence[str]) -> str:
    rows = ([str(cell) for cell in _row(splitter, counts, token)] for token in listed)
    return "".join(f"- {line}\n" for line in lines) + "\n" + markdown(COLUMNS, rows)


def _lines(splitter: "Splitter", counts: "TokenCounts", listed: Sequence[int], of: int) -> list[str]:
    """For a terminal: a token a line, and how many more there are."""
    lines = []
    for token in listed:
        number, text, count, _, raw = _row(splitter, counts, token)
        lines.append(f"{number:>8}  {count:>11,}  {str(text)[:28]:<28}  {str(raw)[:26]}")
    left = of - len(listed)
    return [*lines, *([f"… and {left:,} more: --limit, or --csv for all of them"] if left else [])]


def _document(
    splitter: "Splitter", corpus: Corpus, counts: "TokenCounts", found: "Rare", listed: Sequence[int]
) -> dict[str, Any]:
    return {
        "tokenizer": splitter.name,
        "vocab_size": splitter.vocab_size,
        "data": corpus.name,
        "documents": counts.documents,
        "bytes": counts.bytes,
        "tokens": counts.tokens,
        "never": len(found.never),
        "hardly": len(found.hardly),
        "listed": [dict(zip(COLUMNS, _row(splitter, counts, token), strict=True)) for token in listed],
    }
