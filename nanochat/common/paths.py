"""Where artifacts lie: the layout under the base directory, and atomic writes."""

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.text import valid_text

CHECKPOINT_FOLDERS = {
    "base": "base_checkpoints",
    "mid": "mid_checkpoints",
    "sft": "chatsft_checkpoints",
    "rl": "chatrl_checkpoints",
}


def base_dir(explicit: str | os.PathLike[str] | None = None) -> Path:
    """The base directory: `explicit`, else `NANOCHAT_BASE_DIR`, else `~/.cache/nanochat`; absolute.

    It need not be there. Raises `UserError` for one that nobody could look into.
    """
    chosen = explicit or os.environ.get("NANOCHAT_BASE_DIR") or "~/.cache/nanochat"
    path = expanded(chosen).absolute()
    try:
        closed = stat.S_ISDIR(path.stat().st_mode) and not os.access(path, os.R_OK | os.X_OK)
        why = os.strerror(errno.EACCES) if closed else ""
    except (FileNotFoundError, NotADirectoryError):  # told by whoever makes it
        why = ""
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise UserError(
            f"cannot look into the base directory {path}: {why}",
            "choose another with --base-dir or NANOCHAT_BASE_DIR",
        )
    return path


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with `~` or `~user` as the home directory. Raises `UserError` where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no such home directory", "give the whole path") from None


@dataclass(frozen=True)
class Layout:
    """Paths under one base directory. Nothing is created by asking for a path."""

    base: Path

    @property
    def runs(self) -> Path:
        return self.base / "runs"

    def has_runs(self) -> bool:
        """Whether anything has run in this base directory."""
        try:
            return any(not path.name.startswith(".") for path in self.runs.iterdir())
        except OSError:
            return False

    def run(self, run_id: str) -> Path:
        return self.runs / run_id

    @property
    def tokenizer(self) -> Path:
        return self.base / "tokenizer"

    def resolve(self, path: str) -> Path:
        """`path` as a user or a plan gives it: `{base}` is the base directory, `~` the home directory, a
        relative path is taken from the working directory."""
        return expanded(path.replace("{base}", str(self.base), 1)).absolute()

    def told(self, path: Path) -> str:
        """`path` for a message: relative to the base directory where it lies under it."""
        return str(path.relative_to(self.base) if path.is_relative_to(self.base) else path)

    def tokenizer_dir(self, explicit: str = "") -> Path:
        """The folder of the tokenizer: `explicit`, else `tokenizer` under the base directory."""
        return self.resolve(explicit) if explicit else self.tokenizer

    def data_dir(self, explicit: str = "") -> Path:
        """The folder of pretraining shards: `explicit`, else `base_data_climbmix`, else `base_data`."""
        if explicit:
            return self.resolve(explicit)
        modern = self.base / "base_data_climbmix"
        return modern if modern.is_dir() else self.base / "base_data"

    def checkpoints(self, source: str) -> Path:
        """The folder of checkpoint tags of `source`: base, mid, sft or rl."""
        return self.base / CHECKPOINT_FOLDERS[source]

    @property
    def store(self) -> Path:
        """The control room's database of every run on every host."""
        return self.base / "control.sqlite"

    @property
    def hosts_file(self) -> Path:
        return self.base / "hosts.json"

    @property
    def known_hosts(self) -> Path:
        return self.base / "known_hosts"

    @property
    def unanswered(self) -> Path:
        """Notes of submissions that a host has not answered."""
        return self.base / "unanswered"

    @property
    def items_cache(self) -> Path:
        """Copies of item files of evaluations on other hosts."""
        return self.base / "items_cache"

    @property
    def copied_tokenizers(self) -> Path:
        """Copies of other hosts' tokenizers, in a folder a host."""
        return self.base / "copied_tokenizers"

    @property
    def plans(self) -> Path:
        """The user's own plan files."""
        return self.base / "plans"


def make_dir(path: Path, hint: str = "choose another with --base-dir or NANOCHAT_BASE_DIR") -> Path:
    """Creates `path` with its parents; raises `UserError`, with the hint, when that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the folder {path}: {error.strerror}",
            hint,
            Exit.FAILED,
        ) from error
    return path


def make_run_dir(path: Path) -> Path:
    """Creates a run directory, which is its owner's alone (mode 0700), as is the folder of all runs.

    Where that folder has its set-group-ID bit, a group shares it: the new directory is the group's, too
    (2770). Raises `UserError` when it cannot be made.
    """
    parent = path.parent
    if not parent.is_dir():
        make_dir(parent.parent)
    try:
        for folder in (parent, path):
            folder.mkdir(mode=0o700, exist_ok=True)
        if parent.stat().st_mode & stat.S_ISGID:
            path.chmod(0o2770)
    except OSError as error:
        raise UserError(
            f"cannot create the run directory {path}: {error.strerror}",
            "choose another base directory with --base-dir or NANOCHAT_BASE_DIR",
            Exit.FAILED,
        ) from error
    return path


def atomic_write(path: Path, content: bytes | str, mode: int = 0o644) -> None:
    """Writes `content` to `path` atomically: temporary file beside it, fsync, rename, fsync of the folder.

    Of a text, what UTF-8 cannot hold becomes U+FFFD. Raises `UserError` (exit 1) when the disk is full or the
    folder cannot be written.
    """
    atomic_write_all({path: content}, mode)


def atomic_write_all(files: Mapping[Path, bytes | str], mode: int = 0o644) -> None:
    """As `atomic_write`, for files that belong together: none is replaced before all are on the disk."""
    temps: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in files.items():
            raw = valid_text(content).encode() if isinstance(content, str) else content
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
            temps[path] = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
        for path in files:
            temps[path].replace(path)
            del temps[path]
        for folder in {path.parent for path in files}:
            fsync_dir(folder)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}", "nothing was changed", Exit.FAILED
        ) from error
    finally:
        for temp in temps.values():
            with contextlib.suppress(OSError):
                temp.unlink()


def fsync_dir(path: Path) -> None:
    """Makes a rename inside `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
