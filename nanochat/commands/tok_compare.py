"""`nanochat tok_compare`: tokens that only one of two tokenizers has, ids that moved, compression by text."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from nanochat.common.text import sanitize
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.data_options import TokCompareOptions

if TYPE_CHECKING:
    from nanochat.tokenizer.evaluation import Count
    from nanochat.tokenizer.explore.differing import Differing
    from nanochat.tokenizer.explore.splitter import Splitter

MOST = 12
"""Tokenizers that are compared at once."""


def parser() -> Parser:
    """The parser of `nanochat tok_compare`."""
    made = command_parser(
        "nanochat tok_compare",
        "Compare tokenizers: of two the tokens that only one has and the ids that moved; of any number the "
        "compression of built-in texts, the shards and your own files, each against the first one.",
        TokCompareOptions,
    )
    forms = made.add_mutually_exclusive_group()
    for form, what in (
        ("json", "one JSON document"),
        ("md", "Markdown tables"),
        ("csv", "one csv table: the tokens of two tokenizers, the texts of more; --only chooses"),
    ):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=what)
    return made


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat tok_compare …` and returns its exit code."""
    given, layout = parse(parser(), argv)
    options = collect(TokCompareOptions, given)
    if not 2 <= len(options.tokenizers) <= MOST:
        raise UserError(f"name 2 to {MOST} tokenizers", "such as: nanochat tok_compare {base}/tokenizer gpt2")
    if options.only == "tokens" and len(options.tokenizers) > 2:
        raise UserError("tokens are compared of two tokenizers", "name two, or --only texts")

    from nanochat.commands.tok_compare_print import as_csv, as_json, as_markdown, as_text
    from nanochat.tokenizer.explore.sources import open_source

    splitters = [
        open_source(spec, layout, pattern=options.pattern, offline=options.offline)
        for spec in options.tokenizers
    ]
    wants_tokens = len(splitters) == 2 and options.only != "texts"
    wants_texts = options.only != "tokens" and not (given.form == "csv" and wants_tokens)
    found = compare(splitters[0], splitters[1], must=options.only == "tokens") if wants_tokens else None
    counts = measure(splitters, texts(options, layout)) if wants_texts else {}
    forms = {"json": as_json, "md": as_markdown, "csv": as_csv}
    print(forms.get(given.form, as_text)(found, counts, options.limit), end="")
    return Exit.OK


def compare(one: "Splitter", other: "Splitter", must: bool) -> "Differing | None":
    """How their vocabularies differ; None where one has none, unless it `must`: then `UserError`."""
    from nanochat.tokenizer.explore.differing import differing
    from nanochat.tokenizer.explore.vocabulary import read_tokens

    if not must and not (one.vocab_size and other.vocab_size):
        return None
    return differing(read_tokens(one), read_tokens(other))


def texts(options: TokCompareOptions, layout: Layout) -> dict[str, Iterable[str]]:
    """The built-in texts, samples of the shards where there are any, and the user's own, by name."""
    from nanochat.data.measured_texts import own_texts, shard_texts
    from nanochat.tokenizer.sample_texts import TEXTS

    found: dict[str, Iterable[str]] = {name: [text] for name, text in TEXTS.items()}
    folder = layout.data_dir(options.data_dir)
    if options.data_dir or folder.is_dir():
        found |= {name: [text] for name, text in shard_texts(folder).items()}
    own = [layout.resolve(path) for path in options.texts]
    tell = _told
    return found | own_texts(
        own, found, text_key=options.text_key, max_chars=options.max_chars, note=tell, cut=tell
    )


def _told(line: str) -> None:
    print(sanitize(line), file=sys.stderr)


def measure(
    splitters: Sequence["Splitter"], documents: Mapping[str, Iterable[str]]
) -> dict[str, list["Count"]]:
    """Each text in every tokenizer. Raises `UserError` for a text that is empty."""
    from nanochat.tokenizer.explore.compression import count_documents, distinct, vocabulary_of

    vocabularies = distinct([vocabulary_of(splitter) for splitter in splitters])
    counts = {}
    for name, text in documents.items():
        counts[name] = count_documents(text, splitters, vocabularies)
        if not counts[name][0].size.bytes:
            raise UserError(f"the text '{name}' is empty", "name files and folders that hold text")
    return counts
