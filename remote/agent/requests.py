"""What `submit` and `resume` are asked, checked before anything is made."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .files import AgentError
from .rundirs import SCHEMA, check_run_id

if TYPE_CHECKING:
    Json = dict[str, Any]

ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Submission(NamedTuple):
    """Runs to make, in the order in which they shall start."""

    plan: Json | None
    python: str
    env: dict[str, str]
    runs: list[Json]

    @classmethod
    def parse(cls, content: Json) -> Submission:
        """Raises AgentError that names the first thing wrong."""
        plan = content.get("plan")
        if plan is not None and not isinstance(plan, dict):
            raise AgentError("'plan' must be an object or null", "usage")
        runs = content.get("runs")
        if not isinstance(runs, list) or not runs:
            raise AgentError("'runs' must be a list of at least one run", "usage")
        checked = [_run(item) for item in runs]
        ids = [run["run_id"] for run in checked]
        if len(set(ids)) != len(ids):
            raise AgentError("a run id is there twice", "usage")
        _check_order(checked)
        return cls(plan, _python(content), _env(content), checked)

    def documents(self, index: int, base: Path, group: str) -> tuple[Json, Json]:
        """`run.json` and `launch.json` of one run."""
        asked = self.runs[index]
        plan = dict(self.plan or {"id": None, "name": None}, index=index, needs=asked["needs"])
        run = {
            "schema": SCHEMA,
            "run_id": asked["run_id"],
            "name": asked["name"],
            "stage": asked["stage"],
            "options": asked["options"],
            "argv": [self.python, *asked["argv"]],
            "code": asked["code"],
            "host": os.uname().nodename,
            "env": sorted(self.env),
            "created_at": time.time(),
            "plan": plan if self.plan is not None or asked["needs"] else None,
            "cwd": str(base),
        }
        return run, {"python": self.python, "argv": asked["argv"], "env": self.env, "group": group}


class Resume(NamedTuple):
    """A new attempt of a run, with the arguments it was given at first."""

    run_id: str
    python: str
    env: dict[str, str]

    @classmethod
    def parse(cls, content: Json) -> Resume:
        """Raises AgentError that names the first thing wrong."""
        return cls(check_run_id(content.get("run_id")), _python(content), _env(content))

    def launch(self, run: Json) -> Json:
        """`launch.json` of the new attempt."""
        argv = _words(run.get("argv"), "argv of run.json")[1:]
        return {"python": self.python, "argv": argv, "env": self.env, "group": self.run_id}


def _run(item: object) -> Json:
    if not isinstance(item, dict):
        raise AgentError("each of 'runs' must be an object", "usage")
    run_id = check_run_id(item.get("run_id"))
    stage = item.get("stage")
    if not isinstance(stage, str) or not stage:
        raise AgentError(f"run {run_id} names no stage", "usage")
    argv = _words(item.get("argv"), f"argv of {run_id}")
    if not argv:
        raise AgentError(f"run {run_id} has an empty argv", "usage")
    needs = [check_run_id(need) for need in _words(item.get("needs", []), f"needs of {run_id}")]
    options, code = item.get("options", {}), item.get("code", {})
    if not isinstance(options, dict) or not isinstance(code, dict):
        raise AgentError(f"options and code of run {run_id} must be objects", "usage")
    name = str(item.get("name") or stage)
    return {
        "run_id": run_id,
        "name": name,
        "stage": stage,
        "argv": argv,
        "needs": needs,
        "options": options,
        "code": code,
    }


def _check_order(runs: list[Json]) -> None:
    """A run may need only earlier ones of its submission: so there is no circle, and order is start order."""
    ids = [run["run_id"] for run in runs]
    for index, run in enumerate(runs):
        late = [need for need in run["needs"] if need in ids[index:]]
        if late:
            raise AgentError(f"run {run['run_id']} needs {late[0]}, which comes no earlier", "needs")


def _python(content: Json) -> str:
    python = content.get("python") or "python3"
    if not _is_text(python):
        raise AgentError("'python' must be a path", "usage")
    return os.path.expanduser(str(python))


def _env(content: Json) -> dict[str, str]:
    env = content.get("env") or {}
    if not isinstance(env, dict):
        raise AgentError("'env' must be an object", "usage")
    for name, value in env.items():
        if not ENV_NAME.fullmatch(name) or not _is_text(value):
            raise AgentError(f"environment variable {name!r} needs a plain name and a text value", "usage")
    return dict(env)


def _words(content: object, what: str) -> list[str]:
    if not isinstance(content, list) or not all(_is_text(word) for word in content):
        raise AgentError(f"{what} must be a list of texts", "usage")
    return list(content)


def _is_text(word: object) -> bool:
    """True for what can be handed to a process: no NUL, no half of a surrogate pair."""
    if not isinstance(word, str) or "\0" in word:
        return False
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
