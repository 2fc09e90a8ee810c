"""Options of midtraining, fine-tuning and reinforcement learning, and of the tasks they read."""

from dataclasses import dataclass

from nanochat.config.options import option
from nanochat.config.train_options import TrainingOptions


@dataclass(frozen=True)
class TaskDataOptions:
    """Where tasks find their data."""

    task_data: str = option("", "Folder with data sets already on disk", group="Tasks", path=True)
    mirror: str = option("", "URL to use instead of https://huggingface.co", group="Tasks")
    offline: bool = option(False, "Download nothing", group="Tasks")
    words: str = option("", "Word list for the spelling tasks", group="Tasks", path=True)
    data_dir: str = option(
        "",
        "Shards to take words from where there is no word list",
        group="Tasks",
        path=True,
    )
    identity: str = option(
        "",
        "Template of the Identity task; default identity.toml, else the built-in one",
        group="Tasks",
        path=True,
    )
    conversations: str = option(
        "",
        "Your own conversations as JSON lines; default identity_conversations.jsonl",
        group="Tasks",
        path=True,
    )


@dataclass(frozen=True)
class ChatTrainOptions(TaskDataOptions, TrainingOptions):
    """Options of every stage that trains a chat model.

    A learning rate of -1 is the one the checkpoint was trained with, else the stage's; chat_rl has its own.
    """

    model_tag: str = option(
        "",
        "Name of the checkpoint folder to start from; default the deepest model's",
        short="-g",
        group="Model",
    )
    model_step: int = option(
        -1,
        "Step of the checkpoint to start from",
        minus_one="the latest",
        short="-s",
        group="Model",
        minimum=0,
    )
    out_tag: str = option("", "Name of the checkpoint folder to write; default the same", group="Model")
    embedding_lr: float = option(
        -1.0,
        "Learning rate of the embedding",
        minus_one="the checkpoint's, else the stage's",
        group="Optimizer",
        minimum=0,
    )
    unembedding_lr: float = option(
        -1.0,
        "Learning rate of the head",
        minus_one="the checkpoint's, else the stage's",
        group="Optimizer",
        minimum=0,
    )
    matrix_lr: float = option(
        -1.0,
        "Learning rate of the matrices (Muon)",
        minus_one="the checkpoint's, else the stage's",
        group="Optimizer",
        minimum=0,
    )
    scalar_lr: float = option(
        -1.0,
        "Learning rate of the per-layer scalars",
        minus_one="the checkpoint's, else the stage's",
        group="Optimizer",
        minimum=0,
    )
    weight_decay: float = option(0.0, "Cautious weight decay of the matrices", group="Optimizer", minimum=0)


@dataclass(frozen=True)
class ConversationOptions(ChatTrainOptions):
    """Options of midtraining and supervised fine-tuning."""

    era: str = option(
        "modern",
        "Training recipe: modern (whole conversations, optimizer state kept) or classic (autumn 2025)",
        group="Model",
        choices=("modern", "classic"),
    )
    source: str = option(
        "base",
        "Stage that wrote the checkpoint to start from",
        short="-i",
        group="Model",
        choices=("base", "mid", "sft"),
    )
    load_optimizer: bool | None = option(
        None,
        "Load that checkpoint's optimizer state; default: in the modern era only",
        group="Optimizer",
    )
    mixture: tuple[str, ...] = option(
        (),
        "Conversations to train on, as NAME/SPLIT:SIZE*EPOCHS,…; default the stage's own mixture",
        group="Tasks",
    )
    val_mixture: tuple[str, ...] = option(
        (),
        "Conversations for validation bits per byte; default the mixture's test splits",
        group="Tasks",
    )
    num_iterations: int = option(-1, "Optimizer steps", minus_one="one epoch", group="Horizon", minimum=1)
    max_seq_len: int = option(
        -1,
        "Context length in tokens",
        minus_one="the checkpoint's",
        group="Batch",
        minimum=1,
    )
    device_batch_size: int = option(
        -1,
        "Rows per micro-batch on one device",
        minus_one="the checkpoint's, 4 when padded",
        group="Batch",
        minimum=1,
    )
    total_batch_size: int = option(
        -1,
        "Tokens per optimizer step",
        minus_one="the checkpoint's",
        group="Batch",
        minimum=1,
    )
    rows: str = option(
        "auto",
        "How rows are built: packed (whole conversations), stream (end to end, every token trained) or "
        "padded (one per row)",
        group="Batch",
        choices=("auto", "packed", "stream", "padded"),
    )
    target_examples_per_step: int = option(
        32,
        "Conversations per optimizer step when rows are padded",
        group="Batch",
        minimum=1,
    )
    init_lr_frac: float = option(
        -1.0,
        "Peak learning rates as a fraction of the base rates",
        minus_one="the era's",
        group="Optimizer",
        minimum=0,
    )
    warmup_ratio: float = option(
        0.0,
        "Fraction of the training in linear warmup",
        group="Optimizer",
        minimum=0,
        maximum=1,
    )
    warmdown_ratio: float = option(
        -1.0,
        "Fraction of the training in linear warmdown",
        minus_one="the era's",
        group="Optimizer",
        maximum=1,
        minimum=0,
    )
    final_lr_frac: float = option(
        0.0,
        "Final learning rate as a fraction of the peak",
        group="Optimizer",
        minimum=0,
        maximum=1,
    )
    eval_every: int = option(
        200,
        "Steps between evaluations of bits per byte",
        minus_one="at the end only",
        group="Evaluation",
        minimum=1,
    )
    eval_tokens: int = option(
        40 * 524_288,
        "Maximum validation tokens per evaluation",
        group="Evaluation",
        minimum=1,
    )
    chatcore_every: int = option(
        200,
        "Steps between evaluations of the chat tasks, with one at the end",
        minus_one="none",
        group="Evaluation",
        minimum=1,
    )
    chatcore_tasks: tuple[str, ...] = option(
        (),
        "Chat tasks to evaluate; default those of ChatCORE's six whose data is available",
        group="Evaluation",
    )
    chatcore_max_cat: int = option(
        -1,
        "Items per multiple-choice task",
        minus_one="all",
        group="Evaluation",
        minimum=1,
    )
    chatcore_max_sample: int = option(
        24,
        "Items per generative task",
        minus_one="all",
        group="Evaluation",
        minimum=1,
    )
    sample_every: int = option(
        200,
        "Steps between samples",
        minus_one="at the end only",
        group="Evaluation",
        minimum=1,
    )


