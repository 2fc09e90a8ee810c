"""Options of everything that reads a checkpoint and measures it."""

from dataclasses import dataclass

from nanochat.common.paths import CHECKPOINT_FOLDERS
from nanochat.config.chat_options import TaskDataOptions
from nanochat.config.options import option


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
    skip_missing_core: bool = option(
        False,
        "Skip CORE, with an alert, where its bundle is missing",
        group="CORE",
        aliases=("core_optional",),
    )
    items: str = option("", "Also copy the verdict of every item to this file", group="CORE", path=True)
    split_tokens: int = option(40 * 524_288, "Tokens of each split for bits per byte", minimum=1)
    device_batch_size: int = option(32, "Rows in a batch on one device", minimum=1)
    seed: int = option(42, "Seed of the samples")
    data_dir: str = option("", "Folder of the shards; default base_data_climbmix, else base_data", path=True)


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
