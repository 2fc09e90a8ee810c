"""mid_train and chat_sft as commands: they learn from conversations, in both eras, and go on exactly."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_data import (
    TINY,
    error_line,
    events_of,
    link_base,
    losses,
    make_base,
    of_kind,
    stage_here,
    stage_process,
)

from nanochat.checkpoint.files import find_checkpoint
from nanochat.common.errors import Exit
from nanochat.evals.results import EVALUATION, read_result
from nanochat.run.events import read_events
from nanochat.run.stage_run import main
from nanochat.tasks.mixture import MixturePart, make_mixture, parse_part
from nanochat.tasks.registry import TaskData
from nanochat.train.schedule import progress_multiplier

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
MIXTURE = "--mixture=Identity:40*2,Arithmetic:120"
QUICK = ["--dtype=float32", "--offline", MIXTURE, "--val-mixture=Arithmetic/test:16", "--init-lr-frac=0.3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory with a tiny pretrained model."""
    base = make_base(tmp_path_factory.mktemp("pretrained"))
    options = [*TINY, "--max-seq-len=128", "--num-iterations=20", "--sample-every=-1"]
    assert main("base_train", [f"--base-dir={base}", *options]) == 0
    return base


@pytest.fixture
def base(trained: Path, tmp_path: Path) -> Path:
    """A base directory of the test's own, with that model in it."""
    link_base(trained, tmp_path)
    shutil.copytree(trained / "base_checkpoints", tmp_path / "base_checkpoints")
    return tmp_path


@pytest.mark.parametrize(
    ("stage", "era", "rows"),
    [("mid_train", "modern", "packed"), ("mid_train", "classic", "stream"), ("chat_sft", "modern", "packed"),
     ("chat_sft", "classic", "padded")],
)  # fmt: skip
def test_each_form_learns_and_tells_all_it_should(base: Path, stage: str, era: str, rows: str) -> None:
    more = ["--chatcore-every=20", "--chatcore-tasks=Arithmetic", "--chatcore-max-sample=4"]
    assert main(stage, [f"--base-dir={base}", *QUICK, f"--era={era}", "--eval-every=5", *more]) == 0
    events = events_of(base)
    start, end = of_kind(events, "stage_start")[0].data, of_kind(events, "stage_end")[0].data
    info: Any = start["info"]
    assert (info["rows"], info["conversations"]) == (rows, 200)
    results: Any = end["results"]
    bpb = [event.data["val/bpb"] for event in of_kind(events, "eval") if "val/bpb" in event.data]
    assert bpb[-1] == results["val/bpb"] < 0.8 * float(bpb[0])  # type: ignore[arg-type]
    metrics = of_kind(events, "metric")
    assert [event.step for event in metrics] == list(range(results["steps"]))
    assert metrics[-1].data["progress"] == 1.0
    assert {"chat/Arithmetic", "chat/Arithmetic_stderr"} <= results.keys()
    told = [event for event in of_kind(events, "eval") if "chat/Arithmetic" in event.data][-1]
    document = read_result(told.data[EVALUATION])
    assert document is not None
    source = "mid" if stage == "mid_train" else "sft"
    assert (document.checkpoint, document.step, document.kind) == (f"{source}/d2", told.step, "chat")
    assert document.tasks["Arithmetic"].n == 4
    assert document.settings["max_problems"] == 4
    assert {event.data["prompt"] for event in of_kind(events, "sample")} >= {"Who are you?"}
    saved = find_checkpoint(base / ("mid_checkpoints" if stage == "mid_train" else "chatsft_checkpoints"))
    assert saved.path.parent.name == "d2"
    assert saved.step == results["steps"]
    assert saved.meta["user_config"]["embedding_lr"] == 0.3  # as pretraining had it
    assert saved.meta["mixture"] == ["Identity/train:40*2", "Arithmetic/train:120"]


