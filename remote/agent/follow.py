"""`follow`: one stream of everything that is new in the run directories, whole lines only, from any byte.

Frames are JSON objects, one a line:

- `state`: a run's run.json, judged state.json and file sizes, at first sight and on every change;
- `chunk`: whole lines of one file: `offset`, `next` (where the following chunk begins) and `data`;
- `skip`: a line longer than a chunk, passed over from `offset` to `next`;
- `reset`: a file that is shorter than what was read of it (`offset`): it is read again from 0;
- `problem`: `run_id` and `error`, once, for a run that nobody watches and that cannot be taken over, and
  for one whose documents cannot be used (`damaged`);
- `ping`: every two seconds.

While it follows it also samples telemetry for stages run directly, which nobody else does.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from . import recovery
from .files import AgentError, open_bytes
from .imports.origin import has_imports
from .rundirs import ENDED, STREAMS, RunDir, Runs
from .telemetry.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .answers import Answers
    from .imports.command import Followed

    Json = dict[str, Any]

CHUNK = 256 * 1024
PING = 2.0
MAINTENANCE_SECONDS = 2.0
RESCAN = 2.0
ENDED_STATE = 2.0
ENDED_FILES = 20.0


class Track:
    """What has been sent of one run."""

    def __init__(self, directory: RunDir, offsets: Json) -> None:
        self.directory = directory
        self.offsets = {name: max(0, int(offsets.get(name, 0))) for name in STREAMS}
        self.scanned = dict(self.offsets)
        self.signature: tuple[int, int, int] | None = None
        self.run: Json | None = None
        self.state: Json | None = None
        self.shown: Json | None = None
        self.reported = ""
        self._state_path = str(directory.path / "state.json")
        self._next_look = 0.0
        self._next_read = 0.0

    @property
    def ended(self) -> bool:
        return self.state is not None and self.state.get("status") in ENDED

    def mark_idle(self, now: float) -> None:
        """All of an ended run has been sent: from now on only a look at its state now and then."""
        self._next_look = now + ENDED_STATE
        self._next_read = now + ENDED_FILES

    def is_due(self, now: float) -> bool:
        """True when the run may have something new. For one at rest this costs one stat in two seconds."""
        if now < self._next_look:
            return False
        if now < self._next_read and self._signature() == self.signature:
            self._next_look = now + ENDED_STATE
            return False
        return True

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            stat = os.stat(self._state_path)
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def refresh(self) -> bool:
        """Reads the state again when its file was replaced; False while the run is not whole yet."""
        signature = self._signature()
        if signature is not None and (signature != self.signature or self.run is None or self.state is None):
            self.state = self.directory.read_state()
            if self.run is None:
                self.run = self.directory.read_run()
            self.signature = signature
        return self.run is not None and self.state is not None

    def fault(self) -> str:
        """What is newly wrong with the run's documents, to be reported once; "" when nothing is."""
        fault = self.directory.fault() if self.directory.settled() else ""
        before, self.reported = self.reported, fault
        self.shown = None
        self._next_look = time.monotonic() + ENDED_STATE
        return "" if fault == before else fault


