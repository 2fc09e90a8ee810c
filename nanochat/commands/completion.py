"""`nanochat completion SHELL`: a static completion script, made by shtab from the commands' own parsers."""

import argparse
from collections.abc import Sequence

from nanochat.commands.table import COMMANDS, DATA, DATA_STATS, load
from nanochat.common.errors import Exit
from nanochat.config.command_parser import Parser, add_base_dir
from nanochat.config.plan import builtin_plans
from nanochat.config.stages import STAGES, stage_spec
from nanochat.run.stage_run import stage_parser

PARSERS = {
    "runs": "remote.cli.runs:runs_parser",
    "evals": "remote.cli.evals:evals_parser",
    "report": "remote.cli.report:report_parser",
    "data stats": "nanochat.commands.data_stats:parser",
    "checkpoints": "remote.cli.checkpoints:checkpoints_parser",
    "import": "remote.cli.imports:parser",
    "hosts": "remote.cli.hosts:hosts_parser",
    "tasks": "nanochat.commands.tasks:parser",
    "estimate": "nanochat.commands.estimate:parser",
    "tok_sweep": "nanochat.commands.tok_sweep:parser",
    "tok_export": "nanochat.commands.tok_export:parser",
    "tok_counts": "nanochat.commands.tok_counts:parser",
    "tok_compare": "nanochat.commands.tok_compare:parser",
    "chat_web": "nanochat.stages.chat_web:parser",
    "chat_cli": "nanochat.stages.chat_cli:parser",
    "probe": "nanochat.commands.probe:parser",
    "bench": "nanochat.commands.bench:parser",
    "export": "nanochat.commands.export:parser",
    "tensorboard": "nanochat.commands.tensorboard:parser",
    "wandb": "nanochat.commands.wandb:parser",
    "doctor": "remote.cli.doctor:doctor_parser",
    "completion": "nanochat.commands.completion:parser",
}
"""`module:function` that makes a command's parser. `demo` takes the options of `nanochat` itself."""


def parser() -> Parser:
    """The parser of `nanochat completion`."""
    import shtab

    made = Parser(
        prog="nanochat completion",
        description="Print the completion script of a shell.",
        epilog='bash: eval "$(nanochat completion bash)" · zsh: write it to _nanochat in a folder of $fpath',
    )
    made.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    return made


def main(argv: Sequence[str]) -> int:
    """Prints the script; `eval "$(nanochat completion bash)"` switches it on."""
    import shtab

    given = parser().parse_args(list(argv))
    print(shtab.complete(command_tree(), given.shell))
    return Exit.OK


def command_tree() -> argparse.ArgumentParser:
    """The whole command line as one parser, for completion only."""
    root = argparse.ArgumentParser(prog="nanochat")
    add_base_dir(root)
    root.add_argument("--no-tui", choices=list(builtin_plans()), metavar="PLAN", help="run a plan headless")
    root.add_argument("--host", metavar="NAME")
    root.add_argument("--json", action="store_true")
    root.add_argument("--set", metavar="stage.option=value")
    words = root.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        if name != "data":
            parents = [load_parser(PARSERS[name])] if name in PARSERS else []
            words.add_parser(name, parents=parents, help=command.summary, add_help=not parents)
    data = words.add_parser("data", help=COMMANDS["data"].summary).add_subparsers(dest="what")
    for word, stage in DATA.items():
        _add_stage(data, word, stage)
    data.add_parser(
        "stats", parents=[load_parser(PARSERS["data stats"])], help=DATA_STATS.summary, add_help=False
    )
    for name in STAGES:
        _add_stage(words, name, name)
    _complete_paths(root)
    return root


def load_parser(target: str) -> argparse.ArgumentParser:
    """The parser that the function `target` names returns."""
    make = load(target)
    return make()  # type: ignore[call-arg,return-value]


def _add_stage(words: "argparse._SubParsersAction[argparse.ArgumentParser]", word: str, stage: str) -> None:
    spec = stage_spec(stage)
    words.add_parser(word, parents=[stage_parser(spec)], help=spec.summary, add_help=False)


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    """Has the shell complete what is shown as DIR, PATH or FILE by folders or files, in every sub-command."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word in action.choices.values():
                _complete_paths(word)
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.metavar in ("PATH", "FILE"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.choices is not None:
            action.choices = [choice for choice in action.choices if choice]  # an empty one cannot be typed
