"""The options of every stage, one dataclass each: the source of the command line, the launch form,
the plan check and a checkpoint's metadata.

Names are the reference's where it has them.
"""

from dataclasses import dataclass

from nanochat.common.paths import CHECKPOINT_FOLDERS
from nanochat.config.options import option

EVAL_TOKENS = 80 * 524_288
"""Validation tokens of one evaluation in pretraining, where there are as many: the reference's."""


@dataclass(frozen=True)
class CheckpointOptions:
    """Which checkpoint is read: what every command that reads one takes."""

    source: str = option(
        "base", "Stage that made the checkpoint", short="-i", group="Model", choices=tuple(CHECKPOINT_FOLDERS)
    )
    model_tag: str = option(
        "", "Name of the checkpoint folder; default the deepest", short="-g", group="Model"
    )
    step: int = option(
        -1, "Step of the checkpoint", minus_one="the last", short="-s", group="Model", minimum=0
    )


@dataclass(frozen=True)
class EvaluationOptions(CheckpointOptions):
    """What every stage that measures a checkpoint takes."""

    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", group="Model", path=True)
    device_type: str = option(
        "", "cpu, cuda or mps; empty: the best that is there", group="Run", choices=("", "cpu", "cuda", "mps")
    )
    dtype: str = option(
        "auto", "Compute type", group="Run", choices=("auto", "float32", "bfloat16", "float16")
    )
    nproc: int = option(1, "Processes on this machine, one a GPU", group="Run", minimum=1, maximum=1024)


@dataclass(frozen=True)
class DataBuildOptions:
    """Pack files and folders into training shards."""

    paths: tuple[str, ...] = option(
        (),
        "Files and folders to pack: text, Markdown, HTML, code, jsonl, parquet, gz",
        group="Input",
        path=True,
        positional=True,
    )
    out: str = option(
        "", "Folder of the shards; default base_data under the base directory", group="Output", path=True
    )
    demo: bool = option(
        False, "Pack the running Python's own text: library sources, docstrings, pydoc topics", group="Input"
    )
    text_key: str = option("text", "Field of the text in jsonl and parquet input", group="Input")
    doc_chars: int = option(
        10_000,
        "Split a file longer than this many characters at blank lines; 0: never. Records stay whole",
        group="Input",
        minimum=0,
    )
    min_chars: int = option(1, "Skip documents shorter than this many characters", group="Input", minimum=1)
    shard_chars: int = option(250_000_000, "Characters in a shard, about", group="Output", minimum=1000)
    row_group: int = option(1024, "Documents in a row group", group="Output", minimum=1)
    val_chars: int = option(
        -1,
        "Characters held out as the validation shard",
        minus_one="one part in twenty, at most one shard",
        group="Output",
        minimum=1,
    )
    seed: int = option(42, "Seed of the document shuffle", group="Output")
    overwrite: bool = option(False, "Replace shards that are already in the folder", group="Output")


@dataclass(frozen=True)
class DataDownloadOptions:
    """Fetch a published set of shards, or the bundle of CORE."""

    dataset: str = option(
        "climbmix", "Which set of shards, or eval-bundle: CORE's tasks",
        choices=("climbmix", "fineweb-edu", "eval-bundle"),
    )  # fmt: skip
    num_files: int = option(
        -1,
        "How many shards from the first on; climbmix adds its validation shard",
        minus_one="all",
        short="-n",
        minimum=0,
    )
    num_workers: int = option(4, "Downloads at a time", short="-w", minimum=1, maximum=64)
    out: str = option("", "Folder of the shards; default the set's own under the base directory", path=True)
    mirror: str = option("", "Address that stands for https://huggingface.co, or the bundle's server")
    retry_wait: float = option(
        2.0, "Seconds before the second of five tries; doubles with each", minimum=0, maximum=600
    )


@dataclass(frozen=True)
class TokTrainOptions:
    """Train the byte-level BPE tokenizer."""

    max_chars: int = option(
        2_000_000_000, "Stop after the document that takes the total over this many characters", minimum=1
    )
    doc_cap: int = option(10_000, "Cut each document at this many characters", minimum=1)
    vocab_size: int = option(
        32_768, "Size of the vocabulary, the 9 special tokens included", minimum=265, maximum=1 << 24
    )
    data_dir: str = option("", "Folder of the shards; default base_data_climbmix, else base_data", path=True)
    tokenizer_dir: str = option("", "Folder to save the tokenizer in; default tokenizer", path=True)


