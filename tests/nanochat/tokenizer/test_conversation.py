"""The mask token by token: the same ids and mask as the stages train on, with whose text each token is of."""

import json
from pathlib import Path
from typing import Any

import pytest

from nanochat.common.errors import UserError
from nanochat.tokenizer.tokenizer import Tokenizer

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief. 🙂"},
    {"role": "user", "content": "What is 1+1? \ud800 <|bos|>"},
    {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "so "},
            {"type": "python", "text": "1+1"},
            {"type": "python_output", "text": "2"},
            {"type": "text", "text": " it is"},
        ],
    },
    {"role": "user", "content": "谢谢"},
    {"role": "assistant", "content": ""},
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train_from_iterator(["what is it? so it is, be brief. " * 9], 290)


def test_the_mask_is_the_one_that_is_trained_with(shared_reference: Path, tokenizer: Tokenizer) -> None:
    oracle = json.loads((shared_reference / "oracles" / "tasks.json").read_text())
    talks = [e["messages"] for e in oracle["render"]] + [
        e["messages"] for task in oracle["tasks"].values() for e in task["examples"]
    ]
    assert len(talks) > 50
    for talk in [*talks, TALK]:
        ids, mask = tokenizer.render_conversation(talk, 1 << 40)
        for limit in (1, 30, len(ids) - 1, len(ids), 1 << 40):
            found = tokenizer.annotate_conversation(talk, limit)
            assert ([token.id for token in found.kept], [int(token.trained) for token in found.kept]) == (
                tokenizer.render_conversation(talk, limit)
            )
            assert [token.id for token in found.lost] == ids[limit:]
            assert sum(token.trained for token in found.tokens) == sum(mask)
            assert sum(count for count, _ in found.by_role().values()) == min(limit, len(ids))


def test_every_token_says_whose_text_it_is(tokenizer: Tokenizer) -> None:
    found = tokenizer.annotate_conversation(TALK)
    said = {
        role: b"".join(token.raw for token in found.tokens if token.role == role).decode()
        for role in found.by_role()
    }
    assert said["document"] == "<|bos|>"
    assert said["system"] == "Be brief. 🙂"
    assert (
        said["user"] == "<|user_start|>\n\nWhat is 1+1? � <|bos|><|user_end|><|user_start|>谢谢<|user_end|>"
    )
    assert said["tool call"] == "<|python_start|>1+1<|python_end|>"
    assert said["tool output"] == "<|output_start|>2<|output_end|>"
    assert said["assistant"] == (
        "<|assistant_start|>so  it is<|assistant_end|><|assistant_start|><|assistant_end|>"
    )
    untrained = {role for role, (_, trained) in found.by_role().items() if not trained}
    assert untrained == {"document", "system", "user", "tool output"}
    assert {token.raw.decode() for token in found.tokens if token.is_special and token.trained} == {
        "<|python_start|>", "<|python_end|>", "<|assistant_end|>"
    }  # fmt: skip


def test_what_is_no_conversation_is_named(tokenizer: Tokenizer) -> None:
    wrong: list[Any] = [{}, [], ["x"], [{"role": "system", "content": "a"}], [{"role": "system"}]]
    for messages in wrong:
        with pytest.raises(UserError):
            tokenizer.annotate_conversation(messages)
