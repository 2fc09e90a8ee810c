"""Asynchronous saving: a thread writes a copy of the tensors while training continues, on every rank.

Every rank writes its own files into the same folder; rank 0 adds the metadata and commits the folder.
A retention policy may then delete older checkpoints of the run.
"""

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.checkpoint.figures import add_figures, bpb_of_step
from nanochat.checkpoint.files import Checkpoint, last_complete, list_checkpoints
from nanochat.checkpoint.in_use import users
from nanochat.checkpoint.peers import Peer
from nanochat.checkpoint.write import Files, Writer, save_checkpoint
from nanochat.common.atomic_folder import new_token, remove
from nanochat.common.errors import Exit, UserError
from nanochat.compute.ranks import Ranks
from nanochat.run.first_attempt import NOTHING

Block = Callable[[], contextlib.AbstractContextManager[None]]

FIGURES_RETRY = 5.0
"""Seconds until figures that could not be written are tried again."""


@dataclass(frozen=True)
class RetentionPolicy:
    """Which checkpoints of a run are kept: all (`last` < 1), or the last `last`, and with `best` also the one
    with the lowest validation bits per byte."""

    last: int = -1
    best: bool = False


class Saver:
    """Writes the checkpoints of one tag, one at a time, in the background or at once.

    With more than one of `ranks` every process calls each method at the same point. `saving` is entered for
    as long as a checkpoint is being written. `extra` are further files of every checkpoint: path inside its
    folder → content. What other runs saved until `replace_before` (Unix time) may be replaced.
    """

    def __init__(
        self,
        tag: Path,
        ranks: Ranks,
        retention: RetentionPolicy,
        run_id: str,
        *,
        resumed: Checkpoint | None = None,
        saving: Block = contextlib.nullcontext,
        extra: Mapping[str, bytes] | None = None,
        replace_before: float = NOTHING,
    ) -> None:
        self.tag, self.ranks, self.retention, self.run_id = tag, ranks, retention, run_id
        self.last = resumed
        """The last checkpoint that is complete on disk: the one resumed from, or saved since."""
        self._saving = saving
        self._token = ranks.broadcast(new_token())
        self._peers = ranks.gather(Peer.here())
        self._saves = 0
        self._writer = Writer()
        self._extra, self.replace_before = extra, replace_before
        self._thread: threading.Thread | None = None
        self._outcome: Checkpoint | UserError | None = None
        self._figures: dict[str, Any] = {}
        self._figures_step = -1
        self._figures_at = 0.0

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
        self._thread = threading.Thread(
            target=self._write, args=(step, copies, meta), name="checkpoint", daemon=False
        )
        self._thread.start()

    def poll(self, wait: bool = False) -> Checkpoint | UserError | None:
        """The outcome of the last background save, once: the checkpoint, or the error; None while it runs."""
        if wait:
            self._join()
        if self._thread is not None and self._thread.is_alive():
            return None
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, Checkpoint):
            self.last = outcome
        return outcome

    def save(self, step: int, files: Files, meta: Mapping[str, Any]) -> Checkpoint:
        """Writes a checkpoint and waits for it. Raises `UserError`, on all ranks, when it cannot be."""
        self._join()
        self._write(step, files, meta)
        outcome, self._outcome = self._outcome, None
        # Rank 0 adds the metadata last: what it says holds for all.
        error = self.ranks.broadcast(outcome if isinstance(outcome, UserError) else None)
        if error is not None:
            raise error
        if not isinstance(outcome, Checkpoint):
            raise outcome or UserError(f"cannot save the checkpoint of step {step}")
        self.last = outcome
        return outcome

    def holds(self, step: int) -> bool:
        """Whether the checkpoint of `step` is on disk, saved or resumed from; as rank 0 sees it."""
        return self.ranks.broadcast(self.last is not None and self.last.step == step)

    def add_figures(self, step: int, figures: Mapping[str, Any]) -> str:
        """Adds what was measured at `step` to the metadata of its checkpoint, if it has one.

        Rank 0 writes. Returns what was wrong when they cannot be written; `retry_figures` tries again.
        """
        self._figures = {**(self._figures if self._figures_step == step else {}), **figures}
        self._figures_step, self._figures_at = step, 0.0
        return self.retry_figures()

    def retry_figures(self) -> str:
        """Writes the figures that are not on disk yet; returns what was wrong, if anything."""
        last = self.last
        if not self._figures or time.monotonic() < self._figures_at or not self.ranks.is_main:
            return ""
        if self._thread is not None and self._thread.is_alive():
            return ""
        if last is None or last.step != self._figures_step:
            return ""
        if last.meta.get("run_id") != self.run_id and last.meta.get("figures"):
            self._figures = {}  # another run's checkpoint keeps what that run measured
            return ""
        try:
            self.last = add_figures(last, self._figures)
        except UserError as error:
            self._figures_at = time.monotonic() + FIGURES_RETRY
            return str(error)
        self._figures = {}
        self._prune()
        return ""

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, step: int, files: Files, meta: Mapping[str, Any]) -> None:
        try:
            with self._saving():
                self._outcome = self._save(step, files, meta)
            self._prune()
        except UserError as error:
            self._outcome = error
        except Exception as error:  # reported, not lost with the thread
            what = f"cannot save the checkpoint of step {step}: {type(error).__name__}: {error}"
            self._outcome = UserError(what, exit_code=Exit.FAILED)

    def _save(self, step: int, files: Files, meta: Mapping[str, Any]) -> Checkpoint:
        self._writer.release()
        # Ranks call at the same points, so they count the same and agree on the token.
        self._saves += 1
        token = f"{self._token}-{self._saves}"
        self._writer = Writer(self.ranks.rank, self.ranks.world, token, self._peers)
        return save_checkpoint(self.tag, step, files, meta, self._writer, self._extra, self.replace_before)

    def _prune(self) -> None:
        if self.ranks.is_main and self.retention.last > 0:
            # Old checkpoints that cannot be deleted cost disk space, not this checkpoint.
            with contextlib.suppress(OSError):
                prune(self.tag, self.run_id, self.retention)


def prune(tag: Path, run_id: str, retention: RetentionPolicy) -> list[Path]:
    """Deletes the run's checkpoints that `retention` does not keep and nobody uses; returns their folders."""
    own = [c for c in list_checkpoints(tag) if not c.is_upstream and c.meta.get("run_id") == run_id]
    kept = {c.path for c in own[-retention.last :]}
    if (complete := last_complete(own)) is not None:
        kept.add(complete.path)
    # Bits per byte of another text, from before a resume on other data, compare with nothing.
    data = own[-1].meta.get("data") if own else None
    rated = [
        (bpb, number)
        for number, c in enumerate(own)
        if (bpb := bpb_of_step(c)) is not None and c.meta.get("data") == data
    ]
    if retention.best and rated:
        kept.add(own[min(rated)[1]].path)
    deleted = [c.path for c in own if c.path not in kept and not users(c.path)]
    for path in deleted:
        remove(path)
    return deleted
