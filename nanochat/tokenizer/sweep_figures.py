"""What a sweep over vocabulary sizes found: a point a size, and the document that keeps them."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError
from nanochat.common.fields import json_object, safe_json
from nanochat.common.files import read_regular

MOST_BYTES = 4 << 20
MOST_POINTS = 1000


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


@dataclass(frozen=True)
class Sweep:
    """Points by size, the smallest first, of models of `depth` layers and `context` tokens.

    `data` names the folder of shards. `documents` and `text_bytes` were trained on, in `seconds`; 0 where a
    document does not tell.
    """

    points: tuple[Point, ...]
    depth: int
    context: int
    data: str = ""
    documents: int = 0
    text_bytes: int = 0
    seconds: float = 0.0

    @property
    def cheapest(self) -> Point:
        """The vocabulary with which training on the same text takes the least compute."""
        return min(self.points, key=lambda point: point.flops)

    def compute(self, point: Point) -> float:
        """The compute to train on the text once, relative to the cheapest point."""
        least = self.cheapest.flops
        return point.flops / least if least else 1.0

    def records(self) -> list[dict[str, Any]]:
        """Every figure of every size; `compute` is relative to the cheapest."""
        return [
            {
                **asdict(point),
                "bytes_per_token": point.bytes_per_token,
                "tables": point.tables,
                "tables_share": point.tables / point.parameters,
                "context_bytes": self.context * point.bytes_per_token,
                "flops": point.flops,
                "compute": self.compute(point),
            }
            for point in self.points
        ]

    def document(self) -> str:
        """The sweep as JSON, as `nanochat tok_sweep --json` prints it."""
        head = {
            "depth": self.depth,
            "context": self.context,
            "data": self.data,
            "documents": self.documents,
            "text_bytes": self.text_bytes,
            "seconds": round(self.seconds, 3),
        }
        return safe_json({**head, "sizes": self.records()}, indent=1) + "\n"


def parse_sweep(raw: bytes | str, where: str) -> Sweep:
    """A sweep from its document. Raises `UserError` with `where` it is from for anything else."""
    found = json_object(raw)
    sizes = None if found is None else found.get("sizes")
    if found is None or not isinstance(sizes, list) or not 0 < len(sizes) <= MOST_POINTS:
        raise UserError(f"{where} is no sweep over vocabulary sizes", "nanochat tok_sweep --json writes one")
    points = tuple(sorted((_point(size, where) for size in sizes), key=lambda point: point.vocab_size))
    seconds = found.get("seconds")
    return Sweep(
        points,
        depth=_count(found.get("depth")),
        context=_count(found.get("context")),
        data=str(found.get("data", ""))[:200],
        documents=_count(found.get("documents")),
        text_bytes=_count(found.get("text_bytes")),
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
    )


def _point(value: object, where: str) -> Point:
    figures = value if isinstance(value, dict) else {}
    names = [field.name for field in fields(Point)]
    told = {name: _count(figures.get(name)) for name in names}
    if not (told["vocab_size"] and told["tokens"] and told["parameters"] and told["flops_per_token"]):
        raise UserError(f"{where}: a size lacks figures", "nanochat tok_sweep --json writes them all")
    return Point(**told)


def _count(value: object) -> int:
    """A number of things; 0 for anything else."""
    return value if type(value) is int and value > 0 else 0


def read_sweep(path: Path) -> Sweep:
    """The sweep in a file. Raises `UserError` for a file that cannot be read or is none."""
    try:
        raw = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_sweep(raw, str(path))
