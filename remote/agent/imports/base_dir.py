"""A base directory of upstream nanochat as runs: its checkpoints' metadata, tables of CORE, and its report.

Upstream keeps no log there. What the files tell is put together: a run for each model that was trained, with
the figures of its checkpoints, and one for each evaluation.
"""

from __future__ import annotations

import csv
import math
import os
import re
from typing import TYPE_CHECKING, Any, Iterator

from ..checkpoints import FOLDERS, changed, folders
from ..files import open_bytes, read_json
from .rows import clean_number, number_text, whole

if TYPE_CHECKING:
    from pathlib import Path

    from .rows import Sink

    Json = dict[str, Any]

STAGES = {"base": "base_train", "mid": "mid_train", "sft": "chat_sft", "rl": "chat_rl"}
META = re.compile(r"meta_(\d{6,12})\.json")
JUDGED = {
    "val_bpb": "val/bpb",
    "val_loss": "val/loss",
    "mmlu_acc": "chat/MMLU",
    "arc_easy_acc": "chat/ARC-Easy",
}
TRAININGS = {
    "base-model-training.md": "base",
    "midtraining.md": "mid",
    "chat-sft.md": "sft",
    "chat-rl.md": "rl",
}
"""Sections of the report that are about a training, and the source of its checkpoints."""
SECTION_FIGURES = {
    "minimum validation bpb": "val/bpb",
    "core metric estimate": "core/core",
    "core metric": "core/core",
    "train bpb": "train/bpb",
    "val bpb": "val/bpb",
    "mfu %": "train/mfu",
    "total training flops": "train/total_flops",
    "chatcore metric": "chat/ChatCORE",
}
_FIGURE = re.compile(r"- ([^:\n]{1,80}): ([-+\d.,e]{1,40})(%?)[ \t]*$", re.MULTILINE)
_TASKS = ("ARC-Easy", "ARC-Challenge", "MMLU", "GSM8K", "HumanEval", "SpellingBee")
MOST_FILES = 2_000
MOST_TEXT = 1 << 20


