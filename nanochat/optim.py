"""One optimizer for the whole model: Muon for the blocks' matrices, AdamW for tables, head and scalars.

Muon orthogonalises the momentum of each matrix. Matrices of one shape are updated together as one stack
(n, rows, columns), so a step is a few batched matmuls instead of a loop over layers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from nanochat.architecture import CLASSIC
from nanochat.errors import UserError
from nanochat.model import GPT

# Polar Express, 5 steps (arXiv 2505.16932, algorithm 1; made for singular values down to 1e-3 of the
# largest, with a safety factor 1.02 on all but the last steps).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Quintic coefficients of the first Muon (Keller Jordan, 2024): singular values end between 0.7 and 1.2."""


def newton_schulz(x: Tensor, steps: int = 5) -> Tensor:
    """Roughly the nearest semi-orthogonal matrix to each of (n, rows, columns): the classic era's way."""
    a, b, c = NEWTON_SCHULZ
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def classic_direction(grads: Tensor, buffer: Tensor, momentum: float, dtype: torch.dtype) -> Tensor:
    """The first Muon's update of a stack of matrices (n, rows, columns); `buffer` is updated in place."""
    buffer.lerp_(grads, 1 - momentum)
    return newton_schulz(torch.lerp(grads, buffer, momentum).to(dtype)).float()


def equilibrate_rows(x: Tensor) -> Tensor:
    """Rescales each row of (n, rows, columns) to the RMS row norm ‖X‖_F/√rows (MuonEq, arXiv 2603.28254)."""
    wide = x.float()
    target = torch.linalg.matrix_norm(wide, keepdim=True) / x.size(-2) ** 0.5
    rows = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp_min(1e-6)
    scaled: Tensor = x * (target / rows).to(x.dtype)
    return scaled


def polar_express(x: Tensor) -> Tensor:
    """About the nearest semi-orthogonal matrix to each of (n, rows, columns); singular values end near 1.

    X ← aX + X(bA + cA²) with A the Gram matrix of the short side (arXiv 2505.16932).
    """
    scale = torch.linalg.matrix_norm(x.float(), keepdim=True) * 1.01 + 1e-6
    x = (x / scale).to(x.dtype)
    tall = x.size(-2) > x.size(-1)
    for a, b, c in POLAR_EXPRESS:
        gram = x.mT @ x if tall else x @ x.mT
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, x, poly, beta=a) if tall else torch.baddbmm(x, poly, x, beta=a)
    return x


def reduce_variance(update: Tensor, second: Tensor, beta2: float) -> Tensor:
    """Evens out the size of rows (or columns) by a running mean square, Frobenius norm unchanged.

    NorMuon (arXiv 2510.05491). `second` (n, rows, 1) or (n, 1, columns) is updated in place; it starts at
    zero and is not bias-corrected.
    """
    dim = -1 if second.size(-1) == 1 else -2
    mean_square = update.square().mean(dim=dim, keepdim=True)
    second.lerp_(mean_square, 1 - beta2)
    step = second.clamp_min(1e-10).rsqrt()
    before = mean_square.sum(dim=(-2, -1), keepdim=True).sqrt()
    after = (mean_square * step.square()).sum(dim=(-2, -1), keepdim=True).sqrt().clamp_min(1e-10)
    return update * (step * (before / after))


def muon_direction(
    grads: Tensor, buffer: Tensor, second: Tensor, momentum: float, beta2: float, dtype: torch.dtype
) -> Tensor:
    """The update of a stack of matrices, before learning rate and decay.

    grads, buffer: (n, rows, columns) float32; `buffer` and `second` are updated in place. `dtype` is the
    type of the orthogonalisation's matmuls.
    """
    buffer.lerp_(grads, 1 - momentum)
    nesterov = torch.lerp(grads, buffer, momentum)
    update = polar_express(equilibrate_rows(nesterov.to(dtype))).float()
    # Muon+ (arXiv 2602.21545): the norm an exactly semi-orthogonal matrix has.
    target = min(update.shape[-2:]) ** 0.5
    update = update * (target / torch.linalg.matrix_norm(update, keepdim=True).clamp_min(1e-6))
    return reduce_variance(update, second, beta2)


