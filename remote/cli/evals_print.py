"""Evaluations as text tables, Markdown, csv and JSON."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nanochat.common.errors import Exit
from nanochat.common.fields import safe_json
from nanochat.common.table_formats import csv_text, markdown
from nanochat.common.text import amount, percent, sanitize, when
from nanochat.evals.results import MEANS
from remote.cli.printer import table
from remote.evaluation_tables import (
    Row,
    amount_text,
    cell_text,
    figure_text,
    number_text,
    row_title,
    rows,
    setting_differences,
    settings_line,
    single_table,
    value_of,
)
from remote.store.evaluations import Evaluation, Kind

if TYPE_CHECKING:
    from nanochat.evals.items import Items
    from nanochat.evals.paired import Comparison, TaskComparison

Form = Literal["text", "json", "md", "csv"]
_PROMPT = 60


def document(one: Evaluation, bits: Evaluation | None = None) -> dict[str, Any]:
    """One evaluation as JSON, the form of `evals show --json`; with the bits per byte of its checkpoint."""
    found: dict[str, Any] = {
        "checkpoint": one.checkpoint,
        "step": one.step,
        "kind": one.kind,
        "id": one.id,
        "host": one.host,
        "run": one.run.partition("/")[2],
        "status": one.status,
        "progress": one.progress,
        "t": one.t,
        "settings": dict(one.settings),
    }
    measured = one if one.kind == "bpb" else bits
    if measured is not None:
        found["bpb"] = {name: figure.accuracy for name, figure in measured.tasks.items()}
    if one.kind == "tokenizer":
        found["figures"] = {name: figure.accuracy for name, figure in one.tasks.items()}
    elif one.kind in MEANS:
        found["tasks"] = {name: figure.as_json() for name, figure in one.tasks.items()}
        found |= {MEANS[one.kind]: one.mean, "stderr": one.mean_stderr}
    if one.figures:
        found["more"] = dict(one.figures)
    if one.items is not None:
        found["items"] = {"path": one.items.path, "bytes": one.items.bytes}
    marks = {name: getattr(one, name) for name in ("reference", "upstream", "while_training", "gone")}
    return found | {name: True for name, is_so in marks.items() if is_so}


def print_list(evaluations: Sequence[Evaluation], form: Form, now: float) -> int:
    """`evals ls`."""
    if form == "json":
        _write(safe_json([document(one) for one in evaluations], 1))
        return Exit.OK
    if not evaluations and form == "text":
        print("nothing has been evaluated yet; nanochat base_eval evaluates a checkpoint", file=sys.stderr)
        return Exit.OK
    if form == "csv":
        header = ["id", "checkpoint", "kind", "result", "stderr", "tasks", "status", "host", "t", "settings"]
        cells: Iterable[Sequence[object]] = (
            [
                one.id, one.name, one.kind, one.mean, one.mean_stderr, len(one.tasks), _status(one), one.host,
                one.t, settings_line(one),
            ]
            for one in evaluations
        )  # fmt: skip
        _write(csv_text(header, cells))
        return Exit.OK
    header = ["id", "checkpoint", "kind", "result", "±", "tasks", "status", "host", "when", "settings"]
    shown = [
        [
            str(one.id),
            one.name,
            one.kind,
            figure_text(one.mean),
            figure_text(one.mean_stderr),
            str(len(one.tasks)),
            _status(one),
            one.host,
            "" if one.reference else when(one.t, now),
            settings_line(one),
        ]
        for one in evaluations
    ]
    _write(markdown(header, shown) if form == "md" else table(header, shown) + "\n")
    return Exit.OK


def print_figures(evaluations: Sequence[Evaluation], bits: Mapping[int, Evaluation], form: Form) -> int:
    """`evals show`: every task; of several evaluations one column each. `bits`: the bits per byte of their
    checkpoints, by the evaluation's id."""
    if form == "json":
        documents = [document(one, bits.get(one.id)) for one in evaluations]
        _write(safe_json(documents[0] if len(documents) == 1 else documents, 1))
        return Exit.OK
    kinds = list(dict.fromkeys(one.kind for one in evaluations))
    if form == "csv":
        lines = [line for kind in kinds for line in _exact_lines(kind, _of_kind(kind, evaluations))]
        _write(csv_text(_EXACT, lines))
        return Exit.OK
    for kind in kinds:
        alike = _of_kind(kind, evaluations)
        found = rows(kind, alike)
        if form == "text":
            for one in alike:
                print(_heading(one))
        header, shown = single_table(kind, found) if len(alike) == 1 else _side_by_side(kind, alike, found)
        _write(markdown(header, shown) if form == "md" else table(header, shown) + "\n")
        if form == "text":
            _print_notes(alike, bits)
    return Exit.OK


