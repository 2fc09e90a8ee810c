"""A filter over runs: words, `field:value`, comparisons, `and`, `or`, `not` and parentheses."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import nearest
from remote.filter import syntax
from remote.filter.fields import (
    CHOICES,
    DATES,
    FIELDS,
    NUMBERS,
    OPTION,
    SHOWING_ARCHIVED,
    STATUS_WORDS,
    TEXTS,
    Number,
    Vocabulary,
    metric_value,
    period,
    plain,
)
from remote.filter.kept_runs import Predicate, RunFilter
from remote.filter.syntax import Expr, FilterError, Term
from remote.store.summary import as_number

if TYPE_CHECKING:
    from remote.runs import RunRow

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    ":": operator.eq,
    "!=": operator.ne,
}
_TIMED = frozenset({"age", "time", "today", "yesterday"})


def parse(text: str, rows: Iterable[RunRow] | Vocabulary = ()) -> RunFilter:
    """The filter that `text` means over `rows`, whose metrics and options it may compare.

    A bare word is searched in name, stage, host, status, plan, run id, tags, note and reason. A run that has
    no value for a field fails every comparison with it. Raises `FilterError` for what is not understood: an
    unknown field or value with the nearest known ones, text that cannot be compared, a bad number.
    """
    vocabulary = rows if isinstance(rows, Vocabulary) else Vocabulary(rows)
    tree = syntax.read(text)
    terms = syntax.terms(tree)
    shown = any(term.field.lower() == "is" and _of(SHOWING_ARCHIVED, term.value) for term in terms)
    timed = any({term.field.lower(), term.value.lower()} & _TIMED for term in terms)
    return RunFilter(text, _predicate(tree, vocabulary), shown, timed)


def understood(text: str, rows: Iterable[RunRow] | Vocabulary = ()) -> tuple[RunFilter, FilterError | None]:
    """As `parse`; where that fails, the filter up to what is not understood, and the error."""
    vocabulary = rows if isinstance(rows, Vocabulary) else Vocabulary(rows)
    first: FilterError | None = None
    while True:
        try:
            return parse(text, vocabulary), first
        except FilterError as error:
            first = first or error
            text = text[: error.start].rstrip().rstrip("-(").rstrip()
            for word in ("and", "or", "not"):
                if text.lower() == word or text.lower().endswith(" " + word):
                    text = text[: -len(word)].rstrip()


def _predicate(tree: Expr, vocabulary: Vocabulary) -> Predicate:
    if isinstance(tree, Term):
        return _term(tree, vocabulary)
    if isinstance(tree, syntax.Not):
        inner = _predicate(tree.inner, vocabulary)
        return lambda run: not inner(run)
    tests = [_predicate(part, vocabulary) for part in tree.parts]
    if isinstance(tree, syntax.Any):
        return lambda run: any(test(run) for test in tests)
    return lambda run: all(test(run) for test in tests)


def _term(term: Term, vocabulary: Vocabulary) -> Predicate:
    if not term.field:
        wanted = term.value.lower()
        return lambda run: wanted in _searched(run)
    name = term.field.lower()
    if name in CHOICES:
        return _choice(term, name)
    if name in TEXTS:
        return _text(term, TEXTS[name])
    if name in NUMBERS:
        return _number(term, NUMBERS[name])
    if name in DATES:
        return _date(term, DATES[name])
    if name.startswith(OPTION):
        options = vocabulary.options_called(name.removeprefix(OPTION))
        if not options:
            known = [OPTION + option for option in vocabulary.options]
            raise FilterError(f"no run has an option '{term.field}'", nearest(name, known), term.start)
        return _option(term, options)
    metrics = vocabulary.metrics_called(name)
    if not metrics:
        raise FilterError(f"no field '{term.field}' to filter on", _near(name, vocabulary), term.start)
    return _number(term, Number(lambda run: metric_value(run, metrics), plain, f"{term.field}<2.5"))


def _near(name: str, vocabulary: Vocabulary) -> str:
    hint = nearest(name, vocabulary.names())
    return hint if hint.startswith("did") else f"known: {', '.join(FIELDS)}, metrics, config.OPTION"


def _searched(run: RunRow) -> str:
    """What words are looked for in; between the texts stands what nobody types."""
    status = STATUS_WORDS.get(run.status, run.status)
    texts = (run.name, run.stage, run.host, run.plan_name, run.run_id, run.note, run.reason, status)
    return "\0".join((*texts, *run.tags)).lower()


def _text(term: Term, texts: Callable[[RunRow], Sequence[str]]) -> Predicate:
    wanted = term.value.lower()
    if term.op == ":":
        return lambda run: any(text and wanted in text.lower() for text in texts(run))
    if term.op == "=":
        return lambda run: any(text.lower() == wanted for text in texts(run))
    if term.op == "!=":
        return lambda run: any(texts(run)) and not any(text.lower() == wanted for text in texts(run))
    raise FilterError(
        f"{term.field} is text: it is not {'less' if '<' in term.op else 'more'} than anything",
        f"write {term.field}:{term.value}",
        term.start,
    )


def _of(names: Iterable[str], value: str, anywhere: bool = False) -> list[str]:
    wanted = value.lower()
    if wanted in names:
        return [wanted]
    return [name for name in names if wanted and (name.startswith(wanted) or (anywhere and wanted in name))]


def _choice(term: Term, field: str) -> Predicate:
    known = CHOICES[field]
    if term.op not in (":", "=", "!="):
        raise FilterError(f"{term.field} has no order", f"write {term.field}:{term.value}", term.start)
    found = _of(known, term.value, anywhere=field == "status")
    if not found:
        hint = nearest(term.value, known) if term.value else f"known: {', '.join(known)}"
        raise FilterError(f"no {field} '{term.value}'" if term.value else f"{field} what?", hint, term.start)
    tests = [known[name] for name in found]
    if term.op == "!=":
        return lambda run: not any(test(run) for test in tests)
    return lambda run: any(test(run) for test in tests)


def _number(term: Term, field: Number) -> Predicate:
    read, compare = field.read, _ORDER[term.op]
    if not term.value and term.op == ":":
        return lambda run: read(run) is not None
    wanted = field.parse(term.value)
    if wanted is None:
        what = f"'{term.value}' is no number" if term.value else f"{term.field}{term.op} what?"
        raise FilterError(what, f"for example {field.example}", term.start)

    def test(run: RunRow) -> bool:
        value = read(run)
        return value is not None and compare(value, wanted)

    return test


def _date(term: Term, read: Callable[[RunRow], float | None]) -> Predicate:
    if not term.value and term.op == ":":
        return lambda run: read(run) is not None
    span = period(term.value)
    if span is None:
        what = f"'{term.value}' is no date" if term.value else f"{term.field}{term.op} what?"
        raise FilterError(what, f"for example {term.field}>=2026-11-28, {term.field}:today", term.start)
    start, end = span
    holds: dict[str, Callable[[float], bool]] = {
        "<": lambda t: t < start,
        "<=": lambda t: t < end,
        ">": lambda t: t >= end,
        ">=": lambda t: t >= start,
        "=": lambda t: start <= t < end,
        ":": lambda t: start <= t < end,
        "!=": lambda t: not start <= t < end,
    }
    within = holds[term.op]

    def test(run: RunRow) -> bool:
        t = read(run)
        return t is not None and within(t)

    return test


def _option(term: Term, options: Sequence[str]) -> Predicate:
    """One of a run's options: a number is compared as one, anything else as text."""
    wanted, number = term.value.lower(), plain(term.value)
    if term.op in ("<", "<=", ">", ">=") and number is None:
        what = f"'{term.value}' is no number" if term.value else f"{term.field}{term.op} what?"
        raise FilterError(what, f"for example {term.field}{term.op}12", term.start)

    def test(run: RunRow) -> bool:
        value = next((run.options[name] for name in options if name in run.options), None)
        if value is None:
            return False
        known = as_number(value)
        if known is not None and number is not None:
            return _ORDER[term.op](known, number)
        text = str(value).lower()
        if term.op == ":":
            return wanted in text
        return term.op in ("=", "!=") and (text == wanted) == (term.op == "=")

    return test
