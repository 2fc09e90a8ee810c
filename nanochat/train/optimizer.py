"""One optimizer for the whole model: Muon for the blocks' matrices, AdamW for tables, head and scalars.

Over several processes it is ZeRO-2 (arXiv 1910.02054): each keeps the states of its own shard of the
parameters, gets the gradients of that shard only, updates it, and sends it to the others. Gradients are sent
during the backward pass, parameters while the rest is updated.
"""

from collections import defaultdict
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

# The constants below are upstream nanochat's.
ADAMW_EPS = 1e-10
"""Small beside the tiny gradients of rare tokens' rows, whose steps a larger one would shrink."""
REFERENCE_WIDTH = 768
"""The width at which rates of tables and head were tuned (depth 12); others scale with (width/768)^−½."""
SMEAR_BACKOUT_LR = 0.2
"""Of smear and backout, whatever the batch and the width."""
MUON_BETA2 = 0.9
"""Of NorMuon's second moment (arXiv 2510.05491): a memory of about ten steps."""
CLASSIC_BETAS = (0.8, 0.95)
"""AdamW's (β₁, β₂) in the classic era."""
SMALLEST_SHARDED = 1024
"""Elements from which a tensor is sharded over ranks: for fewer, one all-reduce is the cheaper way."""


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
    named = dict(model.named_parameters())
    classic = model.config.parts == CLASSIC
    tables = (model.config.n_embd / REFERENCE_WIDTH) ** -0.5 * batch_scale
    scalars = rates.scalar * (batch_scale if scalar_scale is None else scalar_scale)
    if classic:
        groups = _classic_adamw_groups(rates.embedding * tables, rates.unembedding * tables)
    else:
        value_embeds = [name for name in named if name.startswith("value_embeds.")]
        groups = _modern_adamw_groups(
            rates.embedding * tables, rates.unembedding * tables, scalars, value_embeds
        )
    groups += _muon_groups(named, rates.matrix * batch_scale, rates.weight_decay, classic)
    return _with_parameters(groups, named)


def _adamw_group(
    label: str, names: Iterable[str], lr: float, betas: tuple[float, float], decay: float
) -> dict[str, Any]:
    return {
        "kind": "adamw",
        "label": label,
        "names": list(names),
        "lr": lr,
        "betas": betas,
        "eps": ADAMW_EPS,
        "weight_decay": decay,
    }


def _classic_adamw_groups(embedding: float, unembedding: float) -> list[dict[str, Any]]:
    return [
        _adamw_group("head", ["lm_head.weight"], unembedding, CLASSIC_BETAS, 0.0),
        _adamw_group("embedding", ["transformer.wte.weight"], embedding, CLASSIC_BETAS, 0.0),
    ]


def _modern_adamw_groups(
    embedding: float, unembedding: float, scalars: float, value_embeds: Sequence[str]
) -> list[dict[str, Any]]:
    """A longer second moment (β₂ 0.995) for tables, most of whose rows get a gradient only now and then."""
    smear_backout = ["smear_gate.weight", "smear_lambda", "backout_lambda"]
    return [
        _adamw_group("head", ["lm_head.weight"], unembedding, (0.8, 0.96), 0.01),
        _adamw_group("embedding", ["transformer.wte.weight"], embedding, (0.8, 0.995), 0.001),
        _adamw_group("value_embeds", value_embeds, 0.5 * embedding, (0.8, 0.995), 0.01),
        # A hundredth of x0's rate: each of them scales all that the residual stream has accumulated so far.
        _adamw_group("resid_lambdas", ["resid_lambdas"], 0.01 * scalars, (0.8, 0.95), 0.05),
        _adamw_group("x0_lambdas", ["x0_lambdas"], scalars, (0.96, 0.95), 0.0),
        _adamw_group("smear_backout", smear_backout, SMEAR_BACKOUT_LR, (0.8, 0.95), 0.0),
    ]


