"""`nanochat estimate`: against a real run's announcement, against published runs, and as people type it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from training_data import TINY, make_base, runs_of

from nanochat.cli import main as nanochat
from nanochat.compute.gpus import GPUS, find_gpu, named_gpu
from nanochat.config.train_options import BaseTrainOptions
from nanochat.run.events import read_events
from nanochat.run.stage_run import main
from nanochat.scaling.estimate import VOCABULARY, estimate
from nanochat.scaling.machine import gpu_machine


@dataclass(frozen=True)
class PublishedRun:
    """A pretraining run of upstream nanochat's leaderboard (dev/LEADERBOARD.md), on 8 × H100 with
    micro-batches of 16 rows. `seconds` are of training steps alone."""

    depth: int
    ratio: float
    total_batch: int
    steps: int
    seconds: float
    fp8: bool


PUBLISHED_RUNS = (
    PublishedRun(24, 12.0, 2**19, 16_704, 10_949, False),
    PublishedRun(26, 8.5, 2**19, 14_889, 10_493, True),
    PublishedRun(26, 8.25, 2**20, 7_226, 9_922, True),
    PublishedRun(26, 7.25, 2**19, 12_700, 8_967, True),
)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert nanochat(["estimate", *words]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    found = json.loads(printed(capsys, "--json", *words))
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [["--num-iterations=3"], ["--target-flops=1e9", "--era=classic"], ["--target-param-data-ratio=0.05"]],
    ids=str,
)
def test_it_foresees_what_a_real_run_announces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.delenv("NANOCHAT_RUN_DIR", raising=False)
    base = make_base(tmp_path, 200, 50)
    words = [f"--base-dir={base}", *TINY, *options]
    foreseen = document(capsys, *words)
    assert main("base_train", words) == 0
    events, _ = read_events(runs_of(base)[-1] / "events.jsonl")
    start = next(event.data for event in events if event.kind == "stage_start")
    info = start["info"]
    assert isinstance(info, dict)
    assert foreseen["total_steps"] == start["total_steps"]
    shared = foreseen.keys() & info.keys()
    assert shared >= {"params", "params_matrices", "tokens", "total_flops", "grad_accum_steps", "vocab_size"}
    assert {name: foreseen[name] for name in shared} == {name: info[name] for name in shared}


@pytest.mark.parametrize("run", PUBLISHED_RUNS, ids=lambda run: f"d{run.depth}-{run.ratio}")
def test_published_runs_take_about_as_long_as_published(run: PublishedRun) -> None:
    options = BaseTrainOptions(
        depth=run.depth, target_param_data_ratio=run.ratio, total_batch_size=run.total_batch, fp8=run.fp8,
        device_batch_size=16,
    )  # fmt: skip
    made = estimate(options, gpu_machine(named_gpu("h100"), 8), VOCABULARY)
    assert made.horizon.steps == pytest.approx(run.steps, rel=0.01)
    assert made.seconds == pytest.approx(run.seconds, rel=0.05)
    assert made.enough_memory, made.memory


def test_evaluations_are_of_the_validation_text_that_is_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless a number of tokens is given, or the run will be on another machine."""
    base = make_base(tmp_path, 200, 50)
    text = (base / "base_data" / "shard_00002.parquet").stat().st_size
    words = (f"--base-dir={base}", *(word for word in TINY if "eval" not in word), "--num-iterations=1")

    def tokens(*more: str) -> float:
        made = document(capsys, *words, *more)
        return 3 * float(str(made["evaluation_seconds"])) * float(str(made["tok_per_sec"]))

    assert tokens() == pytest.approx(2 * text, abs=2 * 4 * 64)
    assert tokens("--eval-tokens=1_048_576") == pytest.approx(2 * 1_048_576)
    assert tokens("--gpu=h100") == pytest.approx(2 * 41_943_040)


def test_cost_is_devices_times_hours_times_price(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--depth=12", "--gpu=a100", "--vocab-size=32768")
    one, eight = document(capsys, *words, "--price=2"), document(capsys, *words, "--gpus=8", "--price=2")
    assert one["devices"] == 1
    hours = (float(str(one["seconds"])) + float(str(one["evaluation_seconds"]))) / 3600
    assert one["cost"] == pytest.approx(2 * hours)
    assert float(str(eight["seconds"])) == pytest.approx(float(str(one["seconds"])) / 8)
    assert eight["cost"] == pytest.approx(one["cost"], rel=0.01)
    assert document(capsys, *words)["cost"] is None


def test_the_table_fits_80_columns_and_says_what_fits(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words in (["--depth=24", "--gpus=8", "--fp8"], ["--depth=32", "--gpu=l4", "--gpus=4"], ["--depth=4"]):
        text = printed(capsys, f"--base-dir={tmp_path}", *words)
        assert max(map(len, text.splitlines())) <= 80, text
    text = printed(
        capsys, "--depth=24", "--gpu=h100", "--gpus=8", "--device-batch-size=256", "--vocab-size=32768"
    )
    assert "does not fit; --device-batch-size" in text
    text = printed(capsys, "--depth=4", "--gpu=h100", "--vocab-size=32768", "--device-batch-size=4096")
    assert "do not add up" in text
    text = printed(capsys, "--depth=12", "--gpu=h100", "--gpus=3", "--vocab-size=32768")
    assert "base_train will refuse" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--gpu=h1000"], "did you mean 'h100'"),
        (["--dpeth=3"], "did you mean '--depth'"),
        (["--depth=0"], "at least 1"),
        (["--gpu=a100", "--fp8"], "--fp8 needs a GPU of the Hopper generation"),
        (["--gpu=a100", "--target-param-data-ratio=0"], "no option says how long to train"),
        (["--gpu=h100", "--tokenizer-dir=/nowhere"], "no tokenizer in /nowhere"),
    ],
)
def test_bad_input_is_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert nanochat(["estimate", *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert says in lines[0]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100 pcie"),
        ("NVIDIA A100-SXM4-40GB", "a100 40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA A10G", "a10g"),
        ("NVIDIA GeForce RTX 4090", "4090"),
        ("NVIDIA GB200", "gb200"),
    ],
)
def test_devices_are_known_by_their_drivers_names(name: str, model: str) -> None:
    found = find_gpu(name)
    assert found is not None
    assert found.name == model


def test_every_model_is_found_by_its_own_name_and_strangers_by_none() -> None:
    assert all(find_gpu(gpu.name) == gpu for gpu in GPUS)
    assert find_gpu("NVIDIA TITAN V") is None


def test_a_named_gpu_needs_no_torch() -> None:
    code = (
        "import sys; from nanochat.cli import main; main(['estimate', '--gpu=h100', '--vocab-size=999']);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
