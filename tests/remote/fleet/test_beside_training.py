"""A run on GPUs that chat servers hold: one line before it starts, whoever asks for it; nothing is ended."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.config.options import from_mapping
from nanochat.config.stages import stage_spec
from remote.fleet.beside_training import HeldGpu, beside_line, gpus_taken, held_gpus
from remote.fleet.fleet import Fleet
from remote.fleet.service_answers import DeviceOffer, ServiceState
from remote.fleet.services import Services
from remote.runs import RunRequest

GIB = 1 << 30
ONE = HeldGpu("cuda:0", 0, "cuda-0-a", 12 * GIB)
OTHER = HeldGpu("cuda:3", 1, "cuda-3-b", None)


class Told:
    """What a host tells."""

    def __init__(self) -> None:
        self.services = [
            ServiceState("cpu-c", "box", "cpu", "ready"),
            ServiceState("cuda-3-b", "box", "cuda:3", "starting"),
            ServiceState("cuda-0-a", "box", "cuda:0", "ready", ("sft/d20",)),
            ServiceState("cuda-2-x", "box", "cuda:2", "failed"),
        ]
        self.devices: list[DeviceOffer] | None = [
            DeviceOffer("cuda:0", 60 * GIB, 80 * GIB, None, False, "", 12 * GIB),
            DeviceOffer("cuda:3", 80 * GIB, 80 * GIB, None, False, ""),
            DeviceOffer("cpu", None, None, None, False, ""),
        ]
        self.looked = 0

    async def states(self, host: str) -> list[ServiceState]:
        return self.services

    async def offers(self, host: str) -> list[DeviceOffer]:
        self.looked += 1
        if self.devices is None:
            raise UserError("NVML hangs")
        return self.devices


async def test_gpus_are_held_by_what_serves_there_with_or_without_figures() -> None:
    told = Told()
    assert await held_gpus(told, "box") == [ONE, OTHER]
    told.devices = None
    assert await held_gpus(told, "box") == [
        HeldGpu("cuda:0", 0, "cuda-0-a", None), HeldGpu("cuda:3", 3, "cuda-3-b", None)
    ]  # fmt: skip
    told.services, told.looked = told.services[:1], 0
    assert await held_gpus(told, "box") == [] and told.looked == 0


@pytest.mark.parametrize(
    ("stage", "options", "taken"),
    [
        ("base_train", {}, 1),
        ("base_train", {"nproc": 8}, 8),
        ("chat_sft", {"device_type": "cuda"}, 1),
        ("chat_eval", {}, 1),
        ("base_train", {"device_type": "cpu", "nproc": 2}, 0),
        ("tok_train", {}, 0),
    ],
)
def test_a_stage_takes_the_first_gpus_where_it_computes_a_model(
    stage: str, options: dict[str, Any], taken: int
) -> None:
    assert gpus_taken(from_mapping(stage_spec(stage).options, options, stage)) == taken


def test_the_line_says_which_how_much_and_how_to_end_it() -> None:
    assert beside_line("box", [ONE, OTHER], 0) == "" == beside_line("box", [OTHER], 1)
    assert beside_line("box", [ONE, OTHER], 1) == (
        "a chat server holds 12.0G of cuda:0 on box, where this will run, and goes on: "
        "nanochat hosts services box --stop cuda-0-a ends it"
    )
    assert beside_line("box", [ONE, OTHER], 8) == (
        "chat servers hold 12.0G of cuda:0 and cuda:3 on box, where this will run, and go on: "
        "nanochat hosts services box --stop ID ends one of cuda-0-a, cuda-3-b"
    )
    assert beside_line("box", [ONE], 1, "F7 v").endswith("goes on: F7 v ends it")


@pytest.fixture
async def fleet(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    """One whose host, this machine, tells of services and starts nothing."""
    told, fleet = Told(), Fleet(layout)
    for name in ("states", "offers"):
        monkeypatch.setattr(Services, name, lambda _, host, name=name: getattr(told, name)(host))
    yield fleet
    await fleet.aclose()


async def test_it_is_told_before_a_launch_is_sent(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    fleet.warn = told.append

    async def submit(*_: object) -> None:
        told.append("sent")
        raise UserError("enough")

    monkeypatch.setattr(fleet, "_submit", submit)
    for request in (RunRequest("tok_train"), RunRequest("base_train", {"depth": 2})):
        with pytest.raises(UserError, match="enough"):
            await fleet.launch("local", [request])
    assert told == ["sent", beside_line("local", [ONE], 1), "sent"]
