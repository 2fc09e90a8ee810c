"""`nanochat chat_cli`: talk to a checkpoint, or to any OpenAI-compatible server, in the terminal.

No run: it makes no run directory. `-p TEXT`, and text on stdin, ask one question and end; `--prompts FILE`
asks many.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TextIO

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from nanochat.common.text import amount, clean_text, valid_text
from nanochat.config.chat_cli_options import ChatCliOptions
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.serve_options import KEY_VARIABLE
from nanochat.serve import chat_log
from nanochat.serve.chat import Chat
from nanochat.serve.client import ChatClient
from nanochat.serve.conversation import AnswerSettings, Conversation
from nanochat.serve.prompt_file import load_prompts
from nanochat.serve.terminal.commands import Commands
from nanochat.serve.terminal.models import Models, ServerModels
from nanochat.serve.terminal.one_shot import answer_as_json, answer_once, answer_prompts

MAX_STDIN_BYTES = 16 << 20
"""The largest question that is read from stdin."""
SAMPLING = {"temperature", "top_k", "top_p", "min_p", "max_tokens", "seed"}


def parser() -> Parser:
    """The parser of `nanochat chat_cli`."""
    return command_parser(
        "nanochat chat_cli",
        "Talk to a checkpoint, or to any OpenAI-compatible server.",
        ChatCliOptions,
        epilog="In the chat: /help. Conversations are saved in cc_dialogue under the base directory.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `nanochat chat_cli …` and returns its exit code."""
    given, layout = parse(parser(), argv)
    options = collect(ChatCliOptions, given)
    check(options, set(vars(given)))
    question = "" if options.prompts else read_question(options)
    return asyncio.run(run(options, layout, question, SAMPLING & set(vars(given))))


def check(options: ChatCliOptions, given: set[str]) -> None:
    """Raises `UserError` for options that contradict each other."""
    if options.model and (named := {"source", "model_tag", "step"} & given):
        flag = "--" + min(named).replace("_", "-")
        raise UserError(f"--model names the whole checkpoint, so {flag} contradicts it", "give one of them")
    if options.url and (named := {"source", "model_tag", "step", "device_type", "dtype"} & given):
        raise UserError(
            f"--{min(named).replace('_', '-')} is for a checkpoint of this machine, --url for a server",
            "with --url choose by --model",
        )
    if options.prompts and (named := {"prompt", "load"} & given):
        raise UserError(f"--{min(named)} and --prompts exclude each other", "give one of them")
    if "prompt" in given and not options.prompt.strip():
        raise UserError("-p: the question is empty")


def read_question(options: ChatCliOptions) -> str:
    """The one question of -p or of stdin; "" for a chat. Raises `UserError`."""
    if options.prompt and options.prompt != "-":
        return valid_text(options.prompt)
    if options.prompt != "-" and sys.stdin is not None and sys.stdin.isatty():
        if options.json:
            raise UserError("--json is for one question", "give it with -p, or on stdin")
        if not (sys.stdout.isatty() or sys.stderr.isatty()):
            raise UserError("a chat needs a terminal", "ask one question with -p")
        return ""
    raw = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1) if sys.stdin is not None else b""
    if len(raw) > MAX_STDIN_BYTES:
        raise UserError(f"stdin holds more than {MAX_STDIN_BYTES >> 20} MiB: no model reads that much")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"stdin is not UTF-8 text: byte {error.start:,}") from None
    if not text.strip():
        raise UserError("stdin holds no question", 'give one with -p "…"')
    return text.rstrip("\n")


