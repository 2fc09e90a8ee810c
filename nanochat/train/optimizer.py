"""One optimizer for the whole model: Muon for the blocks' matrices, AdamW for tables, head and scalars.

Over several processes it is ZeRO-2 (arXiv 1910.02054): each keeps the states of its own part of the
parameters, gets the gradients of that part only, updates it, and sends it to the others. Gradients travel
while the backward pass goes on, parameters while the rest is updated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from nanochat.common.errors import UserError
from nanochat.compute.ranks import Ranks
from nanochat.model.architecture import CLASSIC
from nanochat.model.gpt import GPT
from nanochat.train.muon import cautious_step_, classic_direction, muon_direction
from nanochat.train.sharding import MatrixStack, ReplicatedTensor, ShardedTensor, StateShard


@dataclass(frozen=True)
class LearningRates:
    """Peak learning rates and Muon's decay as the options give them, before scaling to the model."""

    embedding: float = 0.3
    unembedding: float = 0.008
    matrix: float = 0.02
    scalar: float = 0.5
    weight_decay: float = 0.28


def parameter_groups(
    model: GPT, rates: LearningRates, batch_scale: float = 1.0, scalar_scale: float | None = None
) -> list[dict[str, Any]]:
    """The optimizer's groups of a model: `kind` adamw or muon, with learning rate, betas and decay.

    `batch_scale` (a power of B/2¹⁹) multiplies every rate but that of smear and backout, `scalar_scale` in
    its place (where given) those of the per-layer scalars; rates of tables and head also scale with
    (width/768)^−½ (they were tuned at width 768).
    """
    scalar = rates.scalar * (batch_scale if scalar_scale is None else scalar_scale)
    width = (model.config.n_embd / 768) ** -0.5 * batch_scale
    named = dict(model.named_parameters())

    def adam(
        label: str, names: Iterable[str], lr: float, betas: tuple[float, float], decay: float
    ) -> dict[str, Any]:
        return {
            "kind": "adamw", "label": label, "names": [name for name in names if name in named],
            "lr": lr, "betas": betas, "eps": 1e-10, "weight_decay": decay,
        }  # fmt: skip

    tables = [name for name in named if name.startswith("value_embeds.")]
    embedding = rates.embedding * width
    classic = model.config.parts == CLASSIC
    groups = (
        [
            adam("head", ["lm_head.weight"], rates.unembedding * width, (0.8, 0.95), 0.0),
            adam("embedding", ["transformer.wte.weight"], embedding, (0.8, 0.95), 0.0),
        ]
        if classic
        else [
            adam("head", ["lm_head.weight"], rates.unembedding * width, (0.8, 0.96), 0.01),
            adam("embedding", ["transformer.wte.weight"], embedding, (0.8, 0.995), 0.001),
            adam("value_embeds", tables, 0.5 * embedding, (0.8, 0.995), 0.01),
            adam("resid_lambdas", ["resid_lambdas"], 0.01 * scalar, (0.8, 0.95), 0.05),
            adam("x0_lambdas", ["x0_lambdas"], scalar, (0.96, 0.95), 0.0),
            adam(
                "smear_backout",
                ["smear_gate.weight", "smear_lambda", "backout_lambda"],
                0.2,
                (0.8, 0.95),
                0.0,
            ),
        ]
    )
    matrices = {name: p for name, p in named.items() if name.startswith("transformer.h.")}
    for shape in sorted({tuple(p.shape) for p in matrices.values()}):
        names = [name for name, p in matrices.items() if tuple(p.shape) == shape]
        groups.append({
            "kind": "muon", "label": f"matrices {shape[0]}×{shape[1]}", "names": names,
            "lr": rates.matrix * batch_scale, "shape_gain": max(1.0, shape[0] / shape[1]) ** 0.5,
            "momentum": 0.95, "beta2": 0.9, "weight_decay": rates.weight_decay, "classic": classic,
        })  # fmt: skip
    groups = [group for group in groups if group["names"]]
    for group in groups:
        group["params"] = [named[name] for name in group["names"]]
        group["initial_lr"] = group["lr"]
    covered = [name for group in groups for name in group["names"]]
    if sorted(covered) != sorted(named):
        raise AssertionError(f"parameters without a group: {sorted(set(named) - set(covered))}")
    return groups


