"""What upstream prints before its first step, and the lines of its logger: facts, options, times."""

from __future__ import annotations

import json
import math
import os
import re
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Json = dict[str, Any]

_LOGGED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) - (nanochat[\w.]*) - \S+ - (.*)", re.ASCII)
_SAVED = re.compile(r"Saved model (?:parameters to|file to): (.*?([^/]*?_(\d{6,12})\.pt))\s*")
_OPTION = re.compile(r"Overriding: (\w{1,60}) = (.{0,300})")
_FLOPS = re.compile(r"Estimated FLOPs per token: ([\d.e+]{1,40})\s*")
_BATCH = re.compile(r"Total batch size ([\d,]{1,20}) => gradient accumulation steps: (\d{1,9})\s*")
_RESUME = re.compile(r"Resuming optimization from step (\d{1,15})\s*")
_COUNT = re.compile(r"(?:Number of parameters|total {5,30}): ([\d,]{1,20})\s*")
_SIZES = re.compile(r"(num_layers|model_dim|num_heads|num_kv_heads|Vocab size): ([\d,]{1,15})\s*")
_STEPS = re.compile(
    r"(?:Calculated number of steps|Using user-provided number of iterations|"
    r"Calculated number of iterations from [\w:. ]{1,60}): ([\d,]{1,20})\s*"
)
_LOADED = re.compile(r"Loading model from (.{1,1000}) with step (\d{1,12})\s*")
_MODES = re.compile(r"Eval modes: ([\w, ]{1,60})\s*")
_FIELD = re.compile(r'\s+"(\w{1,40})": (.{1,100}?),?\s*')
_NO_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_BEGINNINGS = {
    "Distributed world size": "",
    "Tokens / micro-batch / rank": "mid_train",
    "Vocab size": "base_train",
    "Estimated FLOPs per token": "base_train",
    "Training mixture": "chat_sft",
    "Target examples per step": "chat_sft",
    "Total sequences per step": "chat_rl",
    "Calculated number of steps": "chat_rl",
    "Evaluating model": "base_eval",
    "Evaluating:": "",
}
"""How lines begin that a program prints once, before its first figure, and the stage that alone does so."""
_RANK = ("mid_train", "chat_sft", "chat_rl", "base_eval", "base_train")
KINDS = ("core", "bpb", "chat")
"""What upstream's evaluations make."""
_BANNER = "░███░"
_MOST = 100


def take(line: str, head: Json) -> bool:
    """Keeps what a line before the first step says, in `head`; False for any other line."""
    if _BANNER in line:
        head["new"] = True
        return True
    logged = _LOGGED.match(_NO_COLOUR.sub("", line[:2_000]))
    text = logged[4] if logged is not None else line
    known = False
    for beginning, stage in _BEGINNINGS.items():
        if text.startswith(beginning) and beginning != "Evaluating:":
            head["new"] = known = True
            if stage and _RANK.index(stage) >= _RANK.index(head.get("stage", stage)):
                head["stage"] = stage
    for pattern, keep in _FACTS:
        found = pattern.fullmatch(text)
        if found is not None:
            keep(head, found)
            return True
    if text.startswith("Model config:"):
        head["new"] = head["model"] = True
        return True
    field = _FIELD.fullmatch(text) if head.get("model") else None
    if field is not None:
        _keep(head, "facts", field[1], _json(field[2]))
        return True
    if text.startswith("}"):
        head.pop("model", None)
    return known or logged is not None


def stage_of(head: Json) -> str:
    """The stage whose beginning `head` is, "" where that is not known."""
    return str(head.get("stage", ""))


def facts_of(head: Json, evaluates: str = "") -> Json:
    """What is known of a program from its beginning.

    `evaluates` is the kind of its first figure where it only evaluates: then it judges what it has loaded.
    """
    facts = dict(head.get("facts", {}))
    loaded, modes = facts.pop("loaded", None), facts.pop("modes", None)
    if loaded is not None:
        facts["checkpoint" if evaluates else "started_from"] = loaded
    if evaluates:
        facts["eval"] = [mode for mode in modes or [evaluates] if mode in KINDS]
    return facts


def options_of(head: Json) -> Json:
    """The options, named as ours are."""
    return dict(head.get("options", {}))


def time_of(line: str) -> float | None:
    """Unix time of a line of upstream's logger, in this host's time zone; None for another line."""
    found = _LOGGED.match(line[:200])
    if found is None:
        return None
    try:
        return time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S")) + int(found[2]) / 1000
    except (ValueError, OverflowError):
        return None


def checkpoint_of(line: str) -> tuple[str, int, int] | None:
    """Path, step and bytes of the model's file that a line says was saved; 0 bytes where it is not here."""
    if "Saved model" not in line:
        return None
    found = _SAVED.search(line[:4_000])
    if found is None:
        return None
    try:
        size = os.stat(found[1]).st_size
    except (OSError, ValueError):
        size = 0
    return found[1], int(found[3]), size


def _keep(head: Json, place: str, name: str, value: object) -> None:
    kept = head.setdefault(place, {})
    if len(kept) < _MOST:
        kept[name] = value


def _json(text: str) -> object:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text[:300]
    if isinstance(value, float) and not math.isfinite(value):
        return text[:300]
    return value if isinstance(value, (str, int, float, bool)) else text[:300]


def _count(text: str) -> int:
    return int(text.replace(",", "") or 0)


def _keep_option(head: Json, found: re.Match[str]) -> None:
    head["new"] = True
    _keep(head, "options", found[1], _json(found[2].strip()))


def _keep_flops(head: Json, found: re.Match[str]) -> None:
    try:
        value = float(found[1])
    except ValueError:
        return
    if 0 < value < 1e30:
        _keep(head, "facts", "flops_per_token", value)


def _keep_batch(head: Json, found: re.Match[str]) -> None:
    _keep(head, "facts", "total_batch_size", _count(found[1]))
    _keep(head, "facts", "grad_accum_steps", int(found[2]))


def _keep_size(head: Json, found: re.Match[str]) -> None:
    _keep(head, "facts", found[1].lower().replace(" ", "_"), _count(found[2]))


def _keep_resume(head: Json, found: re.Match[str]) -> None:
    head["resume"] = int(found[1])


def _keep_loaded(head: Json, found: re.Match[str]) -> None:
    _keep(head, "facts", "loaded", f"{found[1][:500].rstrip('/')}/model_{int(found[2]):06d}.pt")


_FACTS = (
    (_LOADED, _keep_loaded),
    (_MODES, lambda head, found: _keep(head, "facts", "modes", found[1].split(", "))),
    (_OPTION, _keep_option),
    (_FLOPS, _keep_flops),
    (_BATCH, _keep_batch),
    (_RESUME, _keep_resume),
    (_SIZES, _keep_size),
    (_COUNT, lambda head, found: _keep(head, "facts", "params", _count(found[1]))),
    (_STEPS, lambda head, found: _keep(head, "facts", "steps", _count(found[1]))),
)
