"""Numbers about a corpus as text, Markdown, csv and JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from nanochat.common.fields import safe_json
from nanochat.common.table_formats import csv_text, markdown
from nanochat.common.text import sanitize
from nanochat.data.scripts import NO_LETTERS
from nanochat.data.stats import Amount, CorpusStats

_BAR = 24
_MOST_SCRIPTS = 12
"""Scripts listed for people; the files for programs have all."""


@dataclass(frozen=True)
class Table:
    """A table for people: cells are texts, the first column is to the left, the others to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def as_json(stats: CorpusStats) -> str:
    return safe_json(stats.as_json(), indent=1) + "\n"


def as_csv(stats: CorpusStats) -> str:
    """A figure a row: which table, of what, which figure, the value."""
    return csv_text(("table", "of", "figure", "value"), _figures(stats))


def as_markdown(stats: CorpusStats) -> str:
    parts = [f"## {table.title}\n\n{markdown(table.header, table.rows)}" for table in tables(stats)]
    return "# Corpus\n\n" + "\n".join(parts)


def as_text(stats: CorpusStats) -> str:
    """Tables for a terminal of 80 columns; only the beginnings of long documents go beyond."""
    return "\n".join("\n".join(_lines(table)) + "\n" for table in tables(stats))


def tables(stats: CorpusStats) -> list[Table]:
    """What people are shown, in its order."""
    unit = stats.unit
    found = [
        _amounts("text", "split", _splits(stats), stats),
        _amounts("documents by the script of most letters", "script", _shortened(stats.main_scripts), stats),
        Table(
            "letters by script",
            ("script", "letters", "share"),
            _letter_rows(stats),
        ),
        Table("duplicates", ("", "documents", "share", "bytes"), _duplicate_rows(stats)),
        Table(
            f"{unit} a document",
            (unit, "documents", "share", f"share of {unit}", ""),
            _histogram_rows(stats),
        ),
        Table(
            f"{unit} that a share of the documents does not exceed",
            tuple(stats.percentiles),
            [[f"{value:,}" for value in stats.percentiles.values()]],
        ),
    ]
    if stats.cropped:
        found.append(
            Table(
                "what best-fit packing crops",
                ("context", "documents longer", "share", "tokens cropped"),
                [
                    [
                        f"{one.context:,}",
                        f"{one.longer:,}",
                        _share(one.longer, stats.total.documents),
                        "" if one.share is None else f"{100 * one.share:.1f}%",
                    ]
                    for one in stats.cropped
                ],
            )
        )
    if stats.longest:
        in_tokens = unit == "tokens"
        rows = []
        for one in stats.longest:
            sizes = [f"{one.bytes:,}", *([f"{one.tokens:,}"] if in_tokens else [])]
            rows.append([sanitize(one.where, 120), *sizes, one.beginning])
        header = ("document", "bytes", *(["tokens"] if in_tokens else []), "begins")
        found.append(Table("longest documents", header, rows))
    return found


def _amounts(title: str, of: str, amounts: dict[str, Amount], stats: CorpusStats) -> Table:
    tokens = stats.unit == "tokens"
    header = (of, "documents", "bytes", "share", "characters", *(["tokens", "bytes/tok"] if tokens else []))
    rows = []
    for name, one in amounts.items():
        row = [name, f"{one.documents:,}", f"{one.bytes:,}", _share(one.bytes, stats.total.bytes)]
        row.append(f"{one.characters:,}")
        if tokens:
            row += [f"{one.tokens:,}", f"{one.bytes / one.tokens:.2f}" if one.tokens else ""]
        rows.append(row)
    return Table(title, header, rows)


def _splits(stats: CorpusStats) -> dict[str, Amount]:
    """Each split and the sum, where there are several."""
    return {**stats.splits, "all": stats.total} if len(stats.splits) > 1 else stats.splits


def _shortened(amounts: dict[str, Amount]) -> dict[str, Amount]:
    """The largest of them, and the others as one."""
    kept = dict(list(amounts.items())[:_MOST_SCRIPTS])
    rest = [amount for name, amount in amounts.items() if name not in kept]
    if rest:
        names = ("documents", "bytes", "characters", "tokens")
        kept[f"{len(rest)} others"] = Amount(*(sum(getattr(one, name) for one in rest) for name in names))
    return kept


def _letter_rows(stats: CorpusStats) -> list[list[str]]:
    letters = {name: count for name, count in stats.letters.items() if name != NO_LETTERS}
    total = sum(letters.values())
    rows = [
        [name, f"{count:,}", _share(count, total)] for name, count in list(letters.items())[:_MOST_SCRIPTS]
    ]
    if rest := sum(list(letters.values())[_MOST_SCRIPTS:]):
        rows.append([f"{len(letters) - _MOST_SCRIPTS} others", f"{rest:,}", _share(rest, total)])
    other = stats.letters.get(NO_LETTERS, 0)
    rows.append(["digits, signs, space", f"{other:,}", f"{_share(other, stats.total.characters)} of all"])
    return rows


def _duplicate_rows(stats: CorpusStats) -> list[list[str]]:
    found, total = stats.duplicates, stats.total.documents
    rows = [
        ["exact duplicates", f"{found.documents:,}", _share(found.documents, total), f"{found.bytes:,}"],
        ["white space only", f"{stats.empty:,}", _share(stats.empty, total), ""],
    ]
    if len(stats.splits) > 1:
        both = found.held_out_too
        rows.insert(1, ["in both splits", f"{both:,}", _share(both, total), ""])
    return rows


def _histogram_rows(stats: CorpusStats) -> list[list[str]]:
    most = max((one.documents for one in stats.histogram), default=0)
    units = sum(one.units for one in stats.histogram)
    return [
        [
            f"{one.low:,}" if one.low == one.high else f"{one.low:,}–{one.high:,}",
            f"{one.documents:,}",
            _share(one.documents, stats.total.documents),
            _share(one.units, units),
            "█" * round(_BAR * one.documents / most) if most else "",
        ]
        for one in stats.histogram
    ]


def _figures(stats: CorpusStats) -> Iterator[tuple[str, str, str, int | float | str | None]]:
    groups = (("split", _splits(stats)), ("main script", stats.main_scripts))
    for table, amounts in groups:
        for name, amount in amounts.items():
            for figure, value in asdict(amount).items():
                if figure != "tokens" or stats.unit == "tokens":
                    yield table, name, figure, value
    yield from (("letters", name, "characters", count) for name, count in stats.letters.items())
    yield from (("duplicates", "all", name, value) for name, value in asdict(stats.duplicates).items())
    yield "empty", "all", "documents", stats.empty
    for one in stats.histogram:
        yield f"{stats.unit} a document", f"{one.low}-{one.high}", "documents", one.documents
        yield f"{stats.unit} a document", f"{one.low}-{one.high}", stats.unit, one.units
    for name, value in stats.percentiles.items():
        yield f"{stats.unit} a document", name, stats.unit, value
    for crop in stats.cropped:
        yield "cropped", str(crop.context), "documents_longer", crop.longer
        yield "cropped", str(crop.context), "share", crop.share
    for long in stats.longest:
        for figure in ("bytes", "characters", *(["tokens"] if stats.unit == "tokens" else []), "beginning"):
            yield "longest", long.where, figure, getattr(long, figure)


def _share(value: float, of: float) -> str:
    return f"{100 * value / of:.1f}%" if of else ""


def _lines(table: Table) -> Iterator[str]:
    rows = [list(table.header), *[list(row) for row in table.rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
    left = {0} | {i for i, name in enumerate(table.header) if name in ("", "begins")}
    yield table.title
    for row in rows:
        cells = [
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
