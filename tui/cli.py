"""`nanochat` on the command line: opens the control room on a base directory."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout, base_dir, make_dir
from nanochat.config.command_parser import Parser, command_parser, parse
from tui.data.garbage import IdleCollector, hold_collections
from tui.data.window_title import RESTORE_TITLE
from tui.style.theme_names import THEME_NAMES

if TYPE_CHECKING:
    from nanochat.config.plan import Plan


def parser() -> Parser:
    """The options of `nanochat` and `nanochat demo` that open the control room."""
    found = command_parser("nanochat", "Open the control room; with PLAN, start it and watch.")
    found.add_argument(
        "plan", nargs="?", default="", metavar="PLAN", help="a plan to start: a name or a TOML file"
    )
    found.add_argument("--host", default="local", metavar="NAME", help="where the plan runs [local]")
    found.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE.OPTION=VALUE",
        help="change an option of the plan",
    )
    found.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write a report when the plan has ended [as the plan says, else for plans of several stages]",
    )
    found.add_argument("--readonly", action="store_true", help="read only: nothing can be started or stopped")
    found.add_argument(
        "--ascii", action="store_true", help="draw plots in ASCII, where the terminal's font has no braille"
    )
    found.add_argument("--theme", choices=THEME_NAMES, default="", help="dark, light or contrast")
    return found


def _load_plan(given: argparse.Namespace, layout: Layout) -> Plan:
    from nanochat.config.plan import load_plan

    plan = load_plan(given.plan, layout, given.set)
    return plan if given.report is None else replace(plan, report=given.report)


def main(argv: Sequence[str] | None = None) -> int:
    """`nanochat [--base-dir DIR] [--readonly] [--ascii] [--theme NAME] [PLAN [--host NAME]]`.

    Runs the app until the user quits, and returns the exit code. Choosing another base directory restarts the
    app there.
    """
    given, layout = parse(parser(), argv)  # before Textual is loaded, so that --help is quick
    # How long tui/driver.py waits after an esc for the rest of a longer key's sequence, which comes in one
    # piece. ncurses' variable: Textual reads it at its import and takes 100 ms otherwise.
    os.environ.setdefault("ESCDELAY", "25")

    hold_collections()
    from remote.hosts.book import HostBook
    from tui.app import ControlRoom

    if given.readonly and given.plan:
        raise UserError("--readonly cannot start a plan", "drop one of the two")
    plan = _load_plan(given, layout) if given.plan else None
    HostBook(layout).get(given.host)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError(
            "the control room needs a terminal", "in a script use nanochat --no-tui PLAN or nanochat runs"
        )
    while True:
        make_dir(layout.base)
        app = ControlRoom(
            layout,
            plan=plan,
            host=given.host,
            readonly=given.readonly,
            theme=given.theme,
            unicode=not given.ascii,
        )
        app.feed.store  # noqa: B018 - an unusable store is reported before the app takes over the screen
        app.collector = IdleCollector()
        chosen = app.run()
        if app.window_title:
            print(RESTORE_TITLE, end="", flush=True)
        if not chosen:
            return app.return_code or Exit.OK
        layout, plan = Layout(base_dir(chosen)), None
