"""The agent's command line: one command, one JSON document on standard output (`follow`: a stream)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .answers import Answers, take_fence
from .files import AgentError, os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Json = dict[str, Any]


class Parser(argparse.ArgumentParser):
    """Tells a wrong command line as an AgentError."""

    def error(self, message: str) -> NoReturn:
        raise AgentError(message, "usage")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Errors are `{"error", "code"}` and exit 1; never a traceback."""
    word, words = take_fence(list(sys.argv[1:] if argv is None else argv))
    answers = Answers(sys.stdout, word)
    try:
        return _run(_parse(words), answers)
    except AgentError as error:
        _refuse(answers, str(error), error.code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt:
        _refuse(answers, "interrupted", "interrupted")
    except OSError as error:
        failure = os_error("the agent failed", error)
        _refuse(answers, str(failure), failure.code)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        _refuse(answers, " ".join(text.split()), "internal")
    return 1


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="nanochat-agent", description="Starts, watches and stops stages on this host.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    def command(name: str, about: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=about)
        added.add_argument("--base", required=True, help="base directory")
        return added

    probe = command("probe", "what this host is")
    probe.add_argument("--python", default="", help="interpreter of the stages, to be checked")
    command("submit", "make runs and start them (request on stdin)")
    command("ls", "all runs as they stand")
    command("follow", "stream what is new (request on the first line of stdin)")
    command("resume", "start a new attempt of an ended run (request on stdin)")
    read = command("read", "bytes of one file of a run")
    read.add_argument("--run", required=True)
    read.add_argument("--file", required=True)
    read.add_argument("--offset", type=int, default=0)
    read.add_argument("--max", type=int, default=65536)
    command("evaluations", "files of results and of items (request on stdin)")
    items = command("items", "bytes of a file of items")
    items.add_argument("--file", required=True, help="relative to the base directory")
    items.add_argument("--offset", type=int, default=0)
    items.add_argument("--max", type=int, default=65536)
    items.add_argument("--before", action="store_true", help="tell the sha256 of what lies before the offset")
    command("tokenizers", "tokenizers of this host, or bytes of one's file (request on stdin)")
    command("import", "logs of other programs as runs (request on stdin)")
    search = command("search", "lines of a run's file that hold a text (request on stdin)")
    search.add_argument("--run", required=True)
    search.add_argument("--file", required=True)
    stop = command("stop", "end a run: SIGINT, SIGTERM, SIGKILL")
    stop.add_argument("--run", required=True)
    stop.add_argument("--grace", type=float, default=20.0, help="seconds between the signals")
    _add_services(command)
    supervise = command("supervise", "internal: run the runs whose locks are inherited")
    supervise.add_argument("--locks", required=True)
    sample = commands.add_parser("sample", help="internal: write telemetry of a run")
    sample.add_argument("--run-dir", required=True)
    sample.add_argument("--parent", type=int, required=True)
    sample.add_argument("--without-gpus", action="store_true")
    return parser.parse_args(argv)


def _add_services(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """What is about servers of checkpoints."""
    checkpoints = command("checkpoints", "the checkpoint folders of this host")
    checkpoints.add_argument("--each", action="store_true", help="every checkpoint, with its metadata")
    command("checkpoint", "read, write or delete one checkpoint (request on stdin)")
    command("devices", "what could serve them: memory, and who is at work there")
    command("serve", "join or start a service (request on stdin)")
    services = command("services", "all services of this host")
    services.add_argument("--wait", default="", metavar="ID", help="only this one, once it has started")
    services.add_argument("--seconds", type=float, default=20.0)
    command("lease", "renew leases, one request a line on stdin, until it ends")
    service = command("service", "pin, unpin or end a service, or give a lease back")
    service.add_argument("--id", required=True)
    service.add_argument("--do", required=True, choices=("pin", "unpin", "end", "leave"))
    service.add_argument("--holder", default="")
    keep = command("keep", "internal: run the service whose lock is inherited")
    keep.add_argument("--service", required=True)
    keep.add_argument("--lock", type=int, required=True)


def _run(args: argparse.Namespace, answers: Answers) -> int:
    if args.command == "sample":
        from .telemetry.samples import sample

        return sample(Path(args.run_dir), args.parent, not args.without_gpus)
    base = Path(os.path.abspath(os.path.expanduser(args.base)))
    if args.command == "supervise":
        from .supervisor import supervise

        return supervise(base, json.loads(args.locks))
    if args.command == "keep":
        from .services.keeper import keep

        return keep(base, args.service, args.lock)
    if args.command == "lease":
        from .services.control import lease

        return lease(base, sys.stdin, answers)
    if args.command == "follow":
        from .follow import follow

        return follow(base, sys.stdin, answers)
    answers.write(_answer(args, base))
    answers.flush()
    return 0


def _answer(args: argparse.Namespace, base: Path) -> Json:
    from . import control

    if args.command == "probe":
        from .probe import probe

        return probe(base, args.python)
    if args.command in ("checkpoints", "checkpoint"):
        return _checkpoints(args, base)
    if args.command in ("evaluations", "items"):
        return _evaluations(args, base)
    if args.command == "tokenizers":
        from .tokenizers import answer

        return answer(base, _request())
    if args.command == "import":
        from .imports.command import import_logs

        return import_logs(base, _request())
    if args.command in ("devices", "serve", "services", "service"):
        return _services(args, base)
    if args.command == "submit":
        return control.submit(base, _request())
    if args.command == "resume":
        return control.resume(base, _request())
    if args.command == "stop":
        return control.stop(base, args.run, args.grace)
    if args.command == "search":
        from . import search

        return search.search(control.file_of(base, args.run, args.file), search.Wanted.parse(_request()))
    if args.command == "read":
        return control.read(base, args.run, args.file, args.offset, args.max)
    return control.ls(base)


def _evaluations(args: argparse.Namespace, base: Path) -> Json:
    from . import evaluations

    if args.command == "evaluations":
        return evaluations.evaluations(base, _request())
    return evaluations.read_items(base, args.file, args.offset, args.max, args.before)


def _checkpoints(args: argparse.Namespace, base: Path) -> Json:
    if args.command == "checkpoint":
        from .checkpoint_files import answer

        return answer(base, _request())
    if args.each:
        from .saved import saved

        return saved(base)
    from .checkpoints import checkpoints

    return checkpoints(base)


def _services(args: argparse.Namespace, base: Path) -> Json:
    from .services import control

    if args.command == "devices":
        return control.devices(base)
    if args.command == "serve":
        return control.serve(base, _request())
    if args.command == "service":
        return control.change(base, args.id, args.do, args.holder)
    return control.listed(base, args.wait, args.seconds)


def _request() -> Json:
    try:
        content = json.loads(sys.stdin.buffer.read())
    except (ValueError, RecursionError) as error:
        raise AgentError(f"the request on standard input is no JSON: {error}", "usage") from error
    if not isinstance(content, dict):
        raise AgentError("the request on standard input must be a JSON object", "usage")
    return content


def _refuse(answers: Answers, error: str, code: str) -> None:
    answers.write({"error": error, "code": code})
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
