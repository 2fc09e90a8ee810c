"""The optimizer over several processes: equal to one, whatever the shapes and however many matrices."""

from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from ranks import on_ranks
from torch import nn

from nanochat.compute.ranks import Ranks
from nanochat.train.optimizer import MuonAdamW

pytestmark = pytest.mark.slow

STEPS = 3

Shapes = tuple[list[tuple[int, ...]], list[tuple[int, int]], int]


def model_of(shapes: Shapes) -> tuple[nn.ParameterDict, list[dict[str, Any]]]:
    """Parameters of these shapes: AdamW's tensors, and `count` matrices of each of Muon's shapes."""
    adam, muon, count = shapes
    generator = torch.Generator().manual_seed(7)
    groups: list[dict[str, Any]] = []
    parameters = nn.ParameterDict()

    def add(name: str, shape: tuple[int, ...]) -> nn.Parameter:
        parameters[name] = nn.Parameter(torch.randn(shape, generator=generator))
        return parameters[name]

    for i, shape in enumerate(adam):
        groups.append({
            "kind": "adamw", "names": [f"a{i}"], "params": [add(f"a{i}", shape)], "lr": 0.01,
            "initial_lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-10, "weight_decay": 0.01,
        })  # fmt: skip
    for i, shape in enumerate(muon):
        names = [f"m{i}.{n}" for n in range(count)]
        keys = [name.replace(".", "_") for name in names]
        groups.append({
            "kind": "muon", "names": keys, "params": [add(key, shape) for key in keys], "lr": 0.02,
            "initial_lr": 0.02, "shape_gain": 1.0, "momentum": 0.9, "beta2": 0.9, "weight_decay": 0.1,
            "classic": False,
        })  # fmt: skip
    return parameters, groups


def loss_of(parameters: nn.ParameterDict, share: int, shares: int) -> torch.Tensor:
    """A loss of which every rank has a share of its own; the mean of the shares is that of one rank."""
    total = torch.zeros(())
    for key in sorted(parameters):
        p = parameters[key]
        generator = torch.Generator().manual_seed(len(key) + 31 * p.numel())
        target = torch.randn((6, *p.shape), generator=generator)
        total = total + (p - target[share * 6 // shares : (share + 1) * 6 // shares]).square().mean(0).sum()
    return total


def trained(rank: int, world: int, shapes: Shapes, save: bool = False) -> dict[str, Any]:
    parameters, groups = model_of(shapes)
    optimizer = MuonAdamW(groups, ranks=Ranks(rank, world))
    norms = []
    for _ in range(STEPS):
        optimizer.reduce_on_backward()
        loss_of(parameters, rank, world).backward()
        optimizer.reduce_gradients()
        norms.append(optimizer.ranks.sum(optimizer.square_norm()).item())
        optimizer.step()
        optimizer.zero_grad()
    states = {name: tensor.clone() for name, tensor in optimizer.state_tensors().items()} if save else {}
    return {
        "weights": {k: p.detach().clone() for k, p in parameters.items()},
        "norms": norms,
        "states": states,
    }


def all_trained(rank: int, world: int, models: list[Shapes]) -> list[dict[str, Any]]:
    return [trained(rank, world, shapes) for shapes in models]


SHAPES = st.tuples(
    st.lists(
        st.one_of(st.tuples(st.integers(1, 70), st.integers(1, 60)), st.tuples(st.integers(1, 2100))),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.tuples(st.integers(2, 20), st.integers(2, 20)), min_size=1, max_size=2, unique=True),
    st.integers(1, 5),
)


@pytest.mark.parametrize("world", [2, 3])
@settings(max_examples=1, phases=[Phase.explicit, Phase.generate])
@given(models=st.lists(SHAPES, min_size=5, max_size=5))
def test_any_number_of_ranks_updates_as_one_does(world: int, models: list[Shapes]) -> None:
    """Five models at a time: what costs is to start the processes."""
    alone = all_trained(0, 1, models)
    for results in on_ranks(world, all_trained, models):
        for result, single in zip(results, alone, strict=True):
            for key, expected in single["weights"].items():
                torch.testing.assert_close(result["weights"][key], expected, rtol=2e-4, atol=2e-5)
            assert result["norms"] == pytest.approx(single["norms"], rel=1e-4)


def test_states_are_sharded_and_restored_on_any_number_of_ranks() -> None:
    shapes: Shapes = ([(37, 41), (10,), (1025,)], [(8, 6), (6, 8)], 3)
    alone = trained(0, 1, shapes, save=True)
    parts = [result["states"] for result in on_ranks(2, trained, shapes, True)]
    # Each matrix lies with one rank, a table in runs with both, a small tensor with the first.
    assert set(parts[0]) | set(parts[1]) == set(alone["states"])
    both = set(parts[0]) & set(parts[1])
    assert both == {f"a{i}.{key}" for i in (0, 2) for key in ("exp_avg", "exp_avg_sq")}
    assert parts[0]["a0.exp_avg"].numel() + parts[1]["a0.exp_avg"].numel() == 37 * 41
    for saved in (parts, [alone["states"]]):
        _, groups = model_of(shapes)
        restored = MuonAdamW(groups)
        restored.load_state_tensors(saved, STEPS)
        for key, tensor in restored.state_tensors().items():
            torch.testing.assert_close(tensor, alone["states"][key], rtol=2e-4, atol=2e-5)
