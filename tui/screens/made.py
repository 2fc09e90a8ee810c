"""The screens behind the tabs, and Launch: each is made, and its code loaded, when it is first shown."""

from __future__ import annotations

from tui.screens.base import ControlScreen


def make_screen(name: str) -> ControlScreen:
    """A new screen of that name; Hosts for one that is unknown."""
    if name == "runs":
        from tui.screens.runs import RunsScreen

        return RunsScreen()
    if name == "run":
        from tui.screens.run import RunScreen

        return RunScreen()
    if name == "launch":
        from tui.screens.launch import LaunchScreen

        return LaunchScreen()
    if name == "chat":
        from tui.screens.chat.screen import ChatScreen

        return ChatScreen()
    if name == "evals":
        from tui.screens.evals.screen import EvalsScreen

        return EvalsScreen()
    if name == "tokenizer":
        from tui.screens.tokenizer.screen import TokenizerScreen

        return TokenizerScreen()
    if name == "checkpoints":
        from tui.screens.checkpoints.screen import CheckpointsScreen

        return CheckpointsScreen()
    from tui.screens.hosts import HostsScreen

    return HostsScreen()


LOADED_FIRST = ("chat", "evals", "tokenizer", "checkpoints")
"""Screens whose code takes so long to load that it is loaded in a thread before they are made."""


def load_screen(name: str) -> None:
    """Loads one of them."""
    if name == "chat":
        from tui.screens.chat import load

        load()
    elif name == "tokenizer":
        import tui.screens.tokenizer.screen
    elif name == "checkpoints":
        import tui.screens.checkpoints.screen
    else:
        import tui.screens.evals.screen  # noqa: F401


def load_run_screen() -> None:
    """Loads what the Run screen needs while nobody waits for it: when it opens that would hold the loop."""
    import tui.screens.run  # noqa: F401
    from tui.plots.raster import load, submit

    submit(load)
