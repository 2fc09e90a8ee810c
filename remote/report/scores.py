"""The table of scores: CORE, chat tasks, ChatCORE by base, mid, sft and rl, and why a figure is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from nanochat.common import fields
from nanochat.common.paths import CHECKPOINT_FOLDERS
from nanochat.config.known_tasks import TASK_MEANS
from nanochat.config.stages import STAGES
from remote.evaluation_tables import cell_text, rows
from remote.report.blocks import Table
from remote.report.stage import StageFacts
from remote.store.evaluations import Evaluation, Kind

SOURCES = tuple(CHECKPOINT_FOLDERS)
ROWS: tuple[tuple[str, Kind, str], ...] = (
    ("CORE", "core", "CORE"),
    ("ARC-E", "chat", "ARC-Easy"),
    ("ARC-C", "chat", "ARC-Challenge"),
    ("GSM8K", "chat", "GSM8K"),
    ("HumanEval", "chat", "HumanEval"),
    ("MMLU", "chat", "MMLU"),
    ("SpellingBee", "chat", "SpellingBee"),
    ("ChatCORE", "chat", "ChatCORE"),
)
"""Title, kind of evaluation and task of each row."""
NO_MODEL, NOT_EVALUATED, LEFT_OUT, NO_MEAN = "no model", "not evaluated", "left out", "no mean"
FAILED, RUNNING, NOT_REACHED = "failed", "running", "not reached"
_JUDGES: dict[Kind, str] = {"core": "base_eval", "chat": "chat_eval"}


@dataclass(frozen=True)
class Model:
    """A column: a checkpoint of the report, or a source of which it has none (`name` is "")."""

    title: str
    source: str
    host: str = ""
    name: str = ""
    """`sft/d4@112`."""
    run: str = ""
    """The key of the run that wrote it, where that belongs to the report."""

    def is_of(self, one: Evaluation) -> bool:
        """Whether an evaluation is of this model. A log of another program names no checkpoint at first:
        there the training's own evaluation at the model's step is."""
        if one.reference or one.host != self.host:
            return False
        own = one.while_training and not one.checkpoint and one.run == self.run
        return one.name == self.name or (own and self.name.endswith(f"@{one.step}"))


@dataclass(frozen=True)
class Cell:
    """What stands in the table: a figure with where it is from, or a word with the reason."""

    text: str
    why: str = ""
    evaluation: Evaluation | None = None


@dataclass(frozen=True)
class Scores:
    """The whole table."""

    models: tuple[Model, ...]
    cells: tuple[tuple[Cell, ...], ...]
    """By `ROWS`, then by model."""

    @property
    def used(self) -> list[Evaluation]:
        """The evaluations whose figures stand in it, once each, column by column."""
        found = {
            cell.evaluation.id: cell.evaluation
            for column in zip(*self.cells, strict=True)
            for cell in column
            if cell.evaluation is not None
        }
        return list(found.values())

    def table(self) -> Table:
        """As a block of the report; its notes tell which models these are, and what is missing and why."""
        header = ("metric", *(model.title for model in self.models))
        shown = [
            (title, *(cell.text for cell in cells))
            for (title, _, _), cells in zip(ROWS, self.cells, strict=True)
        ]
        return Table(header, tuple(shown), (*self._named(), *self._told()))

    def _named(self) -> Iterator[str]:
        named = [f"{model.title} is {model.name}" for model in self.models if model.name]
        if named:
            yield "; ".join(named) + ". Shares of 1, ± standard error; CORE and ChatCORE are means, centered."

    def _told(self) -> Iterator[str]:
        """The reasons, one line for all cells that share one."""
        where: dict[tuple[str, str], list[str]] = {}
        for (title, _, _), cells in zip(ROWS, self.cells, strict=True):
            for model, cell in zip(self.models, cells, strict=True):
                if cell.why:
                    where.setdefault((model.title, cell.why), []).append(title)
        for (name, why), titles in where.items():
            of = "" if len(titles) == len(ROWS) else f" {', '.join(titles)}"
            yield f"{name}{of}: {why}"


def read_scores(stages: Sequence[StageFacts], evaluations: Sequence[Evaluation]) -> Scores:
    """The scores of the models that these runs made, or where they made none those that they judged."""
    found = models(stages, evaluations)
    cells = tuple(
        tuple(_cell(model, kind, task, stages, evaluations) for model in found) for _, kind, task in ROWS
    )
    return Scores(tuple(found), cells)


def models(stages: Sequence[StageFacts], evaluations: Sequence[Evaluation]) -> list[Model]:
    """The columns: every source has one at least; several models of a source have their names for titles."""
    made = {(stage.run.host, stage.model): stage.source for stage in stages if stage.model}
    by = {(stage.run.host, stage.model): stage.run.key for stage in stages if stage.model}
    keys = {stage.run.key for stage in stages}
    for one in sorted(evaluations, key=lambda one: one.t):
        source = one.checkpoint.partition("/")[0]
        if one.run in keys and not one.while_training and source in SOURCES:
            made.setdefault((one.host, one.name), source)
    found = []
    for source in SOURCES:
        of_source = [(host, name) for (host, name), kind in made.items() if kind == source]
        if not of_source:
            found.append(Model(source, source))
        for host, name in of_source:
            title = source if len(of_source) == 1 else name
            found.append(Model(title, source, host, name, by.get((host, name), "")))
    return found


def _cell(
    model: Model, kind: Kind, task: str, stages: Sequence[StageFacts], evaluations: Sequence[Evaluation]
) -> Cell:
    if not model.name:
        return _no_model(model.source, stages)
    judged = sorted(_of(model, kind, evaluations), key=_order, reverse=True)
    for one in judged:
        row = next((row for row in rows(kind, [one]) if row.task == task), None)
        text = "" if row is None else cell_text(row, row.figures[0])
        if text:
            return Cell(text, _less(one, task), one)
    return _missing(model, kind, task, stages, judged)


def _of(model: Model, kind: Kind, evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    return [one for one in evaluations if one.kind == kind and model.is_of(one)]


def _order(one: Evaluation) -> tuple[bool, bool, float, int]:
    """As `evals show` chooses: a stage's own before a training's, ended ones last, then the newest."""
    return (not one.while_training, one.status != "ended", one.t, one.id)


def _less(one: Evaluation, task: str) -> str:
    """What makes a figure less than that of a whole evaluation; "" for nothing."""
    if one.while_training:
        figure = one.tasks.get(task)
        items = "" if figure is None or figure.n is None else f" on {figure.n:,} items"
        return f"as measured while it was trained{items}"
    return "its evaluation is still running" if one.status == "running" else ""


def _missing(
    model: Model, kind: Kind, task: str, stages: Sequence[StageFacts], judged: Sequence[Evaluation]
) -> Cell:
    """Why there is no figure, as far as the logs say."""
    asked = [stage for stage in stages if judges(stage, kind, model)]
    parts = TASK_MEANS.get(task, ())
    lines = [line for stage in asked for line in left_out(stage, kind, task)]
    if lines:
        return Cell(LEFT_OUT, lines[-1])
    for stage in reversed(asked):
        run = stage.run
        name = run.name or run.stage
        if run.status in ("failed", "lost", "stopped"):
            word = FAILED if stage.attempts or run.status != "stopped" else NOT_REACHED
            return Cell(word, f"{name} {run.status}: {run.reason or 'no reason was told'}")
        if run.live:
            return Cell(RUNNING, f"{name} has not ended")
    if judged and parts:
        there = [part for part in parts if part in judged[0].tasks]
        lacking = [part for part in parts if part not in judged[0].tasks]
        if there:
            told = ", ".join(lacking) if len(lacking) <= 6 else f"{len(lacking)} of its {len(parts)} tasks"
            return Cell(NO_MEAN, f"the mean needs every task; there is no figure of {told}")
    stage_name = _JUDGES[kind]
    source = "" if model.source == {"core": "base", "chat": "sft"}[kind] else f" --source {model.source}"
    tag = model.name.partition("/")[2].partition("@")[0]
    return Cell(NOT_EVALUATED, f"evaluate it: nanochat {stage_name}{source} --model-tag {tag}")


def judges(stage: StageFacts, kind: Kind, model: Model) -> bool:
    """Whether a run was asked for this kind of evaluation of the model's source."""
    run = stage.run
    if run.stage != _JUDGES[kind] or run.host != model.host:
        return False
    options = {**_defaults(run.stage), **run.options, **stage.options}
    tag = options.get("model_tag") or ""
    named = model.name.partition("/")[2].partition("@")[0]
    asked = options.get("eval")
    asks = kind != "core" or not isinstance(asked, list | tuple) or "core" in asked
    return options.get("source") == model.source and tag in ("", named) and asks