def _print_notes(evaluations: Sequence[Evaluation], bits: Mapping[int, Evaluation]) -> None:
    """Below a table: bits per byte, and what makes its columns not comparable."""
    for one in evaluations:
        if one.id in bits:
            told = ", ".join(
                f"{name} {figure_text(value.accuracy, 6)}" for name, value in bits[one.id].tasks.items()
            )
            print(sanitize(f"{one.name}: bits per byte {told}", 400))
    for other in evaluations[1:]:
        for line in setting_differences(evaluations[0], other):
            print(
                sanitize(
                    f"! {evaluations[0].name} and {other.name} were judged with other settings: {line}", 400
                )
            )


def print_comparison(one: Evaluation, other: Evaluation, comparison: Comparison | None, form: Form) -> int:
    """`evals compare`. Without items (`comparison` None) only the figures side by side."""
    differences = setting_differences(one, other)
    notes = [f"judged with other settings: {line}" for line in differences]
    if comparison is None:
        notes.append("not paired: the standard errors are those of independent items")
        header, shown, left_out = _unpaired(one, other)
        if left_out:
            notes.append(f"{amount(left_out, 'row')} left out that only one of them has")
    else:
        notes += comparison.notes
        header, shown = _paired(comparison)
    if form == "json":
        found: dict[str, Any] = {"a": _short_document(one), "b": _short_document(other), "notes": notes}
        found["paired"] = comparison is not None
        found["tasks"] = [dict(zip(header, row, strict=True)) for row in shown]
        _write(safe_json(found, 1))
        return Exit.OK
    notes = [note for note in notes if not note.startswith(("A: ", "B: "))]  # of files, told when read
    if form != "text":
        for note in notes:
            print(sanitize(f"nanochat: warning: {note}", 400), file=sys.stderr)
    if form == "csv":
        _write(csv_text(header, shown))
        return Exit.OK
    header = [name for name in header if name not in _MORE]
    spell = amount_text if one.kind == "tokenizer" else number_text
    cells = [[spell(cell) for cell in row[: len(header)]] for row in shown]
    if form == "md":
        _write(markdown(header, cells))
    else:
        print(f"A {_heading(one)}\nB {_heading(other)}\ndifferences are B less A")
        _write(table(header, cells) + "\n")
        for note in notes:
            print(sanitize(f"! {note}", 400))
    return Exit.OK


def print_items(items: Items, chosen: Sequence[int], most: int, form: Form) -> int:
    """`evals items`: the rows of a file of items, at most so many."""
    from nanochat.evals.items import DamagedRecordError

    shown = chosen[:most]
    if form == "json":
        for row in shown:
            try:
                _write(safe_json(dict(items.record(row).document)))
            except DamagedRecordError as error:
                print(f"nanochat: warning: {error}", file=sys.stderr)
        return Exit.OK
    header = ["task", "subject", "index", "verdict", "answer", "right answer", "margin", "prompt"]
    cells = [
        [
            items.task[row],
            items.subject[row],
            str(items.index[row]),
            "right" if items.correct[row] else "wrong",
            items.prediction[row],
            items.gold[row],
            figure_text(items.margin[row]),
            _prompt(items, row),
        ]
        for row in shown
    ]
    if form == "csv":
        _write(csv_text(header, cells))
    elif form == "md":
        _write(markdown(header, cells))
    else:
        _write(table(header, cells) + "\n")
        right = sum(items.correct[row] for row in chosen)
        share = f", {percent(right / len(chosen))} right" if chosen else ""
        more = f"; {len(shown):,} shown, --most 0 shows all" if len(shown) < len(chosen) else ""
        print(f"{amount(len(chosen), 'item')}{share}{more}", file=sys.stderr)
    return Exit.OK


def _prompt(items: Items, row: int) -> str:
    """The end of a prompt, which is what is asked; examples come before it."""
    from nanochat.evals.items import DamagedRecordError

    try:
        prompt = items.record(row).prompt
    except DamagedRecordError:
        return "(the record is damaged)"
    text = sanitize(" ".join(prompt[-4 * _PROMPT :].split()), 4 * _PROMPT)
    return text if len(text) <= _PROMPT else "…" + text[-_PROMPT:]


