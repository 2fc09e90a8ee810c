"""The docs say what is true where that is cheap to check: commands parse, two languages say the same."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanochat.commands.completion import PARSERS, load_parser
from nanochat.commands.table import DATA
from nanochat.common.errors import UserError
from nanochat.config.command_parser import collect, normalise, parse
from nanochat.config.plan import load_plan
from nanochat.config.stages import STAGES, stage_spec
from nanochat.run.stage_run import stage_parser
from remote.cli import headless
from tui import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TRANSLATED = sorted(page for page in (ROOT / "docs").glob("*.md") if page.name.endswith(".zh.md"))

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(nanochat(?:\s.*)?)")
HEADING = re.compile(r"^(#+) ", re.MULTILINE)
CUT = re.compile(r"\s(?:#|\||&|>|2>|<).*")
"""Where a command ends for the parser: a comment, a pipe, another file."""
SHELL = ("", "sh", "console")


def english(page: Path) -> Path:
    return page.with_name(page.name.replace(".zh.md", ".md"))


def fences(page: Path) -> list[tuple[str, str]]:
    """(language, text) of each fenced block."""
    return FENCED.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> Iterator[str]:
    """The lines of a page's shell blocks that call `nanochat`, each as one line."""
    for language, text in fences(page):
        if language in SHELL:
            for line in text.replace("\\\n", " ").splitlines():
                if found := COMMAND.fullmatch(line.strip()):
                    yield found[1]


def check(command: str) -> None:
    """Parses a command line by the parser that would; raises `UserError` where it would be refused."""
    words = shlex.split(CUT.sub("", command))[1:]
    first, rest = (words[0], words[1:]) if words else ("", [])
    if "--no-tui" in words:
        given, layout = parse(headless.parser(), [word for word in words if word not in ("--no-tui",)])
        if not given.plan.endswith(".toml"):
            load_plan(given.plan, layout, given.set)
    elif words[:2] == ["data", "stats"]:
        load_parser(PARSERS["data stats"]).parse_args(normalise(words[2:]))
    elif first == "data":
        check_stage(DATA[rest[0]], rest[1:])
    elif first in STAGES:
        check_stage(first, rest)
    elif first in PARSERS:
        load_parser(PARSERS[first]).parse_args(normalise(rest))
    elif not first or first == "demo" or first.startswith("-") or first.endswith(".toml"):
        parse(cli.parser(), words)
    else:
        raise UserError(f"no command is called '{first}'")


def check_stage(name: str, words: list[str]) -> None:
    given, _ = parse(stage_parser(stage_spec(name)), words)
    collect(stage_spec(name).options, given)


def written_out(command: str) -> bool:
    """Whether it is a command to type, and no pattern of one: `nanochat --no-tui PLAN [--host NAME]`."""
    return not re.search(r"\[|…|\bPLAN\b|\bRUN\b|\bNAME\b", command)


CALLS = sorted({(page.name, command) for page in PAGES for command in commands(page) if written_out(command)})


def test_there_are_commands_to_check() -> None:
    assert len(CALLS) > 40


@pytest.mark.parametrize(("page", "command"), CALLS)
def test_a_command_of_the_docs_parses(page: str, command: str) -> None:
    check(command)


@pytest.mark.parametrize(
    "command",
    [
        "nanochat base_loss --split-token 5",
        "nanochat base_eval --source sfx",
        "nanochat data build --demos",
        "nanochat --no-tui pipelin",
        "nanochat --no-tui pipeline --set base_train.dept=3",
        "nanochat base_tune",
        "nanochat estimate --dept 4  # a comment",
        "nanochat base_train --depth four",
    ],
)
def test_a_planted_wrong_command_is_found(command: str) -> None:
    with pytest.raises(UserError):
        check(command)


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_two_languages_have_the_same_sections_commands_and_outputs(page: Path) -> None:
    both = [page, english(page)]
    levels = [HEADING.findall(FENCED.sub("", each.read_text(encoding="utf-8"))) for each in both]
    assert levels[0] == levels[1]
    assert len(levels[0]) > 5
    assert fences(page) == fences(english(page))


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_two_languages_tell_the_same_figures(page: Path) -> None:
    """In the text outside the blocks: the same numbers, each as often."""
    numbers = [
        sorted(re.findall(r"\d[\d,.]*\d|\d", FENCED.sub("", each.read_text(encoding="utf-8"))))
        for each in (page, english(page))
    ]
    assert numbers[0] == numbers[1]


def test_python_in_the_docs_is_python() -> None:
    blocks = [(page.name, text) for page in PAGES for language, text in fences(page) if language == "python"]
    assert blocks
    for _, text in blocks:
        ast.parse(text)
