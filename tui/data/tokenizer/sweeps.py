"""Sweeps over vocabulary sizes as lines to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.text import amount, number, sanitize

if TYPE_CHECKING:
    from nanochat.tokenizer.sweep_figures import Sweep

FOLDER = "tok_sweeps"
"""Under the base directory: the sweeps that were run from the control room."""
OCTAVE = 1_000
"""Units of the x axis from one size to its double: sizes lie apart as their logarithms do."""

COMPRESSION, TOKENS = "bytes per token", "tokens of the text"
TABLES, COMPUTE = "parameters of the tables", "compute, 1 = least"
METRICS = (COMPRESSION, TABLES, TOKENS, COMPUTE)
"""The plots, in order."""

Row = tuple[int, int, float, float, int]
"""As plots take points: number, x, time, value, attempt."""


def place(vocab_size: int) -> int:
    """Where a size lies on the x axis."""
    return round(OCTAVE * math.log2(vocab_size))


def points(sweep: Sweep) -> dict[str, list[Row]]:
    """The lines of a sweep by metric."""
    figures = [
        (point.vocab_size, (point.bytes_per_token, point.tables, point.tokens, sweep.compute(point)))
        for point in sweep.points
    ]
    return {
        metric: [(at, place(size), 0.0, float(values[index]), 1) for at, (size, values) in enumerate(figures)]
        for index, metric in enumerate(METRICS)
    }


def places(sweeps: Sequence[Sweep]) -> tuple[tuple[float, str], ...]:
    """The sizes of all of the sweeps as named places on the x axis."""
    sizes = {point.vocab_size for sweep in sweeps for point in sweep.points}
    return tuple((float(place(size)), short_size(size)) for size in sorted(sizes))


def short_size(size: int) -> str:
    """A size as one says it: 4k, 32k, 50,257."""
    return f"{size // 1024}k" if size % 1024 == 0 else f"{size:,}"


def about(sweep: Sweep) -> str:
    """What was trained on, in a line."""
    text = f"{sweep.points[0].bytes:,} bytes of validation text"
    trained = f", trained on {amount(sweep.documents, 'document')}" if sweep.documents else ""
    took = f" in {number(sweep.seconds)} s" if sweep.seconds else ""
    data = f"{sanitize(sweep.data, 60)} · " if sweep.data else ""
    least = f" · least compute with {sweep.cheapest.vocab_size:,} ids" if len(sweep.points) > 1 else ""
    return f"{data}depth {sweep.depth}, context {sweep.context:,} · {text}{trained}{took}{least}"
