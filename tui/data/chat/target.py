"""What a pane talks to: a checkpoint on a host, or a model behind an OpenAI-compatible address."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from nanochat.checkpoint.names import CheckpointName, parse_name
from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from remote.hosts.book import LOCAL

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_FOLLOW = " follow "
_KEY = "key="
MOST = 2_000
"""Characters of a target that are read."""


@dataclass(frozen=True)
class CheckpointTarget:
    """A checkpoint of the base directory of `host`, served there by a service that the app starts.

    A name without a step means the one saved last, looked up again for every answer. `follows` is the id of
    the live run that writes it, "" for none. `str()` gives what `parse_target` reads:
    `sft/d20@650`, `box:sft/d20`, `box:base/d20 follow RUN_ID`; the host `local` is left out.
    """

    host: str
    name: CheckpointName
    follows: str = ""

    def __str__(self) -> str:
        host = "" if self.host == LOCAL else f"{self.host}:"
        return f"{host}{self.name}" + (f"{_FOLLOW}{self.follows}" if self.follows else "")


@dataclass(frozen=True)
class EndpointTarget:
    """A model of an OpenAI-compatible server. `model` "" is the first that it lists.

    `key_variable` names the environment variable that holds its API key, "" for none; keys are never stored.
    `str()` gives `http://host:8000/v1 [MODEL] [key=VARIABLE]`.
    """

    url: str
    model: str = ""
    key_variable: str = ""

    def __str__(self) -> str:
        key = f"{_KEY}{self.key_variable}" if self.key_variable else ""
        return " ".join(part for part in (self.url, self.model, key) if part)

    def key(self) -> str:
        """The API key; "" for none. Raises `UserError` when the variable is not set."""
        if not self.key_variable:
            return ""
        key = os.environ.get(self.key_variable, "")
        if not key:
            raise UserError(f"{self.key_variable} is not set", "set it to the API key before the app starts")
        return key


PaneTarget: TypeAlias = CheckpointTarget | EndpointTarget


def parse_target(text: str) -> PaneTarget:
    """The target that `text` spells. Raises `UserError` that says what is wrong and how to write it."""
    text = text.strip()[:MOST]
    if text.lower().startswith(("http://", "https://")):
        return _endpoint(text)
    return _checkpoint(text)


def short_name(target: PaneTarget) -> str:
    """The target in a few words, for a pane's title: `sft/d20 · box`, `qwen3 · 127.0.0.1:8080`.

    The path of an address is told, without its usual `/v1`: several servers may lie behind one port.
    """
    if isinstance(target, CheckpointTarget):
        words = [str(target.name), "" if target.host == LOCAL else target.host]
    else:
        parts = urlsplit(target.url)
        words = [target.model, parts.netloc + parts.path.rstrip("/").removesuffix("/v1")]
    return sanitize(" · ".join(word for word in words if word), 200)


def _checkpoint(text: str) -> CheckpointTarget:
    text, follow, run = text.partition(_FOLLOW)
    run = run.strip()
    if follow and not _RUN.fullmatch(run):
        raise UserError(f"'{sanitize(run, 80)}' is no run's id", "write box:base/d20 follow RUN_ID")
    before, colon, rest = text.partition(":")
    # A tag may hold a colon, so the one of a host stands before the first slash.
    if not colon or "/" in before:
        before, rest = LOCAL, text
    if not _HOST.fullmatch(before):
        raise UserError(
            f"'{sanitize(before, 80)}' is no host's name", "write box:sft/d20, or http://… for a server"
        )
    try:
        name = parse_name(rest)
    except UserError as error:
        if "/" in rest:
            raise
        raise UserError(
            error.message, "write sft/d20, box:sft/d20@650, or http://127.0.0.1:8000 MODEL"
        ) from None
    if run and name.step is not None:
        raise UserError(
            f"{name} is one step, which does not change", f"write {name.source}/{name.tag} follow {run}"
        )
    return CheckpointTarget(before, name, run)


def _endpoint(text: str) -> EndpointTarget:
    url, _, rest = text.partition(" ")
    words = rest.split()
    variable = ""
    if words and words[-1].startswith(_KEY):
        variable = words.pop().removeprefix(_KEY)
        if not _VARIABLE.fullmatch(variable):
            raise UserError(
                f"{_KEY}{sanitize(variable, 40)} names no environment variable",
                "the key itself is never stored: set a variable to it and write key=ITS_NAME",
            )
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
    if not has_host:
        raise UserError(f"'{sanitize(url, 80)}' is no address", "write http://127.0.0.1:8000/v1 MODEL")
    if "@" in parts.netloc:
        raise UserError(
            "an address with a password would be stored", "set a variable to the key and write key=ITS_NAME"
        )
    return EndpointTarget(url, " ".join(words), variable)
