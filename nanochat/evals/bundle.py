"""The CORE bundle on disk: 22 in-context tasks (DCLM, arXiv 2406.11794), their rows and random baselines."""

import csv
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import yaml

from nanochat.common.errors import UserError, nearest, one_line
from nanochat.common.fields import whole
from nanochat.common.files import open_regular, regular_text
from nanochat.common.paths import Layout

BUNDLE_URL = "https://karpathy-public.s3.us-west-2.amazonaws.com/eval_bundle.zip"
FOLDER = "eval_bundle"
EVAL_BUNDLE = "eval-bundle"
"""Its name in `nanochat data download --dataset`."""
SHUFFLE_SEED = 1337
"""Upstream nanochat's: with another seed `--max-per-task` would choose other rows."""
MOST_SHOTS = 1000
"""Examples before a question; the published tasks have at most 10."""

Row = Mapping[str, Any]

FIELDS: dict[str, dict[str, type]] = {
    "multiple_choice": {"query": str, "choices": list, "gold": int},
    "schema": {"context_options": list, "continuation": str, "gold": int},
    "language_modeling": {"context": str, "continuation": str},
}
"""The kinds of task, and the fields that a row of each must have."""
OPTIONS = {"multiple_choice": "choices", "schema": "context_options"}


@dataclass(frozen=True)
class CoreTask:
    """One task: `shots` solved examples precede each question; `baseline` is guessing's accuracy, 0 to 1."""

    label: str
    kind: str
    path: Path
    shots: int
    delimiter: str
    baseline: float

    def centered(self, accuracy: float) -> float:
        """The centered accuracy: 0 for guessing, 1 when every answer is right."""
        return (accuracy - self.baseline) / (1 - self.baseline)

    def rows(self, limit: int = -1) -> list[Row]:
        """The task's rows, shuffled, then the first `limit` of them (all when not positive).

        Raises `UserError` when the file is missing, a line is damaged, or the shots need more rows.
        """
        rows = _read_rows(self)
        random.Random(SHUFFLE_SEED).shuffle(rows)
        rows = rows[:limit] if limit > 0 else rows
        if not rows:
            raise UserError(f"{self.path} has no rows", _HINT)
        if self.shots >= len(rows):
            raise UserError(
                f"{self.label}: {self.shots} examples are drawn from the other rows, and there are only "
                f"{len(rows) - 1}",
                f"take at least {self.shots + 1} rows: --max-per-task",
            )
        return rows


def bundle_digest(tasks: Sequence[CoreTask]) -> str:
    """12 hex digits that tell two bundles apart by how tasks are asked and the sizes of their files; "" where
    a file is gone. What an item is in detail its key says."""
    try:
        told = [(t.label, t.kind, t.shots, t.delimiter, t.baseline, t.path.stat().st_size) for t in tasks]
    except OSError:
        return ""
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


_HINT = f"delete its folder and fetch it again: nanochat data download --dataset {EVAL_BUNDLE}"


def bundle_folder(layout: Layout, explicit: str = "") -> Path:
    """The folder of the bundle: `explicit`, else `eval_bundle` under the base directory."""
    return layout.resolve(explicit) if explicit else layout.base / FOLDER


def read_bundle(folder: Path, names: Sequence[str] = ()) -> list[CoreTask]:
    """The tasks of the bundle in its order, all or those named.

    Raises `UserError` when the bundle is not there or damaged, or has no task of a name.
    """
    if not folder.is_dir():
        raise UserError(
            f"no CORE bundle in {folder}",
            f"fetch it: nanochat data download --dataset {EVAL_BUNDLE}; or name its folder with --bundle",
        )
    try:
        config = yaml.safe_load(regular_text(folder / "core.yaml"))
        table = csv.DictReader(StringIO(regular_text(folder / "eval_meta_data.csv")))
        baselines = {row["Eval Task"]: _percent(row["Random baseline"]) for row in table}
        tasks = [_task(folder, entry, baselines) for entry in config["icl_tasks"]]
    except OSError as error:
        raise _unreadable(error) from error
    except (
        yaml.YAMLError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        OverflowError,
        RecursionError,
    ) as error:
        reason = f"{type(error).__name__}: {one_line(str(error))[:200]}"
        raise UserError(f"the CORE bundle in {folder} is damaged: {reason}", _HINT) from error
    known = {task.label for task in tasks}
    for name in names:
        if name not in known:
            raise UserError(f"--tasks: the bundle has no task '{name}'", nearest(name, known))
    return [task for task in tasks if not names or task.label in names]


def _task(folder: Path, entry: Mapping[str, Any], baselines: Mapping[str, float]) -> CoreTask:
    label, kind, uri = (_word(entry[name]) for name in ("label", "icl_task_type", "dataset_uri"))
    shots = whole(entry["num_fewshot"][0], 0, MOST_SHOTS)
    if shots is None:
        raise ValueError(f"num_fewshot of task {label} is no number of examples")
    if kind not in FIELDS:
        raise ValueError(f"task {label} is of an unknown type {kind}")
    return CoreTask(
        label=label,
        kind=kind,
        path=folder / "eval_data" / uri,
        shots=shots,
        delimiter=_word(entry.get("continuation_delimiter", " ")),
        baseline=0.01 * baselines[label],
    )


def _word(value: object) -> str:
    """A text of a task's entry. Raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError("the entry of a task holds something other than text")
    return value


def _percent(text: str) -> float:
    """A random baseline, below 100 %: else no accuracy could be centered on it."""
    value = float(text)
    if not 0 <= value < 100:
        raise ValueError(f"a random baseline of {value:g} %")
    return value


def _read_rows(task: CoreTask) -> list[Row]:
    rows: list[Row] = []
    try:
        with TextIOWrapper(open_regular(task.path), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append(_check_row(task, _parsed(task, line, number), number))
    except OSError as error:
        raise _unreadable(error) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{task.path} is not UTF-8 text: {one_line(str(error))[:200]}", _HINT) from error
    return rows


def _unreadable(error: OSError) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"the CORE bundle lacks {error.filename}", _HINT)
    return UserError(f"cannot read {error.filename} of the CORE bundle: {error.strerror}", _HINT)


def _parsed(task: CoreTask, line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{task.path}, line {number}: {one_line(str(error))[:200]}", _HINT) from error


def _check_row(task: CoreTask, row: Any, number: int) -> Row:
    where = f"{task.path}, line {number}"
    if not isinstance(row, dict):
        raise UserError(f"{where}: not a JSON object", _HINT)
    for name, kind in FIELDS[task.kind].items():
        if not isinstance(row.get(name), kind):
            raise UserError(f"{where}: '{name}' is missing or not a {kind.__name__}", _HINT)
    options = OPTIONS.get(task.kind)
    if options and not all(isinstance(option, str) for option in row[options]):
        raise UserError(f"{where}: '{options}' holds something other than text", _HINT)
    if options and not 0 <= row["gold"] < len(row[options]):
        raise UserError(f"{where}: gold {row['gold']} is not one of {len(row[options])} {options}", _HINT)
    return row
