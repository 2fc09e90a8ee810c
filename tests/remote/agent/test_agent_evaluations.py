"""The files of evaluations as a host's agent lists and sends them: bounded, and nothing else of the host."""

import base64
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from agenthost import AgentHost

from remote.agent import evaluations
from remote.agent.files import AgentError

RUN = "20260101-000000-base_eval-ab12"


def write(base: Path, path: str, text: str, when: float = 0.0) -> Path:
    file = base / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    if when:
        os.utime(file, (when, when))
    return file


def content(answer: dict[str, Any]) -> bytes:
    return zlib.decompress(base64.b64decode(answer["zlib"]))


def test_results_are_listed_with_their_text_once(agent: AgentHost) -> None:
    write(agent.base, "base_eval/base_model_000300.json", '{"core": 0.25}')
    write(agent.base, "base_eval/base_model_000300.csv", "Task, Accuracy, Centered\n")
    write(agent.base, "chat_eval/sft_d4_000650.json", "{}")
    write(agent.base, "chat_eval/sft_d4_000650.jsonl", "{}\n" * 5)
    write(agent.base, "report/base-model-evaluation.md", "## Base model evaluation\n")
    write(agent.base, "eval_bundle/openai-community-gpt2.csv", "Task\n")
    write(agent.base, "eval_bundle/eval_meta_data.csv", "no result\n")
    write(agent.base, f"runs/{RUN}/core-items.jsonl", "{}\n" * 3)
    write(agent.base, f"runs/{RUN}/core/step_000100/core-items.jsonl", "{}\n")
    write(agent.base, f"runs/{RUN}/events.jsonl", "{}\n")
    write(agent.base, "base_checkpoints/d4/step_000300/meta.json", "{}")
    told = agent.call("evaluations", request={})
    texts = {file["path"]: file["text"] for file in told["files"]}
    assert texts == {
        "base_eval/base_model_000300.json": '{"core": 0.25}',
        "base_eval/base_model_000300.csv": "Task, Accuracy, Centered\n",
        "chat_eval/sft_d4_000650.json": "{}",
        "report/base-model-evaluation.md": "## Base model evaluation\n",
        "eval_bundle/openai-community-gpt2.csv": "Task\n",
    }
    assert {item["path"]: item["bytes"] for item in told["items"]} == {
        f"runs/{RUN}/core-items.jsonl": 9,
        f"runs/{RUN}/core/step_000100/core-items.jsonl": 3,
        "chat_eval/sft_d4_000650.jsonl": 15,
    }
    assert told["steps"] == {"base/d4": [300]} and (told["left_out"], told["more"]) == (0, False)

    known = {file["path"]: file["stamp"] for file in told["files"]}
    write(agent.base, "chat_eval/sft_d4_000650.json", '{"a": 1}')
    again = agent.call("evaluations", request={"known": known})
    assert [file["path"] for file in again["files"] if "text" in file] == ["chat_eval/sft_d4_000650.json"]
    assert len(again["files"]) == 5


def test_a_base_directory_without_evaluations_has_none(agent: AgentHost) -> None:
    told = agent.call("evaluations", request={})
    assert (told["files"], told["items"], told["steps"]) == ([], [], {})
    assert agent.refused("evaluations", request={"known": 3})["code"] == "usage"
    assert agent.refused("evaluations", request="[")["code"] == "usage"


def test_much_text_comes_in_several_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluations, "MOST_TEXT", 25)
    for number in range(6):
        write(tmp_path, f"base_eval/base_model_{number:06d}.json", "x" * 10, 1000.0 + number)
    known: dict[str, str] = {}
    answers = []
    while True:
        told = evaluations.evaluations(tmp_path, {"known": known})
        answers.append(sum("text" in file for file in told["files"]))
        known |= {file["path"]: file["stamp"] for file in told["files"]}
        if not told["more"]:
            break
    assert answers == [3, 3] and len(known) == 6


def test_too_many_and_too_large_files_are_told_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluations, "MOST_FILES", 2)
    monkeypatch.setattr(evaluations, "MOST_BYTES", 100)
    for number in range(4):
        write(tmp_path, f"report/{number}.md", "x", 1000.0 + number)
    write(tmp_path, "base_eval/base_model_000001.json", "x" * 101)
    told = evaluations.evaluations(tmp_path, {})
    files = {file["path"]: file for file in told["files"]}
    assert set(files) == {"report/2.md", "report/3.md", "base_eval/base_model_000001.json"}
    assert told["left_out"] == 2
    assert "larger than" in files["base_eval/base_model_000001.json"]["error"]


def test_what_is_no_file_or_has_an_odd_name_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "base_eval/a\x1b[31m.json", "{}")
    write(tmp_path, "base_eval/.hidden.json", "{}")
    (tmp_path / "base_eval" / "folder.json").mkdir()
    os.mkfifo(tmp_path / "base_eval" / "fifo.json")
    (tmp_path / "base_eval" / "nowhere.json").symlink_to(tmp_path / "gone")
    write(tmp_path, "base_eval/latin.json", "{}").write_bytes(b'{"a": "\xe9"}')
    (file,) = evaluations.evaluations(tmp_path, {})["files"]
    assert file["path"] == "base_eval/latin.json" and "�" in file["text"]


def test_bytes_of_items_are_sent_from_anywhere_in_the_file(agent: AgentHost) -> None:
    path = f"runs/{RUN}/core-items.jsonl"
    text = "".join(json.dumps({"index": number}) + "\n" for number in range(1000))
    file = write(agent.base, path, text)
    first = agent.call("items", "--file", path, "--offset=0", "--max", "100")
    rest = agent.call("items", "--file", path, "--offset=100", "--max", "1000000")
    assert (content(first) + content(rest)).decode() == text
    assert first["size"] == len(text) and first["identity"] == rest["identity"] != ""
    beyond = agent.call("items", "--file", path, "--offset=999999", "--max", "10")
    assert content(beyond) == b"" and beyond["offset"] == len(text)
    with file.open("a", encoding="utf-8") as more:
        more.write("{}\n")
    grown = agent.call("items", "--file", path, f"--offset={len(text)}", "--max", "1", "--before")
    assert grown["before"] == hashlib.sha256(text.encode()).hexdigest()
    assert grown["identity"] != first["identity"] and first["before"] == ""
    file.unlink()
    assert agent.call("items", "--file", path)["identity"] == ""


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../core-items.jsonl",
        "runs/../core-items.jsonl",
        f"runs/{RUN}/launch.json",
        f"runs/{RUN}/core/../core-items.jsonl",
        f"runs/{RUN}/core/step_000100/../../core-items.jsonl",
        "chat_eval/../../x.jsonl",
        "chat_eval/x.json",
        "base_eval/x.jsonl",
        "",
    ],
)
def test_no_other_file_of_the_host_is_sent(tmp_path: Path, path: str) -> None:
    with pytest.raises(AgentError, match="not a file of items"):
        evaluations.read_items(tmp_path, path, 0, 100)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    secret = write(tmp_path, "secret", "x")
    (tmp_path / "chat_eval").mkdir()
    (tmp_path / "chat_eval" / "a.jsonl").symlink_to(secret)
    with pytest.raises(AgentError, match=r"cannot read chat_eval/a\.jsonl"):
        evaluations.read_items(tmp_path, "chat_eval/a.jsonl", 0, 100)
