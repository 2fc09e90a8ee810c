"""What a stage is doing that must not be broken off, for whoever stops it: `activity.json` of its run.

The agent reads it before it kills a stage that does not end (remote/agent/stop_signals.py); the launcher of
several processes reads a file of its own with the same content. It has a fixed size and is overwritten in
place, so that a full disk takes every change of it.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ACTIVITY = "activity.json"
SIZE = 256
"""Bytes of the file: JSON padded with spaces. One write of them is never seen half done."""
SAVING = "saving"
"""A checkpoint is being written: never killed."""
EVALUATING = "evaluating"
"""Several processes evaluate or sample together and can only stop afterwards: they get more time."""
LAUNCHER_FILE = "NANOCHAT_LAUNCHER_ACTIVITY"
"""The environment variable that names the launcher's file."""


class Activity:
    """Says in `files` what this process does.

    No failure of a file is an error: it is a report about the work.
    """

    def __init__(self, *files: Path) -> None:
        self._lock = threading.Lock()
        self._doing: list[str] = []
        self._descriptors: list[int] = []
        for path in files:
            with contextlib.suppress(OSError):
                self._descriptors.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
        self._write()

    @property
    def saving(self) -> bool:
        """Whether a checkpoint is being written now."""
        return SAVING in self._doing

    @contextlib.contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Says `what` for as long as the block runs; of several at once, saving counts."""
        with self._lock:
            self._doing.append(what)
            self._write()
        try:
            yield
        finally:
            with self._lock:
                self._doing.remove(what)
                self._write()

    def evaluating(self, processes: int) -> contextlib.AbstractContextManager[None]:
        """Says that several processes evaluate together; of one nothing is said, as it can stop at once."""
        return self.during(EVALUATING) if processes > 1 else contextlib.nullcontext()

    def _write(self) -> None:
        doing = SAVING if self.saving else self._doing[-1] if self._doing else ""
        content = json.dumps({"doing": doing, "pid": os.getpid(), "since": round(time.time(), 3)})
        for descriptor in self._descriptors:
            with contextlib.suppress(OSError):
                os.pwrite(descriptor, content.encode().ljust(SIZE - 1) + b"\n", 0)

    def close(self) -> None:
        with self._lock:
            while self._descriptors and not self._doing:  # a background save may outlive the stage's end
                with contextlib.suppress(OSError):
                    os.close(self._descriptors.pop())
