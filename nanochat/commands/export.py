"""`nanochat export`: a checkpoint as a folder that Hugging Face transformers loads."""

import concurrent.futures
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanochat.checkpoint.names import CheckpointName, parse_name
from nanochat.common.atomic_folder import AtomicFolder
from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import json_text
from nanochat.common.text import amount, sanitize, size_bytes, valid_text
from nanochat.config.command_parser import Parser, command_parser, parse_options
from nanochat.config.eval_options import CheckpointOptions
from nanochat.config.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from nanochat.checkpoint.files import Checkpoint
    from nanochat.common.paths import Layout
    from nanochat.model.architecture import ModelConfig
    from nanochat.tokenizer.tokenizer import Tokenizer

CARD = "README.md"
DOCUMENTS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class ExportOptions(CheckpointOptions):
    """Which checkpoint, where to."""

    name: tuple[str, ...] = option(
        (), "Checkpoint, SOURCE/TAG[@STEP], in place of the options that say which", positional=True
    )
    out: str = option("", "Folder to write", short="-o", path=True)
    format: str = option(
        "huggingface", "Format to write; gguf is refused: it has no such architecture",
        choices=("huggingface", "gguf"),
    )  # fmt: skip
    dtype: str = option("float32", "Type of the weights in the file", choices=("float32", "bfloat16"))
    max_shard_size: str = option("5GB", "Most bytes of one file of weights")
    check: bool = option(True, "Check the checksum of what is exported, which takes the longest")
    force: bool = option(False, "Replace an earlier export in the folder")
    tokenizer_dir: str = option("", "Folder of the tokenizer; default the checkpoint's own", path=True)


@dataclass(frozen=True)
class Opened:
    """A checkpoint to be exported. `weights` are its tensors under our names, as they lie on the disk."""

    checkpoint: "Checkpoint"
    name: CheckpointName
    config: "ModelConfig"
    weights: Mapping[str, "Tensor"]
    tokenizer: "Tokenizer"
    file: Path | None
    """The safetensors file that the weights lie in; None for upstream's."""