@dataclass(frozen=True)
class MidTrainOptions(ConversationOptions):
    """Midtrain a base model on conversations, tool use and multiple choice."""

    eval_every: int = option(
        150,
        "Steps between evaluations of bits per byte",
        minus_one="at the end only",
        group="Evaluation",
        minimum=1,
    )
    chatcore_every: int = option(
        -1,
        "Steps between evaluations of the chat tasks, with one at the end",
        minus_one="none",
        group="Evaluation",
        minimum=1,
    )


@dataclass(frozen=True)
class ChatSftOptions(ConversationOptions):
    """Fine-tune a model on conversations."""

    mmlu_epochs: int = option(3, "Epochs of MMLU in the modern stage's own mixture", group="Tasks", minimum=0)
    gsm8k_epochs: int = option(
        4,
        "Epochs of GSM8K in the modern stage's own mixture",
        group="Tasks",
        minimum=0,
    )


@dataclass(frozen=True)
class ChatRlOptions(ChatTrainOptions):
    """Reinforcement learning on a model's own answers to questions with a known result."""

    source: str = option(
        "sft",
        "Stage that wrote the checkpoint to start from",
        short="-i",
        group="Model",
        choices=("base", "mid", "sft", "rl"),
    )
    task: str = option("GSM8K", "Task to train on: GSM8K, Arithmetic, SpellingBee …", group="Tasks")
    num_epochs: int = option(1, "Passes over the task's questions", group="Horizon", minimum=1)
    num_iterations: int = option(
        -1,
        "Optimizer steps",
        minus_one="from the epochs",
        group="Horizon",
        minimum=1,
    )
    examples_per_step: int = option(
        16,
        "Questions per optimizer step, over all processes",
        group="Batch",
        minimum=1,
    )
    num_samples: int = option(16, "Answers sampled per question", group="Batch", minimum=2)
    device_batch_size: int = option(
        8,
        "Answers per micro-batch; also the number sampled per held-out question",
        group="Batch",
        minimum=1,
    )
    rollout_rows: int = option(64, "Answers generated in one batch", group="Batch", minimum=1)
    max_new_tokens: int = option(256, "Maximum tokens per answer", group="Answers", minimum=1)
    temperature: float = option(1.0, "Sampling temperature of the answers", group="Answers", minimum=0)
    top_k: int = option(50, "Sample from the k most likely tokens; 0: from all", group="Answers", minimum=0)
    train_eos: bool = option(
        True,
        "Also train the token that ends an answer; upstream nanochat does not",
        group="Answers",
        aliases=("train_end",),
    )
    init_lr_frac: float = option(
        0.05,
        "Initial learning rates as a fraction of the base rates",
        group="Optimizer",
        minimum=0,
    )
    eval_every: int = option(
        60,
        "Steps between evaluations on held-out questions",
        minus_one="at the end only",
        group="Evaluation",
        minimum=1,
    )
    eval_examples: int = option(
        400,
        "Held-out questions per evaluation",
        minus_one="all",
        group="Evaluation",
        minimum=1,
    )
    sample_every: int = option(10, "Steps between samples", minus_one="none", group="Evaluation", minimum=1)
    save_every: int = option(
        60,
        "Steps between checkpoints",
        minus_one="at the end only",
        group="Checkpoint",
        minimum=1,
    )
