"""Files of data sets on the Hugging Face hub, through its own client, `huggingface_hub`.

The client knows the hub's address (HF_ENDPOINT), the user's token (HF_TOKEN, or what `hf auth login` keeps),
the offline switch (HF_HUB_OFFLINE) and the cache that other programs share (HF_HOME). A file of the cache is
hard-linked to where it is wanted: it takes no more space, and stays when the cache is emptied.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import fsync_dir, make_dir
from nanochat.data.download import WAIT, Policy, Stopped, answered, disk_error, is_whole, sha256_of, sleep
from nanochat.data.fetch_lock import fetch_lock
from nanochat.data.hub_client import (
    ANSWER_SECONDS,
    USER_AGENT,
    Tries,
    WrongFile,
    endpoint,
    hub,
    meter,
    no_hub,
)

CONVERTED = "refs/convert/parquet"
"""The revision in which the hub keeps every data set as parquet: SUBSET/SPLIT/NNNN.parquet."""


@dataclass
class HubFile:
    """One file of a data set on the hub, wanted at `target`; `received` of its `size` bytes have come."""

    repo: str
    """ORG/NAME."""
    name: str
    target: Path
    check: Callable[[Path], None] = lambda path: None
    """Raises `UserError` when the file is not what it should be."""
    should_stop: Callable[[], bool] = lambda: False
    policy: Policy = field(default_factory=Policy)
    note: Callable[[str], None] = lambda text: None
    """Hears of every failed try, and for whom it waits."""
    received: int = 0
    size: int = -1

    def run(self) -> bool:
        """Fetches the file; False when it was already there and whole.

        Raises `UserError` in one line when it cannot be had, and `Stopped`.
        """
        make_dir(self.target.parent)
        with fetch_lock(self.target, lambda: sleep(WAIT, self.should_stop), self.note):
            fetched = not is_whole(self.target, self.check, self.note)
            if fetched:
                tries = Tries(self.policy, self.note, self.should_stop, hub().is_offline_mode())
                tries.of(self._fetch, f"{self.name} of {self.repo}")
            self.received = self.size = self.target.stat().st_size
        return fetched

    def _fetch(self) -> None:
        offline = hub().is_offline_mode()
        etag = "" if offline else self._announced_etag()
        self.received = 0
        with _room_beside(self.target, offline) as folder:
            path = Path(
                hub().hf_hub_download(
                    self.repo,
                    self.name,
                    repo_type="dataset",
                    local_dir=folder,
                    tqdm_class=meter(self._count),
                    etag_timeout=ANSWER_SECONDS,
                    **USER_AGENT,
                )
            )
            check_file(path, self.check, etag)
            put(path, self.target)

    def _announced_etag(self) -> str:
        """What the hub says of the file. Asked first: the client itself would try a dead line for minutes."""
        url = hub().hf_hub_url(self.repo, self.name, repo_type="dataset")
        found = hub().get_hf_file_metadata(url, timeout=ANSWER_SECONDS, **USER_AGENT)
        answered(endpoint())
        if found.commit_hash is None or found.etag is None:
            raise no_hub(f"no commit or ETag of {self.name}")
        self.size = -1 if found.size is None else int(found.size)
        return str(found.etag)

    def _count(self, more: int) -> None:
        self.received += more
        if self.should_stop():
            raise Stopped


def converted_files(
    repo: str,
    folder: str,
    *,
    offline: bool,
    check: Callable[[Path], None],
    policy: Policy,
    note: Callable[[str], None],
    should_stop: Callable[[], bool],
) -> list[Path]:
    """The parquet files of `SUBSET/SPLIT` in the hub's cache, in order; fetched first unless `offline`.

    Raises `UserError` in one line when they cannot be had, and `Stopped`.
    """
    tries = Tries(policy, note, should_stop, offline or hub().is_offline_mode())

    def count(more: int) -> None:
        if should_stop():
            raise Stopped

    def fetch() -> list[Path]:
        if not tries.offline:  # the client would wait for the first answer without end
            hub().HfApi(**USER_AGENT).dataset_info(repo, revision=CONVERTED, timeout=ANSWER_SECONDS)
            answered(endpoint())
        place = hub().snapshot_download(
            repo,
            repo_type="dataset",
            revision=CONVERTED,
            allow_patterns=f"{folder}/*.parquet",
            local_files_only=tries.offline,
            tqdm_class=meter(count),
            etag_timeout=ANSWER_SECONDS,
            **USER_AGENT,
        )
        paths = sorted(Path(place, folder).glob("*.parquet"))
        for path in paths:
            check_file(path, check)
        if not paths:
            where = f"the hub's cache in {place}" if tries.offline else f"{endpoint()} ({CONVERTED})"
            raise UserError(
                f"{repo} has no folder {folder} in {where}", "check the name of the set", Exit.FAILED
            )
        return paths

    return tries.of(fetch, f"{folder} of {repo}")


def check_file(path: Path, check: Callable[[Path], None], etag: str = "") -> None:
    """Raises `WrongFile` unless the file has the hash it is announced with and `check` takes it.

    The ETag of a large file on the hub is its sha256, and the name of its blob in the cache.
    """
    announced = path.readlink().name if path.is_symlink() else etag
    if len(announced) == 64 and sha256_of(path) != announced:
        raise WrongFile(path, "its sha256 is not the one the hub announced")
    try:
        check(path)
    except UserError as error:
        raise WrongFile(path, error.message.replace(str(path), "the file that came")) from error


def put(source: Path, target: Path) -> None:
    """Gives a file a second name, or on another file system a copy; whole or not at all."""
    temp = target.with_name(f".{target.name}.tmp")
    try:
        temp.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), temp)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, temp)
        with temp.open("rb") as file:
            os.fsync(file.fileno())
        temp.replace(target)
        temp.unlink(missing_ok=True)  # renaming a link over another of the same file does nothing
        fsync_dir(target.parent)
    except OSError as error:
        raise disk_error(target, error) from error


@contextlib.contextmanager
def _room_beside(target: Path, offline: bool) -> Iterator[Path | None]:
    """A folder beside `target` to fetch into where the hub's cache is on another file system, else None.

    Through a cache on another disk (often a home directory with a quota) a file would take its space twice.
    """
    if offline or _same_file_system(Path(hub().constants.HF_HUB_CACHE), target.parent):
        yield None
        return
    folder = target.with_name(f".{target.name}.hub")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _same_file_system(wanted: Path, other: Path) -> bool:
    while not wanted.exists():
        wanted = wanted.parent
    return wanted.stat().st_dev == other.stat().st_dev
