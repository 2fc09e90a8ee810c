"""Submissions whose answer has not come, kept on disk: the same asked for again starts nothing twice.

A host that did not answer may have started the runs all the same. Whoever asks for the same within an hour,
in this process or another (`nanochat --no-tui PLAN` given again), sends the same document, which the agent
knows by its run ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path

from nanochat.common import fields
from nanochat.common.errors import UserError
from nanochat.common.paths import atomic_write, make_dir
from remote.fleet.submission import Submission

PATIENCE = 3600.0
"""Seconds after which the same asked for again is another wish."""
_MOST_BYTES = 8 << 20
_TRIES = 5  # of one note


class Unanswered:
    """The notes in `folder`, one for each host and fingerprint of a submission. They hold no secrets.

    The folder is there only while it holds any.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def earlier(self, host: str, fingerprint: str) -> Submission | None:
        """What was sent to `host` for the same and not answered, its environment left out."""
        try:
            with self._path(host, fingerprint).open("rb") as file:
                note = fields.json_object(file.read(_MOST_BYTES).decode("utf-8", "replace")) or {}
        except OSError:
            return None
        t, document, run_ids = fields.moment(note.get("t")), note.get("document"), note.get("run_ids")
        if t is None or not 0 <= time.time() - t < PATIENCE or not isinstance(document, dict):
            return None
        return Submission(tuple(run_ids), document) if isinstance(run_ids, list) else None

    def note(self, host: str, fingerprint: str, asked: Submission) -> None:
        """Keeps what is about to be sent. Raises `UserError` when the disk does not take it."""
        document = {**asked.document, "env": {}}  # its values are secrets
        text = json.dumps({"t": time.time(), "run_ids": asked.run_ids, "document": document})
        for left in reversed(range(_TRIES)):
            make_dir(self._folder)
            self._sweep()
            try:
                atomic_write(self._path(host, fingerprint), text, mode=0o600)
                return
            except UserError:
                # Another process, whose last note was answered, may have taken the folder away just now.
                if not left or self._folder.is_dir():
                    raise

    def forget(self, host: str, fingerprint: str, asked: Submission) -> None:
        """Takes the note of `asked` away: it has been answered."""
        kept = self.earlier(host, fingerprint)
        if kept is None or kept.run_ids == asked.run_ids:
            with contextlib.suppress(OSError):
                self._path(host, fingerprint).unlink()
        with contextlib.suppress(OSError):  # it holds others
            self._folder.rmdir()

    def _path(self, host: str, fingerprint: str) -> Path:
        name = hashlib.sha256(json.dumps([host, fingerprint]).encode()).hexdigest()[:32]
        return self._folder / f"{name}.json"

    def _sweep(self) -> None:
        with contextlib.suppress(OSError):
            for path in self._folder.glob("*.json"):
                if time.time() - path.stat().st_mtime > PATIENCE:
                    path.unlink()
