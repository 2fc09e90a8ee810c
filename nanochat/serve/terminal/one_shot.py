"""One question, one answer, or a file of them: for scripts and pipes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import safe_json
from nanochat.serve.answer import Answer
from nanochat.serve.chat import Chat
from nanochat.serve.prompt_file import Prompt
from nanochat.serve.terminal.screen import PlainAnswer


async def answer_once(chat: Chat, question: str, out: TextIO, err: TextIO) -> None:
    """Writes the answer's text to `out` as it comes, its tool calls to `err`. Raises `UserError`."""
    painter = PlainAnswer(out, err)
    with writing_the_answer():
        try:
            await chat.ask(question, painter.show)
        finally:
            painter.end()


async def answer_as_json(chat: Chat, question: str, out: TextIO) -> None:
    """Writes one line of JSON to `out`: the answer and how it came about. Raises `UserError`."""
    answer = await chat.ask(question)
    with writing_the_answer():
        print(safe_json(document(answer)), file=out, flush=True)


async def answer_prompts(chat: Chat, prompts: Sequence[Prompt], out: TextIO, err: TextIO) -> int:
    """Writes a line of JSON to `out` for the answer to each prompt, one that failed with its `error`; returns
    the exit code. A system message of the chat stands before the prompts that have none."""
    system, failed = chat.conversation.system, 0
    for number, prompt in enumerate(prompts, 1):
        chat.start(prompt.before if prompt.before.system else prompt.before.with_system(system))
        error = ""
        try:
            await chat.ask(prompt.question)
        except UserError as fault:
            error, failed = str(fault), failed + 1
            print(f"prompt {number}: {error}", file=err, flush=True)
        answer = chat.latest
        assert answer is not None  # of this prompt, however far it came
        with writing_the_answer():
            found = document(answer) | ({"error": error} if error else {})
            print(safe_json({"prompt": number, **found}), file=out, flush=True)
    return Exit.FAILED if failed else Exit.OK


@contextmanager
def writing_the_answer() -> Iterator[None]:
    """Makes of a disk that is full a `UserError`; a pipe's reader that has gone is for the command itself."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"cannot write the answer: {error.strerror}", exit_code=Exit.FAILED) from error


def document(answer: Answer) -> dict[str, Any]:
    """An answer as `--json` gives it; a figure that the server did not tell is null."""
    turn, finish = answer.turn, answer.finish
    calls: list[dict[str, str | None]] = []
    for part in turn.answer:
        if part.kind == "python":
            calls.append({"expression": part.text, "output": None})
        elif part.kind == "python_output" and calls:
            calls[-1]["output"] = part.text
    return {
        "model": answer.model,
        "question": answer.question,
        "answer": turn.answer_text,
        "tool_calls": calls,
        "finish_reason": finish.reason if finish else None,
        "settings": vars(answer.settings),
        "usage": {
            "prompt_tokens": finish.prompt_tokens if finish else None,
            "completion_tokens": finish.completion_tokens if finish else None,
            "cached_tokens": finish.cached_tokens if finish else None,
        },
        "seconds": {
            "first_token": None if answer.first_seconds is None else round(answer.first_seconds, 6),
            "all": round(answer.seconds, 6),
        },
    }
