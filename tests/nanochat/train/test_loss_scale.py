"""Training in float16: the scale's rules, what overflows cost, and that it learns as float32 does."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from training_data import TINY, make_base

from nanochat.checkpoint.files import list_checkpoints
from nanochat.data.dataloader import Batch, LoaderState
from nanochat.model.architecture import ModelConfig
from nanochat.model.gpt import build_model
from nanochat.model.loss import chunked_loss
from nanochat.run.events import read_events
from nanochat.run.stage_run import main
from nanochat.train.loss_scale import LossScale
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
from nanochat.train.step import LossTracker, StepResult, train_step


@pytest.mark.slow
def test_the_scale_follows_gradscaler_step_by_step() -> None:
    """torch's own scaler, on the same run of good and overflowing steps."""
    ours, theirs = LossScale(), torch.amp.GradScaler("cpu")
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=0.0)
    for step in range(4100):
        overflow = step in (0, 1, 50)
        p.grad = torch.tensor([math.inf if overflow else 1.0])
        theirs.scale(torch.zeros(()))
        theirs.step(optimizer)
        theirs.update()
        assert ours.update(overflow) == overflow
        assert ours.scale == theirs.get_scale(), step
    assert ours.scale == 2.0**16 / 8 * 4


def test_an_overflow_at_the_lowest_scale_is_no_matter_of_scale() -> None:
    scale = LossScale(2.0)
    assert scale.update(overflow=True)
    assert not scale.update(overflow=True)
    assert scale.scale == 1.0


def test_the_heads_loss_in_float16_keeps_its_range() -> None:
    """Logits at the cap, whose exponentials float16 cannot hold, and one target for a whole chunk."""
    g = torch.Generator().manual_seed(0)
    x = (4 * torch.randn(6000, 32, generator=g)).half().requires_grad_()
    head = (0.5 * torch.randn(128, 32, generator=g)).requires_grad_()
    targets = torch.zeros(6000, dtype=torch.long)
    loss = chunked_loss(x, head, targets, 128, True)
    of_x, of_head = torch.autograd.grad(loss * 2.0**12, (x, head))
    wide = x.detach().float().requires_grad_()
    exact = F.cross_entropy(15 * torch.tanh(F.linear(wide, head) / 15), targets)
    expected = torch.autograd.grad(exact * 2.0**12, (wide, head))
    torch.testing.assert_close(loss, exact, rtol=1e-3, atol=1e-3)
    for ours, theirs in zip((of_x, of_head), expected, strict=True):
        assert ours.isfinite().all()
        assert ((ours.float() - theirs).norm() / theirs.norm()).item() < 2e-3


def tiny_step(scale: LossScale | None, dtype: torch.dtype) -> tuple[StepResult, dict[str, torch.Tensor]]:
    model = build_model(ModelConfig(32, 64, 2, 2, 2, 32, "L"), "cpu", dtype)
    model.init_weights(0)
    optimizer = MuonAdamW(parameter_groups(model, LearningRates()))
    ids = torch.randint(0, 64, (2, 33), generator=torch.Generator().manual_seed(1))
    batch = Batch(ids[:, :-1], ids[:, 1:], LoaderState())
    result = train_step(model, optimizer, iter([batch] * 2), 2, lambda: None, loss_scale=scale)
    return result, {name: p.detach() for name, p in model.named_parameters()}


def test_a_step_in_float16_is_the_step_in_float32() -> None:
    narrow, weights = tiny_step(LossScale(), torch.float16)
    wide, expected = tiny_step(None, torch.float32)
    assert narrow.applied
    assert narrow.loss == pytest.approx(wide.loss, rel=1e-3)
    assert narrow.grad_norm == pytest.approx(wide.grad_norm, rel=1e-2)  # reported without the scale
    name = "transformer.h.1.mlp.c_proj.weight"  # zero at first, so this is the update
    assert ((weights[name] - expected[name]).norm() / expected[name].norm()).item() < 0.05


def test_an_overflow_costs_the_step_and_halves_the_scale() -> None:
    scale = LossScale(2.0**40)
    result, weights = tiny_step(scale, torch.float16)
    assert result.overflow
    assert not result.applied
    assert scale.scale == 2.0**39
    untouched = build_model(ModelConfig(32, 64, 2, 2, 2, 32, "L"), "cpu")
    untouched.init_weights(0)
    assert all(torch.equal(weights[name], p) for name, p in untouched.named_parameters())
    tracker = LossTracker()
    assert tracker.update(3, result) == ""
    assert tracker.skipped == 0


@pytest.mark.slow
def test_a_run_in_float16_learns_and_resumes_with_its_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(tmp_path)
    monkeypatch.delenv("NANOCHAT_RUN_DIR", raising=False)
    options = [
        f"--base-dir={base}",
        *TINY[:-1],
        "--dtype=float16",
        "--device-type=cpu",
        "--num-iterations=12",
        "--sample-every=-1",
    ]
    assert main("base_train", [*options, "--save-every=6"]) == 0
    saved = list_checkpoints(base / "base_checkpoints/d2")
    state = saved[-1].meta["loop_state"]["loss_scale"]
    assert state["scale"] <= 2.0**16
    assert 0 < state["good_steps"] <= 12
    events = read_events(next((base / "runs").iterdir()) / "events.jsonl")[0]
    logged = [event.data["train/loss_scale"] for event in events if event.kind == "metric"]
    assert logged[-1] == state["scale"]
    assert math.isfinite(saved[-1].meta["val_bpb"])
    assert main("base_train", [*options, "--resume-from-step=6", "--overwrite"]) == 0
    again = list_checkpoints(base / "base_checkpoints/d2")[-1].meta
    assert again["loop_state"]["loss_scale"] == state
    assert again["val_bpb"] == saved[-1].meta["val_bpb"]
