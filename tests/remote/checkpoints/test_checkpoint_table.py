"""Rows of checkpoints: where they came from, their scores, their copies, and how a person names one."""

import json
from dataclasses import replace
from typing import Any

import pytest

from nanochat.checkpoint.names import CheckpointName
from nanochat.common.errors import UserError
from remote.checkpoints.choose import choose
from remote.checkpoints.lineage import Family, told
from remote.checkpoints.saved import Listing, LiveRun, SavedCheckpoint, listing_of
from remote.checkpoints.table import COLUMNS, Row, about, brief, depends, document, family_of, rows
from remote.store.evaluations import Evaluation

NOW = 2_000_000.0
SHA = {name: character * 64 for name, character in (("base", "a"), ("mid", "b"), ("sft", "c"), ("rl", "d"))}


def entry(source: str, step: int, tag: str = "d4", **more: Any) -> dict[str, Any]:
    """A checkpoint as an agent tells it."""
    meta = {"model_config": {"sequence_len": 256, "vocab_size": 512, "n_layer": 2, "n_head": 2, "n_embd": 64},
            "data": {"name": f"text of {source}", "size": "2 shards", "sha256": "e" * 64},
            "tokenizer_fingerprint": "f" * 64, "val_bpb": 1.5, "figures": {"val/bpb": 1.5},
            **more.pop("meta", {})}  # fmt: skip
    known = {"source": source, "tag": tag, "step": step, "entry": f"step_{step:06d}", "upstream": False,
             "files": {"model.safetensors": 1000, "meta.json": 24}, "t": 1000.0 + step, "run": None,
             "weights": SHA[source] if step == 100 else "", "optimizer": True, "meta": meta}  # fmt: skip
    return {**known, **more}


def pipeline() -> list[dict[str, Any]]:
    """base → mid → sft → rl, each telling in another way what it started from."""
    by_weights = {"started_from": {"name": "base/elsewhere@7", "weights": SHA["base"]}}
    asked = {"user_config": {"source": "mid", "model_tag": "", "model_step": -1}}
    return [
        entry("base", 100),
        entry("mid", 100, meta=by_weights, t=2000.0),
        entry("sft", 100, meta=asked, t=3000.0),
        entry("rl", 100, run="r-rl", t=4000.0),
    ]


def host(name: str, saved: list[dict[str, Any]], **more: Any) -> Listing:
    starts = {"r-rl": {"stage": "chat_rl", "started_from": "/b/chatsft_checkpoints/d4/step_000100"}}
    return listing_of(name, {"saved": saved, "starts": starts, "left_out": 0, **more}, NOW)


def evaluation(kind: Any, checkpoint: str, step: int, mean: float, **more: Any) -> Evaluation:
    known: dict[str, Any] = {"host": "local", "run": "", "settings": {}, "tasks": {}, "mean_stderr": None,
        "figures": {}, "status": "complete", "progress": None, "t": 1.0, "items": None}  # fmt: skip
    return Evaluation(id=1, kind=kind, checkpoint=checkpoint, step=step, mean=mean, **{**known, **more})


def test_a_reinforced_model_is_followed_back_to_its_text_and_tokenizer() -> None:
    listing = host("local", pipeline())
    chain = Family(listing.checkpoints).lineage(listing.checkpoints[-1])
    assert [step.name for step in chain] == ["rl/d4@100", "sft/d4@100", "mid/d4@100", "base/d4@100"]
    assert [step.note for step in chain] == ["", "", "as the options name it", ""]
    lines = told(chain)
    assert lines[-2:] == [f"text text of base · sha256 {'e' * 16}", f"tokenizer {'f' * 16}"]
    assert "trained on text of sft (2 shards)" in lines[1]


def test_an_ancestor_that_is_gone_is_still_named_and_a_circle_ends() -> None:
    listing = host("local", pipeline()[1:])
    chain = Family(listing.checkpoints).lineage(listing.checkpoints[0])
    assert [(step.name, step.note) for step in chain][1:] == [("base/elsewhere@7", "not there any more")]
    a, b = ({"started_from": {"name": f"{other}/d4@100"}} for other in ("mid", "base"))
    circle = host("local", [entry("base", 100, meta=a), entry("mid", 100, meta=b)])
    assert len(Family(circle.checkpoints).lineage(circle.checkpoints[0])) == 2


def test_an_ancestor_on_another_host_is_found_by_its_weights() -> None:
    box, here = host("box", pipeline()[:1]), host("local", pipeline()[1:2])
    family = family_of([box, here])
    chain = family.lineage(here.checkpoints[0])
    assert chain[1].name == "base/d4@100" and chain[1].note == "on box"
    assert family.children(box.checkpoints[0]) == [here.checkpoints[0]]


