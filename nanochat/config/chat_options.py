"""Options of midtraining, fine-tuning and reinforcement learning, and of the tasks they read."""

from dataclasses import dataclass

from nanochat.config.options import option
from nanochat.config.train_options import TrainingOptions


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
    load_optimizer: bool | None = option(
        None,
        "Start with that checkpoint's optimizer state; default: in the modern era only",
        group="Optimizer",
    )
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
    train_eos: bool = option(
        True,
        "Train the token that ends an answer too; upstream nanochat does not",
        group="Answers",
        aliases=("train_end",),
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
