"""A sweep over vocabulary sizes as text, Markdown, csv and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nanochat.common.fields import safe_json
from nanochat.common.table_formats import csv_text, markdown
from nanochat.common.text import short


@dataclass(frozen=True)
class Point:
    """One vocabulary: its tokens of `bytes` of text, and the parameters and FLOPs of a model with it."""

    vocab_size: int
    bytes: int
    tokens: int
    embedding: int
    value_embeddings: int
    head: int
    parameters: int
    flops_per_token: int

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens if self.tokens else 0.0

    @property
    def tables(self) -> int:
        """Parameters that grow with the vocabulary: embedding, value embeddings, head."""
        return self.embedding + self.value_embeddings + self.head

    @property
    def flops(self) -> float:
        """To train on the text once."""
        return float(self.flops_per_token) * self.tokens


def cheapest(points: Sequence[Point]) -> Point:
    """The vocabulary with which training on the same text takes the least compute."""
    return min(points, key=lambda point: point.flops)


def records(points: Sequence[Point], context: int) -> list[dict[str, Any]]:
    """Every figure of every size; `compute` is relative to the cheapest."""
    least = cheapest(points).flops
    return [
        {
            **asdict(point),
            "bytes_per_token": point.bytes_per_token,
            "tables": point.tables,
            "tables_share": point.tables / point.parameters,
            "context_bytes": context * point.bytes_per_token,
            "flops": point.flops,
            "compute": point.flops / least if least else 1.0,
        }
        for point in points
    ]


def as_json(points: Sequence[Point], depth: int, context: int) -> str:
    return safe_json({"depth": depth, "context": context, "sizes": records(points, context)}, indent=1) + "\n"


def as_csv(points: Sequence[Point], depth: int, context: int) -> str:
    rows = records(points, context)
    return csv_text(list(rows[0]), [list(row.values()) for row in rows])


def as_markdown(points: Sequence[Point], depth: int, context: int) -> str:
    header, rows = _cells(points, context)
    return f"# {_title(points, depth, context)}\n\n{markdown(header, rows)}\n{_verdict(points)}\n"


def as_text(points: Sequence[Point], depth: int, context: int) -> str:
    """A table of at most 80 columns, and what it comes to."""
    header, rows = _cells(points, context)
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in [header, *rows]
    ]
    return "\n".join([_title(points, depth, context), *lines, _verdict(points)]) + "\n"


def _title(points: Sequence[Point], depth: int, context: int) -> str:
    return f"{points[0].bytes:,} bytes of validation text; depth {depth}, context {context:,}"


def _cells(points: Sequence[Point], context: int) -> tuple[list[str], list[list[str]]]:
    header = ["vocabulary", "bytes/tok", "tokens", "fewer", "tables", "of model", "context", "compute"]
    rows = []
    for point, record in zip(points, records(points, context), strict=True):
        fewer = 1 - point.tokens / points[0].tokens if points[0].tokens else 0.0
        rows.append(
            [
                f"{point.vocab_size:,}",
                f"{point.bytes_per_token:.3f}",
                f"{point.tokens:,}",
                f"{100 * fewer:.1f}%",
                short(point.tables),
                f"{100 * record['tables_share']:.1f}%",
                f"{record['context_bytes']:,.0f}B",
                f"{record['compute']:.3f}×",
            ]
        )
    return header, rows


def _verdict(points: Sequence[Point]) -> str:
    return (
        f"compute: to train on the text once; least with {cheapest(points).vocab_size:,} ids"
        if len(points) > 1
        else "compute: to train on the text once"
    )
