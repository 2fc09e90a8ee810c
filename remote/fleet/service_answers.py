"""Services, devices and checkpoints of a host, as its agent tells of them: another machine wrote it all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.checkpoint.names import SOURCES, CheckpointName
from nanochat.common import fields
from nanochat.common.errors import Exit, UserError
from nanochat.common.text import sanitize, size_bytes
from remote.runs import RUN_ID

Json = dict[str, Any]

STARTING, READY, ENDING, FAILED = "starting", "ready", "ending", "failed"
DEVICE = re.compile(r"cpu|cuda:\d{1,4}")
SERVICE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}")
MOST_STEPS = 10_000
MOST_MODELS = 100


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
    held_bytes: int | None = None
    """What services of ours hold of its memory."""


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

    `status` is starting, ready, ending or failed; `models` are in memory now, and nobody has asked any of
    them for `idle_seconds` (None: not told). `kept` says whether an app keeps it at this moment; `problem`
    is a line about one that failed or whose files cannot be used.
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
    """A checkpoint folder on a host: its steps in the order of saving, the last one what a name without a
    step stands for.

    `bytes` are of all its steps, `modified` is when the last was saved (Unix seconds, the host's clock),
    `run` the run that saved it where it tells.
    """

    name: CheckpointName
    steps: tuple[int, ...]
    bytes: int
    modified: float
    run: str | None


@dataclass(frozen=True)
class Told:
    """A service as the agent answers it: its state, and what a client needs where it was asked for."""

    state: ServiceState
    port: int | None
    key: str


def told_of(host: str, entry: Json) -> Told:
    """One service of an answer. Raises `UserError` for what is none."""
    service_id, device = fields.text(entry.get("id"), 100), fields.text(entry.get("device", ""), 40)
    if service_id is None or not SERVICE_ID.fullmatch(service_id) or device is None:
        raise unreadable(host, "a service without a name")
    status = entry.get("status")
    known = status in (STARTING, READY, ENDING, FAILED) and DEVICE.fullmatch(device) is not None
    key = entry.get("key", "")
    return Told(
        ServiceState(
            service_id,
            host,
            device,
            str(status) if known else FAILED,
            fields.texts(entry.get("models") or (), 300, MOST_MODELS) or (),
            entry.get("pinned") is True,
            entry.get("kept") is True,
            fields.real(entry.get("idle"), 0.0),
            fields.moment(entry.get("started_at")) or 0.0,
            fields.text(entry.get("reason"), 500) or ("" if known else "it cannot be read"),
        ),
        fields.whole(entry.get("port"), 1, 65_535),
        key if isinstance(key, str) and key.isascii() and key.isprintable() else "",
    )


def offer_of(host: str, entry: Json) -> DeviceOffer:
    """One device of an answer. Raises `UserError` for what is none."""
    device = entry.get("device")
    if not isinstance(device, str) or not DEVICE.fullmatch(device):
        raise unreadable(host, "a device without a name")
    free, total = fields.whole(entry.get("free"), 0), fields.whole(entry.get("total"), 0)
    run = entry.get("run")
    run = run if isinstance(run, str) and RUN_ID.fullmatch(run) else None
    other = entry.get("other") is True
    title = sanitize(str(entry.get("title") or ""), 80)
    words = [device] if device == "cpu" else [device, title]
    if free is not None:
        words.append(f"{size_bytes(free)} free" + (f" of {size_bytes(total)}" if total else ""))
    if run:
        words.append(f"run {run} is at work there")
    elif other:
        words.append("somebody uses it")
    label = " · ".join(word for word in words if word)
    return DeviceOffer(device, free, total, run, other, label, fields.whole(entry.get("held"), 0))


def checkpoint_of(entry: Json) -> HostCheckpoint | None:
    """One checkpoint folder of an answer, None for what is none."""
    source, tag, told = entry.get("source"), entry.get("tag"), entry.get("steps")
    if source not in SOURCES or not isinstance(tag, str) or not _is_tag(tag) or not isinstance(told, list):
        return None
    steps = [fields.whole(step, 0) for step in told[-MOST_STEPS:]]
    if not steps or None in steps:
        return None
    run = entry.get("run")
    return HostCheckpoint(
        CheckpointName(source, tag),
        tuple(step for step in steps if step is not None),
        fields.whole(entry.get("bytes"), 0) or 0,
        fields.moment(entry.get("modified")) or 0.0,
        run if isinstance(run, str) and RUN_ID.fullmatch(run) else None,
    )


def _is_tag(tag: str) -> bool:
    """Whether a folder of that name can stand in a checkpoint's name."""
    return 0 < len(tag) <= 200 and tag.isprintable() and tag[0] != "." and not set("/@\0") & set(tag)


def unreadable(host: str, what: str) -> UserError:
    return UserError(f"host '{host}' gave an answer we cannot read: {what}", exit_code=Exit.FAILED)
