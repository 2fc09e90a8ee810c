"""`nanochat completion SHELL`: a static completion script, made by shtab from the real parsers."""

import argparse
from collections.abc import Sequence

from nanochat.commands.table import COMMANDS, DATA, load
from nanochat.common.errors import Exit
from nanochat.config.options import Options, Parser, add_arguments, option_fields
from nanochat.config.plan import builtin_plans
from nanochat.config.stages import STAGES, stage_spec

# Commands whose own parsers live in another room: `module:function` that returns the parser.
PARSERS = {
    "bench": "nanochat.commands.bench:parser",
    "runs": "remote.cli.commands:runs_parser",
    "hosts": "remote.cli.commands:hosts_parser",
    "doctor": "remote.cli.commands:doctor_parser",
}


def main(argv: Sequence[str]) -> int:
    """Prints the script; `eval "$(nanochat completion bash)"` switches it on."""
    import shtab

    parser = Parser(
        prog="nanochat completion",
        description="Print the completion script of a shell.",
        epilog='bash: eval "$(nanochat completion bash)" · zsh: write it to _nanochat in a folder of $fpath',
    )
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    print(shtab.complete(command_tree(), parser.parse_args(list(argv)).shell))
    return Exit.OK


def command_tree() -> argparse.ArgumentParser:
    """The whole command line as one parser, for completion only."""
    import shtab

    root = argparse.ArgumentParser(prog="nanochat")
    root.add_argument("--base-dir", metavar="DIR").complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    root.add_argument("--no-tui", choices=list(builtin_plans()), metavar="PLAN", help="run a plan headless")
    root.add_argument("--host", metavar="NAME")
    root.add_argument("--json", action="store_true")
    root.add_argument("--set", metavar="stage.option=value")
    words = root.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        if name in PARSERS:
            words.add_parser(name, parents=[load_parser(PARSERS[name])], help=command.summary, add_help=False)
        elif name != "data":
            words.add_parser(name, help=command.summary)
    data = words.add_parser("data", help=COMMANDS["data"].summary).add_subparsers(dest="what")
    for word, stage in DATA.items():
        _add_options(data.add_parser(word, help=stage_spec(stage).summary), stage_spec(stage).options)
    for name, spec in STAGES.items():
        _add_options(words.add_parser(name, help=spec.summary), spec.options)
    return root


def load_parser(target: str) -> argparse.ArgumentParser:
    """The parser that the function `target` names returns."""
    parser = load(target)
    return parser()  # type: ignore[call-arg,return-value]


def _add_options(parser: argparse.ArgumentParser, options: type[Options]) -> None:
    import shtab

    add_arguments(parser, options)
    fields = {field.name: field for field in option_fields(options)}
    for action in parser._actions:
        field = fields.get(action.dest)
        if field is None:
            continue
        if field.choices:
            action.choices = [choice for choice in field.choices if choice]
        elif field.name.endswith("_dir"):
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif field.name in ("paths", "out", "init_from"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
