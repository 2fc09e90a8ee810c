"""What `bench/paint_latency.py` presses, in order, and what must then be on the screen."""

from __future__ import annotations

from dataclasses import dataclass

CHANGED = "<changed>"
"""Anything on the screen, colours included, is other than before."""


@dataclass(frozen=True)
class Step:
    """One key, or a few pressed at once, and what must appear.

    `keys` as tmux names them, after "=" as text, after "click:" the pattern to click on, after "size:" the
    new size ("" the first one). `want` is a pattern that must come, after "!" one that must go, or `CHANGED`.
    """

    name: str
    keys: str
    want: str
    idle_only: bool = False


RUNS, RUN, HOSTS = r"runs · \d+", r"samples and results", r"hosts · \d+"
LAUNCH, PLAN, CONFIRM = "launch a stage", "or a file", "please confirm"
CHAT, PICKER = "no pane yet|question to", "talk to"
FILTER, ASK, OVERLAY = "words, stage:base", "metrics to plot", "draw a run over this one"
COLUMNS, EXPORT = "columns of the table", "tab another kind"
LABELS = r"\ba Runs"
"""The first jump label lies over the number of the first tab."""


def _steps(screen: str, *rows: tuple[str, str, str]) -> list[Step]:
    return [Step(f"{screen}: {name}", keys, want) for name, keys, want in rows]


