"""A checkpoint's name, `SOURCE/TAG[@STEP]`: `base/d20`, `sft/d20@650`; without `@STEP` the last one saved.

The one form in which a person or a client names a checkpoint. Parsing loads no torch.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError, nearest
from nanochat.common.paths import CHECKPOINT_FOLDERS, Layout

if TYPE_CHECKING:
    from nanochat.checkpoint.files import Checkpoint

SOURCES = tuple(CHECKPOINT_FOLDERS)
"""The stages that write checkpoints, in the order of the pipeline."""

_STEP = re.compile(r"[0-9]{1,12}")
_EXAMPLE = "write SOURCE/TAG or SOURCE/TAG@STEP, such as base/d20 or sft/d20@650"


@dataclass(frozen=True)
class CheckpointName:
    """The checkpoint of `step` that `source` (base, mid, sft, rl) wrote to the folder `tag`.

    `step` None: the last one saved. `str()` gives what `parse_name` reads.
    """

    source: str
    tag: str
    step: int | None = None

    def __str__(self) -> str:
        return f"{self.source}/{self.tag}" + ("" if self.step is None else f"@{self.step}")


def parse_name(text: str) -> CheckpointName:
    """The name that `text` spells. Raises `UserError` that says what is wrong with it."""
    source, slash, rest = text.strip().partition("/")
    if not slash:
        raise UserError(f"'{text[:200]}' is not a checkpoint's name", _EXAMPLE)
    if source not in SOURCES:
        raise UserError(
            f"'{text[:200]}': no stage '{source[:80]}' writes checkpoints", nearest(source, SOURCES)
        )
    tag, at, step = rest.partition("@")
    if not tag or tag.startswith(".") or "/" in tag or "\0" in tag:
        raise UserError(f"'{text[:200]}' names no checkpoint folder", _EXAMPLE)
    if at and not _STEP.fullmatch(step):
        raise UserError(f"'{text[:200]}': the step '{step[:80]}' is not a whole number", _EXAMPLE)
    return CheckpointName(source, tag, int(step) if at else None)


def known_names(layout: Layout) -> list[CheckpointName]:
    """Every checkpoint folder of a base directory, without steps, in the order of the pipeline."""
    return [CheckpointName(source, tag) for source in SOURCES for tag in _tags(layout, source)]


def _tags(layout: Layout, source: str) -> Iterator[str]:
    folder = layout.checkpoints(source)
    try:
        tags = sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError:
        return
    # A tag with @ could not be told from a step.
    yield from (tag for tag in tags if not tag.startswith(".") and "@" not in tag)


def resolve_name(layout: Layout, name: CheckpointName) -> "Checkpoint":
    """The checkpoint on disk: its folder (or upstream's model file), step and metadata.

    Raises `UserError` with the nearest names when there is no such folder, with the steps there are when it
    has not that one.
    """
    from nanochat.checkpoint.files import find_checkpoint

    known = known_names(layout)
    if CheckpointName(name.source, name.tag) not in known:
        hint = nearest(f"{name.source}/{name.tag}", map(str, known)) if known else "train one first"
        raise UserError(f"no checkpoint '{name}' in {layout.base}", hint)
    step = -1 if name.step is None else name.step
    return find_checkpoint(layout.checkpoints(name.source), name.tag, step)


def newest_name(layout: Layout) -> CheckpointName:
    """The checkpoint folder saved to last, of the furthest stage that has one.

    Raises `UserError` when there is no checkpoint at all.
    """
    from nanochat.checkpoint.files import list_checkpoints

    for source in reversed(SOURCES):
        saved: dict[str, float] = {}
        for tag in _tags(layout, source):
            for checkpoint in list_checkpoints(layout.checkpoints(source) / tag):
                # Upstream's metadata has no time of saving: its file has.
                when = checkpoint.saved_at or checkpoint.path.stat().st_mtime
                saved[tag] = max(when, saved.get(tag, 0.0))
        if saved:
            return CheckpointName(source, max(saved, key=lambda tag: (saved[tag], tag)))
    raise UserError(f"no checkpoints in {layout.base}", "train first: nanochat base_train")
