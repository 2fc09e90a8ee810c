"""The options of every stage, one dataclass each: the source of the command line, the launch form,
the plan check and a checkpoint's metadata.

Names are the reference's where it has them. Underscores stand for dashes and `10_000` or `2e9` for
integers everywhere.
"""

import argparse
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

from nanochat.errors import UserError, nearest

Value = int | float | str | bool | tuple[str, ...]


class Options(Protocol):
    """Any stage's option dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


O = TypeVar("O", bound=Options)  # noqa: E741 - the conventional single letter


@dataclass(frozen=True)
class OptionField:
    """What a form, a parser or a check needs to know of one option."""

    name: str
    type: type
    default: Value
    help: str
    group: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    short: str = ""
    positional: bool = False
    path: bool = False
    """A file or folder on the machine the stage runs on."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def option(
    default: Value,
    help: str,
    *,
    group: str = "General",
    choices: Sequence[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    short: str = "",
    positional: bool = False,
    path: bool = False,
) -> Any:
    """A dataclass field that carries what its form line and its flag say."""
    meta = {
        "help": help, "group": group, "choices": tuple(choices), "minimum": minimum,
        "maximum": maximum, "short": short, "positional": positional, "path": path,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=meta)


def option_fields(cls: type[Options]) -> list[OptionField]:
    """The options of a stage's dataclass in the order they are written."""
    hints = typing.get_type_hints(cls)
    fields = []
    for item in dataclasses.fields(cls):
        hint = hints[item.name]
        kind = tuple if typing.get_origin(hint) is tuple else hint
        if isinstance(kind, types.UnionType) or item.default is MISSING:
            raise TypeError(f"{cls.__name__}.{item.name}: one plain type with a default, please")
        fields.append(OptionField(item.name, kind, item.default, **item.metadata))
    return fields


def parse_value(field: OptionField, raw: object) -> Value:
    """`raw` (a string, or a TOML or JSON value) as the option's type, checked against its bounds.

    Raises `UserError` that names the option, the value and what is allowed.
    """
    value = _convert(field, raw)
    if field.choices and value not in field.choices:
        raise UserError(f"{field.flag}: {value!r} is not allowed", nearest(str(value), field.choices))
    if isinstance(value, int | float) and not isinstance(value, bool):
        if field.minimum is not None and value < field.minimum:
            raise UserError(f"{field.flag}: {value} is too small", f"at least {field.minimum:g}")
        if field.maximum is not None and value > field.maximum:
            raise UserError(f"{field.flag}: {value} is too large", f"at most {field.maximum:g}")
    return value


def _convert(field: OptionField, raw: object) -> Value:
    text = raw.strip() if isinstance(raw, str) else raw
    if field.type is tuple:
        items = text.split(",") if isinstance(text, str) else text
        if isinstance(items, list | tuple):
            return tuple(str(item) for item in items if str(item))
    elif field.type is str:
        if isinstance(raw, str | int | float) and not isinstance(raw, bool):
            return str(raw)
    elif field.type is bool:
        if isinstance(text, bool):
            return text
        words = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        if str(text).lower() in words:
            return words[str(text).lower()]
    elif not isinstance(text, bool):
        number = _number(text)
        if field.type is float and number is not None:
            return float(number)
        if field.type is int and number is not None and float(number).is_integer():
            return int(number)
    names = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        tuple: "a list of text",
    }
    raise UserError(f"{field.flag}: {raw!r} is not {names[field.type]}", _example(field))


def _number(text: object) -> int | float | None:
    """The finite number `text` spells, exact for integers of any size, or None."""
    if isinstance(text, int | float):
        return text if text == text and abs(text) != float("inf") else None
    if not isinstance(text, str):
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


def _example(field: OptionField) -> str:
    return f"for example {field.default}" if field.default not in ("", ()) else ""


