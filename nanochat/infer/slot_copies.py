"""Copies between a sequence's keys or values (H_kv, tokens, D) and a store's slots (H_kv, slots, D)."""

import numpy as np
import torch
from torch import Tensor

from nanochat.infer.prefix_tree import Slots

RUN = 16
"""Slots that must follow each other on average, so that slices are copied faster than slots one by one."""


class SlotCopies:
    """Copies of the tokens whose slots these are, in order."""

    def __init__(self, slots: Slots, device: torch.device) -> None:
        starts = np.concatenate(([0], np.flatnonzero(np.diff(slots) != 1) + 1))
        self._runs: list[tuple[slice, slice]] = []
        """(in the sequence, in the store); empty where the copies are one by one."""
        self._index: Tensor | None = None
        if device.type == "cpu" and len(starts) * RUN <= len(slots):
            for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(slots)], strict=True):
                first = int(slots[start])
                self._runs.append((slice(start, stop), slice(first, first + stop - start)))
        else:
            self._index = torch.from_numpy(slots).to(device)

    def load(self, store: Tensor, sequence: Tensor) -> None:
        """Fills `sequence` from `store`."""
        if self._index is not None:
            sequence.copy_(store[:, self._index])
        for tokens, slots in self._runs:
            sequence[:, tokens] = store[:, slots]

    def save(self, sequence: Tensor, store: Tensor) -> None:
        """Writes `sequence` to `store`."""
        if self._index is not None:
            store[:, self._index] = sequence.to(store.dtype)
        for tokens, slots in self._runs:
            # Head by head: torch would share a larger copy out to its threads, and wait for one whose core
            # the decoding team or an event loop has.
            for to, found in zip(store[:, slots], sequence[:, tokens], strict=True):
                to.copy_(found)
