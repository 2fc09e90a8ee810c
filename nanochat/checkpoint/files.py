"""Checkpoints: a folder of safetensors and one JSON file, written completely or not at all.

`<tag>/step_000400/` holds `model.safetensors`, for resuming `optim.safetensors` and
`state_rank0.safetensors` (data loader, random generators), and `meta.json` with the size and sha256 of
each. The folder is written under a temporary name, synced, and renamed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.paths import CHECKPOINT_FOLDERS, fsync_dir, make_dir
from nanochat.config.stages import STAGES

FORMAT = "nanochat-checkpoint"
META, MODEL, OPTIM = "meta.json", "model.safetensors", "optim.safetensors"
PARTS_TIMEOUT = 600.0
"""Seconds rank 0 waits for the files of the other ranks."""

_STEP_FOLDER = re.compile(r"step_(\d{6,})")
_TEMP_FOLDER = re.compile(r"\.step_(\d{6,})\.(\d+)\.tmp")
_REPLACED_FOLDER = re.compile(r"\.(step_\d{6,})\.replaced")
_DELETED_FOLDER = re.compile(r"\.step_\d{6,}\.doomed")
_UPSTREAM_FILE = re.compile(r"model_(\d{6,})\.pt")


def state_file(rank: int) -> str:
    return f"state_rank{rank}.safetensors"


def optimizer_file(rank: int, world: int) -> str:
    """The file of a rank's optimizer states; one process has them all."""
    return OPTIM if world == 1 else f"optim_rank{rank}.safetensors"


