"""`nanochat tok_sweep`: what a larger vocabulary saves and costs, for several sizes from one training."""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import parse_int
from nanochat.common.paths import Layout
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.data_options import TokSweepOptions
from nanochat.tokenizer.special_tokens import MIN_VOCAB

if TYPE_CHECKING:
    from nanochat.commands.tok_sweep_print import Point
    from nanochat.tokenizer.tokenizer import Tokenizer

LARGEST, MOST = 1 << 24, 50


def parser() -> Parser:
    """The parser of `nanochat tok_sweep`."""
    made = command_parser(
        "nanochat tok_sweep",
        "Train vocabularies of several sizes from one pass over the text, and tell for each the compression "
        "on validation text, the parameters of the tables, and the compute to train on the text once.",
        TokSweepOptions,
    )
    forms = made.add_mutually_exclusive_group()
    for form, what in (("json", "one JSON document"), ("md", "a Markdown table"), ("csv", "a csv table")):
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=what)
    return made


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat tok_sweep …` and returns its exit code."""
    given, layout = parse(parser(), argv)
    options = collect(TokSweepOptions, given)
    sizes = vocab_sizes(options.vocab_sizes)

    from nanochat.commands.tok_sweep_print import as_csv, as_json, as_markdown, as_text

    largest, points = sweep(options, layout, sizes)
    reached = points[-1].vocab_size
    if reached < sizes[-1]:
        print(f"the text ran out of pairs to merge at a vocabulary of {reached:,}", file=sys.stderr)
    forms = {"json": as_json, "md": as_markdown, "csv": as_csv}
    print(forms.get(given.form, as_text)(points, options.depth, options.max_seq_len), end="")
    if options.out:  # after the table, which a full disk then does not cost
        save(largest, points, layout.resolve(options.out))
    return Exit.OK


def vocab_sizes(given: Sequence[str]) -> list[int]:
    """The sizes, smallest first. Raises `UserError` on anything but numbers that a vocabulary can have."""
    try:
        sizes = sorted({parse_int(size) for size in given})
    except ValueError:
        sizes = []
    if not sizes or len(sizes) > MOST or not MIN_VOCAB <= sizes[0] <= sizes[-1] <= LARGEST:
        raise UserError(
            f"--vocab-sizes {','.join(given)[:200]} is not a list of at most {MOST} numbers from {MIN_VOCAB} "
            f"to {LARGEST:,}",
            "such as 4096,8192,16384",
        )
    return sizes


def sweep(options: TokSweepOptions, layout: Layout, sizes: Sequence[int]) -> "tuple[Tokenizer, list[Point]]":
    """Trains once to the largest size and measures every size on the first validation text.

    Returns that tokenizer, and a point a size. Raises `UserError` without shards, where they hold no text,
    and where `out` cannot be written.
    """
    from nanochat.data.shards import capped, iter_documents, split_shards
    from nanochat.tokenizer.sweep import of_size, sizes_within
    from nanochat.tokenizer.tokenizer import Tokenizer

    shards = split_shards(layout.data_dir(options.data_dir))
    held_out = list(capped(iter_documents([shards.val]), options.val_chars, options.val_chars))
    if not any(held_out):
        raise UserError(f"the validation shard {shards.val} holds no text", "build the shards again")
    if options.out:
        check_writable(layout.resolve(options.out))
    started = time.monotonic()
    text = capped(iter_documents(shards.train), options.max_chars, options.doc_cap)
    trained_on = {"data": shards.folder.name, "max_chars": options.max_chars, "doc_cap": options.doc_cap}
    largest = Tokenizer.train_from_iterator(text, sizes[-1], trained_on=trained_on)
    if largest.vocab_size < MIN_VOCAB:
        raise UserError(
            f"the training shards in {shards.folder} hold no text to learn a merge from",
            "build the shards again",
        )
    seconds = time.monotonic() - started
    print(f"trained {largest.vocab_size:,} tokens in {seconds:.1f} s", file=sys.stderr)
    points = [measure(of_size(largest, size), held_out, options) for size in sizes_within(largest, sizes)]
    return largest, points


def check_writable(folder: Path) -> None:
    """Makes the folder, before anything is computed. Raises `UserError` where nothing can be put into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write into {folder}: {error.strerror}", "choose another folder with --out", Exit.FAILED
        ) from error


def save(largest: "Tokenizer", points: "Sequence[Point]", folder: Path) -> None:
    """Saves the tokenizer of each point, in a folder named by its size. Raises `UserError` as `save` does."""
    from nanochat.tokenizer.sweep import of_size

    for point in points:
        of_size(largest, point.vocab_size).save(folder / str(point.vocab_size))


def measure(tokenizer: "Tokenizer", texts: Sequence[str], options: TokSweepOptions) -> "Point":
    """One size: its compression of `texts`, and what its tables cost in a model of the options' depth."""
    from nanochat.commands.tok_sweep_print import Point
    from nanochat.model.architecture import flops_per_token, parameter_counts
    from nanochat.scaling.horizon import config_from_depth

    config = config_from_depth(options.depth, tokenizer.vocab_size, options.max_seq_len)
    counts = parameter_counts(config)
    return Point(
        vocab_size=tokenizer.vocab_size,
        bytes=sum(len(text.encode()) for text in texts),
        tokens=int(tokenizer.count_batch(texts).sum()),
        embedding=counts["wte"],
        value_embeddings=counts["value_embeds"],
        head=counts["lm_head"],
        parameters=counts["total"],
        flops_per_token=flops_per_token(config),
    )
