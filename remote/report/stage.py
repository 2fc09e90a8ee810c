"""What the store knows of one run, as far as a report tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from nanochat.common import fields
from nanochat.run.events import Event
from remote.report.scope import TRAININGS, started_from, written
from remote.run_summary import elapsed
from remote.runs import Attempt, RunRow, host_time
from remote.store.evaluation_figures import checkpoint_of
from remote.store.store import Store

MOST_SAMPLES = 6
_MOST_ALERTS = 40
_MOST_READ = 20_000


@dataclass(frozen=True)
class StageFacts:
    """One run, read whole."""

    run: RunRow
    attempts: tuple[Attempt, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """Every option as the stage had it; empty for one that never started."""
    info: Mapping[str, Any] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)
    alerts: tuple[Event, ...] = ()
    samples: tuple[Event, ...] = ()
    """The newest of each prompt."""
    began_from: str = ""
    """`base/d4@300`; "" for a training from nothing, and for other stages."""
    model: str = ""
    """The name of the newest checkpoint that it wrote, and its step: `sft/d4@112`."""
    spans: tuple[tuple[float, float], ...] = ()
    """When its attempts ran: Unix times of the host's clock."""

    @property
    def commit(self) -> str:
        """The commit that ran, as the stage told it, else the one that it was sent from; "" for neither."""
        told = self.system.get("commit")
        return told if isinstance(told, str) and told else self.run.code.get("sha", "")

    @property
    def version(self) -> str:
        """The program's version, told the same way."""
        told = self.system.get("nanochat")
        return told if isinstance(told, str) and told else self.run.code.get("version", "")

    @property
    def source(self) -> str:
        """base, mid, sft or rl for a training, else ""."""
        return TRAININGS.get(self.run.stage, "")

    @property
    def seconds(self) -> float:
        """How long its attempts took together."""
        return sum(end - start for start, end in self.spans)


def read_stage(store: Store, run: RunRow) -> StageFacts:
    """Reads a run. Blocks on the disk."""
    starts = store.events(run.key, kinds=("stage_start",), limit=_MOST_READ)
    last = starts[-1].data if starts else {}
    attempts = tuple(store.attempts(run.key))
    paths = written(store, run)
    path = run.results.get("checkpoint") if run.stage in TRAININGS else None
    path = path if isinstance(path, str) else (paths[-1] if paths and run.stage in TRAININGS else "")
    return StageFacts(
        run=run,
        attempts=attempts,
        options=_object(last.get("options")),
        info=_object(last.get("info")),
        system=_system(store, run, last),
        alerts=tuple(store.events(run.key, kinds=("alert",), limit=_MOST_ALERTS)),
        samples=tuple(_newest(store.events(run.key, kinds=("sample",), limit=_MOST_READ))),
        began_from=_name(started_from(store, run)) if run.stage in TRAININGS else "",
        model=_name(path),
        spans=tuple(_spans(store, run, attempts)),
    )


def _name(path: str) -> str:
    if not path:
        return ""
    name, step = checkpoint_of(path)
    return name if step is None else f"{name}@{step}"


def _object(value: object) -> Mapping[str, Any]:
    return fields.plain(value) if isinstance(value, dict) else {}


def _system(store: Store, run: RunRow, start: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the stage said of its machine; of older logs what their telemetry tells."""
    said = _object(start.get("system"))
    sample = None if said.get("gpus") else store.last_telemetry(run.key)
    if sample is None:
        return said
    seen = sample.data
    found: dict[str, Any] = {"cores": seen.get("host/cores"), "ram": seen.get("host/ram_total")}
    cards = sorted({name.split("/")[1] for name in seen if name.startswith("gpu/") and name.count("/") > 1})
    found["gpus"] = [
        {"name": str(seen.get(f"gpu/{card}/name", "GPU")), "bytes": seen.get(f"gpu/{card}/mem_total")}
        for card in cards
    ]
    return {**{name: value for name, value in found.items() if value}, **said}


def _newest(samples: Iterable[Event]) -> list[Event]:
    """The newest sample of each prompt, in the order of their events; those with a prompt before others."""
    by_prompt = {str(event.data.get("prompt", "")): event for event in samples}
    chosen = [event for prompt, event in by_prompt.items() if prompt] or list(by_prompt.values())
    return chosen[:MOST_SAMPLES]


def _spans(store: Store, run: RunRow, attempts: tuple[Attempt, ...]) -> list[tuple[float, float]]:
    """The attempts as the house counts their time: earlier ones from start to last event, then the last."""
    found = []
    for one, following in pairwise(attempts):
        ended = store.events(run.key, following.first_seq - 2, limit=1)
        found.append((one.t, max(one.t, ended[0].t if ended else one.t)))
    seconds = elapsed(run, host_time(run, None, 0.0))
    if seconds is not None and run.started_at is not None:
        found.append((run.started_at, run.started_at + seconds))
    return found
