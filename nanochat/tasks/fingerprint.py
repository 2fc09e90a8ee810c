"""What a chat stage reads, in a few words and one digest: so that a resume on other data is noticed."""

from collections.abc import Sequence
from typing import Any

from nanochat.data.fingerprint import digest
from nanochat.tasks.base import Conversation, Task

SAMPLED = 64
"""Conversations of a task that are hashed, spread over all, beside what they are made from: to make all of
them would take minutes."""


def tasks_fingerprint(name: str, tasks: Sequence[Task]) -> dict[str, Any]:
    """`name`, `size` and `sha256` of what is trained and validated on, for a checkpoint's metadata."""
    content = [
        [len(task), task.source(), [_told_once(task[index]) for index in _spread(len(task))]]
        for task in tasks
    ]
    return {
        "name": name,
        "size": f"{' + '.join(f'{len(task):,}' for task in tasks)} conversations",
        "sha256": digest(content),
    }


def _told_once(item: Conversation) -> dict[str, Any]:
    """The item without its choices, which the question holds: fingerprints in checkpoints have none."""
    return {name: value for name, value in item.items() if name != "choices"}


def _spread(count: int) -> list[int]:
    return sorted({count * number // SAMPLED for number in range(SAMPLED)}) if count else []
