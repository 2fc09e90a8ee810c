"""Options of every stage that trains a model, and of pretraining.

Names are those of upstream nanochat where it has them.
"""

from dataclasses import dataclass

from nanochat.config.options import option

EVAL_TOKENS = 80 * 524_288
"""Validation tokens of one evaluation in pretraining, where there are as many: the reference's."""


@dataclass(frozen=True)
class TrainingOptions:
    """What every stage that trains a model takes."""

    run: str = option("", "A name for the run, shown in tables", group="Run")
    device_type: str = option(
        "", "cpu, cuda or mps; empty: the best that is there", group="Run", choices=("", "cpu", "cuda", "mps")
    )
    dtype: str = option(
        "auto", "Compute type; float16 scales the loss", group="Run",
        choices=("auto", "float32", "bfloat16", "float16"),
    )  # fmt: skip
    compile: str = option(
        "auto", "torch.compile: auto, on or off", group="Run", choices=("auto", "on", "off")
    )
    seed: int = option(42, "Seed of what is drawn", group="Run")
    nproc: int = option(1, "Processes on this machine, one a GPU", group="Run", minimum=1, maximum=1024)
    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", group="Model", path=True)
    grad_clip: float = option(
        0.0, "Scale gradients down to this norm; 0: never", group="Optimizer", minimum=0
    )
    save_every: int = option(
        -1, "Steps between checkpoints", minus_one="at the end only", group="Checkpoint", minimum=1
    )
    keep_last: int = option(
        -1,
        "Keep this many of the run's checkpoints, the newest",
        minus_one="all",
        group="Checkpoint",
        minimum=1,
    )
    resume: bool = option(
        False, "Go on from the newest whole checkpoint of the tag it writes", group="Checkpoint"
    )
    resume_from_step: int = option(
        -1, "Go on from this step's checkpoint", minus_one="none", group="Checkpoint", minimum=0
    )
    wandb: bool = option(False, "Mirror the metrics to Weights & Biases", group="Tracking")
    wandb_project: str = option("nanochat", "Project there", group="Tracking")


@dataclass(frozen=True)
class BaseTrainOptions(TrainingOptions):
    """Pretrain a base model."""

    fp8: bool = option(
        False, "Multiply in float8 while training, on GPUs of the Hopper generation or newer", group="Run"
    )
    attention: str = option(
        "auto", "Attention kernel; auto: the fastest that is there", group="Run",
        choices=("auto", "fa3", "flex", "sdpa"),
    )  # fmt: skip
    data_dir: str = option(
        "", "Folder of the shards; default base_data_climbmix, else base_data", group="Run", path=True
    )
    shard_by: str = option(
        "batches",
        "Over several processes: batches (the text one process would read, in its order) or row-groups (each "
        "reads its own: less to tokenize, another order)",
        group="Run",
        choices=("batches", "row-groups"),
        aliases=("data_split",),
    )
    model_tag: str = option("", "Name of the checkpoint folder; default d<depth>", group="Model")
    era: str = option(
        "modern",
        "Architecture and optimizer: modern, or classic (autumn 2025; its rates are given by the options)",
        group="Model",
        choices=("modern", "classic"),
    )
    depth: int = option(
        20, "Number of Transformer layers, the one dial of size", group="Model", minimum=1, maximum=1000
    )
    aspect_ratio: int = option(
        64, "Width = depth × this, rounded up to a multiple of head-dim", group="Model", minimum=1
    )
    head_dim: int = option(128, "Channels of an attention head", group="Model", minimum=8)
    max_seq_len: int = option(2048, "Context length in tokens", group="Model", minimum=2)
    window_pattern: str = option(
        "SSSL", "Attention windows tiled over layers: L whole context, S a quarter", group="Model"
    )
    num_iterations: int = option(
        -1, "Optimizer steps", minus_one="from the FLOPs or the ratio", group="Horizon", minimum=1
    )
    target_flops: float = option(
        -1.0, "Train for this many FLOPs", minus_one="from the ratio", group="Horizon", minimum=1
    )
    target_param_data_ratio: float = option(12.0, "Tokens per scaling parameter", group="Horizon", minimum=0)
    device_batch_size: int = option(32, "Rows in a micro-batch on one device", group="Batch", minimum=1)
    total_batch_size: int = option(
        -1, "Tokens in an optimizer step", minus_one="from the model's size", group="Batch", minimum=1
    )
    overfit_one_batch: bool = option(
        False, "Train on the first batch again and again: a sound model learns it by heart", group="Batch"
    )
    embedding_lr: float = option(0.3, "Learning rate of the embedding", group="Optimizer", minimum=0)
    unembedding_lr: float = option(0.008, "Learning rate of the head", group="Optimizer", minimum=0)
    matrix_lr: float = option(0.02, "Learning rate of the matrices (Muon)", group="Optimizer", minimum=0)
    scalar_lr: float = option(0.5, "Learning rate of the per-layer scalars", group="Optimizer", minimum=0)
    weight_decay: float = option(0.28, "Cautious weight decay of the matrices", group="Optimizer", minimum=0)
    batch_lr_exponent: float = option(
        0.5,
        "Rates of matrices, tables and head × (batch/2^19)^this; 0.125 learns faster in short runs of small "
        "batches",
        group="Optimizer",
        minimum=0,
        maximum=1,
    )
    warmup_steps: int = option(40, "Steps of linear warmup", group="Optimizer", minimum=0)
    warmdown_ratio: float = option(
        0.65, "Part of the steps in linear warmdown", group="Optimizer", minimum=0, maximum=1
    )
    final_lr_frac: float = option(
        0.05, "Learning rate at the end, as a part of the peak", group="Optimizer", minimum=0, maximum=1
    )
    eval_every: int = option(
        250,
        "Steps between evaluations of bits per byte",
        minus_one="at the end only",
        group="Evaluation",
        minimum=1,
    )
    eval_tokens: int = option(
        -1,
        "Validation tokens of one evaluation",
        minus_one=f"the text read once, at most {EVAL_TOKENS:,}",
        group="Evaluation",
        minimum=1,
    )
    sample_every: int = option(
        2000, "Steps between samples", minus_one="at the end only", group="Evaluation", minimum=1
    )
    core_metric_every: int = option(
        2000,
        "Steps between CORE evaluations, one at the end",
        minus_one="none",
        group="Evaluation",
        minimum=1,
    )
    core_metric_max_per_task: int = option(
        500, "Items of each CORE task", minus_one="all", group="Evaluation", minimum=1
    )
    keep_best: bool = option(
        False, "With --keep-last, keep the best by bits per byte as well", group="Checkpoint"
    )
    init_from: str = option(
        "", "Start from the weights in this safetensors file", group="Checkpoint", path=True
    )

    def evaluation_tokens(self, text: int | None = None) -> int:
        """Tokens of one evaluation, at the most: as asked, else those of the validation text, if known."""
        if self.eval_tokens > 0:
            return self.eval_tokens
        return EVAL_TOKENS if text is None else min(EVAL_TOKENS, text)
