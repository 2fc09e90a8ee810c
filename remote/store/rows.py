"""Rows of the store's table of runs, as the screens and tables get them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from nanochat.common import fields
from nanochat.common.text import amount, clean_json
from nanochat.run.events import Event
from remote.runs import RunRow, run_key
from remote.store.documents import stored_documents
from remote.store.summary import MOST_METRICS, stored_summary

_TO_CLEAN = re.compile(r"\\[ubfr]|\x7f")


def once(rows: Iterable[RunRow]) -> list[RunRow]:
    """The rows without those of one run that are seen through a second host, order kept.

    Hosts that share a base directory (NFS) all report every run in it. It counts where it runs: there the
    agent says `here`; where none or several do, one row stands for it, the first by host name.
    """
    kept: dict[tuple[str, float, str], RunRow] = {}
    rows = list(rows)
    for row in rows:
        same = (row.run_id, row.created_at, row.stage)
        best = kept.get(same)
        if best is None or (not row.here, row.host) < (not best.here, best.host):
            kept[same] = row
    chosen = {row.key for row in kept.values()}
    return [row for row in rows if row.key in chosen]


def run_row(row: tuple[Any, ...], marks: list[tuple[str, str]]) -> RunRow:
    """A run as its columns and the person's marks tell it."""
    (
        _,
        host,
        run_id,
        run_json,
        state_json,
        summary_json,
        contact,
        last_seq,
        passed,
        problem,
        here,
        bad,
        read,
        size,
        clock_ahead,
    ) = row
    found = stored_documents(run_json, state_json, run_id)
    summary = stored_summary(summary_json)
    problem = "; ".join(filter(None, (problem or found.problem, _counted(bad, summary.left_out))))
    return RunRow(
        key=run_key(host, run_id),
        host=host,
        run_id=run_id,
        name=found.name,
        stage=found.stage,
        status=found.status,
        attempt=summary.attempt or found.attempt,
        created_at=found.created_at,
        started_at=found.started_at,
        ended_at=found.ended_at,
        heartbeat=found.heartbeat,
        exit_code=found.exit_code,
        signal=found.signal,
        reason=found.reason or (problem if found.status == "lost" else ""),
        plan_id=found.plan_id,
        plan_name=found.plan_name,
        plan_index=found.plan_index,
        needs=found.needs,
        options=found.options,
        argv=found.argv,
        env=found.env,
        pass_env=tuple(sorted(passed.split(","))) if passed else (),
        step=summary.step,
        total_steps=summary.total_steps,
        unit=summary.unit,
        progress=summary.progress,
        eta_s=summary.eta_s,
        latest=summary.latest,
        smooth=summary.smooth(),
        first=summary.first,
        results=summary.results,
        alerts=summary.alerts,
        last_contact=contact,
        last_seq=last_seq,
        tags=tuple(value for kind, value in marks if kind == "tag"),
        note=next((value for kind, value in marks if kind == "note"), ""),
        pinned=any(kind == "pin" for kind, _ in marks),
        archived=any(kind == "archive" for kind, _ in marks),
        problem=problem,
        here=bool(here),
        read_bytes=read,
        size_bytes=max(read, size),
        clock_ahead=clock_ahead,
        code=found.code,
    )


def _counted(bad_lines: int, left_out: int) -> str:
    """What of a run's logs was passed over, in words."""
    lines = f"{amount(bad_lines, 'line')} of its logs could not be read" if bad_lines else ""
    metrics = (
        f"{amount(left_out, 'value')} of more than {MOST_METRICS:,} metrics left out" if left_out else ""
    )
    return ", ".join(filter(None, (lines, metrics)))


def event_of(row: tuple[int, float, str, int | None, str]) -> Event:
    """An event as its columns tell it."""
    seq, t, kind, step, data = row
    return Event(seq, t, kind, step, _event_data(data))


def _event_data(data: str) -> dict[str, Any]:
    """An event's data, its texts clean: nothing in them that a terminal would act on."""
    found = fields.json_object(data) or {}
    # Stored as ASCII, where anything to clean shows as an escape; most events have none.
    if not _TO_CLEAN.search(data):
        return found
    cleaned = clean_json(found)
    assert isinstance(cleaned, dict)
    return cleaned
