"""What an options dataclass is, and how one is read from a command line, a plan or a form.

The dataclasses of the stages are in nanochat/config/train_options.py. Underscores stand for dashes
and `10_000` or `2e9` for integers everywhere.
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

from nanochat.common.errors import UserError, nearest

Value = int | float | str | bool | tuple[str, ...] | None
"""What an option may hold. None: a yes or no that the stage decides, shown as `auto`."""


class Options(Protocol):
    """Any stage's option dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


O = TypeVar("O", bound=Options)  # noqa: E741 - the conventional single letter


@dataclass(frozen=True)
class OptionField:
    """What a form, a parser or a check needs to know of one option."""

    name: str
    type: type
    default: Value
    help: str
    group: str
    choices: tuple[str, ...] = ()
    minus_one: str = ""
    """What -1 stands for, which is then allowed whatever the minimum; the help tells it too."""
    minimum: float | None = None
    maximum: float | None = None
    short: str = ""
    positional: bool = False
    path: bool = False
    """A file or folder on the machine the stage runs on."""
    aliases: tuple[str, ...] = ()
    """Names of earlier versions: still read everywhere, shown nowhere."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def at_least(self) -> str:
        """The smallest value, for people; empty without a minimum."""
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
) -> Any:
    """A dataclass field that carries what its form line and its flag say; see `OptionField`."""
    meta = {
        "help": f"{help}; -1: {minus_one}" if minus_one else help,
        "group": group, "choices": tuple(choices), "minus_one": minus_one, "minimum": minimum,
        "maximum": maximum, "short": short, "positional": positional, "path": path,
        "aliases": tuple(aliases),
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=meta)


GROUPS = (
    "Run", "Model", "Tasks", "Answers", "Horizon", "Batch", "Optimizer", "Evaluation", "CORE", "Checkpoint",
    "Tracking",
)  # fmt: skip
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
            raise TypeError(f"{cls.__name__}.{item.name}: one plain type with a default, please")
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
        words = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        if str(text).lower() in words:
            return words[str(text).lower()]
    elif not isinstance(text, bool):
        number = _number(text)
        if field.type is float and number is not None:
            return float(number)
        if field.type is int and number is not None and float(number).is_integer():
            return int(number)
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        tuple: "a list of text",
    }
    raise UserError(f"{field.flag}: {raw!r} is not {names[field.type]}", _example(field))


def _number(text: object) -> int | float | None:
    """The finite number `text` spells, exact for integers of any size, or None."""
    if isinstance(text, int | float):
        return text if text == text and abs(text) != float("inf") else None
    if not isinstance(text, str):
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


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
    """The shortest command line that gives these options back through `parse_argv`."""
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


class OptionalSwitch(argparse.BooleanOptionalAction):
    """`--x` or `--no-x`, else the stage decides.

    `--x 1`, `--x 0` and `--x auto`, which version 0.1.0 and upstream nanochat take, are read and not shown.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        off = str(option_string).startswith("--no-")
        if off and values:
            parser.error(f"{option_string} takes no value")
        setattr(namespace, self.dest, values[0] if values else not off)


class Parser(argparse.ArgumentParser):
    """argparse that answers in one line, offers the nearest known names and never guesses a prefix."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if action.option_strings:
            raise not_allowed(action.option_strings[0], value, action.choices)
        raise UserError(f"{self.prog}: unknown word '{value}'", nearest(str(value), map(str, action.choices)))

    def _get_nargs_pattern(self, action: argparse.Action) -> str:
        if isinstance(action, OptionalSwitch):
            return "(-*A?-*)"  # one value or none, where the help shows none
        return super()._get_nargs_pattern(action)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}", f"see {self.prog} --help")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0]
            flags = [flag for flag in _flags(self, known) if flag.startswith("--")]
            if word.startswith("-"):
                raise UserError(
                    f"{self.prog}: unknown option '{word.split('=')[0]}'", nearest(word.split("=")[0], flags)
                )
            raise UserError(f"{self.prog}: unexpected argument '{word}'", f"see {self.prog} --help")
        return known


def _flags(parser: argparse.ArgumentParser, found: argparse.Namespace) -> list[str]:
    """The flags that `parser` takes, and those of the sub-command that was chosen."""
    flags: list[str] = []
    for action in parser._actions:
        if action.help is argparse.SUPPRESS:
            continue
        flags += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            chosen = action.choices.get(str(getattr(found, action.dest, "")))
            flags += _flags(chosen, found) if chosen is not None else []
    return flags


def normalise(argv: Sequence[str]) -> list[str]:
    """`argv` with underscores in option names turned into dashes (`--model_tag=a_b` → `--model-tag=a_b`)."""
    words: list[str] = []
    for index, word in enumerate(argv):
        if word == "--":
            return words + list(argv[index:])
        name, equals, value = word.partition("=")
        words.append(name.replace("_", "-") + equals + value if name.startswith("--") else word)
    return words


def add_arguments(parser: argparse.ArgumentParser, cls: type[Options]) -> None:
    """One argument for each option, grouped as the form groups them."""
    groups: dict[str, Any] = {}
    for field in option_fields(cls):
        group = groups.setdefault(field.group, parser.add_argument_group(field.group))
        shown = "" if field.default in ("", (), False, None) else f" [{field.default}]"
        arguments: dict[str, Any] = {
            "help": (field.help + shown).replace("%", "%%"),
            "default": argparse.SUPPRESS,
        }
        names = [field.flag, *([field.short] if field.short else [])]
        if field.positional:
            group.add_argument(
                field.name,
                nargs="*",
                metavar=field.name.upper().rstrip("S"),
                help=arguments["help"],
                default=[],
            )
        elif field.type is bool:
            switch = OptionalSwitch if field.default is None else argparse.BooleanOptionalAction
            group.add_argument(*names, dest=field.name, action=switch, **arguments)
        else:
            if field.choices:
                arguments["help"] += " {" + ",".join(field.choices) + "}"
                arguments["choices"] = field.choices
            group.add_argument(*names, dest=field.name, metavar=_metavar(field), **arguments)
        for alias in field.aliases:
            hidden: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if field.type is bool else {}
            parser.add_argument(
                "--" + alias.replace("_", "-"),
                dest=field.name,
                default=argparse.SUPPRESS,
                help=argparse.SUPPRESS,
                **hidden,
            )


def _metavar(field: OptionField) -> str:
    """What stands for the value in the help; the shell completion goes by DIR and PATH as well."""
    if field.path:
        return "DIR" if field.name.endswith("_dir") else "PATH"
    return {int: "N", float: "X", str: "TEXT", tuple: "A,B"}[field.type]


def collect(cls: type[O], namespace: argparse.Namespace) -> O:
    """The options of `cls` found in a parsed namespace."""
    names = {field.name: field for field in option_fields(cls)}
    given = {key: value for key, value in vars(namespace).items() if key in names}
    return from_mapping(cls, {k: v for k, v in given.items() if not (names[k].positional and not v)})
