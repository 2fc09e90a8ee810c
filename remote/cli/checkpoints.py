"""`nanochat checkpoints`: the checkpoints of every host: list, show, delete, pull here, push to a host."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import safe_json
from nanochat.common.table_formats import csv_text, markdown
from nanochat.common.text import amount, percent, sanitize, size_bytes
from nanochat.config.command_parser import Parser, add_base_dir, command_parser, parse
from remote.checkpoints.choose import choose, named
from remote.checkpoints.table import COLUMNS, Row, about, depends, document, family_of, rows
from remote.cli.printer import table
from remote.hosts.book import LOCAL

if TYPE_CHECKING:
    from nanochat.common.paths import Layout
    from remote.fleet.fleet import Fleet

_NAME = "base/d20, sft/d20@650, box:base/d20; without a step the one saved last"
TEXT_COLUMNS = tuple(name for name in COLUMNS if name != "run")


def checkpoints_parser() -> Parser:
    """`nanochat checkpoints …`."""
    parser = command_parser("nanochat checkpoints", "The checkpoints of every host.")
    words = parser.add_subparsers(dest="word", metavar="{ls,show,delete,pull,push}", parser_class=Parser)
    ls = words.add_parser("ls", help="a table of the checkpoints (the default)")
    ls.add_argument("name", metavar="NAME", nargs="?", default="", help="only those of a tag: base/d20")
    show = words.add_parser("show", help="all about one checkpoint: shape, scores, where it came from")
    show.add_argument("name", metavar="NAME", help=_NAME)
    delete = words.add_parser("delete", help="delete checkpoints that nobody uses, for good")
    delete.add_argument("name", metavar="NAME", nargs="+", help="with its step: sft/d20@650")
    delete.add_argument("--yes", action="store_true", help="do not ask; what depends on them is still told")
    pull = words.add_parser("pull", help="copy a checkpoint of another host to this machine")
    pull.add_argument("name", metavar="NAME", help=_NAME)
    push = words.add_parser("push", help="copy a checkpoint of this machine to another host")
    push.add_argument("name", metavar="NAME", help=_NAME)
    push.add_argument("to", metavar="HOST", help="where to")
    for name, word in words.choices.items():
        if name != "push":
            word.add_argument("--host", default="", metavar="NAME", help="only of this host")
        forms = word.add_mutually_exclusive_group()
        forms.add_argument("--json", dest="form", action="store_const", const="json", help="a JSON document")
        if name == "ls":
            forms.add_argument("--md", dest="form", action="store_const", const="md", help="a Markdown table")
            forms.add_argument("--csv", dest="form", action="store_const", const="csv", help="a csv table")
        add_base_dir(word, sub_command=True)
    return parser


def checkpoints(argv: Sequence[str]) -> int:
    """Answers `nanochat checkpoints …`."""
    is_list = not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help"))
    given, layout = parse(checkpoints_parser(), ["ls", *argv] if is_list else argv)
    return asyncio.run(_checkpoints(given, layout))


async def _checkpoints(given: argparse.Namespace, layout: Layout) -> int:
    from remote.cli.watch import ask_host_key
    from remote.fleet.fleet import Fleet

    if not layout.base.is_dir():
        if given.word == "ls":
            return _print_list([], given.form, time.time())
        raise UserError(f"there is no checkpoint: {layout.base} does not exist", "give another --base-dir")
    fleet = Fleet(layout, ask_host_key=ask_host_key, warn=_warn)
    try:
        if given.word == "pull":
            return await _pull(fleet, given)
        if given.word == "push":
            found = await _rows(fleet, [LOCAL])
            return await _copy(fleet, choose(found, given.name, LOCAL), given.to, given.form)
        found = await _rows(fleet, await _hosts(fleet, _only(given)))
        if given.word == "show":
            return _show(fleet, choose(found, given.name, given.host), given.form)
        if given.word == "delete":
            return await _delete(fleet, found, given)
        return _print_list(_of_tag(found, given.name, given.host), given.form, time.time())
    finally:
        await fleet.aclose()


def _only(given: argparse.Namespace) -> str:
    """The one host that has to be asked; "" for all."""
    names = [given.name] if isinstance(given.name, str) else given.name
    hosts = {named(name)[0] for name in names if name} - {""}
    return given.host or (hosts.pop() if len(hosts) == 1 and len(names) == 1 else "")


async def _hosts(fleet: Fleet, only: str) -> list[str]:
    if only:
        return [(await asyncio.to_thread(fleet.hosts.get, only)).name]
    return [host.name for host in await asyncio.to_thread(fleet.hosts.all)]


async def _rows(fleet: Fleet, hosts: Sequence[str]) -> list[Row]:
    """The checkpoints of those hosts with their scores; of a host that does not answer, a warning."""

    async def look(host: str) -> None:
        await fleet.checkpoints.refresh(host)
        await fleet.catch_up(host)
        await fleet.evaluations.refresh(host)

    outcomes = await asyncio.gather(*(look(host) for host in hosts), return_exceptions=True)
    failed = [error for error in outcomes if isinstance(error, BaseException)]
    for error in failed:
        if not isinstance(error, UserError):
            raise error
        if len(hosts) == 1:
            raise error
        _warn(str(error))
    for listing in fleet.checkpoints.known():
        if listing.left_out:
            _warn(f"host '{listing.host}' has {listing.left_out:,} more checkpoints than are listed")
    return await asyncio.to_thread(lambda: rows(fleet.checkpoints.known(), fleet.store.evaluations()))


def _of_tag(found: Sequence[Row], text: str, host: str) -> list[Row]:
    """What `ls` shows: all, or those of a tag, of a step."""
    if not text:
        return [row for row in found if host in ("", row.one.host)]
    before, name = named(text)
    kept = [
        row
        for row in found
        if (row.one.name.source, row.one.name.tag) == (name.source, name.tag)
        and name.step in (None, row.one.name.step)
        and (before or host or row.one.host) == row.one.host
    ]
    if not kept:
        choose(found, text, host)  # tells what there is
    return kept


def _print_list(found: Sequence[Row], form: str | None, now: float) -> int:
    if form == "json":
        _write(safe_json([_plain(row) for row in found], 1))
        return Exit.OK
    if form == "csv":
        values = [
            [
                ", ".join(value) if isinstance(value := column.value(row), list) else value
                for column in COLUMNS.values()
            ]
            for row in found
        ]
        _write(csv_text(list(COLUMNS), values))
        return Exit.OK
    if not found and form is None:
        print("there is no checkpoint yet; nanochat base_train trains one", file=sys.stderr)
        return Exit.OK
    names = [name for name in TEXT_COLUMNS if form or any(COLUMNS[name].shown(row, now) for row in found)]
    header = [COLUMNS[name].title for name in names]
    shown = [[COLUMNS[name].shown(row, now) for name in names] for row in found]
    _write(markdown(header, shown) if form == "md" else table(header, shown) + "\n")
    return Exit.OK


def _plain(row: Row) -> dict[str, object]:
    return {name: column.value(row) for name, column in COLUMNS.items()}


def _show(fleet: Fleet, row: Row, form: str | None) -> int:
    family = family_of(fleet.checkpoints.known())
    if form == "json":
        _write(safe_json(document(row, family), 1))
        return Exit.OK
    lines = about(row, family, time.time())
    width = max(len(heading) for heading, _ in lines) + 2
    for heading, line in lines:
        print(sanitize(f"{heading:<{width}}{line}", 600))
    return Exit.OK


async def _delete(fleet: Fleet, found: Sequence[Row], given: argparse.Namespace) -> int:
    chosen = [choose(found, name, given.host) for name in given.name]
    for name in given.name:
        if named(name)[1].step is None:
            raise UserError(f"'{name}' names no step", "write the step of what is to be deleted: sft/d20@650")
    for row in chosen:
        if row.users:
            raise UserError(
                f"{row.one.name} is in use by {'; '.join(row.users)}",
                "wait for it or end it, then delete",
                Exit.FAILED,
            )
    family = family_of(fleet.checkpoints.known())
    for row in chosen:
        print(sanitize(f"{row.one.host}: {row.one.name}, {size_bytes(row.one.bytes)}"), file=sys.stderr)
        for line in depends(row, family):
            print(sanitize(f"  {line}", 400), file=sys.stderr)
    if not given.yes:
        _ask(chosen)
    for number, row in enumerate(chosen):
        try:
            await fleet.checkpoints.delete(row.one)
        except UserError:
            if number:
                print(f"deleted {', '.join(str(gone.one.name) for gone in chosen[:number])}", file=sys.stderr)
            raise
    if given.form == "json":
        _write(safe_json([{"host": row.one.host, "deleted": str(row.one.name)} for row in chosen], 1))
    else:
        size = size_bytes(sum(row.one.bytes for row in chosen))
        print(f"deleted {amount(len(chosen), 'checkpoint')}, {size} are free again")
    return Exit.OK


def _ask(chosen: Sequence[Row]) -> None:
    """Asks for the name of what is deleted. Raises `UserError` where nobody can answer, or it is another."""
    word = str(chosen[0].one.name) if len(chosen) == 1 else "delete"
    if not sys.stdin.isatty():
        raise UserError("deleting asks first, and nobody can answer here", "add --yes")
    print(f"type {word} to delete, for good: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != word:
        raise UserError(f"that was not {word}: nothing was deleted", exit_code=Exit.STOPPED)


async def _pull(fleet: Fleet, given: argparse.Namespace) -> int:
    hosts = [host for host in await _hosts(fleet, _only(given)) if host != LOCAL]
    if not hosts:
        raise UserError("there is no other host to pull from", "add one: nanochat hosts add NAME --ssh …")
    row = choose(await _rows(fleet, hosts), given.name, given.host)
    return await _copy(fleet, row, LOCAL, given.form)


async def _copy(fleet: Fleet, row: Row, to: str, form: str | None) -> int:
    await asyncio.to_thread(fleet.hosts.get, to)
    done = await fleet.checkpoints.copy(row.one, to, _progress(str(row.one.name)))
    if form == "json":
        _write(
            safe_json(
                {
                    "checkpoint": str(row.one.name),
                    "from": row.one.host,
                    "to": to,
                    "path": done.path,
                    "bytes": done.bytes,
                },
                1,
            )
        )
    else:
        print(sanitize(f"{row.one.name}: {size_bytes(done.bytes)} copied to {to}, {done.path}", 600))
    return Exit.OK


def _progress(name: str) -> Callable[[int, int], None]:
    """A line on standard error that is written over while something is copied, on a terminal only."""
    is_terminal = sys.stderr.isatty()
    last = [0.0]

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        if is_terminal and (now - last[0] > 0.2 or done >= total):
            last[0] = now
            share = percent(done / total if total else 1.0)
            end = "\n" if done >= total else ""
            print(
                f"\r{sanitize(name)}: {share} of {size_bytes(total)} ", end=end, file=sys.stderr, flush=True
            )

    return show


def _write(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def _warn(text: str) -> None:
    print(f"nanochat: warning: {sanitize(text, 1_000)}", file=sys.stderr)
