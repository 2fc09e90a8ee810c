"""The main job, whole: a plan of real stages from text to a trained model, here and through a real sshd."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sshd import Sshd

from nanochat.common.paths import Layout
from nanochat.common.text import clean_json
from nanochat.config.plan import builtin_plans, load_plan
from nanochat.run.events import read_events
from remote.hosts.book import HostBook
from remote.store.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    f"--set={item}"
    for item in (
        "tok_train.vocab_size=512", "tok_train.max_chars=300_000", "base_train.depth=2",
        "base_train.max_seq_len=64", "base_train.device_batch_size=4", "base_train.total_batch_size=256",
        "base_train.eval_every=10", "base_train.eval_tokens=2048", "base_train.sample_every=-1",
        "base_train.warmup_steps=3",
    )
]  # fmt: skip


class Person:
    """Someone at a shell with an empty base directory, whose Python has nanochat."""

    def __init__(self, layout: Layout, home: Path, folder: Path) -> None:
        self.layout, self.folder = layout, folder
        self.python = folder / "python with nanochat"
        self.python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
        self.python.chmod(0o755)
        self.env = {
            **os.environ, "HOME": str(home), "NANOCHAT_BASE_DIR": str(layout.base), "OMP_NUM_THREADS": "1",
        }  # fmt: skip

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.python), "-m", "nanochat", *words], env=self.env, cwd=self.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(words, process.returncode, out, err)


@pytest.fixture
def person(layout: Layout, home: Path, tmp_path: Path) -> Person:
    return Person(layout, home, tmp_path)


def bpb(store: Store, key: str) -> list[float]:
    return [
        float(str(event.data["val/bpb"]))
        for event in store.events(key, kinds=["eval"])
        if "val/bpb" in event.data
    ]


def test_the_demo_ends_with_a_falling_loss_a_lower_bpb_and_samples(person: Person):
    done = person.run("demo", "--no-tui", "--json", *SMALL, "--set=base_train.num_iterations=30")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    stages = {event["run_id"]: event["stage"] for event in events}
    assert sorted(stages.values()) == ["base_train", "data_build", "tok_train"]
    for run_id in stages:
        assert [e["seq"] for e in events if e["run_id"] == run_id] == list(
            range(sum(e["run_id"] == run_id for e in events))
        )
    losses = [e["data"]["train/loss"] for e in events if e["kind"] == "metric" and "train/loss" in e["data"]]
    assert len(losses) == 30
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.2
    evals = [e["data"]["val/bpb"] for e in events if e["kind"] == "eval" and "val/bpb" in e["data"]]
    assert evals[-1] < evals[0] - 0.1
    assert any(e["kind"] == "sample" and e["data"]["prompt"] for e in events)
    checkpoint = next(e["data"]["path"] for e in events if e["kind"] == "checkpoint")
    assert Path(checkpoint).is_dir()
    shown = person.run("runs", "ls", "--json")
    assert {run["status"] for run in json.loads(shown.stdout)} == {"succeeded"}


def test_the_app_killed_in_the_middle_loses_nothing_of_a_run_behind_ssh(person: Person, sshd: Sshd):
    """The promise of the runner, with real stages: kill -9 here, the plan goes on there, whole on return."""
    far = person.folder / "far away"
    HostBook(person.layout).add(sshd.host(base=far, python=str(person.python)))
    known = person.run("hosts", "test", "box", "--accept-key", sshd.fingerprint())
    assert known.returncode == 0, known.stderr + known.stdout
    app = person.start("--no-tui", "demo", "--host", "box", *SMALL, "--set=base_train.num_iterations=60")
    train = None
    deadline = time.monotonic() + 120
    while train is None and time.monotonic() < deadline:
        time.sleep(0.2)
        for log in far.glob("runs/*-base_train-*/events.jsonl"):
            if sum(event.kind == "metric" for event in read_events(log)[0]) > 5:
                train = log
    assert train is not None, "training never began"
    app.kill()
    app.communicate()
    followed = person.run("runs", "follow", train.parent.name, "--json")
    assert followed.returncode == 0, followed.stderr
    with Store(person.layout.store) as store:
        kept = store.events(f"box/{train.parent.name}")
        there, _ = read_events(train)
        assert [event.seq for event in kept] == list(range(len(there)))
        # As it is read, text is clean: what a model samples may hold control characters.
        assert kept == [replace(event, data=clean_json(event.data)) for event in there]
        assert bpb(store, f"box/{train.parent.name}")[-1] < bpb(store, f"box/{train.parent.name}")[0]
        assert sum(event.kind == "metric" for event in kept) >= 60


def test_real_shards_are_read_where_they_lie(person: Person, shared_data: Path):
    """`--set …data_dir` with a folder of published shards; a relative path means the working directory."""
    (person.folder / "text").symlink_to(shared_data / "text")
    plan = person.folder / "shards.toml"
    plan.write_text(
        '[[stage]]\nstage = "tok_train"\noptions = { data_dir = "text" }\n'
        '[[stage]]\nstage = "base_train"\noptions = { data_dir = "text", num_iterations = 5 }\n'
    )
    done = person.run("--no-tui", "shards.toml", *SMALL)
    assert done.returncode == 0, done.stderr + done.stdout
    assert (person.layout.base / "base_checkpoints" / "d2").is_dir()


@pytest.mark.parametrize(
    ("shard", "says"),
    [(b"PAR1 torn", "shard_00000.parquet"), (b"", "shard_00000.parquet")],
)
def test_a_torn_shard_fails_the_plan_with_one_line_that_names_it(person: Person, shard: bytes, says: str):
    folder = person.folder / "data"
    folder.mkdir()
    for name in ("shard_00000.parquet", "shard_00001.parquet"):
        (folder / name).write_bytes(shard)
    plan = person.folder / "torn.toml"
    plan.write_text('[[stage]]\nstage = "tok_train"\noptions = { data_dir = "data" }\n')
    done = person.run("--no-tui", "torn.toml")
    assert done.returncode == 1, done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (person.layout.base / "tokenizer").exists()


WHOLE = [
    *SMALL, "--set=base_train.num_iterations=12", "--set=base_train.max_seq_len=128",
    "--set=base_train.total_batch_size=512",
    *(
        f"--set={item}"
        for item in (
            "base_loss.split_tokens=2048", "mid_train.mixture=Identity:40,SimpleSpelling:60,Arithmetic:60",
            "mid_train.val_mixture=Arithmetic/test:8", "mid_train.total_batch_size=512",
            "chat_sft.mixture=Identity:40,SpellingBee:20,Arithmetic:40",
            "chat_sft.val_mixture=Arithmetic/test:8", "chat_sft.chatcore_max_sample=2",
            "chat_rl.num_iterations=2", "chat_rl.examples_per_step=2", "chat_rl.num_samples=4",
            "chat_rl.device_batch_size=4", "chat_rl.eval_examples=4", "chat_rl.max_new_tokens=24",
            "chat_eval.max_problems=3", "chat_eval.max_new_tokens=24",
        )
    ),
]  # fmt: skip
STAGES_OF_PIPELINE = [
    "data_build", "tok_train", "tok_eval", "base_train", "base_loss", "base_eval", "mid_train", "chat_sft",
    "chat_rl", "chat_eval",
]  # fmt: skip


def once_each() -> str:
    """The plan `pipeline` with each stage once: what is evaluated again of another model is left out."""
    head, *parts = builtin_plans()["pipeline"].split("[[stage]]\n")
    again = ('id = "core_', 'id = "chat_eval_')
    return "[[stage]]\n".join([head, *(part for part in parts if not any(one in part for one in again))])


def test_every_model_of_the_pipeline_is_judged_alike(layout: Layout):
    plan = load_plan("pipeline", layout)
    for judge, differs in (("base_eval", {"source", "eval"}), ("chat_eval", {"source"})):
        stages = [stage for stage in plan.stages if stage.stage == judge]
        assert [vars(stage.options)["source"] for stage in stages] == ["base", "mid", "sft", "rl"]
        alike = [{n: v for n, v in vars(stage.options).items() if n not in differs} for stage in stages]
        assert alike == [alike[0]] * 4


def test_every_stage_runs_in_one_plan_over_ssh(person: Person, sshd: Sshd):
    """From nothing on the far machine to a reinforced chat model, and all of it is known here."""
    (person.folder / "pipeline.toml").write_text(once_each(), encoding="utf-8")
    far = person.folder / "far away"
    HostBook(person.layout).add(sshd.host(base=far, python=str(person.python)))
    known = person.run("hosts", "test", "box", "--accept-key", sshd.fingerprint())
    assert known.returncode == 0, known.stderr + known.stdout
    done = person.run("--no-tui", "./pipeline.toml", "--host", "box", "--json", *WHOLE)
    assert done.returncode == 0, done.stderr + done.stdout[-3000:]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ends = {event["stage"]: event["data"] for event in events if event["kind"] == "stage_end"}
    assert list(ends) == STAGES_OF_PIPELINE
    assert {end["status"] for end in ends.values()} == {"succeeded"}
    results = {stage: end["results"] for stage, end in ends.items()}
    for stage in ("base_train", "base_loss", "mid_train", "chat_sft"):
        assert 0 < results[stage]["val/bpb"] < 20
    assert 0 <= results["chat_rl"]["rl/pass@1"] <= results["chat_rl"]["rl/pass@4"] <= 1
    assert {"chat/SpellingBee", "chat/Arithmetic"} <= results["chat_eval"].keys()
    said = {event["stage"] for event in events if event["kind"] == "sample" and event["data"]["text"]}
    assert {"mid_train", "chat_sft", "chat_rl"} <= said
    for source in ("base", "mid", "chatsft", "chatrl"):
        assert (far / f"{source}_checkpoints" / "pipeline").is_dir()
    left_out = [event["data"]["what"] for event in events if event["kind"] == "alert"]
    assert "core_left_out" in left_out and "task_left_out" in left_out
    page = Path(done.stderr.splitlines()[-1].strip())
    text = page.with_name("report.md").read_text(encoding="utf-8")
    for line in (
        "base is base/pipeline@12",
        "10 of 10 succeeded",
        "- torch: ",
        "CORE is skipped",
        "rl/reward",
    ):
        assert line in text
    assert page.is_relative_to(person.layout.base) and page.read_text(encoding="utf-8").count("<svg") > 8