MOVES = [
    *_steps("Runs→Run", ("2", "2", RUN)),
    *_steps("Run→Runs", ("1", "1", RUNS)),
    *_steps("Runs→Run", ("F2", "F2", RUN)),
    *_steps("Run→Runs", ("F1", "F1", RUNS)),
    *_steps("Runs→Run", ("enter", "Enter", RUN)),
    *_steps("Run→Runs", ("esc", "Escape", RUNS)),
    *_steps("Runs→Run", ("2", "2", RUN)),
    *_steps("Run→Runs", ("backspace", "BSpace", RUNS)),
    *_steps("Runs→Hosts", ("7", "7", HOSTS)),
    *_steps("Hosts→Runs", ("1", "1", RUNS)),
    *_steps("Runs→Hosts", ("F7", "F7", HOSTS)),
    *_steps("Hosts→Runs", ("esc", "Escape", RUNS)),
    *_steps("Runs→Hosts", ("7", "7", HOSTS)),
    *_steps("Hosts→Run", ("2", "2", RUN)),
    *_steps("Run→Hosts", ("7", "7", HOSTS)),
    *_steps("Hosts→Runs", ("F1", "F1", RUNS)),
    *_steps("Runs→Hosts", ("click", "click:7 Hosts", HOSTS)),
    *_steps("Hosts→Run", ("click", "click:2 Run", RUN)),
    *_steps("Run→Runs", ("click", "click:1 Runs", RUNS)),
]
RUNS_KEYS = _steps(
    "Runs",
    ("down", "Down", CHANGED),
    ("up", "Up", CHANGED),
    ("last row", "G", CHANGED),
    ("first row", "g", CHANGED),
    ("sort", "o", CHANGED),
    ("reverse", "O", CHANGED),
    ("reverse back", "O", CHANGED),
    ("pin", "P", CHANGED),
    ("unpin", "P", CHANGED),
    ("filter opens", "/", FILTER),
    ("filter types", "=zzzz", r"runs · 0 of"),
    ("filter deletes", "BSpace BSpace BSpace BSpace", r"runs · \d+ "),
    ("filter leaves", "Escape", f"!{FILTER}"),
    ("filter again", "/", FILTER),
    ("filter types", "=zzzz", r"runs · 0 of"),
    ("filter enter", "Enter", CHANGED),
    ("filter cleared by esc", "Escape", r"runs · \d+ "),
    ("filter opens", "/", FILTER),
    ("filter not understood", "=statsu:x", "did you mean 'status'"),
    ("filter taken back", "C-u", "!did you mean"),
    ("filter offers", "=sta", "stage:"),
    ("filter completes", "Tab", r"│ *stage:"),
    ("filter taken back", "C-u", FILTER),
    ("filter leaves", "Escape", f"!{FILTER}"),
    ("sort by name", "N", "name▲"),
    ("sort by date", "C", "created▼"),
    ("wide mode", "C-w", "· wide"),
    ("wide mode left", "C-w", "!· wide"),
    ("header folds away", "C-e", "!evals"),
    ("header comes back", "C-e", "evals"),
    ("mark", "Space", "1 marked"),
    ("marks taken back", "Escape", "!1 marked"),
    ("columns open", "v", COLUMNS),
    ("a column shows", "=best:val\r", "best bpb"),
    ("a column goes", "Enter", "!best bpb"),
    ("columns close", "Escape", f"!{COLUMNS}"),
    ("curve goes", "V", CHANGED),
    ("curve comes", "V", CHANGED),
    ("export opens", "X", EXPORT),
    ("export closes", "Escape", f"!{EXPORT}"),
    ("groups", "b", "by plan"),
    ("groups fold", "B", "▸"),
    ("next grouping", "b", "by stage"),
    ("next grouping", "b", "by host"),
    ("next grouping", "b", "by tag"),
    ("no groups", "b", "!by tag"),
    ("tags open", "t", "tags of"),
    ("tags close", "Escape", "!tags of"),
    ("note opens", "w", "note about"),
    ("note closes", "Escape", "!note about"),
    ("copy says so", "y", "the command is"),
    ("freeze", "F", "frozen"),
    ("thaw", "F", "!frozen"),
    ("theme", "T", CHANGED),
    ("theme", "T", CHANGED),
    ("theme", "T", CHANGED),
    ("help opens", "?", "esc closes"),
    ("help closes", "Escape", "!esc closes"),
    ("messages open", "F8", "y copies"),
    ("messages close", "Escape", "!y copies"),
    ("palette opens", "C-p", "(?i)search|command"),
    ("palette types", "=thm", "Next theme"),
    ("palette closes", "Escape", "!Next theme"),
    ("jump labels", "C-o", LABELS),
    ("jump closes", "Escape", f"!{LABELS}"),
    ("resize down", "size:90x26", CHANGED),
    ("resize back", "size:", CHANGED),
)
ENDED_RUN = [
    Step("Runs: stop says so", "s", "ended already", idle_only=True),
    Step("Runs: resume asks", "r", CONFIRM, idle_only=True),
    Step("Runs: dialog closes", "Escape", f"!{CONFIRM}", idle_only=True),
]
SHELL = _steps(
    "Runs", ("shell opens", "!", "exit returns to the control room"), ("shell closes", "=exit\r", RUNS)
)
FORMS = [
    *_steps("Runs→Launch", ("n", "n", LAUNCH)),
    *_steps(
        "Launch",
        ("choice right", "Right", CHANGED),
        ("choice left", "Left", CHANGED),
        ("next field", "Down", CHANGED),
        ("previous field", "Up", CHANGED),
        ("tab", "Tab Tab", CHANGED),
        ("down to an option", "Down", CHANGED),
        ("typing", "=abcxyz", "abcxyz"),
        ("default", "C-r", "!abcxyz"),
        ("esc leaves the field", "Escape", CHANGED),
    ),
    *_steps("Launch→Runs", ("esc", "Escape", RUNS)),
    *_steps("Runs→Launch", ("n", "n", LAUNCH)),
    *_steps("Launch→Runs", ("F1", "F1", RUNS)),
    *_steps("Runs→Launch", ("n", "n", LAUNCH)),
    *_steps("Launch→Run", ("F2", "F2", RUN)),
    *_steps("Run→Runs", ("1", "1", RUNS)),
    *_steps("Runs→Plan", ("p", "p", PLAN)),
    *_steps("Plan", ("down", "Down", CHANGED), ("up", "Up", CHANGED)),
    *_steps("Plan→Runs", ("esc", "Escape", RUNS)),
    *_steps("Runs→Plan", ("p", "p", PLAN)),
    *_steps("Plan→Runs", ("F1", "F1", RUNS)),
]
HOSTS_KEYS = [
    *_steps("Runs→Hosts", ("7", "7", HOSTS)),
    *_steps(
        "Hosts",
        ("commands", "c", "commands run on"),
        ("commands back", "c", "!commands run on"),
        ("test", "t", CHANGED),
        ("add opens", "a", "add a host"),
        ("add closes", "Escape", "!add a host"),
        ("help opens", "?", "esc closes"),
        ("help closes", "Escape", "!esc closes"),
        ("launch", "n", LAUNCH),
    ),
    *_steps("Launch→Hosts", ("esc", "Escape", HOSTS)),
]
CHAT_KEYS = [
    *_steps("Hosts→Chat", ("5", "5", CHAT)),
    *_steps(
        "Chat",
        ("typing", "=hello there", "hello there"),
        ("deleting", "C-u", "!hello there"),
        ("esc leaves the field", "Escape", "m model"),
        ("model opens", "m", PICKER),
        ("model finds", "=zzzz", "nothing of that name"),
        ("model closes", "Escape", f"!{PICKER}"),
        ("write", "i", "ctrl.j new line"),
        ("esc leaves the field", "Escape", "m model"),
        ("an answer is missing", "d", "two panes|no pane"),
        ("help opens", "?", "esc closes"),
        ("help closes", "Escape", "!esc closes"),
    ),
    *_steps("Chat→Runs", ("1", "1", RUNS)),
    *_steps("Runs→Chat", ("F5", "F5", CHAT)),
    *_steps("Chat→Hosts", ("F7", "F7", HOSTS)),
]
RUN_KEYS = [
    *_steps("Hosts→Run", ("2", "2", RUN)),
    *_steps(
        "Run",
        ("smoothing", "e", "smoothing"),
        ("log y", "l", "logarithmic"),
        ("linear y", "l", "linear y"),
        ("plot at the right", "Right", "▌val/bpb"),
        ("plot below", "Down", "!▌val/bpb"),
        ("plot above", "Up", "▌val/bpb"),
        ("plot at the left", "Left", "▌train/loss"),
        ("next plots", "PageDown", r"metrics (?!1–)\d"),
        ("previous plots", "PageUp", "metrics 1–"),
        *[("columns", "C", CHANGED)] * 4,
        ("full screen", "z", f"!{RUN}"),
        ("full screen back", "z", RUN),
        ("overlay opens", "o", OVERLAY),
        ("overlay closes", "Escape", f"!{OVERLAY}"),
        ("overlay again", "o", OVERLAY),
        ("overlay drawn", "Enter", "loss.* ● .* ● "),
        ("overlay again", "o", OVERLAY),
        ("overlay removed", "Enter", "!loss.* ● .* ● "),
        *[("x axis", "a", CHANGED)] * 5,
        ("cursor left", ",", CHANGED),
        ("cursor left", ",", CHANGED),
        ("cursor right", ".", CHANGED),
        ("zoom in", "+", CHANGED),
        ("pan left", "<", CHANGED),
        ("pan right", ">", CHANGED),
        ("zoom out", "-", CHANGED),
        ("whole run", "0", CHANGED),
        ("plot export opens", "x", EXPORT),
        ("another kind", "Tab", r"● PNG"),
        ("plot export closes", "Escape", f"!{EXPORT}"),
        ("run export opens", "X", EXPORT),
        ("run export closes", "Escape", f"!{EXPORT}"),
        ("full screen by enter", "Enter", f"!{RUN}"),
        ("full screen leaves", "Escape", RUN),
        ("line up", "C-Up", CHANGED),
        ("line down", "C-Down", CHANGED),
        ("line left", "C-Left", CHANGED),
        ("panes reset", "C-l", CHANGED),
        ("log hidden", "L", "!─ log ─"),
        ("log back", "L", "─ log ─"),
        ("side hidden", "S", "!samples and results"),
        ("side back", "S", "samples and results"),
        ("jump labels", "C-o", LABELS),
        ("jump to a pane", "=l", f"!{LABELS}"),
        ("jump labels", "C-o", LABELS),
        ("jump closes", "Escape", f"!{LABELS}"),
        ("metrics dialog", "/", ASK),
        ("dialog closes", "Escape", f"!{ASK}"),
        ("metrics dialog", "/", ASK),
        ("metrics taken", "=bpb\r", f"!{ASK}"),
        ("metrics dialog", "/", ASK),
        ("metrics all", "Enter", f"!{ASK}"),
        ("older run", "[", CHANGED),
        ("newer run", "]", CHANGED),
        ("freeze", "F", "frozen"),
        ("thaw", "F", "!frozen"),
        ("theme", "T", CHANGED),
        ("theme", "T", CHANGED),
        ("theme", "T", CHANGED),
        ("help opens", "?", "esc closes"),
        ("help closes", "Escape", "!esc closes"),
        ("next pane", "Tab", CHANGED),
        ("previous pane", "BTab", CHANGED),
        ("to the log", r"click:step \d+/\d+ loss", "& *filter"),
    ),
    *_steps(
        "Log",
        ("start", "g", CHANGED),
        ("end", "G", CHANGED),
        ("up", "Up", CHANGED),
        ("page up", "PageUp", CHANGED),
        ("page down", "PageDown", CHANGED),
        ("follow", "f", CHANGED),
        ("find opens", "/", CHANGED),
        ("find types", "=step", CHANGED),
        ("find enter", "Enter", CHANGED),
        ("previous match", "N", CHANGED),
        ("next match", "n", CHANGED),
        ("filter opens", "&", CHANGED),
        ("filter types", "=saved", CHANGED),
        ("filter enter", "Enter", CHANGED),
        ("filter opens", "&", CHANGED),
        ("filter off", "BSpace BSpace BSpace BSpace BSpace Enter", CHANGED),
    ),
    *_steps("Run", ("resize down", "size:90x26", CHANGED), ("resize back", "size:", CHANGED)),
    *_steps("Run→Runs", ("1", "1", RUNS)),
]
STEPS = [*MOVES, *RUNS_KEYS, *ENDED_RUN, *SHELL, *FORMS, *HOSTS_KEYS, *CHAT_KEYS, *RUN_KEYS]
