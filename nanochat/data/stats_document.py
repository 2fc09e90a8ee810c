"""Reads back the JSON document that `nanochat data stats --json` prints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError
from nanochat.common.fields import json_object
from nanochat.common.files import read_regular
from nanochat.common.text import sanitize
from nanochat.data.duplicates import Duplicates
from nanochat.data.stats import Amount, Bin, CorpusStats, Cropped, Long

MOST_BYTES = 16 << 20
MOST_ROWS = 2_000
"""Of each list and table."""


def read_stats(path: Path) -> CorpusStats:
    """The numbers in a file. Raises `UserError` for a file that cannot be read or holds something else."""
    try:
        raw = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_stats(raw, str(path))


def parse_stats(raw: bytes | str, where: str) -> CorpusStats:
    """The numbers in a document. Raises `UserError` with `where` it is from for anything else."""
    found = json_object(raw)
    try:
        if found is None:
            raise TypeError
        return _stats(found)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where} holds no numbers about a corpus", "nanochat data stats --json writes them"
        ) from error


def _stats(found: Mapping[str, Any]) -> CorpusStats:
    """The document's numbers. Raises KeyError, TypeError or ValueError where one is missing or none."""
    return CorpusStats(
        total=_amount(found["total"]),
        splits=_amounts(found["splits"]),
        empty=_whole(found["empty"]),
        letters={name: _whole(count) for name, count in _named(found["letters"])},
        main_scripts=_amounts(found["main_scripts"]),
        duplicates=Duplicates(
            *(_whole(found["duplicates"][name]) for name in ("documents", "bytes", "held_out_too"))
        ),
        longest=[_long(one) for one in _rows(found["longest"])],
        unit="tokens" if found["unit"] == "tokens" else "characters",
        histogram=[
            Bin(*(_whole(one[name]) for name in ("low", "high", "documents", "units")))
            for one in _rows(found["histogram"])
        ],
        percentiles={name: _whole(value) for name, value in _named(found["percentiles"])},
        cropped=[_cropped(one) for one in _rows(found["cropped"])],
        source=sanitize(str(found.get("source", "")), 400),
    )


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value[:MOST_ROWS]


def _named(value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise TypeError
    return [(sanitize(name, 80), one) for name, one in list(value.items())[:MOST_ROWS]]


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value


def _amount(value: Any) -> Amount:
    return Amount(*(_whole(value[name]) for name in ("documents", "bytes", "characters", "tokens")))


def _amounts(value: Any) -> dict[str, Amount]:
    return {name: _amount(one) for name, one in _named(value)}


def _long(value: Any) -> Long:
    return Long(
        bytes=_whole(value["bytes"]),
        characters=_whole(value["characters"]),
        tokens=_whole(value["tokens"]),
        where=sanitize(str(value["where"]), 400),
        beginning=sanitize(str(value["beginning"]), 200),
    )


def _cropped(value: Any) -> Cropped:
    share = value["share"]
    if share is not None and not isinstance(share, int | float):
        raise TypeError
    return Cropped(_whole(value["context"]), _whole(value["longer"]), share)
