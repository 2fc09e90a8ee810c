"""The checkpoint that a person names: `sft/d20@650`, `box:base/d20`, without a step the one saved last."""

from __future__ import annotations

from collections.abc import Sequence

from nanochat.checkpoint.names import CheckpointName, parse_name
from nanochat.common.errors import UserError, nearest
from remote.checkpoints.table import Row
from remote.hosts.book import LOCAL


def named(text: str) -> tuple[str, CheckpointName]:
    """Host ("" for any) and name in what a person typed. Raises `UserError` for what is no name."""
    before, colon, rest = text.partition(":")
    if not colon or "/" in before:  # a tag may hold a colon, a host stands before the first slash
        before, rest = "", text
    return before, parse_name(rest)


def choose(rows: Sequence[Row], text: str, host: str = "") -> Row:
    """The row that `text` names. Raises `UserError` that tells what there is where it names none, or several
    hosts have it; of this machine and others it is this machine's."""
    before, name = named(text)
    if before and host and before != host:
        raise UserError(f"'{text}' names host '{before}', --host names '{host}'", "give one of them")
    host = before or host
    tag = [row for row in rows if _is_tag(row, name) and host in ("", row.one.host)]
    found = [row for row in tag if name.step is None or row.one.name.step == name.step]
    if not found:
        raise UserError(
            f"no checkpoint {name}" + (f" on host '{host}'" if host else ""), _there(rows, tag, name)
        )
    hosts = list(dict.fromkeys(row.one.host for row in found))
    if len(hosts) > 1:
        if LOCAL in hosts:
            hosts = [LOCAL]
        else:
            raise UserError(f"{name} is on {', '.join(hosts)}", f"write {hosts[0]}:{name}")
    found = [row for row in found if row.one.host == hosts[0]]
    if name.step is None:
        return next((row for row in found if row.newest), found[0])
    return found[0]


def _is_tag(row: Row, name: CheckpointName) -> bool:
    return (row.one.name.source, row.one.name.tag) == (name.source, name.tag)


def _there(rows: Sequence[Row], tag: Sequence[Row], name: CheckpointName) -> str:
    if tag:
        return "there are steps " + ", ".join(str(row.one.name.step) for row in tag[:12])
    known = list(dict.fromkeys(f"{row.one.name.source}/{row.one.name.tag}" for row in rows))
    return nearest(f"{name.source}/{name.tag}", known) or (
        "there are " + ", ".join(known[:12]) if known else "none is there yet"
    )
