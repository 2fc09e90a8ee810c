"""Servers of checkpoints on hosts: opened for a chat, kept while the app lives, reached over the connection.

    service = await fleet.services.open("h100", None, print)
    async with ChatClient(service.url, service.key) as client: ...

A service is a `chat_web` that the host's agent started, one per host and device; it answers for every
checkpoint of the host's base directory by name. It is no run. docs/services.md says what it promises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nanochat.checkpoint.names import CheckpointName
from nanochat.common.errors import Exit, UserError
from remote.fleet.session import HostSession

LEASE_SECONDS = 60.0
"""How long a service lives on that no app asks for any more."""


@dataclass(frozen=True)
class DeviceOffer:
    """A device of a host that could serve: "cpu" or "cuda:0". Sizes in bytes, None where it is not told.

    `busy_run` is the id of a run of ours at work there, `busy_other` true where somebody else uses it.
    `label` names it in one line, such as "cuda:0 · NVIDIA H100 · 78 GB free of 80 GB".
    """

    device: str
    free_bytes: int | None
    total_bytes: int | None
    busy_run: str | None
    busy_other: bool
    label: str


class DeviceChoice(UserError):  # noqa: N818 - the name says what it is
    """A training is at work on the host and no device was named: `offers` are the devices to choose from."""

    def __init__(self, host: str, run: str, offers: Sequence[DeviceOffer]) -> None:
        super().__init__(
            f"run {run} is at work on host '{host}': choose where to serve",
            "one of " + ", ".join(offer.device for offer in offers),
            Exit.FAILED,
        )
        self.host = host
        self.run = run
        self.offers = tuple(offers)


@dataclass(frozen=True)
class Service:
    """A service that this app keeps alive, at a port of this machine that outlives a cut link.

    Its clients send `key`. `started_at` is in Unix seconds of the host's clock.
    """

    id: str
    host: str
    device: str
    url: str
    key: str
    pinned: bool
    started_at: float


@dataclass(frozen=True)
class ServiceState:
    """A service as its host tells of it, whoever opened it.

    `status` is starting, ready or ending; `models` are in memory now; nobody has asked for `idle_seconds`
    (None: not told). `kept` says whether an app keeps it at this moment; `problem` is a line about one whose
    files cannot be used.
    """

    id: str
    host: str
    device: str
    status: str
    models: tuple[str, ...] = ()
    pinned: bool = False
    kept: bool = False
    idle_seconds: float | None = None
    started_at: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class HostCheckpoint:
    """A checkpoint folder on a host: its steps in the order of saving, the last one a name without a step
    stands for.

    `bytes` are of all its steps, `modified` is when the last was saved (Unix seconds, the host's clock),
    `run` the run that saved it where it tells.
    """

    name: CheckpointName
    steps: tuple[int, ...]
    bytes: int
    modified: float
    run: str | None


class Services:
    """The services of a fleet's hosts, reached through `session`, which gives the session of a host's name.

    Everything that a person can cause is a `UserError`.
    """

    def __init__(self, session: Callable[[str], Awaitable[HostSession]]) -> None:
        self._session = session

    async def offers(self, host: str) -> list[DeviceOffer]:
        """The devices of a host, GPUs first; the CPU is always there."""
        raise NotImplementedError

    async def open(self, host: str, device: str | None, waiting: Callable[[str], None]) -> Service:
        """Joins the service of that host and device, or starts it; returns once it answers.

        `waiting` hears in a line what is waited for, such as "starting the server on h100 (cuda:0)". Without
        a device it takes one that is in use as a service already, else the GPU with most memory free that
        nobody uses, else the CPU. Raises `DeviceChoice` when a training is at work on the host and there is
        a choice; a device that is named is taken whoever uses it. Raises `UserError` when the host cannot
        serve, in the words of its server where that did not start.
        """
        raise NotImplementedError

    async def pin(self, service: Service, pinned: bool) -> Service:
        """Lets a service live on after this app, or no longer."""
        raise NotImplementedError

    async def close(self, service: Service) -> None:
        """Ends a service at once, also a pinned one."""
        raise NotImplementedError

    def running(self) -> list[Service]:
        """The services that this app keeps, as last heard of."""
        raise NotImplementedError

    async def states(self, host: str) -> list[ServiceState]:
        """Every service on a host, oldest first, whoever opened it."""
        raise NotImplementedError

    async def checkpoints(self, host: str) -> list[HostCheckpoint]:
        """The checkpoint folders on a host, in the order of the pipeline."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Gives the leases back: services that no other app keeps end at once, unless pinned."""
