"""Nothing left to learn, rates of zero, bits per byte over no bytes: told, never guessed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training_data import TINY, byte_tokenizer, error_line, events_of, link_base, make_base, of_kind

from nanochat.checkpoint.files import MODEL, find_checkpoint
from nanochat.data.dataloader import Batch, LoaderState
from nanochat.evals.bpb import evaluate_bpb
from nanochat.model.architecture import ModelConfig
from nanochat.model.gpt import GPT, build_model
from nanochat.run.stage_run import main
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
from nanochat.train.step import train_step

pytestmark = pytest.mark.slow

CONTEXT = 64
TUNE = [
    "--dtype=float32", "--offline", "--mixture=CustomJSON", f"--max-seq-len={CONTEXT}", "--sample-every=-1",
    "--total-batch-size=256", "--device-batch-size=4", "--chatcore-every=-1",
    "--target-examples-per-step=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = make_base(tmp_path_factory.mktemp("pretrained"))
    options = [*TINY, "--num-iterations=4", "--sample-every=-1", "--eval-every=-1"]
    assert main("base_train", [f"--base-dir={base}", *options]) == 0
    return base


@pytest.fixture
def base(trained: Path, tmp_path: Path) -> Path:
    link_base(trained, tmp_path)
    (tmp_path / "base_checkpoints").symlink_to(trained / "base_checkpoints")
    return tmp_path


def talk(path: Path, long: int, short: int) -> str:
    """A file of conversations: `long` whose answers lie beyond the context, and `short` ones."""
    questions = ["why " * 100] * long + ["why?"] * short
    lines = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": "Because."}]
        for question in questions
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return f"--conversations={path}"


@pytest.mark.parametrize("era", ["modern", "classic"])
def test_all_conversations_cut_to_nothing_are_an_error(
    base: Path, era: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = talk(base / "talk.jsonl", 12, 0)
    assert main("chat_sft", [f"--base-dir={base}", *TUNE, told, f"--era={era}"]) == 2
    line = error_line(capsys)
    assert "none of the 12 conversations has anything left to learn after the cut to 64 tokens" in line
    assert "--max-seq-len" in line
    assert not list(base.glob("chatsft_checkpoints/[!.]*"))  # a tag's lock lies there


def test_some_are_an_alert_with_counts_before_the_first_step(base: Path) -> None:
    told = talk(base / "talk.jsonl", 5, 15)
    assert main("chat_sft", [f"--base-dir={base}", *TUNE, told, "--num-iterations=2"]) == 0
    events = events_of(base)
    [alert] = [e for e in of_kind(events, "alert") if e.data["what"] == "nothing_to_learn"]
    assert "5 of 20 conversations have nothing left to learn" in str(alert.data["message"])
    assert alert.seq < of_kind(events, "metric")[0].seq
    [cut] = [e for e in of_kind(events, "alert") if e.data["what"] == "conversations_cut"]
    assert "of the tokens of 20 conversations lie beyond 64 and are cut away" in str(cut.data["message"])
    assert cut.seq < of_kind(events, "metric")[0].seq
    results = of_kind(events, "stage_end")[0].data["results"]
    assert isinstance(results, dict) and 50 < results["cropped_percent"] < 95


def test_none_of_many_is_found_by_looking_at_all(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at in part: of those nothing is left, but the whole holds one that teaches."""
    monkeypatch.setattr("nanochat.train.targets.SAMPLE", 2)
    path = base / "talk.jsonl"
    lines = talk(path, 9, 1)
    assert main("chat_sft", [f"--base-dir={base}", *TUNE, lines, "--num-iterations=1"]) == 0
    [alert] = [e for e in of_kind(events_of(base), "alert") if e.data["what"] == "nothing_to_learn"]
    assert "looked at (of 10)" in str(alert.data["message"])