def left_out(stage: StageFacts, kind: Kind, task: str) -> list[str]:
    """What alerts of an evaluating run say of a task, or of tasks that a mean needs."""
    found = []
    parts = {task, *TASK_MEANS.get(task, ())}
    for event in stage.alerts:
        message = fields.text(event.data.get("message"), 600) or ""
        what = event.data.get("what")
        of_core = what == "core_left_out" and kind == "core"
        of_task = what == "task_left_out" and kind == "chat" and message.partition(" is skipped")[0] in parts
        if of_core or of_task:
            found.append(message)
    return found


def _no_model(source: str, stages: Sequence[StageFacts]) -> Cell:
    for stage in stages:
        run = stage.run
        if stage.source == source and not stage.model:
            why = f"{run.name or run.stage} {run.status}" + (f": {run.reason}" if run.reason else "")
            if run.live:
                return Cell(RUNNING, why)
            if run.status == "succeeded":
                return Cell(NO_MODEL, f"{run.name or run.stage} tells of no checkpoint")
            return Cell(FAILED if stage.attempts or run.status != "stopped" else NOT_REACHED, why)
    return Cell(NO_MODEL, f"no {source} model belongs to these runs")


def _defaults(stage: str) -> dict[str, object]:
    spec = STAGES.get(stage)
    return {} if spec is None else dict(vars(spec.options()))