def parser() -> Parser:
    """The parser of `nanochat export`."""
    return command_parser(
        "nanochat export",
        "Write a model in Hugging Face's format. The base directory may be upstream nanochat's.",
        ExportOptions,
    )


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat export …` and returns its exit code."""
    options, layout = parse_options(ExportOptions, parser(), argv)
    if options.format == "gguf":
        raise UserError(
            "gguf has no nanochat architecture: nothing that reads gguf could run the model",
            "export it in Hugging Face's format",
        )
    if not options.out:
        raise UserError("nanochat export: no --out", "name the folder to write, for example --out d20-hf")
    out = layout.resolve(options.out)
    check_target(out, options.force)

    from nanochat.checkpoint.files import find_checkpoint
    from nanochat.checkpoint.in_use import using
    from nanochat.commands.huggingface.weights import shard_bytes

    shard_bytes(options.max_shard_size)
    name = _named(options)
    step = -1 if name.step is None else name.step
    checkpoint = find_checkpoint(layout.checkpoints(name.source), name.tag, step)
    with using(checkpoint.path, f"export to {out}"):
        files = export(checkpoint, layout, name.source, out, options)
    size = sum(path.stat().st_size for path in files)
    told = f"{name.source} {checkpoint.path.parent.name}, step {checkpoint.step}"
    print(sanitize(f"{told}: wrote {out}"))
    code = any(path.suffix == ".py" for path in files)
    how = "from_pretrained" + (", with trust_remote_code=True" if code else "")
    print(f"{amount(len(files), 'file')}, {size_bytes(size)}; in transformers: AutoModelForCausalLM.{how}")
    return Exit.OK


def _named(options: ExportOptions) -> CheckpointName:
    """The checkpoint that the options name. Raises `UserError` where they name two."""
    if not options.name:
        step = None if options.step < 0 else options.step
        return CheckpointName(options.source, options.model_tag, step)
    if len(options.name) > 1:
        raise UserError(f"'{options.name[1]}' is one too many", "export one checkpoint at a time")
    if options.model_tag or options.step >= 0:
        raise UserError("the checkpoint is named twice", "give its name, or --source, --model-tag and --step")
    return parse_name(options.name[0])


def export(
    checkpoint: "Checkpoint", layout: "Layout", source: str, out: Path, options: ExportOptions
) -> list[Path]:
    """Writes config, weights, tokenizer, generation defaults, model card and, where transformers lacks the
    architecture, its code: the whole folder or nothing. Returns the files.

    Raises `UserError` when `out` holds something already (unless `force` is set and it is an export), the
    checkpoint is damaged, or the folder cannot be written.
    """
    from nanochat.commands.huggingface.weights import hf_weights, write_weights

    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        # The sum of what is read is made beside the writing; nothing gets its name before it is right.
        opened, sound = _open(checkpoint, layout, source, options, beside)
        texts = _texts(opened, layout, options.dtype, chat=source != "base")
        weights = hf_weights(opened.weights, opened.config, checkpoint.path)
        with AtomicFolder(out, is_ours, overwrite=options.force) as new:
            write_weights(weights, new.content, options.dtype, options.max_shard_size, opened.file)
            for name, text in texts.items():
                (new.content / name).write_text(valid_text(text), encoding="utf-8")
            for path in new.content.iterdir():
                path.chmod(0o644)
            sound.result()
            new.commit()
    return sorted(out.iterdir())


def _open(
    checkpoint: "Checkpoint",
    layout: "Layout",
    source: str,
    options: ExportOptions,
    beside: concurrent.futures.Executor,
) -> "tuple[Opened, concurrent.futures.Future[None]]":
    """The checkpoint, and what tells, once it is known, whether its files are what was written."""
    from nanochat.checkpoint.files import MODEL
    from nanochat.checkpoint.tokenizer import check_tokenizer, find_tokenizer
    from nanochat.checkpoint.weights import config_of, read_weights

    tokenizer = find_tokenizer(checkpoint, layout, options.tokenizer_dir)
    if checkpoint.is_upstream:
        weights = read_weights(checkpoint.path)
        sound = beside.submit(lambda: None)
    else:
        checkpoint.check_files()
        weights = read_weights(checkpoint.path / MODEL)
        sound = beside.submit(checkpoint.check_sum, MODEL) if options.check else beside.submit(lambda: None)
    config = config_of(checkpoint, weights)
    check_tokenizer(checkpoint, config, tokenizer)
    name = CheckpointName(source, checkpoint.path.parent.name, checkpoint.step)
    file = None if checkpoint.is_upstream else checkpoint.path / MODEL
    return Opened(checkpoint, name, config, weights, tokenizer, file), sound


def _texts(opened: Opened, layout: "Layout", dtype: str, *, chat: bool) -> dict[str, str]:
    """The content of every file but the weights, by name."""
    from nanochat.commands.huggingface.card import model_card
    from nanochat.commands.huggingface.documents import code_files, generation_config, hf_config, lacking
    from nanochat.tokenizer.huggingface import tokenizer_config, tokenizer_json

    config, tokenizer = opened.config, opened.tokenizer
    documents: dict[str, dict[str, Any]] = {
        "config.json": hf_config(config, tokenizer, chat=chat) | {"dtype": dtype},
        "generation_config.json": generation_config(tokenizer, chat=chat),
        "tokenizer.json": tokenizer_json(tokenizer),
        "tokenizer_config.json": tokenizer_config(config.sequence_len, chat=chat),
    }
    texts = {name: json_text(content, indent=2) + "\n" for name, content in documents.items()}
    texts[CARD] = model_card(layout, opened.checkpoint, config, opened.name)
    return texts | (code_files() if lacking(config) else {})


def is_ours(name: str) -> bool:
    """Whether a file of that name can be one of an export's."""
    from nanochat.commands.huggingface.documents import CODE
    from nanochat.commands.huggingface.weights import INDEX, SHARD, WEIGHTS

    known = (*DOCUMENTS, CARD, *CODE, WEIGHTS, INDEX)
    return name in known or SHARD.fullmatch(name) is not None or name == "__pycache__"


def check_target(out: Path, force: bool) -> None:
    """Raises `UserError` unless `out` is empty, or holds only an export that `force` may replace."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file", "name a folder that does not exist yet")
    names = {path.name for path in out.iterdir()}
    if others := sorted(name for name in names if not is_ours(name)):
        raise UserError(f"{out} holds other files, {others[0]} for one", "name another folder")
    if names and not force:
        raise UserError(f"{out} holds an export already", "--force replaces it")
