"""The front of every command and stage: one parser, one `--base-dir`, and from a command line its options
and the layout of the base directory it names."""

import argparse
import sys
from collections.abc import Sequence

from nanochat.common.paths import Layout, base_dir
from nanochat.config.options import O, Options, Parser, add_arguments, collect, normalise

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
