"""Shell commands that do the same as the control room."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.config.options import Options, to_argv

if TYPE_CHECKING:
    from nanochat.checkpoint.names import CheckpointName
    from remote.hosts.book import Host
    from remote.runs import RunRow


def quote(word: str) -> str:
    """`word` for a shell, with a leading `~/` left to expand."""
    return "~/" + shlex.quote(word[2:]) if word.startswith("~/") and len(word) > 2 else shlex.quote(word)


def _words(words: Sequence[str]) -> str:
    return " ".join(map(quote, words))


def _environment(host: Host) -> str:
    return f"NANOCHAT_BASE_DIR={_words([host.base_dir])}"


def reproduce(run: RunRow, host: Host) -> str:
    """The command that runs `run` again, for a shell on its host."""
    argv = list(run.argv) or ["-m", f"nanochat.stages.{run.stage}"]
    if argv[0].startswith("-"):
        argv.insert(0, host.python or "python3")
    return f"{_environment(host)} {_words(argv)}"


def stage_line(stage: str, options: Options, host: Host, python: str) -> str:
    """The command that runs a stage with `options`, for a shell on `host`."""
    return f"{_environment(host)} {_words([python, '-m', f'nanochat.stages.{stage}', *to_argv(options)])}"


def evals_line(words: Sequence[str], kind: str, base_dir: str) -> str:
    """The `nanochat evals` command with these words, about evaluations of a kind."""
    return _words(["nanochat", "evals", *words, "--kind", kind, "--base-dir", base_dir])


def checkpoints_line(words: Sequence[str], base_dir: str) -> str:
    """The `nanochat checkpoints` command with these words."""
    return _words(["nanochat", "checkpoints", *words, "--base-dir", base_dir])


def export_line(name: CheckpointName, host: Host) -> str:
    """The command that exports a checkpoint, for a shell on its host."""
    out = "-".join([name.tag, name.source, *([] if name.step is None else [str(name.step)]), "hf"])
    return f"{_environment(host)} {_words(['nanochat', 'export', str(name), '--out', out])}"


def headless_line(plan: str, host: str, base_dir: str = "") -> str:
    """The command that runs a plan without the control room."""
    words = ["nanochat", "--no-tui", plan, *(["--host", host] if host != "local" else [])]
    return _words([*words, *(["--base-dir", base_dir] if base_dir else [])])
