"""The logs under data/, made by the real programs, and what a run directory holds after an import."""

import json
from pathlib import Path
from typing import Any

from remote.agent.imports.command import Followed, import_logs

DATA = Path(__file__).with_name("data")
BASE, RESUMED, CLASSIC = "modern-base.log", "modern-resumed.log", "classic-base.log"


def take(base: Path, *paths: Path, follow: bool = False) -> dict[str, Any]:
    """What the agent answers to an import."""
    return import_logs(base, {"paths": [str(path) for path in paths], "follow": follow})


def one(base: Path, path: Path, follow: bool = False) -> dict[str, Any]:
    """The same of a log that can be read."""
    answer = take(base, path, follow=follow)
    assert not answer["problems"], answer
    [log] = answer["imports"]
    found: dict[str, Any] = log
    return found


def events(base: Path, run: dict[str, Any] | str) -> list[dict[str, Any]]:
    """The events of a run, whose numbers have no gap and no repeat."""
    run_id = run if isinstance(run, str) else run["run_id"]
    lines = (base / "runs" / run_id / "events.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [event["seq"] for event in found] == list(range(len(found)))
    return found


def state(base: Path, run: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((base / "runs" / run["run_id"] / "state.json").read_text())
    return found


def without_times(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in event.items() if name != "t"} for event in found]


def points(found: list[dict[str, Any]], metric: str) -> list[tuple[int | None, Any]]:
    """`(step, value)` of a metric, in order."""
    return [(event.get("step"), event["data"][metric]) for event in found if metric in event["data"]]


def look(base: Path) -> list[dict[str, Any]]:
    """One pass of whoever follows; the problems it tells."""
    return list(Followed(base).pass_over(0.0))


def nothing_made(base: Path) -> bool:
    """Whether neither a run nor a document of an import was left behind."""
    folders = [base / "runs", base / "imports"]
    there = [path.name for folder in folders if folder.exists() for path in folder.iterdir()]
    return not [name for name in there if name != ".lock"]
