"""What a pane talks to: a checkpoint on a host, or a model behind an OpenAI-compatible address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from nanochat.checkpoint.names import CheckpointName


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
        raise NotImplementedError


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
        raise NotImplementedError


PaneTarget: TypeAlias = CheckpointTarget | EndpointTarget


def parse_target(text: str) -> PaneTarget:
    """The target that `text` spells. Raises `UserError` that says what is wrong and how to write it."""
    raise NotImplementedError


def short_name(target: PaneTarget) -> str:
    """The target in a few words, for a pane's title: `sft/d20 · box`, `qwen3 · 127.0.0.1:8080`."""
    raise NotImplementedError