class Follower:
    """The runs under one base directory, as a stream of frames."""

    def __init__(self, runs: Runs, offsets: Json) -> None:
        self.runs = runs
        self.offsets = offsets
        self.tracks: dict[str, Track] = {}
        self._listed: int | None = None
        self._next_maintenance = 0.0
        self._next_ping = 0.0
        self._problems: dict[str, str] = {}
        self._samplers: dict[str, Sampler] = {}
        self._followed: Followed | None = None

    def pass_over(self, now: float) -> Iterator[Json]:
        """Everything that is new, each run in turn, one chunk of each file at a time until all are read."""
        yield from self._imports(now)
        self._list()
        tracks = [track for _, track in sorted(self.tracks.items()) if track.is_due(now)]
        yield from self._maintenance(now, tracks)
        for track in tracks:
            yield from self._alone(track, self._state(track))
        pending = [track for track in tracks if track.run is not None]
        while pending:
            still = []
            for track in pending:
                busy = False
                for name in STREAMS:
                    for frame in self._alone(track, self._read(track, name)):
                        busy = frame["type"] != "problem"
                        yield frame
                if busy:
                    still.append(track)
                elif track.ended:
                    track.mark_idle(now)
                yield from self.ping(time.monotonic())
            pending = still
        yield from self.ping(time.monotonic())

    def _imports(self, now: float) -> Iterator[Json]:
        """Reads on the logs of other programs that are followed; most hosts have none."""
        if self._followed is None and has_imports(self.runs.base):
            from .imports.command import Followed

            self._followed = Followed(self.runs.base)
        if self._followed is not None:
            yield from self._followed.pass_over(now)

    def ping(self, now: float) -> Iterator[Json]:
        """A sign of life when one is due."""
        if now >= self._next_ping:
            self._next_ping = now + PING
            yield {"type": "ping", "t": time.time()}

    def _list(self) -> None:
        """Looks for new run directories when their folder changed (or just has: its clock is coarse)."""
        try:
            changed = os.stat(self.runs.path).st_mtime_ns
        except OSError:
            return
        if changed == self._listed and time.time() - changed / 1e9 > RESCAN:
            return
        self._listed = changed
        names = self.runs.ids()
        for run_id in names:
            if run_id not in self.tracks:
                wanted = self.offsets.get(run_id)
                self.tracks[run_id] = Track(self.runs.get(run_id), wanted if isinstance(wanted, dict) else {})
        for gone in set(self.tracks) - set(names):
            del self.tracks[gone]

    def _maintenance(self, now: float, tracks: list[Track]) -> Iterator[Json]:
        """Takes over runs whose supervisor has died, and tends the samplers of stages run directly."""
        if now < self._next_maintenance:
            return
        first_look = self._next_maintenance == 0.0
        self._next_maintenance = now + MAINTENANCE_SECONDS
        orphans, unsupervised = [], []
        for track in tracks:
            try:
                if not track.refresh() or track.run is None or track.state is None:
                    continue
                if recovery.is_orphan(track.directory, track.run, track.state):
                    orphans.append(track.directory.run_id)
                elif recovery.is_unsupervised(track.directory, track.run, track.state):
                    unsupervised.append(track.directory)
            except Exception:  # that run's alone; where its documents are at fault, its state says so
                continue
        if not first_look:  # one glance (`runs ls`) starts nothing
            self._sample(unsupervised, now)
        problems = recovery.recover(self.runs, orphans)
        for run_id, why in problems.items():
            if self._problems.get(run_id) != why:
                yield {"type": "problem", "run_id": run_id, "error": why}
        self._problems = problems

    def _sample(self, unsupervised: list[RunDir], now: float) -> None:
        """One sampler for each of these runs. Of two followers one gets the file, the other waits for it."""
        wanted = {directory.run_id: directory for directory in unsupervised}
        for over in set(self._samplers) - set(wanted):
            self._samplers.pop(over).end()
        for run_id, directory in wanted.items():
            if run_id not in self._samplers:
                self._samplers[run_id] = Sampler(directory.path, _nobody, subprocess.DEVNULL)
            self._samplers[run_id].maintain(now)

    def close(self) -> None:
        """Ends the samplers."""
        self._sample([], 0.0)

    def _state(self, track: Track) -> Iterator[Json]:
        run_id = track.directory.run_id
        if not track.refresh() or track.run is None or track.state is None:
            fault = track.fault()
            if fault:
                yield {"type": "problem", "run_id": run_id, "error": fault, "damaged": True}
            return
        track.reported = ""
        seen = recovery.displayed_state(track.directory, track.run, track.state)
        if seen != track.shown:
            track.shown = seen
            here = recovery.is_local(track.directory, track.run, track.state)
            frame = {"type": "state", "run_id": run_id, "here": here, "run": track.run, "state": seen}
            yield dict(frame, sizes=track.directory.sizes())

    def _alone(self, track: Track, frames: Iterator[Json]) -> Iterator[Json]:
        """`frames` of one run; an error that nobody foresaw is that run's problem, reported once."""
        try:
            yield from frames
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            if track.reported != why:
                track.reported = why
                yield {"type": "problem", "run_id": track.directory.run_id, "error": why, "damaged": False}

    def _read(self, track: Track, name: str) -> Iterator[Json]:
        """At most one frame of one file."""
        path = track.directory.path / name
        offset = track.offsets[name]
        frame: Json = {"run_id": track.directory.run_id, "file": name, "offset": offset}
        try:
            size = os.stat(path).st_size
            if size == offset:
                return
            if size < offset:
                track.offsets[name] = track.scanned[name] = 0
                yield dict(frame, type="reset", size=size)
                return
            with open_bytes(path) as file:
                file.seek(offset)
                raw = file.read(CHUNK)
        except OSError:
            return
        end = raw.rfind(b"\n") + 1
        if end:
            track.offsets[name] = track.scanned[name] = offset + end
            text = raw[:end].decode("utf-8", "replace")
            yield dict(frame, type="chunk", next=offset + end, data=text)
        elif len(raw) == CHUNK:
            yield from self._skip(track, name, frame)

    def _skip(self, track: Track, name: str, frame: Json) -> Iterator[Json]:
        """Passes over a line too long for a chunk, once its newline is there."""
        start = max(track.scanned[name], frame["offset"] + CHUNK)
        with open_bytes(track.directory.path / name) as file:
            file.seek(start)
            while True:
                raw = file.read(CHUNK)
                cut = raw.find(b"\n")
                if cut >= 0 or not raw:
                    break
                start += len(raw)
        track.scanned[name] = start
        if cut >= 0:
            track.offsets[name] = track.scanned[name] = start + cut + 1
            yield dict(frame, type="skip", next=start + cut + 1)


