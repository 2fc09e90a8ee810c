"""Remapped keys: the keymap file without its clashes, and the keys of each action as they are now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import punctuation as PUNCTUATION
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.keys import Keys

from nanochat.common.errors import UserError, nearest
from tui.keys import BY_ID, KEYS, Key

if TYPE_CHECKING:
    from textual.widget import Widget

NODES: tuple[tuple[str, ...], ...] = (
    ("run", "panes", "plots", "plot"),
    ("hosts", "panes"),
    ("launch", "panes"),
    ("plan", "panes"),
    ("chat", "panes"),
    ("tokenizer", "panes"),
    ("alerts", "table"),
    ("columns", "table"),
    ("host_columns", "table"),
    ("scores", "table"),
    ("curve", "panes", "plots", "plot"),
    ("sweep", "panes", "plots", "plot"),
    *((group,) for group in KEYS),
)
"""Groups whose keys are bound in one place: there Textual drops the action whose key another one takes."""

TOGETHER: dict[str, tuple[str, ...]] = {
    "runs": ("table", "columns"),
    "run": ("log", "gpus", "samples", "alerts"),
    "panes": ("log", "gpus", "samples", "alerts"),
    "plots": ("log", "gpus", "samples", "alerts"),
    "plot": ("log", "gpus", "samples", "alerts"),
    "hosts": ("table", "host_columns"),
    "plan": ("table",),
    "chat": ("transcript", "question"),
    "diff": ("lines",),
    "prompts": ("table",),
    "evals": ("scores", "table"),
    "checkpoints": ("table",),
    "items": ("table",),
    "item": ("lines",),
    "paired": ("table",),
    "training": ("table",),
    "vocabulary": ("table",),
    "heat": ("table",),
    "vocabularies": ("table",),
    "tokenizer": ("text", "split"),
}
"""The groups of panes on a screen: a pane's keys come before the screen's while it has the focus."""

KEY_NAMES = {
    "enter": "⏎",
    "escape": "esc",
    "slash": "/",
    "question_mark": "?",
    "exclamation_mark": "!",
    "ampersand": "&",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "equals_sign": "=",
    "comma": ",",
    "full_stop": ".",
    "underscore": "_",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "plus": "+",
    "minus": "-",
}
"""How keys are written on screen, where that is not their name."""

_ACTION = re.compile(r"\{(\w+\.\w+)\}")

UNTOLD = frozenset({"alt+escape"})
"""Keys that only a terminal sends: two quick presses of escape arrive as this."""


NAMED_KEYS = frozenset(key.value for key in Keys)
"""The keys that have a name, such as `f5`, `enter` and `pageup`."""
_MODIFIERS = frozenset({"ctrl", "shift", "alt", "super", "hyper", "meta"})


def split_keys(keys: str) -> list[str]:
    """`"?, ctrl+x"` as Textual names its keys: `question_mark`, `ctrl+x`."""
    return [_named(key) for key in keys.split(",")]


def _named(key: str) -> str:
    key = key.strip()
    if not key:
        return ""
    (binding,) = Binding.make_bindings([Binding(key, "named")])
    return binding.key


def is_key(key: str) -> bool:
    """Whether a terminal can send a key of this name."""
    *held, last = key.split("+")
    if not _MODIFIERS.issuperset(held):
        return key in NAMED_KEYS
    if len(last) == 1 or key in NAMED_KEYS or last in NAMED_KEYS:
        return True
    return last == "comma" or any(last == _named(sign) for sign in PUNCTUATION.replace(",", ""))


def read_keymap(path: Path) -> dict[str, str]:
    """A keymap file: TOML with lines like `"runs.stop" = "x"`. Missing file: nothing is remapped.

    Raises `UserError` for a file that is not TOML, an unknown id or a value that is not text.
    """
    from nanochat.common.fields import parse_toml

    try:
        table = parse_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"keymap {path}: {error}", "fix it or move it away") from error
    for name, keys in table.items():
        if name not in BY_ID:
            raise UserError(f"keymap {path}: no action '{name}'", nearest(name, BY_ID))
        if not isinstance(keys, str) or not keys:
            raise UserError(f'keymap {path}: \'{name}\' needs keys as text, such as "x" or "ctrl+x"')
    return table


def key_name(key: str) -> str:
    """How a key is written on screen: `ctrl+s` as it is, `slash` as `/`, `shift+left` as `shift+←`."""
    held, _, last = key.rpartition("+")
    name = KEY_NAMES.get(last, last.upper() if last[:1] == "f" and last[1:].isdigit() else last)
    return f"{held}+{name}" if held else name


def keys_text(key: Key, keymap: Mapping[str, str]) -> str:
    """All keys of an action as they are written on screen, as remapped."""
    return " ".join(key_name(name) for name in keys_of(key, keymap) if name not in UNTOLD)


def hint(name: str, keymap: Mapping[str, str]) -> str:
    """The first key of the action with the id `name`, for a hint on screen, as remapped."""
    return key_name(keys_of(BY_ID[name], keymap)[0])


def keymap_of(widget: Widget) -> Mapping[str, str]:
    """The keymap of the app that a widget is in; none where a widget is used alone."""
    found: Mapping[str, str] = getattr(widget.app, "keymap", {})
    return found


def with_keys(text: str, keymap: Mapping[str, str]) -> str:
    """`text` with the first key, as remapped, of the action whose id stands in braces: `{run.smooth}`.

    Raises KeyError for an id that does not exist.
    """
    return _ACTION.sub(lambda match: hint(match[1], keymap), text)


def keys_of(key: Key, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the keys of an action, as remapped."""
    return tuple(split_keys(keymap.get(key.id) or key.keys))


