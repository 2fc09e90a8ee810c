"""`checkpoint`: the files of one checkpoint, read and written in parts, and its end.

What is copied here grows in `<base>/incoming/SOURCE/TAG/ENTRY` and gets its place when every file has its
size and its sha256: a copy that was cut goes on from where it was.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint_use import live_runs, marked, waits_for
from .checkpoints import FOLDERS, OURS, UPSTREAM
from .files import AgentError, fsync_dir, open_regular, os_error, read_json, write_all

if TYPE_CHECKING:
    from collections.abc import Callable

    Json = dict[str, Any]

INCOMING = "incoming"
READ_LIMIT = 8 << 20
MOST_FILES = 4000


class Place:
    """Where a checkpoint lies: `entry` is its folder's name, or that of upstream nanochat's model file."""

    def __init__(self, base: Path, content: Json) -> None:
        source, tag, entry = (content.get(word) for word in ("source", "tag", "entry"))
        if not isinstance(source, str) or source not in FOLDERS:
            raise AgentError("no checkpoint is called so", "usage")
        if not _is_name(tag) or not isinstance(entry, str):
            raise AgentError("no checkpoint is called so", "usage")
        match = OURS.fullmatch(entry) or UPSTREAM.fullmatch(entry)
        if match is None:
            raise AgentError("no checkpoint is called %r" % entry[:80], "usage")
        assert isinstance(tag, str)
        self.source, self.tag, self.entry, self.digits = source, tag, entry, match[1]
        self.is_upstream = OURS.fullmatch(entry) is None
        self.sources = base / FOLDERS[source]
        self.folder = self.sources / tag
        self.incoming = base / INCOMING / source / tag / entry

    @property
    def path(self) -> Path:
        return self.folder / self.entry

    @property
    def name(self) -> str:
        return "%s/%s@%d" % (self.source, self.tag, int(self.digits))

    def file(self, name: object) -> Path:
        """A file of it. Raises AgentError for what can be none."""
        return (self.folder if self.is_upstream else self.path) / self.checked(name)

    def staged(self, name: object) -> Path:
        return self.incoming / self.checked(name)

    def checked(self, name: object) -> str:
        """The name of a file that this checkpoint can have: at most one folder deep, and its own."""
        parts = name.split("/") if isinstance(name, str) else []
        if not 1 <= len(parts) <= 2 or not all(_is_name(part) for part in parts):
            raise AgentError("no file of a checkpoint is called so", "usage")
        assert isinstance(name, str)
        if self.is_upstream and not self.is_own(name):
            raise AgentError("%s is no file of %s" % (name[:80], self.name), "usage")
        return name

    def is_own(self, name: str) -> bool:
        """Whether a file beside upstream's model belongs to it."""
        known = (self.entry, "meta_%s.json" % self.digits, "optim_%s.pt" % self.digits)
        return name in known or (name.startswith("optim_%s_rank" % self.digits) and name.endswith(".pt"))

    def own_files(self) -> list[str]:
        """The files of upstream's checkpoint, its metadata first: without them it is listed no more."""
        try:
            names = [name for name in os.listdir(str(self.folder)) if self.is_own(name)]
        except OSError:
            return []
        return sorted(names, key=lambda name: (not name.startswith("meta_"), name))


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= 200
        and name.isprintable()
        and name[0] != "."
        and "/" not in name
    )


def answer(base: Path, content: Json) -> Json:
    """Does what a request asks of one checkpoint. Raises AgentError."""
    doing: dict[str, Callable[[Place, Json], Json]] = {
        "read": read,
        "digest": digest,
        "staged": staged,
        "write": write,
        "commit": commit,
        "drop": drop,
    }
    place = Place(base, content)
    if content.get("do") == "delete":
        return delete(base, place)
    do = doing.get(str(content.get("do")))
    if do is None:
        raise AgentError("a checkpoint can be read, written or deleted", "usage")
    try:
        return do(place, content)
    except OSError as error:
        raise os_error("cannot %s %s" % (content["do"], place.name), error) from error


def read(place: Place, content: Json) -> Json:
    """Bytes of a file."""
    offset, size = _whole(content, "offset"), _whole(content, "size")
    descriptor = open_regular(place.file(content.get("file")))
    try:
        raw = os.pread(descriptor, min(size, READ_LIMIT), offset)
        return {"b64": base64.b64encode(raw).decode("ascii"), "size": os.fstat(descriptor).st_size}
    finally:
        os.close(descriptor)


def digest(place: Place, content: Json) -> Json:
    """The sha256 of each of `files`."""
    return {"sha256": {name: _sha256(place.file(name)) for name in _names(content)}}


def staged(place: Place, content: Json) -> Json:
    """Bytes that are here of each of `files`, of a copy that was begun; and whether the place is taken."""
    sizes = {}
    for name in _names(content):
        try:
            sizes[place.checked(name)] = os.stat(place.staged(name)).st_size
        except OSError:
            sizes[place.checked(name)] = 0
    return {"sizes": sizes, "taken": os.path.lexists(str(place.path)), "free": _free(place)}


