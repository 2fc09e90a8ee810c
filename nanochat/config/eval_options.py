"""Options of the commands and stages that evaluate a checkpoint."""

from dataclasses import dataclass

from nanochat.common.paths import CHECKPOINT_FOLDERS
from nanochat.config.chat_options import TaskDataOptions
from nanochat.config.options import option


@dataclass(frozen=True)
class CheckpointOptions:
    """Which checkpoint to read: options of every command that reads one."""

    source: str = option(
        "base",
        "Stage that wrote the checkpoint",
        short="-i",
        group="Model",
        choices=tuple(CHECKPOINT_FOLDERS),
    )
    model_tag: str = option(
        "",
        "Name of the checkpoint folder; default the deepest model's",
        short="-g",
        group="Model",
    )
    step: int = option(
        -1,
        "Step of the checkpoint",
        minus_one="the latest",
        short="-s",
        group="Model",
        minimum=0,
    )


@dataclass(frozen=True)
class EvaluationOptions(CheckpointOptions):
    """Options of every stage that evaluates a checkpoint."""

    tokenizer_dir: str = option(
        "",
        "Folder with the tokenizer; default tokenizer under the base directory",
        group="Model",
        path=True,
    )
    device_type: str = option(
        "",
        "Device to run on; default the best available",
        group="Run",
        choices=("", "cpu", "cuda", "mps"),
    )
    dtype: str = option(
        "auto",
        "Data type to compute in",
        group="Run",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    nproc: int = option(
        1,
        "Processes to start on this machine, one per GPU",
        group="Run",
        minimum=1,
        maximum=1024,
    )


@dataclass(frozen=True)
class BaseLossOptions(EvaluationOptions):
    """Evaluate a checkpoint: bits per byte on training and validation text, samples."""

    split_tokens: int = option(20 * 524_288, "Tokens to evaluate per split", minimum=1)
    rows: str = option(
        "auto",
        "How rows are built: packed, or cut from a stream of documents; auto: as in training",
        choices=("auto", "packed", "stream"),
    )
    device_batch_size: int = option(32, "Rows per batch on one device", minimum=1)
    seed: int = option(42, "Seed for sampling")
    data_dir: str = option(
        "",
        "Folder with the shards; default base_data_climbmix, else base_data",
        path=True,
    )


@dataclass(frozen=True)
class BaseEvalOptions(EvaluationOptions):
    """Evaluate a base model: CORE, bits per byte, samples."""

    eval: tuple[str, ...] = option(("core", "bpb", "sample"), "Evaluations to run: core, bpb, sample")
    hf_path: str = option(
        "",
        "Evaluate a Hugging Face model instead: its folder, or its name in the hub's cache",
        group="CORE",
    )
    max_per_task: int = option(-1, "Maximum items per task", minus_one="all", group="CORE", minimum=1)
    tasks: tuple[str, ...] = option(
        (),
        "Evaluate only these tasks, by label; the CORE metric needs all",
        group="CORE",
    )
    bundle: str = option(
        "",
        "Folder with the CORE bundle; default eval_bundle under the base directory",
        group="CORE",
        path=True,
    )
    skip_missing_core: bool = option(
        False,
        "Skip CORE, with an alert, where its bundle is missing",
        group="CORE",
        aliases=("core_optional",),
    )
    items: str = option("", "Also write the result of every item to this file", group="CORE", path=True)
    split_tokens: int = option(40 * 524_288, "Tokens per split for bits per byte", minimum=1)
    device_batch_size: int = option(32, "Rows per batch on one device", minimum=1)
    seed: int = option(42, "Seed for sampling")
    data_dir: str = option(
        "",
        "Folder with the shards; default base_data_climbmix, else base_data",
        path=True,
    )


@dataclass(frozen=True)
class ChatEvalOptions(TaskDataOptions, EvaluationOptions):
    """Evaluate a chat model on its tasks."""

    source: str = option(
        "sft",
        "Stage that wrote the checkpoint",
        short="-i",
        group="Model",
        choices=tuple(CHECKPOINT_FOLDERS),
    )
    task_name: tuple[str, ...] = option(
        (),
        "Tasks to evaluate; default those of ChatCORE's six whose data is available",
        short="-a",
        group="Tasks",
    )
    max_problems: int = option(-1, "Items per task", minus_one="all", short="-x", group="Tasks", minimum=1)
    temperature: float = option(
        0.0,
        "Sampling temperature; 0: greedy",
        short="-t",
        group="Answers",
        minimum=0,
    )
    max_new_tokens: int = option(512, "Maximum tokens per answer", short="-m", group="Answers", minimum=1)
    num_samples: int = option(
        1,
        "Answers sampled per item; an item counts as solved if any is right",
        short="-n",
        group="Answers",
        minimum=1,
    )
    top_k: int = option(
        50,
        "Sample from the k most likely tokens; 0: from all",
        short="-k",
        group="Answers",
        minimum=0,
    )
    batch_size: int = option(8, "Items per batch", short="-b", group="Answers", minimum=1)
    items: str = option("", "Also write the record of every item to this file", group="Answers", path=True)
