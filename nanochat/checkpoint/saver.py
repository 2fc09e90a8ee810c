"""Saving while training goes on: a copy of the tensors is written by a thread, over all ranks.

Every rank writes its own files into the same folder; rank 0 puts the record of all of them beside and
moves the folder into its place. Older checkpoints of the run may then be deleted by a rule.
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

from nanochat.checkpoint.files import Checkpoint, Part, list_checkpoints, newest_whole, save_checkpoint
from nanochat.common.errors import UserError
from nanochat.compute.ranks import Ranks

Files = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Keep:
    """Which checkpoints of a run stay: all, or the last `last` and, if asked for, the best on validation."""

    last: int = -1
    best: bool = False


class Saver:
    """Writes the checkpoints of one tag, one at a time, in the background or at once.

    With more than one of `ranks` every process calls each method at the same point.
    """

    def __init__(self, tag: Path, ranks: Ranks, keep: Keep, run_id: str) -> None:
        self.tag, self.ranks, self.keep, self.run_id = tag, ranks, keep, run_id
        self._part = Part(ranks.rank, ranks.world, ranks.share(os.getpid()))
        self._thread: threading.Thread | None = None
        self._outcome: Checkpoint | UserError | None = None

    def begin(self, step: int, files: Files, meta: Mapping[str, Any]) -> None:
        """Copies `files` to host memory, `meta` too, and writes both in the background, when no other save is
        under way (waits for it): training may go on at once."""
        self._join()
        meta = copy.deepcopy(dict(meta))  # else it would be written as it is some steps later
        copies = {
            name: {key: tensor.detach().to("cpu", copy=True) for key, tensor in tensors.items()}
            for name, tensors in files.items()
        }

        def work() -> None:
            try:
                self._outcome = self._save(step, copies, meta)
            except UserError as error:
                self._outcome = error
            except Exception as error:  # whatever it is must be told, not lost with the thread
                what = f"cannot save the checkpoint of step {step}: {type(error).__name__}: {error}"
                self._outcome = UserError(what)

        self._thread = threading.Thread(target=work, name="checkpoint", daemon=False)
        self._thread.start()

    def take(self, wait: bool = False) -> Checkpoint | UserError | None:
        """What became of the last save, once: the checkpoint, or why there is none; None while it goes on."""
        if wait:
            self._join()
        if self._thread is not None and self._thread.is_alive():
            return None
        outcome, self._outcome = self._outcome, None
        return outcome

    def now(self, step: int, files: Files, meta: Mapping[str, Any]) -> Checkpoint:
        """Writes a checkpoint and returns it. Raises `UserError` when it cannot be written."""
        self._join()
        return self._save(step, files, meta)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _save(self, step: int, files: Files, meta: Mapping[str, Any]) -> Checkpoint:
        saved = save_checkpoint(self.tag, step, files, meta, self._part)
        if self.ranks.is_main and self.keep.last > 0:
            prune(self.tag, self.run_id, self.keep)
        return saved


def prune(tag: Path, run_id: str, keep: Keep) -> list[Path]:
    """Deletes the run's checkpoints that `keep` does not name; returns their folders.

    A folder is renamed before it is deleted, so that a kill in between leaves no half checkpoint.
    """
    own = [c for c in list_checkpoints(tag) if not c.is_reference and c.meta.get("run_id") == run_id]
    kept = {c.path for c in own[-keep.last :]}
    if (whole := newest_whole(tag, run_id)) is not None:
        kept.add(whole.path)
    rated = [c for c in own if isinstance(c.meta.get("val_bpb"), float)]
    if keep.best and rated:
        kept.add(min(rated, key=lambda c: c.meta["val_bpb"]).path)
    doomed = [c.path for c in own if c.path not in kept]
    for path in doomed:
        hidden = path.with_name(f".{path.name}.doomed")
        shutil.rmtree(hidden, ignore_errors=True)
        path.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
    return doomed
