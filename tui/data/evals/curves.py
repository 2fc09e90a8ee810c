"""Scores over the steps of a training: points from evaluations, and where its FLOPs and tokens come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from nanochat.common.text import sanitize
from remote.evaluation_tables import settings_key
from remote.metrics import AXIS_SOURCES
from tui.data.evals import board

if TYPE_CHECKING:
    from remote.runs import RunRow
    from remote.store.evaluations import Evaluation, Kind
    from remote.store.series import Series
    from remote.store.store import Store

AXES = tuple(AXIS_SOURCES.values())
"""Metrics of a training that say where its steps lie on the other axes."""
MEASURED = (
    "max_per_task", "max_problems", "temperature", "num_samples", "tasks", "bundle", "tokens", "rows",
    "context", "data",
)  # fmt: skip
"""The settings that change what is measured."""
STAGES = {"base": "base_train", "mid": "mid_train", "sft": "chat_sft", "rl": "chat_rl"}
Point: TypeAlias = tuple[int, int, float, float, int]
"""As plots take them: number, step, Unix time in s, value, attempt."""
MEANS = {"core": "core/core", "chat": "chat/ChatCORE", "bpb": "val/bpb"}


@dataclass
class Curve:
    """The scores of one checkpoint folder with one set of settings: points by metric, rising in step."""

    key: str
    label: str
    host: str
    checkpoint: str
    kind: Kind
    run: str = ""
    """The training that made the checkpoints, where an evaluation tells."""
    points: dict[str, list[Point]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """At how many steps it was evaluated."""
        return len({row[1] for rows in self.points.values() for row in rows})


def curves(evaluations: Iterable[Evaluation]) -> list[Curve]:
    """A curve for every checkpoint folder and kind of settings: scores made otherwise are no points of one
    line. At a step evaluated twice a complete one counts before one that runs or has fewer tasks, that before
    one that ended early, and of two alike the newer one."""
    found: dict[str, Curve] = {}
    best: dict[tuple[str, int], Evaluation] = {}
    for one in sorted(evaluations, key=_weight):
        if one.reference or one.step is None or one.kind == "tokenizer":
            continue
        key = _key(one)
        if key not in found:
            told = board.extent(one.settings)
            label = sanitize(one.checkpoint, 40) + (f" · {told}" if told else "")
            found[key] = Curve(key, label, one.host, one.checkpoint, one.kind)
        if one.while_training and one.run:
            found[key].run = one.run
        best[key, one.step] = one
    for (key, step), one in sorted(best.items(), key=lambda entry: entry[0][1]):
        for name, value in _values(one).items():
            rows = found[key].points.setdefault(name, [])
            rows.append((len(rows), step, one.t, value, 1))
    return list(found.values())


def _weight(one: Evaluation) -> tuple[bool, bool, float]:
    return one.status == "complete", one.status != "ended", one.t


def _key(one: Evaluation) -> str:
    """What evaluations on one curve have in common; of the settings which items and texts, not the device."""
    measured = settings_key({name: one.settings[name] for name in MEASURED if name in one.settings})
    return "\n".join((one.host, one.checkpoint, one.kind, measured))


def _values(one: Evaluation) -> dict[str, float]:
    told = {f"{one.kind}/{task}": figure.accuracy for task, figure in one.tasks.items()}
    if one.kind == "bpb":
        told = {f"{split}/bpb": figure.accuracy for split, figure in one.tasks.items()}
    told[MEANS.get(one.kind, one.kind)] = one.mean
    return {sanitize(name, 60): float(value) for name, value in told.items() if value is not None}


def curve_of(one: Evaluation, known: Sequence[Curve]) -> Curve | None:
    """The curve that an evaluation is a point of."""
    key = _key(one)
    return next((curve for curve in known if curve.key == key), None)


def training_of(curve: Curve, runs: Sequence[RunRow]) -> str:
    """The key of the training that made a curve's checkpoints; "" where none is known."""
    if curve.run:
        return curve.run
    source, _, tag = curve.checkpoint.partition("/")
    for run in runs:  # the newest first
        if run.host == curve.host and run.stage == STAGES.get(source) and _tag_written(run) == tag:
            return run.key
    return ""


def _tag_written(run: RunRow) -> str:
    """The folder that a training saves to, as the stages name it; "" where its options do not tell: a chat
    stage without tags goes on with the one that it finds."""
    named = run.options.get("out_tag") or run.options.get("model_tag")
    if named:
        return str(named)
    depth = run.options.get("depth")
    return "" if depth is None else f"d{depth}"


def with_axes(curve: Curve, store: Store, run: str) -> Mapping[str, Series | list[Point]]:
    """The points of a curve, and what ties its steps to tokens, FLOPs and time. Reads the store: blocks."""
    points: dict[str, Series | list[Point]] = dict(curve.points)
    if run:
        known = store.all_series(run, {})
        points |= {name: known[name] for name in AXES if name in known}
    return points
