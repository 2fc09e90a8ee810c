"""A screen of plots with other panes: side by side where it is wide, else behind tabs, one at a time."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.widget import Widget

from tui.screens.plot_screen import PlotScreen
from tui.widgets.pane_tabs import PaneTabs

NARROW = 110
"""Columns below which the panes are tabs."""


class PlotPanes(PlotScreen):
    """A screen with `plots` and further panes, whose ids are `PANE_ORDER`; `pane` is where the user is.

    The style sheet shows panes by the screen's classes: `-pane-NAME`, `-narrow`, `-full` for one plot on the
    whole screen, and those of hidden panes.
    """

    PANE_ORDER: ClassVar[tuple[str, ...]] = ()
    """The names of the panes as they stand side by side."""
    panes: PaneTabs

    def __init__(self) -> None:
        super().__init__()
        self.pane = "plots"
        self._narrow = False

    def _pane_widget(self, pane: str) -> Widget:
        """What gets the focus in a pane."""
        raise NotImplementedError

    def _panes_in_turn(self) -> list[str]:
        """What the keys can go to now, in their order."""
        raise NotImplementedError

    @property
    def _pane_here(self) -> str:
        """Where the keys go on from."""
        return self.pane

    def _go_to_pane(self, pane: str) -> None:
        """Goes to one of `_panes_in_turn`."""
        self._show_pane(pane)

    # ---- layout --------------------------------------------------------------------------------------

    def _set_first_classes(self) -> None:
        """Sets the screen's classes before it has widgets: later that would style all of them again."""
        self._narrow = self.app.size.width < NARROW
        self.set_classes(self._classes_for(self.pane))

    def on_resize(self, event: events.Resize) -> None:
        self._narrow = event.size.width < NARROW
        self._show_pane(self.pane, focus=False)

    def side_by_side(self) -> bool:
        return not self._narrow

    def show_panes(self) -> None:
        self._show_pane(self.pane, focus=False)
        self.fit_panes()

    def _show_pane(self, pane: str, focus: bool = True) -> None:
        self.pane = pane
        wanted = self._classes_for(pane)
        if self.classes != wanted:
            self.set_classes(wanted)  # all at once: each change of a class restyles the whole screen
        self.panes.show(pane)
        if focus:
            self._pane_widget(pane).focus()

    def _classes_for(self, pane: str) -> set[str]:
        wanted = {f"-pane-{pane}"} | ({"-narrow"} if self._narrow else self.hidden_classes())
        return wanted | {"-full"} if self.plots.full is not None else wanted

    # ---- keys ----------------------------------------------------------------------------------------

    def action_next_pane(self) -> None:
        self._turn_pane(1)

    def action_previous_pane(self) -> None:
        self._turn_pane(-1)

    def _turn_pane(self, direction: int) -> None:
        """Goes to the next pane in sight. A plot on the whole screen gives it back first."""
        if self.plots.full is not None:
            self.plots.toggle_full()
            return
        order = self._panes_in_turn()
        here = self._pane_here
        at = order.index(here) if here in order else 0
        self._go_to_pane(order[(at + direction) % len(order)])

    def action_pane(self, pane: str) -> None:
        self._show_pane(pane)

    def default_focus(self) -> Widget:
        return self._pane_widget(self.pane)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        hidden = self._narrow and self.pane != "plots" and action == "plot"
        return super().check_action(action, parameters) and not hidden

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        for node in event.widget.ancestors_with_self:
            if node.id in self.PANE_ORDER and node.id != self.pane:
                self._show_pane(node.id, focus=False)

    def on_pane_tabs_picked(self, event: PaneTabs.Picked) -> None:
        self._show_pane(event.pane)

    def on_plot_grid_full_changed(self) -> None:
        self._show_pane("plots" if self.plots.full is not None else self.pane)
