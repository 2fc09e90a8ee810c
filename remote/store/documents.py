"""A run's documents as a host sent them, read field by field: what a row is built from.

`run.json` and `state.json` may come from any version of the program, from a disk that lost half of them, or
from somebody's hand. Every field is checked for its type and range and every text is cleaned here, once; a
field that cannot be used keeps its default and is named in `problem`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from nanochat.common import fields
from nanochat.common.fields import json_object
from nanochat.common.text import sanitize
from remote.runs import ENDED, LIVE

T = TypeVar("T")
Json = dict[str, Any]

RUN, STATE = "run.json", "state.json"
MOST_BYTES = 1 << 20
"""Of one document as JSON; what an agent sends is far below."""
_NAME, _REASON, _WORD = 200, 2_000, 8_000
_NAMED = 4  # bad fields that a problem names before it counts the rest


@dataclass
class Documents:
    """What a run's two documents say, every value of its type, finite, in range and clean."""

    name: str = ""
    stage: str = ""
    created_at: float = 0.0
    plan_id: str = ""
    plan_name: str = ""
    plan_index: int = 0
    needs: tuple[str, ...] = ()
    options: Json = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    code: Json = field(default_factory=dict)
    status: str = "created"
    attempt: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    heartbeat: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    problem: str = ""

    def clean(self) -> tuple[Json, Json]:
        """The two documents with only what was read of them, to be kept."""
        plan = {"id": self.plan_id, "name": self.plan_name, "index": self.plan_index, "needs": self.needs}
        run = {
            name: getattr(self, name)
            for name in ("name", "stage", "created_at", "options", "argv", "env", "code")
        }
        names = ("status", "attempt", "started_at", "ended_at", "heartbeat", "exit_code", "signal", "reason")
        return {**run, "plan": plan}, {name: getattr(self, name) for name in names}


def read_documents(run: object, state: object, run_id: str = "") -> Documents:
    """Reads both documents; never raises. `run_id` is the folder's name, which they have to agree with.

    Without a usable status, or with another run's documents, the run is `lost`.
    """
    run_reader, state_reader = _Reader(run, RUN), _Reader(state, STATE)
    plan = _Reader(run_reader.get("plan", _object_or_null, None) or {}, f"{RUN} plan")
    none: tuple[str, ...] = ()
    needs = plan.get("needs", _ids, none) or run_reader.get("needs", _ids, none)
    found = Documents(
        name=run_reader.get("name", _text_of(_NAME), ""),
        stage=run_reader.get("stage", _text_of(_NAME), ""),
        created_at=run_reader.get("created_at", fields.moment, 0.0),
        plan_id=plan.get("id", _text_of(_NAME), ""),
        plan_name=plan.get("name", _text_of(_NAME), ""),
        plan_index=plan.get("index", _count, 0),
        needs=needs,
        options=run_reader.get("options", _options, {}),
        argv=run_reader.get("argv", _argv, ()),
        env=run_reader.get("env", _ids, ()),
        code=run_reader.get("code", _code_of, {}),
        status=state_reader.get("status", _status, "" if "status" in state_reader else "created"),
        attempt=state_reader.get("attempt", _count, 0),
        started_at=state_reader.get("started_at", fields.moment, None),
        ended_at=state_reader.get("ended_at", fields.moment, None),
        heartbeat=state_reader.get("heartbeat", fields.moment, None),
        exit_code=state_reader.get("exit_code", _code, None),
        signal=state_reader.get("signal", _code, None),
        reason=state_reader.get("reason", _text_of(_REASON), ""),
    )
    for reader in (run_reader, state_reader):
        reader.agree(run_id)
    bad = [*run_reader.bad, *plan.bad, *state_reader.bad]
    if bad:
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        found.problem = "damaged: " + ", ".join(bad[:_NAMED]) + more
    if not found.status or run_reader.strange or state_reader.strange:
        found.status = "lost"
    return found


@lru_cache(maxsize=4096)
def stored_documents(run: str, state: str, run_id: str) -> Documents:
    """`read_documents` of what a store holds as text, whoever wrote it. Kept: not to be changed."""
    return read_documents(json_object(run), json_object(state), run_id)


def _weight(value: object, budget: int, depth: int = 32) -> int:
    """Characters of a JSON value, roughly, counted until they exceed `budget`; nested deeper is beyond it."""
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, Mapping):
        value = [part for item in value.items() for part in item]
    if not isinstance(value, list | tuple):
        return 8
    if depth <= 0:
        return budget + 1
    total = 2
    for item in value:
        total += _weight(item, budget - total, depth - 1)
        if total > budget:
            break
    return total


class _Reader:
    """Fields of one object; `bad` names those that could not be used."""

    def __init__(self, document: object, name: str) -> None:
        self._name = name
        self.bad: list[str] = []
        self.strange = False
        self._document: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
        if not isinstance(document, Mapping):
            self._give_up(f"{name} is no object")
        elif _weight(document, MOST_BYTES) > MOST_BYTES:
            self._give_up(f"{name} is larger than {MOST_BYTES >> 20} MiB, or nested too deep")

    def _give_up(self, why: str) -> None:
        self._document, self.strange = {}, True
        self.bad.append(why)

    def __contains__(self, name: str) -> bool:
        return self._document.get(name) is not None

    def get(self, name: str, read: Callable[[Any], T | None], default: T) -> T:
        """The field as `read` takes it; the default where it is absent or null, or, told, unusable."""
        value = self._document.get(name)
        if value is None:
            return default
        taken = read(value)
        if taken is None:
            self.bad.append(f"{name} of {self._name}")
            return default
        return taken

    def agree(self, run_id: str) -> None:
        """Tells documents that are another run's: a folder that was copied, or renamed."""
        said = self._document.get("run_id")
        if run_id and said is not None and said != run_id:
            self.strange = True
            other = sanitize(said, 80) if isinstance(said, str) else "no run id"
            self.bad.insert(0, f"{self._name} says it is {other}'s: a copied folder?")


def _text_of(cap: int) -> Callable[[Any], str | None]:
    return lambda value: fields.text(value, cap)


def _count(value: object) -> int | None:
    return fields.whole(value, 0, (1 << 31) - 1)


def _code(value: object) -> int | None:
    return fields.whole(value, -(1 << 31), (1 << 32) - 1)


def _status(value: object) -> str | None:
    return value if isinstance(value, str) and value in LIVE | ENDED else None


def _object_or_null(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) else None


def _code_of(value: object) -> Json | None:
    """The program's `version` and commit (`sha`, `-dirty` behind it when files were changed)."""
    if not isinstance(value, Mapping):
        return None
    found = {name: fields.text(value.get(name), _NAME) for name in ("version", "sha")}
    return {name: text for name, text in found.items() if text}


def _options(value: object) -> Json | None:
    return fields.plain(value) if isinstance(value, Mapping) else None


def _ids(value: object) -> tuple[str, ...] | None:
    return fields.texts(value, _NAME)


def _argv(value: object) -> tuple[str, ...] | None:
    return fields.texts(value, _WORD)
