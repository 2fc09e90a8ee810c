"""A service's folder, `<base>/services/<id>/`: its files, its leases, its lock, and how it comes into being.

`service.json` says what was asked and never changes, `state.json` how it stands; both are replaced whole.
`key` (mode 0600) is what clients send. Each file in `leases` belongs to an app that keeps the service and is
touched as long as that lives; `pinned` keeps it without one, `end` asks for its end. `keeper.py` holds
`lock`. The folder is gone once the service has ended in order; after a failure it stays, for its log.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import machine
from ..documents import SERVICE_SCHEMA, service_fault, service_state_fault
from ..files import (
    AgentError,
    fsync_dir,
    open_bytes,
    open_regular,
    os_error,
    read_json,
    write_all,
    write_json,
)
from ..locks import holder, lock_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Json = dict[str, Any]

SERVICE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
HOLDER = re.compile(r"[A-Za-z0-9-]{1,64}")
ALIVE = ("starting", "ready", "ending")
MOST_HOLDERS = 64
FAILED_KEPT = 5
KEY_BYTES = 200
NEW, OLD = ".new-", ".old-"
"""Before the id, in the name of a folder that comes into being or goes."""
LOCK_PATIENCE = 15.0


class ServiceDir:
    """One service's folder. Reading returns None for what is missing or cannot be used; writing raises
    OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.log = path / "server.log"

    def read_service(self) -> Json | None:
        return self._read("service.json", service_fault)

    def read_state(self) -> Json | None:
        return self._read("state.json", service_state_fault)

    def _read(self, name: str, fault: Callable[[str, Json], str]) -> Json | None:
        document = read_json(self.path / name)
        return document if document is not None and not fault(self.id, document) else None

    def fault(self) -> str:
        """What is wrong with the documents, in a line; "" when both can be used."""
        for name, check in (("service.json", service_fault), ("state.json", service_state_fault)):
            document = read_json(self.path / name)
            why = f"{name} is missing or damaged" if document is None else check(self.id, document)
            if why:
                return why
        return ""

    def write_state(self, state: Json) -> None:
        write_json(self.path / "state.json", state)

    def key(self) -> str:
        """What clients send; "" when it cannot be read."""
        try:
            with open_bytes(self.path / "key") as file:
                return file.read(KEY_BYTES).decode("ascii").strip()
        except (OSError, ValueError):
            return ""

    def try_lock(self) -> int | None:
        """An open descriptor that holds the service's lock, or None while its keeper lives."""
        return lock_file(self.path / "lock")

    # -- who keeps it

    @property
    def pinned(self) -> bool:
        return (self.path / "pinned").exists()

    def pin(self, pinned: bool) -> None:
        """Lets it live without a lease, or no longer."""
        if pinned:
            _touch(self.path / "pinned")
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path / "pinned")

    @property
    def end_asked(self) -> bool:
        return (self.path / "end").exists()

    def ask_end(self) -> None:
        """Asks its keeper to end it at once."""
        _touch(self.path / "end")

    def renew(self, who: str) -> None:
        """Tells that `who` lives and keeps the service; nothing where the service is gone."""
        with contextlib.suppress(FileNotFoundError):
            _touch(self.path / "leases" / check_holder(who))

    def give_back(self, who: str) -> None:
        """Ends the lease of `who`."""
        with contextlib.suppress(OSError):
            os.unlink(self.path / "leases" / check_holder(who))

    def leases(self) -> dict[str, int]:
        """Who keeps it, with what changes at each renewal."""
        found: dict[str, int] = {}
        try:
            names = sorted(name for name in os.listdir(self.path / "leases") if HOLDER.fullmatch(name))
        except OSError:
            return found
        for name in names[:MOST_HOLDERS]:
            with contextlib.suppress(OSError):
                found[name] = os.stat(self.path / "leases" / name).st_mtime_ns
        return found

    def remove(self) -> None:
        """Removes the folder, out of the way first: who opens a file of it makes none in what is left."""
        old = self.path.with_name(OLD + self.id)
        with contextlib.suppress(OSError):
            os.rename(self.path, old)
        for path in (old, self.path):
            shutil.rmtree(path, ignore_errors=True)