def follow(base: Path, source: TextIO, answers: Answers) -> int:
    """Streams frames to `answers` until `source` closes; its first line is the request.

    `{"offsets": {run_id: {file: byte}}, "interval": seconds}`, both optional.
    """
    descriptor = source.fileno()
    offsets, interval = _request(_first_line(descriptor))
    follower = Follower(Runs(base), offsets)
    try:
        while True:
            for frame in follower.pass_over(time.monotonic()):
                answers.write(frame)
            answers.flush()
            if _closed(descriptor, interval):
                return 0
    except BrokenPipeError:
        # nobody reads any more; without this the interpreter would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        follower.close()


def _nobody(line: str) -> None:
    """A stage run directly has no supervisor's log; trouble with the GPUs is in the samples."""


def _first_line(descriptor: int) -> bytes:
    raw = b""
    while b"\n" not in raw:
        part = os.read(descriptor, 65536)
        if not part:
            break
        raw += part
    return raw.partition(b"\n")[0]


def _request(line: bytes) -> tuple[Json, float]:
    try:
        content = json.loads(line or b"{}")
        offsets = content.get("offsets") or {}
        interval = float(content.get("interval", 0.5))
        for wanted in offsets.values():
            for value in wanted.values():
                if not 0 <= int(value) < 1 << 62:
                    raise ValueError("an offset is out of range")
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise AgentError(
            f"follow needs one line of JSON with 'offsets' and 'interval': {error}", "usage"
        ) from error
    return offsets, min(max(interval, 0.05), 60.0)


def _closed(descriptor: int, wait: float) -> bool:
    """Waits; True as soon as the other side has closed our input."""
    deadline = time.monotonic() + wait
    while True:
        left = deadline - time.monotonic()
        ready, _, _ = select.select([descriptor], [], [], max(0.0, left))
        if not ready:
            return False
        if not os.read(descriptor, 65536):
            return True
