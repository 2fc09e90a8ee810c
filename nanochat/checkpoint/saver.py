"""Asynchronous saving: a thread writes a copy of the tensors while training continues, on every rank.

Every rank writes its own files into the same folder; rank 0 adds the metadata and commits the folder.
A retention policy may then delete older checkpoints of the run.
"""

import copy
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nanochat.checkpoint.files import Checkpoint, Writer, list_checkpoints, newest_complete, save_checkpoint
from nanochat.common.errors import UserError
from nanochat.compute.ranks import Ranks

Files = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class RetentionPolicy:
    """Which checkpoints of a run are kept: all (`last` < 1), or the last `last`, and with `best` also the one
    with the lowest validation bits per byte."""

    last: int = -1
    best: bool = False


class Saver:
    """Writes the checkpoints of one tag, one at a time, in the background or at once.

    With more than one of `ranks` every process calls each method at the same point.
    """

    def __init__(self, tag: Path, ranks: Ranks, retention: RetentionPolicy, run_id: str) -> None:
        self.tag, self.ranks, self.retention, self.run_id = tag, ranks, retention, run_id
        self._writer = Writer(ranks.rank, ranks.world, ranks.broadcast(os.getpid()))
        self._thread: threading.Thread | None = None
        self._outcome: Checkpoint | UserError | None = None

    def save_async(self, step: int, files: Files, meta: Mapping[str, Any]) -> None:
        """Copies `files` and `meta` to host memory and writes them in the background.

        Waits first for an earlier save that is still running.
        """
        self._join()
        meta = copy.deepcopy(dict(meta))  # the caller goes on changing it while the thread writes
        copies = {
            name: {key: tensor.detach().to("cpu", copy=True) for key, tensor in tensors.items()}
            for name, tensors in files.items()
        }

        def write() -> None:
            try:
                self._outcome = self._save(step, copies, meta)
            except UserError as error:
                self._outcome = error
            except Exception as error:  # reported by `poll`, not lost with the thread
                what = f"cannot save the checkpoint of step {step}: {type(error).__name__}: {error}"
                self._outcome = UserError(what)

        self._thread = threading.Thread(target=write, name="checkpoint", daemon=False)
        self._thread.start()

    def poll(self, wait: bool = False) -> Checkpoint | UserError | None:
        """The outcome of the last background save, once: the checkpoint, or the error; None while it runs."""
        if wait:
            self._join()
        if self._thread is not None and self._thread.is_alive():
            return None
        outcome, self._outcome = self._outcome, None
        return outcome

    def save(self, step: int, files: Files, meta: Mapping[str, Any]) -> Checkpoint:
        """Writes a checkpoint and waits for it. Raises `UserError` when it cannot be written."""
        self._join()
        return self._save(step, files, meta)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _save(self, step: int, files: Files, meta: Mapping[str, Any]) -> Checkpoint:
        saved = save_checkpoint(self.tag, step, files, meta, self._writer)
        if self.ranks.is_main and self.retention.last > 0:
            prune(self.tag, self.run_id, self.retention)
        return saved


def prune(tag: Path, run_id: str, retention: RetentionPolicy) -> list[Path]:
    """Deletes the run's checkpoints that `retention` does not keep; returns their folders.

    A folder is renamed before it is deleted, so that a kill in between leaves no partial checkpoint.
    """
    own = [c for c in list_checkpoints(tag) if not c.is_upstream and c.meta.get("run_id") == run_id]
    kept = {c.path for c in own[-retention.last :]}
    if (complete := newest_complete(tag, run_id)) is not None:
        kept.add(complete.path)
    rated = [c for c in own if isinstance(c.meta.get("val_bpb"), float)]
    if retention.best and rated:
        kept.add(min(rated, key=lambda c: c.meta["val_bpb"]).path)
    deleted = [c.path for c in own if c.path not in kept]
    for path in deleted:
        hidden = path.with_name(f".{path.name}.doomed")
        shutil.rmtree(hidden, ignore_errors=True)
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
    return deleted