def test_validation_with_nothing_to_count_is_none_and_rates_nothing(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mixture is validated on conversations of which the cut leaves the questions only."""
    told = talk(base / "talk.jsonl", 3, 9)
    options = [*TUNE, told, "--num-iterations=1", "--val-mixture=CustomJSON:1", "--eval-every=1"]
    assert main("chat_sft", [f"--base-dir={base}", *options]) == 0
    printed = capsys.readouterr()
    assert "val bpb none" in printed.err
    assert "inf" not in printed.out.split()
    events = events_of(base)
    assert not [e for e in of_kind(events, "eval") if "val/bpb" in e.data]
    assert "val/bpb" not in of_kind(events, "stage_end")[0].data["results"]  # type: ignore[operator]
    assert find_checkpoint(base / "chatsft_checkpoints").meta["val_bpb"] is None


def model_and_optimizer() -> tuple[GPT, MuonAdamW]:
    config = ModelConfig(sequence_len=16, vocab_size=64, n_layer=2, n_head=2, n_kv_head=2, n_embd=32)
    model = build_model(config, torch.device("cpu"), torch.float32)
    model.init_weights(1)
    return model, MuonAdamW(parameter_groups(model, LearningRates()))


def batch(targets: torch.Tensor, weights: torch.Tensor | None = None) -> Batch:
    return Batch(torch.arange(32).view(2, 16), targets, LoaderState(), weights)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_step_without_targets_changes_nothing_whatever_momentum_there_is(weighted: bool) -> None:
    model, optimizer = model_and_optimizer()
    some = batch(torch.arange(1, 33).view(2, 16))
    assert train_step(model, optimizer, iter([some]), 1, lambda: None).targets == 32
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    momenta = {name: tensor.clone() for name, tensor in optimizer.state_tensors().items()}
    none = batch(torch.full((2, 16), -1))
    if weighted:  # answers with equal rewards: no advantage, nothing to learn
        none = batch(torch.arange(1, 33).view(2, 16), torch.zeros(2, 16))
    result = train_step(model, optimizer, iter([none]), 1, lambda: None)
    assert (result.targets, result.applied, optimizer.steps) == (0, False, 1)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    after = optimizer.state_tensors()
    assert all(torch.equal(tensor, after[name]) for name, tensor in momenta.items())


def test_bits_per_byte_over_no_bytes_are_none() -> None:
    model, _ = model_and_optimizer()
    token_bytes = torch.tensor(byte_tokenizer().token_bytes)
    assert evaluate_bpb(model, [batch(torch.full((2, 16), -1))], 1, token_bytes) is None
    assert evaluate_bpb(model, [], 1, token_bytes) is None


ZERO: list[list[str]] = [
    ["--unembedding-lr=0"],
    ["--embedding-lr=0"],
    ["--matrix-lr=0"],
    ["--scalar-lr=0"],
    ["--embedding-lr=0", "--unembedding-lr=0", "--matrix-lr=0", "--scalar-lr=0"],
]


@pytest.mark.parametrize("zero", ZERO)
def test_zero_rates_leave_their_part_and_train_the_rest(base: Path, tmp_path: Path, zero: list[str]) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    link_base(base, fresh)
    options = [*TINY, "--num-iterations=3", "--sample-every=-1", "--eval-every=-1", "--weight-decay=0"]
    weights: list[dict[str, Any]] = []
    for name, given in (("short", ["--num-iterations=2"]), ("long", [])):
        run = [*options, *given, *zero, f"--model-tag={name}"]
        assert main("base_train", [f"--base-dir={fresh}", *run]) == 0
        weights.append(find_checkpoint(fresh / "base_checkpoints", name).tensors(MODEL))
    shown = [event.data["train/lrm"] for event in of_kind(events_of(fresh), "metric")]
    assert shown[0] == pytest.approx(0.5)  # of two steps of warmup
    moved = {name for name, tensor in weights[0].items() if not torch.equal(tensor, weights[1][name])}
    parts = {"--unembedding-lr=0": "lm_head.weight", "--embedding-lr=0": "transformer.wte.weight"}
    still = {parts[option] for option in zero if option in parts}
    assert still <= weights[0].keys()
    assert moved
    assert not moved & still
