"""Conversations from samples, pasted text, files and tasks; anything else is one line."""

import json
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.tokenizer.tokenizer import Tokenizer
from tui.data.tokenizer import talks

ONE = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
SYSTEM = [{"role": "system", "content": "be brief"}, *ONE]


def test_the_samples_are_conversations() -> None:
    found = talks.samples()
    tokenizer = Tokenizer.train_from_iterator(["abcabc" * 9], 270)
    roles = [set(tokenizer.annotate_conversation(found.read(at)).by_role()) for at in range(found.count)]
    assert set().union(*roles) == {"document", "system", "user", "assistant", "tool call", "tool output"}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (json.dumps(SYSTEM), 1),
        (json.dumps({"messages": SYSTEM}), 1),
        (
            json.dumps({"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}),
            1,
        ),
        (json.dumps({"prompt": "hi", "completion": "ho"}), 1),
        (json.dumps([ONE, SYSTEM]), 2),
        (json.dumps([{"messages": ONE}, {"messages": ONE}, {"messages": SYSTEM}]), 3),
        (f"{json.dumps(ONE)}\n\n{json.dumps({'messages': SYSTEM})}\n", 2),
    ],
)
def test_pasted_json_in_any_form_that_training_reads(text: str, count: int) -> None:
    found = talks.pasted(text)
    assert found.count == count
    last = found.read(count - 1)
    assert [message["content"] for message in last][-2:] == ["hi", "ho"]
    assert ("system" in {message["role"] for message in last}) == ("be brief" in text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing was pasted"),
        ("hello", "no valid JSON"),
        ("[1, 2]", "no list of messages"),
        ('{"messages": [{"role": "user"}]}', "message 0 has no content"),
        ('[{"role": "user", "content": "\\ud800"}]', "not valid Unicode"),
        (f"{json.dumps(ONE)}\nnot json", "line 2 is no valid JSON"),
        (f"{json.dumps(ONE)}\n7", "line 2: no list of messages"),
        ("[" * 100_000, "no valid JSON"),
        (f'["{"x" * talks.MOST_PASTED}"]', "open it as a file"),
    ],
)
def test_what_is_no_conversation_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        talks.pasted(text)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_a_file_is_opened_by_its_path_with_what_is_wrong_where_it_is(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    path = tmp_path / "talk.jsonl"
    lines = [json.dumps(SYSTEM), "{", json.dumps({"messages": ONE})]
    path.write_text("\n".join(lines), encoding="utf-8")
    found = talks.opened(str(path), layout)
    assert (found.name, found.count) == ("talk.jsonl", 3)
    assert found.read(0)[0]["role"] == "system"
    with pytest.raises(UserError, match="line 2"):
        found.read(1)
    assert found.read(2) == ONE
    assert talks.opened("{base}/talk.jsonl", layout).count == 3
    path.write_text("\n".join([json.dumps(ONE)] * (talks.MOST_READ + 1)), encoding="utf-8")
    found = talks.opened(str(path), layout)
    assert found.count == talks.MOST_READ and "the first 2,000" in talks.told(found, 0)
    long = [{"role": "user", "content": "x" * talks.MOST_SHOWN}]
    path.write_text(json.dumps(long), encoding="utf-8")
    with pytest.raises(UserError, match="too many to be shown"):
        talks.opened(str(path), layout).read(0)


@pytest.mark.parametrize("text", ["/nowhere.jsonl", "gone.json", "NoSuchTask", "GSM8K*0", "SmolTalk/mars"])
def test_what_cannot_be_opened_is_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        talks.opened(text, Layout(tmp_path))
    assert "\n" not in str(caught.value)


def test_the_items_of_tasks_and_of_a_mixture(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "identity_conversations.jsonl").write_text(json.dumps(ONE), encoding="utf-8")
    assert talks.opened("", layout).name == "samples"
    found = talks.opened("CustomJSON", layout)
    assert (found.count, found.read(0)) == (1, ONE)
    mixed = talks.opened("CustomJSON*3", layout)
    assert (mixed.name, mixed.count) == ("CustomJSON/train*3", 3)
    assert talks.opened("CustomJSON, CustomJSON", layout).count == 2
    with pytest.raises(
        UserError, match="nanochat tasks fetch GSM8K SmolTalk"
    ):  # nothing is fetched from here
        talks.opened("GSM8K*2,SmolTalk,GSM8K", layout)