@dataclass(frozen=True)
class TokEvalOptions:
    """Compare the tokenizer with GPT-2's and GPT-4's."""

    data_dir: str = option("", "Folder of the shards; default base_data_climbmix, else base_data", path=True)
    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", path=True)
    vocab_dir: str = option(
        "", "Folder of tiktoken's rank files; default TIKTOKEN_CACHE_DIR, else tiktoken's own", path=True
    )


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
    data_split: str = option(
        "batches",
        "Over several processes: batches (the text one process would read, in its order) or row-groups (each "
        "reads its own: less to tokenize, another order)",
        group="Run", choices=("batches", "row-groups"),
    )  # fmt: skip
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


@dataclass(frozen=True)
class BaseLossOptions(EvaluationOptions):
    """Measure a checkpoint: bits per byte on training and validation text, samples."""

    split_tokens: int = option(20 * 524_288, "Tokens of each split", minimum=1)
    rows: str = option(
        "auto",
        "How rows are made: packed, or cut from a stream of documents; auto: as the model was trained",
        choices=("auto", "packed", "stream"),
    )
    device_batch_size: int = option(32, "Rows in a batch on one device", minimum=1)
    seed: int = option(42, "Seed of the samples")
    data_dir: str = option("", "Folder of the shards; default base_data_climbmix, else base_data", path=True)


@dataclass(frozen=True)
class BaseEvalOptions(EvaluationOptions):
    """Judge a base model: CORE, bits per byte, samples."""

    eval: tuple[str, ...] = option(("core", "bpb", "sample"), "What to do: core, bpb, sample")
    hf_path: str = option(
        "", "Judge a Hugging Face model instead: its folder, or its name in the hub's cache", group="CORE"
    )
    max_per_task: int = option(-1, "Items of each task at the most", minus_one="all", group="CORE", minimum=1)
    tasks: tuple[str, ...] = option((), "Only these tasks, by their labels; CORE needs all", group="CORE")
    bundle: str = option(
        "", "Folder of the CORE bundle; default eval_bundle under the base directory", group="CORE", path=True
    )
    core_optional: bool = option(
        False, "Leave CORE out, with an alert, where its bundle is not there", group="CORE"
    )
    items: str = option("", "Also copy the verdict of every item to this file", group="CORE", path=True)
    split_tokens: int = option(40 * 524_288, "Tokens of each split for bits per byte", minimum=1)
    device_batch_size: int = option(32, "Rows in a batch on one device", minimum=1)
    seed: int = option(42, "Seed of the samples")
    data_dir: str = option("", "Folder of the shards; default base_data_climbmix, else base_data", path=True)


@dataclass(frozen=True)
class TaskDataOptions:
    """Where tasks find what they read."""

    task_data: str = option("", "A folder of data sets that are at hand", group="Tasks", path=True)
    mirror: str = option("", "Address that stands for https://huggingface.co", group="Tasks")
    offline: bool = option(False, "Fetch nothing", group="Tasks")
    words: str = option("", "Word list of the spelling tasks", group="Tasks", path=True)
    data_dir: str = option(
        "", "Shards whose words serve where no word list is there", group="Tasks", path=True
    )
    identity: str = option(
        "", "Template of the Identity task; default identity.toml, else the one that comes along",
        group="Tasks", path=True,
    )  # fmt: skip
    conversations: str = option(
        "", "Your own conversations, JSON lines; default identity_conversations.jsonl", group="Tasks",
        path=True,
    )  # fmt: skip


@dataclass(frozen=True)
class ChatTrainOptions(TaskDataOptions, TrainingOptions):
    """What every stage that trains a chat model takes.

    A learning rate of -1 is the one the checkpoint was trained with, else the stage's; chat_rl has its own.
    """

    model_tag: str = option(
        "", "Name of the checkpoint folder it starts from; default the deepest", short="-g", group="Model"
    )
    model_step: int = option(
        -1,
        "Step of the checkpoint it starts from",
        minus_one="the last",
        short="-s",
        group="Model",
        minimum=0,
    )
    out_tag: str = option("", "Name of the checkpoint folder it writes; default the same", group="Model")
    embedding_lr: float = option(
        -1.0,
        "Learning rate of the embedding",
        minus_one="as before, or the stage's",
        group="Optimizer",
        minimum=0,
    )
    unembedding_lr: float = option(
        -1.0, "Learning rate of the head", minus_one="as before, or the stage's", group="Optimizer", minimum=0
    )
    matrix_lr: float = option(
        -1.0,
        "Learning rate of the matrices (Muon)",
        minus_one="as before, or the stage's",
        group="Optimizer",
        minimum=0,
    )
    scalar_lr: float = option(
        -1.0,
        "Learning rate of the per-layer scalars",
        minus_one="as before, or the stage's",
        group="Optimizer",
        minimum=0,
    )
    weight_decay: float = option(0.0, "Cautious weight decay of the matrices", group="Optimizer", minimum=0)


