"""What panes talk to: choosing it, adding and closing panes, the device that serves, following, pinning."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from tui.data.chat.pane_set import MOST_PANES
from tui.data.chat.target import CheckpointTarget
from tui.screens.chat.parts import ChatPart

if TYPE_CHECKING:
    from remote.fleet.services import HostCheckpoint
    from remote.runs import RunRow
    from tui.data.chat.pane import Pane
    from tui.data.chat.target import PaneTarget
    from tui.widgets.chat.pane_view import PaneView


class TargetActions(ChatPart):
    """The actions on what panes talk to."""

    # ---- models --------------------------------------------------------------------------------------

    def action_model(self) -> None:
        self._pick(self.view.pane if self.view is not None else None)

    def action_add_pane(self) -> None:
        if len(self.panes.panes) >= MOST_PANES:
            raise UserError(f"there are {MOST_PANES} panes already", "close one first")
        self._pick(None)

    def _pick(self, pane: Pane | None) -> None:
        """Asks for a model, for `pane` or for a new one."""
        from tui.screens.chat.picker import ModelPicker

        def picked(target: PaneTarget | None) -> None:
            if target is not None:
                self.run_worker(self._use(pane, target), group="use")

        self.app.push_screen(ModelPicker(self.room), picked)

    async def _use(self, pane: Pane | None, target: PaneTarget) -> None:
        if pane is None or pane not in self.panes.panes:
            pane = await self.add_pane(target)
            pane.open()
        else:
            await self._switch(pane, target)
        self.field.focus()
        self.tell()
        self.remember()

    async def _switch(self, pane: Pane, target: PaneTarget) -> None:
        """A pane talks to something else: blind mode is over, as nobody could tell what was compared."""
        was_blind = self.blind is not None
        self.end_blind()
        pane.use(target)
        if was_blind:
            self.current = self.panes.panes.index(pane)
            await self.show_panes_anew()

    def action_close_pane(self) -> None:
        self.room.do(self._close(self.view_here()))

    async def _close(self, view: PaneView) -> None:
        pane = view.pane
        if not await self.may_lose([pane], f"Close pane {view.label}?", "close it"):
            return
        if pane not in self.panes.panes:
            return  # closed meanwhile: the key was pressed twice
        self.end_blind()
        await self.panes.remove(pane)
        await self.show_panes_anew()
        self.remember()

    def action_settings(self) -> None:
        from tui.screens.chat.settings_dialog import PaneSettings, SettingsDialog

        view = self.view_here()
        pane = view.pane
        if any((pane.settings, pane.system) != (one.settings, one.system) for one in self.panes.panes):
            self.check_names_shown("settings that differ")

        def chosen(found: PaneSettings | None) -> None:
            if found is None:
                return
            for other in self.panes.panes if found.to_all else [pane]:
                other.settings, other.system = found.answers, found.system
            for other_view in self.views:
                other_view.update()
            self.remember()

        dialog = SettingsDialog(view.label, pane.settings, pane.system, len(self.panes.panes))
        self.app.push_screen(dialog, chosen)

    # ---- devices -------------------------------------------------------------------------------------

    def choose_device(self, pane: Pane) -> None:
        """Asks once which device may serve, where a training is at work on the host."""
        from tui.screens.chat.device_dialog import DeviceDialog

        if any(isinstance(screen, DeviceDialog) for screen in self.app.screen_stack):
            return

        def chosen(device: str | None) -> None:
            if device is not None and pane in self.panes.panes:
                pane.open(device)
            elif pane.state.kind == "choosing":
                pane.stop()

        host = pane.target.host if isinstance(pane.target, CheckpointTarget) else ""
        self.app.push_screen(DeviceDialog(host, pane.offers), chosen)

    # ---- live runs -----------------------------------------------------------------------------------

    def chat_with(self, run: RunRow) -> None:
        """Talks to the newest checkpoint of a run, and to newer ones of a live run as they come."""
        self.run_worker(self._chat_with(run), group="use")

    def chat_with_checkpoint(self, target: CheckpointTarget) -> None:
        """Talks to a checkpoint, in the pane that has it already, in an unused one, or in a new one."""
        self.run_worker(self._go_to_target(target), group="use")

    async def _chat_with(self, run: RunRow) -> None:
        found = await self._checkpoint_of(run)
        await self._go_to_target(CheckpointTarget(run.host, found.name, run.run_id if run.live else ""))

    async def _go_to_target(self, target: CheckpointTarget) -> None:
        self.check_names_shown("going to another pane")
        for number, pane in enumerate(view.pane for view in self.views):
            if str(pane.target) == str(target):
                self.go_to(number)
                pane.open()
                return
        here = self.view
        unused = here is not None and not here.pane.tree.path and here.pane.state.kind == "closed"
        full = len(self.panes.panes) >= MOST_PANES
        await self._use(here.pane if here is not None and (unused or full) else None, target)

    async def _checkpoint_of(self, run: RunRow) -> HostCheckpoint:
        """The checkpoint folder that a run writes. Raises `UserError` when there is none yet."""
        for found in reversed(await self.room.fleet.services.checkpoints(run.host)):
            if found.run == run.run_id and found.steps:
                return found
        raise UserError(f"{sanitize(run.label, 60)} has saved no checkpoint that is there now")

    def action_follow(self) -> None:
        self.run_worker(self._follow(self.view_here().pane), group="use")

    async def _follow(self, pane: Pane) -> None:
        self.check_names_shown("following a run")
        target = pane.target
        if not isinstance(target, CheckpointTarget):
            raise UserError("an address follows no run", "choose a checkpoint first")
        if target.follows:
            await self._switch(pane, CheckpointTarget(target.host, target.name))
            self.room.say("no longer following the run")
        else:
            run = await self._writer_of(target)
            if pane not in self.panes.panes:
                return  # closed meanwhile
            await self._switch(
                pane, CheckpointTarget(target.host, replace(target.name, step=None), run.run_id)
            )
            self.room.say(f"following {sanitize(run.label, 60)}: its newest checkpoint answers")
        self.tell()
        self.remember()

    async def _writer_of(self, target: CheckpointTarget) -> RunRow:
        """The live run that writes a checkpoint folder."""
        live = {run.run_id: run for run in self.room.rows if run.live and run.host == target.host}
        for found in await self.room.fleet.services.checkpoints(target.host):
            name = found.name
            if (name.source, name.tag) == (target.name.source, target.name.tag) and found.run in live:
                return live[found.run]
        raise UserError(f"no live run writes {target.name.source}/{target.name.tag}")

    # ---- servers -------------------------------------------------------------------------------------

    def action_pin(self) -> None:
        self.room.do(self._pin(self.view_here().pane))

    async def _pin(self, pane: Pane) -> None:
        self.check_names_shown("a server's host")
        target = pane.target
        if not isinstance(target, CheckpointTarget):
            raise UserError("only a server that the control room started can be pinned")
        services = self.room.fleet.services
        service = next(
            (s for s in services.running() if (s.host, s.device) == (target.host, pane.device)), None
        )
        if service is None:
            raise UserError("this pane has no server yet", "ask something first")
        await services.pin(service, not service.pinned)
        if service.pinned:
            self.room.say(f"the server on {service.host} ends with the control room again")
        else:
            self.room.say(f"pinned: the server on {service.host} outlives the control room")
