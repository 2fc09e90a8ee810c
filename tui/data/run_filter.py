"""The filter language of the Runs screen: words and `key:value` terms, all of which must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError, nearest
from tui.style.status import status_style

if TYPE_CHECKING:
    from remote.runs import RunRow

KEYS: dict[str, Callable[[RunRow], Sequence[str]]] = {
    "name": lambda run: (run.name,),
    "stage": lambda run: (run.stage,),
    "host": lambda run: (run.host,),
    "status": lambda run: (run.status, status_style(run.status).word, "live" if run.live else "ended"),
    "plan": lambda run: (run.plan_name,),
    "tag": lambda run: run.tags,
    "id": lambda run: (run.run_id,),
    "has": lambda run: _has(run),
}

Predicate = Callable[["RunRow"], bool]


def _has(run: RunRow) -> tuple[str, ...]:
    there = {
        "alerts": run.alerts > 0,
        "note": bool(run.note),
        "tags": bool(run.tags),
        "pin": run.pinned,
        "plan": bool(run.plan_id),
    }
    return tuple(name for name, held in there.items() if held)


def parse(text: str) -> Predicate:
    """A test of one run from `text`.

    A bare word is searched in name, stage, host, status, plan, run id, tags and note; `key:value` only in
    that field (a part of it is enough); `-term` must not hold. Case is ignored.
    Raises `UserError` for an unknown key, with the nearest known one.
    """
    tests = [_term(term) for term in text.split()]
    return lambda run: all(test(run) for test in tests)


def _term(term: str) -> Predicate:
    if term.startswith("-") and len(term) > 1:
        inner = _term(term[1:])
        return lambda run: not inner(run)
    key, colon, value = term.lower().partition(":")
    if not colon:
        return lambda run: any(key in field for field in _fields(run))
    if key not in KEYS:
        raise UserError(f"no field '{key}' to filter on", nearest(key, KEYS))
    read = KEYS[key]
    return lambda run: any(value in field.lower() for field in read(run))


def _fields(run: RunRow) -> list[str]:
    fields = [
        run.name,
        run.stage,
        run.host,
        run.plan_name,
        run.run_id,
        run.note,
        *run.tags,
        status_style(run.status).word,
    ]
    return [field.lower() for field in fields]
