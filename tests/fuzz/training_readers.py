"""Readers of what the training screens open: pasted conversations, sweeps, numbers of a corpus."""

from nanochat.commands.data_stats_print import as_csv, as_json
from nanochat.commands.tok_sweep_print import as_text
from nanochat.data.duplicates import DuplicateCounter
from nanochat.data.stats import Collector, Document, collect
from nanochat.data.stats_document import parse_stats
from nanochat.tokenizer.sweep_figures import Point, Sweep, parse_sweep
from tui.data.tokenizer import stats_lines, sweeps, talks

SWEEPS = (
    Sweep((Point(512, 9, 8, 7, 6, 5, 90, 1), Point(1024, 9, 6, 7, 6, 5, 99, 2)), 4, 512).document().encode(),
)


def _numbers() -> bytes:
    with DuplicateCounter(16) as duplicates:
        collector = Collector(duplicates, has_tokens=True, longest=2)
        documents = [Document(text, "here") for text in ("one two", "三四", "one two", " ")]
        collect(documents, collector, lambda texts: [len(text) for text in texts])
        return as_json(collector.result([2])).encode()


NUMBERS = (_numbers(),)


def read_pasted(raw: bytes) -> None:
    """What is pasted is read and gone through."""
    found = talks.pasted(raw.decode("utf-8", "replace"))
    for index in range(min(found.count, 3)):
        found.read(index)


def read_sweep(raw: bytes) -> None:
    """A sweep is read, printed and drawn."""
    found = parse_sweep(raw, "x")
    as_text(found)
    sweeps.points(found)
    sweeps.about(found)


def read_numbers(raw: bytes) -> None:
    """The numbers are read, printed and laid out."""
    found = parse_stats(raw, "x")
    as_csv(found)
    stats_lines.lines(found, 80)