def from_mapping(cls: type[O], mapping: Mapping[str, object], where: str = "") -> O:
    """The options `mapping` sets over the defaults. Unknown names raise with the nearest known ones."""
    fields = {field.name: field for field in option_fields(cls)}
    prefix = f"{where}: " if where else ""
    values: dict[str, Value] = {}
    for key, raw in mapping.items():
        name = key.strip().lstrip("-").replace("-", "_")
        if name not in fields:
            raise UserError(f"{prefix}unknown option '{key}'", nearest(name, fields))
        try:
            values[name] = parse_value(fields[name], raw)
        except UserError as error:
            raise UserError(f"{prefix}{error.message}", error.hint) from error
    return cls(**values)


def changed(options: Options) -> dict[str, Value]:
    """The options that differ from their defaults."""
    return {
        field.name: value
        for field in option_fields(type(options))
        if (value := getattr(options, field.name)) != field.default
    }


def to_argv(options: Options) -> list[str]:
    """The shortest command line that gives these options back through `parse_argv`."""
    argv: list[str] = []
    positional: list[str] = []
    differing = changed(options)
    for field in option_fields(type(options)):
        if field.name not in differing:
            continue
        value = differing[field.name]
        if field.positional and isinstance(value, tuple):
            positional = list(value)
        elif isinstance(value, bool):
            argv.append(field.flag if value else "--no-" + field.flag[2:])
        elif isinstance(value, tuple):
            argv.append(f"{field.flag}={','.join(value)}")
        else:
            argv.append(f"{field.flag}={value}")
    return argv + (["--", *positional] if positional else [])


def absolute_paths(options: O, folder: Path) -> O:
    """`options` with every relative path taken from `folder`; `{base}`, `~` and empty ones as they are."""

    def absolute(path: str) -> str:
        return path if not path or path.startswith(("{base}", "~")) else str(folder / path)

    paths: dict[str, Value] = {}
    for field in option_fields(type(options)):
        value = getattr(options, field.name)
        if field.path:
            paths[field.name] = tuple(map(absolute, value)) if isinstance(value, tuple) else absolute(value)
    return dataclasses.replace(options, **paths)