def _muon_groups(
    named: Mapping[str, Tensor], lr: float, weight_decay: float, classic: bool
) -> list[dict[str, Any]]:
    """One group for each shape of the blocks' matrices, so that all of a shape are updated as one stack."""
    matrices = {name: p for name, p in named.items() if name.startswith("transformer.h.")}
    groups = []
    for rows, columns in sorted({tuple(p.shape) for p in matrices.values()}):
        groups.append(
            {
                "kind": "muon",
                "label": f"matrices {rows}×{columns}",
                "names": [name for name, p in matrices.items() if tuple(p.shape) == (rows, columns)],
                "lr": lr,
                # A semi-orthogonal matrix with more rows than columns maps inputs of RMS 1 to outputs of RMS
                # √(columns/rows): this makes that 1, as for a square one (Keller Jordan, "Muon", 2024).
                "shape_gain": max(1.0, rows / columns) ** 0.5,
                "momentum": 0.95,
                "beta2": MUON_BETA2,
                "weight_decay": weight_decay,
                "classic": classic,
            }
        )
    return groups


def _with_parameters(groups: list[dict[str, Any]], named: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """The groups that have parameters in this model, with them. Every parameter is in exactly one."""
    for group in groups:
        group["names"] = [name for name in group["names"] if name in named]
        group["params"] = [named[name] for name in group["names"]]
        group["initial_lr"] = group["lr"]
    covered = [name for group in groups for name in group["names"]]
    if sorted(covered) != sorted(named):
        raise AssertionError(f"parameters without a group: {sorted(set(named) - set(covered))}")
    return [group for group in groups if group["names"]]


class MuonAdamW:
    """Muon and AdamW behind one `step`.

    Groups come from `parameter_groups`. `matmul_dtype` is the type of Muon's matmuls; states are float32
    for Muon and the parameter's type for AdamW. With more than one of `ranks`, every process calls each
    method at the same point; `reduce_on_backward` goes before the last backward pass of a step.

    No `torch.optim.Optimizer`: of that it would use nothing but the names, and pay with a second at each
    start, for it loads torch's compiler.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        matmul_dtype: torch.dtype = torch.float32,
        ranks: Ranks | None = None,
    ) -> None:
        self.param_groups = groups
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        """By the first parameter of what is updated together."""
        self.matmul_dtype = matmul_dtype
        self.ranks = ranks or Ranks()
        self.steps = 0
        self.multiplier = 1.0
        """Of all base learning rates at the present step, see `schedule`."""
        self._units = [self._make_units(group) for group in self.param_groups]

    def _make_units(self, group: dict[str, Any]) -> list[ShardedTensor]:
        """What the group's parameters are sharded as: one stack of matrices, or each by itself."""
        if group["kind"] == "muon":
            return [MatrixStack(group["names"], group["params"], self.ranks)]
        units: list[ShardedTensor] = []
        for name, p in zip(group["names"], group["params"], strict=True):
            sharded = self.ranks.world > 1 and p.numel() >= SMALLEST_SHARDED
            units.append((ShardedTensor if sharded else ReplicatedTensor)([name], [p], self.ranks))
        return units

    def _all_units(self) -> list[ShardedTensor]:
        return [unit for units in self._units for unit in units]

    # -- gradients ---------------------------------------------------------------------------------

    def reduce_on_backward(self) -> None:
        """Has the next backward pass start each reduction as soon as a gradient is complete, so that sending
        overlaps computing. Call it before the last backward pass of a step."""
        for unit in self._all_units():
            unit.reduce_on_backward()

    def reduce_gradients(self) -> None:
        """Waits for this rank's shards of all gradients, the mean over ranks."""
        units = self._all_units()
        for unit in units:
            unit.start_reduce()
        for unit in units:
            unit.wait_for_gradient()

    def square_norm(self) -> Tensor:
        """This rank's part of the squared norm over all gradients (a float32 scalar); the parts add up."""
        grads = [unit.grad for unit in self._all_units() if unit.is_owner and unit.grad is not None]
        norms = torch._foreach_norm([g.float() if g.dtype != torch.float32 else g for g in grads])
        squares: Tensor = torch.stack(list(norms)).square().sum()
        return squares

    @torch.no_grad()
    def scale_gradients(self, factor: float) -> None:
        """Multiplies the gradients that `reduce_gradients` left."""
        torch._foreach_mul_([unit.grad for unit in self._all_units() if unit.grad is not None], factor)

    # -- the update --------------------------------------------------------------------------------

    @torch.no_grad()
    def step(self) -> None:
        """Updates every parameter from its gradient; calls `reduce_gradients` unless it was called."""
        if any(unit.grad is None for unit in self._all_units()):
            self.reduce_gradients()
        self.steps += 1
        for group, units in zip(self.param_groups, self._units, strict=True):
            if group["kind"] == "adamw":
                self._adamw(group, units)
            else:
                self._muon(group, units[0])
            # Sent while the next group is updated.
            for unit in units:
                unit.start_all_gather()
        for unit in self._all_units():
            unit.finish_all_gather()
        # Fused updates do not count as writes by themselves, and decoding asks whether there were any.
        torch.autograd.graph.increment_version([p for group in self.param_groups for p in group["params"]])

    def zero_grad(self) -> None:
        """Drops every gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None
        for unit in self._all_units():
            unit.drop_grad()

    def schedule(self, multiplier: float, momentum: float, weight_decay: float) -> None:
        """Sets this step's learning rates, Muon's momentum and Muon's decay (AdamW's decays are constant)."""
        self.multiplier = multiplier
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
            # Filled on the device: a copy from the host would wait for all that runs.
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
        state = self.state[unit.params[0]]
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
                unit.grad,
                buffer=state["momentum"],
                second=state["second"],
                momentum=group["momentum"],
                beta2=group["beta2"],
                dtype=self.matmul_dtype,
            )
        cautious_step_(unit.local_shard(), update, group["lr"] * group["shape_gain"], group["weight_decay"])

    def _muon_state(self, unit: ShardedTensor) -> dict[str, Tensor]:
        """Momentum (n, rows, columns) and second moment of this rank's matrices, under the first matrix."""
        state = self.state[unit.params[0]]
        if not state:
            n, rows, columns = unit.local_shape
            # NorMuon's moment is of the longer side, whose norms orthogonalisation leaves uneven.
            shape = (n, rows, 1) if rows >= columns else (n, 1, columns)
            like: dict[str, Any] = {"dtype": torch.float32, "device": unit.params[0].device}
            state["momentum"] = torch.zeros(unit.local_shape, **like)
            state["second"] = torch.zeros(shape, **like)
        return state

    # -- checkpoints -------------------------------------------------------------------------------

    def _states(self) -> Iterable[tuple[ShardedTensor, dict[str, Tensor]]]:
        for group, units in zip(self.param_groups, self._units, strict=True):
            for unit in units:
                yield unit, self._adamw_state(unit) if group["kind"] == "adamw" else self._muon_state(unit)

    def state_tensors(self) -> dict[str, Tensor]:
        """This rank's states by parameter name (`<name>.exp_avg`, `<name>.momentum` …).

        Each matrix is whole and on one rank; of a sharded table each rank has one run of its elements.
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


def _assemble(saved: Sequence[Mapping[str, Tensor]], key: str, shard: StateShard, like: Tensor) -> Tensor:
    """The part of a saved state that `shard` names, assembled from the files of all ranks."""
    parts = [tensors[key] for tensors in saved if key in tensors]
    if not parts:
        raise UserError(f"optimizer state {key} is missing, expected shape {tuple(like.shape)}")
    whole = parts[0] if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])
    if shard.run is not None:
        if whole.numel() != shard.total:
            raise UserError(f"optimizer state {key} has {whole.numel()} elements, expected {shard.total}")
        return whole.reshape(-1)[shard.run]
    unsharded = len(parts) == 1 and whole.dim() > 1
    if whole.numel() != like.numel() or (unsharded and whole.shape != like.shape):
        raise UserError(
            f"optimizer state {key} is of shape {tuple(whole.shape)}, expected shape {tuple(like.shape)}"
        )
    return whole.reshape(like.shape)
