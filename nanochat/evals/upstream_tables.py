"""Results as upstream nanochat writes them: csv tables of CORE, and the sections of its report.

Both eras. A csv has three columns (task, accuracy, centered) and CORE in its last row; the file's name tells
the step, not the folder of the checkpoint. The report (until July 2026) has a Markdown file a section, its
figures as `- name: value` with four digits. The four tables of GPT-2 beside the evaluation bundle are such
csv files.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from nanochat.common import fields
from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from nanochat.evals.results import LEAST_CENTERED

PUBLISHED = "openai-community-"
"""How the names of the published models' tables begin: GPT-2's four sizes."""

_STEP = re.compile(r"(base|mid|sft|rl)_model_(\d{1,12})(?:-partial)?")
_MODEL_STEP = re.compile(r"\(step (\d{1,12})\)")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?")
_HEADER = ("task", "accuracy", "centered")
_SAMPLES = re.compile(r"- (?:sample|unconditioned(?: sample)?) \d+:")
_CHAT_SETTINGS = frozenset(
    ("task_name", "dtype", "temperature", "max_new_tokens", "num_samples", "top_k", "max_problems")
)
_CHAT_ARGUMENTS = _CHAT_SETTINGS | {"source", "model_tag", "step", "batch_size", "device_type"}
_MOST = 5_000
"""Lines of a file that are read."""


@dataclass(frozen=True)
class UpstreamTable:
    """One evaluation in a file of upstream's. `tag` "" and `step` None: the file does not tell.

    `accuracy` and `centered` are by task, each empty where the file leaves it out; `bits` are bits per byte
    by split, or the figures of a tokenizer by name.
    """

    kind: str
    """core, chat, bpb or tokenizer."""
    source: str = ""
    """base, mid, sft, rl; "" for a published model, whose name is `model`."""
    tag: str = ""
    step: int | None = None
    model: str = ""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    centered: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    mean: float | None = None
    """CORE or ChatCORE."""
    settings: Mapping[str, str] = field(default_factory=dict)


def read_csv(text: str, name: str) -> UpstreamTable:
    """The table in a csv called `name` (`base_model_021400.csv`, `openai-community-gpt2.csv`).

    Without its last row, of a file cut short, there is no mean. Raises `UserError` for what is no such table.
    """
    rows = _rows(text, name)
    if not rows or tuple(cell.lower() for cell in rows[0]) != _HEADER:
        raise UserError(
            f"{sanitize(name, 200)}: not a table of CORE", "its first line is Task, Accuracy, Centered"
        )
    accuracy, centered, mean = {}, {}, None
    for number, row in enumerate(rows[1:], 2):
        values = [_score(cell, low) for cell, low in zip(row[1:3], (0.0, LEAST_CENTERED), strict=False)]
        if len(row) == 3 and row[0] == "CORE" and values[1] is not None:
            mean = values[1]
        elif len(row) == 3 and row[0] and values[0] is not None and values[1] is not None:
            accuracy[sanitize(row[0], 120)], centered[sanitize(row[0], 120)] = values[0], values[1]
        elif number < len(rows):  # the last line may be torn
            raise UserError(f"{sanitize(name, 200)}, row {number}: not a task with its two figures")
    stem = name.rpartition("/")[2].removesuffix(".csv")
    match = _STEP.fullmatch(stem)
    if match is not None:
        return UpstreamTable(
            "core", match[1], step=int(match[2]), accuracy=accuracy, centered=centered, mean=mean
        )
    model = sanitize(stem.removeprefix(PUBLISHED), 200)
    return UpstreamTable("core", model=model, accuracy=accuracy, centered=centered, mean=mean)


def _rows(text: str, name: str) -> list[list[str]]:
    """The rows of a csv that are not empty. Raises `UserError` for what the csv module gives up on."""
    try:
        return [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()[:_MOST]) if row]
    except csv.Error as error:
        raise UserError(f"{sanitize(name, 200)}: not a csv table: {sanitize(str(error), 200)}") from error


def read_report(text: str, name: str) -> list[UpstreamTable]:
    """The evaluations in a section of the report, or in all of it; none in a section about other things.

    Raises `UserError` where a section of that title holds none of its figures.
    """
    found: list[UpstreamTable] = []
    for title, lines in _sections(text):
        tables = _section(title, lines)
        if tables is not None and not tables:
            raise UserError(f"{sanitize(name, 200)}: the section '{sanitize(title, 80)}' has no figures")
        found += tables or []
    return found


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    title, lines = "", list[str]()
    for line in text.splitlines()[:_MOST]:
        if line.startswith("## "):
            yield title, lines
            title, lines = line[3:].strip(), []
        else:
            lines.append(line)
    yield title, lines


def _section(title: str, lines: list[str]) -> list[UpstreamTable] | None:
    """The evaluations of a section; None for one that is no evaluation."""
    lowered = title.lower()
    if lowered == "tokenizer evaluation":
        return _tokenizer(lines)
    values = _values(lines)
    if lowered == "base model loss":
        return _bits(values)
    if lowered == "base model evaluation":
        return _base(values)
    if lowered.startswith("chat evaluation "):
        return _chat(values, lowered.removeprefix("chat evaluation ").strip())
    return None


def _values(lines: list[str]) -> dict[str, str]:
    """The `- name: value` lines up to the samples, whose texts may look like anything."""
    found: dict[str, str] = {}
    for line in lines:
        if _SAMPLES.match(line):
            break
        name, colon, value = line.removeprefix("- ").partition(": ")
        if line.startswith("- ") and colon:
            found[sanitize(name.strip(), 120)] = value.strip()
    return found


def _base(values: Mapping[str, str]) -> list[UpstreamTable]:
    """CORE with its centered accuracies (the section has no others), and bits per byte where they are."""
    model = values.get("model") or values.get("Model") or ""
    step = _MODEL_STEP.search(model)
    centered = {
        name: number
        for name, value in values.items()
        if " " not in name
        and name.lower() != "model"
        and (number := _score(value, LEAST_CENTERED)) is not None
    }
    mean = _score(values.get("CORE metric", ""), LEAST_CENTERED)
    found = _bits(values)
    if not centered and mean is None:
        return found
    if step is None:
        core = UpstreamTable("core", model=sanitize(model, 200), centered=centered, mean=mean)
    else:
        core = UpstreamTable("core", "base", step=int(step[1]), centered=centered, mean=mean)
    return [core, *found]


def _bits(values: Mapping[str, str]) -> list[UpstreamTable]:
    step = _MODEL_STEP.search(values.get("model", ""))
    bits = {
        split: number for split in ("train", "val") if (number := _number(values.get(f"{split} bpb", "")))
    }
    return [UpstreamTable("bpb", "base", step=int(step[1]) if step else None, values=bits)] if bits else []


def _chat(values: Mapping[str, str], title: str) -> list[UpstreamTable]:
    arguments = {name: sanitize(value, 200) for name, value in values.items() if name in _CHAT_ARGUMENTS}
    accuracy = {
        name: number
        for name, value in values.items()
        if name not in arguments
        and not name.startswith("ChatCORE")
        and (number := _score(value, 0.0)) is not None
    }
    if not accuracy:
        return []
    said = {name: value for name, value in arguments.items() if value not in ("", "None")}
    step = said.get("step", "")
    return [
        UpstreamTable(
            "chat",
            source=said.get("source", title),
            tag=said.get("model_tag", ""),
            step=int(step) if step.isascii() and step.isdigit() and len(step) <= 12 else None,
            accuracy=accuracy,
            mean=_score(values.get("ChatCORE metric", values.get("ChatCORE", "")), LEAST_CENTERED),
            settings={name: value for name, value in said.items() if name in _CHAT_SETTINGS},
        )
    ]


def _tokenizer(lines: list[str]) -> list[UpstreamTable]:
    """Each text in tokens of the tokenizer, and how many per cent fewer these are than in another's."""
    values: dict[str, float] = {}
    other = ""
    for line in lines:
        if line.startswith("### Comparison with "):
            other = sanitize(line.removeprefix("### Comparison with ").strip().lower().replace("-", ""), 40)
        cells = [cell.strip() for cell in line.strip("| \t").split("|")]
        numbers = [_number(cell.rstrip("%")) for cell in cells[1:]]
        if not other or len(cells) != 7 or None in numbers:
            continue
        size, _, _, tokens, ratio, fewer = (number for number in numbers if number is not None)
        text = sanitize(cells[0], 40)
        values |= {f"{text}/bytes": size, f"{text}/tokens": tokens, f"{text}/bytes_per_token": ratio}
        values[f"{text}/fewer_than_{other}_percent"] = fewer
    return [UpstreamTable("tokenizer", model="tokenizer", values=values)] if values else []


def _score(text: str, low: float) -> float | None:
    """An accuracy; with a `low` below 0 a centered one."""
    return fields.real(_number(text), low, 1.0)


def _number(text: str) -> float | None:
    """A number as upstream prints it: `0.2084`, `1,024`; None for none, NaN included."""
    plain = text.strip().replace(",", "")
    return float(plain) if len(plain) <= 40 and _NUMBER.fullmatch(plain) else None
