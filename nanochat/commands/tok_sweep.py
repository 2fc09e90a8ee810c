"""`nanochat tok_sweep`: what a larger vocabulary saves and costs, for several sizes from one training."""

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import parse_int
from nanochat.common.paths import Layout, atomic_write
from nanochat.common.progress_lines import Report, progress
from nanochat.common.text import size_bytes
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.data_options import TokSweepOptions
from nanochat.tokenizer.special_tokens import MIN_VOCAB

if TYPE_CHECKING:
    from nanochat.tokenizer.sweep_figures import Point, Sweep
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
    made.add_argument("--progress", action="store_true", help="JSON lines on stderr about how far it is")
    return made


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat tok_sweep …` and returns its exit code."""
    given, layout = parse(parser(), argv)
    options = collect(TokSweepOptions, given)
    sizes = vocab_sizes(options.vocab_sizes)

    from nanochat.commands.tok_sweep_print import as_csv, as_markdown, as_text
    from nanochat.tokenizer.sweep_figures import Sweep

    with progress(given.progress) as report:
        largest, found = sweep(options, layout, sizes, report)
    print(f"trained {largest.vocab_size:,} tokens in {found.seconds:.1f} s", file=sys.stderr)
    reached = found.points[-1].vocab_size
    if reached < sizes[-1]:
        print(f"the text ran out of pairs to merge at a vocabulary of {reached:,}", file=sys.stderr)
    forms = {"json": Sweep.document, "md": as_markdown, "csv": as_csv}
    print(forms.get(given.form, as_text)(found), end="")
    if options.out:  # after the table, which a full disk then does not cost
        save(largest, found, layout.resolve(options.out))
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


def sweep(
    options: TokSweepOptions, layout: Layout, sizes: Sequence[int], report: Report = lambda *_, **__: None
) -> "tuple[Tokenizer, Sweep]":
    """Trains once to the largest size and measures every size on the first validation text.

    Returns that tokenizer, and what was found. `report` hears how far it is. Raises `UserError` without
    shards, where they hold no text, and where `out` cannot be written.
    """
    from nanochat.data.expected import expected_bytes
    from nanochat.data.shards import capped, iter_documents, split_shards
    from nanochat.tokenizer.sweep import of_size, sizes_within
    from nanochat.tokenizer.sweep_figures import Sweep
    from nanochat.tokenizer.tokenizer import Tokenizer

    shards = split_shards(layout.data_dir(options.data_dir))
    held_out = list(capped(iter_documents([shards.val]), options.val_chars, options.val_chars))
    if not any(held_out):
        raise UserError(f"the validation shard {shards.val} holds no text", "build the shards again")
    if options.out:
        check_writable(layout.resolve(options.out))
    started = time.monotonic()
    reading = Reading(report, min(options.max_chars, expected_bytes(shards.train)))
    text = reading.counted(capped(iter_documents(shards.train), options.max_chars, options.doc_cap))
    trained_on = {"data": shards.folder.name, "max_chars": options.max_chars, "doc_cap": options.doc_cap}
    largest = Tokenizer.train_from_iterator(text, sizes[-1], trained_on=trained_on, progress=reading.merging)
    if largest.vocab_size < MIN_VOCAB:
        raise UserError(
            f"the training shards in {shards.folder} hold no text to learn a merge from",
            "build the shards again",
        )
    seconds = time.monotonic() - started
    points = []
    within = list(sizes_within(largest, sizes))
    for done, size in enumerate(within):
        note = f"{done + 1} of {len(within)} sizes"
        report("measuring", done / len(within), note, done=done, total=len(within))
        points.append(measure(of_size(largest, size), held_out, options))
    return largest, Sweep(
        tuple(points),
        options.depth,
        options.max_seq_len,
        shards.folder.name,
        reading.documents,
        reading.bytes,
        seconds,
    )


class Reading:
    """Counts the training text as it is read, and reports it and the merges after it."""

    def __init__(self, report: Report, expected: int) -> None:
        self._report, self._expected = report, max(1, expected)
        self.documents = self.chars = self.bytes = 0

    def counted(self, documents: Iterable[str]) -> Iterator[str]:
        """The documents as they are."""
        for document in documents:
            self.documents += 1
            self.chars += len(document)
            self.bytes += len(document) if document.isascii() else len(document.encode())
            yield document
            if not self.documents % 128:
                share = min(1.0, self.chars / self._expected)
                note = f"{self.documents:,} documents, {size_bytes(self.bytes)}"
                self._report("reading", share, note, documents=self.documents, bytes=self.bytes)

    def merging(self, phase: str, done: int, total: int | None) -> None:
        """The trainer's progress callback."""
        if phase == "merge" and total:
            self._report("merging", done / total, f"{done:,} of {total:,} merges", done=done, total=total)


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


def save(largest: "Tokenizer", found: "Sweep", folder: Path) -> None:
    """Saves the tokenizer of each point, in a folder named by its size, and the figures beside them in
    sweep.json. Raises `UserError` where that cannot be written."""
    from nanochat.tokenizer.sweep import of_size

    for point in found.points:
        of_size(largest, point.vocab_size).save(folder / str(point.vocab_size))
    atomic_write(folder / "sweep.json", found.document())


def measure(tokenizer: "Tokenizer", texts: Sequence[str], options: TokSweepOptions) -> "Point":
    """One size: its compression of `texts`, and what its tables cost in a model of the options' depth."""
    from nanochat.model.architecture import flops_per_token, parameter_counts
    from nanochat.scaling.horizon import config_from_depth
    from nanochat.tokenizer.sweep_figures import Point

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
