"""The keys of the Compare screen: id within its group, keys, action, label, help, and whether in the bar."""

from __future__ import annotations

COMPARE_KEYS: tuple[tuple[str, str, str, str, str, bool], ...] = (
    ("next_pane", "tab", "next_pane", "next pane", "Go to the next pane: settings, curves, figures", False),
    ("previous_pane", "shift+tab", "previous_pane", "previous pane", "Go to the previous pane", False),
    ("differences", "d", "differences", "differences", "Only the settings that differ, or all", True),
    ("gap", "v", "gap", "gap", "Draw how far the runs lie from the base, or their values", True),
    ("group", "b", "group", "group", "Seeds together, a tag together, or each run alone", True),
    ("band", "B", "band", "band", "Band around a mean: lowest to highest, or ± standard error", False),
    ("base", "r", "base", "base", "The next run is the base that others are compared with", True),
    ("overlay", "o", "overlay", "add a run", "Compare another run too, or remove one", True),
    ("smooth", "e", "smooth", "smooth", "Smooth the curves more, or not at all", True),
    ("logy", "l", "log_y", "log y", "Logarithmic y axis, or linear", False),
    ("zoom", "z", "zoom", "full screen", "One plot on the whole screen, or all of them", False),
    ("filter", "slash", "find", "find", "Which metrics to plot", False),
    ("keep", "m", "keep", "keep", "Keep the figures at the cursor in the table, or drop them", False),
    ("place", "M", "place", "place", "Figures at a place that you type, kept in the table", False),
    ("export_plot", "x", "export_plot", "export", "Write the plot as SVG, PNG or CSV, as it is drawn", False),
    ("copy", "y", "copy", "copy", "Copy the comparison as Markdown", False),
)
