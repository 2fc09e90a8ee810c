"""Checkpoints on disk: a folder of safetensors files and one JSON file, and how they are found.

`<tag>/step_000400/` holds `model.safetensors`, for resuming `optim.safetensors` and
`state_rank0.safetensors` (data loader, random generators), and `meta.json` with the size and sha256 of
each. `write.py` writes them.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nanochat.checkpoint.meta import read_meta
from nanochat.common import atomic_folder
from nanochat.common.errors import UserError, one_line
from nanochat.common.paths import CHECKPOINT_FOLDERS
from nanochat.config.stages import STAGES

FORMAT = "nanochat-checkpoint"
META, MODEL, OPTIM = "meta.json", "model.safetensors", "optim.safetensors"

_STEP_FOLDER = re.compile(r"step_(\d{6,})(?:-[0-9a-f]{6})?")
"""With letters after it where another run has the same step."""
_UPSTREAM_FILE = re.compile(r"model_(\d{6,})\.pt")


def state_file(rank: int) -> str:
    return f"state_rank{rank}.safetensors"


def optimizer_file(rank: int, world: int) -> str:
    """The file of a rank's optimizer states; one process has them all."""
    return OPTIM if world == 1 else f"optim_rank{rank}.safetensors"


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

    @property
    def weights(self) -> str:
        """What tells these weights from others that are saved in their place."""
        file = self.meta.get("files", {}).get(MODEL)
        if file is not None:
            return str(file["sha256"])
        with contextlib.suppress(OSError):
            found = self.path.stat()
            return f"{found.st_size} bytes of {found.st_mtime_ns}"
        return ""

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of one of our files, checked against its recorded size and sha256.

        Raises `UserError` when it is missing or not what was written.
        """
        path = self.path / name
        expected = self.meta["files"].get(name)
        if expected is None:
            raise UserError(f"checkpoint {self.path} has no {name}")
        try:
            if not path.is_file():  # a pipe would be waited for
                raise UserError(f"checkpoint file {path} is missing, or no file", "take another step")
            if path.stat().st_size != expected["bytes"] or file_sha256(path) != expected["sha256"]:
                raise UserError(
                    f"checkpoint file {path} is damaged: its checksum differs", "take another step"
                )
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise UserError(f"cannot read {path}: {one_line(str(error))}") from error

    def check_sum(self, name: str) -> None:
        """Raises `UserError` when one of our files is not what was written."""
        try:
            if file_sha256(self.path / name) == self.meta["files"][name]["sha256"]:
                return
        except OSError as error:
            raise UserError(f"cannot read {self.path / name}: {error.strerror}") from error
        raise UserError(
            f"checkpoint file {self.path / name} is damaged: its checksum differs", "take another step"
        )

    def check_files(self) -> None:
        """Raises `UserError` unless every file is there in its recorded size."""
        for name, expected in self.meta.get("files", {}).items():
            path = self.path / name
            if not path.is_file() or path.stat().st_size != expected["bytes"]:
                raise UserError(f"checkpoint {self.path} is incomplete: {name} is missing or truncated")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(tag: Path) -> None:
    """Clears what killed writers left in a tag folder; a checkpoint that was just being replaced returns."""
    atomic_folder.sweep(tag, _STEP_FOLDER.fullmatch)


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
        damaged = [path for path in _damaged(folder / tag, found) if step < 0 or step == _step_of(path)]
        if damaged:
            what = f"{what}, as the metadata of {damaged[-1].name} is missing or damaged,"
        raise UserError(f"{what} in {folder / tag}", f"there are: {steps}" if steps else "")
    return chosen[-1]


def _damaged(tag: Path, found: Iterable[Checkpoint]) -> list[Path]:
    """The checkpoints of a tag that `list_checkpoints` left out."""
    whole = {checkpoint.path for checkpoint in found}
    return sorted(path for path in tag.iterdir() if _step_of(path) >= 0 and path not in whole)


def _step_of(path: Path) -> int:
    """The step of a checkpoint's path; -1 for anything else."""
    match = _STEP_FOLDER.fullmatch(path.name) or _UPSTREAM_FILE.fullmatch(path.name)
    return int(match[1]) if match else -1


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
        sweep(tag)  # a kill may have hidden a checkpoint
    return last_complete(c for c in list_checkpoints(tag) if not run_id or c.meta.get("run_id") == run_id)


def last_complete(checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    """The last of `checkpoints` that training can resume from and whose files are there, or None."""
    for checkpoint in reversed(list(checkpoints)):
        if checkpoint.can_resume:
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
