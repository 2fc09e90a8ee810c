"""Everything of a run that follows from the depth: width, tokens, batch, steps, scales of rates and decay.

Hyperparameters were tuned by upstream nanochat (karpathy/nanochat) at depth 12 and a batch of 2¹⁹ tokens, and
are carried to other sizes from there.
"""

import math
from dataclasses import dataclass, replace

from nanochat.common.errors import UserError
from nanochat.config.train_options import BaseTrainOptions
from nanochat.model.architecture import (
    CLASSIC,
    MODERN,
    ArchitectureFlags,
    ModelConfig,
    flops_per_token,
    parameter_counts,
)

REFERENCE_DEPTH, REFERENCE_BATCH = 12, 2**19
"""Where hyperparameters were tuned: depth, and tokens in an optimizer step."""
BATCH_EXPONENT = 0.383
"""Of the batch in the tokens trained on: B ∝ D^0.383 (Power Lines, arXiv 2505.13738)."""
ERAS = {"modern": MODERN, "classic": CLASSIC}
"""Architectures by the name an option gives them."""


def config_from_depth(
    depth: int,
    vocab_size: int,
    sequence_len: int,
    aspect_ratio: int = 64,
    head_dim: int = 128,
    window_pattern: str = "SSSL",
    parts: ArchitectureFlags = MODERN,
) -> ModelConfig:
    """The model of a depth: width = depth × aspect ratio, rounded up to whole heads.

    A classic model's width is not rounded; its heads are the fewest of at most `head_dim` channels.
    Raises `UserError` where they do not share the width evenly.
    """
    width = depth * aspect_ratio
    heads = -(-width // head_dim)
    if parts != CLASSIC:
        width = heads * head_dim
    return ModelConfig(
        sequence_len=sequence_len,
        vocab_size=vocab_size,
        n_layer=depth,
        n_head=heads,
        n_kv_head=heads,
        n_embd=width,
        window_pattern=window_pattern,
        parts=parts,
    )


def scaling_parameters(config: ModelConfig) -> int:
    """The parameters that scaling laws count, as upstream: block matrices and padded head; classic: all."""
    counts = parameter_counts(config)
    if config.parts == CLASSIC:
        return counts["total"]
    return counts["matrices"] + counts["lm_head"]


@dataclass(frozen=True)
class Horizon:
    """How long and how to train."""

    total_batch: int
    """Tokens in an optimizer step."""
    steps: int
    lr_scale: float
    """(B/2¹⁹)^exponent on the learning rates of matrices, tables and head; √(B/2¹⁹) by default."""
    scalar_lr_scale: float
    """√(B/2¹⁹) on the learning rates of the per-layer scalars."""
    weight_decay: float
    flops_per_token: int
    scaling_params: int

    @property
    def tokens(self) -> int:
        return self.total_batch * self.steps


def plan_horizon(
    config: ModelConfig,
    *,
    ratio: float,
    weight_decay: float,
    iterations: int = -1,
    target_flops: float = -1.0,
    total_batch: int = -1,
    lr_exponent: float = 0.5,
    aspect_ratio: int = 64,
    head_dim: int = 128,
) -> Horizon:
    """Batch, steps and scales of a run.

    Length: `iterations`, else `target_flops`, else `ratio` tokens a scaling parameter. `total_batch` and
    learning rates scale as in `default_batch` and `scaled`; the classic era did not scale them. Raises
    `UserError` when none of the three sets a length.
    """
    size = relative_size(config, aspect_ratio, head_dim)
    batch = total_batch if total_batch > 0 else default_batch(config, size)
    steps = number_of_steps(config, batch, ratio, iterations, target_flops)
    unscaled = Horizon(
        total_batch=batch,
        steps=steps,
        lr_scale=1.0,
        scalar_lr_scale=1.0,
        weight_decay=weight_decay,
        flops_per_token=flops_per_token(config),
        scaling_params=scaling_parameters(config),
    )
    return unscaled if config.parts == CLASSIC else scaled(unscaled, size, lr_exponent)


def relative_size(config: ModelConfig, aspect_ratio: int, head_dim: int) -> float:
    """Scaling parameters over those of depth 12; also D/D₁₂, as both train on ratio × parameters tokens."""
    reference = config_from_depth(
        REFERENCE_DEPTH,
        config.vocab_size,
        config.sequence_len,
        aspect_ratio=aspect_ratio,
        head_dim=head_dim,
        window_pattern=config.window_pattern,
        parts=config.parts,
    )
    return scaling_parameters(config) / scaling_parameters(reference)


def default_batch(config: ModelConfig, size: float) -> int:
    """Tokens in an optimizer step: 2¹⁹·(D/D₁₂)^0.383, to a power of two; 2¹⁹ in the classic era.

    D is the tokens of the ratio even when something else sets the length, so that the batch is the model's.
    """
    if config.parts == CLASSIC:
        return REFERENCE_BATCH
    # A power of two divides into micro-batches of powers of two on any usual number of GPUs.
    return int(2 ** round(math.log2(REFERENCE_BATCH * size**BATCH_EXPONENT)))


def number_of_steps(
    config: ModelConfig, batch: int, ratio: float, iterations: int, target_flops: float
) -> int:
    """Optimizer steps. Raises `UserError` for no length, or one of less than a step."""
    if iterations > 0:
        steps = iterations
    elif target_flops > 0:
        steps = round(target_flops / (flops_per_token(config) * batch))
    elif ratio > 0:
        steps = int(ratio * scaling_parameters(config)) // batch
    else:
        raise UserError(
            "no option says how long to train",
            "give --num-iterations, --target-flops or --target-param-data-ratio",
        )
    if steps < 1:
        raise UserError(
            f"that horizon is less than one step of {batch:,} tokens",
            "give a smaller --total-batch-size or a longer horizon",
        )
    return steps


def scaled(horizon: Horizon, size: float, lr_exponent: float) -> Horizon:
    """`horizon` with rates and decay carried from depth 12 and a batch of 2¹⁹.

    Learning rates × (B/2¹⁹)^`lr_exponent`, those of the scalars always with the square root, the rule for
    Adam-like optimizers (arXiv 2205.10287); decay × √(B/2¹⁹)·D₁₂/D, which keeps the time scale of AdamW's
    average over weights a constant part of the training (arXiv 2405.13698).
    """
    root = math.sqrt(horizon.total_batch / REFERENCE_BATCH)
    return replace(
        horizon,
        lr_scale=(horizon.total_batch / REFERENCE_BATCH) ** lr_exponent,
        scalar_lr_scale=root,
        weight_decay=horizon.weight_decay * root / size,
    )


def plan_run(options: BaseTrainOptions, vocab_size: int) -> tuple[ModelConfig, Horizon]:
    """The model and the horizon of base_train's options; raises `UserError` as their parts do."""
    config = config_from_depth(
        options.depth,
        vocab_size,
        options.max_seq_len,
        aspect_ratio=options.aspect_ratio,
        head_dim=options.head_dim,
        window_pattern=options.window_pattern,
        parts=ERAS[options.era],
    )
    horizon = plan_horizon(
        config,
        ratio=options.target_param_data_ratio,
        weight_decay=options.weight_decay,
        iterations=options.num_iterations,
        target_flops=options.target_flops,
        total_batch=options.total_batch_size,
        lr_exponent=options.batch_lr_exponent,
        aspect_ratio=options.aspect_ratio,
        head_dim=options.head_dim,
    )
    return config, horizon
