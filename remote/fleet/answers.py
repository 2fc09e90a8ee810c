"""What a host's agent answers, read field by field: another machine wrote it."""

from __future__ import annotations

from typing import Any

from nanochat.common import fields
from nanochat.common.errors import Exit, UserError
from nanochat.common.text import sanitize
from remote.fleet.follower import run_id_of, sizes_of
from remote.runs import Found, Gpu, Interpreter, Probe
from remote.store.ingest import EVENTS


def entries(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list of an answer."""
    found = answer.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def log_sizes(answer: dict[str, Any]) -> dict[str, int]:
    """How many bytes of events each run of `ls` has written, where it tells so in a way we can use."""
    found = {run_id_of(entry): sizes_of(entry).get(EVENTS) for entry in entries(answer, "runs")}
    return {run_id: size for run_id, size in found.items() if run_id and size is not None}


def found_of(name: str, answer: dict[str, Any]) -> Found:
    """What a host's agent found. Raises `UserError` for an answer that is none."""
    numbers = [fields.whole(answer.get(word), 0) for word in ("from", "to", "whole", "size")]
    told = answer.get("lines")
    lines = [_found_line(line) for line in told] if isinstance(told, list) else [None]
    torn = None if answer.get("torn") is None else _found_line(answer["torn"])
    start, end, whole, size = numbers
    if start is None or end is None or whole is None or size is None or None in lines:
        raise UserError(f"host '{name}' gave an answer we cannot read: no lines", exit_code=Exit.FAILED)
    return Found(tuple(line for line in lines if line is not None), torn, start, end, whole, size)


def _found_line(told: object) -> tuple[int, str] | None:
    if not isinstance(told, list | tuple) or len(told) != 2 or not isinstance(told[1], str):
        return None
    offset = fields.whole(told[0], 0)
    return None if offset is None else (offset, told[1])


def _gpu(reported: dict[str, Any]) -> Gpu:
    shared = reported.get("mem_shared") is True
    return Gpu(_word(reported["name"]), _size(reported["mem_total"] or 0) or None, shared)


def probe_of(name: str, answer: dict[str, Any], now: float) -> Probe:
    try:
        asked = answer.get("interpreter")
        interpreter = None
        if isinstance(asked, dict):
            interpreter = Interpreter(
                path=_word(asked["path"]),
                ok=bool(asked["ok"]),
                python=_word(asked.get("python") or ""),
                nanochat=_word(asked.get("nanochat") or ""),
                error=_word(asked.get("error") or ""),
            )
        return Probe(
            host=name,
            hostname=_word(answer["hostname"]),
            python=_word(answer["python"]),
            agent=_word(answer["version"]),
            cores=fields.real(answer["cores"], 0) or 0.0,
            ram_total=_size(answer["ram_total"] or 0),
            disk_free=_size(answer["disk_free"]),
            disk_total=_size(answer["disk_total"]),
            in_container=bool(answer["in_container"]),
            boot_id=_word(answer.get("boot_id") or ""),
            gpus=tuple(_gpu(gpu) for gpu in answer.get("gpus") or ()),
            driver=_word(answer.get("driver") or ""),
            nvml_error=_word(answer.get("nvml_error") or ""),
            interpreter=interpreter,
            clock_ahead=(fields.moment(answer.get("now")) or now) - now,
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(
            f"host '{name}' gave an answer we cannot read: {error}", exit_code=Exit.FAILED
        ) from error


def _word(value: object) -> str:
    """A text of a host's, clean: versions, paths and names are shown on screens and in tables."""
    return sanitize(str(value or ""), 500)


def _size(value: object) -> int:
    """A number of bytes. Raises ValueError for what is none."""
    size = fields.whole(value, 0)
    if size is None:
        raise ValueError("a size is no number of bytes")
    return size