def cautious_step_(params: Tensor, update: Tensor, lr: float, weight_decay: float) -> None:
    """p ← p − lr·(u + wd·p where u·p ≥ 0): decay only where it agrees with the update."""
    if weight_decay:
        decay = torch.where(update * params >= 0, params, 0.0)
        update = update.add(decay, alpha=weight_decay)
    params.sub_(update, alpha=lr)


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
    for Muon and the parameter's type for AdamW.
    """

    def __init__(self, groups: list[dict[str, Any]], matmul_dtype: torch.dtype = torch.float32) -> None:
        super().__init__(groups, {})
        self.matmul_dtype = matmul_dtype
        self._names = {p: n for g in self.param_groups for p, n in zip(g["params"], g["names"], strict=True)}
        self.steps = 0

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter from its gradient."""
        self.steps += 1
        for group in self.param_groups:
            if group["kind"] == "adamw":
                self._adamw(group)
            else:
                self._muon(group)

    def schedule(self, multiplier: float, momentum: float, weight_decay: float) -> None:
        """Sets this step's learning rates, Muon's momentum and Muon's decay (AdamW's decays are constant)."""
        for group in self.param_groups:
            group["lr"] = group["initial_lr"] * multiplier
            if group["kind"] == "muon":
                group["momentum"], group["weight_decay"] = momentum, weight_decay

    def _adamw(self, group: dict[str, Any]) -> None:
        params = [p for p in group["params"] if p.grad is not None]
        states = [self._adamw_state(p) for p in params]
        device = params[0].device if params else torch.device("cpu")
        fused = device.type in ("cpu", "cuda")
        adamw(
            params,
            [p.grad for p in params],
            [s["exp_avg"] for s in states],
            [s["exp_avg_sq"] for s in states],
            [],
            [torch.tensor(float(self.steps - 1), device=device) for _ in params],
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

    def _adamw_state(self, p: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[p]
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        return state

    def _muon(self, group: dict[str, Any]) -> None:
        params = group["params"]
        buffer, second = self._muon_state(group)
        grads = torch.stack([p.grad.float() for p in params])
        if group["classic"]:
            update = classic_direction(grads, buffer, group["momentum"], self.matmul_dtype)
        else:
            update = muon_direction(
                grads, buffer, second, group["momentum"], group["beta2"], self.matmul_dtype
            )
        stacked = torch.stack(params)
        cautious_step_(stacked, update, group["lr"] * group["shape_gain"], group["weight_decay"])
        for p, fresh in zip(params, stacked, strict=True):
            p.copy_(fresh)

    def _muon_state(self, group: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The group's stacked momentum (n, rows, columns) and second moment, kept under its first matrix."""
        params = group["params"]
        state = self.state[params[0]]
        if not state:
            rows, columns = params[0].shape
            shape = (len(params), rows, 1) if rows >= columns else (len(params), 1, columns)
            zeros = {"dtype": torch.float32, "device": params[0].device}
            state["momentum"] = torch.zeros((len(params), rows, columns), **zeros)
            state["second"] = torch.zeros(shape, **zeros)
        return state["momentum"], state["second"]

    def state_tensors(self) -> dict[str, Tensor]:
        """Every state by its parameter's name (`<name>.exp_avg`, `<name>.momentum` …): no stacking shows."""
        tensors: dict[str, Tensor] = {}
        for group in self.param_groups:
            for i, (p, name) in enumerate(zip(group["params"], group["names"], strict=True)):
                if group["kind"] == "adamw":
                    state = self._adamw_state(p)
                    tensors |= {f"{name}.{key}": state[key] for key in ("exp_avg", "exp_avg_sq")}
                else:
                    momentum, second = self._muon_state(group)
                    tensors |= {f"{name}.momentum": momentum[i], f"{name}.second": second[i]}
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Restores what `state_tensors` gave. Raises `UserError` when a state is missing or misshapen."""
        for name, own in self.state_tensors().items():
            saved = tensors.get(name)
            if saved is None or saved.shape != own.shape:
                found = "missing" if saved is None else f"of shape {tuple(saved.shape)}"
                raise UserError(f"optimizer state {name} is {found}, expected shape {tuple(own.shape)}")
            own.copy_(saved)
        self.steps = steps


def gradient_norm(model: torch.nn.Module) -> Tensor:
    """The Euclidean norm over all gradients, a float32 scalar on the model's device."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    norms = torch._foreach_norm([g.float() if g.dtype != torch.float32 else g for g in grads])
    norm: Tensor = torch.linalg.vector_norm(torch.stack(list(norms)))
    return norm
