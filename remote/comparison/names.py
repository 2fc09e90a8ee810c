"""What runs that are shown together are called, so that no two have the same name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from nanochat.common.text import sanitize, when
from remote.comparison.settings import spelled

if TYPE_CHECKING:
    from remote.runs import RunRow

_LAST = ("overwrite", "resume", "resume_from_step", "pass_env")
_CAP = 40
_TAGS = ("model_tag", "out_tag")


def distinct_names(runs: Sequence[RunRow], now: float | None = None) -> list[str]:
    """A short name a run: its own, and what tells it from others of that name; a stage's name is left out.

    Those of one name are told apart by their stages, else by one or two given options, else by their
    hosts, else by when they were made, else by their ids.
    """
    names = [sanitize(run.label, _CAP) for run in runs]
    for name in set(names):
        same = [at for at, own in enumerate(names) if own == name]
        if len(same) > 1:
            for at, told in zip(same, _apart([runs[at] for at in same], now), strict=True):
                names[at] = sanitize(told if name == runs[at].stage else f"{name} {told}", _CAP)
    return names


def _apart(runs: Sequence[RunRow], now: float | None) -> list[str]:
    moment = time.time() if now is None else now
    ways: list[Callable[[RunRow], str]] = [
        lambda run: run.stage,
        *_by_options([run.options for run in runs]),
        lambda run: run.host,
        lambda run: when(run.created_at, moment),
    ]
    for way in ways:
        told = [way(run) for run in runs]
        if len(set(told)) == len(runs) and all(told):
            return told
    return [run.key if len({other.run_id for other in runs}) < len(runs) else run.run_id for run in runs]


def _by_options(options: Sequence[Mapping[str, Any]]) -> list[Callable[[RunRow], str]]:
    """Ways to tell runs apart by one option in which all differ, or by two."""
    names = [
        name
        for name in dict.fromkeys(name for own in options for name in own)
        if name not in _LAST and len({repr(own.get(name)) for own in options}) > 1
    ]
    names.sort(key=lambda name: name not in _TAGS)  # a tag is what its user calls a run

    def told(chosen: Sequence[str]) -> Callable[[RunRow], str]:
        return lambda run: " ".join(_named(name, run.options[name]) for name in chosen if name in run.options)

    return [told([name]) for name in names] + [told(pair) for pair in combinations(names[:6], 2)]


def _named(name: str, value: object) -> str:
    return spelled(value) if name in _TAGS else f"{name}={spelled(value)}"
