"""Arrays with fast extremes of any range."""

from __future__ import annotations

import math
from array import array

_BLOCK = 64


class MinMaxPyramid:
    """Values with minima and maxima of blocks of 64, 64² …: append O(1), range extremes O(64 log n).

    The blocks are made when they are first asked for: a metric that nobody looks at costs its values alone.
    """

    __slots__ = ("_highs", "_lows", "values")

    def __init__(self) -> None:
        self.values = array("d")
        self._lows: list[array[float]] = []
        self._highs: list[array[float]] = []

    def __len__(self) -> int:
        return len(self.values)

    def append(self, value: float) -> None:
        self.values.append(value)

    def extend(self, values: array[float]) -> None:
        self.values.extend(values)

    def adopt(self, values: array[float]) -> None:
        """Make `values` its own, without a copy; it must be empty, and nobody else may change them."""
        self.values = values

    def truncate(self, length: int) -> None:
        """Drop every value from index `length` on."""
        del self.values[length:]
        for lows, highs in zip(self._lows, self._highs, strict=True):
            length //= _BLOCK
            del lows[length:]
            del highs[length:]

    def _grow(self) -> None:
        low_source = high_source = self.values
        level = 0
        while (whole := len(low_source) // _BLOCK) > 0:
            if level == len(self._lows):
                self._lows.append(array("d"))
                self._highs.append(array("d"))
            lows, highs = self._lows[level], self._highs[level]
            for start in range(len(lows) * _BLOCK, whole * _BLOCK, _BLOCK):
                lows.append(min(low_source[start : start + _BLOCK]))
                highs.append(max(high_source[start : start + _BLOCK]))
            low_source, high_source = lows, highs
            level += 1

    def extremes(self, start: int, stop: int) -> tuple[float, float]:
        """Lowest and highest of values[start:stop]; the range must not be empty."""
        if stop - start > 2 * _BLOCK and len(self.values) // _BLOCK > len(
            self._lows[0] if self._lows else ()
        ):
            self._grow()
        low, high = math.inf, -math.inf
        lows = highs = self.values
        level = 0
        while stop - start > 2 * _BLOCK and level < len(self._lows):
            head, tail = -start % _BLOCK, stop % _BLOCK
            if head:
                low, high = min(low, *lows[start : start + head]), max(high, *highs[start : start + head])
            if tail:
                low, high = min(low, *lows[stop - tail : stop]), max(high, *highs[stop - tail : stop])
            start, stop = (start + head) // _BLOCK, (stop - tail) // _BLOCK
            lows, highs = self._lows[level], self._highs[level]
            level += 1
        if stop > start:
            low, high = min(low, min(lows[start:stop])), max(high, max(highs[start:stop]))
        return low, high
