"""A host's GPUs from its telemetry: the latest reading of each, a history in buckets, and stragglers.

Telemetry comes every 2 s as a flat dict (`gpu/<i>/util`, `host/cpu` …); unreadable values are absent.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

Value = float | int | str

BUCKET_SECONDS = 5.0
BUCKETS = 1440
"""Two hours of history."""

STRAGGLER = 0.12
"""A GPU is a straggler when it is this fraction under the median of its peers over a minute."""

_GPU = re.compile(r"gpu/(\d+)/(\w+)")
_BENIGN = frozenset({"", "none", "gpu_idle", "gpuidle", "idle"})


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU at one moment; None where NVML gave no value. Bytes, watts, °C, MHz."""

    index: int
    name: str = ""
    util: float | None = None
    mem_used: float | None = None
    mem_total: float | None = None
    power: float | None = None
    power_limit: float | None = None
    temp: float | None = None
    sm_clock: float | None = None
    throttle: str = ""
    ecc: float | None = None

    @property
    def throttled(self) -> bool:
        """Whether the clocks are limited by anything but idleness."""
        return self.throttle.lower() not in _BENIGN


def number_in(data: Mapping[str, Value], name: str) -> float | None:
    """The finite number under `name`; None when absent or no number."""
    value = data.get(name)
    if isinstance(value, str) or value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    return float(value)


def gpus(data: Mapping[str, Value]) -> list[Gpu]:
    """The GPUs in a telemetry dict, in order of index."""
    indices = sorted({int(match[1]) for name in data if (match := _GPU.fullmatch(name))})
    return [_gpu(data, index) for index in indices]


def _gpu(data: Mapping[str, Value], index: int) -> Gpu:
    def value(name: str) -> float | None:
        return number_in(data, f"gpu/{index}/{name}")

    return Gpu(
        index=index,
        name=str(data.get(f"gpu/{index}/name", "")),
        util=value("util"),
        mem_used=value("mem_used"),
        mem_total=value("mem_total"),
        power=value("power"),
        power_limit=value("power_limit"),
        temp=value("temp"),
        sm_clock=value("sm_clock"),
        throttle=str(data.get(f"gpu/{index}/throttle", "")),
        ecc=value("ecc"),
    )


class GpuHistory:
    """Means per GPU over buckets of 5 s, for the heat map and the detection of stragglers."""

    METRICS = ("util", "sm_clock", "power", "temp")

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, str], deque[list[float]]] = {}
        self.latest = 0.0

    def add(self, t: float, readings: list[Gpu]) -> None:
        """Add readings of unix time t; those older than the newest bucket are ignored."""
        start = t // BUCKET_SECONDS * BUCKET_SECONDS
        self.latest = max(self.latest, t)
        for gpu in readings:
            for metric in self.METRICS:
                value = getattr(gpu, metric)
                if value is not None:
                    self._add(gpu.index, metric, start, value)

    def _add(self, index: int, metric: str, start: float, value: float) -> None:
        ring = self._buckets.setdefault((index, metric), deque(maxlen=BUCKETS))
        if ring and ring[-1][0] == start:
            ring[-1][1] += value
            ring[-1][2] += 1
        elif not ring or ring[-1][0] < start:
            ring.append([start, value, 1])

    def indices(self) -> list[int]:
        return sorted({index for index, _ in self._buckets})

    def span(self) -> float:
        """Seconds of history, at most two hours."""
        starts = [ring[0][0] for ring in self._buckets.values() if ring]
        return self.latest - min(starts) if starts else 0.0

    def row(self, index: int, metric: str, columns: int, seconds: float) -> list[float | None]:
        """Means of the last `seconds` in `columns` equal spans, oldest first; None where nothing was read."""
        sums, counts = [0.0] * columns, [0.0] * columns
        begin = self.latest - seconds
        for start, total, count in reversed(self._buckets.get((index, metric), ())):
            column = int((start + BUCKET_SECONDS / 2 - begin) / seconds * columns)
            if column < 0:
                break
            column = min(column, columns - 1)
            sums[column] += total
            counts[column] += count
        return [total / count if count else None for total, count in zip(sums, counts, strict=True)]

    def stragglers(self) -> dict[int, str]:
        """GPUs well under their peers over the last minute, and in what: `clock 22 % under the others`."""
        found: dict[int, str] = {}
        for metric, word in (("sm_clock", "clock"), ("util", "util")):
            means = {index: self.row(index, metric, 1, 60.0)[0] for index in self.indices()}
            known = {index: mean for index, mean in means.items() if mean is not None}
            middle = median(known.values()) if len(known) >= 3 else 0.0
            for index, mean in known.items():
                if middle > 0 and mean < middle * (1 - STRAGGLER):
                    found.setdefault(index, f"{word} {100 * (1 - mean / middle):.0f} % under the others")
        return found
