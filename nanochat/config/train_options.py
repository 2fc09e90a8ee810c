"""Options of every stage that trains a model, and of pretraining.

Names are those of upstream nanochat (karpathy's) where it has them.
"""

from dataclasses import dataclass

from nanochat.config.options import option

EVAL_TOKENS = 80 * 524_288
"""Most validation tokens of one evaluation in pretraining, as in upstream nanochat."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options of every stage that trains a model."""

    run: str = option("", "Name of the run, shown in tables", group="Run")
    device_type: str = option(
        "",
        "Device to run on; default the best available",
        group="Run",
        choices=("", "cpu", "cuda", "mps"),
    )
    dtype: str = option(
        "auto",
        "Data type to compute in; float16 uses loss scaling",
        group="Run",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    compile: str = option("auto", "Whether to use torch.compile", group="Run", choices=("auto", "on", "off"))
    seed: int = option(42, "Random seed", group="Run")
    nproc: int = option(
        1,
        "Processes to start on this machine, one per GPU",
        group="Run",
        minimum=1,
        maximum=1024,
    )
    tokenizer_dir: str = option(
        "",
        "Folder with the tokenizer; default tokenizer under the base directory",
        group="Model",
        path=True,
    )
    grad_clip: float = option(
        0.0,
        "Clip the gradient norm to this; 0: no clipping",
        group="Optimizer",
        minimum=0,
    )
    save_every: int = option(
        -1,
        "Steps between checkpoints",
        minus_one="at the end only",
        group="Checkpoint",
        minimum=1,
    )
    keep_last: int = option(
        -1,
        "Keep only this many of the run's newest checkpoints",
        minus_one="all",
        group="Checkpoint",
        minimum=1,
    )
    save_patience: float = option(
        60.0,
        "Seconds a checkpoint that cannot be written at the end, or on a stop, is tried again",
        group="Checkpoint",
        minimum=0,
    )
    overwrite: bool = option(
        False,
        "Replace the checkpoints that other runs have at the same steps of the tag",
        group="Checkpoint",
    )
    resume: bool = option(
        False,
        "Resume from the newest complete checkpoint of the tag it writes",
        group="Checkpoint",
    )
    resume_from_step: int = option(
        -1,
        "Resume from the checkpoint of this step",
        minus_one="none",
        group="Checkpoint",
        minimum=0,
    )
    wandb: bool = option(False, "Also log the metrics to Weights & Biases", group="Tracking")
    wandb_project: str = option("nanochat", "Weights & Biases project", group="Tracking")


@dataclass(frozen=True)
class BaseTrainOptions(TrainingOptions):
    """Pretrain a base model."""

    fp8: bool = option(False, "Train the matrix products in float8; needs a Hopper GPU or newer", group="Run")
    attention: str = option(
        "auto",
        "Attention kernel; auto: the fastest available",
        group="Run",
        choices=("auto", "fa3", "flex", "sdpa"),
    )
    data_dir: str = option(
        "",
        "Folder with the shards; default base_data_climbmix, else base_data",
        group="Run",
        path=True,
    )
    shard_by: str = option(
        "batches",
        "How processes share the data: by batches (the same text and order as one process) or by row "
        "groups (each tokenizes only its own, in another order)",
        group="Run",
        choices=("batches", "row-groups"),
        aliases=("data_split",),
    )
    long_documents: str = option(
        "auto",
        "What does not fit a row of the context: crop (upstream nanochat's rule: the rest is dropped) or "
        "continue (the rest goes into the next row); auto: continue where cropping would drop over half",
        group="Run",
        choices=("auto", "crop", "continue"),
    )
    model_tag: str = option("", "Name of the checkpoint folder; default d<depth>", group="Model")
    era: str = option(
        "modern",
        "Architecture and optimizer: modern, or classic (autumn 2025; set its learning rates by the options)",
        group="Model",
        choices=("modern", "classic"),
    )
    depth: int = option(
        20,
        "Number of Transformer layers; every other size follows from it",
        group="Model",
        minimum=1,
        maximum=1000,
    )
    aspect_ratio: int = option(
        64,
        "Width = depth × this, rounded up to a multiple of head-dim",
        group="Model",
        minimum=1,
    )
    head_dim: int = option(128, "Channels per attention head", group="Model", minimum=8)
    max_seq_len: int = option(2048, "Context length in tokens", group="Model", minimum=2)
    window_pattern: str = option(
        "SSSL",
        "Attention windows, tiled over the layers: L full context, S a quarter of it",
        group="Model",
    )
    num_iterations: int = option(
        -1,
        "Optimizer steps",
        minus_one="from target-flops or the ratio",
        group="Horizon",
        minimum=1,
    )
    target_flops: float = option(
        -1.0,
        "Train for this many FLOPs",
        minus_one="from the ratio",
        group="Horizon",
        minimum=1,
    )
    target_param_data_ratio: float = option(12.0, "Tokens per scaling parameter", group="Horizon", minimum=0)
    device_batch_size: int = option(32, "Rows per micro-batch on one device", group="Batch", minimum=1)
    total_batch_size: int = option(
        -1,
        "Tokens per optimizer step",
        minus_one="from the model's size",
        group="Batch",
        minimum=1,
    )
    overfit_one_batch: bool = option(
        False,
        "Train on the first batch only: a correct model memorizes it",
        group="Batch",
    )
    embedding_lr: float = option(0.3, "Learning rate of the embedding", group="Optimizer", minimum=0)
    unembedding_lr: float = option(0.008, "Learning rate of the head", group="Optimizer", minimum=0)
    matrix_lr: float = option(0.02, "Learning rate of the matrices (Muon)", group="Optimizer", minimum=0)
    scalar_lr: float = option(0.5, "Learning rate of the per-layer scalars", group="Optimizer", minimum=0)
    weight_decay: float = option(0.28, "Cautious weight decay of the matrices", group="Optimizer", minimum=0)
    batch_lr_exponent: float = option(
        0.5,
        "Scale learning rates by (batch tokens / 2^19)^this; 0.125 learns faster in short runs of small "
        "batches",
        group="Optimizer",
        minimum=0,
        maximum=1,
    )
    warmup_steps: int = option(40, "Steps of linear warmup", group="Optimizer", minimum=0)
    warmdown_ratio: float = option(
        0.65,
        "Fraction of the steps in linear warmdown",
        group="Optimizer",
        minimum=0,
        maximum=1,
    )
    final_lr_frac: float = option(
        0.05,
        "Final learning rate as a fraction of the peak",
        group="Optimizer",
        minimum=0,
        maximum=1,
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
        "Validation tokens per evaluation",
        minus_one=f"the text read once, at most {EVAL_TOKENS:,}",
        group="Evaluation",
        minimum=1,
    )
    sample_every: int = option(
        2000,
        "Steps between samples",
        minus_one="at the end only",
        group="Evaluation",
        minimum=1,
    )
    core_metric_every: int = option(
        2000,
        "Steps between CORE evaluations, with one at the end",
        minus_one="none",
        group="Evaluation",
        minimum=1,
    )
    core_metric_max_per_task: int = option(
        500,
        "Items per CORE task",
        minus_one="all",
        group="Evaluation",
        minimum=1,
    )
    keep_best: bool = option(
        False,
        "With --keep-last, also keep the checkpoint with the lowest bits per byte",
        group="Checkpoint",
    )
    init_from: str = option(
        "",
        "Initialize the weights from this safetensors file",
        group="Checkpoint",
        path=True,
    )

    def evaluation_tokens(self, text: int | None = None) -> int:
        """Most tokens of one evaluation: as asked, else those of the validation text, if known."""
        if self.eval_tokens > 0:
            return self.eval_tokens
        return EVAL_TOKENS if text is None else min(EVAL_TOKENS, text)
