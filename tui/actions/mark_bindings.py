"""The key actions that mark runs, shared by the table of runs and the run's own screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tui.actions import marks

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.room import Room


class MarkActions:
    """Tags and notes of `chosen_runs`; nothing happens when there are none."""

    if TYPE_CHECKING:

        @property
        def room(self) -> Room: ...

    @property
    def chosen_runs(self) -> Sequence[RunRow]:
        """The runs that the actions apply to."""
        raise NotImplementedError

    def action_tag(self) -> None:
        if self.chosen_runs:
            self.room.do(self._tag(self.chosen_runs))

    async def _tag(self, runs: Sequence[RunRow]) -> None:
        before = marks.common_tags(runs)
        text = await self.room.ask(f"tags of {marks.named(runs)}", "words, one a tag", before)
        if text is not None:
            await marks.set_tags(self.room, runs, before, text)

    def action_note(self) -> None:
        if self.chosen_runs:
            self.room.do(self._note(self.chosen_runs))

    async def _note(self, runs: Sequence[RunRow]) -> None:
        before = marks.common_note(runs)
        text = await self.room.ask(f"note about {marks.named(runs)}", "one line, empty: none", before)
        if text is not None and text != before:
            await marks.set_note(self.room, runs, text)