class BaseDir:
    """Reads a base directory; `memory` says which files were taken, so that new ones are taken later."""

    def __init__(self, memory: Json) -> None:
        self.memory = memory
        memory.setdefault("taken", {})
        memory.setdefault("runs", {})

    def read(self, base: Path, sink: Sink) -> None:
        """Takes every file that is new or has changed."""
        for source, folder in FOLDERS.items():
            for tag in sorted(folders(base / folder), key=changed):
                self._take_checkpoints(base, source, tag, sink)
        for path in self._fresh(base, base / "base_eval", ".csv"):
            self._take_table(path, sink)
        for path in self._fresh(base, base / "report", ".md"):
            self._take_section(path, sink)

    def how_far(self) -> str:
        """How much there was, in words; "" for nothing."""
        return f"{len(self.memory['taken'])} files" if self.memory["runs"] else ""

    def _fresh(self, base: Path, folder: Path, ending: str) -> Iterator[Path]:
        """The files of a folder that have not been taken as they are now, oldest first."""
        taken = self.memory["taken"]
        for path in files(folder, ending):
            name, stamp = str(path.relative_to(base)), changed(path)
            if taken.get(name) != stamp and (name in taken or len(taken) < MOST_FILES):
                taken[name] = stamp
                yield path

    def _run(
        self,
        sink: Sink,
        key: str,
        stage: str,
        t: float,
        name: str,
        options: Json | None = None,
        total: int = 0,
        info: Json | None = None,
    ) -> int:
        """The number of the run that is called `key` here; it begins when it is asked for first."""
        runs, options = self.memory["runs"], options or {}
        if key not in runs:
            runs[key] = len(runs)
            sink.start(runs[key], stage, t, name, options)
            sink.attempt(runs[key], 1, 0, total, t, {"stage": stage, "options": options, "info": info or {}})
        return int(runs[key])

    # -- trainings

    def _take_checkpoints(self, base: Path, source: str, tag: Path, sink: Sink) -> None:
        found = list(self._fresh(base, tag, ".json"))
        metas = sorted((int(match[1]), path) for path in found if (match := META.fullmatch(path.name)))
        if not metas:
            return
        documents = [(step, path, read_json(path) or {}) for step, path in metas]
        options = options_of(documents[-1][2].get("user_config"))
        total = whole(options.get("num_iterations")) or 0
        began = changed(metas[0][1])
        run = self._run(
            sink,
            f"{source}/{tag.name}",
            STAGES[source],
            began,
            tag.name,
            options,
            total,
            {"checkpoint_dir": str(tag)},
        )
        results: Json = {}
        for step, path, meta in documents:
            t = changed(path)
            values = {
                ours: clean_number(value) for name, ours in JUDGED.items() if (value := real(meta, name))
            }
            if values:
                sink.row(run, "eval", step, t, values)
                results = values
            loop = meta.get("loop_state")
            seconds = real(loop, "total_training_time") if isinstance(loop, dict) else None
            if seconds is not None:
                sink.row(run, "metric", step, t, {"train/total_time": clean_number(seconds)})
            model = path.with_name(f"model_{step:06d}.pt")
            data = {"path": str(model), "step": step, "bytes": _size(model)}
            sink.row(run, "checkpoint", step, t, data)
        self.memory["newest"] = {**self.memory.get("newest", {}), source: [run, documents[-1][0]]}
        told = f"as its checkpoints tell, up to step {documents[-1][0]}"
        sink.end(run, "succeeded", told, changed(documents[-1][1]), results)

    # -- evaluations

    def _take_table(self, path: Path, sink: Sink) -> None:
        """`base_eval/*.csv`: a row a task, the last one CORE."""
        values: Json = {}
        for cells in csv.reader(_text(path).splitlines()):
            if len(cells) != 3:
                continue
            name, accuracy, centered = (cell.strip() for cell in cells)
            spelled = number_text(centered if name == "CORE" else accuracy)
            if spelled and not spelled.startswith('"') and len(values) < 200:
                values["core/core" if name == "CORE" else f"core/{name[:80]}"] = float(spelled)
        if values:
            self._evaluated(path, "base_eval", values, sink)

    def _take_section(self, path: Path, sink: Sink) -> None:
        """A section of upstream's report: lines `- name: figure`."""
        values: Json = {}
        tasks = {name.lower(): f"chat/{name}" for name in _TASKS}
        for name, text, percent in _FIGURE.findall(_text(path)):
            ours = SECTION_FIGURES.get(name.lower()) or tasks.get(name.lower())
            spelled = number_text(text)
            if ours and spelled and not spelled.startswith('"'):
                share = percent and ours.startswith("chat/")
                values[ours] = float(spelled) / 100 if share else float(spelled)
        if values.get("train/mfu") == 0:
            del values["train/mfu"]
        if not values:
            return
        newest = self.memory.get("newest", {}).get(TRAININGS.get(path.name, ""))
        if newest:
            sink.row(newest[0], "eval", newest[1], changed(path), values)
        elif path.name not in TRAININGS:
            self._evaluated(path, "chat_eval" if path.name.startswith("chat") else "base_eval", values, sink)

    def _evaluated(self, path: Path, stage: str, values: Json, sink: Sink) -> None:
        t = changed(path)
        kind = "core" if "core/core" in values else "bpb"
        kind = "chat" if stage == "chat_eval" else kind
        run = self._run(sink, f"{path.parent.name}/{path.name}", stage, t, path.stem, info={"eval": [kind]})
        sink.row(run, "eval", None, t, values)
        sink.end(run, "succeeded", "", t, values)


def stats(base: Path) -> list[os.stat_result]:
    """What changes where a base directory has something new."""
    places = [base / "base_eval", base / "report"]
    for folder in FOLDERS.values():
        places += [base / folder, *folders(base / folder)]
    found = []
    for place in places:
        try:
            found.append(os.stat(str(place)))
        except OSError:
            continue
    return found


def files(folder: Path, ending: str) -> list[Path]:
    """The files of a folder with that ending, oldest first."""
    try:
        names = [name for name in os.listdir(str(folder)) if name.endswith(ending)]
    except OSError:
        return []
    return sorted((folder / name for name in names), key=changed)[-MOST_FILES:]


def options_of(config: object) -> Json:
    """The plain values of a configuration."""
    if not isinstance(config, dict):
        return {}
    found: Json = {}
    for name, value in list(config.items())[:200]:
        if isinstance(value, float) and not math.isfinite(value):
            continue
        if isinstance(value, (str, int, float)):
            found[str(name)[:120]] = value[:300] if isinstance(value, str) else value
    return found


def real(document: Json, name: str) -> float | None:
    """A number of a document, None where it has none."""
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _size(path: Path) -> int:
    try:
        return os.stat(str(path)).st_size
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        with open_bytes(path) as file:
            return file.read(MOST_TEXT).decode("utf-8", "replace")
    except OSError:
        return ""
