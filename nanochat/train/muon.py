"""Muon's mathematics: from the gradients of matrices to their update.

All works on stacks (n, rows, columns) of matrices of one shape, so that a step is a few batched matmuls
instead of a loop over layers. A matrix of zeros has an update of zeros.
"""

import torch
from torch import Tensor

# Polar Express, 5 steps (arXiv 2505.16932, algorithm 1; made for singular values down to 1e-3 of the
# largest, with a safety factor 1.02 on all but the last steps).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def _wide(x: Tensor) -> torch.dtype:
    """The type that norms of `x` are summed in: float32 at the least."""
    return torch.promote_types(x.dtype, torch.float32)


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
    rows = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=_wide(x))
    target = torch.linalg.vector_norm(rows, dim=-2, keepdim=True) / x.size(-2) ** 0.5
    scaled: Tensor = x * (target / rows.clamp_min(1e-6)).to(x.dtype)
    return scaled


def polar_express(x: Tensor) -> Tensor:
    """About the nearest semi-orthogonal matrix to each of (n, rows, columns); singular values end near 1.

    X ← aX + X(bA + cA²) with A the Gram matrix of the short side (arXiv 2505.16932).
    """
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True, dtype=_wide(x))
    x = x * (norm * 1.01 + 1e-6).reciprocal().to(x.dtype)
    tall = x.size(-2) > x.size(-1)
    for a, b, c in POLAR_EXPRESS:
        gram = x.mT @ x if tall else x @ x.mT
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, x, poly, beta=a) if tall else torch.baddbmm(x, poly, x, beta=a)
    return x


def reduce_variance(update: Tensor, second: Tensor, beta2: float) -> Tensor:
    """Evens out rows (or columns) by a running mean square; the Frobenius norm is then √min(r, c).

    That norm, which an exactly semi-orthogonal matrix has, is Muon+ (arXiv 2602.21545); the rest is NorMuon
    (arXiv 2510.05491). update: (n, rows, columns) of any float type. `second` (n, rows, 1) or (n, 1, columns)
    float32 is updated in place; it starts at zero and is not bias-corrected. Gives float32.
    """
    dim = -1 if second.size(-1) == 1 else -2
    # All that is wanted of the update is one norm a row (or column): it is read once for these.
    norms = torch.linalg.vector_norm(update, dim=dim, keepdim=True, dtype=_wide(update))
    whole = torch.linalg.vector_norm(norms, dim=(-2, -1), keepdim=True).clamp_min(1e-6)
    gain = min(update.shape[-2:]) ** 0.5 / whole
    mean_square = (norms * gain).square() / update.size(dim)
    second.lerp_(mean_square, 1 - beta2)
    step = second.clamp_min(1e-10).rsqrt()
    before = mean_square.sum(dim=(-2, -1), keepdim=True).sqrt()
    after = (mean_square * step.square()).sum(dim=(-2, -1), keepdim=True).sqrt().clamp_min(1e-10)
    evened: Tensor = update * (gain * step * (before / after))
    return evened


def muon_direction(
    grads: Tensor, buffer: Tensor, second: Tensor, momentum: float, beta2: float, dtype: torch.dtype
) -> Tensor:
    """The update of a stack of matrices, before learning rate and decay.

    grads, buffer: (n, rows, columns) float32; `buffer` and `second` are updated in place. `dtype` is the
    type of the orthogonalisation's matmuls.
    """
    buffer.lerp_(grads, 1 - momentum)
    nesterov = torch.lerp(grads, buffer, momentum)
    return reduce_variance(polar_express(equilibrate_rows(nesterov.to(dtype))), second, beta2)


def cautious_step_(params: Tensor, update: Tensor, lr: float, weight_decay: float) -> None:
    """p ← p − lr·(u + wd·p where u·p ≥ 0): decay only where it agrees with the update. `params` in place."""
    if weight_decay:
        agrees = (update * params).ge_(0)
        params.addcmul_(params, agrees, value=-lr * weight_decay)
    params.sub_(update, alpha=lr)
