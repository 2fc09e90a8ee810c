"""What can be written where the cursor stands in a filter: fields, then the values that runs have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remote.filter.fields import CHOICES, DATES, NUMBERS, OPTION, TEXTS, Vocabulary
from remote.key_metric import KEY_FIGURES

if TYPE_CHECKING:
    from remote.runs import RunRow

MOST = 40
"""Options offered at once."""
_BEGUN = re.compile(r'-?(?:(?P<field>[^\s()"<>=!:]+)(?P<op>:|<=|>=|!=|<|>|=))?(?P<part>"[^"]*|[^\s()"]*)$')
_SUGGESTED = ("stage:", "status:", "host:", "tag:", "has:", "is:", "name:", "plan:", "loss<", "bpb<", OPTION)


@dataclass(frozen=True)
class Completion:
    """Texts that can stand in place of `[start, end)` of the filter, the likeliest first."""

    start: int
    end: int
    options: tuple[str, ...]


def complete(
    text: str, cursor: int, rows: Sequence[RunRow], vocabulary: Vocabulary | None = None
) -> Completion:
    """What the term that ends at `cursor` can become, given the runs there are and their `vocabulary`,
    which is gathered where it is not given."""
    if vocabulary is None:
        vocabulary = Vocabulary(rows)
    found = _BEGUN.search(text[:cursor])
    assert found is not None  # the pattern takes an empty text
    start = found.start() + (1 if found[0].startswith("-") else 0)
    part = found["part"].removeprefix('"').lower()
    if found["field"] is None:
        return Completion(start, cursor, _first(_fields(part, vocabulary), part))
    field, op = found["field"], found["op"]
    head = f"{field}{op}"
    values = (head + _quoted(value) for value in _ranked(_values(field.lower(), rows, vocabulary), part))
    return Completion(start, cursor, _first(values, head.lower() + part))


def _first(options: Iterable[str], written: str) -> tuple[str, ...]:
    kept = [option for option in dict.fromkeys(options) if option.lower() != written]
    return tuple(kept[:MOST])


def _fields(part: str, vocabulary: Vocabulary) -> Iterable[str]:
    if not part:
        return _SUGGESTED
    short = {metric: name for metric, name in KEY_FIGURES if metric in vocabulary.metrics}
    named = [f"{field}:" for field in (*TEXTS, *CHOICES)]
    named += [f"{field}>" for field in (*NUMBERS, *DATES)]
    named += [f"{name}<" for name in dict.fromkeys(short.values()) if "/" not in name and " " not in name]
    named += [f"{metric}<" for metric in sorted(vocabulary.metrics)]
    named += [f"{OPTION}{option}=" for option in sorted(vocabulary.options)]
    return _ranked(named, part)


def _values(field: str, rows: Sequence[RunRow], vocabulary: Vocabulary) -> list[str]:
    """The values of a field that are there, the most frequent first."""
    if field in CHOICES:
        return list(CHOICES[field])
    if field in DATES:
        return ["today", "yesterday"]
    seen: dict[str, int] = {}
    if field in TEXTS:
        read = TEXTS[field]
        values = [value for run in rows for value in read(run) if value]
    elif field.startswith(OPTION):
        options = vocabulary.options_called(field.removeprefix(OPTION))
        values = [str(run.options[name]) for run in rows for name in options if name in run.options]
    else:
        return []
    for value in values:
        seen[value] = seen.get(value, 0) + 1
    return sorted(seen, key=lambda value: (-seen[value], value))


def _ranked(values: Iterable[str], part: str) -> list[str]:
    """Those that hold `part`: first those that begin with it, then those with a word that does."""
    held = [value for value in values if part in value.lower()]

    def rank(value: str) -> int:
        lower = value.lower()
        words = re.split(r"[^a-z0-9]+", lower)
        return 0 if lower.startswith(part) else 1 if any(word.startswith(part) for word in words) else 2

    return sorted(held, key=rank)


def _quoted(value: str) -> str:
    """A value as it has to be written; one that holds a quotation mark itself is found by what is before."""
    value = value.partition('"')[0]
    return f'"{value}"' if re.search(r"[\s()]", value) else value
