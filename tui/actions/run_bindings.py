"""What a person does to one run, from the table or from its own screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tui.actions import run as run_actions

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.app import ControlRoom


class RunActions:
    """The actions stop, resume, copy and shell on `chosen_run`; nothing happens when there is none."""

    if TYPE_CHECKING:

        @property
        def room(self) -> ControlRoom: ...

    @property
    def chosen_run(self) -> RunRow | None:
        """The run that the keys mean."""
        raise NotImplementedError

    def _with(self, act: Callable[[ControlRoom, RunRow], None]) -> None:
        run = self.chosen_run
        if run is not None:
            act(self.room, run)

    def action_stop(self) -> None:
        self._with(run_actions.ask_stop)

    def action_resume(self) -> None:
        self._with(run_actions.ask_resume)

    def action_copy(self) -> None:
        self._with(run_actions.copy_command)

    def action_shell(self) -> None:
        self._with(run_actions.open_shell)
