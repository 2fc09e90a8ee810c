"""Every checkpoint of a host as its agent tells it, who uses it, how it is deleted and copied."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from agenthost import AgentHost

from nanochat.checkpoint import in_use
from nanochat.checkpoint.in_use import Use, users, using
from nanochat.checkpoint.saver import RetentionPolicy, prune
from remote.agent import checkpoint_use, saved

RUN = "20260101-000000-chat_sft-ab12"


def save(tag: Path, step: int, **meta: Any) -> Path:
    """A checkpoint of ours, with the files that its metadata name."""
    folder = tag / f"step_{step:06d}"
    folder.mkdir(parents=True)
    content = f"weights of {tag.name} {step}".encode()
    files = {}
    for name in ("model.safetensors", "optim.safetensors"):
        (folder / name).write_bytes(content)
        files[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    told = {"run_id": RUN, "step": step, "saved_at": 1000.0 + step, "files": files, **meta}
    (folder / "meta.json").write_text(json.dumps(told), encoding="utf-8")
    return folder


def upstream(tag: Path, step: int, optimizer: bool = True) -> Path:
    tag.mkdir(parents=True, exist_ok=True)
    (tag / f"meta_{step:06d}.json").write_text(json.dumps({"val_bpb": 0.9, "step": step}), encoding="utf-8")
    if optimizer:
        (tag / f"optim_{step:06d}_rank0.pt").write_bytes(b"o" * 20)
    model = tag / f"model_{step:06d}.pt"
    model.write_bytes(b"m" * 30)
    return model


def each(agent: AgentHost) -> dict[str, dict[str, Any]]:
    told = agent.call("checkpoints", "--each")
    return {f"{one['source']}/{one['tag']}@{one['step']}": one for one in told["saved"]}


def request(do: str, path: Path, **more: Any) -> dict[str, Any]:
    return {"do": do, "source": "base", "tag": path.parent.name, "entry": path.name, **more}


def ask(agent: AgentHost, do: str, path: Path, **more: Any) -> dict[str, Any]:
    return agent.call("checkpoint", request=request(do, path, **more))


def refused(agent: AgentHost, do: str, path: Path, **more: Any) -> dict[str, str]:
    return agent.refused("checkpoint", request=request(do, path, **more))


def test_both_eras_are_told_with_metadata_files_and_what_is_damaged(agent: AgentHost) -> None:
    base = agent.base / "base_checkpoints"
    save(
        base / "d4", 100, val_bpb=1.25, figures={"val/bpb": 1.25}, user_config={"depth": 4, "source": "base"}
    )
    cut = save(base / "d4", 200)
    (cut / "optim.safetensors").write_bytes(b"")
    torn = save(base / "d4", 300)
    (torn / "meta.json").write_text("{")
    upstream(base / "d12", 650)
    log = agent.base / "runs" / RUN
    log.mkdir(parents=True)
    start = {
        "stage": "chat_sft",
        "info": {"started_from": "/x/base_checkpoints/d4/step_000100"},
        "options": {"seed": 1},
    }
    lines = [{"kind": "alert", "data": {}}, {"kind": "stage_start", "data": start}]
    (log / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    told = each(agent)
    whole = told["base/d4@100"]
    assert whole["optimizer"] and "problem" not in whole and len(whole["weights"]) == 64
    assert whole["meta"]["val_bpb"] == 1.25 and whole["meta"]["user_config"] == {"source": "base"}
    assert told["base/d4@200"]["problem"] == "optim.safetensors is missing or truncated"
    assert told["base/d4@300"]["problem"] == "meta.json is damaged"
    theirs = told["base/d12@650"]
    assert theirs["upstream"] and theirs["optimizer"] and theirs["entry"] == "model_000650.pt"
    assert theirs["files"] == {"model_000650.pt": 30, "meta_000650.json": 29, "optim_000650_rank0.pt": 20}
    started = agent.call("checkpoints", "--each")["starts"][RUN]
    assert started["stage"] == "chat_sft" and started["options"] == {"seed": 1}
    assert started["started_from"].endswith("step_000100")


def test_of_very_many_those_of_the_newest_tags_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "MOST", 3)
    for tag, when in (("old", 1000), ("new", 2000)):
        for step in (1, 2):
            save(tmp_path / "base_checkpoints" / tag, step)
        os.utime(tmp_path / "base_checkpoints" / tag, (when, when))
    told = saved.saved(tmp_path)
    assert [(one["tag"], one["step"]) for one in told["saved"]] == [("new", 1), ("new", 2), ("old", 2)]
    assert told["left_out"] == 1


def test_a_user_is_told_until_it_ends_and_what_a_killed_one_left_says_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "base_checkpoints" / "d4", 100)
    other = save(tmp_path / "base_checkpoints" / "d4", 1000)
    before = path.parent.stat().st_mtime_ns
    with using(path, "evaluation x"):
        use = Use(path, "server 12\x1b[31m")
        assert len(users(path)) == 2 and "evaluation x" in users(path)
        assert not any("\x1b" in user for user in users(path))
        marked = checkpoint_use.marked(tmp_path / "base_checkpoints")
        assert sorted(marked["d4.step_000100"]) == sorted(users(path)) and not users(other)
    use.end()
    assert users(path) == [] and path.parent.stat().st_mtime_ns == before
    left = tmp_path / "base_checkpoints" / ".d4.step_000100.99-0123abcd.use"
    left.write_text("killed")
    assert not checkpoint_use.marked(tmp_path / "base_checkpoints")
    assert users(path) == [] and not left.exists()
    assert checkpoint_use.MARK.pattern == in_use._MARK.pattern


def test_keep_last_never_takes_a_checkpoint_in_use(tmp_path: Path) -> None:
    tag = tmp_path / "base_checkpoints" / "d4"
    paths = [save(tag, step) for step in (100, 200, 300)]
    with using(paths[0], "a server"):
        assert prune(tag, RUN, RetentionPolicy(1)) == [paths[1]]
    assert prune(tag, RUN, RetentionPolicy(1)) == [paths[0]]


def test_a_checkpoint_in_use_is_not_deleted_and_the_line_says_by_whom(agent: AgentHost) -> None:
    path = save(agent.base / "base_checkpoints" / "d4", 100)
    with using(path, "server 12, which has it in memory"):
        assert each(agent)["base/d4@100"]["used_by"] == ["server 12, which has it in memory"]
        told = refused(agent, "delete", path)
        assert told["code"] == "in_use" and "base/d4@100 is in use by server 12" in told["error"]
    for status, stage, options, by in (
        ("running", "base_train", {}, "which saved it and is at work"),
        ("created", "mid_train", {"source": "base", "model_tag": "d4"}, "which waits to read it"),
    ):
        run = agent.base / "runs" / (RUN if status == "running" else "20260101-000001-mid_train-cd34")
        run.mkdir(parents=True)
        document = {"run_id": run.name, "stage": stage, "options": options, "argv": ["x"], "plan": None}
        (run / "run.json").write_text(json.dumps(document), encoding="utf-8")
        (run / "state.json").write_text(json.dumps({"run_id": run.name, "status": status}), encoding="utf-8")
        assert by in refused(agent, "delete", path)["error"]
        (run / "state.json").write_text(
            json.dumps({"run_id": run.name, "status": "failed"}), encoding="utf-8"
        )
    assert path.is_dir()
    assert ask(agent, "delete", path) == {}
    assert not path.parent.exists()  # it was the last of its tag
    assert refused(agent, "delete", path)["code"] == "gone"


def test_of_upstream_s_checkpoints_only_the_files_of_one_are_deleted(agent: AgentHost) -> None:
    tag = agent.base / "base_checkpoints" / "d12"
    first, second = upstream(tag, 650), upstream(tag, 1000)
    assert ask(agent, "delete", first) == {}
    assert sorted(path.name for path in tag.iterdir()) == [
        "meta_001000.json", "model_001000.pt", "optim_001000_rank0.pt",
    ]  # fmt: skip
    assert second.exists()


def test_a_copy_gets_its_place_only_whole(agent: AgentHost) -> None:
    """In parts, from where it was; what arrived damaged is brought anew; nothing is replaced."""
    path = agent.base / "base_checkpoints" / "d4" / "step_000100"
    content = {"model.safetensors": b"m" * 1000, "meta.json": b"{}", "tokenizer/tokenizer.json": b"t"}
    files = {name: [len(raw), hashlib.sha256(raw).hexdigest()] for name, raw in content.items()}

    def write(name: str, offset: int, raw: bytes) -> int:
        spelled = base64.b64encode(raw).decode()
        return int(ask(agent, "write", path, file=name, offset=offset, b64=spelled)["size"])

    assert write("model.safetensors", 0, b"m" * 600) == 600
    assert write("model.safetensors", 0, b"m" * 600) == 600  # sent twice: taken once
    for name in ("meta.json", "tokenizer/tokenizer.json"):
        write(name, 0, content[name])
    there = ask(agent, "staged", path, files=list(content))
    assert there["sizes"]["model.safetensors"] == 600 and not there["taken"] and there["free"] > 0
    assert write("model.safetensors", 600, b"x" * 400) == 1000
    assert refused(agent, "commit", path, files=files)["code"] == "damaged" and not path.exists()
    assert write("model.safetensors", 0, content["model.safetensors"]) == 1000
    assert ask(agent, "commit", path, files=files)["path"] == str(path)
    assert {name: (path / name).read_bytes() for name in content} == content
    assert not (agent.base / "incoming").exists()
    read = ask(agent, "read", path, file="model.safetensors", offset=990, size=100)
    assert base64.b64decode(read["b64"]) == b"m" * 10 and read["size"] == 1000
    assert ask(agent, "staged", path, files=["meta.json"])["taken"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"file": "../../x"},
        {"file": "a/b/c"},
        {"file": ".hidden"},
        {"tag": "../d4"},
        {"source": "other"},
        {"entry": "step_1"},
        {"entry": "../step_000100"},
        {"do": "run"},
    ],
)
def test_what_is_no_file_of_a_checkpoint_is_refused(agent: AgentHost, wrong: dict[str, str]) -> None:
    path = save(agent.base / "base_checkpoints" / "d4", 100)
    (agent.base / "x").write_text("secret")
    asked = request("read", path, file="meta.json", offset=0, size=9)
    assert agent.refused("checkpoint", request={**asked, **wrong})["code"] == "usage"
