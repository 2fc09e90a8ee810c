"""The front of every command: one --base-dir, and from words to options and layout."""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanochat.commands.completion import PARSERS, command_tree, load_parser
from nanochat.commands.table import COMMANDS
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.config.command_parser import (
    BASE_DIR_HELP,
    Parser,
    add_base_dir,
    command_parser,
    parse,
    parse_options,
)
from nanochat.config.options import option
from nanochat.config.stages import STAGES
from nanochat.run.stage_run import stage_parser

ROOT = Path(__file__).resolve().parents[3]
HEAVY = {"torch", "pyarrow", "numpy", "requests", "textual", "asyncssh", "plotext", "tiktoken", "rustbpe"}


@dataclass(frozen=True)
class Greeting:
    """Options of a command of this test."""

    name: str = option("world", "Whom to greet")


def words_of(parser: argparse.ArgumentParser) -> Parser:
    """`parser` with two words after it, `ls` and `show`, that each take --base-dir."""
    words = parser.add_subparsers(dest="word", required=True)
    for name in ("ls", "show"):
        add_base_dir(words.add_parser(name), sub_command=True)
    return parser


def test_a_command_line_becomes_options_and_a_layout(tmp_path: Path):
    parser = command_parser("nanochat greet", "Greet.", Greeting)
    found = parse_options(Greeting, parser, ["--name=you", "--base_dir", str(tmp_path)])
    assert found == (Greeting(name="you"), Layout(tmp_path))


def test_the_base_directory_is_that_of_the_environment_unless_given(layout: Layout, tmp_path: Path):
    parser = command_parser("nanochat greet", "Greet.", Greeting)
    assert parse_options(Greeting, parser, [])[1] == layout
    assert parse_options(Greeting, parser, ["--base-dir", str(tmp_path)])[1] == Layout(tmp_path)


@pytest.mark.parametrize(
    ("argv", "base"),
    [
        (["--base-dir", "/a", "ls"], "/a"),
        (["ls", "--base-dir", "/b"], "/b"),
        (["--base-dir", "/a", "show", "--base-dir", "/b"], "/b"),
    ],
)
def test_a_base_directory_after_the_word_overrides_one_before_it(argv: list[str], base: str):
    _, layout = parse(words_of(command_parser("nanochat greet", "Greet.")), argv)
    assert layout == Layout(Path(base))


def test_what_a_command_does_not_take_is_one_line():
    with pytest.raises(UserError, match=r"^unknown option '--nam' \(did you mean '--name'\?\)$"):
        parse_options(Greeting, command_parser("nanochat greet", "Greet.", Greeting), ["--nam=you"])


def base_dir_flags(parser: argparse.ArgumentParser, prog: str = "") -> Iterator[tuple[str, str | None]]:
    """The command and the help text of every --base-dir that is the command's own."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from base_dir_flags(below, f"{prog} {word}".strip())
        elif "--base-dir" in action.option_strings and action.dest == "base_dir":
            yield prog, action.help


def test_every_command_and_stage_declares_the_base_directory_the_same_way():
    flags = dict(base_dir_flags(command_tree()))
    assert set(flags.values()) == {BASE_DIR_HELP}
    assert set(STAGES) | set(PARSERS) - {"completion"} <= set(flags)
    assert {"runs ls", "hosts test", "tasks show", "tasks ls", "bench infer", "data build"} <= set(flags)


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_is_named_after_its_command(name: str):
    assert load_parser(PARSERS[name]).prog == f"nanochat {name}"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_takes_a_run_directory_too(name: str, tmp_path: Path):
    given, layout = parse(stage_parser(STAGES[name]), ["--run-dir=here", f"--base-dir={tmp_path}"])
    assert (given.run_dir, layout) == ("here", Layout(tmp_path))


@pytest.mark.parametrize(
    "words",
    [*([name] for name in COMMANDS), ["data", "build"], ["data", "stats"], ["--no-tui"], ["base_eval"]],
)
def test_help_loads_nothing_heavy(words: list[str]):
    code = (
        "import sys; from nanochat.cli import main\n"
        f"try: main({[*words, '--help']!r})\n"
        "except SystemExit as end: assert not end.code\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("usage: nanochat")
    assert not set(done.stderr.split()) & HEAVY
