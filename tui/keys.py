"""Every key of the control room, with a stable id that a keymap file can remap.

The key bar, the help page and the command palette are all made from this one table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from textual.binding import Binding, BindingType

from tui.chat_keys import CHAT_KEYS
from tui.checkpoint_keys import CHECKPOINT_KEYS
from tui.column_keys import COLUMNS
from tui.compare_keys import COMPARE_KEYS
from tui.evals_keys import EVALS_KEYS
from tui.report_keys import REPORT_KEYS, WRITE
from tui.tokenizer_keys import TOKENIZER_KEYS


@dataclass(frozen=True)
class Key:
    """One action and its keys.

    `label` is for the key bar, `help` for the help page and the palette. `bar` puts it into the key bar.
    `changes` marks an action that changes something on a host or in a file: hidden under `--readonly`.
    """

    id: str
    keys: str
    action: str
    label: str
    help: str
    bar: bool = False
    changes: bool = False


KEYS: dict[str, tuple[Key, ...]] = {
    "app": (
        Key("app.runs", "f1,1", "go('runs')", "Runs", "Go to Runs"),
        Key("app.run", "f2,2", "go('run')", "Run", "Go to the run viewed last, else the newest"),
        Key("app.tokenizer", "f3,3", "go('tokenizer')", "Tokenizer", "Go to Tokenizer"),
        Key("app.evals", "f4,4", "go('evals')", "Evals", "Go to Evals"),
        Key("app.chat", "f5,5", "go('chat')", "Chat", "Go to Chat"),
        Key("app.checkpoints", "f6,6", "go('checkpoints')", "Checkpoints", "Go to Checkpoints"),
        Key("app.hosts", "f7,7", "go('hosts')", "Hosts", "Go to Hosts"),
        Key("app.back", "escape,backspace,alt+escape", "back", "back", "Leave the text field, else go back"),
        Key("app.help", "question_mark", "help", "help", "Help for this screen"),
        Key("app.palette", "ctrl+p", "command_palette", "palette", "Command palette: every action by name"),
        Key("app.jump", "ctrl+o", "jump", "jump", "Jump: a letter over every pane, field and tab"),
        Key("app.freeze", "F", "freeze", "freeze", "Freeze the display while data keeps coming, or resume"),
        Key("app.theme", "T", "next_theme", "theme", "Next theme: dark, light, high contrast"),
        Key("app.launch", "n", "launch", "launch", "Launch one stage on a host", changes=True),
        Key("app.plan", "p", "plan", "run a plan", "Run a plan of several stages", changes=True),
        Key("app.messages", "f8", "messages", "messages", "Every message so far, in full, to read and copy"),
        Key("app.suspend", "ctrl+z", "suspend", "suspend", "Stop the control room; fg in the shell goes on"),
        Key("app.quit", "q", "quit", "quit", "Quit the control room; runs continue"),
    ),
    "runs": (
        Key("runs.open", "enter", "open", "open", "Open the run under the cursor", bar=True),
        Key("runs.launch", "n", "app.launch", "launch", "Launch one stage on a host", bar=True, changes=True),
        Key("runs.plan", "p", "app.plan", "plan", "Run a plan of several stages", bar=True, changes=True),
        Key(
            "runs.stop",
            "s",
            "stop",
            "stop",
            "Stop the run under the cursor (asks first)",
            bar=True,
            changes=True,
        ),
        Key(
            "runs.resume",
            "r",
            "resume",
            "resume",
            "Resume the ended run under the cursor",
            bar=True,
            changes=True,
        ),
        Key(
            "runs.filter",
            "slash",
            "filter",
            "filter",
            "Filter the table: words, stage:base host:box status:running",
            bar=True,
        ),
        Key("runs.sort", "o", "sort", "sort", "Sort by the next column", bar=True),
        Key("runs.reverse", "O", "reverse", "reverse", "Reverse the order"),
        Key("runs.mark", "space", "mark", "mark", "Mark the run: what follows is done to all marked ones"),
        Key("runs.mark_all", "ctrl+a", "mark_all", "mark all", "Mark every run that is shown, or none"),
        Key(
            "runs.tag",
            "t",
            "tag",
            "tags",
            "Tags of the run: words that the filter finds as tag:WORD",
            changes=True,
        ),
        Key("runs.note", "w", "note", "note", "Write a note about the run", changes=True),
        Key("runs.pin", "P", "pin", "pin", "Pin the run to the top, or unpin it", changes=True),
        Key(
            "runs.archive",
            "x",
            "archive",
            "archive",
            "Archive the ended run (is:archived shows it), or unarchive it",
            changes=True,
        ),
        Key(
            "runs.group", "b", "group", "group", "Group by the next of plan, stage, host, tag, or not at all"
        ),
        Key("runs.fold", "B", "fold", "fold", "Fold every group, or unfold them; enter folds one"),
        Key("runs.columns", "v", "columns", "columns", "Choose the columns: any figure, option or metric"),
        Key("runs.preview", "V", "preview", "preview", "Show the curve of the run under the cursor, or not"),
        Key("runs.export_run", "X", "export_run", "export", "Write runs as CSV or parquet", changes=True),
        Key(f"runs.{WRITE[0]}", *WRITE[1:]),
        Key("runs.header", "ctrl+e", "header", "header", "Fold the pipeline away, or bring it back"),
        Key("runs.chat", "i", "chat", "chat", "Chat with the run's newest checkpoint"),
        Key("runs.compare", "c", "compare", "compare", "Compare two to six marked runs side by side"),
        Key("runs.copy", "y", "copy", "copy command", "Copy the shell command that reproduces this run"),
        Key(
            "runs.shell",
            "exclamation_mark",
            "shell",
            "shell",
            "Open a shell in the run's directory; exit returns here",
            changes=True,
        ),
    ),
    "run": (
        Key("run.log", "tab", "next_pane", "next pane", "Go to the next pane: plots, machine, samples, log"),
        Key("run.previous_pane", "shift+tab", "previous_pane", "previous pane", "Go to the previous pane"),
        Key("run.stop", "s", "stop", "stop", "Stop this run (asks first)", bar=True, changes=True),
        Key(
            "run.resume", "r", "resume", "resume", "Resume this run once it has ended", bar=True, changes=True
        ),
        Key("run.smooth", "e", "smooth", "smooth", "Smooth the curves more, or not at all", bar=True),
        Key("run.logy", "l", "log_y", "log y", "Logarithmic y axis, or linear", bar=True),
        Key("run.zoom", "z", "zoom", "full screen", "One plot on the whole screen, or all of them", bar=True),
        Key(
            "run.overlay", "o", "overlay", "overlay", "Draw another run over this one, or remove it", bar=True
        ),
        Key(
            "run.filter",
            "slash",
            "find",
            "find",
            "Find in the log; over the plots: which metrics to show",
            bar=True,
        ),
        Key(
            "run.copy",
            "y",
            "copy",
            "copy command",
            "Copy the shell command that reproduces this run",
            bar=True,
        ),
        Key(
            "run.tag",
            "t",
            "tag",
            "tags",
            "Tags of this run: words that the filter of Runs finds as tag:WORD",
            changes=True,
        ),
        Key("run.note", "w", "note", "note", "Write a note about this run", changes=True),
        Key("run.compare", "c", "compare", "compare", "Compare this run with those drawn over it"),
        Key("run.chat", "i", "chat", "chat", "Chat with this run's newest checkpoint"),
        Key("run.export_plot", "x", "export_plot", "export", "Write a plot as SVG, PNG, CSV", changes=True),
        Key("run.export_run", "X", "export_run", "export run", "Write the run as a table", changes=True),
        Key(f"run.{WRITE[0]}", *WRITE[1:]),
        Key("run.hide_log", "L", "hide('log')", "log", "Hide the log, or show it"),
        Key("run.hide_side", "S", "hide('side')", "side", "Hide machine and samples, or show them"),
        Key("run.previous", "left_square_bracket", "neighbour(-1)", "previous run", "The next older run"),
        Key("run.next", "right_square_bracket", "neighbour(1)", "next run", "The next newer run"),
        Key(
            "run.shell",
            "exclamation_mark",
            "shell",
            "shell",
            "Open a shell in the run's directory; exit returns here",
            changes=True,
        ),
    ),
    "report": tuple(Key(f"report.{row[0]}", *row[1:]) for row in REPORT_KEYS),
    "compare": tuple(Key(f"compare.{row[0]}", *row[1:]) for row in COMPARE_KEYS),
    "panes": (
        Key("panes.up", "ctrl+up", "line('rows', -1)", "line up", "Move the line between panes up"),
        Key("panes.down", "ctrl+down", "line('rows', 1)", "line down", "Move the line between panes down"),
        Key(
            "panes.left", "ctrl+left", "line('columns', -2)", "line left", "Move the line between panes left"
        ),
        Key("panes.right", "ctrl+right", "line('columns', 2)", "line right", "Move it to the right"),
        Key("panes.reset", "ctrl+0,ctrl+l", "reset_panes", "reset", "Every pane shown, in its first size"),
    ),
    "plot": (
        Key("plot.go_left", "left", "go(-1, 0)", "plot left", "The plot at the left, else the one before"),
        Key("plot.go_right", "right", "go(1, 0)", "plot right", "The plot at the right, else the next one"),
        Key("plot.go_up", "up", "go(0, -1)", "plot above", "The plot above, else the previous page"),
        Key("plot.go_down", "down", "go(0, 1)", "plot below", "The plot below, else the next page"),
        Key(
            "plot.zoom_in",
            "plus,equals_sign",
            "zoom_x(0.5)",
            "zoom in",
            "Zoom the x axis in around the cursor",
        ),
        Key("plot.zoom_out", "minus", "zoom_x(2)", "zoom out", "Zoom the x axis out"),
        Key("plot.left", "less_than_sign,shift+left", "pan(-1)", "pan left", "Move the zoomed range left"),
        Key("plot.right", "greater_than_sign,shift+right", "pan(1)", "pan right", "Move the range right"),
        Key("plot.cursor_left", "comma", "cursor(-1)", "cursor left", "Cursor one column left in all plots"),
        Key("plot.cursor_right", "full_stop", "cursor(1)", "cursor right", "Cursor one column right"),
        Key("plot.all", "0", "show_all", "whole run", "Show the whole run again and drop the cursor"),
        Key("plot.full", "enter", "full", "full screen", "This plot on the whole screen, or all plots"),
    ),
    "plots": (
        Key("plots.axis", "a", "next_axis", "x axis", "Next x axis: step, tokens, FLOPs, active time, clock"),
        Key(
            "plots.superseded",
            "u",
            "superseded",
            "superseded",
            "Show points that a later attempt superseded, or hide them",
        ),
        Key("plots.next", "pagedown", "page(1)", "next plots", "The next page of metrics"),
        Key("plots.previous", "pageup", "page(-1)", "previous plots", "The previous page of metrics"),
        Key(
            "plots.columns",
            "C",
            "columns",
            "columns",
            "Plots side by side: 1, 2, 3, 4, or as many as fit well",
        ),
    ),
    "samples": (Key("samples.open", "enter", "open", "open", "Open the samples at full width", bar=True),),
    "sample": (
        Key("sample.older", "n", "step(1)", "older", "The next older sample", bar=True),
        Key("sample.newer", "N", "step(-1)", "newer", "The next newer sample", bar=True),
        Key("sample.markdown", "m", "markdown", "Markdown", "As Markdown, or as it was written", bar=True),
        Key("sample.copy", "y", "copy", "copy", "Copy the sample", bar=True),
    ),
    "gpus": (
        Key(
            "gpus.heat",
            "m",
            "next_heat",
            "heat map of",
            "Heat map: utilisation, SM clock, power, temperature",
        ),
    ),
    "log": (
        Key("log.find", "slash", "find", "find", "Find text in the log", bar=True),
        Key("log.filter", "ampersand", "filter", "filter", "Show only the lines that hold a text", bar=True),
        Key("log.next", "n", "match(1)", "next", "Next match, towards the end", bar=True),
        Key("log.previous", "N", "match(-1)", "previous", "Previous match, towards the start", bar=True),
        Key("log.follow", "f", "follow", "follow", "Follow the end, or stop following", bar=True),
        Key("log.top", "g,home", "top", "start", "Go to the start"),
        Key("log.bottom", "G,end", "bottom", "end", "Go to the end and follow"),
        Key("log.up", "up,k", "scroll_lines(-1)", "up", "One line up"),
        Key("log.down", "down,j", "scroll_lines(1)", "down", "One line down"),
        Key("log.page_up", "pageup", "scroll_pages(-1)", "page up", "One page up"),
        Key("log.page_down", "pagedown", "scroll_pages(1)", "page down", "One page down"),
        Key("log.left", "left", "scroll_columns(-8)", "left", "Scroll left in long lines"),
        Key("log.right", "right", "scroll_columns(8)", "right", "Scroll right in long lines"),
    ),
    "filter": (
        Key(
            "filter.complete",
            "tab",
            "complete(1)",
            "complete",
            "Complete the term; again: the next one",
            bar=True,
        ),
        Key("filter.back", "shift+tab", "complete(-1)", "back", "Complete with the one before"),
    ),
    "alerts": (
        Key("alerts.go", "enter", "select", "go there", "Move the plots to the alert", bar=True),
        Key("alerts.sort", "o", "sort", "sort", "Sort by the next column"),
        Key("alerts.reverse", "O", "reverse", "reverse", "Reverse the order"),
    ),
    "hosts": (
        Key(
            "hosts.connect", "enter", "connect", "connect", "Connect to the host, or try again now", bar=True
        ),
        Key("hosts.add", "a", "add", "add", "Add a machine that is reached over SSH", bar=True, changes=True),
        Key("hosts.test", "t", "test", "test", "Test the host: one line per check, and what to do", bar=True),
        Key(
            "hosts.remove",
            "d",
            "remove",
            "remove",
            "Remove the host from the list (asks first)",
            bar=True,
            changes=True,
        ),
        Key(
            "hosts.commands",
            "c",
            "commands",
            "commands",
            "Show every command that was run on the host",
            bar=True,
        ),
        Key(
            "hosts.launch",
            "n",
            "launch_here",
            "launch",
            "Launch a stage on this host",
            bar=True,
            changes=True,
        ),
        Key(
            "hosts.services",
            "v",
            "services",
            "services",
            "Show what is served on the host; pin a server, or end it",
            changes=True,
        ),
        Key("hosts.sort", "o", "sort", "sort", "Sort by the next column"),
        Key("hosts.reverse", "O", "reverse", "reverse", "Reverse the order"),
        Key(
            "hosts.shell",
            "exclamation_mark",
            "shell",
            "shell",
            "Open a shell on the host; exit returns here",
            bar=True,
            changes=True,
        ),
    ),
    "launch": (
        Key("launch.start", "ctrl+s", "start", "start", "Start it", bar=True, changes=True),
        Key("launch.copy", "ctrl+y", "copy", "copy command", "Copy the command", bar=True),
        Key(
            "launch.default",
            "ctrl+r",
            "reset_field",
            "default",
            "Put the field back to its default",
            bar=True,
        ),
        Key("launch.next", "down", "app.focus_next", "next field", "Next field", bar=True),
        Key("launch.previous", "up", "app.focus_previous", "previous field", "Previous field"),
    ),
    "plan": (
        Key("plan.start", "ctrl+s", "start", "start", "Start the plan", bar=True, changes=True),
        Key("plan.copy", "ctrl+y", "copy", "copy command", "Copy the headless command", bar=True),
        Key("plan.sort", "o", "sort", "sort", "Sort the plans by the next column"),
        Key("plan.reverse", "O", "reverse", "reverse", "Reverse the order"),
    ),
    "welcome": (
        Key("welcome.choose", "enter", "choose", "choose", "Choose the entry", bar=True),
        Key("welcome.leave", "q", "app.quit", "leave", "Leave the control room", bar=True),
    ),
    "table": (
        Key("table.up", "up,k", "move(-1)", "up", "One row up"),
        Key("table.down", "down,j", "move(1)", "down", "One row down"),
        Key("table.page_up", "pageup", "page(-1)", "page up", "One page up"),
        Key("table.page_down", "pagedown", "page(1)", "page down", "One page down"),
        Key("table.first", "home,g", "first", "first", "First row"),
        Key("table.last", "end,G", "last", "last", "Last row"),
        Key("table.wide", "ctrl+w", "wide", "wide", "Every column in full, or those that fit"),
        Key("table.left", "left", "columns(-1)", "left", "Columns further left, in the wide mode"),
        Key("table.right", "right", "columns(1)", "right", "Columns further right, in the wide mode"),
    ),
    **{
        group: tuple(Key(f"{group}.{row[0]}", *row[1:]) for row in rows)
        for group, rows in {**CHAT_KEYS, **EVALS_KEYS, **TOKENIZER_KEYS, **CHECKPOINT_KEYS}.items()
    },
    **{
        group: tuple(
            Key(f"{group}.{name}", letter, f"sort_by('{name}')", f"by {name}", f"Sort by {about}")
            for name, (letter, about) in columns.items()
        )
        for group, columns in COLUMNS.items()
    },
}

BY_ID: dict[str, Key] = {key.id: key for group in KEYS.values() for key in group}


def bindings(group: str) -> list[BindingType]:
    """Textual's bindings of one group; shown in the key bar where the table says so."""
    return [
        Binding(key.keys, key.action, key.label, show=key.bar, tooltip=key.help, id=key.id)
        for key in KEYS[group]
    ]


def plot_bindings() -> list[BindingType]:
    """The keys of plots for the screen around them, which runs their actions through its own `plot`."""
    return [
        replace(binding, action=f"plot({binding.action!r})")
        for group in ("plots", "plot")
        for binding in bindings(group)
        if isinstance(binding, Binding)
    ]