async def run(options: ChatCliOptions, layout: Layout, question: str, given: set[str]) -> int:
    """Opens the model and chats with it; with a `question` asks that alone. Raises `UserError`."""
    conversation = Conversation.new(valid_text(options.system))
    note = ""
    if options.load:
        conversation, note = chat_log.load(layout.resolve(options.load))
        if options.system:
            conversation = conversation.with_system(valid_text(options.system))
    settings = AnswerSettings(
        options.temperature,
        options.top_k,
        options.top_p,
        options.min_p,
        options.max_tokens,
        None if options.seed < 0 else options.seed,
    )
    prompts = load_prompts(layout.resolve(options.prompts)) if options.prompts else []
    if not question and not prompts:
        print("opening the model…", file=screen(), flush=True)
    async with open_models(options, layout) as models:
        model = await models.open(options.model if options.url else "")
        chat = Chat(models.client, model, settings, conversation, given)
        if prompts:
            return await answer_prompts(chat, prompts, sys.stdout, sys.stderr)
        if options.json:
            await answer_as_json(chat, question, sys.stdout)
        elif question:
            await answer_once(chat, question, sys.stdout, sys.stderr)
        else:
            return await converse(chat, models, options, layout, note)
    return Exit.OK


async def converse(chat: Chat, models: Models, options: ChatCliOptions, layout: Layout, note: str) -> int:
    """The chat in the terminal; returns the exit code."""
    from nanochat.serve.terminal.loop import TerminalChat
    from nanochat.serve.terminal.prompt import HISTORY_FILE, CommandCompleter, History, Prompt

    painted = screen()
    logs = layout.base / chat_log.FOLDER
    commands = Commands(chat, models, logs)
    if options.load:
        commands.adopt(layout.resolve(options.load), note)
    completer = CommandCompleter(commands.table, models.known, logs)
    prompt = Prompt(completer, History(layout.base / HISTORY_FILE), lambda: status_line(chat), painted)
    print(welcome(chat, models.where, note), file=painted, flush=True)
    return await TerminalChat(chat, commands, prompt, sys.stdout, painted).run()


def screen() -> TextIO:
    """Where a chat is held. Where stdout is a pipe it gets the answers alone, and stderr the rest."""
    return sys.stdout if sys.stdout.isatty() else sys.stderr


def welcome(chat: Chat, where: str, note: str) -> str:
    """What stands above the first question."""
    lines = [f"{chat.model.id} {where}"]
    if turns := len(chat.conversation.turns):
        lines.append(f"going on after {amount(turns, 'turn')}")
    if note:
        lines.append(note)
    return clean_text(
        "\n".join([*lines, "enter sends, ctrl+c stops an answer, ctrl+d leaves, /help lists more"])
    )


def status_line(chat: Chat) -> str:
    """What stands below the line one types in."""
    settings, model = chat.settings, chat.model
    parts = [
        chat.exact_model,
        f"temperature {settings.temperature:g}",
        f"top-k {settings.top_k}",
        f"max {settings.max_tokens:,}",
    ]
    if settings.seed is not None:
        parts.append(f"seed {settings.seed}")
    finish = chat.latest.finish if chat.latest is not None and chat.conversation.turns else None
    if finish is not None and finish.prompt_tokens is not None:
        used = f"context {finish.prompt_tokens + (finish.completion_tokens or 0):,}"
        parts.append(used + (f" of {model.context:,}" if model.context else ""))
    return " · ".join(parts)


@asynccontextmanager
async def open_models(options: ChatCliOptions, layout: Layout) -> AsyncIterator[Models]:
    """The models of --url, else the checkpoints of the base directory. Raises `UserError`."""
    if options.url:
        async with ChatClient(options.url, options.api_key or os.environ.get(KEY_VARIABLE, "")) as client:
            yield ServerModels(client)
        return
    from nanochat.checkpoint.names import parse_name
    from nanochat.serve.local import choose, open_local_models

    if options.model:
        name = parse_name(options.model)
    else:
        name = choose(layout, options.source, options.model_tag, options.step)
    async with open_local_models(layout, name, options.device_type, options.dtype) as models:
        yield models


if __name__ == "__main__":
    from nanochat.cli import main as nanochat

    raise SystemExit(nanochat(["chat_cli", *sys.argv[1:]]))
