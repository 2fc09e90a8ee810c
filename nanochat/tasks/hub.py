"""Data sets of the hub as rows: from a folder, from the cache, else downloaded into the cache.

The cache is the reference's: `task_data/ORG--NAME/SUBSET/SPLIT/NNNNN.parquet`, and `manifest.json`, the list
of the files' names, written last: where it stands, the set is whole. `files.json` beside it keeps each
file's size, which is checked whenever the set is opened, and its sha256 (`nanochat tasks fetch` checks it).
"""

import json
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import parse_json
from nanochat.common.files import read_regular
from nanochat.common.paths import atomic_write, make_dir
from nanochat.data.download import WAIT, Policy, RefusedByServer, Transfer, sha256_of, sleep
from nanochat.data.fetch_lock import fetch_lock
from nanochat.data.hub_client import warnings_to
from nanochat.data.hub_download import converted_files, put
from nanochat.data.shards import open_parquet

if TYPE_CHECKING:
    import pyarrow as pa

HUB = "https://huggingface.co"
SHUFFLE_SEED = 42
MANIFEST, FILES, LISTING = "manifest.json", "files.json", "listing.json"


@dataclass(frozen=True)
class HubSet:
    """One split of one subset of a data set, and the columns a task reads of it."""

    repo: str
    """ORG/NAME."""
    subset: str
    split: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.repo} ({self.subset}, {self.split})"


