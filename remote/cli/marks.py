"""`nanochat runs tag|untag|note|archive|unarchive|mark`: what the user writes about runs, kept here alone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.text import sanitize
from remote.store.tags import checked, tag_words

if TYPE_CHECKING:
    from nanochat.config.command_parser import Parser
    from remote.store.store import Store

MARKS = ("tag", "untag", "note", "archive", "unarchive", "mark")
_RUN = "a run id, its start, its name, or host/run_id"


def add_mark_parsers(words: argparse._SubParsersAction[Parser]) -> None:
    """Adds the sub-commands."""
    for name, about in (("tag", "add tags to a run"), ("untag", "take tags of a run away")):
        tag = words.add_parser(name, help=f"{about}: words that the filter finds as tag:WORD")
        tag.add_argument("run", metavar="RUN", help=_RUN)
        tag.add_argument("tags", metavar="WORD", nargs="+", help="one word, with or without a #")
    note = words.add_parser("note", help="write a note about a run; without a text, take it away")
    note.add_argument("run", metavar="RUN", help=_RUN)
    note.add_argument("text", metavar="TEXT", nargs="*", help="one line")
    for name, about in (
        ("archive", "leave ended runs out of lists; `ls --all` and the filter is:archived show them"),
        ("unarchive", "take runs back into lists"),
    ):
        archive = words.add_parser(name, help=about)
        archive.add_argument("run", metavar="RUN", nargs="+", help=_RUN)
    mark = words.add_parser("mark", help="all of these at once, and pin a run to the top of the table")
    mark.add_argument("--tag", action="append", default=[], metavar="WORD", help="may be given again")
    mark.add_argument("--untag", action="append", default=[], metavar="WORD", help="take a tag away")
    mark.add_argument("--note", default=None, metavar="TEXT", help="one line; an empty one takes it away")
    mark.add_argument("--pin", action=argparse.BooleanOptionalAction, help="to the top of the table, or not")
    mark.add_argument("run", metavar="RUN", help=_RUN)


def mark(store: Store, given: argparse.Namespace) -> int:
    """Answers one of `MARKS`: they are ours, so no host is asked."""
    if given.word in ("archive", "unarchive"):
        return _archive(store, given.run, given.word == "archive")
    tags, untags, note, pin = _wanted(given)
    key = store.find(given.run).key
    for word in tags:
        store.tag(key, word)
    for word in untags:
        store.tag(key, word, on=False)
    if note is not None:
        store.note(key, one_line(note))
    if pin is not None:
        store.pin(key, pin)
    _tell(store, key)
    return Exit.OK


def _wanted(given: argparse.Namespace) -> tuple[list[str], list[str], str | None, bool | None]:
    """Tags to add, tags to take away, the note, the pin. Raises `UserError` where nothing is asked for."""
    if given.word == "tag":
        return tag_words(" ".join(given.tags)), [], None, None
    if given.word == "untag":
        return [], tag_words(" ".join(given.tags)), None, None
    if given.word == "note":
        return [], [], " ".join(given.text), None
    if not (given.tag or given.untag or given.note is not None or given.pin is not None):
        raise UserError("nothing to mark", "give --tag, --untag, --note, --pin or --no-pin")
    return (
        [checked(word) for word in given.tag],
        [checked(word) for word in given.untag],
        given.note,
        given.pin,
    )


def _archive(store: Store, names: list[str], on: bool) -> int:
    found = [store.find(name) for name in names]
    for run in found:
        if on and run.live:
            raise UserError(f"{run.run_id} is {run.status}", "only ended runs are archived; nothing was")
    for run in found:
        store.archive(run.key, on)
        _tell(store, run.key)
    return Exit.OK


def _tell(store: Store, key: str) -> None:
    run = store.run(key)
    assert run is not None
    words = [
        *(["archived"] if run.archived else []),
        *(["pinned"] if run.pinned else []),
        *(f"#{tag}" for tag in run.tags),
        run.note,
    ]
    print(sanitize(f"{run.run_id}: {' '.join(filter(None, words)) or 'no mark'}"))
