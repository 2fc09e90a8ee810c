"""A file of prompts asked in every pane, and its table."""

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from chat_panes import Panes, Server
from stub_server import END, StubServer, error, text, usage

from nanochat.common.errors import UserError
from nanochat.serve.conversation import AnswerSettings
from tui.data.chat.prompt_set import AT_ONCE, Prompt, PromptRun, load_prompts
from tui.data.chat.target import EndpointTarget, parse_target


def prompts_of(tmp_path: Path, content: str, name: str = "prompts.txt") -> list[Prompt]:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return load_prompts(path)


def test_prompts_are_lines_or_blocks_or_json_lines(tmp_path: Path) -> None:
    lines = prompts_of(tmp_path, "\ufeffone\r\n\r\n  two \u2028 still two\r\n")
    assert [prompt.question for prompt in lines] == ["one", "two \u2028 still two"]
    blocks = prompts_of(tmp_path, "one\nmore\n---\n\n---\n  two\n")
    assert [prompt.question for prompt in blocks] == ["one\nmore", "two"]
    parts = [{"type": "python", "text": "6*7"}, {"type": "python_output", "text": "42"}]
    conversation = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "6*7?"},
        {"role": "assistant", "content": [*parts, {"type": "text", "text": "42"}]},
        {"role": "user", "content": "sure?"},
    ]
    documents = [{"prompt": "one"}, {"messages": conversation}, {"messages": conversation[1:3]}]
    found = prompts_of(tmp_path, "\n".join(map(json.dumps, documents)) + "\n", "p.jsonl")
    assert [prompt.question for prompt in found] == ["one", "sure?", "6*7?"]
    assert found[1].before.messages("sure?") == conversation
    assert found[2].before.turns == ()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("p.txt", "\n\n", "holds no prompt"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": 3}\n', "line 2: it has neither a prompt nor messages"),
        ("p.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("p.jsonl", '{"messages": [{"role": "assistant", "content": "a"}]}', "messages[0] is not the user's"),
        ("p.jsonl", '{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "is no text"),
        ("p.jsonl", '{"messages": [{"role": "user", "content": " "}]}', "messages[0] is empty"),
        ("p.jsonl", '{"messages": [7]}', "messages[0] is not the user's"),
    ],
)
def test_a_file_that_holds_no_prompts_is_told_with_its_line(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    with pytest.raises(UserError) as told:
        prompts_of(tmp_path, content, name)
    assert says in str(told.value)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path, Path("/dev/zero")):
        with pytest.raises(UserError, match="cannot read"):
            load_prompts(path)
    (tmp_path / "raw.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        load_prompts(tmp_path / "raw.txt")


async def test_every_prompt_is_asked_in_every_pane_and_saved_as_a_table(
    here: Panes, server: Server, tmp_path: Path
) -> None:
    settings = AnswerSettings(max_tokens=6, temperature=1.0)
    panes = [
        here.set.add(parse_target(name), settings) for name in ("sft/d2@5", "sft/d2@8", "base/d2", "sft/d3")
    ]
    told: list[int] = []
    run = PromptRun(
        panes, prompts_of(tmp_path, "one | pipe\ntwo <b>\nthree"), lambda run: told.append(run.done)
    )
    await run.run()
    assert run.done == run.total == 12 and panes[0].tree.leaf is None
    for row in run.cells:
        assert [cell.state for cell in row] == ["done", "done", "done", "failed"]
        assert "no model 'sft/d3'" in row[3].line
        assert [cell.model for cell in row[:3]] == ["sft/d2@5", "sft/d2@8", "base/d2@3"]
        assert len({cell.seed for cell in row[:3]}) == 1 and all((cell.tokens or 0) <= 6 for cell in row[:3])
    assert len({row[0].seed for row in run.cells}) == 3
    for name in ("table.md", "table.csv", "table.json"):
        run.save(tmp_path / name)
    lines = (tmp_path / "table.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "|  | sft/d2@5 | sft/d2@8 | base/d2 | sft/d3 |" and len(lines) == 5
    assert lines[2].startswith("| one \\| pipe |") and lines[3].startswith("| two &lt;b> |")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 12 and rows[3]["state"] == "failed" and rows[0]["prompt"] == "one | pipe"
    document = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert [row["answers"][0]["answer"] for row in document["prompts"]] == [c[0].answer for c in run.cells]
    with pytest.raises(UserError, match="is there already"):
        run.save(tmp_path / "table.md")
    with pytest.raises(UserError, match=r"ends in \.md"):
        run.save(tmp_path / "table.xlsx")


async def test_a_few_are_asked_at_a_time_and_a_stop_keeps_what_came(
    panes: Panes, stub: StubServer, tmp_path: Path
) -> None:
    at_once: list[int] = []
    asked: dict[str, Any] = {}

    def answer(body: dict[str, Any]) -> Any:
        question = body["messages"][-1]["content"]
        asked[question] = body
        at_once.append(len(stub.requests))
        if question == "4":
            return error(400, "not this one")
        return [text(f"to {question}"), END, usage(1, 2)] if int(question) < 6 else [text("half"), 30.0, END]

    stub.answer = answer
    pane = panes.set.add(EndpointTarget(stub.url), AnswerSettings(seed=7))
    run = PromptRun([pane], prompts_of(tmp_path, "\n".join(map(str, range(20)))), lambda run: None)
    task = asyncio.create_task(run.run())
    await panes.until(lambda: len(stub.requests) == 6 + AT_ONCE)
    await panes.until(lambda: run.done == 6)
    run.stop()
    await task
    states = [row[0].state for row in run.cells]
    assert states == ["done"] * 4 + ["failed", "done"] + ["stopped"] * 14 and run.done == 20
    assert run.cells[0][0].answer == "to 0" and run.cells[0][0].tokens == 2
    assert "not this one" in run.cells[4][0].line
    assert {row[0].answer for row in run.cells[6:]} <= {"half", ""}
    assert {body["seed"] for body in asked.values()} == {7} and len(asked) == 6 + AT_ONCE
    with pytest.raises(UserError, match="no pane"):
        PromptRun([], run.prompts, lambda run: None)


async def test_a_pane_that_failed_is_connected_anew_for_prompts(
    panes: Panes, stub: StubServer, tmp_path: Path
) -> None:
    panes.services.url = stub.url
    pane = panes.set.add(parse_target("box:sft/d20"))
    stub.answer = lambda _: [text("half")]
    await panes.answered(pane, pane.ask("hello"))
    assert pane.state.kind == "failed"
    stub.answer = lambda _: [text("whole"), END]
    run = PromptRun([pane], prompts_of(tmp_path, "one\ntwo\nthree"), lambda run: None)
    await run.run()
    assert [row[0].answer for row in run.cells] == ["whole"] * 3
    assert len(panes.services.opened) == 2  # the three waited for one connection
