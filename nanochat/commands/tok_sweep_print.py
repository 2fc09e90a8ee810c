"""A sweep over vocabulary sizes as text, Markdown and csv."""

from nanochat.common.table_formats import csv_text, markdown
from nanochat.common.text import short
from nanochat.tokenizer.sweep_figures import Point, Sweep


def as_csv(sweep: Sweep) -> str:
    rows = sweep.records()
    return csv_text(list(rows[0]), [list(row.values()) for row in rows])


def as_markdown(sweep: Sweep) -> str:
    header, rows = cells(sweep)
    return f"# {_title(sweep)}\n\n{markdown(header, rows)}\n{_verdict(sweep)}\n"


def as_text(sweep: Sweep) -> str:
    """A table of at most 80 columns, and what it comes to."""
    header, rows = cells(sweep)
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in [header, *rows]
    ]
    return "\n".join([_title(sweep), *lines, _verdict(sweep)]) + "\n"


def _title(sweep: Sweep) -> str:
    text = f"{sweep.points[0].bytes:,} bytes of validation text"
    return f"{text}; depth {sweep.depth}, context {sweep.context:,}"


def cells(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    """The table as people are shown it: its header, and a row a size."""
    header = ["vocabulary", "bytes/tok", "tokens", "fewer", "tables", "of model", "context", "compute"]
    return header, [_row(sweep, point) for point in sweep.points]


def _row(sweep: Sweep, point: Point) -> list[str]:
    first = sweep.points[0].tokens
    return [
        f"{point.vocab_size:,}",
        f"{point.bytes_per_token:.3f}",
        f"{point.tokens:,}",
        f"{100 * (1 - point.tokens / first) if first else 0.0:.1f}%",
        short(point.tables),
        f"{100 * point.tables / point.parameters:.1f}%",
        f"{sweep.context * point.bytes_per_token:,.0f}B",
        f"{sweep.compute(point):.3f}×",
    ]


def _verdict(sweep: Sweep) -> str:
    told = "compute: to train on the text once"
    return f"{told}; least with {sweep.cheapest.vocab_size:,} ids" if len(sweep.points) > 1 else told
