"""Runs side by side."""

from __future__ import annotations


def load() -> None:
    """Loads what the screen needs, in a thread: it would hold the loop."""
    import tui.screens.compare.screen  # noqa: F401
    from tui.plots.raster import load as load_plots
    from tui.plots.raster import submit

    submit(load_plots)
