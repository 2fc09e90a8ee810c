"""base_train as a command: it learns, tells, resumes bit for bit, stops when asked, refuses bad input."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_data import (
    TINY,
    byte_tokenizer,
    error_line,
    events_of,
    link_base,
    losses,
    make_base,
    of_kind,
    runs_of,
    stage_here,
    stage_process,
    write_shards,
)

from nanochat.checkpoint.files import find_checkpoint, list_checkpoints
from nanochat.checkpoint.weights import load_model
from nanochat.data.dataloader import PackedLoader
from nanochat.data.shards import iter_documents, split_shards
from nanochat.model.architecture import CLASSIC
from nanochat.run.events import read_events
from nanochat.run.stage_run import main
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.step import LossTracker, StepResult, train_step

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


def train(base: Path, *options: str) -> int:
    return main("base_train", [f"--base-dir={base}", *TINY, *options])


def test_a_run_learns_and_tells_all_it_should(base: Path) -> None:
    assert train(base, "--num-iterations=60", "--eval-every=30", "--sample-every=30", "--save-every=40") == 0
    events = events_of(base)
    assert [event.seq for event in events] == list(range(len(events)))
    start = of_kind(events, "stage_start")[0].data
    assert (start["total_steps"], start["from_step"], start["unit"]) == (60, 0, "step")
    assert start["info"]["params"] == sum(
        p.numel()
        for p in load_file(find_checkpoint(base / "base_checkpoints").path / "model.safetensors").values()
    )

    metrics = of_kind(events, "metric")
    assert [event.step for event in metrics] == list(range(60))
    wanted = {
        "train/loss", "train/lrm", "train/dt", "train/tok_per_sec", "train/grad_norm", "train/epoch",
        "train/total_tokens", "train/total_flops", "train/total_time", "progress", "eta_s",
    }  # fmt: skip
    assert all(wanted <= event.data.keys() for event in metrics)
    assert metrics[-1].data["progress"] == 1.0
    assert metrics[-1].data["train/total_tokens"] == 60 * 512

    bpb = [(event.step, event.data["val/bpb"]) for event in of_kind(events, "eval")]
    assert [step for step, _ in bpb] == [0, 30, 60]
    assert bpb[-1][1] < bpb[0][1] - 2.0
    assert losses(events)[59] < losses(events)[0] - 1.5

    samples = of_kind(events, "sample")
    assert {event.step for event in samples} == {30, 60}
    assert {"The capital of France is", ""} <= {event.data["prompt"] for event in samples}
    assert [event.data["step"] for event in of_kind(events, "checkpoint")] == [40, 60]
    end = of_kind(events, "stage_end")[0].data
    assert end["status"] == "succeeded"
    assert end["results"]["val/bpb"] == bpb[-1][1]


def test_validation_text_is_read_once_unless_a_number_of_tokens_is_given(tmp_path: Path) -> None:
    """Without a number the evaluation is that of as many whole batches as the text fills."""
    base = make_base(tmp_path, val=12)
    tokenizer, shards = Tokenizer.load(base / "tokenizer"), split_shards(base / "base_data")
    whole = sum(map(len, tokenizer.encode_batch(list(iter_documents([shards.val])), bos=True)))
    loader, batches = PackedLoader(tokenizer, [shards.val], 4, 64), 0
    while loader.state.tokens_taken < whole:
        loader.next_rows()
        batches += 1

    def first_bpb(tokens: int) -> float:
        options = ("--num-iterations=1", "--sample-every=-1", f"--eval-tokens={tokens}", "--overwrite")
        assert train(base, *options) == 0
        return float(of_kind(events_of(base), "eval")[0].data["val/bpb"])

    once = batches * 4 * 64
    assert first_bpb(-1) == first_bpb(once)
    assert first_bpb(3 * once) != first_bpb(once)


def test_the_meta_of_a_checkpoint_has_the_names_people_know(base: Path) -> None:
    assert train(base, "--num-iterations=2", "--model-tag=small") == 0
    meta = json.loads((base / "base_checkpoints/small/step_000002/meta.json").read_text())
    assert {
        "step", "val_bpb", "model_config", "user_config", "device_batch_size", "max_seq_len",
        "total_batch_size", "dataloader_state_dict", "loop_state",
    } <= meta.keys()  # fmt: skip
    assert {"pq_idx", "rg_idx", "epoch"} <= meta["dataloader_state_dict"].keys()
    assert {"min_val_bpb", "smooth_train_loss", "total_training_time"} <= meta["loop_state"].keys()
    assert meta["model_config"] == {
        "sequence_len": 64, "vocab_size": byte_tokenizer().vocab_size, "n_layer": 2, "n_head": 2,
        "n_kv_head": 2, "n_embd": 32, "window_pattern": "SSSL",
    }  # fmt: skip


OPTIONS = ["--num-iterations=40", "--eval-every=10", "--save-every=7", "--sample-every=-1"]


@pytest.fixture(scope="module")
def uninterrupted(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same training in one go."""
    base = tmp_path_factory.mktemp("whole")
    link_base(template, base)
    assert stage_here("base_train", base, *TINY, *OPTIONS) == 0
    return base


