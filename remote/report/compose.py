"""The report as a document: what is read of the store, put into chapters."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.common import fields
from nanochat.common.text import duration, number, short, size_bytes
from remote.evaluation_tables import figure_text, rows, settings_line, single_table
from remote.report.blocks import Block, Document, Facts, Lines, Sample, Section, Table, Text
from remote.report.curves import read_curves
from remote.report.repeat import repeat_blocks
from remote.report.scope import Scope
from remote.report.scores import Scores, read_scores
from remote.report.stage import StageFacts, read_stage
from remote.report.time_and_cost import time_table
from remote.run_summary import mean_speed, reading
from remote.store.evaluations import KINDS, Evaluation
from remote.store.store import Store

_MOST_RESULTS = 60
_MOST_ALERTS = 8


@dataclass(frozen=True)
class Sources:
    """What a report is made of beside the runs: evaluations, prices, and the notes to put on top."""

    evaluations: Sequence[Evaluation]
    prices: Mapping[str, float | None]
    notes: Sequence[str] = ()
    now: float = 0.0


def compose(store: Store, scope: Scope, sources: Sources, pictures: bool = True) -> Document:
    """The whole report. Reads the store and draws: not for an event loop."""
    stages = [read_stage(store, run) for run in scope.all]
    own = [stage for stage in stages if stage.run in scope.runs]
    scores = read_scores(stages, sources.evaluations)
    sections = [
        Section("Summary", tuple(_summary(scope, own, sources))),
        Section("Scores", (scores.table(),)),
        Section("Time and cost", (time_table(stages, own, sources.prices),)),
        Section("System", tuple(_system(stages))),
    ]
    sections.append(Section("Stages", ()))
    sections += [
        Section(_stage_title(stage, scope), tuple(_stage(store, stage, pictures)), level=3)
        for stage in stages
    ]
    samples = [block for stage in stages for block in _samples(stage)]
    if samples:
        sections.append(Section("Samples", tuple(samples)))
    sections += _evaluations(stages, scores, sources.evaluations)
    sections.append(Section("How to repeat it", tuple(repeat_blocks(scope, stages))))
    kind = "plan" if scope.is_plan else "run"
    return Document(f"nanochat report: {kind} {scope.name}", tuple(sections))


# ---- the head ------------------------------------------------------------------------------------------


def _summary(scope: Scope, own: Sequence[StageFacts], sources: Sources) -> Iterable[Block]:
    bad = [stage for stage in own if stage.run.status in ("failed", "lost")]
    halted = [stage for stage in own if stage.run.status == "stopped"]
    live = [stage for stage in own if stage.run.live]
    began = [stage for stage in halted if stage.attempts]  # the others only waited for one of these
    for stage in (*bad, *began):
        yield Text(
            f"{_name(stage)} {stage.run.status}: {stage.run.reason or 'it gave no reason'}", tone="bad"
        )
    if live:
        yield Text(f"Not ended yet: {', '.join(map(_name, live))}. These are the figures so far.", tone="bad")
    for note in sources.notes:
        yield Text(note, tone="bad")
    succeeded = len(own) - len(bad) - len(halted) - len(live)
    starts = [stage.spans[0][0] for stage in own if stage.spans]
    yield Facts(
        tuple(
            _known(
                ("plan" if scope.is_plan else "run", scope.name),
                ("id", scope.id),
                ("host", ", ".join(dict.fromkeys(stage.run.host for stage in own))),
                ("began", _moment(min(starts)) if starts else ""),
                (
                    "stages",
                    f"{succeeded} of {len(own)} succeeded"
                    + "".join(
                        f", {len(some)} {word}"
                        for some, word in ((bad, "failed"), (halted, "stopped"), (live, "not ended"))
                        if some
                    ),
                ),
                ("after", ", ".join(_name_of(run.name, run.stage, run.run_id) for run in scope.earlier)),
                ("made", _moment(sources.now or time.time())),
            )
        )
    )


def _system(stages: Sequence[StageFacts]) -> Iterable[Block]:
    """The machines, then the code; a machine's facts that changed between stages are all told."""
    for host in dict.fromkeys(stage.run.host for stage in stages):
        of_host = [stage for stage in stages if stage.run.host == host]
        told: dict[str, list[str]] = {}
        for stage in of_host:
            for name, value in _machine(stage.system):
                if value not in told.setdefault(name, []):
                    told[name].append(value)
        facts = [(name, "; then ".join(values)) for name, values in told.items()]
        yield Facts(tuple(facts) or (("machine", "its logs do not tell"),), title=f"Host {host}")
    code: dict[tuple[str, str], list[str]] = {}
    for stage in stages:
        if stage.commit or stage.spans:  # what never began has run no code
            code.setdefault((stage.commit, stage.version), []).append(_name(stage))
    lines = []
    for (commit, version), names in code.items():
        state = "files changed since" if commit.endswith("-dirty") else "no file changed"
        words = f"{commit.removesuffix('-dirty')} ({state})" if commit else "no commit is known"
        of = f": {', '.join(names)}" if len(code) > 1 else ""
        lines.append(("commit", f"{words}, nanochat {version}{of}" if version else f"{words}{of}"))
    yield Facts(tuple(lines), title="Code")