def test_an_epoch_is_every_conversation_once(base: Path) -> None:
    assert main("chat_sft", [f"--base-dir={base}", *QUICK]) == 0
    state = find_checkpoint(base / "chatsft_checkpoints").meta["dataloader_state_dict"]
    assert state["taken"] >= 200
    assert (
        main("chat_sft", [f"--base-dir={base}", *QUICK, "--era=classic", "--target-examples-per-step=8"]) == 0
    )
    found = find_checkpoint(base / "chatsft_checkpoints")
    assert (found.step, found.meta["dataloader_state_dict"]["taken"]) == (200 // 8, 200)


def test_rates_follow_the_era(base: Path) -> None:
    assert (
        main("chat_sft", [f"--base-dir={base}", *QUICK, "--era=classic", "--target-examples-per-step=8"]) == 0
    )
    shown = [event.data["train/lrm"] for event in of_kind(events_of(base), "metric")]
    assert shown == pytest.approx([1 - it / 25 for it in range(25)])
    assert main("mid_train", [f"--base-dir={base}", *QUICK, "--num-iterations=20"]) == 0
    shown = [event.data["train/lrm"] for event in of_kind(events_of(base), "metric")]
    assert shown == pytest.approx([1.0] * 17 + [0.75, 0.5, 0.25])


def test_progress_sets_the_rate() -> None:
    assert [progress_multiplier(p / 4, 0.0, 0.5, 0.0) for p in range(5)] == [1, 1, 1, 0.5, 0]
    assert progress_multiplier(0.05, 0.1, 0.5, 0.0) == pytest.approx(0.5)
    assert progress_multiplier(1.0, 0.0, 1.0, 0.2) == pytest.approx(0.2)


def test_the_optimizer_continues_unless_it_is_not_loaded(base: Path) -> None:
    """One step at rate 0 leaves the weights; the momenta then tell what was loaded."""
    momenta = {}
    before = load_file(find_checkpoint(base / "base_checkpoints").path / "optim.safetensors")
    name = "transformer.wte.weight.exp_avg_sq"
    for load, steps in (("load-optimizer", 21), ("no-load-optimizer", 1)):
        options = [*QUICK, "--num-iterations=1", f"--{load}", f"--out-tag={load}"]
        assert main("chat_sft", [f"--base-dir={base}", *options]) == 0
        saved = find_checkpoint(base / "chatsft_checkpoints", load)
        momenta[load] = load_file(saved.path / "optim.safetensors")[name]
        assert saved.meta["optimizer_steps"] == steps
    # A token that no conversation has keeps what pretraining left, decayed once.
    untouched = (momenta["no-load-optimizer"] == 0).all(dim=1) & (before[name] > 0).any(dim=1)
    assert untouched.any()
    assert torch.allclose(momenta["load-optimizer"][untouched], before[name][untouched] * 0.995)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_killed_or_stopped_and_resumed_is_bit_for_bit_neither(base: Path, end: signal.Signals) -> None:
    options = ["--save-every=4", "--sample-every=-1"]
    assert main("chat_sft", [f"--base-dir={base}", *QUICK, *options, "--out-tag=whole"]) == 0
    whole = find_checkpoint(base / "chatsft_checkpoints", "whole")
    expected = losses(events_of(base))

    process = stage_process("chat_sft", base, *QUICK, *options)
    log = base / "runs" / "the-run" / "events.jsonl"
    while process.poll() is None:
        if log.exists() and any(e.kind == "metric" and e.step == 9 for e in read_events(log)[0]):
            process.send_signal(end)
            break
        time.sleep(0.005)
    code = process.wait()
    assert code == (-signal.SIGKILL if end == signal.SIGKILL else Exit.STOPPED)
    assert stage_here("chat_sft", base, *QUICK, *options, attempt=2) == 0
    resumed = find_checkpoint(base / "chatsft_checkpoints", "d2")
    assert resumed.step == whole.step
    for name in ("model.safetensors", "optim.safetensors"):
        a, b = load_file(resumed.path / name), load_file(whole.path / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert losses(read_events(log)[0]) == expected


@pytest.mark.parametrize("era", ["modern", "classic"])
def test_two_processes_train_as_one(base: Path, era: str) -> None:
    options = [f"--base-dir={base}", *QUICK, f"--era={era}", "--sample-every=-1"]
    options += ["--device-batch-size=2", "--target-examples-per-step=8"]
    assert main("chat_sft", [*options, "--out-tag=one"]) == 0
    one = of_kind(events_of(base), "stage_end")[0].data["results"]
    assert main("chat_sft", [*options, "--out-tag=two", "--nproc=2"]) == 0
    two = of_kind(events_of(base), "stage_end")[0].data["results"]
    assert isinstance(one, dict) and isinstance(two, dict)
    # A row's padding is masked, so what is shared out differently changes rounding alone.
    assert two["steps"] == one["steps"] or era == "modern"
    assert two["val/bpb"] == pytest.approx(one["val/bpb"], rel=2e-3)


def test_the_stage_to_run_first_is_named(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("chat_sft", [f"--base-dir={base}", *QUICK, "--source=mid"]) == 2
    assert "mid_train" in error_line(capsys)
    shutil.rmtree(base / "base_checkpoints")
    assert main("mid_train", [f"--base-dir={base}", *QUICK]) == 2
    assert "base_train" in error_line(capsys)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mixture=Idntity"], "no task is called 'Idntity'"),
        (["--mixture=Arithmetic/dev"], "no split 'dev'"),
        (["--mixture=Arithmetic:0"], "at least 1"),
        (["--mixture=a b"], "not a part of a mixture"),
        (["--mixture=SmolTalk"], "smol-smoltalk"),
        (["--total-batch-size=700"], "give --total-batch-size"),
        (["--era=classic", "--target-examples-per-step=7"], "--target-examples-per-step"),
        (["--model-tag=d9"], "no checkpoint tag 'd9'"),
        (["--chatcore-tasks=Identity"], "training only"),
        (["--resume"], "no complete checkpoint"),
    ],
)  # fmt: skip
def test_bad_options_end_in_one_line(
    base: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main("chat_sft", [f"--base-dir={base}", *QUICK, *options]) == 2
    assert said in error_line(capsys)
    assert not list(base.glob("chatsft_checkpoints/[!.]*"))  # a tag's lock lies there


def test_a_bad_line_of_conversations_is_left_out_and_named(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = base / "talk.jsonl"
    good = json.dumps([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    path.write_text(f"{good}\n{good[:-3]}\n")
    options = [f"--base-dir={base}", *QUICK, "--mixture=CustomJSON", f"--conversations={path}"]
    assert main("chat_sft", options) == 0
    told = capsys.readouterr()
    assert "line 2" in told.out and "1 of 2 conversations" in told.err


def test_another_mixture_does_not_resume(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("chat_sft", [f"--base-dir={base}", *QUICK]) == 0
    capsys.readouterr()
    assert main("chat_sft", [f"--base-dir={base}", *QUICK, "--mixture=Identity:9", "--resume"]) == 2
    assert "was trained on" in error_line(capsys)


def test_a_mixture_is_written_as_parts(layout: Any) -> None:
    assert parse_part("MMLU*3") == MixturePart("MMLU", "auxiliary_train", 0, 3)
    assert parse_part("mmlu/test:5_200") == MixturePart("MMLU", "test", 5200, 1)
    assert str(parse_part("GSM8K:8*4")) == "GSM8K/train:8*4"
    mixture = make_mixture([parse_part("Identity:5*2"), parse_part("Arithmetic:7")], TaskData.at(layout))
    assert len(mixture) == 17
    assert sorted(mixture.locate(i)[0] for i in range(17)) == [0] * 5 + [1] * 5 + [2] * 7
