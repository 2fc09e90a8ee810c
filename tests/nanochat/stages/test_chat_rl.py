"""chat_rl: the gradient is REINFORCE's, what is drawn is trained and nothing else, and it goes on exactly."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from training_data import TINY, error_line, events_of, link_base, make_base, stage_here, stage_process

from nanochat.checkpoint.files import find_checkpoint
from nanochat.checkpoint.in_use import users
from nanochat.checkpoint.weights import OpenedModel, open_model
from nanochat.common.paths import Layout
from nanochat.compute.ranks import Ranks
from nanochat.data.dataloader import LoaderState
from nanochat.infer.engine import Completion, Engine
from nanochat.infer.scheduler import FinishReason
from nanochat.run.events import Event, read_events
from nanochat.run.stage_run import main
from nanochat.tasks.registry import TaskData, make_task
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
from nanochat.train.rollouts import (
    Rollout,
    RolloutGenerator,
    RolloutLoader,
    SamplingConfig,
    mean_and_error,
    pass_at,
)
from nanochat.train.step import train_step

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
QUICK = [
    "--task=Arithmetic", "--dtype=float32", "--num-iterations=3", "--examples-per-step=4", "--num-samples=4",
    "--device-batch-size=2", "--max-new-tokens=40", "--eval-examples=8", "--sample-every=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory whose model answers some of the arithmetic right."""
    base = make_base(tmp_path_factory.mktemp("tuned"))
    options = [*TINY, "--max-seq-len=128", "--num-iterations=30", "--sample-every=-1"]
    assert main("base_train", [f"--base-dir={base}", *options]) == 0
    options = ["--mixture=Arithmetic:700", "--init-lr-frac=0.3", "--dtype=float32", "--chatcore-every=-1"]
    assert main("chat_sft", [f"--base-dir={base}", *options, "--sample-every=-1"]) == 0
    return base


@pytest.fixture
def base(tuned: Path, tmp_path: Path) -> Path:
    link_base(tuned, tmp_path)
    shutil.copytree(tuned / "chatsft_checkpoints", tmp_path / "chatsft_checkpoints")
    return tmp_path


@pytest.fixture
def opened(base: Path) -> OpenedModel:
    return open_model(Layout(base), "sft")


def loader_of(opened: OpenedModel, seen: list[list[Rollout]], **given: Any) -> RolloutLoader:
    sampling = SamplingConfig(samples=4, max_tokens=40, seed=3, rows=8)
    generator = RolloutGenerator(
        Engine(opened.model, opened.tokenizer), opened.tokenizer, sampling, lambda: None
    )
    task = make_task("Arithmetic", TaskData.at(Layout(Path("/nowhere"))), "train")
    settings: dict[str, Any] = {
        "questions": 4, "rows": 2, "ranks": Ranks(), "device": torch.device("cpu"), "state": LoaderState(),
        "on_rollouts": seen.append,
    }  # fmt: skip
    return RolloutLoader(generator, task, **settings | given)