def assert_same_training(base: Path, whole: Path) -> None:
    """Weights, optimizer, loader and random state bit for bit, and the loss curve."""
    ours, theirs = (find_checkpoint(b / "base_checkpoints", "d2", 40) for b in (base, whole))
    for name in theirs.meta["files"]:
        left, right = ours.tensors(name), theirs.tensors(name)
        assert left.keys() == right.keys()
        for key, tensor in right.items():
            assert torch.equal(left[key], tensor), (name, key)
    for key in ("val_bpb", "dataloader_state_dict", "optimizer_steps"):
        assert ours.meta[key] == theirs.meta[key]
    assert ours.meta["loop_state"]["loss_tracker"] == theirs.meta["loop_state"]["loss_tracker"]
    assert losses(events_of(base, "the-run")) == losses(events_of(whole, "the-run"))


def kill_at_line(process: subprocess.Popen[str], number: int, start: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(start):
            process.send_signal(number)
            return
    raise AssertionError(f"the stage ended before it printed {start}")


def test_killed_and_resumed_is_bit_for_bit_never_killed(base: Path, uninterrupted: Path) -> None:
    """kill -9 in the middle, the run's next attempt goes on by itself from its newest checkpoint."""
    with stage_process("base_train", base, *TINY, *OPTIONS) as process:
        kill_at_line(process, signal.SIGKILL, "step 00007 | saved")
        process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    saved = list_checkpoints(base / "base_checkpoints/d2")
    assert saved[-1].step % 7 == 0
    with stage_process("base_train", base, *TINY, *OPTIONS, attempt=2) as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    events = events_of(base, "the-run")
    assert [event.seq for event in events] == list(range(len(events)))
    starts = of_kind(events, "stage_start")
    assert [event.data["attempt"] for event in starts] == [1, 2]
    assert starts[1].data["from_step"] == saved[-1].step
    assert_same_training(base, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_ends_as_stopped_and_resume_continues(
    base: Path, uninterrupted: Path, number: int
) -> None:
    """Between two periodic saves: nothing but the step under way is lost."""
    with stage_process("base_train", base, *TINY, *OPTIONS) as process:
        kill_at_line(process, number, "step 00004/")
        process.communicate(timeout=60)
    assert process.returncode == 4
    events = events_of(base, "the-run")
    assert of_kind(events, "stage_end")[0].data["status"] == "stopped"
    [saved] = list_checkpoints(base / "base_checkpoints/d2")
    assert saved.step == len(of_kind(events, "metric"))
    assert stage_here("base_train", base, *TINY, *OPTIONS, "--resume") == 0
    assert_same_training(base, uninterrupted)


def test_closed_output_stops_a_run_which_saves_what_it_learned(base: Path) -> None:
    """`base_train | head`: nobody looks on, so nothing runs on unseen, and nothing is lost."""
    with stage_process("base_train", base, *TINY, "--num-iterations=100000", "--eval-every=-1") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step 00003/"):
                break
        process.stdout.close()
        assert process.wait(timeout=60) == 4
    events = events_of(base, "the-run")
    assert events[-1].data["status"] == "stopped"
    assert events[-1].data["error"] == "stopped, as its output was closed"
    [saved] = list_checkpoints(base / "base_checkpoints/d2")
    assert saved.step == len(of_kind(events, "metric"))


def test_init_from_starts_from_the_given_weights(base: Path) -> None:
    assert train(base, "--num-iterations=1", "--seed=1") == 0
    weights = load_file(find_checkpoint(base / "base_checkpoints").path / "model.safetensors")
    save_file({f"_orig_mod.{name}": tensor for name, tensor in weights.items()}, base / "given.safetensors")
    given = ("--seed=2", f"--init-from={base / 'given.safetensors'}", "--overwrite")
    assert train(base, "--num-iterations=1", *given) == 0
    first = of_kind(events_of(base), "eval")[0].data["val/bpb"]
    trained, started = (of_kind(read_events(run / "events.jsonl")[0], "eval") for run in runs_of(base))
    assert started[0].data["val/bpb"] == trained[-1].data["val/bpb"]
    assert first is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--total-batch-size=500"], r"500 tokens is not a multiple.* = 256 \(give --total-batch-size 512"),
        (["--model-tag=../x"], "is not the name of a folder"),
        (["--resume"], "no complete checkpoint in .*d2"),
        (["--resume-from-step=5"], "no checkpoints in"),
        (["--window-pattern=SM"], "holds more than S and L"),
        (["--device-type=cuda"], "this machine has none"),
        (["--device-type=cpu", "--fp8"], "--fp8 needs an NVIDIA GPU of the Hopper generation or newer"),
        (["--device-type=cpu", "--attention=fa3"], "--attention fa3: it runs on Hopper GPUs"),
        (["--data-dir=nowhere"], "nowhere does not exist"),
        (["--init-from=nothing.safetensors"], "no weights file nothing"),
        (["--num-iterations=-1", "--target-param-data-ratio=0"], "no option says how long to train"),
        (["--num-iterations=-1", "--target-flops=1"], "less than one step"),
    ],
)  # fmt: skip
def test_bad_options_end_in_one_line(
    base: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    if options == ["--device-type=cuda"] and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert train(base, "--num-iterations=3", *options) == 2
    assert re.search(message, error_line(capsys))
    assert not list_checkpoints(base / "base_checkpoints/d2")


def test_a_context_longer_than_the_text_ends_in_one_line(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(base / "little", [["a little text"], ["and a little more"]])
    assert train(base, "--num-iterations=3", f"--data-dir={base / 'little'}") == 2
    assert "less than one row of 65" in error_line(capsys)


def test_a_checkpoint_of_other_sizes_or_another_tokenizer_is_refused(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(base, "--num-iterations=2") == 0
    assert train(base, "--num-iterations=4", "--resume", "--aspect-ratio=24") == 2
    assert "n_head 2, the options ask for 3" in error_line(capsys)
    other = base / "other-tokenizer"
    tokenizer = byte_tokenizer()
    swapped = {
        b"qu" if token == b"th" else token: rank for token, rank in tokenizer.ranks.items() if token != b"the"
    }
    swapped[b"ly"] = tokenizer.ranks[b"the"]
    type(tokenizer)(swapped).save(other)
    assert train(base, "--num-iterations=4", "--resume", f"--tokenizer-dir={other}") == 2
    assert "another tokenizer" in error_line(capsys)


def test_steps_that_are_not_finite_are_left_out_and_stop_the_run(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(base, "--num-iterations=1") == 0
    weights = load_file(find_checkpoint(base / "base_checkpoints").path / "model.safetensors")
    weights["resid_lambdas"][0] = float("nan")
    save_file(weights, base / "broken.safetensors")
    assert train(base, "--num-iterations=20", f"--init-from={base / 'broken.safetensors'}") == 1
    assert "not finite for 5 steps in a row" in capsys.readouterr().err
    events = events_of(base)
    alerts = [event for event in of_kind(events, "alert") if event.data["what"] == "non_finite_step"]
    assert [event.step for event in alerts] == [0, 1, 2, 3, 4]
    assert of_kind(events, "stage_end")[0].data["status"] == "failed"


def test_a_loss_spike_is_reported_once(base: Path) -> None:
    tracker = LossTracker()

    def update(step: int, loss: float) -> str:
        return tracker.update(step, StepResult(loss, 1.0, True, None, 1))  # type: ignore[arg-type]

    assert not any(update(step, 3.0 + 0.01 * (step % 3)) for step in range(100))
    assert "step 100: loss 6.0000 is" in update(100, 6.0)
    assert not update(101, 6.0)
    assert not any(update(step, 3.0) for step in range(102, 200))


def test_a_tag_that_other_runs_used_raises_an_alert(base: Path) -> None:
    assert train(base, "--num-iterations=1") == 0
    assert train(base, "--num-iterations=2") == 0
    alerts = of_kind(events_of(base), "alert")
    assert [event.data["what"] for event in alerts] == ["tag_in_use"]


@pytest.mark.slow
def test_compiled_blocks_give_the_same_training(base: Path) -> None:
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("compiling for the CPU needs a C++ compiler")
    logged = []
    for setting in ("off", "on"):
        options = ("--depth=1", "--aspect-ratio=32", "--sample-every=-1", f"--compile={setting}")
        assert train(base, "--num-iterations=4", f"--model-tag={setting}", *options) == 0
        logged.append([event.data["train/loss"] for event in of_kind(events_of(base), "metric")])
    assert logged[1] == pytest.approx(logged[0], abs=1e-4)
    plain, compiled = (find_checkpoint(base / "base_checkpoints", tag) for tag in ("off", "on"))
    assert compiled.meta["val_bpb"] == pytest.approx(plain.meta["val_bpb"], abs=1e-4)


def test_compiling_without_a_compiler_ends_in_one_line(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert train(base, "--num-iterations=1", "--compile=on") == 2
    assert "needs a C++ compiler" in error_line(capsys)


def test_a_classic_model_is_trained_and_read_as_one(base: Path) -> None:
    recipe = (
        "--era=classic",
        "--grad-clip=1",
        "--warmup-steps=0",
        "--warmdown-ratio=0.2",
        "--final-lr-frac=0",
    )
    assert train(base, *recipe, "--num-iterations=40", "--matrix-lr=0.02", "--weight-decay=0") == 0
    logged = losses(events_of(base))
    assert logged[39] < logged[0] - 0.5
    model = load_model(find_checkpoint(base / "base_checkpoints"))
    assert model.config.parts == CLASSIC
    assert not model.value_embeds


def test_gradients_are_clipped_to_the_norm_asked_for(base: Path) -> None:
    assert train(base, "--num-iterations=3", "--model-tag=free") == 0
    free = of_kind(events_of(base), "metric")
    assert train(base, "--num-iterations=3", "--grad-clip=1e-9", "--model-tag=clipped") == 0
    clipped = of_kind(events_of(base), "metric")
    # The norm reported is that before clipping, and AdamW with so small a gradient and its eps barely moves.
    assert clipped[0].data["train/grad_norm"] == free[0].data["train/grad_norm"]
    assert clipped[2].data["train/loss"] != free[2].data["train/loss"]


def test_one_batch_is_memorised(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nanochat.train import loop as training_loop

    seen: list[list[torch.Tensor]] = []

    def watched(
        model: Any, optimizer: Any, batches: Any, accumulation: int, *rest: Any, **named: Any
    ) -> StepResult:
        step = [next(batches) for _ in range(accumulation)]
        seen.append([batch.inputs for batch in step])
        return train_step(model, optimizer, iter(step), accumulation, *rest, **named)

    monkeypatch.setattr(training_loop, "train_step", watched)
    options = [
        "--overfit-one-batch", "--eval-every=-1", "--model-tag=one", "--device-batch-size=2",
        "--total-batch-size=256", "--batch-lr-exponent=0.125", "--num-iterations=80",
    ]  # fmt: skip
    assert train(base, *options) == 0
    events = events_of(base)
    assert any("sanity mode" in str(event.data.get("text")) for event in of_kind(events, "log"))
    assert of_kind(events, "stage_start")[0].data["info"]["overfit_one_batch"] is True  # type: ignore[index,call-overload]
    assert len(seen) == 80
    assert len(seen[0]) == 2
    assert not torch.equal(seen[0][0], seen[0][1])
    assert all(torch.equal(ours, first) for step in seen for ours, first in zip(step, seen[0], strict=True))
    logged = losses(events)
    assert logged[79] < 0.1 < logged[0]
    # Going on, it is still the same batch.
    first = seen[0]
    seen.clear()
    assert train(base, *options, "--num-iterations=82", "--resume") == 0
    assert len(seen) == 2
    assert all(torch.equal(ours, old) for ours, old in zip(seen[0], first, strict=True))


def test_only_the_newest_and_the_best_checkpoints_are_kept(base: Path) -> None:
    options = ("--num-iterations=60", "--save-every=5", "--eval-every=5", "--keep-last=2", "--keep-best")
    # A learning rate that spoils the model late: the best is not among the last.
    assert train(base, *options, "--matrix-lr=40", "--embedding-lr=60", "--warmdown-ratio=0") == 0
    found = list_checkpoints(base / "base_checkpoints" / "d2")
    logged = {e.step: e.data["val/bpb"] for e in of_kind(events_of(base), "eval")}
    best = min(logged[step] for step in range(5, 61, 5))
    assert {c.step for c in found} >= {55, 60}
    assert len(found) <= 3
    assert min(c.meta["val_bpb"] for c in found) == best
    assert not [path for path in found[0].path.parent.iterdir() if path.name.startswith(".")]


def test_a_training_on_a_cpu_loads_no_compiler(base: Path) -> None:
    """torch's costs a second at each start, and many a call of torch would load it."""
    code = (
        "import sys; from nanochat.run.stage_run import main\n"
        "for precision in ('float32', 'bfloat16'):\n"
        "    code = main('base_train', [*sys.argv[1:], f'--dtype={precision}', f'--model-tag={precision}'])\n"
        "    loaded = {'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)\n"
        "    print('loaded', precision, code, loaded)\n"
    )
    options = [f"--base-dir={base}", *TINY, "--num-iterations=2"]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, check=True)
    loaded = [line for line in done.stdout.splitlines() if line.startswith("loaded")]
    assert loaded == ["loaded float32 0 set()", "loaded bfloat16 0 set()"]
