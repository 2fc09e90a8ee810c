"""`nanochat data stats`: numbers about shards, or about files and folders before they are packed."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import parse_int
from nanochat.common.paths import Layout
from nanochat.common.progress_lines import progress
from nanochat.common.text import sanitize
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.data_options import DataStatsOptions

if TYPE_CHECKING:
    from nanochat.tokenizer.tokenizer import Tokenizer

MOST_CONTEXTS = 20


def parser() -> Parser:
    """The parser of `nanochat data stats`."""
    made = command_parser(
        "nanochat data stats",
        "Documents, bytes, scripts, duplicates, lengths, and what a context crops: of the shards, or of "
        "files and folders. Reads once, in flat memory.",
        DataStatsOptions,
    )
    forms = made.add_mutually_exclusive_group()
    for form, what in (
        ("json", "one JSON document"),
        ("md", "Markdown tables"),
        ("csv", "one csv table, a figure a row"),
    ):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=what)
    made.add_argument("--progress", action="store_true", help="JSON lines on stderr about how far it is")
    return made


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat data stats …` and returns its exit code."""
    given, layout = parse(parser(), argv)
    options = collect(DataStatsOptions, given)

    from nanochat.commands.data_stats_print import as_csv, as_json, as_markdown, as_text
    from nanochat.commands.data_stats_read import measure

    contexts = context_sizes(options.contexts)
    tokenizer = find_tokenizer(options, layout)
    with progress(given.progress) as report:
        stats, skips = measure(options, layout, tokenizer, contexts, report)
    for line in skips.lines():
        print(sanitize(line), file=sys.stderr)
    if not stats.total.documents:
        raise UserError("no document came out of the input", "; ".join(skips.lines()) or "it holds no file")
    if tokenizer is None:
        print("no tokenizer: lengths are in characters (train one: nanochat tok_train)", file=sys.stderr)
    forms = {"json": as_json, "md": as_markdown, "csv": as_csv}
    print(forms.get(given.form, as_text)(stats), end="")
    return Exit.OK


def find_tokenizer(options: DataStatsOptions, layout: Layout) -> "Tokenizer | None":
    """The tokenizer to count with; None where none is there and none was asked for."""
    from nanochat.tokenizer.files import META_FILE
    from nanochat.tokenizer.tokenizer import Tokenizer

    folder = layout.tokenizer_dir(options.tokenizer_dir)
    there = any((folder / name).is_file() for name in (META_FILE, "tokenizer.pkl"))
    return Tokenizer.load(folder) if options.tokenizer_dir or there else None


def context_sizes(given: Sequence[str]) -> list[int]:
    """The contexts, smallest first. Raises `UserError` on anything but numbers from 1 up."""
    try:
        sizes = sorted({parse_int(size) for size in given})
    except ValueError:
        sizes = []
    if len(sizes) > MOST_CONTEXTS or (given and (not sizes or not 1 <= sizes[0] <= sizes[-1] <= 1 << 24)):
        raise UserError(
            f"--contexts {','.join(given)[:200]} is not a list of numbers from 1 to {1 << 24:,}",
            "such as 512,2048",
        )
    return sizes