def without_clashes(keymap: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The lines of a keymap that can be applied, and what is wrong with the others, a sentence each.

    Two actions of one place cannot share a key: the line that takes the key of another is left out, so that
    both keep one. A key that a pane, a screen and the app use for different things is applied, and it is said
    which of them is hidden there.
    """
    if not keymap:
        return {}, []
    kept, told = dict(keymap), []
    for name, keys in keymap.items():
        wrong = next((key for key in split_keys(keys) if not is_key(key)), None)
        if wrong is not None:
            del kept[name]
            told.append(f"{name}: there is no key '{wrong}' ({nearest(wrong, NAMED_KEYS)})")
    while clash := next(_in_one_place(kept), None):
        name, other, key = clash
        del kept[name]
        stays = ", ".join(split_keys(BY_ID[name].keys))
        told.append(f"'{key}' is {other} already, so {name} keeps {stays}: give {other} another key first")
    told += [
        f"'{key}' is {near} where its pane or screen is in use, and hides {far} there"
        for near, far, key in _hidden(kept)
    ]
    return kept, told


def _in_one_place(keymap: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(remapped id, the id that has the key, the key) for each clash; the later line of a file yields."""
    order = list(keymap)
    for groups in NODES:
        keys = [key for group in groups for key in KEYS[group]]
        owners: dict[str, str] = {}
        for key in sorted(keys, key=lambda key: order.index(key.id) if key.id in keymap else -1):
            for name in keys_of(key, keymap):
                if owners.setdefault(name, key.id) != key.id:
                    yield key.id, owners[name], name


def _hidden(keymap: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """(the id that wins, the id it hides, the key) between groups, where the table itself hides nothing."""
    nested = [(near, far) for far, panes in TOGETHER.items() for near in panes]
    nested += [(group, "app") for group in KEYS if group != "app"]
    for near_group, far_group in nested:
        for near in KEYS[near_group]:
            for far in KEYS[far_group]:
                if near.id not in keymap and far.id not in keymap:
                    continue
                if near.action.removeprefix("app.") == far.action.removeprefix("app."):
                    continue
                both = set(keys_of(near, keymap)) & set(keys_of(far, keymap))
                for name in sorted(both - (set(keys_of(near, {})) & set(keys_of(far, {})))):
                    yield near.id, far.id, name


def problems(path: Path) -> list[str]:
    """What is wrong with a keymap file, a sentence each; none for a missing one."""
    try:
        return [f"{path}: {text}" for text in without_clashes(read_keymap(path))[1]]
    except UserError as error:
        return [str(error)]
