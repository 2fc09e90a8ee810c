"""The tokenizers of a host as its agent lists and sends them, and nothing else of the host."""

import base64
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from agenthost import AgentHost

from remote.agent import tokenizers
from remote.agent.files import AgentError

RANKS = "tokenizer-0123456789abcdef.tiktoken"


def save(folder: Path, fingerprint: str, size: int = 300, ranks: str = RANKS) -> None:
    folder.mkdir(parents=True)
    meta = {"format": "nanochat-tokenizer", "ranks": ranks, "vocab_size": size, "fingerprint": fingerprint}
    (folder / "tokenizer.json").write_text(json.dumps(meta), encoding="utf-8")
    (folder / RANKS).write_bytes(b"YQ== 0\n")


def read(base: Path, **request: Any) -> bytes:
    told = tokenizers.read(base, {"folder": "tokenizer", "file": "tokenizer.json", "offset": 0} | request)
    return zlib.decompress(base64.b64decode(told["zlib"]))


def test_each_tokenizer_is_listed_once_by_what_it_is(agent: AgentHost) -> None:
    base = agent.base
    save(base / "base_checkpoints/d4/step_000300/tokenizer", "aa")
    save(base / "base_checkpoints/d4/step_000200/tokenizer", "bb")
    save(base / "tokenizer", "aa")
    save(base / "sweep/4096", "cc", 4096)
    save(base / "runs/20260101-000000-tok_train-ab12", "dd")
    save(base / "odd", "ee", ranks="../../etc/passwd")
    (base / "upstream").mkdir()
    (base / "upstream/tokenizer.pkl").write_bytes(b"pickle")
    (base / "hf").mkdir()
    (base / "hf/tokenizer.json").write_text('{"model": {}}', encoding="utf-8")
    os.mkfifo(base / "hf/tokenizer.pkl")
    told = agent.call("tokenizers", request={"do": "list"})["tokenizers"]
    assert [(one["folder"], one["vocab_size"], sorted(one["files"])) for one in told] == [
        ("tokenizer", 300, [RANKS, "tokenizer.json"]),
        ("odd", 300, ["tokenizer.json"]),
        ("upstream", 0, ["tokenizer.pkl"]),
        ("sweep/4096", 4096, [RANKS, "tokenizer.json"]),
        ("base_checkpoints/d4/step_000200/tokenizer", 300, [RANKS, "tokenizer.json"]),
    ]
    assert told[0]["identity"] == "aa" and told[0]["files"][RANKS] == 7 and len(told[2]["identity"]) == 64


def test_only_files_of_a_tokenizer_are_sent(agent: AgentHost) -> None:
    save(agent.base / "tokenizer", "aa")
    assert read(agent.base, file=RANKS) == b"YQ== 0\n" and read(agent.base, file=RANKS, offset=3) == b"= 0\n"
    (agent.base / "tokenizer/secret").write_text("x", encoding="utf-8")
    wrong: list[dict[str, Any]] = [
        {"folder": "../other"},
        {"folder": "/etc"},
        {"folder": "a/b/c/d/e"},
        {"folder": ".ssh"},
        {"folder": None},
        {"file": "secret"},
        {"file": "../tokenizer.json"},
        {"file": 3},
        {"offset": -1},
        {"offset": "0"},
        {"offset": 1 << 40},
        {"folder": "nothing"},
    ]
    for request in wrong:
        with pytest.raises(AgentError):
            read(agent.base, **request)
    os.mkfifo(agent.base / "tokenizer/tokenizer.pkl")
    with pytest.raises(AgentError, match="no regular file"):
        read(agent.base, file="tokenizer.pkl")
    with pytest.raises(AgentError, match="listed or read"):
        tokenizers.answer(agent.base, {"do": "write"})


def test_a_base_directory_without_any_has_an_empty_list(tmp_path: Path) -> None:
    assert tokenizers.listed(tmp_path / "none") == {"tokenizers": []}