@dataclass(frozen=True)
class Writer:
    """Who writes: rank `rank` of `world`; `nonce` is rank 0's process id, the same on all."""

    rank: int = 0
    world: int = 1
    nonce: int = field(default_factory=os.getpid)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: ours (`path` is its folder) or upstream nanochat's (`path` is its model file)."""

    path: Path
    step: int
    meta: Mapping[str, Any]

    @property
    def is_upstream(self) -> bool:
        return self.path.suffix == ".pt"

    @property
    def saved_at(self) -> float:
        """Unix time of saving; 0 for upstream's, whose metadata does not record it."""
        return float(self.meta.get("saved_at", 0.0))

    @property
    def can_resume(self) -> bool:
        return bool(self.optimizer_files)

    @property
    def optimizer_files(self) -> list[str]:
        """The files of the optimizer's states, in the order of the ranks that wrote them."""
        files = self.meta.get("files", {})
        names = [OPTIM, *(optimizer_file(rank, 2) for rank in range(self.ranks))]
        return [name for name in names if name in files]

    @property
    def ranks(self) -> int:
        """How many processes wrote it."""
        return int(self.meta.get("ranks", 1))

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one of our files, checked against its recorded size and sha256.

        Raises `UserError` when it is missing or not what was written.
        """
        path = self.path / name
        expected = self.meta["files"].get(name)
        if expected is None:
            raise UserError(f"checkpoint {self.path} has no {name}")
        try:
            if path.stat().st_size != expected["bytes"] or _sha256(path) != expected["sha256"]:
                raise UserError(
                    f"checkpoint file {path} is damaged: its checksum differs", "take another step"
                )
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot read {path}: {one_line(str(error))}") from error

    def check_files(self) -> None:
        """Raises `UserError` unless every file is there in its recorded size."""
        for name, expected in self.meta.get("files", {}).items():
            path = self.path / name
            if not path.is_file() or path.stat().st_size != expected["bytes"]:
                raise UserError(f"checkpoint {self.path} is incomplete: {name} is missing or truncated")


def save_checkpoint(
    tag: Path,
    step: int,
    files: Mapping[str, Mapping[str, Tensor]],
    meta: Mapping[str, Any],
    writer: Writer | None = None,
) -> Checkpoint:
    """Writes `<tag>/step_<step>/` from `files` (file name → tensors) and `meta`; returns it.

    Each of several ranks calls it with its own files; rank 0 waits for those of the others, and its `meta`
    counts, but for `dataloader_state_dict`, which is kept from each. All ranks see the same folder.
    A checkpoint of the same step is replaced. Raises `UserError` (exit 1) when the disk is full or the
    folder cannot be written; what was there before is then untouched.
    """
    writer = writer or Writer()
    make_dir(tag)
    final = tag / f"step_{step:06d}"
    temp = tag / f".{final.name}.{writer.nonce}.tmp"
    if writer.rank == 0:
        sweep(tag, but=temp)
    needed = sum(t.numel() * t.element_size() for tensors in files.values() for t in tensors.values())
    free = shutil.disk_usage(tag).free
    try:
        if free < needed:
            raise OSError(f"{needed / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free")
        with _locked_folder(temp):
            record = dict(meta)
            record["files"] = {name: _write(temp / name, tensors) for name, tensors in files.items()}
            if writer.rank > 0:
                _write_meta(temp / _part_name(writer.rank), record)
                return Checkpoint(final, step, record)
            _collect_parts(temp, writer.world, record)
            record |= {"format": FORMAT, "version": 1, "step": step, "saved_at": time.time()}
            _write_meta(temp / META, record)
            fsync_dir(temp)
            _move_into_place(temp, final)
    except (OSError, SafetensorError) as error:
        if writer.rank == 0:
            shutil.rmtree(temp, ignore_errors=True)
        else:
            _report_failure(temp, writer.rank, str(error))
        reason = one_line(getattr(error, "strerror", None) or str(error))
        raise UserError(
            f"cannot save the checkpoint {final}: {reason}",
            "earlier checkpoints are untouched; free some space",
            Exit.FAILED,
        ) from error
    return Checkpoint(final, step, record)


def _write(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def _write_meta(path: Path, meta: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(meta, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _move_into_place(temp: Path, final: Path) -> None:
    """Renames the whole folder; a kill between the renames leaves the replaced one for `sweep` to restore."""
    replaced = final.parent / f".{final.name}.replaced"
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    temp.rename(final)
    fsync_dir(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _part_name(rank: int) -> str:
    return f"part_rank{rank}.json"


def _collect_parts(temp: Path, world: int, record: dict[str, Any]) -> None:
    """Waits for what the other ranks wrote, and adds it to `record`. OSError when one of them failed."""
    record["ranks"] = world
    loaders = [record.get("dataloader_state_dict")]
    until = time.monotonic() + PARTS_TIMEOUT
    for rank in range(1, world):
        path = temp / _part_name(rank)
        while (part := read_meta(path)) is None:
            if (reason := read_meta(_failure(temp, rank))) is not None:
                raise OSError(f"process {rank}: {reason['error']}")
            if time.monotonic() > until:
                raise OSError(f"process {rank} has not written its part in {PARTS_TIMEOUT:.0f} s")
            time.sleep(0.02)
        record["files"] |= part["files"]
        loaders.append(part.get("dataloader_state_dict"))
        path.unlink()
    if world > 1:
        record["dataloader_states"] = loaders


def _failure(temp: Path, rank: int) -> Path:
    """Where a rank says that it failed: beside the folder, whose disk may be full."""
    return temp.with_name(f"{temp.name}.failed{rank}")


def _report_failure(temp: Path, rank: int, error: str) -> None:
    with contextlib.suppress(OSError):
        _write_meta(_failure(temp, rank), {"error": one_line(error)})


@contextlib.contextmanager
def _locked_folder(path: Path) -> Iterator[None]:
    """Makes `path` and holds a lock on it, so that others can tell a living writer from a dead one."""
    path.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def sweep(tag: Path, but: Path | None = None) -> None:
    """Clears what a killed writer left: half-written folders (not `but`) go, a replaced one not yet succeeded
    returns, one that was to be deleted goes."""
    for path in tag.iterdir():
        if path == but:
            continue
        if _DELETED_FOLDER.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(".step_") and ".tmp.failed" in path.name:
            path.unlink(missing_ok=True)
        elif _TEMP_FOLDER.fullmatch(path.name) and _is_abandoned(path):
            shutil.rmtree(path, ignore_errors=True)
        elif match := _REPLACED_FOLDER.fullmatch(path.name):
            if (tag / match[1]).exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(tag / match[1])


def _is_abandoned(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_checkpoints(tag: Path) -> list[Checkpoint]:
    """The checkpoints of a tag folder that have readable metadata, the one saved last at the end.

    Ours go by the time of saving, after all of upstream's, which go by step.
    """
    if not tag.is_dir():
        return []
    found = []
    for path in tag.iterdir():
        if match := _STEP_FOLDER.fullmatch(path.name):
            meta = read_meta(path / META)
        elif match := _UPSTREAM_FILE.fullmatch(path.name):
            meta = read_meta(tag / f"meta_{match[1]}.json")
        else:
            continue
        if meta is not None:
            found.append(Checkpoint(path, int(match[1]), meta))
    return sorted(found, key=lambda c: (not c.is_upstream, c.saved_at, c.step))


def read_meta(path: Path) -> dict[str, Any] | None:
    """The metadata in `path`, None when it is missing or no JSON object."""
    try:
        meta = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) else None


def find_checkpoint(folder: Path, tag: str = "", step: int = -1) -> Checkpoint:
    """The checkpoint of `folder` (base_checkpoints or another stage's) with that tag and step.

    No tag: the deepest model (`d` and the largest number), else the newest folder. No step: the last
    saved. Raises `UserError` that names what there is.
    """
    tags = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not tags:
        raise UserError(f"no checkpoints in {folder}", _how_to_get(folder))
    tag = tag or _guess_tag(folder, tags)
    if tag not in tags:
        raise UserError(f"no checkpoint tag '{tag}' in {folder}", f"there are: {', '.join(tags[:12])}")
    found = list_checkpoints(folder / tag)
    chosen = [c for c in found if step < 0 or c.step == step]
    if not chosen:
        steps = ", ".join(str(c.step) for c in sorted(found, key=lambda c: c.step)[-12:])
        what = f"no checkpoint of step {step}" if step >= 0 else "no complete checkpoint"
        raise UserError(f"{what} in {folder / tag}", f"there are: {steps}" if steps else "")
    return chosen[-1]


def _how_to_get(folder: Path) -> str:
    """How to fill a checkpoint folder of that name: by a stage, or with upstream's checkpoints."""
    source = next((key for key, name in CHECKPOINT_FOLDERS.items() if name == folder.name), "base")
    stage = {"base": "base_train", "mid": "mid_train", "sft": "chat_sft", "rl": "chat_rl"}[source]
    if stage in STAGES:
        return f"train first: nanochat {stage}"
    return f"copy upstream's {source} checkpoints there, or take --source base"


def _guess_tag(folder: Path, tags: list[str]) -> str:
    depths = {tag: int(match[1]) for tag in tags if (match := re.match(r"d(\d+)", tag))}
    if depths:
        return max(depths, key=lambda tag: (depths[tag], tag))
    return max(tags, key=lambda tag: (folder / tag).stat().st_mtime)


def newest_complete(tag: Path, run_id: str = "") -> Checkpoint | None:
    """The last saved of our checkpoints in a tag folder that training can resume from, or None.

    `run_id` restricts the search to one run. Incomplete checkpoints are skipped.
    """
    if tag.is_dir():
        sweep(tag)  # a folder caught between two renames by a kill is put back
    for checkpoint in reversed(list_checkpoints(tag)):
        if not checkpoint.can_resume or (run_id and checkpoint.meta.get("run_id") != run_id):
            continue
        with contextlib.suppress(UserError):
            checkpoint.check_files()
            return checkpoint
    return None


def random_state() -> dict[str, Tensor]:
    """The states of torch's generators on the CPU and, where there is one, the current CUDA device."""
    state = {"rng_cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["rng_cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["rng_cpu"].cpu())
    if "rng_cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["rng_cuda"].cpu())
