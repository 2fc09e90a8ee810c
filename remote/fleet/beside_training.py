"""Before a run starts on GPUs that services of ours hold: which they are, and how to end them.

Nothing is ended for a run: who chats on a GPU and who trains on it are often the same person, who decides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nanochat.common.errors import UserError
from nanochat.common.text import size_bytes
from nanochat.config.options import Options
from remote.fleet.service_answers import READY, STARTING, DeviceOffer, ServiceState


@dataclass(frozen=True)
class HeldGpu:
    """A GPU of a host that a service holds. `place` is its place among those that a run sees, from 0; `bytes`
    what the service holds of its memory, None where that is not told."""

    device: str
    place: int
    service: str
    bytes: int | None


class HostServices(Protocol):
    """What is asked of `remote.fleet.services.Services`."""

    async def states(self, host: str) -> list[ServiceState]: ...
    async def offers(self, host: str) -> list[DeviceOffer]: ...


async def held_gpus(services: HostServices, host: str) -> list[HeldGpu]:
    """The GPUs of `host` that services hold, whichever app opened them, by number.

    Raises `UserError` when the host cannot be asked. Devices are looked at only where something is served.
    """
    serving = {
        state.device: state
        for state in await services.states(host)
        if state.status in (STARTING, READY) and state.device.startswith("cuda:")
    }
    if not serving:
        return []
    offers: dict[str, DeviceOffer] = {}
    with contextlib.suppress(UserError):  # without figures it is told all the same
        offers = {offer.device: offer for offer in await services.offers(host)}
    gpus = [device for device in offers if device != "cpu"] or sorted(serving, key=_number)
    return [
        HeldGpu(
            device,
            place if offers else _number(device),
            serving[device].id,
            offers[device].held_bytes if device in offers else None,
        )
        for place, device in enumerate(gpus)
        if device in serving
    ]


def _number(device: str) -> int:
    return int(device.partition(":")[2])


def gpus_taken(options: Options) -> int:
    """How many GPUs a stage with these options takes, the first of its host; 0 for one that takes none."""
    device = getattr(options, "device_type", "cpu")
    return int(getattr(options, "nproc", 1)) if device in ("", "cuda") else 0


def beside_line(host: str, held: Sequence[HeldGpu], taken: int, by_key: str = "") -> str:
    """One line about the GPUs in `held` that a run which takes `taken` of `host` will share; "" for none.

    It says how a service is ended: `by_key` in the app, else by a command.
    """
    shared = [gpu for gpu in held if gpu.place < taken]
    if not shared:
        return ""
    gpus = " and ".join(f"{size_bytes(gpu.bytes)} of {gpu.device}".removeprefix(" of ") for gpu in shared)
    names = [gpu.service for gpu in shared]
    one = len(shared) == 1
    who, goes = ("a chat server holds", "goes on") if one else ("chat servers hold", "go on")
    command = f"nanochat hosts services {host} --stop {names[0] if one else 'ID'}"
    of = "" if one or by_key else f" of {', '.join(names)}"
    return (
        f"{who} {gpus} on {host}, where this will run, and {goes}: "
        f"{by_key or command} ends {'it' if one else 'one'}{of}"
    )
