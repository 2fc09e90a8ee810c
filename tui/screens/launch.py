"""Launch: choose a stage and a host, fill in the form, see the exact command, start it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from textual import events, work
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.config.options import Value, changed
from nanochat.config.stages import STAGES
from nanochat.config.train_options import BaseTrainOptions
from nanochat.scaling.estimate import validation_tokens_in
from tui.actions import run as run_actions
from tui.actions.command_line import stage_line
from tui.data.held_gpus import HeldGpus
from tui.data.launch_estimate import estimate_text, machine_of, tokenizer_size
from tui.data.passed_variables import passing
from tui.keymap import hint, with_keys
from tui.keys import bindings
from tui.screens.panes import PaneScreen, Split
from tui.widgets.choice import Choice
from tui.widgets.form import OptionForm, describe, format_value

if TYPE_CHECKING:
    from remote.hosts.book import Host
    from remote.runs import Change, Probe, RunRequest

FIRST_STAGE = "base_train"
SIDE_BY_SIDE = 110
LOW = 30
ESTIMATED = "base_train"
"""The stage whose memory, time and cost are estimated."""
ESTIMATE_ROWS = 2
FORM_ROWS = 5
"""Rows that the form keeps, with its border, however long the command is."""
THIS_WILL_RUN = "exactly this will run"
TYPING_PAUSE = 0.15
"""Seconds without a key press before the estimate is renewed."""


class LaunchScreen(PaneScreen):
    """A stage's form. What was typed for one stage is kept while another is chosen."""

    place = "Launch"
    groups = ("launch", "panes")
    splits = (Split("about", "#about-command", "columns", least=30, leave=50),)
    about = (
        "Options at their defaults are not written into the command; a dot marks what you changed. 10_000 "
        "and 2e9 are whole numbers too. The command below the form is exactly what runs on the host."
    )
    BINDINGS = bindings("launch")
    AUTO_FOCUS = "#stage"

    def __init__(self, host: str = "local", stage: str = FIRST_STAGE) -> None:
        super().__init__()
        self._stage = stage if stage in STAGES else next(iter(STAGES))
        self._host = host
        self._forms: dict[str, OptionForm] = {}
        self._starting = False
        self._probes: dict[str, Probe | None] = {}
        self._held_gpus = HeldGpus(self.room)
        self._filled: dict[str, dict[str, Value]] = {}
        """What is to be put into the form of a stage when it is shown next."""
        self._put: dict[str, frozenset[str]] = {}
        """The options that were put there so the last time: they give way to the next ones."""
        self._timer: Timer | None = None
        self._first_host = host

    def body(self) -> Iterable[Widget]:
        hosts = [host.name for host in self.room.hosts]
        shown = [f"{spec.name}: {spec.summary}" for spec in STAGES.values()]
        with Vertical(id="what") as what:
            what.border_title = "launch a stage"
            with Horizontal(classes="field"):
                yield Static("  stage", classes="label")
                yield Choice(list(STAGES), self._stage, shown=shown, id="stage")
            with Horizontal(classes="field"):
                yield Static("  host", classes="label")
                yield Choice(hosts, self._host, id="host")
            with Horizontal(classes="field"):
                yield Static("  run's name", classes="label")
                yield Input(placeholder="the stage's name", compact=True, id="name")
        with Horizontal(id="form-and-help"):
            with Vertical(id="form") as form:
                form.border_title = "options"
            with Vertical(id="about-command"):
                with VerticalScroll(id="about-option", can_focus=False) as about:
                    about.border_title = "this option"
                    yield Static(id="option-help")
                yield Static(id="estimate")
                with VerticalScroll(id="command-box", can_focus=True) as box:
                    box.border_title = Content(THIS_WILL_RUN)
                    yield Static(id="command")

    def on_mount(self) -> None:
        self._show_stage()

    def begin(self, host: str = "", stage: str = "", values: Mapping[str, Value] | None = None) -> None:
        """Called before the form is shown anew: puts the cursor on the stage, and `host` into its field.

        With `stage` that one is chosen, and `values` are filled into its form.
        """
        self._host = host or self._host
        self._held_gpus.forget()
        if stage in STAGES:
            self._stage = stage
            self._filled[stage] = dict(values or {})
        if self.is_mounted:
            choice = self.query_one("#stage", Choice)
            choice.focus()
            choice.value = self._stage
            self._show_stage()
            if host:
                self.query_one("#host", Choice).value = host

    def changed(self, changes: frozenset[Change]) -> None:
        self.query_one("#host", Choice).offer([host.name for host in self.room.hosts])

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= SIDE_BY_SIDE, "-side")
        self.set_class(event.size.height < LOW, "-low")
        self.call_after_refresh(self._fit)

    def side_by_side(self) -> bool:
        return self.has_class("-side")

    def _fit(self) -> None:
        """Keeps the command whole: where it is below the form, help and estimate give way."""
        if not self.is_attached or not self.is_running:
            return
        about, estimate, box = self.query_one("#about-option"), self.query_one("#estimate"), self._box
        about.display = True
        estimate.display = self._stage == ESTIMATED
        if self.has_class("-side"):
            box.styles.max_height = None
            return
        low = self.has_class("-low")
        room = self.query_one("#form-and-help").size.height - FORM_ROWS
        command = self.query_one("#command", Static)
        needed = 2 + command.get_content_height(self.size, self.size, max(10, self.size.width - 4))
        left = room - needed
        about.display = left >= (2 if low else 4)
        left -= (2 if low else 4) if about.display else 0
        estimate.display = estimate.display and left >= ESTIMATE_ROWS
        box.styles.max_height = max(3, room)

    @property
    def _box(self) -> VerticalScroll:
        return self.query_one("#command-box", VerticalScroll)

    @property
    def form(self) -> OptionForm:
        """The form of the stage chosen."""
        return self._forms[self._stage]

    def _show_stage(self) -> None:
        if self._stage not in self._forms:
            self._forms[self._stage] = OptionForm(STAGES[self._stage].options)
        box = self.query_one("#form", Vertical)
        box.border_title = Content(f"options of {self._stage}")
        self.query_one("#option-help", Static).update(Content.styled(STAGES[self._stage].summary, "$muted"))
        self._show_command()
        # What is there is painted first: the form's hundred widgets take longer than all the rest.
        self.call_after_refresh(self._mount_form)

    async def _mount_form(self) -> None:
        """Puts the chosen stage's form, mounted when first chosen, in place of the others."""
        chosen = self.form
        if not chosen.is_attached:
            with self.app.batch_update():  # a layout for each level of its widgets would take longer still
                await self.query_one("#form", Vertical).mount(chosen)
            self.refresh(layout=True)
        for form in self._forms.values():
            form.display = form is self.form
        filled = self._filled.pop(self._stage, None)
        if filled is None:
            return
        before, self._put[self._stage] = self._put.get(self._stage, frozenset()), frozenset(filled)
        for row in chosen.rows():
            if row.field.name in filled:
                row.text = format_value(filled[row.field.name])
            elif row.field.name in before:
                row.reset()

    def _target(self) -> Host:
        return self.room.host(self.query_one("#host", Choice).value)

    def command(self) -> str:
        """The command that does the same in a shell on the host."""
        host = self._target()
        python = host.python or (sys.executable if host.kind == "local" else "python3")
        return stage_line(self._stage, self.form.instance(), host, python)

    def _schedule_estimate(self) -> None:
        """Renews the estimate once typing has paused."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(TYPING_PAUSE, self._show_estimate)

    def _show_estimate(self) -> None:
        if self._stage != ESTIMATED or self.form.errors():
            return
        options, host = self.form.instance(), self._target()
        assert isinstance(options, BaseTrainOptions)
        if host.name not in self._probes:
            self._probes[host.name] = None
            self.run_worker(self._probe(host.name))
        self._estimate(options, host)

    @work(group="estimate", exclusive=True)
    async def _estimate(self, options: BaseTrainOptions, host: Host) -> None:
        """Reads sizes on this machine in a thread, then shows the estimate."""
        layout, here = self.room.layout, host.kind == "local"
        folder = layout.tokenizer_dir(options.tokenizer_dir if here else "")
        size = await asyncio.to_thread(tokenizer_size, folder)
        data = layout.data_dir(options.data_dir)
        tokens = await asyncio.to_thread(validation_tokens_in, data) if here else None
        machine, where = machine_of(host, self._probes.get(host.name), self.room.rows, options.nproc)
        text = estimate_text(options, machine, where, size, tokens)
        self.query_one("#estimate", Static).update(text)

    async def _probe(self, name: str) -> None:
        try:
            self._probes[name] = await self.room.fleet.probe(name)
        except UserError:
            return  # the Hosts screen shows what is wrong with a host
        self._show_estimate()

    def _show_command(self) -> None:
        self._schedule_estimate()
        errors = self.form.errors()
        box = self._box
        start = hint("launch.start", self.room.keymap)
        box.border_subtitle = Content(f"{len(errors)} to fix first" if errors else f"{start} starts it")
        self.call_after_refresh(self._fit)
        box.set_class(bool(errors), "-errors")
        if errors:
            self.query_one("#command", Static).update(
                Content.styled("\n".join(f"✗ {line}" for line in errors), "$error")
            )
            return
        host = self._target()
        where = "on this machine" if host.kind == "local" else f"on {host.name} ({host.target})"
        box.border_title = Content(f"{THIS_WILL_RUN} {where}")
        if self._held_gpus.is_due(host.name):
            self.run_worker(self._look_at_services(host.name))
        before = passing(host.pass_env), self._held_gpus.line(host.name, [self.form.instance()])
        self.query_one("#command", Static).update(Content.assemble(*before, self.command()))

    async def _look_at_services(self, host: str) -> None:
        await self._held_gpus.look(host)
        self._show_command()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        if event.choice.id == "stage":
            self._stage = event.value
            self._show_stage()
        else:
            self._show_command()

    def on_option_form_changed(self) -> None:
        self._show_command()

    def on_option_form_focused(self, event: OptionForm.Focused) -> None:
        self.query_one("#option-help", Static).update(describe(event.row.field))

    def on_input_submitted(self) -> None:
        self.focus_next()

    def action_reset_field(self) -> None:
        row, focused = self.form.current(), self.focused
        if row is not None:
            row.reset()
        elif isinstance(focused, Input):
            focused.value = ""  # the run's name: its default is the stage's
        elif isinstance(focused, Choice):
            focused.value = FIRST_STAGE if focused.id == "stage" else self._first_host

    def action_copy(self) -> None:
        self.room.do(run_actions.copy_text(self.room, self.command(), "the command"))

    def action_start(self) -> None:
        from remote.runs import RunRequest

        errors = self.form.errors()
        if errors:
            self.room.say(errors[0], "error")
        elif not self._starting:
            self._starting = True
            name = self.query_one("#name", Input).value.strip() or self._stage
            request = RunRequest(self._stage, changed(self.form.instance()), name)
            self.room.do(self._launch(self._target().name, request))

    async def _launch(self, host: str, request: RunRequest) -> None:
        """Goes on when the screen is left meanwhile."""
        self.room.say(f"starting {request.name} on {host} …")
        try:
            keys = await self.room.fleet.launch(host, [request])
        finally:
            self._starting = False
        if not keys:
            keys_there = with_keys("{app.hosts}, {hosts.commands}", self.room.keymap)
            raise UserError(
                f"host '{host}' started nothing", f"its command log on Hosts ({keys_there}) shows its answer"
            )
        await self.room.reread()
        self.room.open_run(keys[0])