@dataclass(frozen=True)
class ConversationOptions(ChatTrainOptions):
    """What midtraining and supervised fine-tuning take. -1 is, where nothing else is said, as the model was
    trained before."""

    era: str = option(
        "modern",
        "How it is trained: modern (whole conversations, the optimizer goes on) or classic (autumn 2025)",
        group="Model", choices=("modern", "classic"),
    )  # fmt: skip
    source: str = option(
        "base", "Stage that made the checkpoint it starts from", short="-i", group="Model",
        choices=("base", "mid", "sft"),
    )  # fmt: skip
    load_optimizer: str = option(
        "auto", "Start with the optimizer's state of that checkpoint: 1 yes, 0 no; auto: when modern",
        group="Optimizer", choices=("auto", "1", "0"),
    )  # fmt: skip
    mixture: tuple[str, ...] = option(
        (), "Conversations to train on, NAME/SPLIT:SIZE*EPOCHS by comma; default the stage's own",
        group="Tasks",
    )  # fmt: skip
    val_mixture: tuple[str, ...] = option(
        (), "Conversations held out for bits per byte; default the test splits of the mixture", group="Tasks"
    )
    num_iterations: int = option(
        -1, "Optimizer steps", minus_one="each conversation once", group="Horizon", minimum=1
    )
    max_seq_len: int = option(-1, "Context length in tokens", minus_one="as before", group="Batch", minimum=1)
    device_batch_size: int = option(
        -1,
        "Rows in a micro-batch on one device",
        minus_one="as before, 4 when padded",
        group="Batch",
        minimum=1,
    )
    total_batch_size: int = option(
        -1, "Tokens in an optimizer step", minus_one="as before", group="Batch", minimum=1
    )
    rows: str = option(
        "auto",
        "How rows are made: packed (whole conversations), stream (end to end, every token trained) or padded "
        "(one a row)",
        group="Batch", choices=("auto", "packed", "stream", "padded"),
    )  # fmt: skip
    target_examples_per_step: int = option(
        32, "Conversations in an optimizer step when padded", group="Batch", minimum=1
    )
    init_lr_frac: float = option(
        -1.0,
        "Peak learning rates as a part of the base rates",
        minus_one="the era's",
        group="Optimizer",
        minimum=0,
    )
    warmup_ratio: float = option(
        0.0, "Part of the training in linear warmup", group="Optimizer", minimum=0, maximum=1
    )
    warmdown_ratio: float = option(
        -1.0,
        "Part of the training in linear warmdown",
        minus_one="the era's",
        group="Optimizer",
        maximum=1,
        minimum=0,
    )
    final_lr_frac: float = option(
        0.0, "Learning rate at the end, as a part of the peak", group="Optimizer", minimum=0, maximum=1
    )
    eval_every: int = option(
        200,
        "Steps between evaluations of bits per byte",
        minus_one="at the end only",
        group="Evaluation",
        minimum=1,
    )
    eval_tokens: int = option(
        40 * 524_288, "Validation tokens of one evaluation at the most", group="Evaluation", minimum=1
    )
    chatcore_every: int = option(
        200,
        "Steps between judgements of the chat tasks, one at the end",
        minus_one="none",
        group="Evaluation",
        minimum=1,
    )
    chatcore_tasks: tuple[str, ...] = option(
        (),
        "Chat tasks judged; ChatCORE, the default, is those of its six whose data is at hand",
        group="Evaluation",
    )
    chatcore_max_cat: int = option(
        -1, "Items of each multiple-choice task", minus_one="all", group="Evaluation", minimum=1
    )
    chatcore_max_sample: int = option(
        24, "Items of each task that is answered in words", minus_one="all", group="Evaluation", minimum=1
    )
    sample_every: int = option(
        200, "Steps between samples", minus_one="at the end only", group="Evaluation", minimum=1
    )


