"""`nanochat runs compare`: runs side by side, the figures of the Compare screen for scripts and documents."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import json_text
from nanochat.common.smoothing import SHARE
from nanochat.config.command_parser import Parser
from remote.filter.fields import plain, seconds

if TYPE_CHECKING:
    from remote.comparison.table import Columns
    from remote.runs import RunRow
    from remote.store.store import Store

AXES = {"step": "step", "tokens": "tokens", "flops": "FLOPs", "time": "active time"}
_MOST_AT = 20


def add_compare_parser(words: argparse._SubParsersAction[Parser]) -> None:
    """`nanochat runs compare A B …`."""
    parser = words.add_parser("compare", help="two to six runs side by side: options, code, data, metrics")
    parser.add_argument("run", nargs="+", metavar="RUN", help="a run id, its start, its name, or host/run_id")
    parser.add_argument("--axis", choices=AXES, default="step", help="what the runs are equal in [step]")
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="PLACE",
        help="also at this place of the axis: 2000, 1.5M, 30m, or 50%% of what all reach; may be given again",
    )
    parser.add_argument(
        "--metric", action="append", default=[], metavar="WORD", help="only metrics whose name holds it"
    )
    parser.add_argument("--differences", action="store_true", help="only the settings that differ")
    parser.add_argument("--group", choices=("seed", "tag"), default="", help="seeds, or a tag, as one column")
    parser.add_argument(
        "--band",
        choices=("range", "stderr"),
        help="around a group's mean [range: min to max]",
    )
    parser.add_argument(
        "--gap",
        action="append",
        default=[],
        metavar="METRIC",
        help="its distance to the first run as a curve",
    )
    parser.add_argument(
        "--smooth",
        type=float,
        default=SHARE,
        metavar="SHARE",
        help=f"noisy metrics averaged over this share of their points, 0: as measured [{SHARE:g}]",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document, numbers in full")
    form.add_argument("--md", action="store_true", help="Markdown tables")
    form.add_argument("--csv", action="store_true", help="one table of everything, a section a row")


def compare(store: Store, runs: Sequence[RunRow], given: argparse.Namespace) -> int:
    """Prints the comparison. Raises `UserError` for what cannot be compared or is not understood."""
    from remote.cli.compare_report import csv_document, text_document
    from remote.comparison.comparison import notes, read_comparison

    if not 0 <= given.smooth < 1:
        raise UserError(f"--smooth {given.smooth:g} is no share", "give 0 to less than 1, such as 0.02")
    if len({run.key for run in runs}) < len(runs):
        raise UserError("a run is named twice", "name each once")
    if len(given.at) > _MOST_AT:
        raise UserError(f"--at is given {len(given.at)} times, at most {_MOST_AT}", "leave some out")
    if given.band and not given.group:
        raise UserError("--band is of groups", "add --group seed or --group tag")
    axis = AXES[given.axis]
    comparison = read_comparison(store, runs, given.smooth)
    columns = comparison.columns(axis, given.group, given.band or "range")
    for word in given.metric:
        _named(columns, word, "without --metric all are listed")
    metrics = columns.metrics(given.metric)
    blocks = [columns.common_block(metrics)]
    blocks += [columns.block(metrics, place(text, columns, metrics)) for text in given.at]
    blocks.append(columns.end_block(metrics))
    if given.gap and len(columns.groups) < 2:
        raise UserError("--gap is between columns, and all runs are one group", "leave out --group or --gap")
    gaps = [metric for word in given.gap for metric in _named(columns, word, "without --gap all are listed")]
    told = notes(comparison, axis)
    if given.json:
        from remote.comparison.figures import document

        found = document(comparison, columns, blocks, gaps, told, differences=given.differences)
        print(json_text(found))
    elif given.csv:
        print(csv_document(comparison, columns, blocks, gaps, differences=given.differences), end="")
    else:
        print(
            text_document(
                comparison, columns, blocks, gaps, told, differences=given.differences, md=given.md
            ),
            end="",
        )
    return Exit.OK


def place(text: str, columns: Columns, metrics: Sequence[str]) -> float:
    """A place of the axis as a person writes it. Raises `UserError` for one that is none."""
    if text.endswith("%"):
        share, extent = plain(text[:-1]), columns.extent(metrics)
        ends = [at for at in map(columns.last_common, metrics) if at is not None]
        if share is not None and extent is not None and ends and 0 <= share <= 100:
            return extent[0] + share / 100 * (max(ends) - extent[0])
    read = seconds(text) if columns.axis == "active time" else plain(text.replace(",", ""))
    if read is None:
        raise UserError(f"'{text}' is no place on the axis {columns.axis}", "such as 2000, 1.5M, 30m or 50%")
    return read


def _named(columns: Columns, word: str, hint: str) -> list[str]:
    exact = [name for name in columns.metrics([word]) if name == word]
    found = exact or columns.metrics([word])
    if not found:
        raise UserError(f"no two of these runs have a metric '{word}'", hint)
    return found