class MuonAdamW(torch.optim.Optimizer):
    """Muon and AdamW behind one `step`.

    Groups come from `parameter_groups`. `matmul_dtype` is the type of Muon's matmuls; states are float32
    for Muon and the parameter's type for AdamW. With more than one of `ranks`, every process calls each
    method at the same point; `reduce_on_backward` goes before the last backward pass of a step.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        matmul_dtype: torch.dtype = torch.float32,
        ranks: Ranks | None = None,
    ) -> None:
        super().__init__(groups, {})
        self.matmul_dtype = matmul_dtype
        self.ranks = ranks or Ranks()
        self.steps = 0
        self._units: list[list[ShardedTensor]] = []
        for group in self.param_groups:
            if group["kind"] == "muon":
                self._units.append([MatrixStack(group["names"], group["params"], self.ranks)])
            else:
                pairs = zip(group["names"], group["params"], strict=True)
                self._units.append([_sharded(name, p, self.ranks) for name, p in pairs])

    def _every_unit(self) -> list[ShardedTensor]:
        return [unit for units in self._units for unit in units]

    def reduce_on_backward(self) -> None:
        """From here on a parameter's gradient is sent off as soon as it is whole: call it before the last
        backward pass of a step."""
        for unit in self._every_unit():
            unit.reduce_on_backward()

    def reduce_gradients(self) -> None:
        """Waits for this process's part of all gradients, the mean over ranks."""
        units = self._every_unit()
        for unit in units:
            unit.start_reduce()
        for unit in units:
            unit.wait_for_gradient()

    def square_norm(self) -> Tensor:
        """This process's share of the squared norm over all gradients: float32 scalar; shares add up."""
        grads = [unit.grad for unit in self._every_unit() if unit.is_owner and unit.grad is not None]
        norms = torch._foreach_norm([g.float() if g.dtype != torch.float32 else g for g in grads])
        squares: Tensor = torch.stack(list(norms)).square().sum()
        return squares

    @torch.no_grad()
    def scale_gradients(self, factor: float) -> None:
        """Multiplies what `reduce_gradients` brought."""
        torch._foreach_mul_([unit.grad for unit in self._every_unit() if unit.grad is not None], factor)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates every parameter from its gradient; calls `reduce_gradients` unless it was called."""
        if any(unit.grad is None for unit in self._every_unit()):
            self.reduce_gradients()
        self.steps += 1
        for group, units in zip(self.param_groups, self._units, strict=True):
            if group["kind"] == "adamw":
                self._adamw(group, units)
            else:
                self._muon(group, units[0])
            for unit in units:
                unit.start_all_gather()
        for unit in self._every_unit():
            unit.finish_all_gather()
        # Fused updates do not count as writes by themselves, and decoding asks whether there were any.
        torch.autograd.graph.increment_version([p for group in self.param_groups for p in group["params"]])

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for unit in self._every_unit():
            unit.drop_grad()

    def schedule(self, multiplier: float, momentum: float, weight_decay: float) -> None:
        """Sets this step's learning rates, Muon's momentum and Muon's decay (AdamW's decays are constant)."""
        for group in self.param_groups:
            group["lr"] = group["initial_lr"] * multiplier
            if group["kind"] == "muon":
                group["momentum"], group["weight_decay"] = momentum, weight_decay

    def _adamw(self, group: dict[str, Any], units: Sequence[ShardedTensor]) -> None:
        present = [unit for unit in units if unit.grad is not None]
        params = [unit.local_shard() for unit in present]
        states = [self._adamw_state(unit) for unit in present]
        device = params[0].device if params else torch.device("cpu")
        fused = device.type in ("cpu", "cuda")
        adamw(
            params,
            [unit.grad for unit in present],  # type: ignore[misc]
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            # Filled there: a copy from the host would wait for all that runs.
            [torch.full((), float(self.steps - 1), device=device) for _ in params],
            fused=fused,
            foreach=not fused,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _adamw_state(self, unit: ShardedTensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[unit.params[0]]
        if not state:
            like: dict[str, Any] = {"dtype": unit.params[0].dtype, "device": unit.params[0].device}
            state["exp_avg"] = torch.zeros(unit.local_shape, **like)
            state["exp_avg_sq"] = torch.zeros(unit.local_shape, **like)
        return state

    def _muon(self, group: dict[str, Any], unit: ShardedTensor) -> None:
        assert unit.grad is not None
        state = self._muon_state(unit)
        if group["classic"]:
            update = classic_direction(unit.grad, state["momentum"], group["momentum"], self.matmul_dtype)
        else:
            update = muon_direction(
                unit.grad, state["momentum"], state["second"], group["momentum"], group["beta2"],
                self.matmul_dtype,
            )  # fmt: skip
        cautious_step_(unit.local_shard(), update, group["lr"] * group["shape_gain"], group["weight_decay"])

    def _muon_state(self, unit: ShardedTensor) -> dict[str, Tensor]:
        """Momentum (n, rows, columns) and second moment of this rank's matrices, under the first matrix."""
        state: dict[str, Tensor] = self.state[unit.params[0]]
        if not state:
            n, rows, columns = unit.local_shape
            shape = (n, rows, 1) if rows >= columns else (n, 1, columns)
            like: dict[str, Any] = {"dtype": torch.float32, "device": unit.params[0].device}
            state["momentum"] = torch.zeros(unit.local_shape, **like)
            state["second"] = torch.zeros(shape, **like)
        return state

    def _states(self) -> Iterable[tuple[ShardedTensor, dict[str, Tensor]]]:
        for group, units in zip(self.param_groups, self._units, strict=True):
            for unit in units:
                yield unit, self._adamw_state(unit) if group["kind"] == "adamw" else self._muon_state(unit)

    def state_tensors(self) -> dict[str, Tensor]:
        """This rank's states by parameter name (`<name>.exp_avg`, `<name>.momentum` …).

        Whole matrices each lie with one rank; a table that is shared out is one run of its elements.
        """
        tensors: dict[str, Tensor] = {}
        for unit, state in self._states():
            if not unit.is_owner:
                continue
            for key, tensor in state.items():
                tensors |= {f"{shard.name}.{key}": part for shard, part in unit.state_shards(tensor)}
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, saved: Sequence[Mapping[str, Tensor]], steps: int) -> None:
        """Restores what `state_tensors` gave on each rank of a world of any size, in the order of ranks.

        Raises `UserError` when a state is missing or misshapen.
        """
        for unit, state in self._states():
            for key, tensor in state.items():
                for shard, part in unit.state_shards(tensor):
                    part.copy_(_assemble(saved, f"{shard.name}.{key}", shard, part))
        self.steps = steps


