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
POLAR_MARGIN = 1.01
"""X is divided by this times its Frobenius norm, which bounds the largest singular value: rounding in
bfloat16 may lift a singular value of 1 over it, where the polynomials no longer converge."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Quintic coefficients of the first Muon (Keller Jordan, "Muon", 2024): as steep at 0 as can be while
singular values end near 1, between 0.7 and 1.2, which trains as well as exactly 1."""

NORM_FLOOR = 1e-6
"""Added to norms or put in place of smaller ones: matrices and rows of zeros stay zeros."""
MOMENT_FLOOR = 1e-10
"""The same for second moments, which are squares."""


def _wide(x: Tensor) -> torch.dtype:
    """The type that norms of `x` are summed in: float32 at the least."""
    return torch.promote_types(x.dtype, torch.float32)


# -- the modern era --------------------------------------------------------------------------------


def muon_direction(
    grads: Tensor, buffer: Tensor, second: Tensor, momentum: float, beta2: float, dtype: torch.dtype
) -> Tensor:
    """The update of a stack of matrices, before learning rate and decay.

    grads, buffer: (n, rows, columns) float32; `buffer` and `second` are updated in place. `dtype` is the
    type of the orthogonalisation's matmuls.
    """
    buffer.lerp_(grads, 1 - momentum)
    # Nesterov momentum as a second interpolation: this step's gradient counts once more.
    nesterov = torch.lerp(grads, buffer, momentum)  # (n, rows, columns)
    return reduce_variance(polar_express(equilibrate_rows(nesterov.to(dtype))), second, beta2)


def equilibrate_rows(x: Tensor) -> Tensor:
    """Rescales each row of (n, rows, columns) to the RMS row norm ‖X‖_F/√rows (MuonEq, arXiv 2603.28254)."""
    norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=_wide(x))  # (n, rows, 1)
    target = torch.linalg.vector_norm(norms, dim=-2, keepdim=True) / x.size(-2) ** 0.5  # (n, 1, 1)
    scaled: Tensor = x * (target / norms.clamp_min(NORM_FLOOR)).to(x.dtype)
    return scaled


def polar_express(x: Tensor) -> Tensor:
    """About the nearest semi-orthogonal matrix to each of (n, rows, columns); singular values end near 1.

    X ← aX + X(bA + cA²) with A the Gram matrix of the short side (arXiv 2505.16932).
    """
    norm = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True, dtype=_wide(x))  # (n, 1, 1)
    x = x * (norm * POLAR_MARGIN + NORM_FLOOR).reciprocal().to(x.dtype)
    tall = x.size(-2) > x.size(-1)
    for a, b, c in POLAR_EXPRESS:
        # The smaller of both Gram matrices has the same non-zero singular values and costs less.
        gram = x.mT @ x if tall else x @ x.mT  # (n, s, s) with s = min(rows, columns)
        poly = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # bA + cA²
        x = torch.baddbmm(x, x, poly, beta=a) if tall else torch.baddbmm(x, poly, x, beta=a)
    return x


def reduce_variance(update: Tensor, second: Tensor, beta2: float) -> Tensor:
    """Evens out rows (or columns) by a running mean square; the Frobenius norm is then √min(r, c).

    That norm, which an exactly semi-orthogonal matrix has, is Muon+ (arXiv 2602.21545); the rest is NorMuon
    (arXiv 2510.05491). update: (n, rows, columns) of any float type. `second` (n, rows, 1) or (n, 1, columns)
    float32 is updated in place; it starts at zero and is not bias-corrected. Gives float32.
    """
    dim = -1 if second.size(-1) == 1 else -2
    # All that is needed of the update is one norm a row (or column): it is read once for these.
    norms = torch.linalg.vector_norm(update, dim=dim, keepdim=True, dtype=_wide(update))  # as `second`
    whole = torch.linalg.vector_norm(norms, dim=(-2, -1), keepdim=True).clamp_min(NORM_FLOOR)  # (n, 1, 1)
    gain = min(update.shape[-2:]) ** 0.5 / whole
    mean_square = (norms * gain).square() / update.size(dim)
    second.lerp_(mean_square, 1 - beta2)
    step = second.clamp_min(MOMENT_FLOOR).rsqrt()
    # Without a bias correction `step` is too large at first; restoring the norm takes any common factor out.
    before = mean_square.sum(dim=(-2, -1), keepdim=True).sqrt()
    after = (mean_square * step.square()).sum(dim=(-2, -1), keepdim=True).sqrt().clamp_min(MOMENT_FLOOR)
    evened: Tensor = update * (gain * step * (before / after))  # (n, rows, columns)
    return evened


def cautious_step_(params: Tensor, update: Tensor, lr: float, weight_decay: float) -> None:
    """p ← p − lr·(u + wd·p where u·p ≥ 0), in place: decay only where it agrees with the update.

    Cautious weight decay (arXiv 2510.12402). params, update: (n, rows, columns).
    """
    if weight_decay:
        agrees = (update * params).ge_(0)
        params.addcmul_(params, agrees, value=-lr * weight_decay)
    params.sub_(update, alpha=lr)


# -- the classic era -------------------------------------------------------------------------------


def classic_direction(grads: Tensor, buffer: Tensor, momentum: float, dtype: torch.dtype) -> Tensor:
    """The first Muon's update of a stack of matrices (n, rows, columns); `buffer` is updated in place."""
    buffer.lerp_(grads, 1 - momentum)
    return newton_schulz(torch.lerp(grads, buffer, momentum).to(dtype)).float()


def newton_schulz(x: Tensor, steps: int = 5) -> Tensor:
    """Roughly the nearest semi-orthogonal matrix to each of (n, rows, columns): the classic era's way."""
    a, b, c = NEWTON_SCHULZ
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x  # (n, s, l), the short side first
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)  # singular values of at most 1
    for _ in range(steps):
        gram = x @ x.mT  # (n, s, s)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
