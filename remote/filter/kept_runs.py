"""What a filter that was understood keeps. Light: the first screen needs no more of the filter's language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remote.runs import RunRow

Predicate = Callable[["RunRow"], bool]


@dataclass(frozen=True)
class RunFilter:
    """A filter that was understood: `keeps` says whether a run is shown.

    Archived runs are left out unless the filter itself speaks of them (`is:archived`, `is:any`) or the run
    is live again. `timed`: the answer for one and the same run may change with time alone.
    """

    text: str = ""
    test: Predicate = lambda run: True
    archived: bool = False
    timed: bool = False

    def keeps(self, run: RunRow) -> bool:
        """True when the run is shown."""
        return (self.archived or not run.archived or run.live) and self.test(run)
