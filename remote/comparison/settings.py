"""What several runs were asked and told at their start, side by side: code, data, machine, model, options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nanochat.common import fields
from nanochat.common.text import number, sanitize
from nanochat.config.stages import STAGES

if TYPE_CHECKING:
    from remote.runs import RunRow
    from remote.store.store import Store

SECTIONS = ("run", "code", "option", "data", "model", "machine")
"""In the order in which they are shown."""
ABSENT = None
"""Where a run has no such setting."""
_DATA = (
    "data name",
    "data size",
    "data sha256",
    "tokenizer_sha256",
    "sha256",
    "vocab_size",
    "data_dir",
    "tokenizer_dir",
    "shards",
    "mixture",
    "conversations",
    "task",
    "questions",
    "started_from",
    "checkpoint",
)
_MACHINE = ("device", "dtype", "ranks", "attention")
_LEFT_OUT = ("checkpoint_dir", "out")
"""Where a run saves: of no consequence for what it measures, and another in every run."""
_HEX = 12


@dataclass(frozen=True)
class Setting:
    """One setting of every run, in the order of the runs; `ABSENT` where a run has none."""

    section: str
    name: str
    values: tuple[Any, ...]
    differs: bool

    def shown(self) -> tuple[str, ...]:
        """The values as a table shows them, absent ones as `–`."""
        return tuple("–" if value is ABSENT else spelled(value) for value in self.values)


@dataclass(frozen=True)
class Facts:
    """What is known of one run: its row, and what its newest `stage_start` said.

    `options` are all that its stage resolved; before a run has started they are its stage's defaults with
    what was given, and `started` is False.
    """

    run: RunRow
    options: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    started: bool = True


def read_facts(store: Store, run: RunRow) -> Facts:
    """What the store knows of a run."""
    starts = store.events(run.key, kinds=("stage_start",))
    defaults = _defaults(run.stage)  # loads the stage's options here, in the thread that reads
    if not starts:
        return Facts(run, {**defaults, **run.options}, {}, False)
    data = starts[-1].data
    options, info = data.get("options"), data.get("info")
    return Facts(
        run,
        fields.plain(options) if isinstance(options, Mapping) else dict(run.options),
        fields.plain(info) if isinstance(info, Mapping) else {},
    )


@lru_cache(maxsize=32)
def _defaults(stage: str) -> Mapping[str, Any]:
    spec = STAGES.get(stage)
    if spec is None:
        return {}
    made = spec.options()
    return {name: value for name, value in vars(made).items() if not name.startswith("_")}


def settings(runs: Sequence[Facts]) -> list[Setting]:
    """Every setting that any of the runs has; those that differ first, each part in order of section.

    What a run does not tell is no difference, but for an option of one stage that another run of it, of an
    older version perhaps, does not know and that is not at its default.
    """
    told = [_sectioned(facts) for facts in runs]
    stages = {facts.run.stage for facts in runs}
    defaults = _defaults(runs[0].run.stage) if len(stages) == 1 else {}
    names = list(dict.fromkeys(key for own in told for key in own if not _repeats(key, told)))
    found = []
    for section, name in names:
        values = tuple(own.get((section, name), ABSENT) for own in told)
        default = defaults.get(name, ABSENT) if section == "option" else ABSENT
        compared = [default if value is ABSENT else value for value in values]
        found.append(Setting(section, name, values, _differ(compared)))
    return sorted(found, key=lambda one: (not one.differs, SECTIONS.index(one.section)))


def _repeats(key: tuple[str, str], told: Sequence[Mapping[tuple[str, str], Any]]) -> bool:
    """Whether a fact says no more than the option of its name: what `auto` came to is told beside it."""
    option = "option", key[1]
    return key != option and all(own.get(key) == own.get(option) for own in told if key in own)


def _differ(values: Sequence[Any]) -> bool:
    compared = [value for value in values if value is not ABSENT]
    return any(not _same(value, compared[0]) for value in compared[1:])


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _sectioned(facts: Facts) -> dict[tuple[str, str], Any]:
    run, code = facts.run, facts.run.code
    found: dict[tuple[str, str], Any] = {
        ("run", "stage"): run.stage or ABSENT,
        ("run", "host"): run.host,
        ("code", "version"): code.get("version") or ABSENT,
        ("code", "commit"): commit(code) or ABSENT,
        ("code", "files changed"): code["sha"].endswith("-dirty") if code.get("sha") else ABSENT,
    }
    for name, value in _flat(facts.info):
        if name not in _LEFT_OUT:
            section = "data" if name in _DATA else "machine" if name in _MACHINE else "model"
            found[section, name] = value
    found |= {("option", name): value for name, value in facts.options.items()}
    return found


def _flat(info: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The facts by name, those of an object by its name and theirs: `data sha256`."""
    found: list[tuple[str, Any]] = []
    for name, value in info.items():
        inner = value.items() if isinstance(value, Mapping) else None
        found += [(name, value)] if inner is None else [(f"{name} {part}", item) for part, item in inner]
    return found


def commit(code: Mapping[str, str]) -> str:
    """The commit of a run's code, without the word for changed files."""
    return code.get("sha", "").removesuffix("-dirty")


def spelled(value: Any) -> str:
    """A setting as a table shows it: numbers as they were written, hashes by their first digits."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}" if abs(value) < 1e6 else number(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, str):
        hexadecimal = len(value) in (40, 64) and not value.strip("0123456789abcdef")
        return value[:_HEX] if hexadecimal else sanitize(value, 300) or '""'
    return sanitize(json.dumps(value, ensure_ascii=True, default=str), 300)


SEEDS = ("seed",)
NAMES = ("model_tag", "out_tag", "run", "wandb_project", "overwrite", "resume", "resume_from_step")
"""Options that say what a run is called or how it was started, not what it computes."""


def fingerprint(facts: Facts) -> tuple[Any, ...]:
    """What is equal in runs that differ only in their seed and in what they are called."""
    apart = {*SEEDS, *NAMES}
    options = {name: value for name, value in facts.options.items() if name not in apart}
    told = {name: facts.info.get(name) for name in ("data", "tokenizer_sha256", "dtype")}
    code = facts.run.code.get("sha", "")
    return facts.run.stage, code, json.dumps([options, told], sort_keys=True, default=str)
