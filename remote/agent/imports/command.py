"""The agent's command `import`, following what is imported, and no longer following it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator

from ..files import AgentError, os_error, read_json
from ..locks import is_shared, lock_file
from ..rundirs import ENDED, RunDir
from . import sources
from .known import ids
from .origin import FOLDER, import_of
from .shadow import PATIENCE, Shadow

if TYPE_CHECKING:
    Json = dict[str, Any]

MOST_PATHS = 200
PASS = 0.2
"""Seconds that one log may take of a pass of `follow`: the other runs wait meanwhile."""
QUIET = 600.0
"""Seconds without a new line after which a run whose log does not say that it ended counts as lost."""
ENDED_LOOK, QUIET_LOOK = 5.0, 30.0
GIVEN_UP = 86_400.0
RELIST = 2.0


def import_logs(base: Path, content: Json) -> Json:
    """Imports the logs of a request `{"paths", "follow"}`: what became of each, and what is wrong with some.

    A log that is known already is read on from where it was left.
    """
    paths, follow = content.get("paths"), content.get("follow") is True
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        raise AgentError("'paths' must be a list of paths", "usage")
    if len(paths) > MOST_PATHS:
        raise AgentError(f"at most {MOST_PATHS} paths at once", "usage")
    imports: list[Json] = []
    problems: list[Json] = []
    for spelled in paths:
        try:
            path = Path(os.path.realpath(os.path.expanduser(spelled)))
            for log in sources.expand(path):
                try:
                    imports.append(_import_log(base, log, follow))
                except (AgentError, OSError) as error:
                    problems.append({"path": str(log), "error": _line(log, error)})
        except (AgentError, OSError, ValueError) as error:
            problems.append({"path": spelled, "error": _line(Path(spelled), error)})
    return {"imports": imports, "problems": problems}


def _line(path: Path, error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot read {path}: {error.strerror or error}"
    return str(error)


def _import_log(base: Path, path: Path, follow: bool) -> Json:
    kind = sources.kind_of(path)
    if base / "runs" in path.parents:
        raise AgentError(f"{path} belongs to a run of ours: it is one already", "import")
    known, shadow = _find_or_make(base, path, kind, follow)
    before = {entry["run_id"]: entry["seq"] for entry in shadow.document["runs"]}
    with shadow.lock() as held:
        if not held:
            raise AgentError(f"{path} is being read by another process: try again", "lock")
        try:
            document = shadow.document
            document["follow"] = follow or (document.get("follow") is True)
            document.pop("stopped", None)
            if known is not None and known.path != path and not known.path.exists():
                _move(shadow, path)  # the log was moved
            while shadow.read_on(60.0, final=not document["follow"]):
                pass
            if not shadow.run_ids() and (not follow or document.get("problem")):
                raise AgentError(_nothing(path, kind, shadow), "import")
        except BaseException as error:
            if known is None:
                shadow.forget()
            if isinstance(error, OSError):
                raise os_error(f"cannot import {path}", error) from error
            raise
    return _told(shadow, before, known is not None, path)


def _find_or_make(base: Path, path: Path, kind: str, follow: bool) -> tuple[Shadow | None, Shadow]:
    """The import of a log if there is one already, and the one to go on with: of two at once one makes it."""
    folder = base / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = lock_file(folder / ".lock", PATIENCE, is_shared(folder))
    if lock is None:
        raise AgentError(f"{folder} is locked by another process: try again", "lock")
    try:
        known = Shadow.find(base, path, kind)
        shadow = known or Shadow.make(base, path, kind, follow)
        if known is None:
            shadow.save()
        return known, shadow
    finally:
        os.close(lock)


def _move(shadow: Shadow, path: Path) -> None:
    stat = os.stat(str(path))
    shadow.document.update(path=str(path), dev=stat.st_dev, ino=stat.st_ino)
    shadow.path = path


def _nothing(path: Path, kind: str, shadow: Shadow) -> str:
    told = shadow.document.get("problem")
    if told:
        return f"nothing of {path} can be read: {told}"
    if kind == "base" and (path / "runs").is_dir():
        return f"{path} is a base directory of ours: its runs are runs already, seen with --base-dir"
    if kind == "console" and path.suffix in (".csv", ".tsv"):
        return f"{path} is no table of a run: it has no column of steps (step, _step) beside one of figures"
    if kind == "console":
        return f"{path} has no step of upstream nanochat in it: nothing was imported"
    return f"{path} has no figures in it yet: nothing was imported"


def _told(shadow: Shadow, before: Json, known: bool, path: Path) -> Json:
    runs = []
    for entry in shadow.document["runs"]:
        state = read_json(shadow.runs.path / entry["run_id"] / "state.json") or {}
        runs.append(
            {
                "run_id": entry["run_id"],
                "stage": entry["stage"],
                "status": state.get("status", entry["status"]),
                "reason": state.get("reason", ""),
                "attempts": entry["attempts"],
                "events": entry["seq"],
                "new_events": entry["seq"] - before.get(entry["run_id"], 0),
            }
        )
    return {
        "path": str(path),
        "of": str(shadow.path),
        "kind": sources.KINDS[shadow.document["kind"]],
        "known": known,
        "follow": shadow.follows,
        "runs": runs,
        "problem": shadow.document.get("problem", ""),
        "passed_over": shadow.document["memory"].get("passed_over", 0),
    }


def leave(base: Path, directory: RunDir) -> None:
    """Follows the log of a run no longer. The program that writes it is not ours: it goes on."""
    shadow = Shadow.of(base, import_of(directory.read_run()))
    if shadow is None or directory.run_id not in shadow.run_ids():  # a copied folder, or its import is gone
        reason = "nothing reads its log on"
        state = dict(directory.read_state() or {}, status="stopped", reason=reason, heartbeat=time.time())
        directory.write_state(dict(state, ended_at=state["heartbeat"]))
        directory.forget(".state.spare")
        return
    with shadow.lock() as held:
        if not held:
            raise AgentError(f"{shadow.path} is being read by another process: try again", "lock")
        shadow.document.update(follow=False, stopped="no longer followed; what writes its log goes on")
        for entry in shadow.document["runs"]:
            if entry["status"] not in ENDED:
                shadow.show(entry, "stopped", shadow.document["stopped"])
        shadow.save()


class Followed:
    """The logs under a base directory that are followed, each looked at in turn."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._known: dict[str, tuple[int, Shadow | None]] = {}  # None: one that is not followed
        self._listed: tuple[int, float] = (0, 0.0)
        self._next: dict[str, float] = {}
        self._beat = 0.0

    def pass_over(self, now: float) -> Iterator[Json]:
        """Reads on what has grown; a frame for each log that cannot be read, once."""
        self._list(now)
        for import_id, (_, shadow) in list(self._known.items()):
            if shadow is None or now < self._next.get(import_id, 0.0):
                continue
            try:
                self._look(shadow, now)
            except (OSError, AgentError, ValueError) as error:
                self._next[import_id] = now + QUIET_LOOK
                for entry in shadow.document["runs"][-1:]:
                    why = _line(shadow.path, error)
                    yield {"type": "problem", "run_id": entry["run_id"], "error": why, "damaged": False}

    def _list(self, now: float) -> None:
        """Learns of new imports and of those that another process has changed."""
        try:
            changed = os.stat(str(self.base / FOLDER)).st_mtime_ns
        except OSError:
            self._known.clear()
            return
        if changed == self._listed[0] and now - self._listed[1] < RELIST:
            return
        self._listed = (changed, now)
        found: dict[str, tuple[int, Shadow | None]] = {}
        for import_id in ids(self.base):
            with contextlib.suppress(OSError):
                stamp = os.stat(str(self.base / FOLDER / f"{import_id}.json")).st_mtime_ns
                known = self._known.get(import_id)
                if known is not None and known[0] == stamp:
                    found[import_id] = known
                    continue
                shadow = Shadow.of(self.base, import_id)
                goes_on = shadow is not None and (shadow.follows or shadow.document.get("reading"))
                found[import_id] = (stamp, shadow if goes_on else None)
        self._known = found

    def _look(self, shadow: Shadow, now: float) -> None:
        """Reads on one log where it has changed since."""
        document = shadow.document
        if shadow.source().signature() != document.get("seen"):
            with shadow.lock(0.0) as held:
                if held and (shadow.follows or shadow.document.get("reading")):
                    shadow.read_on(PASS, final=not shadow.follows)
            return
        ended = all(entry["status"] in ENDED for entry in document["runs"])
        silent = time.time() - document["seen"][2] / 1e9 if document["seen"] else 0.0
        if ended or silent > QUIET:
            self._next[shadow.id] = now + ENDED_LOOK
        if silent > GIVEN_UP or (ended and document["kind"] == "wandb"):
            with shadow.lock(0.0) as held:
                if held:
                    shadow.document["follow"] = False
                    shadow.save()
        elif silent > QUIET and not ended and not document.get("quiet") and not _is_written(shadow.path):
            self._lose(shadow, silent)

    def _lose(self, shadow: Shadow, silent: float) -> None:
        """A log that does not grow any more, and that no process of this machine holds open to write."""
        with shadow.lock(0.0) as held:
            if not held or shadow.source().signature() != shadow.document.get("seen"):
                return
            for entry in shadow.document["runs"]:
                if entry["status"] not in ENDED:
                    why = f"its log has not grown for {silent / 60:.0f} min"
                    shadow.show(entry, "lost", why)
            shadow.document["quiet"] = True
            shadow.save()


def _is_written(path: Path) -> bool:
    """Whether a process of this machine, as far as we may look, holds the file open for writing."""
    try:
        pids = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return False
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            for name in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{name}") != str(path):
                    continue
                with open(f"/proc/{pid}/fdinfo/{name}", encoding="ascii") as file:
                    flags = next(line for line in file if line.startswith("flags:"))
                if int(flags.split()[1], 8) & os.O_ACCMODE:
                    return True
    return False
