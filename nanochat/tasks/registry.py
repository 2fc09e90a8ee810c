"""Every task by name. A module of this package that has `SPECS` is found; there is no list to maintain."""

import importlib
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError, nearest
from nanochat.common.paths import Layout
from nanochat.tasks.base import Task
from nanochat.tasks.hub import Hub

if TYPE_CHECKING:
    from nanochat.config.chat_options import TaskDataOptions
    from nanochat.data.download import Policy
    from nanochat.run.stage_run import StageRun


@dataclass(frozen=True)
class TaskData:
    """Where tasks find their data. Empty means the default place under the base directory."""

    layout: Layout
    hub: Hub
    words: str = ""
    """A word list, one word a line."""
    corpus: str = ""
    """Pretraining shards, whose words are used where there is no word list."""
    identity: str = ""
    """The template of the identity conversations."""
    conversations: str = ""
    """A file of the user's own conversations."""
    report: Callable[[str, str], None] = field(default=lambda what, message: None, compare=False)
    """Hears of alerts: what, and a line."""
    told: set[str] = field(default_factory=set, compare=False)
    """The lines that were said already: a file is read once an epoch."""

    @classmethod
    def at(
        cls,
        layout: Layout,
        *,
        folder: str = "",
        mirror: str = "",
        offline: bool = False,
        policy: "Policy | None" = None,
        note: Callable[[str], None] = lambda text: None,
        should_stop: Callable[[], bool] = lambda: False,
        words: str = "",
        corpus: str = "",
        identity: str = "",
        conversations: str = "",
        alert: Callable[[str, str], None] = lambda what, message: None,
    ) -> "TaskData":
        """The data under a base directory; `folder` holds data sets that were downloaded elsewhere."""
        from nanochat.data.download import Policy

        hub = Hub(
            cache=layout.base / "task_data",
            folder=layout.resolve(folder) if folder else None,
            mirror=mirror,
            offline=offline,
            policy=policy or Policy(),
            note=note,
            should_stop=should_stop,
        )
        return cls(
            layout,
            hub,
            words=words,
            corpus=corpus,
            identity=identity,
            conversations=conversations,
            report=alert,
        )

    @classmethod
    def of_stage(cls, options: "TaskDataOptions", run: "StageRun") -> "TaskData":
        """The data a stage's options name."""
        return cls.at(
            run.layout,
            folder=options.task_data,
            mirror=options.mirror,
            offline=options.offline,
            note=run.log,
            should_stop=lambda: run.stop_requested,
            words=options.words,
            corpus=options.data_dir,
            identity=options.identity,
            conversations=options.conversations,
            alert=run.alert,
        )

    def note(self, line: str) -> None:
        """Logs `line`, once."""
        if line not in self.told:
            self.told.add(line)
            self.hub.note(line)

    def alert(self, what: str, message: str) -> None:
        """Raises the alert `what`, once."""
        if message not in self.told:
            self.told.add(message)
            self.report(what, message)

    def path(self, given: str, default: str) -> Path:
        """The file `given`, else `default` under the base directory."""
        return self.layout.resolve(given) if given else self.layout.base / default


@dataclass(frozen=True)
class Request:
    """Which split of a task, and which slice of it."""

    split: str = ""
    """Empty: the task's first."""
    start: int = 0
    stop: int | None = None
    step: int = 1
    size: int = 0
    """How many examples a generated task makes; 0: its default."""


@dataclass(frozen=True)
class TaskSpec:
    """A task by name. `build` makes it; the first of `splits` is the one it is evaluated on."""

    name: str
    summary: str
    splits: tuple[str, ...]
    build: Callable[[TaskData, Request], Task] = field(repr=False)


@cache
def task_specs() -> dict[str, TaskSpec]:
    """Every task of this package, by name, in the order of the names."""
    found: dict[str, TaskSpec] = {}
    for module in pkgutil.iter_modules(sys.modules[__package__].__path__):
        specs = getattr(importlib.import_module(f"{__package__}.{module.name}"), "SPECS", ())
        found |= {spec.name: spec for spec in specs}
    return dict(sorted(found.items()))


def task_spec(name: str) -> TaskSpec:
    """The task called `name`, ignoring case. Raises `UserError` with the nearest names."""
    folded = {known.lower(): spec for known, spec in task_specs().items()}
    spec = folded.get(name.lower())
    if spec is None:
        raise UserError(f"no task is called '{name}'", nearest(name, task_specs()))
    return spec


def make_task(
    name: str,
    data: TaskData,
    split: str = "",
    *,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    size: int = 0,
) -> Task:
    """The task called `name`. Raises `UserError` for an unknown name or split, and for missing data."""
    spec = task_spec(name)
    chosen = split or spec.splits[0]
    if chosen not in spec.splits:
        raise UserError(f"{spec.name} has no split '{chosen}'", nearest(chosen, spec.splits))
    return spec.build(data, Request(chosen, start, stop, step, size))
