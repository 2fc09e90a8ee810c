"""A run directory, or several, that shadow a log of another program: what is new there is written here.

`BASE/imports/ID.json` says which log it is, how far it was read, and which runs came of it. Events are
written first, then that document: when a process dies in between, the same bytes are read again, and as many
events are passed over as are there already.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator

from .. import machine
from ..files import AgentError, fsync_dir, open_bytes, open_regular, read_json, write_all, write_json
from ..locks import is_shared, lock_file
from ..logs import whole_size
from ..rundirs import ENDED, PRIVATE, SCHEMA, SHARED_FOLDER, Runs
from .console import EVALUATIONS
from .known import HEAD, head_of, ids, usable
from .origin import FOLDER
from .rows import End, Row, Sink, Start
from .sources import ENDLESS, KINDS, Source

if TYPE_CHECKING:
    Json = dict[str, Any]

TELLING = 2_048
"""Bytes that must be the same before two files count as one log for their content alone."""
MOST_RUNS = 500
PATIENCE = 30.0
_ID = 12


class Shadow:
    """One imported log. `document` is what is kept of it; change it under `lock` only."""

    def __init__(self, base: Path, document: Json) -> None:
        self.base = base
        self.document = document
        self.runs = Runs(base)
        self.path = Path(document["path"])
        self._skip: dict[str, int] = {}

    # -- finding and making

    @classmethod
    def of(cls, base: Path, import_id: str) -> Shadow | None:
        """The import of that id, None where its document is missing or cannot be used."""
        document = read_json(base / FOLDER / f"{import_id}.json")
        return cls(base, document) if document is not None and usable(document) else None

    @classmethod
    def all(cls, base: Path) -> Iterator[Shadow]:
        """Every import, oldest first."""
        for import_id in ids(base):
            found = cls.of(base, import_id)
            if found is not None:
                yield found

    @classmethod
    def find(cls, base: Path, path: Path, kind: str) -> Shadow | None:
        """The import of this log: the same file, a copy that replaced it, or the same content elsewhere."""
        stat = os.stat(str(path))
        moved = None
        heads: dict[int, list[Any]] = {}
        for shadow in cls.all(base):
            known = shadow.document
            if known["kind"] != kind or not shadow.is_whole():
                continue
            same_file = (known["dev"], known["ino"]) == (stat.st_dev, stat.st_ino)
            if path.is_dir() or kind == "base":
                if same_file or known["path"] == str(path):
                    return shadow
                continue
            length = known["head"][0]
            if not (same_file or known["path"] == str(path) or length >= TELLING):
                continue
            if length not in heads:
                heads[length] = head_of(path, length)
            if heads[length] == known["head"]:
                if same_file or known["path"] == str(path):
                    return shadow
                moved = moved or shadow
        return moved

    @classmethod
    def make(cls, base: Path, path: Path, kind: str, follow: bool) -> Shadow:
        """A new import, of which nothing has been read or written yet."""
        stat = os.stat(str(path))
        head = [0, ""] if path.is_dir() else head_of(path, HEAD)
        return cls(
            base,
            {
                "schema": SCHEMA,
                "id": secrets.token_hex(_ID // 2),
                "kind": kind,
                "path": str(path),
                "dev": stat.st_dev,
                "ino": stat.st_ino,
                "head": head,
                "follow": follow,
                "reading": True,
                "seen": [],
                "memory": {},
                "runs": [],
                "made_at": time.time(),
            },
        )

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def follows(self) -> bool:
        return self.document.get("follow") is True

    def run_ids(self) -> list[str]:
        return [entry["run_id"] for entry in self.document["runs"]]

    def is_whole(self) -> bool:
        """False where somebody has deleted its runs: then it counts as never imported."""
        runs = self.run_ids()
        return not runs or any((self.runs.path / run_id / "run.json").exists() for run_id in runs)

    # -- its document

    @contextlib.contextmanager
    def lock(self, patience: float = PATIENCE) -> Iterator[bool]:
        """Held while the log is read on; False when another has it. The document is read anew inside."""
        folder = self.base / FOLDER
        folder.mkdir(mode=PRIVATE, exist_ok=True)
        descriptor = lock_file(folder / f".{self.id}.lock", patience, is_shared(self.runs.path))
        if descriptor is None:
            yield False
            return
        try:
            newer = read_json(folder / f"{self.id}.json")
            if newer is not None and usable(newer):
                self.document = newer
            yield True
        finally:
            os.close(descriptor)

    def save(self) -> None:
        """Replaces the document. Raises OSError."""
        write_json(self.base / FOLDER / f"{self.id}.json", self.document)

    def forget(self) -> None:
        """Takes back an import of which nothing may stay."""
        for run_id in self.run_ids():
            shutil.rmtree(str(self.runs.path / run_id), ignore_errors=True)
        for name in (f"{self.id}.json", f".{self.id}.lock"):
            with contextlib.suppress(OSError):
                os.unlink(str(self.base / FOLDER / name))

    # -- reading on

    def source(self) -> Source:
        return Source(self.document["kind"], self.path, self.document["memory"])

    def read_on(self, seconds: float, final: bool = False) -> bool:
        """Takes over what is new, for about so long; whether there is more. Under `lock`. Raises OSError.

        `final` says that what is there is all for now: what waits for a next line is taken in too.
        """
        until = time.monotonic() + seconds
        source = self.source()
        source.final = final
        seen = source.signature()
        self._skip = {entry["run_id"]: self._excess(entry) for entry in self.document["runs"]}
        more = True
        while more:
            sink = Sink()
            more = source.read(sink)
            self._take(sink)
            if more and time.monotonic() >= until:
                self.save()
                return True
        told = ""
        if final:
            sink = Sink()
            told = source.how_far(sink)
            self._take(sink)
        self.document.update(seen=seen, reading=False, problem=source.problem)
        if final:
            self.document["far"] = told
        self._settle()
        self.save()
        return False

    def _excess(self, entry: Json) -> int:
        """Events that are in a run's log beyond what the document knows of; a torn line is cut off."""
        path = self.runs.path / entry["run_id"] / "events.jsonl"
        size = whole_size(path)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(str(path)).st_size > size:
                os.truncate(str(path), size)
        if size <= entry["size"]:
            return 0
        with open_bytes(path) as file:
            file.seek(entry["size"])
            return file.read().count(b"\n")

    def _take(self, sink: Sink) -> None:
        """Writes what a reader found, each run's events at once."""
        lines: dict[int, list[str]] = {}
        runs = self.document["runs"]
        numbers = [entry["seq"] for entry in runs]
        for item in sink.found:
            if isinstance(item, Row):
                run, kind, step, t, data = item
                at = "" if step is None else f'"step":{step},'
                line = f'{{"seq":{numbers[run]},"t":{t:.3f},"kind":"{kind}",{at}"data":{data}}}\n'
                lines.setdefault(run, []).append(line)
                numbers[run] += 1
                if kind == "stage_start":
                    entry = runs[run]
                    attempts = entry["attempts"] + 1
                    entry.update(status="running", reason="", attempts=attempts, started=t)
                runs[run]["t"] = t
            elif isinstance(item, Start):
                self._begin(item)
                numbers += [0] * (len(runs) - len(numbers))
            elif isinstance(item, End):
                runs[item.run].update(status=item.status, reason=item.reason)
        for number, texts in lines.items():
            runs[number]["seq"] = numbers[number]
            self._append(runs[number], texts)

    def _append(self, entry: Json, texts: list[str]) -> None:
        run_id = entry["run_id"]
        there = min(self._skip.get(run_id, 0), len(texts))
        if there:
            self._skip[run_id] -= there
        raw = "".join(texts[there:]).encode()
        path = self.runs.path / run_id / "events.jsonl"
        if not path.parent.is_dir():  # deleted by somebody: the rest of the log goes on without it
            return
        descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            before = os.fstat(descriptor).st_size
            try:
                write_all(descriptor, raw)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
            entry["size"] = before + len(raw)
        finally:
            os.close(descriptor)

    # -- the run directories

    def _begin(self, start: Start) -> None:
        """Makes the run directory of a run that begins, unless it was made before we were broken off."""
        runs = self.document["runs"]
        if start.run < len(runs):
            return
        if len(runs) >= MOST_RUNS:
            raise AgentError(f"{self.path} holds more than {MOST_RUNS} runs", "import")
        t = start.t or time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(t))
        mark = hashlib.sha256(f"{self.id} {start.run}".encode()).hexdigest()[:4]
        entry = {
            "run_id": f"{stamp}-{start.stage}-{mark}",
            "stage": start.stage,
            "seq": 0,
            "size": 0,
            "t": t,
            "began": t,
            "attempts": 0,
            "status": "running",
            "reason": "",
        }
        runs.append(entry)
        self._make_directory(entry, start)

    def _make_directory(self, entry: Json, start: Start) -> None:
        self.runs.make()
        final = self.runs.path / entry["run_id"]
        draft = self.runs.path / f".new-{final.name}"
        if final.exists():
            there = read_json(final / "run.json") or {}
            if (there.get("import") or {}).get("id") != self.id:
                raise AgentError(f"a run is already called {final.name}", "conflict")
            self._skip[entry["run_id"]] = self._excess(entry)  # we were broken off after it was made
            return
        shutil.rmtree(str(draft), ignore_errors=True)
        os.mkdir(str(draft), PRIVATE)
        try:
            if is_shared(self.runs.path):
                os.chmod(str(draft), SHARED_FOLDER)
            write_json(draft / "run.json", self._run_document(entry, start))
            write_json(draft / "state.json", self._state(entry, "running", ""))
            os.rename(str(draft), str(final))
        except BaseException:
            shutil.rmtree(str(draft), ignore_errors=True)
            raise
        fsync_dir(self.runs.path)

    def _run_document(self, entry: Json, start: Start) -> Json:
        count = sum(1 for other in self.document["runs"] if other["stage"] == entry["stage"])
        stem = start.name or (self.path.name if self.path.is_dir() else self.path.stem)
        if stem == "wandb-history":  # of W&B's own folder: `run-…-ID/files/wandb-history.jsonl`
            stem = self.path.parents[1].name or stem
        return {
            "schema": SCHEMA,
            "run_id": entry["run_id"],
            "name": stem[:120] + (f" #{count}" if count > 1 and not start.name else ""),
            "stage": start.stage,
            "options": start.options,
            "argv": [],
            "code": {},
            "host": os.uname().nodename,
            "env": [],
            "created_at": entry["began"],
            "plan": None,
            "cwd": str(self.path.parent),
            "import": {"id": self.id, "kind": KINDS[self.document["kind"]], "path": str(self.path)},
        }

    def _state(self, entry: Json, status: str, reason: str) -> Json:
        ended = status in ENDED
        return {
            "schema": SCHEMA,
            "run_id": entry["run_id"],
            "status": status,
            "attempt": max(1, entry["attempts"]),
            "pid": None,
            "pid_start": None,
            "heartbeat": time.time(),
            "started_at": entry.get("started", entry["began"]),  # as of our runs: the newest attempt's
            "ended_at": max(entry["t"], entry["began"]) if ended else None,
            "exit_code": None,
            "signal": None,
            "reason": reason,
            "supervisor": None,
            "events_offset": 0,
            **machine.identity(),
        }

    def _settle(self) -> None:
        """Writes how each run stands: as its log says, else running while the log is followed."""
        last = len(self.document["runs"]) - 1
        for number, entry in enumerate(self.document["runs"]):
            status, reason = entry["status"], entry["reason"]
            if status not in ENDED and not (self.follows and number == last):
                far = self.document.get("far") or ""
                status, reason = "lost", self.document.get("stopped") or far
                if entry["stage"] in EVALUATIONS:
                    status, reason = "succeeded", ""
                elif self.document["kind"] in ENDLESS:
                    status, reason = "succeeded", f"{far}; how it ended is not told there"
            told = self.document.get("problem") or ""
            if told and number == last:
                reason = f"{reason}; {told}" if reason else told
                status = "lost" if status == "running" else status
            self.show(entry, status, reason)

    def show(self, entry: Json, status: str, reason: str) -> None:
        """Writes a run's state where it is another than before."""
        told = [status, reason, entry["attempts"], entry["t"] if status in ENDED else 0]
        folder = self.runs.path / entry["run_id"]
        if entry.get("shown") != told and folder.is_dir():
            write_json(folder / "state.json", self._state(entry, status, reason))
            entry["shown"] = told