def test_the_gradient_of_a_step_is_that_of_the_formula(
    opened: OpenedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """−Σ log p · A / valid tokens of the pass, mean over passes and questions, by plain autograd."""
    model, seen = opened.model.train(), []  # type: tuple[Any, list[list[Rollout]]]
    loader = loader_of(opened, seen)
    # A reward that tells answers apart whether or not so small a model has one right.
    monkeypatch.setattr(loader.task, "reward", lambda conversation, text: float(len(text) % 2))
    optimizer = MuonAdamW(parameter_groups(model, LearningRates()))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    grads: dict[str, torch.Tensor] = {}
    optimizer.step = lambda closure=None: grads.update(  # type: ignore[method-assign]
        {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    )
    passes = 4 * (4 // 2)
    result = train_step(model, optimizer, loader, passes, lambda: None)
    assert result.applied
    assert len(seen[0]) == 4
    assert any(0 < rollout.mean < 1 for rollout in seen[0])  # else nothing is tested

    model.zero_grad()
    objective = torch.zeros((), dtype=torch.float64)
    for rollout in seen[0]:
        for first in (0, 2):
            valid, total = 0, torch.zeros((), dtype=torch.float64)
            trained = list(zip(rollout.completions, rollout.advantages, strict=True))
            for answer, advantage in trained[first:][:2]:
                ids = torch.tensor([rollout.prompt + answer.tokens])
                logp = F.log_softmax(model(ids[:, :-1])[0].double(), dim=-1)
                for place, (token, drawn) in enumerate(zip(answer.tokens, answer.sampled, strict=True)):
                    if drawn:
                        total = total - logp[len(rollout.prompt) + place - 1, token] * advantage
                        valid += 1
            objective = objective + total / max(valid, 1) / passes
    objective.backward()
    assert result.loss == pytest.approx(objective.item(), abs=1e-6)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])
        if p.grad is not None:
            assert torch.allclose(grads[name], p.grad, rtol=1e-3, atol=1e-6), name


def test_prompts_and_tool_outputs_are_not_trained_and_the_end_is_by_default(opened: OpenedModel) -> None:
    answer = Completion([5, 6, 7, 8], [True, False, False, True], FinishReason.STOP)
    assert loader_of(opened, []).row([1, 2], answer).tolist() == [~1, ~2, 5, ~6, ~7, 8]
    assert loader_of(opened, [], train_eos=False).row([1, 2], answer).tolist() == [~1, ~2, 5, ~6, ~7, ~8]
    cut = Completion([5, 6], [True, True], FinishReason.LENGTH)
    assert loader_of(opened, [], train_eos=False).row([1], cut).tolist() == [~1, 5, 6]


def test_an_answer_does_not_depend_on_the_questions_beside_it(opened: OpenedModel) -> None:
    generator, task = loader_of(opened, []).generator, loader_of(opened, []).task
    together = generator.generate(task, [5, 6, 7], "step 0")
    alone = generator.generate(task, [6], "step 0")
    assert [a.tokens for a in alone[0].completions] == [a.tokens for a in together[1].completions]
    assert len({tuple(a.tokens) for a in alone[0].completions}) > 1
    other = generator.generate(task, [6], "step 1")
    assert [a.tokens for a in other[0].completions] != [a.tokens for a in alone[0].completions]


def test_two_loaders_shard_the_questions_of_one(opened: OpenedModel) -> None:
    class Both(Ranks):
        def gather(self, value: Any) -> list[Any]:
            return [value]

    seen: list[list[list[Rollout]]] = [[], [], []]
    alone = loader_of(opened, seen[0])
    halves = [loader_of(opened, seen[1 + rank], ranks=Both(rank, 2)) for rank in (0, 1)]
    whole = [next(alone) for _ in range(16)]
    parts: list[Iterator[Any]] = [iter([next(half) for _ in range(8)]) for half in halves]
    for step in range(2):
        for question in range(4):
            for part in range(2):
                expected, got = whole[8 * step + 2 * question + part], next(parts[question % 2])
                assert torch.equal(expected.inputs, got.inputs)
                assert torch.equal(expected.weights, got.weights)
                assert expected.state == got.state


def test_it_learns_and_tells_all_it_should(base: Path) -> None:
    assert main("chat_rl", [f"--base-dir={base}", *QUICK, "--num-iterations=6", "--eval-every=3"]) == 0
    events = events_of(base)
    rewards = [event.data for event in events if "rl/reward" in event.data]
    assert len(rewards) == 6
    assert all(0 <= float(data["rl/reward"]) <= 1 for data in rewards)  # type: ignore[arg-type]
    judged = [event for event in events if "rl/pass@1" in event.data]
    assert [event.step for event in judged] == [0, 3, 6]
    last: Any = judged[-1].data
    assert last["rl/pass@1"] <= last["rl/pass@2"]
    assert sum(event.kind == "sample" for event in events) == 2 * 3
    shown = [event.data["train/lrm"] for event in events if "train/lrm" in event.data]
    assert shown == pytest.approx([1 - it / 6 for it in range(6)])
    saved = find_checkpoint(base / "chatrl_checkpoints")
    assert (saved.step, saved.meta["dataloader_state_dict"]["taken"]) == (6, 24)
    start = find_checkpoint(base / "chatsft_checkpoints")
    name = f"sft/{start.path.parent.name}@{start.step}"
    assert saved.meta["started_from"] == {"name": name, "weights": start.weights}
    assert not users(start.path)  # it was in use for as long as the stage ran
    assert main("chat_eval", [f"--base-dir={base}", "--source=rl", "-a", "Arithmetic", "-x", "8"]) == 0


def test_killed_and_resumed_is_bit_for_bit_never_killed(base: Path) -> None:
    options = [*QUICK, "--num-iterations=8", "--save-every=2"]
    assert main("chat_rl", [f"--base-dir={base}", *options, "--out-tag=whole"]) == 0
    whole = find_checkpoint(base / "chatrl_checkpoints", "whole")
    process, log = stage_process("chat_rl", base, *options), base / "runs" / "the-run" / "events.jsonl"

    def reached(event: Event) -> bool:
        return "train/loss" in event.data and event.step == 4

    while process.poll() is None:
        if log.exists() and any(map(reached, read_events(log)[0])):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.005)
    assert process.wait() == -signal.SIGKILL
    assert stage_here("chat_rl", base, *options, attempt=2) == 0
    resumed = find_checkpoint(base / "chatrl_checkpoints", "d2")
    assert resumed.step == whole.step == 8
    a, b = load_file(resumed.path / "model.safetensors"), load_file(whole.path / "model.safetensors")
    assert all(torch.equal(a[name], b[name]) for name in b)


def test_two_processes_reinforce_as_one(base: Path) -> None:
    assert main("chat_rl", [f"--base-dir={base}", *QUICK, "--out-tag=one"]) == 0
    one: Any = events_of(base)[-1].data["results"]
    assert main("chat_rl", [f"--base-dir={base}", *QUICK, "--out-tag=two", "--nproc=2"]) == 0
    two: Any = events_of(base)[-1].data["results"]
    for name in ("rl/reward", "rl/held_out_reward", "rl/pass@2"):
        assert two[name] == pytest.approx(one[name], abs=1e-6)
    assert two["train/loss"] == pytest.approx(one["train/loss"], rel=1e-4, abs=1e-6)
    assert two["tokens"] == one["tokens"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--num-samples=5"], "give --num-samples 6"),
        (["--task=ARC-Easy"], "ARC-Easy"),
        (["--task=Identity"], "not answered in words"),
        (["--num-iterations=-1", "--examples-per-step=9000"], "smaller --examples-per-step"),
        (["--source=mid"], "mid_train"),
        (["--nproc=2", "--examples-per-step=3"], "give --examples-per-step 4"),
    ],
)
def test_bad_options_end_in_one_line(
    base: Path, capfd: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main("chat_rl", [f"--base-dir={base}", *QUICK, "--offline", *options]) == 2
    assert said in error_line(capfd)


def test_figures_of_rollouts() -> None:
    rewards = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
    assert pass_at(rewards, 1)[0] == 0.5
    assert pass_at(rewards, 2)[0] == 0.75
    assert mean_and_error([1.0, 3.0]) == (2.0, 1.0)
    assert mean_and_error([1.0]) == (1.0, 0.0)
    rollout = Rollout(0, {"messages": []}, [], [], [], [1.0, 0.0, 0.0, 0.0])
    assert rollout.advantages == [0.75, -0.25, -0.25, -0.25]