class Parser(argparse.ArgumentParser):
    """argparse that answers in one line, offers the nearest known names and never guesses a prefix."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            what = action.option_strings[-1] if action.option_strings else "word"
            raise UserError(
                f"{self.prog}: unknown {what} '{value}'", nearest(str(value), map(str, action.choices))
            )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}", f"see {self.prog} --help")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        known, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0]
            flags = [flag for flag in _flags(self, known) if flag.startswith("--")]
            if word.startswith("-"):
                raise UserError(
                    f"{self.prog}: unknown option '{word.split('=')[0]}'", nearest(word.split("=")[0], flags)
                )
            raise UserError(f"{self.prog}: unexpected argument '{word}'", f"see {self.prog} --help")
        return known


def _flags(parser: argparse.ArgumentParser, found: argparse.Namespace) -> list[str]:
    """The flags that `parser` takes, and those of the sub-command that was chosen."""
    flags: list[str] = []
    for action in parser._actions:
        flags += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            chosen = action.choices.get(str(getattr(found, action.dest, "")))
            flags += _flags(chosen, found) if chosen is not None else []
    return flags


def normalise(argv: Sequence[str]) -> list[str]:
    """`argv` with underscores in option names turned into dashes (`--model_tag=a_b` → `--model-tag=a_b`)."""
    words: list[str] = []
    for index, word in enumerate(argv):
        if word == "--":
            return words + list(argv[index:])
        name, equals, value = word.partition("=")
        words.append(name.replace("_", "-") + equals + value if name.startswith("--") else word)
    return words


def add_arguments(parser: argparse.ArgumentParser, cls: type[Options]) -> None:
    """One argument for each option, grouped as the form groups them."""
    groups: dict[str, Any] = {}
    for field in option_fields(cls):
        group = groups.setdefault(field.group, parser.add_argument_group(field.group))
        shown = "" if field.default in ("", (), False) else f" [{field.default}]"
        arguments: dict[str, Any] = {
            "help": (field.help + shown).replace("%", "%%"),
            "default": argparse.SUPPRESS,
        }
        names = [field.flag, *([field.short] if field.short else [])]
        if field.positional:
            group.add_argument(
                field.name,
                nargs="*",
                metavar=field.name.upper().rstrip("S"),
                help=arguments["help"],
                default=[],
            )
        elif field.type is bool:
            group.add_argument(*names, action=argparse.BooleanOptionalAction, **arguments)
        else:
            if field.choices:
                arguments["help"] += " {" + ",".join(field.choices) + "}"
            metavar = {int: "N", float: "X", str: "TEXT", tuple: "A,B"}[field.type]
            group.add_argument(*names, dest=field.name, metavar=metavar, **arguments)


def collect(cls: type[O], namespace: argparse.Namespace) -> O:
    """The options of `cls` found in a parsed namespace."""
    names = {field.name: field for field in option_fields(cls)}
    given = {key: value for key, value in vars(namespace).items() if key in names}
    return from_mapping(cls, {k: v for k, v in given.items() if not (names[k].positional and not v)})


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
        "Characters held out as the validation shard; -1: one part in twenty, at most one shard",
        group="Output",
        minimum=-1,
    )
    seed: int = option(42, "Seed of the document shuffle", group="Output")
    overwrite: bool = option(False, "Replace shards that are already in the folder", group="Output")


@dataclass(frozen=True)
class DataDownloadOptions:
    """Fetch a published set of shards."""

    dataset: str = option("climbmix", "Which set", choices=("climbmix", "fineweb-edu"))
    num_files: int = option(
        -1,
        "How many shards from the first on; -1: all. climbmix adds its validation shard",
        short="-n",
        minimum=-1,
    )
    num_workers: int = option(4, "Downloads at a time", short="-w", minimum=1, maximum=64)
    out: str = option("", "Folder of the shards; default the set's own under the base directory", path=True)
    mirror: str = option("", "Address that stands for https://huggingface.co")
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
class BaseTrainOptions:
    """Pretrain a base model."""

    run: str = option("", "A name for the run, shown in tables", group="Run")
    device_type: str = option(
        "", "cpu, cuda or mps; empty: the best that is there", group="Run", choices=("", "cpu", "cuda", "mps")
    )
    dtype: str = option(
        "auto", "Compute type; float16 scales the loss", group="Run",
        choices=("auto", "float32", "bfloat16", "float16"),
    )  # fmt: skip
    fp8: bool = option(
        False, "Multiply in float8 while training, on GPUs of the Hopper generation or newer", group="Run"
    )
    attention: str = option(
        "auto", "Attention kernel; auto: the fastest that is there", group="Run",
        choices=("auto", "fa3", "flex", "sdpa"),
    )  # fmt: skip
    compile: str = option(
        "auto", "torch.compile: auto, on or off", group="Run", choices=("auto", "on", "off")
    )
    seed: int = option(42, "Seed of the initial weights and of the samples", group="Run")
    data_dir: str = option(
        "", "Folder of the shards; default base_data_climbmix, else base_data", group="Run", path=True
    )
    data_split: str = option(
        "batches",
        "Over several processes: batches (the text one process would read, in its order) or row-groups (each "
        "reads its own: less to tokenize, another order)",
        group="Run", choices=("batches", "row-groups"),
    )  # fmt: skip
    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", group="Run", path=True)
    model_tag: str = option("", "Name of the checkpoint folder; default d<depth>", group="Run")
    nproc: int = option(1, "Processes on this machine, one a GPU", group="Run", minimum=1, maximum=1024)
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
    num_iterations: int = option(-1, "Optimizer steps; -1: from the FLOPs or the ratio", group="Horizon")
    target_flops: float = option(-1.0, "Train for this many FLOPs; -1: from the ratio", group="Horizon")
    target_param_data_ratio: float = option(12.0, "Tokens per scaling parameter", group="Horizon", minimum=0)
    device_batch_size: int = option(32, "Rows in a micro-batch on one device", group="Batch", minimum=1)
    total_batch_size: int = option(
        -1, "Tokens in an optimizer step; -1: from the model's size", group="Batch"
    )
    overfit_one_batch: bool = option(
        False, "Train on the first batch again and again: a sound model learns it by heart", group="Batch"
    )
    embedding_lr: float = option(0.3, "Learning rate of the embedding", group="Optimizer", minimum=0)
    unembedding_lr: float = option(0.008, "Learning rate of the head", group="Optimizer", minimum=0)
    matrix_lr: float = option(0.02, "Learning rate of the matrices (Muon)", group="Optimizer", minimum=0)
    scalar_lr: float = option(0.5, "Learning rate of the per-layer scalars", group="Optimizer", minimum=0)
    weight_decay: float = option(0.28, "Cautious weight decay of the matrices", group="Optimizer", minimum=0)
    grad_clip: float = option(
        0.0, "Scale gradients down to this norm; 0: never", group="Optimizer", minimum=0
    )
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
        250, "Steps between evaluations of bits per byte; -1: at the end only", group="Evaluation"
    )
    eval_tokens: int = option(
        80 * 524_288, "Validation tokens of one evaluation", group="Evaluation", minimum=1
    )
    sample_every: int = option(2000, "Steps between samples; -1: at the end only", group="Evaluation")
    core_metric_every: int = option(
        2000, "Steps between CORE evaluations, one at the end; -1: none", group="Evaluation"
    )
    core_metric_max_per_task: int = option(500, "Items of each CORE task; -1: all", group="Evaluation")
    save_every: int = option(-1, "Steps between checkpoints; -1: at the end only", group="Checkpoint")
    keep_last: int = option(
        -1, "Keep this many of the run's checkpoints, the newest; -1: all", group="Checkpoint", minimum=-1
    )
    keep_best: bool = option(
        False, "With --keep-last, keep the best by bits per byte as well", group="Checkpoint"
    )
    resume: bool = option(False, "Go on from the newest whole checkpoint of this tag", group="Checkpoint")
    resume_from_step: int = option(-1, "Go on from this step's checkpoint", group="Checkpoint")
    init_from: str = option(
        "", "Start from the weights in this safetensors file", group="Checkpoint", path=True
    )
    wandb: bool = option(False, "Mirror the metrics to Weights & Biases", group="Tracking")
    wandb_project: str = option("nanochat", "Project there", group="Tracking")


@dataclass(frozen=True)
class BaseLossOptions:
    """Measure a checkpoint: bits per byte on training and validation text, samples."""

    source: str = option(
        "base", "Stage that made the checkpoint", short="-i", choices=("base", "mid", "sft", "rl")
    )
    model_tag: str = option("", "Name of the checkpoint folder; default the deepest", short="-g")
    step: int = option(-1, "Step of the checkpoint; -1: the last", short="-s", minimum=-1)
    split_tokens: int = option(20 * 524_288, "Tokens of each split", minimum=1)
    rows: str = option(
        "auto",
        "How rows are made: packed, or cut from a stream of documents; auto: as the model was trained",
        choices=("auto", "packed", "stream"),
    )
    device_batch_size: int = option(32, "Rows in a batch on one device", minimum=1)
    device_type: str = option(
        "", "cpu, cuda or mps; empty: the best that is there", choices=("", "cpu", "cuda", "mps")
    )
    dtype: str = option("auto", "Compute type", choices=("auto", "float32", "bfloat16", "float16"))
    seed: int = option(42, "Seed of the samples")
    data_dir: str = option("", "Folder of the shards; default base_data_climbmix, else base_data", path=True)
    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", path=True)


@dataclass(frozen=True)
class BaseEvalOptions:
    """Judge a base model: CORE, bits per byte, samples."""

    eval: tuple[str, ...] = option(("core", "bpb", "sample"), "What to do: core, bpb, sample")
    source: str = option(
        "base", "Stage that made the checkpoint", short="-i", choices=("base", "mid", "sft", "rl")
    )
    model_tag: str = option("", "Name of the checkpoint folder; default the deepest", short="-g")
    step: int = option(-1, "Step of the checkpoint; -1: the last", short="-s", minimum=-1)
    hf_path: str = option(
        "", "Judge a Hugging Face model instead: its folder, or its name in the hub's cache", group="CORE"
    )
    max_per_task: int = option(-1, "Items of each task at the most; -1: all", group="CORE", minimum=-1)
    tasks: tuple[str, ...] = option((), "Only these tasks, by their labels; CORE needs all", group="CORE")
    bundle: str = option(
        "", "Folder of the CORE bundle; default eval_bundle under the base directory", group="CORE", path=True
    )
    items: str = option("", "Also copy the verdict of every item to this file", group="CORE", path=True)
    split_tokens: int = option(40 * 524_288, "Tokens of each split for bits per byte", minimum=1)
    device_batch_size: int = option(32, "Rows in a batch on one device", minimum=1)
    device_type: str = option(
        "", "cpu, cuda or mps; empty: the best that is there", choices=("", "cpu", "cuda", "mps")
    )
    dtype: str = option("auto", "Compute type", choices=("auto", "float32", "bfloat16"))
    seed: int = option(42, "Seed of the samples")
    data_dir: str = option("", "Folder of the shards; default base_data_climbmix, else base_data", path=True)
    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", path=True)


@dataclass(frozen=True)
class ChatEvalOptions:
    """Judge a chat model on its tasks."""

    source: str = option(
        "sft",
        "Stage that made the checkpoint",
        short="-i",
        group="Model",
        choices=("base", "mid", "sft", "rl"),
    )
    model_tag: str = option(
        "", "Name of the checkpoint folder; default the deepest", short="-g", group="Model"
    )
    step: int = option(-1, "Step of the checkpoint; -1: the last", short="-s", group="Model", minimum=-1)
    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", group="Model", path=True)
    device_type: str = option(
        "",
        "cpu, cuda or mps; empty: the best that is there",
        group="Model",
        choices=("", "cpu", "cuda", "mps"),
    )
    dtype: str = option("auto", "Compute type", group="Model", choices=("auto", "float32", "bfloat16"))
    task_name: tuple[str, ...] = option(
        (), "Tasks, by comma; default the six of ChatCORE", short="-a", group="Tasks"
    )
    max_problems: int = option(-1, "Items of each task; -1: all", short="-x", group="Tasks", minimum=-1)
    task_data: str = option("", "A folder of data sets that are at hand", group="Tasks", path=True)
    mirror: str = option("", "Address that stands for https://huggingface.co", group="Tasks")
    offline: bool = option(False, "Fetch nothing", group="Tasks")
    words: str = option("", "Word list of the spelling tasks", group="Tasks", path=True)
    data_dir: str = option(
        "", "Shards whose words serve where no word list is there", group="Tasks", path=True
    )
    temperature: float = option(0.0, "Of sampled answers; 0: greedy", short="-t", group="Answers", minimum=0)
    max_new_tokens: int = option(512, "Longest answer", short="-m", group="Answers", minimum=1)
    num_samples: int = option(
        1, "Answers to an item; one right is enough", short="-n", group="Answers", minimum=1
    )
    top_k: int = option(50, "Draw from the k likeliest; 0: all", short="-k", group="Answers", minimum=0)
    batch_size: int = option(8, "Items at a time", short="-b", group="Answers", minimum=1)
    items: str = option("", "Copy the record of every item to this file", group="Answers", path=True)
