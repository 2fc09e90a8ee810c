"""The screens that the Tokenizer screen opens by key; their code is loaded when they are opened first."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tui.data.tokenizer.chosen import Chosen
    from tui.screens.base import ControlScreen

    class MakesPart(Protocol):
        """The class of such a screen."""

        def __call__(self, chosen: Chosen) -> ControlScreen: ...


PARTS: dict[str, tuple[str, str]] = {
    "vocabulary": ("vocabulary", "VocabularyScreen"),
    "compare": ("compare", "CompareVocabularies"),
    "heat": ("heat", "HeatScreen"),
    "train": ("train", "TrainScreen"),
    "mask": ("mask", "MaskScreen"),
    "sweep": ("sweep", "SweepScreen"),
    "data": ("data_stats", "DataStatsScreen"),
}
"""Name, as in the keys, to the module beside this one and its class."""


def load_part(name: str) -> MakesPart:
    """The class of a screen, with its code loaded: call it in a thread."""
    module, kind = PARTS[name]
    loaded: MakesPart = getattr(import_module(f"tui.screens.tokenizer.{module}"), kind)
    return loaded
