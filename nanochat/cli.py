"""The `nanochat` command: dispatches a command line to a command, a stage or the control room.

Modules are loaded only for the command that needs them, so that `--help` is quick and `nanochat STAGE` loads
neither the screens nor SSH. See docs/decisions/0002-front-door.md.
"""

import sys
from collections.abc import Sequence

from nanochat import __version__
from nanochat.commands.table import COMMANDS, CONTROL_ROOM, DATA, DATA_STATS, HEADLESS, load
from nanochat.common.errors import Exit, UserError, nearest
from nanochat.common.streams import ensure_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; an error the user can fix is printed as one line."""
    words = list(sys.argv[1:] if argv is None else argv)
    ensure_streams()
    try:
        return dispatch(words)
    except UserError as error:
        print(f"nanochat: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("nanochat: interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe is gone, and nobody else would read a message
        return Exit.FAILED
    except OSError as error:  # a file or folder that nobody foresaw: too long a name, no permission
        where = f"{error.filename}: " if error.filename else ""
        print(f"nanochat: error: {UserError(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return Exit.FAILED


def dispatch(words: list[str]) -> int:
    """Runs the command or stage that `words` begins with; without one, opens the control room."""
    from nanochat.config.stages import STAGES, stage_spec

    if words[:1] in (["-h"], ["--help"], ["help"]):
        print(help_text())
        return Exit.OK
    if words[:1] == ["--version"]:
        print(f"nanochat {__version__}")
        return Exit.OK
    words = _base_dir_last(words)
    first = words[0] if words else ""
    if first.replace("-", "_") in COMMANDS:
        first = first.replace("-", "_")
    if "--no-tui" in words and first not in COMMANDS and first.replace("-", "_") not in STAGES:
        return load(HEADLESS)([word for word in words if word != "--no-tui"])
    if not first or first.startswith("-"):
        return load(CONTROL_ROOM)(words)
    if (command := COMMANDS.get(first) or COMMANDS.get(first.replace("-", "_"))) is not None:
        return load(command.target)(words[1:])
    if first.replace("-", "_") in STAGES:
        from nanochat.common.collector import hold_collector
        from nanochat.run.stage_run import run_stage

        if words == sys.argv[1:]:  # this process runs the stage and nothing else
            hold_collector()
        return run_stage(stage_spec(first), words[1:])
    if first.endswith(".toml"):
        return load(CONTROL_ROOM)(words)
    raise UserError(
        f"no command is called '{first}'", nearest(first, [*COMMANDS, *STAGES]) + " see nanochat --help"
    )


def _base_dir_last(words: list[str]) -> list[str]:
    """`--base-dir DIR COMMAND …` as `COMMAND … --base-dir DIR`: what is typed for the control room works for
    every command and stage."""
    from nanochat.config.stages import STAGES

    first = words[0] if words else ""
    length = 2 if first == "--base-dir" else 1 if first.startswith("--base-dir=") else 0
    if not length or len(words) <= length or words[length].replace("-", "_") not in {*COMMANDS, *STAGES}:
        return words
    return [*words[length:], *words[:length]]


def demo(words: Sequence[str]) -> int:
    """The built-in demo plan, in the control room or headless."""
    rest = [word for word in words if word != "--no-tui"]
    return load(CONTROL_ROOM if len(rest) == len(words) else HEADLESS)(["demo", *rest])


def data(words: Sequence[str]) -> int:
    """`nanochat data build|download`, the stages data_build and data_download, and `nanochat data stats`."""
    from nanochat.config.stages import stage_spec
    from nanochat.run.stage_run import run_stage

    if not words or words[0] in ("-h", "--help"):
        print("usage: nanochat data {build,download,stats} [options]\n")
        for word, stage in DATA.items():
            print(f"  {word:<10} {stage_spec(stage).summary}; see nanochat data {word} --help")
        print(f"  {'stats':<10} {DATA_STATS.summary}; see nanochat data stats --help")
        return Exit.OK if words else Exit.USAGE
    if words[0] == "stats":
        return load(DATA_STATS.target)(words[1:])
    if words[0] not in DATA:
        raise UserError(
            f"nanochat data: no command is called '{words[0]}'", nearest(words[0], [*DATA, "stats"])
        )
    return run_stage(stage_spec(DATA[words[0]]), words[1:], f"nanochat data {words[0]}")


def help_text() -> str:
    """What `nanochat --help` prints."""
    from nanochat.config.stages import STAGES

    width = max(map(len, [*COMMANDS, *STAGES])) + 2
    lines = [
        "usage: nanochat [--base-dir DIR] [--readonly] [--ascii] [--theme NAME]  open the control room",
        "       nanochat --no-tui PLAN [--host NAME] [--json] [--set stage.option=value]…",
        "       nanochat COMMAND …",
        "       nanochat STAGE [options]                                         run one stage here",
        "",
        "Train your own ChatGPT end to end: on this machine or on a GPU node over SSH.",
        "",
        "commands:",
        *(f"  {name:<{width}}{command.summary}" for name, command in COMMANDS.items()),
        "",
        "stages:",
        *(f"  {name:<{width}}{spec.summary}" for name, spec in STAGES.items()),
        "",
        "Each command and stage has its own --help. Artifacts live under --base-dir, else NANOCHAT_BASE_DIR,",
        "else ~/.cache/nanochat. Exit codes: 0 ok, 1 a stage failed, 2 wrong usage or plan, 3 host",
        "unreachable, 4 stopped by the user, 130 interrupted.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
