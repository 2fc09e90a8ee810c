"""Every evaluation the store knows, read again only when one has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remote.store.evaluations import Evaluation
    from remote.store.store import Store


class EvaluationReader:
    """`read` blocks: call it in a thread. Not thread-safe."""

    def __init__(self) -> None:
        self.evaluations: list[Evaluation] = []
        self._version = -1

    def read(self, store: Store) -> bool:
        """Reads what is there; False when nothing has changed since the last call."""
        version = store.evaluations_version()
        if version == self._version:
            return False
        self.evaluations, self._version = store.evaluations(), version
        return True
