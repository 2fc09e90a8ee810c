"""What an options dataclass is, and how its values are checked, from a command line, a plan or a form alike.

The stages' dataclasses are in data_options.py, train_options.py, chat_options.py and eval_options.py.
Underscores stand for dashes, and `10_000` or `2e9` for integers, everywhere.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from nanochat.common import fields
from nanochat.common.errors import UserError, nearest

Value = int | float | str | bool | tuple[str, ...] | None
"""What an option may hold. None: a yes or no that the stage decides, shown as `auto`."""


class Options(Protocol):
    """Any stage's option dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


O = TypeVar("O", bound=Options)  # noqa: E741 - the conventional single letter


@dataclass(frozen=True)
class OptionField:
    """One option of a stage, as a form, a parser or a check needs it."""

    name: str
    type: type
    default: Value
    help: str
    group: str
    choices: tuple[str, ...] = ()
    minus_one: str = ""
    """What -1 stands for; it is then allowed whatever the minimum, and the help says so too."""
    minimum: float | None = None
    maximum: float | None = None
    short: str = ""
    positional: bool = False
    path: bool = False
    """A file or folder on the machine the stage runs on."""
    aliases: tuple[str, ...] = ()
    """Names of earlier versions: still read everywhere, shown nowhere."""
    repeated: bool = False
    """A list that goes on where the option is given again, instead of being replaced."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def at_least(self) -> str:
        """The smallest value, for error messages; empty without a minimum."""
        if self.minimum is None:
            return ""
        return f"{self.minimum:g}" + (", or -1" if self.minus_one else "")


def option(
    default: Value,
    help: str,
    *,
    group: str = "General",
    choices: Sequence[str] = (),
    minus_one: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    short: str = "",
    positional: bool = False,
    path: bool = False,
    aliases: Sequence[str] = (),
    repeated: bool = False,
) -> Any:
    """A dataclass field that describes an option in its metadata; see `OptionField`."""
    metadata = {
        "help": f"{help}; -1: {minus_one}" if minus_one else help,
        "group": group,
        "choices": tuple(choices),
        "minus_one": minus_one,
        "minimum": minimum,
        "maximum": maximum,
        "short": short,
        "positional": positional,
        "path": path,
        "aliases": tuple(aliases),
        "repeated": repeated,
    }
    return dataclasses.field(default=default, metadata=metadata)


GROUPS = (
    "Run",
    "Model",
    "Tasks",
    "Answers",
    "Horizon",
    "Batch",
    "Optimizer",
    "Evaluation",
    "CORE",
    "Checkpoint",
    "Tracking",
)
"""The order of groups that several stages have, however their options are inherited."""


def option_fields(cls: type[Options]) -> list[OptionField]:
    """The options of a stage's dataclass as they are shown: a stage's own groups first, then those of
    `GROUPS`; within a group in the order they are written."""
    hints = typing.get_type_hints(cls)
    fields = []
    for item in dataclasses.fields(cls):
        hint = hints[item.name]
        kind = tuple if typing.get_origin(hint) is tuple else hint
        if hint == bool | None and item.default is None:
            kind = bool
        if isinstance(kind, types.UnionType) or item.default is MISSING:
            raise TypeError(f"{cls.__name__}.{item.name} needs one plain type and a default")
        fields.append(OptionField(item.name, kind, item.default, **item.metadata))
    return sorted(fields, key=lambda field: GROUPS.index(field.group) if field.group in GROUPS else -1)


def parse_value(field: OptionField, raw: object) -> Value:
    """`raw` (a string, or a TOML or JSON value) as the option's type, checked against its bounds.

    Raises `UserError` that names the option, the value and what is allowed.
    """
    value = _convert(field, raw)
    if field.choices and value not in field.choices:
        raise not_allowed(field.flag, value, field.choices)
    if isinstance(value, int | float) and not isinstance(value, bool):
        special = field.minus_one and value == -1
        if field.minimum is not None and value < field.minimum and not special:
            raise UserError(f"{field.flag}: {value} is too small", f"at least {field.at_least}")
        if field.maximum is not None and value > field.maximum:
            raise UserError(f"{field.flag}: {value} is too large", f"at most {field.maximum:g}")
    return value


YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
TYPE_NAMES: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    tuple: "a list of text",
}


def not_allowed(flag: str, value: object, choices: Iterable[object]) -> UserError:
    """The error for a value that is none of the choices."""
    return UserError(f"{flag}: {value!r} is not allowed", nearest(str(value), map(str, choices)))


def _convert(field: OptionField, raw: object) -> Value:
    text = raw.strip() if isinstance(raw, str) else raw
    if field.type is tuple:
        items = text.split(",") if isinstance(text, str) else text
        if isinstance(items, list | tuple):
            return tuple(str(item) for item in items if str(item))
    elif field.type is str:
        if isinstance(raw, str | int | float) and not isinstance(raw, bool):
            return str(raw)
    elif field.type is bool:
        if isinstance(text, bool):
            return text
        if field.default is None and text in (None, "", "auto"):
            return None
        if (word := str(text).lower()) in (*YES, *NO):
            return word in YES
    elif not isinstance(text, bool):
        number = _number(text)
        if field.type is float and number is not None:
            return float(number)
        if field.type is int and number is not None and (isinstance(number, int) or number.is_integer()):
            return int(number)
    raise UserError(f"{field.flag}: {_shown(raw)} is not {TYPE_NAMES[field.type]}", _example(field))


def _shown(raw: object) -> str:
    """A value as it was given, in a length that a line holds; a number may have thousands of digits."""
    try:
        said = repr(raw)
    except (ValueError, RecursionError):
        return "what was given"
    return said if len(said) <= 120 else f"{said[:120]}…"


_DIGITS = 300
"""Digits of the longest whole number that is taken: a float can still hold it."""


def _number(text: object) -> int | float | None:
    """The finite number `text` spells, exact for whole ones, or None; none has thousands of digits."""
    if isinstance(text, int):
        return text if abs(text) < 10**_DIGITS else None
    if isinstance(text, float):
        return fields.real(text)
    if not isinstance(text, str) or len(text) > 2 * _DIGITS:
        return None
    try:
        return _number(int(text))
    except ValueError:
        pass
    try:
        return fields.real(float(text))
    except ValueError:
        return None


def _example(field: OptionField) -> str:
    return f"for example {field.default}" if field.default not in ("", ()) else ""


def from_mapping(cls: type[O], mapping: Mapping[str, object], where: str = "") -> O:
    """The options `mapping` sets over the defaults. Unknown names raise with the nearest known ones."""
    fields = {field.name: field for field in option_fields(cls)}
    renamed = {alias: field.name for field in fields.values() for alias in field.aliases}
    prefix = f"{where}: " if where else ""
    values: dict[str, Value] = {}
    for key, raw in mapping.items():
        name = key.strip().lstrip("-").replace("-", "_")
        name = renamed.get(name, name)
        if name not in fields:
            raise UserError(f"{prefix}unknown option '{key}'", nearest(name, fields))
        try:
            values[name] = parse_value(fields[name], raw)
        except UserError as error:
            raise UserError(f"{prefix}{error.message}", error.hint) from error
    return cls(**values)


def changed(options: Options) -> dict[str, Value]:
    """The options that differ from their defaults."""
    return {
        field.name: value
        for field in option_fields(type(options))
        if (value := getattr(options, field.name)) != field.default
    }


def to_argv(options: Options) -> list[str]:
    """The shortest command line that gives these options back when it is parsed."""
    argv: list[str] = []
    positional: list[str] = []
    differing = changed(options)
    for field in option_fields(type(options)):
        if field.name not in differing:
            continue
        value = differing[field.name]
        if field.positional and isinstance(value, tuple):
            positional = list(value)
        elif isinstance(value, bool):
            argv.append(field.flag if value else "--no-" + field.flag[2:])
        elif isinstance(value, tuple):
            argv.append(f"{field.flag}={','.join(value)}")
        else:
            argv.append(f"{field.flag}={value}")
    return argv + (["--", *positional] if positional else [])


def absolute_paths(options: O, folder: Path) -> O:
    """`options` with every relative path taken from `folder`; `{base}`, `~` and empty ones as they are."""

    def absolute(path: str) -> str:
        return path if not path or path.startswith(("{base}", "~")) else str(folder / path)

    paths: dict[str, Value] = {}
    for field in option_fields(type(options)):
        value = getattr(options, field.name)
        if field.path:
            paths[field.name] = tuple(map(absolute, value)) if isinstance(value, tuple) else absolute(value)
    return dataclasses.replace(options, **paths)