def write(place: Place, content: Json) -> Json:
    """Adds bytes at the end of a file that comes in; those that begin elsewhere are not taken."""
    path = place.staged(content.get("file"))
    os.makedirs(str(path.parent), exist_ok=True)
    try:
        raw = base64.b64decode(str(content.get("b64")), validate=True)
    except ValueError as error:
        raise AgentError("the bytes of a file are spelled wrong", "usage") from error
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        size = os.fstat(descriptor).st_size
        if size == _whole(content, "offset"):
            os.lseek(descriptor, size, os.SEEK_SET)
            write_all(descriptor, raw)
            size += len(raw)
        return {"size": size}
    finally:
        os.close(descriptor)


def commit(place: Place, content: Json) -> Json:
    """Gives a copy its place once every file is what it should be: name → [bytes, sha256]."""
    files = content.get("files")
    if not isinstance(files, dict) or not 0 < len(files) <= MOST_FILES:
        raise AgentError("'files' must tell each file's bytes and sha256", "usage")
    for name, told in files.items():
        path = place.staged(name)
        if not isinstance(told, list) or len(told) != 2:
            raise AgentError("'files' must tell each file's bytes and sha256", "usage")
        if os.stat(path).st_size != told[0] or _sha256(path) != told[1]:
            os.unlink(path)  # the next try brings it anew
            raise AgentError("%s of %s arrived damaged" % (name, place.name), "damaged")
        _sync(path)
    os.makedirs(str(place.folder), exist_ok=True)
    if os.path.lexists(str(place.path)):
        raise AgentError("%s is there already" % place.name, "exists")
    if place.is_upstream:
        for name in sorted(files, key=lambda name: name.startswith("meta_")):  # the metadata last
            os.rename(str(place.staged(name)), str(place.file(name)))
        shutil.rmtree(str(place.incoming), ignore_errors=True)
    else:
        os.rename(str(place.incoming), str(place.path))
    fsync_dir(place.folder)
    _prune(place.incoming.parent, 2)
    return {"path": str(place.path)}


def drop(place: Place, content: Json) -> Json:
    """Gives up a copy that was begun."""
    del content
    shutil.rmtree(str(place.incoming), ignore_errors=True)
    _prune(place.incoming.parent, 2)
    return {}


def delete(base: Path, place: Place) -> Json:
    """Deletes a checkpoint that nobody uses. Raises AgentError that names who does.

    It is renamed first, so that a kill in between leaves no half of one under its name.
    """
    if not os.path.lexists(str(place.path)):
        raise AgentError("%s is not there any more" % place.name, "gone")
    users = in_use(base, place)
    if users:
        raise AgentError("%s is in use by %s" % (place.name, "; ".join(users)), "in_use")
    try:
        if place.is_upstream:
            for name in place.own_files():
                os.unlink(str(place.folder / name))
        elif place.path.is_symlink():
            os.unlink(str(place.path))
        else:
            hidden = place.folder / (".%s.deleted" % place.entry)
            shutil.rmtree(str(hidden), ignore_errors=True)
            os.rename(str(place.path), str(hidden))
            shutil.rmtree(str(hidden))
    except OSError as error:
        raise os_error("cannot delete " + place.name, error) from error
    with contextlib.suppress(OSError):
        os.rmdir(str(place.folder))  # the last one of its tag
    return {}


def in_use(base: Path, place: Place) -> list[str]:
    """Who uses a checkpoint: programs that read it, the live run that saved it, runs that wait to read it."""
    users = list(marked(place.sources).get(place.tag + "." + place.entry, ()))
    meta = {} if place.is_upstream else read_json(place.path / "meta.json") or {}
    for run in live_runs(base):
        if meta.get("run_id") == run["run"]:
            users.append("run %s, which saved it and is at work" % run["run"])
        elif run["waits"] and waits_for(run, place.source, place.tag, int(place.digits)):
            users.append("run %s, which waits to read it" % run["run"])
    return users


def _prune(folder: Path, levels: int) -> None:
    """Removes what is empty of the folders of copies."""
    for _ in range(levels + 1):
        try:
            os.rmdir(str(folder))
        except OSError:
            return
        folder = folder.parent


def _free(place: Place) -> int:
    folder = place.incoming
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(str(folder)).free


def _sync(path: Path) -> None:
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    descriptor = open_regular(path)
    with os.fdopen(descriptor, "rb") as file:
        while True:
            raw = file.read(READ_LIMIT)
            if not raw:
                return found.hexdigest()
            found.update(raw)


def _names(content: Json) -> list[Any]:
    files = content.get("files")
    if not isinstance(files, list) or len(files) > MOST_FILES:
        raise AgentError("'files' must be a list of names", "usage")
    return files


def _whole(content: Json, name: str) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise AgentError("'%s' must be a number of bytes" % name, "usage")
    return value