class Rows:
    """The rows of a set in shuffled order, which is that of `datasets`' `shuffle(seed=42)`."""

    def __init__(self, tables: "list[pa.Table]") -> None:
        import numpy as np

        self._batches = [batch for table in tables for batch in table.to_batches()]
        self._ends = list(accumulate(batch.num_rows for batch in self._batches))
        count = self._ends[-1] if self._ends else 0
        order: np.ndarray[Any, np.dtype[np.int64]] = np.random.default_rng(SHUFFLE_SEED).permutation(count)
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Row `index` of the shuffled set, by column."""
        row = int(self._order[index])
        number = bisect_right(self._ends, row)
        begin = self._ends[number - 1] if number else 0
        found: dict[str, Any] = self._batches[number].slice(row - begin, 1).to_pylist()[0]
        return found


class NotFetchedError(UserError):
    """A set that is not here, where nothing may be fetched."""


@dataclass(frozen=True)
class Hub:
    """Finds data sets: in `folder` when one is given, else in `cache`, else (with no folder) fetches them.

    They come from the hub through its own client, or from `mirror`, any server that keeps the files.
    `folder` holds `ORG/NAME/SUBSET/SPLIT/*.parquet` (or ORG--NAME as the cache does) and is never written to.
    """

    cache: Path
    folder: Path | None = None
    mirror: str = ""
    offline: bool = False
    policy: Policy = field(default_factory=Policy)
    note: Callable[[str], None] = lambda text: None
    should_stop: Callable[[], bool] = lambda: False

    def rows(self, wanted: HubSet) -> Rows:
        """The rows of a set, shuffled. Raises `UserError` in one line that says what to get and where."""
        return Rows([_read(path, wanted.columns) for path in self.files(wanted)])

    def files(self, wanted: HubSet) -> list[Path]:
        """The parquet files of a set in order, fetched first where they are missing."""
        if self.folder is not None and (found := _in_folder(self.folder, wanted)):
            return found
        place = self._place(wanted)
        if not (place / MANIFEST).is_file():
            if self.folder is not None:
                where = f"neither in {self.folder} nor in {self.cache}"
                raise UserError(
                    f"{wanted} is {where}", f"{_how_to_give(wanted)}, or leave it out to fetch it"
                )
            if self.offline and self.mirror:
                raise UserError(
                    f"{wanted} is not in {self.cache}",
                    f"nothing is fetched offline; {_how_to_give(wanted)}",
                )
            self._fetch(wanted, place)
        return _check_stored(place)

    def digests(self, wanted: HubSet) -> list[str]:
        """The sha256 of the files of a set, in order: known since they were fetched, else computed once."""
        paths, place = self.files(wanted), self._place(wanted)
        known = {file.path: file.sha256 for file in _stored(place)} if paths[0].parent == place else {}
        return [known.get(path) or _sha256_at(path, path.stat().st_mtime_ns) for path in paths]

    def verify(self, wanted: HubSet) -> list[Path]:
        """`files`, after their sha256 is found to be what it was when they were fetched."""
        paths = self.files(wanted)
        place = self._place(wanted)
        return _check_stored(place, hashed=True) if paths[0].parent == place else paths

    def _place(self, wanted: HubSet) -> Path:
        return self.cache / wanted.repo.replace("/", "--") / wanted.subset / wanted.split

    # -- fetching --------------------------------------------------------------------------------

    def _fetch(self, wanted: HubSet, place: Path) -> None:
        if self.offline:
            self._converted(wanted)  # says that it is not there before anything is written
        make_dir(place)
        with fetch_lock(place / MANIFEST, lambda: sleep(WAIT, self.should_stop), self.note):
            if (place / MANIFEST).is_file():  # another process was quicker
                return
            paths = self._from_mirror(wanted, place) if self.mirror else self._from_hub(wanted, place)
            known = {path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in paths}
            atomic_write(place / FILES, json.dumps(known, indent=1) + "\n")
            atomic_write(place / MANIFEST, json.dumps(list(known)) + "\n")
            (place / LISTING).unlink(missing_ok=True)

    def _from_hub(self, wanted: HubSet, place: Path) -> list[Path]:
        found = self._converted(wanted)
        paths = [place / f"{number:05d}.parquet" for number in range(len(found))]
        for source, path in zip(found, paths, strict=True):
            put(source, path)
        size = sum(path.stat().st_size for path in paths)
        self.note(f"{wanted}: {len(paths)} files of the hub, {size:,} bytes")
        return paths

    def _converted(self, wanted: HubSet) -> list[Path]:
        """The set's files in the cache of the hub's client."""
        folder = f"{wanted.subset}/{wanted.split}"
        try:
            with warnings_to(self.note):
                return converted_files(
                    wanted.repo,
                    folder,
                    offline=self.offline,
                    check=_check_parquet,
                    policy=self.policy,
                    note=self.note,
                    should_stop=self.should_stop,
                )
        except UserError as error:
            code = Exit.USAGE if self.offline else Exit.FAILED
            kind = NotFetchedError if self.offline else UserError
            raise kind(
                f"{wanted} is not in {self.cache}: {error.message}",
                f"{error.hint}; or {_how_to_give(wanted)}",
                code,
            ) from error

    def _from_mirror(self, wanted: HubSet, place: Path) -> list[Path]:
        try:
            addresses = self._listed(wanted, place)
            return self._plain(wanted, place) if addresses is None else self._each(addresses, place)
        except UserError as error:
            raise UserError(
                f"{wanted} is missing: {error.message}",
                f"{_how_to_give(wanted)}, or another address with --mirror",
                Exit.FAILED,
            ) from error

    def _listed(self, wanted: HubSet, place: Path) -> list[str] | None:
        """The addresses of the set's files, as the hub lists them; None where a mirror keeps no list."""
        address = f"{self._root}/api/datasets/{wanted.repo}/parquet/{wanted.subset}/{wanted.split}"
        try:
            self._transfer(address, place / LISTING, _check_listing)
        except RefusedByServer as error:
            if error.status == 404 and self._root != HUB:
                return None
            raise
        listed: list[str] = parse_json(read_regular(place / LISTING))
        return [self._through_mirror(url) for url in listed]

    @property
    def _root(self) -> str:
        return self.mirror.rstrip("/")

    def _through_mirror(self, url: str) -> str:
        absolute = urljoin(HUB, url)
        hub, asked = urlsplit(HUB), urlsplit(absolute)
        if (asked.scheme, asked.netloc) != (hub.scheme, hub.netloc):
            return absolute
        return self._root + absolute[len(HUB) :]

    def _each(self, addresses: list[str], place: Path) -> list[Path]:
        paths = [place / f"{number:05d}.parquet" for number in range(len(addresses))]
        for address, path in zip(addresses, paths, strict=True):
            self._transfer(address, path, _check_parquet)
        return paths

    def _plain(self, wanted: HubSet, place: Path) -> list[Path]:
        """The files of a server that shows a folder: 00000.parquet and so on, up to the first it lacks."""
        paths: list[Path] = []
        while True:
            name = f"{len(paths):05d}.parquet"
            address = f"{self._root}/{wanted.repo}/{wanted.subset}/{wanted.split}/{name}"
            try:
                self._transfer(address, place / name, _check_parquet)
            except RefusedByServer as error:
                if error.status == 404 and paths:
                    return paths
                raise
            paths.append(place / name)

    def _transfer(self, address: str, target: Path, check: Callable[[Path], None]) -> None:
        transfer = Transfer(address, target, check, self.should_stop, self.policy, self.note)
        if transfer.run():
            self.note(f"fetched {address} ({transfer.size:,} bytes)")


