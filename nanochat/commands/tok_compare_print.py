"""Compared tokenizers as text, Markdown, csv and JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from nanochat.common.fields import safe_json
from nanochat.common.text import sanitize
from nanochat.tokenizer import evaluation_tables
from nanochat.tokenizer.evaluation import Count, fewer_percent
from nanochat.tokenizer.explore import differing_tables
from nanochat.tokenizer.explore.differing import Differing

Texts = Mapping[str, Sequence[Count]]


def as_text(found: Differing | None, texts: Texts, limit: int) -> str:
    """For a terminal: the vocabularies, then bytes a token, text by text."""
    lines = differing_tables.as_text(found, limit) if found is not None else []
    if texts:
        lines += [*([""] if lines else []), *_text_lines(texts)]
    return "\n".join(lines) + "\n"


def _text_lines(texts: Texts) -> list[str]:
    first = next(iter(texts.values()))
    letters = [chr(ord("A") + number) for number in range(len(first))]
    legend = [
        f"{letter} {sanitize(count.vocabulary.name, 60)}"
        for letter, count in zip(letters, first, strict=True)
    ]
    heads = [f"{letter:>8}" + (f" {'vs A':>7}" if number else "") for number, letter in enumerate(letters)]
    lines = ["bytes a token; vs A: per cent fewer tokens than A (-: more)", *legend]
    lines.append(f"{'text':<12} {'bytes':>12} " + " ".join(heads))
    for name, counts in texts.items():
        cells = [
            f"{count.bytes_per_token:>8.3f}" + (f" {-_more(counts[0], count):>+6.1f}%" if number else "")
            for number, count in enumerate(counts)
        ]
        lines.append(f"{_cut(name):<12} {counts[0].size.bytes:>12,} " + " ".join(cells))
    return lines


def _more(first: Count, count: Count) -> float:
    """How many per cent more tokens than the first a tokenizer needs."""
    return -fewer_percent(count, first)


def _cut(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"


def as_markdown(found: Differing | None, texts: Texts, limit: int) -> str:
    """A page with a table of tokens and one of texts."""
    parts = [f"# Vocabularies\n\n{differing_tables.as_markdown(found, limit)}"] if found is not None else []
    if texts:
        parts.append(evaluation_tables.as_markdown("Compression", texts))
    return "\n".join(parts)


def as_csv(found: Differing | None, texts: Texts, limit: int) -> str:
    """One table: every token that differs, else the texts with every figure, unrounded."""
    return evaluation_tables.as_csv(texts) if found is None else "".join(differing_tables.as_csv(found))


def as_json(found: Differing | None, texts: Texts, limit: int) -> str:
    """One document: `vocabularies` and `texts`, each a list of rows or absent."""
    document: dict[str, Any] = {}
    if found is not None:
        document["vocabularies"] = differing_tables.as_record(found, limit)
    if texts:
        rows = evaluation_tables.rows(texts)
        document["texts"] = [dict(zip(evaluation_tables.COLUMNS, row, strict=True)) for row in rows]
    return safe_json(document, 1) + "\n"
