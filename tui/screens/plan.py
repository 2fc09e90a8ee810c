"""Run a plan: built in, your own, or any file; its stages and the headless command are shown first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from nanochat.config.options import changed
from nanochat.config.plan import Plan, builtin_plans, load_plan
from tui.actions import run as run_actions
from tui.actions.command_line import headless_line
from tui.actions.plan import start_plan
from tui.data.held_gpus import HeldGpus
from tui.data.ordering import SortValue, natural
from tui.data.passed_variables import passing
from tui.keys import bindings
from tui.screens.panes import PaneScreen, Split
from tui.widgets.choice import Choice
from tui.widgets.columns import Cell, Column
from tui.widgets.form import format_value
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from nanochat.common.paths import Layout

COLUMNS = (
    Column("name", "plan", 14, grow=1, sort=lambda entry: natural(entry.name)),
    Column("kind", "from", 8, sort=lambda entry: natural(entry.kind)),
    Column("stages", "stages", 7, "right", sort=lambda entry: entry.length),
)
SIDE_BY_SIDE = 110
LOW = 30


@dataclass(frozen=True)
class Entry:
    """A plan in the list; `plan` is None and `error` says why when it cannot be read."""

    name: str
    kind: str
    plan: Plan | None
    error: str = ""

    @property
    def length(self) -> SortValue | None:
        """How many stages the plan has; None when it cannot be read."""
        return None if self.plan is None else (0, len(self.plan.stages))


def entries(layout: Layout) -> list[Entry]:
    """The plans of the base directory and those that come with the package."""
    own = sorted(path.stem for path in layout.plans.glob("*.toml"))
    names = [(name, "yours") for name in own] + [
        (name, "built in") for name in builtin_plans() if name not in own
    ]
    return [_entry(name, kind, layout) for name, kind in names]


def _entry(name: str, kind: str, layout: Layout) -> Entry:
    try:
        return Entry(name, kind, load_plan(name, layout))
    except UserError as error:
        return Entry(name, kind, None, str(error))


def cells(entry: Entry) -> dict[str, Cell]:
    """A plan as cells."""
    stages = (str(len(entry.plan.stages)), "") if entry.plan else ("✗", "bad")
    return {"name": (sanitize(entry.name), "strong"), "kind": (entry.kind, "muted"), "stages": stages}


class PlanScreen(PaneScreen):
    """Choose a plan and a host, read what will run, start it."""

    place = "Plan"
    groups = ("plan", "table", "panes")
    splits = (Split("plans", "#plan-left", "columns", before=True, least=30, leave=40),)
    about = (
        "A plan is a TOML file that lists stages. The whole plan is sent to the host at once and runs to its "
        "end even if the control room is closed; a stage starts when the stages it needs have succeeded."
    )
    BINDINGS = bindings("plan")
    AUTO_FOCUS = "#plans"

    def __init__(self) -> None:
        super().__init__()
        self._entry: Entry | None = None
        self._starting = False
        self._held_gpus = HeldGpus(self.room)

    def body(self) -> Iterable[Widget]:
        hosts = [host.name for host in self.room.hosts]
        with Horizontal(id="plan-upper"):
            with Vertical(id="plan-left"):
                yield VirtualTable(COLUMNS, cells, lambda entry: entry.name, empty="no plans", id="plans")
                field = Input(placeholder="path of a TOML file", id="plan-path")
                field.border_title = "or a file"
                yield field
            with VerticalScroll(id="plan-stages", can_focus=True) as box:
                box.border_title = "what will run"
                yield Static(id="stages")
        with Vertical(id="plan-command") as box:
            box.border_title = "the same without the control room"
            with Horizontal(classes="field"):
                yield Static("  on host", classes="label")
                yield Choice(hosts, "local", id="host")
            yield Static(id="headless")

    def on_mount(self) -> None:
        table = self.table
        table.border_title = "plans"
        table.show(entries(self.room.layout))
        self._show(table.current)

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= SIDE_BY_SIDE, "-side")
        self.set_class(event.size.height < LOW, "-low")

    def side_by_side(self) -> bool:
        return self.has_class("-side")

    @property
    def table(self) -> VirtualTable[Entry]:
        return self.query_one("#plans", VirtualTable)

    def default_focus(self) -> Widget:
        return self.table

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        self.table.action_reverse()

    def on_virtual_table_highlighted(self, event: VirtualTable.Highlighted) -> None:
        self._show(event.table.current)

    def on_virtual_table_selected(self) -> None:
        self.action_start()

    def on_input_changed(self, event: Input.Changed) -> None:
        text = event.value.strip()
        self._show(_entry(text, "file", self.room.layout) if text else self.table.current)

    def on_choice_changed(self) -> None:
        self._show(self._entry)

    def _show(self, entry: Entry | None) -> None:
        self._entry = entry
        stages, headless = self.query_one("#stages", Static), self.query_one("#headless", Static)
        if entry is None or entry.plan is None:
            stages.update(Content.styled(f"✗ {entry.error}" if entry else "no plan chosen", "$error"))
            headless.update("")
            return
        host = self.room.host(self.query_one("#host", Choice).value)
        if self._held_gpus.is_due(host.name):
            self.run_worker(self._look_at_services(host.name))
        held = self._held_gpus.line(host.name, [stage.options for stage in entry.plan.stages])
        stages.update(held + describe(entry.plan, host.pass_env))
        headless.update(Content(self.command()))

    async def _look_at_services(self, host: str) -> None:
        await self._held_gpus.look(host)
        self._show(self._entry)

    def command(self) -> str:
        """The headless command line of the plan chosen."""
        name = self._entry.name if self._entry else ""
        return headless_line(name, self.query_one("#host", Choice).value, str(self.room.layout.base))

    def action_copy(self) -> None:
        self.room.do(run_actions.copy_text(self.room, self.command(), "the command"))

    def action_start(self) -> None:
        entry = self._entry
        if entry is None or entry.plan is None:
            self.room.say(entry.error if entry else "choose a plan first", "error")
        elif not self._starting:
            self._starting = True
            self.room.do(self._start(entry.plan, self.query_one("#host", Choice).value))

    async def _start(self, plan: Plan, host: str) -> None:
        """Goes on when the screen is left meanwhile."""
        try:
            await start_plan(self.room, plan, host)
        finally:
            self._starting = False


def describe(plan: Plan, pass_env: Sequence[str] = ()) -> Content:
    """The stages of a plan in order, with the options they change and what they need.

    Above them the variables that go along: the plan's and those of the host, `pass_env`.
    """
    head = Content.styled(plan.description + "\n" if plan.description else "", "$muted")
    parts: list[tuple[str, str]] = []
    for index, stage in enumerate(plan.stages, 1):
        title = stage.id if stage.id == stage.stage else f"{stage.id} ({stage.stage})"
        parts.append((f"\n{index} {title}", "bold $primary"))
        if stage.needs:
            parts.append((f"  after {', '.join(stage.needs)}", "$muted"))
        for name, value in changed(stage.options).items():
            parts += [(f"\n    {name:<18} ", "$muted"), (sanitize(format_value(value)), "")]
        parts.append(("\n", ""))
    return Content.assemble(head, passing((*plan.pass_env, *pass_env)), *parts)