def test_scores_come_from_evaluations_of_any_copy_then_from_the_metadata() -> None:
    box = host("box", [entry("base", 100, meta={"figures": {"core/core": 0.1, "val/bpb": 1.5}})])
    here = host("local", [entry("base", 100), entry("base", 200, meta={"figures": {"core/core": 0.2}})])
    known = [
        evaluation("core", "base/d4", 100, 0.3, host="box", t=5.0),
        evaluation("core", "base/d4", 100, 0.9, host="box", t=9.0, while_training=True),
        evaluation("chat", "base/d4", 100, 0.4, t=5.0),
    ]
    found = {(row.one.host, row.one.name.step): row for row in rows([box, here], known)}
    for name in ("box", "local"):
        row = found[name, 100]
        assert (row.bpb, row.core, row.chat_core, row.evaluations) == (1.5, 0.3, 0.4, 3)
    assert found["local", 100].copies == ("box",) and found["box", 100].is_here
    assert found["local", 200].core == 0.2 and found["local", 200].copies == ()
    assert [key for key, row in found.items() if row.newest] == [("box", 100), ("local", 200)]


def test_what_depends_on_a_checkpoint_and_who_uses_it() -> None:
    waits = {"run": "r9", "stage": "chat_sft", "waits": True, "source": "base", "tag": "", "step": -1}
    works = {"run": "r-rl", "stage": "chat_rl", "waits": False}
    listing = host("local", pipeline(), live=[waits, works])
    found = rows([listing], [evaluation("core", "base/d4", 100, 0.3)])
    base, rl = found[0], found[-1]
    assert base.users == ("run r9, which waits to read it",)
    assert rl.users == ("run r-rl, which saved it and is at work",)
    assert depends(base, family_of([listing])) == [
        "mid/d4@100 started from it and would lose that ancestor",
        "1 evaluation of it stays known, and cannot be made again",
        "base/d4 without a step stands for it",
        "no other host that is known has these weights",
    ]
    told_of = document(base, family_of([listing]))
    json.dumps(told_of)
    assert told_of["lineage"] == ["base/d4@100"] and told_of["started_from_it"] == ["local:mid/d4@100"]
    assert {name for name, _ in about(rl, family_of([listing]), NOW)} >= {"model", "lineage", "in use by"}
    told = dict(about(base, family_of([listing]), NOW))
    assert "CORE 0.3000" in told["scores"]
    assert told["evaluated"] == "1 time: nanochat evals show base/d4@100"
    torn = replace(base, one=replace(base.one, problem="model.safetensors is missing or truncated"))
    assert dict(about(torn, family_of([listing]), NOW))["optimizer"] == "its state is there"
    assert dict(brief(torn, family_of([listing])))["training"] == "cannot go on: it is damaged"
    assert all(isinstance(column.shown(base, NOW), str) for column in COLUMNS.values())


def test_a_name_means_the_one_saved_last_here_first_and_errors_tell_what_there_is() -> None:
    found = rows(
        [host("box", [entry("base", 300)]), host("local", [entry("base", 100), entry("base", 200)])], []
    )

    def key(text: str, only: str = "") -> str:
        return choose(found, text, only).one.key

    assert key("base/d4") == "local:base/d4/step_000200" and key("base/d4@100").endswith("step_000100")
    assert key("box:base/d4") == key("base/d4@300") == key("base/d4", "box") == "box:base/d4/step_000300"
    for text, line in (
        ("base/d4@7", "there are steps 300, 200, 100"),
        ("base/d5", "did you mean 'base/d4'"),
        ("far:base/d4", "on host 'far'"),
    ):
        with pytest.raises(UserError, match=line):
            choose(found, text)
    twice = rows([host("box", [entry("base", 300)]), host("bax", [entry("base", 300)])], [])
    with pytest.raises(UserError, match="write box:base/d4@300"):
        choose(twice, "base/d4@300")


def test_answers_of_another_machine_cost_no_more_than_themselves() -> None:
    odd: list[Any] = [
        7, {}, entry("other", 1), entry("base", -1), entry("base", 1, tag="a/b"),
        entry("base", 1, tag="\x1b[2J"),
        entry("base", 1, files=[1], t="x", run="../x", used_by=[1], weights=3, meta={"model_config": 5}),
        entry("base", 2, meta={"model_config": {"n_layer": 10**9}, "data": 5, "figures": {"a": "b"}}),
        entry("base", 3, meta={"started_from": {"name": "a" * 9999}, "parts": {"smear": 7}}),
    ]  # fmt: skip
    listing = host("local", odd, live=[3, {"run": "../"}])
    assert [one.name.step for one in listing.checkpoints] == [1, 2, 3] and not listing.live
    assert [one.parameters for one in listing.checkpoints] == [None, None, None]
    assert len(rows([listing], [])) == 3
    assert listing_of("local", {"saved": None, "left_out": "x"}, NOW) == Listing("local", NOW)


def test_upstream_s_copies_are_known_by_name_and_size() -> None:
    def one(name: str, size: int) -> SavedCheckpoint:
        files = {"model_000100.pt": size}
        return SavedCheckpoint(name, CheckpointName("base", "d4", 100), "model_000100.pt", True, files)

    found: list[Row] = rows([Listing("a", NOW, (one("a", 5),)), Listing("b", NOW, (one("b", 5),))], [])
    assert [row.copies for row in found] == [("b",), ("a",)]
    other = rows([Listing("a", NOW, (one("a", 5),)), Listing("b", NOW, (one("b", 6),))], [])
    assert [row.copies for row in other] == [(), ()]
    assert LiveRun("r", "s", True, "base", "d4", 100).will_read(CheckpointName("base", "d4", 100))
