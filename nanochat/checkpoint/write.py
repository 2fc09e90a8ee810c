"""Writing a checkpoint, by one process or by several ranks together.

Every rank writes its own files into one temporary folder and then `part_rank<r>.json`, which lists them; rank
0 waits for the others, adds `meta.json` and commits the folder. So a checkpoint is there with all files or
not.
"""

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from nanochat.checkpoint.files import FORMAT, META, Checkpoint, file_sha256, sweep
from nanochat.checkpoint.meta import read_meta
from nanochat.checkpoint.peers import Peer, has_ended
from nanochat.checkpoint.tags import step_folder
from nanochat.common.atomic_folder import FolderLock, commit, new_token, temp_folder
from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.fields import json_text
from nanochat.common.paths import make_dir
from nanochat.run.first_attempt import NOTHING

PARTS_TIMEOUT = 600.0
"""Seconds rank 0 waits for the files of the other ranks: more than a slow network disk takes."""

Files = Mapping[str, Mapping[str, Tensor]]
"""File name → tensors."""


@dataclass
class Writer:
    """One of the processes that write a checkpoint together: rank `rank` of `world`.

    All ranks have the same `token`, which no other save has: what is left of an earlier one is never taken
    for this one's. A rank other than 0 holds the folder's lock beyond its own part until `release`, as rank 0
    may still be busy with the save before, and an unlocked folder is swept.
    """

    rank: int = 0
    world: int = 1
    token: str = field(default_factory=new_token)
    peers: Sequence[Peer] = ()
    """The processes of all ranks, as far as they are known: one that has ended is not waited for."""
    _lock: FolderLock | None = field(default=None, repr=False)

    def lock(self, folder: Path) -> None:
        """Makes the temporary folder where it is missing and locks it."""
        self._lock = FolderLock(folder)

    @property
    def is_locked(self) -> bool:
        """Whether it holds the lock of a folder."""
        return self._lock is not None

    def release(self) -> None:
        """Gives the lock up; without one it does nothing."""
        if self._lock is not None:
            self._lock.release()


def save_checkpoint(
    tag: Path,
    step: int,
    files: Files,
    meta: Mapping[str, Any],
    writer: Writer | None = None,
    extra: Mapping[str, bytes] | None = None,
    replace_before: float = NOTHING,
) -> Checkpoint:
    """Writes `<tag>/step_<step>/` from `files` and `meta`; returns the checkpoint.

    Each of several ranks calls it with its own files. Rank 0's `meta` counts, except for
    `dataloader_state_dict`, which is stored for each rank. `extra` are rank 0's further files: path
    inside the folder → content. All ranks must see the same folder. The run's own checkpoint of the
    same step is replaced, another run's where it was saved until `replace_before` (Unix time). Raises
    `UserError` (exit 1) when the disk is full or the folder cannot be written; what was there before is then
    unchanged.
    """
    writer = writer or Writer()
    folder = tag / f"step_{step:06d}"
    temp = temp_folder(folder, writer.token)
    try:
        folder = step_folder(make_dir(tag), step, str(meta.get("run_id", "")), replace_before)
        temp = temp_folder(folder, writer.token)
        if writer.rank == 0:
            sweep(tag)  # it may free the space that is needed
        writer.lock(temp)
        _check_free_space(tag, files)
        record = {
            **meta,
            "files": {name: _write_file(temp / name, tensors) for name, tensors in files.items()},
        }
        if writer.rank > 0:
            _write_json(temp / _part_file(writer.rank), record)
            return Checkpoint(folder, step, record)
        _collect_parts(temp, writer, record)
        record |= {"format": FORMAT, "version": 1, "step": step, "saved_at": time.time()}
        for name, content in (extra or {}).items():
            (temp / name).parent.mkdir(exist_ok=True)
            (temp / name).write_bytes(content)  # made durable by `commit`
        _write_json(temp / META, record)
        temp.chmod(stat.S_IMODE(tag.stat().st_mode))  # no longer the writer's alone
        commit(temp, folder)
    except Exception as error:  # whatever it is: rank 0 would wait for this rank's part
        _clean_up(temp, files, writer, error)
        if isinstance(error, OSError | SafetensorError):
            raise _save_error(folder, error) from error
        raise
    writer.release()
    sweep(tag)  # what a failed save of other ranks left: by now they have begun this one
    return Checkpoint(folder, step, record)


def _check_free_space(tag: Path, files: Files) -> None:
    """Raises `OSError` when the tensors do not fit, before anything is written."""
    needed = sum(t.numel() * t.element_size() for tensors in files.values() for t in tensors.values())
    free = shutil.disk_usage(tag).free
    if free < needed:
        raise OSError(f"{needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free")


def _write_file(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Writes one file durably; returns its size and sha256."""
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
    # By the process that wrote it: rank 0, which commits, may be another machine on a network disk.
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(json_text(content))
        file.flush()
        os.fsync(file.fileno())


def _part_file(rank: int) -> str:
    return f"part_rank{rank}.json"


def _failure_file(rank: int) -> str:
    return f"failed_rank{rank}.json"


def _collect_parts(temp: Path, writer: Writer, record: dict[str, Any]) -> None:
    """Waits for the parts of the other ranks and adds them to `record`. Raises `OSError` when one failed."""
    record["ranks"] = writer.world
    loaders = [record.get("dataloader_state_dict")]
    deadline = time.monotonic() + PARTS_TIMEOUT
    for rank in range(1, writer.world):
        part = _wait_for_part(temp, rank, writer.peers, deadline)
        record["files"] |= part["files"]
        loaders.append(part.get("dataloader_state_dict"))
        (temp / _part_file(rank)).unlink()
    if writer.world > 1:
        record["dataloader_states"] = loaders


def _wait_for_part(temp: Path, rank: int, peers: Sequence[Peer], deadline: float) -> dict[str, Any]:
    while True:
        ended = has_ended(peers, rank)  # asked first: its part may be the last that it wrote
        if (part := read_meta(temp / _part_file(rank))) is not None:
            return part
        if (temp / _failure_file(rank)).exists():
            time.sleep(0.1)  # until it is written; on a full disk it stays empty
            failure = read_meta(temp / _failure_file(rank)) or {"error": "cannot write its files"}
            raise OSError(f"rank {rank}: {failure['error']}")
        if ended:
            raise OSError(f"rank {rank} has ended without writing its part")
        if time.monotonic() > deadline:
            raise OSError(f"rank {rank} has not written its part in {PARTS_TIMEOUT:.0f} s")
        time.sleep(0.02)


def _clean_up(temp: Path, files: Iterable[str], writer: Writer, error: Exception) -> None:
    """After a failure: rank 0 removes the folder; another rank removes its files and tells rank 0 at once."""
    if writer.rank == 0:
        shutil.rmtree(temp, ignore_errors=True)
        writer.release()
        return
    with contextlib.suppress(OSError):  # no folder can be made, or rank 0 has failed and removed it
        if not writer.is_locked:
            writer.lock(temp)
        for name in files:
            (temp / name).unlink(missing_ok=True)  # the space that the report needs, on a full disk
        reason = one_line(str(error)) or type(error).__name__
        _write_json(temp / _failure_file(writer.rank), {"error": reason})


def _save_error(folder: Path, error: Exception) -> UserError:
    reason = one_line(getattr(error, "strerror", None) or str(error))
    return UserError(
        f"cannot save the checkpoint {folder}: {reason}",
        "earlier checkpoints are untouched; free some space",
        Exit.FAILED,
    )
