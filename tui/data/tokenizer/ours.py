"""Which tokenizers are our own: those that have the special tokens of conversations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanochat.common.paths import Layout
    from nanochat.tokenizer.explore.sources import Source
    from tui.data.tokenizer.chosen import Chosen


def own_folder(chosen: Chosen) -> Path | None:
    """The folder of the tokenizer that is looked at, where it is one of ours."""
    here = chosen.here
    if here is None:
        return None
    folder = Path(here.spec)
    return folder if "<|user_start|>" in here.splitter.specials and folder.is_dir() else None


def our_sources(layout: Layout) -> list[Source]:
    """Our tokenizers under the base directory, its own before all. Reads folders: call it in a thread."""
    from nanochat.tokenizer.explore.sources import known_sources

    return [
        source
        for source in known_sources(layout)
        if source.group in ("trained", "checkpoint") and Path(source.spec).is_dir()
    ]
