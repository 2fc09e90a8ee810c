"""How to do it again: the plan as a file, the commit, and the command of each run."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from nanochat.config.stages import STAGES
from remote.report.blocks import Block, Code, Text
from remote.report.scope import Scope
from remote.report.stage import StageFacts
from remote.runs import RunRow

_CONTROL = re.compile(r'[\x00-\x1f\x7f"\\]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def repeat_blocks(scope: Scope, stages: Sequence[StageFacts]) -> list[Block]:
    """The commit, then a plan file for several runs, or the command of one."""
    commits = dict.fromkeys(stage.commit for stage in stages if stage.commit)
    blocks: list[Block] = []
    if commits:
        clean = [commit.removesuffix("-dirty") for commit in commits]
        blocks.append(Text("The code:"))
        blocks.append(
            Code("\n".join(f"git checkout {shlex.quote(one)}" for one in dict.fromkeys(clean)), "sh")
        )
    if any(commit.endswith("-dirty") for commit in commits):
        blocks.append(Text("Files were changed after that commit: those changes are not told here.", "bad"))
    if len(scope.all) > 1 and all(run.stage in STAGES for run in scope.all):
        blocks.append(Text("The runs as a plan, with every option that was given:"))
        blocks.append(Code(plan_toml(scope.name, scope.all), "toml"))
        host = scope.runs[0].host
        where = "" if host == "local" else f" --host {shlex.quote(host)}"
        blocks.append(Code(f"nanochat --no-tui ./plan.toml{where}", "sh"))
    commands = [shlex.join(run.argv) for run in scope.all if run.argv]
    if commands:
        blocks.append(Text("The commands that ran:" if len(commands) > 1 else "The command that ran:"))
        blocks.append(Code("\n".join(commands), "sh"))
    return blocks or [Text("Its log tells neither a commit nor a command: the program that ran it knows.")]


def plan_toml(name: str, runs: Sequence[RunRow]) -> str:
    """A plan file that starts these runs again, in their order."""
    ids = _ids(runs)
    lines = [f"name = {toml(name)}"]
    passed = sorted({variable for run in runs for variable in run.pass_env})
    if passed:
        lines.append(f"pass_env = {toml(passed)}")
    for run in runs:
        needs = [ids[need] for need in run.needs if need in ids]
        lines += ["", "[[stage]]", f"stage = {toml(run.stage)}", f"id = {toml(ids[run.run_id])}"]
        lines.append(f"needs = {toml(needs)}")
        if run.options:
            lines += ["", "[stage.options]"]
            lines += [f"{_key(option)} = {toml(value)}" for option, value in _told(run.options).items()]
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    """A JSON value as TOML; null, which TOML has not, as an empty text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else ("nan" if math.isnan(value) else repr(value))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(str(key))} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml(item) for item in value)}]"
    text = "" if value is None else str(value)
    return '"' + _CONTROL.sub(lambda m: _ESCAPES.get(m[0], f"\\u{ord(m[0]):04x}"), text) + '"'


def _told(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def _ids(runs: Sequence[RunRow]) -> dict[str, str]:
    """The id of each run in the plan: its name where that is its own, else with a number."""
    ids: dict[str, str] = {}
    for run in runs:
        wanted = run.name or run.stage or run.run_id
        name, number = wanted, 2
        while name in ids.values():
            name, number = f"{wanted}-{number}", number + 1
        ids[run.run_id] = name
    return ids