@lru_cache(maxsize=256)
def _sha256_at(path: Path, modified: int) -> str:
    return sha256_of(path)


def _in_folder(folder: Path, wanted: HubSet) -> list[Path]:
    for name in (wanted.repo, wanted.repo.replace("/", "--")):
        if found := sorted((folder / name / wanted.subset / wanted.split).glob("*.parquet")):
            return found
    return []


def _how_to_give(wanted: HubSet) -> str:
    where = f"{wanted.repo}/{wanted.subset}/{wanted.split}/00000.parquet"
    return f"give a folder that holds {where} with --task-data"


def _check_listing(path: Path) -> None:
    try:
        listed = parse_json(read_regular(path))
    except (OSError, ValueError):
        listed = None
    if not isinstance(listed, list) or not listed or not all(isinstance(url, str) for url in listed):
        raise UserError(f"{path} is no list of addresses")


def _check_parquet(path: Path) -> None:
    with open_parquet(path):
        pass


@dataclass(frozen=True)
class _Stored:
    """A file of the cache and what it was when it was fetched; nothing is known of one fetched by others."""

    path: Path
    size: int = -1
    sha256: str = ""

    def fault(self, hashed: bool = False) -> str:
        """What is wrong with it, or an empty string."""
        if not self.path.is_file():
            return "is missing"
        size = self.path.stat().st_size
        if self.size not in (-1, size):
            return f"has {size:,} bytes where {self.size:,} were fetched"
        if hashed and self.sha256 and sha256_of(self.path) != self.sha256:
            return "has another sha256 than when it was fetched"
        return ""


def _stored(place: Path) -> list[_Stored]:
    """The files a manifest names. Raises `UserError` when it is damaged."""
    try:
        names = parse_json(read_regular(place / MANIFEST))
        known = parse_json(read_regular(place / FILES)) if (place / FILES).is_file() else {}
        found = [_Stored(place / Path(name).name, **known.get(name, {})) for name in names]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(place, f"its lists of files cannot be read: {error}") from error
    if not found:
        raise _damaged(place, f"{MANIFEST} names no file")
    return found


def _check_stored(place: Path, hashed: bool = False) -> list[Path]:
    stored = _stored(place)
    for file in stored:
        if fault := file.fault(hashed):
            raise _damaged(place, f"{file.path.name} {fault}")
    return [file.path for file in stored]


def _damaged(place: Path, what: str) -> UserError:
    return UserError(f"the data set in {place} is damaged: {what}", "delete that folder and run again")


def _read(path: Path, columns: tuple[str, ...]) -> "pa.Table":
    """The columns of one file. Raises `UserError` that names the file when it is damaged or foreign."""
    import pyarrow as pa

    with open_parquet(path) as file:
        names = file.schema_arrow.names
        missing = [column for column in columns if column not in names]
        if missing:
            raise UserError(f"{path} has no column '{missing[0]}' (it has: {', '.join(names) or 'none'})")
        try:
            return file.read(columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path} is damaged: {error}", "delete it and fetch it again") from error
