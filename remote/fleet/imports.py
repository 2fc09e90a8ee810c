"""Logs of other programs, imported on the host where they lie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.common import fields
from nanochat.common.paths import expanded
from nanochat.common.text import sanitize
from remote.fleet.agent_client import AgentClient
from remote.fleet.answers import entries
from remote.runs import ENDED, LIVE, RUN_ID, run_key

LONGEST = 3600.0
"""Seconds that the import of a large log may take."""
_TEXT = 500


@dataclass(frozen=True)
class ImportedRun:
    """A run that came of a log: its store key, how it stands, and how many of its events are new."""

    key: str
    stage: str
    status: str
    reason: str
    attempts: int
    events: int
    new_events: int


@dataclass(frozen=True)
class ImportedLog:
    """What became of one log. `known`: it had been imported before, as `of` where that is another path."""

    path: str
    of: str
    kind: str
    known: bool
    follow: bool
    runs: tuple[ImportedRun, ...]
    problem: str = ""
    passed_over: int = 0


@dataclass(frozen=True)
class Imported:
    """The answer to an import: what became of each log, and one line for each that could not be taken."""

    logs: tuple[ImportedLog, ...]
    problems: tuple[str, ...]


class Imports:
    """Imports on any host; a host's agent is asked for by `agent`."""

    def __init__(self, agent: Callable[[str], Awaitable[AgentClient]]) -> None:
        self._agent = agent

    async def take(self, host: str, paths: Sequence[str], follow: bool = False) -> Imported:
        """Makes runs of the logs at `paths` of the host, or reads on in those that are known.

        With `follow` they are read on for as long as anybody follows the host. Raises `UserError`.
        """
        agent = await self._agent(host)
        local = agent.host.kind == "local"
        named = [str(expanded(path).absolute()) if local else path for path in paths]
        answer = await agent.call("import", request={"paths": named, "follow": follow}, within=LONGEST)
        logs = tuple(_log(host, entry) for entry in entries(answer, "imports"))
        problems = (sanitize(str(entry.get("error")), _TEXT) for entry in entries(answer, "problems"))
        return Imported(logs, tuple(problems))


def _log(host: str, entry: dict[str, Any]) -> ImportedLog:
    """One log of an answer, field by field: another machine wrote it."""
    runs = (_run(host, told) for told in entries(entry, "runs"))
    return ImportedLog(
        path=_text(entry, "path"),
        of=_text(entry, "of"),
        kind=_text(entry, "kind"),
        known=entry.get("known") is True,
        follow=entry.get("follow") is True,
        runs=tuple(run for run in runs if run is not None),
        problem=_text(entry, "problem"),
        passed_over=fields.whole(entry.get("passed_over"), 0) or 0,
    )


def _run(host: str, told: dict[str, Any]) -> ImportedRun | None:
    run_id, status = told.get("run_id"), told.get("status")
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        return None
    counts = [fields.whole(told.get(name), 0) or 0 for name in ("attempts", "events", "new_events")]
    return ImportedRun(
        run_key(host, run_id),
        _text(told, "stage"),
        status if isinstance(status, str) and status in LIVE | ENDED else "lost",
        _text(told, "reason"),
        *counts,
    )


def _text(told: dict[str, Any], name: str) -> str:
    return fields.text(told.get(name), _TEXT) or ""