@dataclass(frozen=True)
class MidTrainOptions(ConversationOptions):
    """Midtrain: teach a base model conversations, tools and multiple choice."""

    eval_every: int = option(
        150,
        "Steps between evaluations of bits per byte",
        minus_one="at the end only",
        group="Evaluation",
        minimum=1,
    )
    chatcore_every: int = option(
        -1,
        "Steps between judgements of the chat tasks, one at the end",
        minus_one="none",
        group="Evaluation",
        minimum=1,
    )


@dataclass(frozen=True)
class ChatSftOptions(ConversationOptions):
    """Fine-tune a model on conversations."""

    mmlu_epochs: int = option(
        3, "How often MMLU is in the modern stage's own mixture", group="Tasks", minimum=0
    )
    gsm8k_epochs: int = option(
        4, "How often GSM8K is in the modern stage's own mixture", group="Tasks", minimum=0
    )


@dataclass(frozen=True)
class ChatRlOptions(ChatTrainOptions):
    """Reinforce what turns out right: a model's own answers to questions with a known result."""

    source: str = option(
        "sft", "Stage that made the checkpoint it starts from", short="-i", group="Model",
        choices=("base", "mid", "sft", "rl"),
    )  # fmt: skip
    task: str = option("GSM8K", "Questions to train on: GSM8K, Arithmetic, SpellingBee …", group="Tasks")
    num_epochs: int = option(1, "How often each question is asked", group="Horizon", minimum=1)
    num_iterations: int = option(
        -1, "Optimizer steps", minus_one="from the epochs", group="Horizon", minimum=1
    )
    examples_per_step: int = option(
        16, "Questions in an optimizer step, over all processes", group="Batch", minimum=1
    )
    num_samples: int = option(16, "Answers drawn to a question", group="Batch", minimum=2)
    device_batch_size: int = option(
        8, "Answers in one pass of training; also how many are drawn to a held-out question", group="Batch",
        minimum=1,
    )  # fmt: skip
    rollout_rows: int = option(64, "Answers drawn at a time", group="Batch", minimum=1)
    max_new_tokens: int = option(256, "Longest answer", group="Answers", minimum=1)
    temperature: float = option(1.0, "Of the answers", group="Answers", minimum=0)
    top_k: int = option(50, "Draw from the k likeliest; 0: all", group="Answers", minimum=0)
    train_end: bool = option(
        True, "Train the token that ends an answer too; the reference does not", group="Answers"
    )
    init_lr_frac: float = option(
        0.05, "Learning rates at the start, as a part of the base rates", group="Optimizer", minimum=0
    )
    eval_every: int = option(
        60,
        "Steps between judgements on held-out questions",
        minus_one="at the end only",
        group="Evaluation",
        minimum=1,
    )
    eval_examples: int = option(
        400, "Held-out questions of one judgement", minus_one="all", group="Evaluation", minimum=1
    )
    sample_every: int = option(10, "Steps between samples", minus_one="none", group="Evaluation", minimum=1)
    save_every: int = option(
        60, "Steps between checkpoints", minus_one="at the end only", group="Checkpoint", minimum=1
    )


@dataclass(frozen=True)
class ChatEvalOptions(TaskDataOptions, EvaluationOptions):
    """Judge a chat model on its tasks."""

    source: str = option(
        "sft", "Stage that made the checkpoint", short="-i", group="Model", choices=tuple(CHECKPOINT_FOLDERS)
    )
    task_name: tuple[str, ...] = option(
        (),
        "Tasks, by comma; ChatCORE, the default, is those of its six whose data is at hand",
        short="-a",
        group="Tasks",
    )
    max_problems: int = option(
        -1, "Items of each task", minus_one="all", short="-x", group="Tasks", minimum=1
    )
    temperature: float = option(0.0, "Of sampled answers; 0: greedy", short="-t", group="Answers", minimum=0)
    max_new_tokens: int = option(512, "Longest answer", short="-m", group="Answers", minimum=1)
    num_samples: int = option(
        1, "Answers to an item; one right is enough", short="-n", group="Answers", minimum=1
    )
    top_k: int = option(50, "Draw from the k likeliest; 0: all", short="-k", group="Answers", minimum=0)
    batch_size: int = option(8, "Items at a time", short="-b", group="Answers", minimum=1)
    items: str = option("", "Copy the record of every item to this file", group="Answers", path=True)