def _side_by_side(
    kind: Kind, evaluations: Sequence[Evaluation], found: Sequence[Row]
) -> tuple[list[str], list[list[str]]]:
    if kind == "tokenizer":
        shown = [
            [row.task, *("" if one is None else amount_text(one.accuracy) for one in row.figures)]
            for row in found
        ]
    else:
        shown = [[row_title(row), *(cell_text(row, figure) for figure in row.figures)] for row in found]
    names = [one.name for one in evaluations]
    titles = [f"{one.name} ({one.id})" if names.count(one.name) > 1 else one.name for one in evaluations]
    return ["task", *titles], shown


_EXACT = ("checkpoint", "step", "kind", "task", "accuracy", "centered", "stderr", "n")


def _of_kind(kind: Kind, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    return [one for one in evaluations if one.kind == kind]


def _exact_lines(kind: Kind, evaluations: Sequence[Evaluation]) -> list[list[object]]:
    """One line a figure under `_EXACT`, with every digit: what a program reads."""
    found = rows(kind, evaluations)
    lines: list[list[object]] = []
    for one, place in zip(evaluations, range(len(evaluations)), strict=True):
        for row in found:
            figure = row.figures[place]
            if figure is not None:
                values = [figure.accuracy, figure.centered, figure.stderr, figure.n]
                lines.append([one.checkpoint, one.step, kind, row.task, *values])
    return lines


_PAIRED = ("task", "items", "a", "b", "difference", "low", "high", "wins", "losses", "p", "p_holm")
_MORE = ("only_a", "only_b", "both_right", "both_wrong")
"""Counts that a program may want, and no column has room for."""


def _paired(comparison: Comparison) -> tuple[list[str], list[list[object]]]:
    lines: list[list[object]] = [
        [mean.name, None, mean.a, mean.b, mean.difference, mean.low, mean.high, *[None] * 8]
        for mean in comparison.means
    ]
    for task in comparison.tasks:
        lines.append(_paired_line(task))
        lines += [_paired_line(one) for one in comparison.subjects if one.task.startswith(f"{task.task}/")]
    return [*_PAIRED, *_MORE], [[_finite(cell) for cell in row] for row in lines]


def _paired_line(one: TaskComparison) -> list[object]:
    figures = [one.accuracy_a, one.accuracy_b, one.difference, one.low, one.high]
    tests = [one.wins, one.losses, one.p, one.p_holm]
    counts = [one.only_a, one.only_b, one.both_right, one.both_wrong]
    return [one.task, one.paired, *figures, *tests, *counts]


def _unpaired(one: Evaluation, other: Evaluation) -> tuple[list[str], list[list[object]], int]:
    """The figures that both have, and how many rows only one of them has."""
    lines: list[list[object]] = []
    left_out = 0
    for row in rows(one.kind, [one, other]):
        a, b = (value_of(row, figure) for figure in row.figures)
        errors = [None if figure is None else figure.stderr for figure in row.figures]
        if a is None or b is None:
            left_out += 1
            continue
        stderr = math.hypot(*(error for error in errors if error is not None)) if None not in errors else None
        lines.append([row.task, a, b, b - a, stderr])
    return ["task", "a", "b", "difference", "stderr"], lines, left_out


def _short_document(one: Evaluation) -> dict[str, Any]:
    return {name: value for name, value in document(one).items() if name not in ("tasks", "bpb", "figures")}


def _heading(one: Evaluation) -> str:
    name = one.name + (f" on {one.host}" if one.host and not one.reference else "")
    words = [f"{name} ({one.id}, {one.kind})", _status(one), settings_line(one), one.problem]
    return sanitize(": ".join([words[0], "; ".join(filter(None, words[1:]))]), 400)


def _status(one: Evaluation) -> str:
    """How far it is, in words, and what else a person should know of it."""
    if one.reference:
        return "published"
    words: list[str] = [one.status]
    if one.status == "running" and one.progress is not None:
        words = [f"running {percent(one.progress)}"]
    elif one.status == "partial" and (one.asked is None or one.asked <= len(one.tasks)):
        words = [amount(len(one.tasks), "task")]  # all that were asked for, of too few for a mean
    elif one.status == "partial":
        words = [f"partial: {len(one.tasks)} of {amount(one.asked or 0, 'task')}"]
    elif one.status == "ended":
        words = [f"ended ({amount(len(one.tasks), 'task')})"]
    words += ["while training"] * one.while_training + ["upstream's"] * one.upstream
    return ", ".join([*words, *["checkpoint deleted"] * one.gone])


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
