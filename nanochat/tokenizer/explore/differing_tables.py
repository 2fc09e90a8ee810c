"""How two vocabularies differ, as tables: for documents and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nanochat.common.table_formats import csv_pieces, markdown
from nanochat.tokenizer.explore.spelling import shown

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.differing import Differing

ONLY_A, ONLY_B, MOVED = "only A", "only B", "moved"
PARTS = (ONLY_A, ONLY_B, MOVED)
COLUMNS = ("where", "id_a", "id_b", "token", "bytes", "hex")


def pairs(found: Differing, part: str) -> Iterator[tuple[int | None, int | None]]:
    """The ids in A and in B of the tokens of a part, None where there is none."""
    if part == ONLY_A:
        yield from ((int(token), None) for token in found.only_a)
    elif part == ONLY_B:
        yield from ((None, int(token)) for token in found.only_b)
    else:
        yield from ((int(a), int(b)) for a, b in found.moved)


def token_of(found: Differing, a: int | None, b: int | None) -> bytes:
    """The bytes of a pair of ids."""
    if a is not None:
        return found.a.tokens[a]
    assert b is not None
    return found.b.tokens[b]


def rows(found: Differing, most: int = -1) -> Iterator[list[str | int | None]]:
    """A row a token, as `COLUMNS` has them; at most `most` of each part (-1: all)."""
    for part in PARTS:
        for number, (a, b) in enumerate(pairs(found, part)):
            if number == most:
                break
            token = token_of(found, a, b)
            yield [part, a, b, shown(token), len(token), token.hex()]


def as_csv(found: Differing) -> Iterator[str]:
    """Every token that differs, in pieces."""
    return csv_pieces(COLUMNS, rows(found))


def as_markdown(found: Differing, most: int = -1) -> str:
    """The summary, and the tokens that differ; at most `most` of each part."""
    summary = "".join(f"- {line}\n" for line in found.summary())
    heads = [column.replace("_", " ") for column in COLUMNS]
    table = markdown(
        heads, (["" if cell is None else str(cell) for cell in row] for row in rows(found, most))
    )
    return f"{summary}\n{table}"


def as_record(found: Differing, most: int = -1) -> dict[str, Any]:
    """The counts, and the tokens that differ, at most `most` of each part. `text` is null of half
    characters."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for part in PARTS:
        told = parts.setdefault(part.lower().replace(" ", "_"), [])
        for number, (a, b) in enumerate(pairs(found, part)):
            if number == most:
                break
            told.append({"id_a": a, "id_b": b, **_token(token_of(found, a, b))})
    return {
        "a": found.a.name,
        "b": found.b.name,
        "only_in_a": len(found.only_a),
        "only_in_b": len(found.only_b),
        "in_both": found.shared,
        "same_id": found.same,
        "tokens": parts,
    }


def _token(token: bytes) -> dict[str, Any]:
    try:
        text: str | None = token.decode()
    except UnicodeDecodeError:
        text = None
    return {"text": text, "hex": token.hex()}


def as_text(found: Differing, most: int) -> list[str]:
    """Lines of at most 80 columns for a terminal: the summary, then `most` tokens of each part."""
    lines = found.summary()
    for part, ids in ((ONLY_A, found.only_a), (ONLY_B, found.only_b), (MOVED, found.moved)):
        if not len(ids) or not most:
            continue
        left = len(ids) - most
        lines += ["", f"{part}: {len(ids):,}" + (f", the first {most:,}" if most >= 0 and left > 0 else "")]
        for number, (a, b) in enumerate(pairs(found, part)):
            if number == most:
                break
            at = " → ".join(f"{token:>8}" for token in (a, b) if token is not None)
            lines.append(f"{at}  {shown(token_of(found, a, b))[:50]}")
    return lines
