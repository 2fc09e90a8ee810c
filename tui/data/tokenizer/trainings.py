"""Trainings of tokenizers as they run: text read and merges done, from the runs' own metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.common.text import duration, number, percent, sanitize, short
from nanochat.config.data_options import TokTrainOptions
from nanochat.config.options import Value, option_fields
from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS
from remote.run_summary import elapsed, eta, progress
from remote.runs import host_time
from remote.store.summary import as_number

if TYPE_CHECKING:
    from remote.runs import Link, RunRow

STAGE = "tok_train"
_DEFAULTS: dict[str, Value] = {field.name: field.default for field in option_fields(TokTrainOptions)}


def trainings(runs: Iterable[RunRow]) -> list[RunRow]:
    """The runs that train a tokenizer, the newest first."""
    return [run for run in runs if run.stage == STAGE and not run.archived]


def option(run: RunRow, name: str) -> Value:
    """What a run was asked for, else the default."""
    found: Value = run.options.get(name, _DEFAULTS[name])
    return found


@dataclass(frozen=True)
class Training:
    """How far a training is. Counts are None where the run does not tell them; `rate` is in MB/s, `expected`
    about how many characters will be read, `merges_wanted` how many merges the vocabulary takes."""

    documents: int | None
    bytes: int | None
    chars: int | None
    expected: int | None
    merges: int | None
    merges_wanted: int | None
    rate: float | None
    compression: float | None
    """Bytes a token on validation text, known when it ended."""

    @property
    def read(self) -> float | None:
        """The fraction of the text that has been read; all of it once merges are learned."""
        if self.merges is not None:
            return 1.0
        return min(1.0, self.chars / self.expected) if self.chars is not None and self.expected else None

    @property
    def merged(self) -> float | None:
        """The fraction of the merges that is done."""
        if self.merges is None or not self.merges_wanted:
            return None
        return min(1.0, self.merges / self.merges_wanted)


def training(run: RunRow) -> Training:
    """How far a run is, by the newest values of its metrics."""
    size = as_number(option(run, "vocab_size"))
    result = run.results
    return Training(
        documents=_count(run.latest, "tok/documents", result, "documents"),
        bytes=_count(run.latest, "tok/bytes"),
        chars=_count(run.latest, "tok/chars", result, "chars"),
        expected=run.total_steps or None,
        merges=_count(run.latest, "tok/merges"),
        merges_wanted=None if size is None else max(0, int(size) - 256 - len(SPECIAL_TOKENS)),
        rate=as_number(run.latest.get("tok/mb_per_sec")),
        compression=as_number(result.get("bytes_per_token", run.latest.get("tok/bytes_per_token"))),
    )


def _count(
    latest: Mapping[str, float | str],
    name: str,
    result: Mapping[str, float | str] | None = None,
    also: str = "",
) -> int | None:
    """A number of things, from the newest metric, else from what the run ended with."""
    found = as_number(latest.get(name))
    if found is None and result is not None:
        found = as_number(result.get(also))
    return None if found is None else int(found)


@dataclass(frozen=True)
class Bar:
    """A line of the detail: its label, the fraction that is done or None, and that in words."""

    label: str
    share: float | None
    note: str


def bars(run: RunRow) -> list[Bar]:
    """What is told of a training, a line each."""
    found = training(run)
    lines = [Bar("text read", found.read, _text(found)), Bar("merges", found.merged, _merges(found, run))]
    amounts = [
        f"{number(found.rate)} MB/s" if found.rate is not None else "",
        f"{found.documents:,} documents" if found.documents is not None else "",
        f"{found.bytes:,} bytes" if found.bytes is not None else "",
    ]
    if any(amounts):
        lines.append(Bar("so far" if run.live else "in all", None, " · ".join(filter(None, amounts))))
    if found.compression is not None:
        told = f"{found.compression:.3f} bytes a token on validation text"
    else:
        told = "measured when it has ended" if run.live else "not measured"
    lines.append(Bar("compression", None, told))
    return lines


def _text(found: Training) -> str:
    if found.chars is None:
        return "not yet"
    of = f" of about {short(found.expected)}" if found.expected and found.merges is None else ""
    return f"{short(found.chars)}{of} characters"


def _merges(found: Training, run: RunRow) -> str:
    if found.merges is None:
        return "after the text" if run.live else "none"
    return f"{found.merges:,} of {found.merges_wanted:,}" if found.merges_wanted else f"{found.merges:,}"


def heading(run: RunRow, link: Link | None, now: float) -> str:
    """The training in a line: which, where, how far, how long."""
    took = duration(elapsed(run, host_time(run, link, now)))
    left = eta(run)
    parts = [
        sanitize(run.label, 60),
        f"on {sanitize(run.host, 40)}",
        f"{int(as_number(option(run, 'vocab_size')) or 0):,} ids",
        percent(progress(run)) if run.live else run.status,
        took,
        f"about {left} left" if left else "",
    ]
    return " · ".join(part for part in parts if part)


def outcome(run: RunRow) -> str:
    """Where the tokenizer lies, or why there is none."""
    path = run.results.get("path")
    if run.status == "succeeded" and isinstance(path, str):
        return f"saved in {sanitize(path, 200)}"
    return "" if run.live else sanitize(run.reason, 300)


def launch_values(run: RunRow | None) -> dict[str, Value]:
    """What the Launch form is filled in with: the options of the training that is looked at."""
    if run is None:
        return {}
    found: dict[str, Value] = {}
    for field in option_fields(TokTrainOptions):
        told = run.options.get(field.name)
        if field.name != "overwrite" and isinstance(told, str | int) and type(told) is field.type:
            found[field.name] = told
    return found
