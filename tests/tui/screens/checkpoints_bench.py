"""Checkpoints of two hosts for the Checkpoints screen: no host is connected to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nanochat.checkpoint.names import CheckpointName
from nanochat.model.architecture import ModelConfig
from remote.checkpoints.saved import Listing, LiveRun, Origin, SavedCheckpoint, Text
from remote.hosts.book import Host, HostBook
from tests.tui.conftest import NOW, Bench


def saved(name: str, step: int, host: str = "local", **more: Any) -> SavedCheckpoint:
    source, tag = name.split("/")
    known: dict[str, Any] = {
        "files": {"model.safetensors": 80 << 20, "meta.json": 2000},
        "t": NOW - 10_000 + step,
        "run": f"20260101-000000-{source}-ab12",
        "weights": f"{source}{tag}{step}",
        "optimizer": True,
        "config": ModelConfig(2048, 32_768, 4, 4, 4, 256),
        "text": Text("climbmix", "8 shards", "e" * 64),
        "tokenizer": "f" * 64,
    }
    return SavedCheckpoint(host, CheckpointName(source, tag, step), f"step_{step:06d}", **{**known, **more})


def known(bench: Bench) -> None:
    """A bench with two hosts and their checkpoints."""
    bench.run("one")
    HostBook(bench.layout).add(Host("box", address="127.0.0.1", user="me"))
    tell(bench)


def tell(bench: Bench) -> None:
    """A tag of three steps, a chat model that started from one of them, one that is served, one damaged, and
    one of the host `box`."""
    base = [saved("base/d4", step, bpb=2.0 - step / 1000) for step in (100, 200, 300)]
    options = {"depth": 4, "max_seq_len": 256, "num_iterations": 400, "model_tag": "d4"}
    base = [replace(one, stage="base_train", options=options) for one in base]
    chat = saved("sft/d4", 650, origin=Origin("base/d4@300", base[-1].weights), figures={"chat/GSM8K": 0.25})
    served = saved("rl/d4", 30, used_by=("server 12, which has it in memory",))
    damaged = saved("base/d2", 10, problem="meta.json is damaged", optimizer=False)
    far = saved("sft/far", 40, host="box", upstream=False)
    live = LiveRun("20260101-000000-mid-ab12", "mid_train", False)
    told = bench.fleet.quiet_checkpoints.told
    told["local"] = Listing("local", NOW, (*base, chat, served, damaged), (live,))
    told["box"] = Listing("box", NOW, (far,), (), left_out=0)
