"""Who may write checkpoints under a tag: one live run at a time, and nothing over those of another run."""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from nanochat.checkpoint.files import META, list_checkpoints
from nanochat.checkpoint.meta import read_meta
from nanochat.common.errors import UserError
from nanochat.common.name_lock import NameTakenError, hold_name
from nanochat.run.first_attempt import NOTHING


@contextlib.contextmanager
def only_writer(tag: Path, run_id: str) -> Iterator[None]:
    """Makes this run the only one that writes checkpoints to `tag`.

    Raises `UserError` with the other's run id while another process does.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold_name(tag, f"run {run_id or 'without a directory'}"))
        except NameTakenError as error:
            raise UserError(
                f"{error.holder or 'another run'} is writing checkpoints to {tag}",
                "wait for it or stop it, or write to another tag",
            ) from None
        yield


def check_steps_are_free(
    tag: Path, run_id: str, will_save: Callable[[int], bool], replace_before: float = NOTHING
) -> None:
    """Raises `UserError` when another run has a checkpoint at a step that this run `will_save`, unless it was
    saved until `replace_before` (Unix time)."""
    others = [c for c in list_checkpoints(tag) if not c.is_upstream and c.meta.get("run_id") != run_id]
    taken = sorted({c.step for c in others if will_save(c.step) and c.saved_at > replace_before})
    if taken:
        owners = sorted({str(c.meta.get("run_id") or "unknown") for c in others if c.step in taken})
        steps = ", ".join(map(str, taken[:8])) + (", …" if len(taken) > 8 else "")
        raise UserError(
            f"{tag} holds checkpoints of run {', '.join(owners[:3])} at steps this run would save: {steps}",
            "write to another tag, resume from them, or add --overwrite to replace them",
        )


def step_folder(tag: Path, step: int, run_id: str, replace_before: float = NOTHING) -> Path:
    """The folder for a run's checkpoint of `step`: never one that another run saved after `replace_before`.

    A run that is stopped saves at a step nobody could foresee: where that is taken, it saves beside it.
    """
    folder = tag / f"step_{step:06d}"
    if not folder.exists():
        return folder
    present = read_meta(folder / META)
    saved_at = math.inf if present is None else float(present.get("saved_at", 0.0))
    if saved_at <= replace_before or (present is not None and present.get("run_id", "") == run_id):
        return folder
    return folder.with_name(f"{folder.name}-{hashlib.sha256(run_id.encode()).hexdigest()[:6]}")
