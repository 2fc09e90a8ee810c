"""The devices of this host that could serve: how much of each is free, and who is at work there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import procs, recovery
from ..rundirs import Runs
from ..telemetry.gpus import Gpus, PatientGpus
from ..telemetry.host import Host
from .folder import ALIVE, Services

if TYPE_CHECKING:
    Json = dict[str, Any]

NVML_PATIENCE = 10.0
USED = 1 << 30
"""More used memory than this means that somebody uses a GPU, also where his processes cannot be seen."""
WITHOUT_MODEL = ("data_build", "data_download", "tok_train", "tok_eval")
"""Stages that compute no model; every other is taken for one that uses its device, also an unknown one."""
CARD = re.compile(r"gpu/(\d+)/(\w+)")
VARIABLE = "CUDA_VISIBLE_DEVICES"


class Device(NamedTuple):
    """`name` is "cpu" or "cuda:0", by NVML's number. Memory in bytes, None where it is not told.

    `run` is the id of a run of this base directory at work there, "" for none; `other` whether somebody else
    is. `uuid` is what CUDA_VISIBLE_DEVICES takes. `held` is what our own services hold of its memory, None
    where that is not told.
    """

    name: str
    title: str
    free: int | None
    total: int | None
    run: str
    other: bool
    uuid: str = ""
    held: int | None = None

    def document(self) -> Json:
        """As the agent answers it."""
        names = {"name": "device", "title": "title", "free": "free", "total": "total", "other": "other"}
        told = {word: getattr(self, field) for field, word in names.items()}
        return {**told, "run": self.run or None, "held": self.held}


class AtWork(NamedTuple):
    """A run at work on this host: its processes, and the devices that it was given."""

    run_id: str
    pids: set[int]
    on_cpu: bool
    processes: int
    visible: str | None


class UsedGpus(Gpus):
    """Memory, identity and processes of every GPU."""

    def _card(self, index: int) -> dict[str, float | int | str]:
        values = super()._card(index)
        nvml, prefix = self._nvml, f"gpu/{index}/"
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)
            values[prefix + "uuid"] = uuid.decode("ascii", "replace") if isinstance(uuid, bytes) else uuid
            found = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            held = {process.pid: int(process.usedGpuMemory or 0) for process in found}
            values[prefix + "pids"] = " ".join(f"{pid}:{size}" for pid, size in sorted(held.items()))
        except nvml.NVMLError as error:
            self._check(error)
        return values


def devices(base: Path) -> list[Device]:
    """The GPUs that may be used here, by number, then the CPU."""
    working = at_work(base)
    values, _ = PatientGpus(UsedGpus(), NVML_PATIENCE).sample()
    cards = _shown(_cards(values), os.environ.get(VARIABLE))
    ours = _service_pids(base)
    found = []
    unseen = [work for work in working if not work.on_cpu and not _seen(work, cards)]
    for place, (index, card) in enumerate(cards.items()):
        run = next((work.run_id for work in working if work.pids & card["pids"]), "")
        run = run or next((work.run_id for work in unseen if _claims(work, place, index, card)), "")
        found.append(_gpu(index, card, run, ours))
    memory = Host(base).memory()
    total, used = memory.get("host/ram_total"), memory.get("host/ram_used")
    free = None if total is None or used is None else max(0, int(total) - int(used))
    run = next((work.run_id for work in working if work.on_cpu or not cards), "")
    found.append(Device("cpu", "CPU", free, None if total is None else int(total), run, False))
    return found


def _cards(values: dict[str, float | int | str]) -> dict[int, Json]:
    """What was told of each card, by number, with its processes as a set of `pids`, and what each of them
    `holds` in bytes (0: not told)."""
    cards: dict[int, Json] = {}
    for key, value in values.items():
        match = CARD.fullmatch(key)
        if match:
            cards.setdefault(int(match[1]), {})[match[2]] = value
    for card in cards.values():
        told = (word.partition(":") for word in str(card.get("pids", "")).split())
        card["holds"] = {int(pid): int(size) for pid, _, size in told}
        card["pids"] = set(card["holds"])
    return {index: card for index, card in cards.items() if "error" not in card}


def _gpu(index: int, card: Json, run: str, ours: set[int]) -> Device:
    total, used = card.get("mem_total"), card.get("mem_used")
    free = None if total is None or used is None else max(0, int(total) - int(used))
    held = sum(card["holds"][pid] for pid in ours & card["pids"]) or None
    other = not run and (
        bool(card["pids"] - ours) or (not card["pids"] and used is not None and int(used) > USED)
    )
    name = str(card.get("name", "GPU"))
    return Device(f"cuda:{index}", name, free, total, run, other, str(card.get("uuid", "")), held)


def _shown(cards: dict[int, Json], visible: str | None) -> dict[int, Json]:
    """The cards that CUDA_VISIBLE_DEVICES leaves, where it is set."""
    if visible is None:
        return cards
    words = [word.strip() for word in visible.split(",")]
    return {index: card for index, card in cards.items() if _is_named(words, index, card)}


def _is_named(words: list[str], index: int, card: Json) -> bool:
    uuid = str(card.get("uuid", ""))
    return any(word == str(index) or (word.startswith("GPU-") and uuid.startswith(word)) for word in words)


def _seen(work: AtWork, cards: dict[int, Json]) -> bool:
    """Whether NVML shows a process of the run on a card."""
    return any(work.pids & card["pids"] for card in cards.values())


def _claims(work: AtWork, place: int, index: int, card: Json) -> bool:
    """Whether a run that NVML does not show (it is starting, or a container hides its processes) was given
    this card."""
    if work.visible is not None:
        return _is_named([word.strip() for word in work.visible.split(",")], index, card)
    return place < work.processes


def at_work(base: Path) -> list[AtWork]:
    """The runs of this base directory that compute on this host now, newest first."""
    runs = Runs(base)
    found = []
    for run_id in reversed(runs.ids()):
        directory = runs.get(run_id)
        state = directory.read_state()
        if state is None or state.get("status") not in ("starting", "running"):
            continue
        run = directory.read_run()
        if run is None or run.get("stage") in WITHOUT_MODEL:
            continue
        if recovery.is_local(directory, run, state) and recovery.stage_alive(state):
            found.append(_work(run_id, run, state, directory.path))
    return found


def _work(run_id: str, run: Json, state: Json, path: Path) -> AtWork:
    pid = int(state["pid"])
    mark = procs.mark_of(path, int(state["attempt"]))
    pids = {pid, *procs.members(pid, mark, procs.leads_group(pid))}
    options = run.get("options")
    options = options if isinstance(options, dict) else {}
    count = options.get("nproc", 1)
    processes = count if isinstance(count, int) and 1 <= count <= 1024 else 1
    return AtWork(run_id, pids, options.get("device_type") == "cpu", processes, _visible(pid))


def _visible(pid: int) -> str | None:
    """CUDA_VISIBLE_DEVICES of a process, None where it has none."""
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    start = f"{VARIABLE}=".encode()
    found = next((word[len(start) :] for word in words if word.startswith(start)), None)
    return None if found is None else found.decode("utf-8", "replace")


def _service_pids(base: Path) -> set[int]:
    """Processes of our own services: a GPU that only they use is free."""
    pids = set()
    for service in Services(base).all():
        state = service.read_state() or {}
        if state.get("status") in ALIVE and recovery.stage_alive(state):
            pids.add(int(state["pid"]))
    return pids


class Choice(Exception):  # noqa: N818 - a question, no error
    """A training is at work here, and a person has to say where to serve."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self.run = run


def choose(found: list[Device], asked: str | None, serving: list[tuple[str, bool]]) -> Device:
    """The device to serve on: the one asked for; else one that serves (`serving`: its name, and whether it
    was chosen beside a run), the freest GPU that nobody uses, or the CPU.

    Raises `Choice` where a run is at work and there are GPUs.
    """
    names = {device.name: device for device in found}
    if asked is not None:
        return names[asked]
    for name, shared in serving:
        device = names.get(name)
        if device is not None and (shared or not device.run or name == "cpu"):
            return device
    gpus = [device for device in found if device.name != "cpu"]
    run = next((device.run for device in found if device.run), "")
    if run and gpus:
        raise Choice(run)
    free = [device for device in gpus if not device.other]
    return max(free, key=lambda device: device.free or 0) if free else names["cpu"]
