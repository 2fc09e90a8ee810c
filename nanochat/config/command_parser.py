"""The front of every command and stage: one parser, one `--base-dir`, and from a command line its options
and the layout of the base directory it names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from nanochat.common.errors import UserError, nearest
from nanochat.common.paths import Layout, base_dir
from nanochat.config.options import (
    O,
    OptionField,
    Options,
    Value,
    from_mapping,
    not_allowed,
    option_fields,
)

BASE_DIR_HELP = "base directory [NANOCHAT_BASE_DIR, else ~/.cache/nanochat]"


def command_parser(prog: str, description: str, *classes: type[Options], epilog: str | None = None) -> Parser:
    """A parser that takes `--base-dir` and the options of `classes`; a command adds arguments of its own."""
    parser = Parser(prog=prog, description=description, epilog=epilog)
    add_base_dir(parser)
    for cls in classes:
        add_arguments(parser, cls)
    return parser


def add_base_dir(parser: argparse.ArgumentParser, *, sub_command: bool = False) -> None:
    """Gives `parser` the flag `--base-dir`.

    `sub_command`: the parser is that of a word after the command, where the flag overrides one before it.
    """
    default = argparse.SUPPRESS if sub_command else None
    parser.add_argument("--base-dir", metavar="DIR", default=default, help=BASE_DIR_HELP)


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, Layout]:
    """What the command line says (this process's own unless given), and the layout it works in.

    Raises `UserError` in one line for a command line that `parser` does not take.
    """
    given = parser.parse_args(normalise(sys.argv[1:] if argv is None else argv))
    return given, Layout(base_dir(given.base_dir))


def parse_options(cls: type[O], parser: Parser, argv: Sequence[str] | None) -> tuple[O, Layout]:
    """As `parse`, for a command that takes the options of one dataclass and nothing else."""
    given, layout = parse(parser, argv)
    return collect(cls, given), layout


class Parser(argparse.ArgumentParser):
    """argparse that answers in one line, offers the nearest known names and never guesses a prefix."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if action.option_strings:
            raise not_allowed(action.option_strings[0], value, action.choices)
        raise UserError(f"unknown word '{value}'", nearest(str(value), map(str, action.choices)))

    def _get_nargs_pattern(self, action: argparse.Action) -> str:
        if isinstance(action, OptionalSwitch):
            return "(-*A?-*)"  # one value or none, where the help shows none
        return super()._get_nargs_pattern(action)

    def error(self, message: str) -> NoReturn:
        raise UserError(message, f"see {self.prog} --help")

    def _read(self, args: Sequence[str] | None, namespace: Any) -> tuple[Any, list[str]]:
        """As `parse_known_args`; where any number of names may be given, options may stand among them."""
        counts = [action.nargs for action in self._get_positional_actions()]
        is_plain = "--" not in (sys.argv[1:] if args is None else args)  # behind it all are names
        if is_plain and "*" in counts and not {argparse.PARSER, argparse.REMAINDER} & set(counts):
            return self.parse_known_intermixed_args(args, namespace)
        return self.parse_known_args(args, namespace)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        known, unknown = self._read(args, namespace)
        if unknown:
            word = unknown[0]
            flags = [flag for flag in _flags(self, known) if flag.startswith("--")]
            if word.startswith("-"):
                name = word.split("=")[0]
                raise UserError(f"unknown option '{name}'", nearest(name, flags))
            raise UserError(f"unexpected argument '{word}'", f"see {self.prog} --help")
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
        if field.group not in groups:
            groups[field.group] = parser.add_argument_group(field.group)
        _add_argument(groups[field.group], field)
        for alias in field.aliases:
            hidden: dict[str, Any] = {"action": argparse.BooleanOptionalAction} if field.type is bool else {}
            parser.add_argument(
                "--" + alias.replace("_", "-"),
                dest=field.name,
                default=argparse.SUPPRESS,
                help=argparse.SUPPRESS,
                **hidden,
            )


def _add_argument(group: argparse._ArgumentGroup, field: OptionField) -> None:
    help = (field.help + _shown_default(field.default)).replace("%", "%%")
    if field.positional:
        metavar = field.name.upper().rstrip("S")
        group.add_argument(field.name, nargs="*", metavar=metavar, default=[], help=help)
        return
    names = [field.flag, *([field.short] if field.short else [])]
    arguments: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS}
    if field.type is bool:
        switch = OptionalSwitch if field.default is None else argparse.BooleanOptionalAction
        group.add_argument(*names, action=switch, help=help, **arguments)
    elif field.choices:
        shown = ",".join(choice for choice in field.choices if choice)
        group.add_argument(*names, choices=field.choices, metavar=f"{{{shown}}}", help=help, **arguments)
    elif field.repeated:
        arguments |= {"action": "extend", "type": lambda text: text.split(",")}
        group.add_argument(*names, metavar=_metavar(field), help=help, **arguments)
    else:
        group.add_argument(*names, metavar=_metavar(field), help=help, **arguments)


def _shown_default(default: Value) -> str:
    """The default in brackets, as a user may type it; empty where the help says what unset means."""
    if isinstance(default, bool) or default is None or default in ("", ()):
        return " [yes]" if default is True else ""
    if isinstance(default, tuple):
        return f" [{','.join(default)}]"
    return f" [{default:_}]" if isinstance(default, int) else f" [{default}]"


def _metavar(field: OptionField) -> str:
    """The placeholder of the value in the help; shell completion offers folders for DIR, files for PATH."""
    if field.path:
        return "DIR" if field.name.endswith("_dir") else "PATH"
    return {int: "N", float: "X", str: "TEXT", tuple: "A,B"}[field.type]


def collect(cls: type[O], namespace: argparse.Namespace) -> O:
    """The options of `cls` found in a parsed namespace."""
    names = {field.name: field for field in option_fields(cls)}
    given = {key: value for key, value in vars(namespace).items() if key in names}
    return from_mapping(cls, {k: v for k, v in given.items() if not (names[k].positional and not v)})


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
