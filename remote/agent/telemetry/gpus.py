"""Each GPU as NVML tells it, through NVIDIA's own `pynvml` module. Only ever reads.

What a card does not support is left out. A card that has fallen off the bus keeps its index and says so.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Values = dict[str, float | int | str]

RETRY = 30.0
RELOAD = 300.0
PATIENCE = 1.0
#: bits of nvmlClocksEventReasons that slow a card; idleness and chosen clocks are no throttling
THROTTLES = (
    (0x0004, "power cap"),
    (0x0008, "hardware slowdown"),
    (0x0020, "software thermal"),
    (0x0040, "hardware thermal"),
    (0x0080, "power brake"),
    (0x0200, "board limit"),
    (0x0400, "reliability"),
)


class NvmlGone(Exception):  # noqa: N818 - a state of the driver
    """NVML stopped answering as a whole: the driver was unloaded or replaced under us."""


class Gpus:
    """All GPUs that NVML shows. `error` says why there are none, "" when NVML answers."""

    def __init__(self, retry: float = RETRY) -> None:
        self.error = ""
        self.retry = retry
        self._mismatch_since: float | None = None
        self._last_try = 0.0
        self._nvml: Any = None
        self._next_try = 0.0

    @property
    def stale(self) -> bool:
        """True when the driver was replaced and the library we loaded can never talk to the new one."""
        return self._mismatch_since is not None and self._last_try - self._mismatch_since > RELOAD

    def sample(self, now: float) -> Values:
        """`gpu/<i>/…` of every card; nothing while NVML is not there, which is tried again now and then."""
        if self._nvml is None and not self._open(now):
            return {}
        values: Values = {}
        try:
            for index in range(self._nvml.nvmlDeviceGetCount()):
                values.update(self._card(index))
        except NvmlGone as gone:
            self._close(str(gone), now)
            return {}
        except self._nvml.NVMLError as error:
            self._close(str(error), now)
            return {}
        return values

    def describe(self) -> list[dict[str, Any]]:
        """Name and memory in bytes of every card.

        Memory that is not told is None; `mem_shared` marks a card that has none of its own, such as NVIDIA's
        GB10 and Jetsons: it works in the host's.
        """
        cards: dict[str, dict[str, Any]] = {}
        for key, value in self.sample(time.monotonic()).items():
            _, index, name = key.split("/", 2)
            cards.setdefault(index, {})[name] = value
        found = []
        for index, card in cards.items():
            told = {"name": card.get("name", "GPU"), "mem_total": card.get("mem_total")}
            if told["mem_total"] is None and self._shares_memory(int(index)):
                told["mem_shared"] = True
            found.append(told)
        return found

    def _shares_memory(self, index: int) -> bool:
        """NVML says "not supported" for the memory of a card without its own; other errors say nothing."""
        if self._nvml is None:
            return False
        try:
            return not _memory(self._nvml, self._nvml.nvmlDeviceGetHandleByIndex(index))
        except self._nvml.NVMLError as error:
            return bool(error.value == self._nvml.NVML_ERROR_NOT_SUPPORTED)

    def driver(self) -> str | None:
        """The driver's version, None while NVML is not there."""
        if self._nvml is None:
            return None
        try:
            return _text(self._nvml.nvmlSystemGetDriverVersion())
        except self._nvml.NVMLError:
            return None

    def _open(self, now: float) -> bool:
        if now < self._next_try:
            return False
        self._next_try = now + self.retry
        self._last_try = now
        try:
            import pynvml
        except ImportError as error:
            self.error = f"the pynvml module is missing: {error}"
            return False
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self.error = str(error)
            mismatch = error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
            self._mismatch_since = (self._mismatch_since or now) if mismatch else None
            return False
        self._mismatch_since = None
        self._nvml = pynvml
        self.error = ""
        return True

    def _close(self, reason: str, now: float) -> None:
        nvml, self._nvml = self._nvml, None
        self.error = reason
        self._next_try = now + self.retry
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError:
            pass  # it is gone already, which is why we are here

    def _card(self, index: int) -> Values:
        nvml = self._nvml
        prefix = f"gpu/{index}/"
        values: Values = {}
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            self._check(error)
            return {f"{prefix}error": str(error)}
        for read in (_name, _util, _memory, _power, _power_limit, _temperature, _clock, _throttle, _ecc):
            try:
                for name, value in read(nvml, handle).items():
                    values[prefix + name] = value
            except nvml.NVMLError as error:
                self._check(error)
                if error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED):
                    values[f"{prefix}error"] = str(error)
                    break
        return values

    def _check(self, error: Any) -> None:
        nvml = self._nvml
        whole = (
            nvml.NVML_ERROR_UNINITIALIZED,
            nvml.NVML_ERROR_DRIVER_NOT_LOADED,
            nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        )
        if error.value in whole:
            raise NvmlGone(str(error))


class PatientGpus:
    """`Gpus` behind a thread: a driver that hangs costs the GPU values of a sample, not the sample."""

    def __init__(self, gpus: Gpus, patience: float = PATIENCE) -> None:
        self.gpus = gpus
        self.patience = patience
        self._answer: tuple[Values, str] | None = None
        self._thread: threading.Thread | None = None

    def sample(self) -> tuple[Values, str]:
        """The values, and why there are none ("" when all is well)."""
        if self._thread is None or not self._thread.is_alive():
            self._answer = None
            self._thread = threading.Thread(target=self._ask, name="nvml", daemon=True)
            self._thread.start()
        self._thread.join(self.patience)
        if self._thread.is_alive() or self._answer is None:
            return {}, "NVML does not answer: the driver hangs"
        return self._answer

    def _ask(self) -> None:
        try:
            self._answer = (self.gpus.sample(time.monotonic()), self.gpus.error)
        except Exception as error:
            self._answer = ({}, f"NVML failed: {type(error).__name__}: {error}")


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _name(nvml: Any, handle: Any) -> Values:
    return {"name": _text(nvml.nvmlDeviceGetName(handle))}


def _util(nvml: Any, handle: Any) -> Values:
    return {"util": nvml.nvmlDeviceGetUtilizationRates(handle).gpu}


def _memory(nvml: Any, handle: Any) -> Values:
    """Version 2 leaves the driver's own reservation out of `used`, as nvidia-smi does."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except nvml.NVMLError as error:
        absent = (nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
        if error.value not in (*absent, nvml.NVML_ERROR_NOT_SUPPORTED):
            raise
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    # A card without memory of its own may also tell of none.
    return {"mem_used": int(memory.used), "mem_total": int(memory.total)} if memory.total else {}


def _power(nvml: Any, handle: Any) -> Values:
    return {"power": round(nvml.nvmlDeviceGetPowerUsage(handle) / 1000.0, 1)}


def _power_limit(nvml: Any, handle: Any) -> Values:
    return {"power_limit": round(nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000.0, 1)}


def _temperature(nvml: Any, handle: Any) -> Values:
    return {"temp": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)}


def _clock(nvml: Any, handle: Any) -> Values:
    return {"sm_clock": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)}


def _throttle(nvml: Any, handle: Any) -> Values:
    """Older drivers know the same bits under the older name."""
    read: Callable[[Any], int] = nvml.nvmlDeviceGetCurrentClocksEventReasons
    try:
        bits = read(handle)
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            raise
        bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    return {"throttle": ", ".join(word for bit, word in THROTTLES if bits & bit)}


def _ecc(nvml: Any, handle: Any) -> Values:
    count = nvml.nvmlDeviceGetTotalEccErrors(
        handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
    )
    return {"ecc": int(count)}