def _machine(system: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    def text(name: str) -> str:
        value = system.get(name)
        return "" if value is None else str(value)

    gpus = [gpu for gpu in system.get("gpus", ()) if isinstance(gpu, Mapping)]
    counted: dict[str, int] = {}
    for gpu in gpus:
        memory = size_bytes(fields.real(gpu.get("bytes")))
        name = f"{gpu.get('name', 'GPU')}" + (f", {memory}" if memory else "")
        counted[name] = counted.get(name, 0) + 1
    told = [f"{count} × {name}" for name, count in counted.items()]
    cores = fields.real(system.get("cores"))
    return _known(
        ("hostname", text("hostname")),
        ("platform", text("platform")),
        ("processor", text("cpu")),
        ("cores", "" if cores is None else f"{cores:g}"),
        ("memory", size_bytes(fields.real(system.get("ram")))),
        ("GPUs", "; ".join(told) or ("none" if system else "")),
        ("driver", text("driver")),
        ("CUDA", text("cuda")),
        ("Python", text("python")),
        ("torch", text("torch")),
    )


# ---- stages --------------------------------------------------------------------------------------------


def _stage(store: Store, stage: StageFacts, pictures: bool) -> Iterable[Block]:
    run = stage.run
    if run.partial:
        yield Text(f"Its log is not read whole: {reading(run)}.", tone="bad")
    if run.problem:
        yield Text(run.problem, tone="bad")
    if run.status in ("failed", "lost", "stopped") and run.reason:
        yield Text(f"{run.status}: {run.reason}", tone="bad")
    yield Facts(tuple(_figures(stage)))
    if run.options:
        given = tuple((name, _value(value)) for name, value in run.options.items())
        yield Facts(given, title="Options given")
    if stage.options:
        every = tuple((name, _value(value)) for name, value in stage.options.items())
        yield Facts(every, title="Every option", folded=True)
    curves = read_curves(store, run, pictures)
    if curves is not None:
        yield curves
    alerts = [fields.text(event.data.get("message"), 600) or "" for event in stage.alerts]
    alerts = [alert for alert in dict.fromkeys(alerts) if alert]
    if alerts:
        left = max(len(alerts), run.alerts) - _MOST_ALERTS
        more = [f"… and {left:,} more"] if left > 0 else []
        yield Lines((*alerts[:_MOST_ALERTS], *more), title="Alerts")


def _figures(stage: StageFacts) -> Iterable[tuple[str, str]]:
    """What a run came to: its status, time and steps, then what its stage resulted in."""
    run = stage.run
    speed = mean_speed(run)
    steps = f"{run.step:,}" if run.step is not None and run.unit == "step" else ""
    yield from _known(
        ("run", run.run_id),
        ("status", run.status + (f", {run.attempt} attempts" if run.attempt > 1 else "")),
        ("began", _moment(stage.spans[0][0]) if stage.spans else ""),
        ("time", duration(stage.seconds) if stage.spans else ""),
        ("began from", stage.began_from),
        ("wrote", stage.model),
        ("steps", f"{steps} of {run.total_steps:,}" if steps and run.total_steps else steps),
        ("mean speed", "" if speed is None else f"{short(speed)} tok/s"),
    )
    for attempt in stage.attempts[1:]:
        yield f"attempt {attempt.attempt}", f"from step {attempt.from_step:,}, {_moment(attempt.t)}"
    # What was planned is left out where it is told what became of it.
    planned = {"tokens": "tokens", "total_flops": "flops"}
    told = {name for name, result in planned.items() if result in run.results}
    yield from _informed({name: value for name, value in stage.info.items() if name not in told})
    for name, result in list(run.results.items())[:_MOST_RESULTS]:
        if name not in ("checkpoint", "items", "steps"):
            yield name, _result(name, result)


def _informed(info: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """What a training said of its model and its work."""
    for name in ("params", "tokens", "total_flops", "total_batch_size", "device", "ranks", "dtype"):
        value = info.get(name)
        if isinstance(value, bool) or value is None or value == "":
            continue
        large = isinstance(value, int | float) and abs(value) >= 1e5
        yield name.replace("_", " "), short(float(value)) if large else _value(value)


def _result(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if name.startswith(("core/", "chat/")):
        return figure_text(value)
    if name.endswith("bpb"):
        return figure_text(value, 6)
    if name.endswith("bytes"):
        return size_bytes(value)
    return _took(value) if name == "seconds" else number(value)


def _took(seconds: float) -> str:
    return duration(seconds) if seconds >= 60 else f"{number(seconds)} s"


def _samples(stage: StageFacts) -> Iterable[Block]:
    for event in stage.samples:
        at = f", step {event.step:,}" if event.step is not None else ""
        mode = fields.text(event.data.get("mode"), 40) or ""
        about = f"{_name(stage)}{at}" + (f", {mode}" if mode else "")
        yield Sample(str(event.data.get("prompt", "")), str(event.data.get("text", "")), about)


# ---- evaluations ---------------------------------------------------------------------------------------


def _evaluations(
    stages: Sequence[StageFacts], scores: Scores, known: Sequence[Evaluation]
) -> Iterable[Section]:
    """Every evaluation that the report's runs made as their work, and those that the scores are from."""
    keys = {stage.run.key for stage in stages}
    own = [one for one in known if one.run in keys and not one.while_training and one.tasks]
    found = {one.id: one for one in (*scores.used, *own) if one.tasks or one.mean is not None}
    if not found:
        return
    yield Section("Evaluations in full", ())
    for one in sorted(found.values(), key=lambda one: (KINDS.index(one.kind), one.t)):
        header, cells = single_table(one.kind, rows(one.kind, [one]))
        table = Table(tuple(header), tuple(map(tuple, cells)), folded=True, title=f"{len(cells)} rows")
        settings = settings_line(one)
        notes: list[Block] = [Text(f"Settings: {settings}.")] if settings else []
        yield Section(f"{one.kind} of {one.name or 'a tokenizer'}", (*notes, table), level=3)


# ---- words ---------------------------------------------------------------------------------------------


def _known(*pairs: tuple[str, str]) -> list[tuple[str, str]]:
    return [pair for pair in pairs if pair[1]]


def _stage_title(stage: StageFacts, scope: Scope) -> str:
    before = " (an earlier run)" if stage.run in scope.earlier else ""
    name = _name(stage)
    return (f"{name} ({stage.run.stage})" if stage.run.stage not in ("", name) else name) + before


def _name(stage: StageFacts) -> str:
    return _name_of(stage.run.name, stage.run.stage, stage.run.run_id)


def _name_of(name: str, stage: str, run_id: str) -> str:
    return name or stage or run_id


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(item)}" for name, item in value.items())
    return "none" if value in (None, "") else str(value)


def _moment(t: float) -> str:
    """Date and local time, with its zone: a report is read elsewhere too."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(t))
    except (OverflowError, ValueError, OSError):
        return ""
