"""`nanochat tasks`: list the tasks, show their conversations, fetch their data."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import safe_json
from nanochat.common.text import clean_text, sanitize
from nanochat.config.command_parser import Parser, add_base_dir, command_parser, parse
from nanochat.tokenizer.conversation import MAX_CONVERSATION

if TYPE_CHECKING:
    from nanochat.tasks.base import Conversation, Task
    from nanochat.tasks.registry import TaskData


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat tasks …` and returns its exit code."""
    options, layout = parse(parser(), argv)
    if options.action == "ls":
        return _list()
    from nanochat.tasks.registry import TaskData

    data = TaskData.at(
        layout,
        folder=options.task_data,
        mirror=options.mirror,
        offline=options.offline,
        note=lambda text: print(sanitize(text), file=sys.stderr),
        words=options.words,
        corpus=options.data,
        identity=options.identity,
        conversations=options.conversations,
    )
    if options.action == "fetch":
        return _fetch(options.names, options.split, data)
    return _show_tokens(options, data) if options.tokens else _show(options, data)


def parser() -> Parser:
    """The parser of `nanochat tasks`."""
    made = command_parser("nanochat tasks", "List the tasks, show their conversations, fetch their data.")
    actions = made.add_subparsers(dest="action", required=True)
    actions.add_parser("ls", help="list every task with its splits")
    show = actions.add_parser("show", help="print conversations of a task")
    show.add_argument("name")
    show.add_argument("-n", type=int, default=3, help="how many [3]")
    show.add_argument("--start", type=int, default=0, help="index of the first [0]")
    show.add_argument("--json", action="store_true", help="one JSON document a line")
    show.add_argument(
        "--tokens", action="store_true", help="as tokens, with the role of each and whether it is trained"
    )
    show.add_argument(
        "--tokenizer-dir", default="", metavar="DIR", help="with --tokens: folder of the tokenizer"
    )
    show.add_argument(
        "--max-tokens",
        type=int,
        default=MAX_CONVERSATION,
        metavar="N",
        help=f"with --tokens: cut there [{MAX_CONVERSATION}]",
    )
    fetch = actions.add_parser("fetch", help="download the data of tasks, and verify its sha256")
    fetch.add_argument("names", nargs="+", metavar="name")
    for action in (show, fetch):
        action.add_argument("--split", default="", help="which split [the task's first]")
        action.add_argument(
            "--task-data",
            default="",
            metavar="DIR",
            help="folder of data sets that were downloaded elsewhere",
        )
        action.add_argument("--mirror", default="", help="address that stands for https://huggingface.co")
        action.add_argument("--offline", action="store_true", help="fetch nothing")
        action.add_argument("--words", default="", metavar="FILE", help="word list of the spelling tasks")
        action.add_argument(
            "--data", default="", metavar="DIR", help="shards whose words serve where no list is there"
        )
        action.add_argument(
            "--identity", default="", metavar="FILE", help="template of the identity conversations"
        )
        action.add_argument(
            "--conversations", default="", metavar="FILE", help="your own conversations, JSON lines"
        )
    for action in actions.choices.values():
        add_base_dir(action, sub_command=True)
    return made


def _list() -> int:
    from nanochat.tasks.registry import task_specs

    for spec in task_specs().values():
        print(f"{spec.name:<16}{spec.summary} ({', '.join(spec.splits)})")
    return Exit.OK


def _fetch(names: Sequence[str], split: str, data: "TaskData") -> int:
    from nanochat.tasks.registry import make_task, task_spec

    for name in names:
        spec = task_spec(name)
        task = make_task(spec.name, data, split)
        for hub_set in task.hub_sets:
            data.hub.verify(hub_set)
        print(f"{spec.name} ({split or spec.splits[0]}): {task.num_examples():,} conversations")
    return Exit.OK


def _task(options: argparse.Namespace, data: "TaskData") -> "Task":
    """The part of a task that is asked for."""
    from nanochat.tasks.registry import make_task

    if options.start < 0 or options.n < 0:
        raise UserError("--start and -n count from 0 up")
    return make_task(options.name, data, options.split, start=options.start, stop=options.start + options.n)


def _show_tokens(options: argparse.Namespace, data: "TaskData") -> int:
    from nanochat.commands.task_tokens import as_json, as_text
    from nanochat.tokenizer.tokenizer import Tokenizer

    if options.max_tokens < 1:
        raise UserError("--max-tokens is at least 1")
    tokenizer = Tokenizer.load(data.layout.tokenizer_dir(options.tokenizer_dir))
    task = _task(options, data)
    for index, conversation in zip(task.indices(), task, strict=True):
        found = tokenizer.annotate_conversation(conversation["messages"], options.max_tokens)
        if options.json:
            print(as_json(found))
        else:
            print(f"-- {index}", *as_text(found), sep="\n")
    return Exit.OK


def _show(options: argparse.Namespace, data: "TaskData") -> int:
    task = _task(options, data)
    for index, conversation in zip(task.indices(), task, strict=True):
        if options.json:
            print(safe_json(conversation))
        else:
            print(f"-- {index}\n{transcript(conversation)}")
    return Exit.OK


def transcript(conversation: "Conversation") -> str:
    """A conversation as text: tool calls as `<<expression=result>>`, control characters shown."""
    lines = []
    for message in conversation["messages"]:
        content = message["content"]
        if not isinstance(content, str):
            forms = {"text": "{}", "python": "<<{}", "python_output": "={}>>"}
            content = "".join(forms[part["type"]].format(part["text"]) for part in content)
        lines.append(f"{message['role']}: {content}")
    return clean_text("\n".join(lines))
