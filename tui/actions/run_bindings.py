"""The key actions on one run, shared by the table of runs and the run's own screen.

What they do is loaded when one is pressed: the first frame needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.room import Room


class RunActions:
    """The actions on `chosen_run`: stop, resume, copy, report, shell; nothing happens when there is none."""

    if TYPE_CHECKING:

        @property
        def room(self) -> Room: ...

    @property
    def chosen_run(self) -> RunRow | None:
        """The run that the actions apply to."""
        raise NotImplementedError

    def _do(self, action: Callable[[Room, RunRow], Coroutine[Any, Any, None]]) -> None:
        run = self.chosen_run
        if run is not None:
            self.room.do(action(self.room, run))

    def action_stop(self) -> None:
        from tui.actions.run import stop

        self._do(stop)

    def action_resume(self) -> None:
        from tui.actions.run import resume

        self._do(resume)

    def action_chat(self) -> None:
        run = self.chosen_run
        if run is not None:
            self.room.chat_with(run)

    def action_copy(self) -> None:
        from tui.actions.run import copy_command

        self._do(copy_command)

    def action_report(self) -> None:
        from tui.actions.report import write_report

        self._do(write_report)

    def action_shell(self) -> None:
        from tui.actions.run import open_shell

        self._do(open_shell)
