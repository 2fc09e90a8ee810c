"""`nanochat evals`: the evaluations of every host: list, show, compare two, print items."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError, nearest
from nanochat.common.fields import parse_int
from nanochat.common.text import sanitize, when
from nanochat.config.command_parser import Parser, add_base_dir, command_parser, parse
from remote.cli.evals_print import Form, print_comparison, print_figures, print_items, print_list
from remote.evaluation_names import Wanted, bits_of, choose
from remote.store.evaluations import KINDS, Evaluation

if TYPE_CHECKING:
    from nanochat.common.paths import Layout
    from nanochat.evals.items import Items
    from remote.fleet.fleet import Fleet

_NAME = (
    "a checkpoint (base/d4, sft/d4@650: without a step the last one evaluated), a published model (gpt2-xl), "
    "or the number that `evals ls` shows"
)


def evals_parser() -> Parser:
    """`nanochat evals …`."""
    parser = command_parser("nanochat evals", "The evaluations of every host: CORE, chat, bits per byte.")
    words = parser.add_subparsers(dest="word", metavar="{ls,show,compare,items}", parser_class=Parser)
    ls = words.add_parser("ls", help="a table of the evaluations, newest first (the default)")
    ls.add_argument("--all", action="store_true", help="those that trainings made on their way too")
    show = words.add_parser("show", help="every task of one evaluation, or of several side by side")
    show.add_argument("name", metavar="NAME", nargs="+", help=_NAME)
    compare = words.add_parser("compare", help="two evaluations task by task, paired on the same items")
    compare.add_argument("a", metavar="A", help=_NAME)
    compare.add_argument("b", metavar="B", help="the same; differences are B's less A's")
    items = words.add_parser("items", help="the items of an evaluation: prompt, answer, verdict")
    items.add_argument("name", metavar="NAME", help=_NAME)
    items.add_argument(
        "--task", default="", metavar="TASK", help="only of this task, or subject MMLU/anatomy"
    )
    items.add_argument("--find", default="", metavar="TEXT", help="only items that hold this text")
    items.add_argument("--wrong", action="store_true", help="only items answered wrong")
    items.add_argument("--most", type=_count, default=50, metavar="N", help="at most so many, 0: all [50]")
    for name, word in words.choices.items():
        kinds = ("core", "chat") if name == "items" else KINDS
        word.add_argument("--kind", choices=kinds, default=None, help="only evaluations of this kind")
        word.add_argument("--host", default="", metavar="NAME", help="only of this host")
        if name != "ls":
            word.add_argument(
                "--run", default="", metavar="RUN", help="only of this run, or the start of its id"
            )
        forms = word.add_mutually_exclusive_group()
        as_json = "one JSON record a line" if name == "items" else "one JSON document"
        forms.add_argument("--json", dest="form", action="store_const", const="json", help=as_json)
        forms.add_argument("--md", dest="form", action="store_const", const="md", help="a Markdown table")
        forms.add_argument("--csv", dest="form", action="store_const", const="csv", help="a csv table")
        add_base_dir(word, sub_command=True)
    return parser


def evals(argv: Sequence[str]) -> int:
    """Answers `nanochat evals …`."""
    given, layout = parse(evals_parser(), argv or ["ls"])
    if given.word is None:
        given, layout = parse(evals_parser(), ["ls", *argv])
    return asyncio.run(_evals(given, layout))


async def _evals(given: argparse.Namespace, layout: Layout) -> int:
    from remote.cli.watch import ask_host_key
    from remote.fleet.fleet import Fleet

    if not layout.base.is_dir():
        if given.word == "ls":
            return print_list([], _form(given), time.time())
        raise UserError(
            f"nothing has been evaluated: {layout.base} does not exist", "give another --base-dir"
        )
    fleet = Fleet(layout, ask_host_key=ask_host_key, warn=_warn)
    try:
        await _look(fleet, given.host)
        known = await asyncio.to_thread(fleet.store.evaluations)
        if given.word == "ls":
            return print_list(_listed(known, given), _form(given), time.time())
        if given.word == "show":
            shown = [await _choose(fleet, known, name, given) for name in given.name]
            bits = {} if given.kind else {one.id: found for one in shown if (found := bits_of(known, one))}
            return print_figures(shown, bits, _form(given))
        if given.word == "compare":
            return await _compare(fleet, known, given)
        return await _items(fleet, known, given)
    finally:
        await fleet.aclose()


async def _look(fleet: Fleet, only: str) -> None:
    """Asks the hosts for their runs and their files; of one that does not answer, what is known is shown."""
    names = [only] if only else [host.name for host in await asyncio.to_thread(fleet.hosts.all)]
    if only:
        await asyncio.to_thread(fleet.hosts.get, only)
    for error in await asyncio.gather(*(_look_at(fleet, name) for name in names), return_exceptions=True):
        if isinstance(error, UserError):
            _warn(str(error))
        elif isinstance(error, BaseException):
            raise error


async def _look_at(fleet: Fleet, name: str) -> None:
    try:
        await fleet.catch_up(name)
        await fleet.evaluations.refresh(name)
    except UserError as error:
        heard = await asyncio.to_thread(fleet.store.last_contact, name)
        listed = await asyncio.to_thread(fleet.store.listed, name)
        ages = [moment for moment in (heard, None if listed is None else listed.at) if moment]
        if not ages:
            raise
        age = when(max(ages), time.time())
        raise UserError(f"{error.message}; what is shown of it is as of {age}", error.hint) from error
    listed = await asyncio.to_thread(fleet.store.listed, name)
    for problem in () if listed is None else listed.problems:
        _warn(f"host '{name}': {problem}")
    if listed is not None and listed.left_out:
        _warn(f"host '{name}' has {listed.left_out:,} more files of results and runs than are looked at")


def _listed(known: Sequence[Evaluation], given: argparse.Namespace) -> list[Evaluation]:
    """What `ls` shows: of a training's own evaluations the last of each kind, unless all are asked for.

    Published tables come last, by their mean.
    """
    seen: set[tuple[str, str]] = set()
    found = []
    for one in known:
        if (given.kind is not None and one.kind != given.kind) or (given.host and one.host != given.host):
            continue
        if one.while_training and not given.all:
            if (one.run, one.kind) in seen:
                continue
            seen.add((one.run, one.kind))
        found.append(one)
    return sorted(found, key=lambda one: (one.reference, one.mean or 0.0 if one.reference else 0.0))


async def _choose(
    fleet: Fleet, known: Sequence[Evaluation], name: str, given: argparse.Namespace
) -> Evaluation:
    there: dict[str, str] = {}
    for host in await asyncio.to_thread(fleet.hosts.all):
        listed = await asyncio.to_thread(fleet.store.listed, host.name)
        there |= dict.fromkeys(listed.checkpoints if listed is not None else (), host.name)
    chosen = choose(known, name, Wanted(given.kind, given.host, given.run), there)
    if chosen.note:
        _warn(chosen.note)
    if chosen.one.gone:
        _warn(f"{chosen.one.name} is no longer on host '{chosen.one.host}': its checkpoint was deleted")
    return chosen.one


async def _compare(fleet: Fleet, known: Sequence[Evaluation], given: argparse.Namespace) -> int:
    one = await _choose(fleet, known, given.a, given)
    given.kind = given.kind or one.kind
    other = await _choose(fleet, known, given.b, given)
    if one.id == other.id:
        raise UserError(f"'{given.a}' and '{given.b}' are the same evaluation", "name two")
    from nanochat.evals.paired import compare

    has_items = one.kind in ("core", "chat")
    without = [each for each in (one, other) if each.items is None]
    if without or not has_items:
        for each in without if has_items else ():
            _warn(f"no items are kept of {each.name}: the figures are compared, not items")
        return print_comparison(one, other, None, _form(given))
    first, second = [await _read(fleet, each) for each in (one, other)]
    comparison = await asyncio.to_thread(compare, first, second)
    if not comparison.pairs:
        _warn("no item is the same in both: the figures are compared, not items")
        return print_comparison(one, other, None, _form(given))
    return print_comparison(one, other, comparison, _form(given))


async def _items(fleet: Fleet, known: Sequence[Evaluation], given: argparse.Namespace) -> int:
    one = await _choose(fleet, known, given.name, given)
    items = await _read(fleet, one)
    tasks = items.tasks()
    is_task, subject = given.task, ""
    if given.task and given.task not in tasks:
        is_task, _, subject = given.task.partition("/")
        if is_task not in tasks:
            raise UserError(
                f"{one.name} has no items of '{sanitize(given.task, 120)}'",
                nearest(given.task, tasks) or f"there are {', '.join(tasks)}",
            )
    rows = await asyncio.to_thread(_found, items, given.find)
    rows.sort(key=lambda row: (tasks.index(items.task[row]), items.index[row]))
    chosen = [
        row
        for row in rows
        if (not is_task or items.task[row] == is_task)
        and (not subject or items.subject[row] == subject)
        and not (given.wrong and items.correct[row])
    ]
    return print_items(items, chosen, given.most or len(chosen), _form(given))


def _found(items: Items, text: str) -> list[int]:
    """The rows that hold a text, all of them for none."""
    if not text:
        return list(range(len(items)))
    found: list[int] = []
    at = 0
    while at < len(items):
        some = items.search(text, at)
        found += some.rows
        at = some.next
    return found


async def _read(fleet: Fleet, one: Evaluation) -> Items:
    """The items of an evaluation; what is wrong with their file, and how old a copy is, is told."""
    from nanochat.evals.items import read_items

    started = time.time()
    path = await fleet.evaluations.items(one)
    checked = await fleet.evaluations.fetched_at(one)
    if checked is not None and checked < started:
        _warn(
            f"host '{one.host}' is out of reach: the items of {one.name} are as of "
            f"{when(checked, time.time())}"
        )
    items = await asyncio.to_thread(read_items, path)
    for note in items.notes:
        _warn(f"items of {one.name}: {note}")
    return items


def _form(given: argparse.Namespace) -> Form:
    return given.form or "text"


def _count(text: str) -> int:
    try:
        found = parse_int(text)
    except ValueError:
        found = -1
    if found < 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a count")
    return found


def _warn(text: str) -> None:
    print(f"nanochat: warning: {sanitize(text, 1_000)}", file=sys.stderr)