def _made_at(service: ServiceDir) -> tuple[int, str]:
    """For an order by age: an id begins with its device, and two may be made in one second."""
    try:
        return os.stat(service.path / "service.json").st_mtime_ns, service.id
    except OSError:
        return 0, service.id


class Services:
    """The folder of all services under one base directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.path = base / "services"

    def get(self, service_id: object) -> ServiceDir:
        """The service of that id, there or not. Raises AgentError for what cannot be an id."""
        if not isinstance(service_id, str) or not SERVICE_ID.fullmatch(service_id):
            raise AgentError(f"not a service: {str(service_id)[:80]!r}", "usage")
        return ServiceDir(self.path / service_id)

    def existing(self, service_id: object) -> ServiceDir:
        """The service of that id. Raises AgentError when there is none."""
        service = self.get(service_id)
        if not service.path.is_dir():
            raise AgentError(f"no service {service_id} here: it has ended", "no_service")
        return service

    def all(self) -> list[ServiceDir]:
        """Every service's folder, oldest first. An absent folder holds none."""
        try:
            names = [name for name in os.listdir(self.path) if SERVICE_ID.fullmatch(name)]
        except OSError:
            return []
        return sorted((ServiceDir(self.path / name) for name in names), key=_made_at)

    def make(self) -> None:
        """Makes the folder, which is its owner's alone, unless it is there. Raises AgentError."""
        try:
            os.makedirs(self.base, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.path, 0o700)
        except OSError as error:
            raise os_error("cannot make a folder for services", error) from error
        owner = os.stat(self.path).st_uid
        if owner != os.geteuid():
            raise AgentError(
                f"{self.path} is another user's (uid {owner}): serve from a base directory of your own",
                "owner",
            )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Held by whoever starts, joins or ends a service: one that ends is never joined."""
        path = self.path / ".lock"
        descriptor = lock_file(path, LOCK_PATIENCE)
        if descriptor is None:
            raise AgentError(f"{path} is held by {holder(path)}: end that, or try again", "lock")
        try:
            yield
        finally:
            os.close(descriptor)

    def create(self, service: Json, key: str, who: str) -> tuple[ServiceDir, int]:
        """A service's folder that appears whole or not at all, with the descriptor that holds its lock."""
        final = self.get(service["id"])
        draft = ServiceDir(self.path / (NEW + final.id))
        os.mkdir(draft.path, 0o700)
        lock = draft.try_lock()
        assert lock is not None
        try:
            os.mkdir(draft.path / "leases", 0o700)
            draft.renew(who)
            _write_private(draft.path / "key", key)
            write_json(draft.path / "service.json", service)
            write_json(draft.path / "state.json", new_state(final.id))
            os.rename(draft.path, final.path)
        except BaseException:
            os.close(lock)
            draft.remove()
            raise
        fsync_dir(self.path)
        return final, lock

    def prune(self) -> None:
        """Keeps the last few that failed, for their logs, and nothing of what was killed while it made or
        removed a folder. Call it with the lock held: drafts are made under it."""
        for name in os.listdir(self.path):
            if name.startswith((NEW, OLD)):
                shutil.rmtree(self.path / name, ignore_errors=True)
        ended = [one for one in self.all() if (one.read_state() or {}).get("status") == "failed"]
        for service in ended[: max(0, len(ended) - FAILED_KEPT)]:
            service.remove()


def new_state(service_id: str) -> Json:
    """The state of a service that nobody has started yet."""
    return {
        "schema": SERVICE_SCHEMA,
        "id": service_id,
        "status": "starting",
        "pid": None,
        "pid_start": None,
        "port": None,
        "started_at": time.time(),
        "reason": "",
        "supervisor": None,
        **machine.identity(),
    }


def check_holder(who: object) -> str:
    """`who` when it is a safe name of a lease. Raises AgentError otherwise."""
    if not isinstance(who, str) or not HOLDER.fullmatch(who):
        raise AgentError(f"not the holder of a lease: {str(who)[:80]!r}", "usage")
    return who


def _touch(path: Path) -> None:
    """Makes an empty file, or gives it the present time. Takes no space once the file is there."""
    descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, text.encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