def _sharded(name: str, p: Tensor, ranks: Ranks) -> ShardedTensor:
    return (
        ShardedTensor(name, p, ranks)
        if ranks.world > 1 and p.numel() >= SMALLEST_SHARDED
        else ReplicatedTensor(name, p, ranks)
    )


SMALLEST_SHARDED = 1024
"""Elements from which a tensor's state is shared out over ranks."""


def _assemble(saved: Sequence[Mapping[str, Tensor]], key: str, shard: StateShard, like: Tensor) -> Tensor:
    """The part of a saved state that `shard` is, put together from what the ranks saved."""
    parts = [tensors[key] for tensors in saved if key in tensors]
    if not parts:
        raise UserError(f"optimizer state {key} is missing, expected shape {tuple(like.shape)}")
    whole = parts[0] if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])
    if shard.run is not None:
        if whole.numel() != shard.total:
            raise UserError(f"optimizer state {key} has {whole.numel()} elements, expected {shard.total}")
        return whole.reshape(-1)[shard.run]
    as_it_was = len(parts) == 1 and whole.dim() > 1
    if whole.numel() != like.numel() or (as_it_was and whole.shape != like.shape):
        raise UserError(
            f"optimizer state {key} is of shape {tuple(whole.shape)}, expected shape {tuple(like.shape)}"
        )
    return whole.reshape(like.shape)
