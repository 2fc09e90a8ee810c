"""Everything of a run that follows from the depth: width, tokens, batch, steps, rate and decay scales.

Hyperparameters are tuned at depth 12 and a batch of 2¹⁹ tokens and carried to other sizes from there.
"""

import math
from dataclasses import dataclass

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

REFERENCE_DEPTH = 12
REFERENCE_BATCH = 2**19
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
    """What scaling laws count here: block matrices and the padded head; all parameters of a classic model."""
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

    Length: `iterations`, else `target_flops`, else `ratio` tokens a scaling parameter. Batch and decay
    follow the ratio's tokens D even when something else sets the length: B = 2¹⁹·(D/D₁₂)^0.383 to a power
    of two (Power Lines, arXiv 2505.13738), decay × √(B/2¹⁹)·D₁₂/D (arXiv 2405.13698). The classic era knew
    no such scales: its batch is 2¹⁹ where none is given, its rates and decay are as the options say.
    Learning rates scale with (B/2¹⁹)^`lr_exponent`, those of the scalars always with the square root.
    Raises `UserError` when none of the three sets a length.
    """
    params = scaling_parameters(config)
    reference = config_from_depth(
        REFERENCE_DEPTH, config.vocab_size, config.sequence_len, aspect_ratio, head_dim,
        config.window_pattern, config.parts,
    )  # fmt: skip
    # Both numbers of tokens are ratio × parameters, so the ratio itself falls out of their quotient.
    size = params / scaling_parameters(reference)
    classic = config.parts == CLASSIC
    batch = total_batch
    if batch <= 0:
        batch = REFERENCE_BATCH if classic else 2 ** round(math.log2(REFERENCE_BATCH * size**0.383))
    flops = flops_per_token(config)
    if iterations > 0:
        steps = iterations
    elif target_flops > 0:
        steps = round(target_flops / (flops * batch))
    elif ratio > 0:
        steps = int(ratio * params) // batch
    else:
        raise UserError(
            "nothing says how long to train",
            "give --num-iterations, --target-flops or --target-param-data-ratio",
        )
    if steps < 1:
        raise UserError(
            f"that horizon is less than one step of {batch:,} tokens",
            "give a smaller --total-batch-size or a longer horizon",
        )
    if classic:
        return Horizon(batch, steps, 1.0, 1.0, weight_decay, flops, params)
    scale = math.sqrt(batch / REFERENCE_BATCH)
    rates = (batch / REFERENCE_BATCH) ** lr_exponent
    return Horizon(batch, steps, rates, scale, weight_decay * scale / size, flops, params)


def plan_run(options: BaseTrainOptions, vocab_size: int) -> tuple[ModelConfig, Horizon]:
    """The model and the horizon that base_train's options ask for; raises `UserError` as their parts do."""
    config = config_from_depth(
        options.depth, vocab_size, options.max_seq_len, options.aspect_ratio, options.head_dim,
        options.window_pattern, ERAS[options.era],
    )  # fmt: skip
    horizon = plan_horizon(
        config, ratio=options.target_param_data_ratio, weight_decay=options.weight_decay,
        iterations=options.num_iterations, target_flops=options.target_flops,
        total_batch=options.total_batch_size, lr_exponent=options.batch_lr_exponent,
        aspect_ratio=options.aspect_ratio, head_dim=options.head_dim,
    )  # fmt: skip
    return config, horizon
