"""Frames of an agent's `follow` stream taken into the store, each exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nanochat.common import fields
from nanochat.common.fields import INT64
from remote.runs import RUN_ID, Change, ChangeKind
from remote.store.ingest import EVENTS, TELEMETRY
from remote.store.store import Store

_KINDS: dict[str, ChangeKind] = {EVENTS: "events", TELEMETRY: "telemetry"}


class Resync(Exception):  # noqa: N818 - no error: the stream has to begin again from the store's offsets
    """What the stream sends does not continue what is stored: ask again with the store's offsets."""


class Follower:
    """Takes the frames of one host. `take` blocks on the disk: call it in a worker thread."""

    def __init__(self, store: Store, host: str) -> None:
        self._store = store
        self._host = host

    def take(self, frame: Mapping[str, Any]) -> list[Change]:
        """Stores one frame and returns what changed, already committed.

        A change is reported even when another process was quicker to store it: our screens have not seen it.
        Frames of unknown type or shape are passed over. Raises `Resync` when a chunk leaves a gap, or when
        the host's file turned out to be another than the one read so far.
        """
        kind = frame.get("type")
        if kind == "state":
            return self._state(frame)
        if kind == "problem":
            return self._problem(frame)
        if kind in ("chunk", "skip"):
            return self._chunk(frame)
        if kind == "reset":
            return self._reset(frame)
        return []

    def _state(self, frame: Mapping[str, Any]) -> list[Change]:
        run_id = run_id_of(frame)
        if not run_id:
            return []
        here = frame.get("here") is not False
        self._store.ingest_state(
            self._host,
            frame.get("run"),
            frame.get("state"),
            run_id=run_id,
            here=here,
            sizes=sizes_of(frame),
        )
        return [Change("run", self._host, run_id)]

    def _problem(self, frame: Mapping[str, Any]) -> list[Change]:
        run_id, error = frame.get("run_id"), frame.get("error")
        if not _is_run_id(run_id) or not isinstance(error, str):
            return []
        if not self._store.ingest_problem(self._host, str(run_id), error, frame.get("damaged") is True):
            return []
        return [Change("run", self._host, str(run_id))]

    def _chunk(self, frame: Mapping[str, Any]) -> list[Change]:
        place = _place(frame)
        if place is None:
            return []
        run_id, file, offset = place
        text = frame.get("data", "")
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else b""
        end = frame.get("next")
        end = end if type(end) is int and offset <= end < INT64 else offset + len(data)
        done = self._store.ingest(self._host, run_id, file, offset, data, end)
        if done.outcome in ("gap", "diverged"):
            raise Resync(f"{run_id}/{file}: {done.outcome} at {offset}, stored up to {done.offset}")
        return [Change(_KINDS[file], self._host, run_id)]

    def _reset(self, frame: Mapping[str, Any]) -> list[Change]:
        place = _place(frame)
        if place is None:
            return []
        run_id, file, offset = place
        self._store.forget(self._host, run_id, file, offset)
        return [Change(_KINDS[file], self._host, run_id)]


def run_id_of(entry: Mapping[str, Any]) -> str:
    """The run that a state frame, or an entry of `ls`, is about: its folder's name, as newer agents tell it,
    else what run.json says. Empty when that is no run id."""
    run = entry.get("run")
    said = entry.get("run_id", run.get("run_id") if isinstance(run, Mapping) else None)
    return str(said) if _is_run_id(said) else ""


def sizes_of(entry: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each followed file, where a state frame or an entry of `ls` tells them in a way we can use."""
    told = entry.get("sizes")
    if not isinstance(told, Mapping):
        return {}
    sizes = {name: fields.whole(told.get(name), 0) for name in _KINDS}
    return {name: size for name, size in sizes.items() if size is not None}


def joined(frames: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """The frames in order, chunks of one file that follow each other as one; with how many each stands for.

    A store takes a few large chunks in less time than many small ones.
    """
    held: dict[str, Any] | None = None
    parts: list[str] = []
    for frame in frames:
        if held is not None and _follows(held, frame):
            parts.append(frame["data"])
            held["next"] = frame["next"]
            continue
        if held is not None:
            yield {**held, "data": "".join(parts)}, len(parts)
        held, parts = None, []
        if frame.get("type") == "chunk" and isinstance(frame.get("data"), str):
            held, parts = dict(frame), [frame["data"]]
        else:
            yield frame, 1
    if held is not None:
        yield {**held, "data": "".join(parts)}, len(parts)


def _follows(before: Mapping[str, Any], frame: Mapping[str, Any]) -> bool:
    """Whether a chunk goes on where another of the same file ended."""
    same = ("type", "run_id", "file")
    return (
        [before.get(word) for word in same] == [frame.get(word) for word in same]
        and type(before.get("next")) is int
        and type(frame.get("next")) is int
        and before["next"] == frame.get("offset")
        and isinstance(frame.get("data"), str)
    )


def _place(frame: Mapping[str, Any]) -> tuple[str, str, int] | None:
    run_id, file, offset = frame.get("run_id"), frame.get("file"), frame.get("offset")
    if not _is_run_id(run_id) or not isinstance(file, str) or file not in _KINDS:
        return None
    if type(offset) is not int or not 0 <= offset < INT64:
        return None
    return str(run_id), str(file), offset


def _is_run_id(run_id: object) -> bool:
    return isinstance(run_id, str) and RUN_ID.fullmatch(run_id) is not None
