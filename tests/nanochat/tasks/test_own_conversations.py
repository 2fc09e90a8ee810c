"""The user's own conversations as other programs write them; what cannot be read is counted by reason."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.data.sources import Skips
from nanochat.tasks import TaskData, make_task
from nanochat.tasks.customjson import read_conversations

USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "ho"}
PLAIN = [USER, ANSWER]
JOINED = [{"role": "user", "content": "Be kind.\n\nhi"}, ANSWER]
SHARE = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]


def read(path: Path, *values: Any) -> tuple[list[list[dict[str, Any]]], Skips]:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    skips = Skips()
    return read_conversations(path, skips), skips


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PLAIN, PLAIN),
        ({"messages": PLAIN, "source": "me"}, PLAIN),
        ({"messages": [{"role": "system", "content": "Be kind."}, *PLAIN]}, JOINED),
        ([{"role": "system", "content": "Be kind."}, *PLAIN], JOINED),
        ({"conversations": SHARE}, PLAIN),
        ({"id": "x", "conversations": [{"from": "system", "value": "Be kind."}, *SHARE]}, JOINED),
        ({"system": "Be kind.", "conversations": SHARE}, JOINED),
        ({"conversation": [{"from": "Human", "value": "hi"}, {"from": "bing", "value": "ho"}]}, PLAIN),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "h"}, "i"]}, ANSWER]}, PLAIN),
        ({"prompt": "hi", "completion": "ho"}, PLAIN),
        ({"instruction": "Be kind.", "input": "hi", "output": "ho"}, JOINED),
        ({"instruction": "hi", "input": "", "output": "ho"}, PLAIN),
    ],
)
def test_the_forms_of_other_programs_are_read(tmp_path: Path, value: Any, expected: Any) -> None:
    found, skips = read(tmp_path / "own.jsonl", value)
    assert found == [expected]
    assert not skips.total


def test_an_answer_with_calls_keeps_its_parts(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "so "}, {"type": "python", "text": "1+1"}]
    found, _ = read(tmp_path / "own.jsonl", [USER, {"role": "assistant", "content": parts}])
    assert found[0][1]["content"] == parts


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("items", [[{"conversations": SHARE}] * 3000, [PLAIN] * 3000])
def test_one_array_of_all(tmp_path: Path, items: list[Any], indent: int | None) -> None:
    (tmp_path / "all.json").write_text(json.dumps(items, indent=indent))
    assert read_conversations(tmp_path / "all.json", Skips()) == [PLAIN] * 3000


def test_a_first_line_longer_than_the_look_ahead(tmp_path: Path) -> None:
    long = [{"role": "user", "content": "hi " * 100_000}, ANSWER]
    assert read(tmp_path / "own.jsonl", long, PLAIN)[0] == [long, PLAIN]


def test_compressed(tmp_path: Path) -> None:
    raw = (json.dumps(PLAIN) + "\n").encode() * 3
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(raw))
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    (tmp_path / "a.jsonl.zst").write_bytes(bytes(sink.getvalue()))
    for name in ("a.jsonl.gz", "a.jsonl.zst"):
        assert read_conversations(tmp_path / name, Skips()) == [PLAIN] * 3
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(raw)[:-9])
    with pytest.raises(UserError, match="damaged gzip"):
        read_conversations(tmp_path / "a.jsonl.gz", Skips())


def test_what_cannot_be_read_is_counted_by_reason_with_the_first_line(tmp_path: Path) -> None:
    image = {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}
    bad = [
        [image, ANSWER],
        PLAIN[::-1],
        [USER, {"role": "tool", "content": "x"}],
        [USER, {"role": "assistant", "content": None}],
        PLAIN[::-1],
        [USER, {"role": "assistant", "content": "\ud800"}],
        {"messages": [USER]},
        7,
    ]
    found, skips = read(tmp_path / "own.jsonl", PLAIN, *bad, PLAIN)
    assert found == [PLAIN, PLAIN]
    assert skips.total == len(bad)
    assert dict(skips.counts) == {
        "a content part of the kind 'image_url'": 1,
        "roles that do not alternate, user first": 2,
        "a message of the role 'tool'": 1,
        "a message without text": 1,
        "text that is not valid Unicode": 1,
        "fewer than 2 messages": 1,
        "no list of messages": 1,
    }
    assert skips.examples["roles that do not alternate, user first"].startswith("line 3: turn 0 is from")


def test_more_than_one_percent_left_out_is_an_alert_told_once(layout: Layout, tmp_path: Path) -> None:
    path, said, alerts = tmp_path / "own.jsonl", [], []
    data = TaskData.at(
        layout,
        conversations=str(path),
        note=said.append,
        alert=lambda what, message: alerts.append((what, message)),
    )
    read(path, *[PLAIN] * 200, [USER])
    for _ in range(2):
        assert len(make_task("CustomJSON", data)) == 200
    assert said == [
        f"{path}: skipped 1 × fewer than 2 messages (first: line 201: 1 messages, where at least 2 make one)"
    ]
    assert alerts == []
    read(path, *[PLAIN] * 20, [USER])
    for _ in range(2):
        make_task("CustomJSON", data)
    assert alerts == [
        (
            "conversations_skipped",
            f"{path}: 1 of 21 conversations (4.8 %) cannot be read and are left out",
        )
    ]
