"""What `tok_eval` found, as tables: for the terminal, for documents, and for programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from nanochat.common.table_formats import csv_text, markdown
from nanochat.tokenizer.evaluation import Count, attention_ratio, fewer_percent

Texts = Mapping[str, Sequence[Count]]
"""Each text by name in every vocabulary, ours first."""

COLUMNS = (
    "text",
    "vocabulary",
    "ids",
    "bytes",
    "characters",
    "words",
    "tokens",
    "bytes_per_token",
    "tokens_per_character",
    "tokens_per_word",
    "ours_fewer_percent",
    "ours_attention",
    "used_percent",
    "unknown_percent",
    "partial_percent",
    "nats_per_bpb",
    "uniform_bpb",
)
_NAME = 8
"""Columns of a text's name on the terminal."""


def figures(texts: Texts) -> dict[str, float | int]:
    """The results of the stage: ours for each text, its difference to each other vocabulary, and what those
    of whole units do not know."""
    found: dict[str, float | int] = {}
    for name, (ours, *others) in texts.items():
        values = {
            "bytes": ours.size.bytes,
            "tokens": ours.tokens,
            "bytes_per_token": round(ours.bytes_per_token, 4),
            **{
                f"fewer_than_{one.vocabulary.key}_percent": round(fewer_percent(ours, one), 2)
                for one in others
            },
            "tokens_per_character": round(ours.tokens_per_character, 4),
            "tokens_per_word": round(ours.tokens_per_word, 4),
            "used_percent": round(ours.used_percent or 0.0, 2),
            "unknown_percent": ours.unknown_percent,
            "partial_percent": round(ours.partial_percent or 0.0, 2),
            "nats_per_bpb": round(ours.nats_per_bpb, 4),
        }
        for one in others:
            if one.vocabulary.encode is None and one.unknown_percent is not None:
                values[f"{one.vocabulary.key}_unknown_percent"] = round(one.unknown_percent, 2)
        found |= {f"{name}/{key}": value for key, value in values.items() if value is not None}
    return found


def rows(texts: Texts) -> Iterator[list[str | int | float | None]]:
    """A row a text and vocabulary, as `COLUMNS` has them; None where a figure has no meaning."""
    for name, counts in texts.items():
        for count in counts:
            size = count.size
            yield [
                name,
                count.vocabulary.name,
                count.vocabulary.size,
                size.bytes,
                size.characters,
                size.words,
                count.tokens,
                count.bytes_per_token,
                count.tokens_per_character,
                count.tokens_per_word,
                None if count is counts[0] else fewer_percent(counts[0], count),
                None if count is counts[0] else attention_ratio(counts[0], count),
                count.used_percent,
                count.unknown_percent,
                count.partial_percent,
                count.nats_per_bpb,
                count.uniform_bpb,
            ]


def as_csv(texts: Texts) -> str:
    """Every figure, unrounded."""
    return csv_text(COLUMNS, rows(texts))


def as_markdown(title: str, texts: Texts) -> str:
    """A page with every figure, rounded as people read them."""
    heads = [column.replace("_", " ").replace("percent", "%") for column in COLUMNS]
    return f"# {title}\n\n{markdown(heads, ([_shown(value) for value in row] for row in rows(texts)))}"


def _shown(value: str | int | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else value


# -- terminal: lines of at most 80 columns ---------------------------------------------------------


def own_lines(texts: Texts) -> list[str]:
    """Ours alone: growth over characters and words, share of the vocabulary, what a bit per byte is."""
    head = (
        f"{'text':<{_NAME}} {'bytes':>11} {'tokens':>11} {'bytes/tok':>9} {'tok/char':>8} {'tok/word':>8} "
        f"{'used':>6} {'nats/bpb':>8}"
    )
    return [
        "ours: tokens a character and a word, ids used, nats a token at 1 bit per byte",
        head,
        *(_own_line(name, counts[0]) for name, counts in texts.items()),
    ]


def _own_line(name: str, ours: Count) -> str:
    return (
        f"{clipped(name):<{_NAME}} {ours.size.bytes:>11,} {ours.tokens:>11,} {ours.bytes_per_token:>9.2f} "
        f"{ours.tokens_per_character:>8.2f} {ours.tokens_per_word:>8.2f} {ours.used_percent or 0:>5.1f}% "
        f"{ours.nats_per_bpb:>8.3f}"
    )


def unknown_lines(texts: Texts) -> list[str]:
    """What is unknown to vocabularies of whole units as large as ours, and tokens of parts of characters."""
    first = next(iter(texts.values()), ())
    others = [number for number, one in enumerate(first) if one.unknown_percent is not None and number]
    heads = [first[number].vocabulary.name for number in others]
    if not heads:
        return []
    lines = [
        "unknown to vocabularies of our size; in part: tokens that are no whole character",
        f"{'text':<{_NAME}} {'ours':>10} " + " ".join(f"{head:>10}" for head in heads) + f" {'in part':>10}",
    ]
    for name, counts in texts.items():
        cells = [counts[number].unknown_percent or 0.0 for number in [0, *others]]
        cells.append(counts[0].partial_percent or 0.0)
        lines.append(f"{clipped(name):<{_NAME}} " + " ".join(f"{cell:>9.2f}%" for cell in cells))
    return lines


def comparison_lines(texts: Texts) -> Iterable[str]:
    """Ours against each other vocabulary. The last column is what attention over the same text costs:
    its work grows with the square of the tokens."""
    first = next(iter(texts.values()), ())
    for number, one in enumerate(first[1:], start=1):
        ids = f" ({one.vocabulary.size:,} ids)" if one.vocabulary.size else ""
        yield f"ours ({first[0].vocabulary.size:,} ids) against {one.vocabulary.name}{ids}"
        yield (
            f"{'text':<{_NAME}} {'bytes':>10} {one.vocabulary.name:>11} {'bytes/tok':>9} {'ours':>10} "
            f"{'bytes/tok':>9} {'fewer':>7} {'attention':>9}"
        )
        for name, counts in texts.items():
            ours, other = counts[0], counts[number]
            yield (
                f"{clipped(name):<{_NAME}} {ours.size.bytes:>10,} {other.tokens:>11,} "
                f"{other.bytes_per_token:>9.2f} {ours.tokens:>10,} {ours.bytes_per_token:>9.2f} "
                f"{fewer_percent(ours, other):>6.1f}% {attention_ratio(ours, other):>8.2f}×"
            )


def clipped(name: str) -> str:
    """A text's name in the columns there are for it."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
