"""`nanochat export`: a classic model as a folder that Hugging Face transformers loads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanochat.common.atomic_folder import AtomicFolder
from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.fields import json_text
from nanochat.common.text import sanitize, size_bytes, valid_text
from nanochat.config.command_parser import Parser, command_parser, parse_options
from nanochat.config.eval_options import CheckpointOptions
from nanochat.config.options import option
from nanochat.model.architecture import SOFTCAP, ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

    from nanochat.checkpoint.weights import OpenedModel
    from nanochat.model.gpt import GPT
    from nanochat.tokenizer.tokenizer import Tokenizer

WEIGHTS, CARD = "model.safetensors", "README.md"
FILES = (
    "config.json",
    "generation_config.json",
    WEIGHTS,
    "tokenizer.json",
    "tokenizer_config.json",
    CARD,
)

_LAYER_NAMES = {
    "attn.c_q": "self_attn.q_proj",
    "attn.c_k": "self_attn.k_proj",
    "attn.c_v": "self_attn.v_proj",
    "attn.c_proj": "self_attn.o_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


@dataclass(frozen=True)
class ExportOptions(CheckpointOptions):
    """Which checkpoint, where to."""

    out: str = option("", "Folder to write", short="-o", path=True)
    dtype: str = option("float32", "Type of the weights in the file", choices=("float32", "bfloat16"))
    force: bool = option(False, "Replace an earlier export in the folder")
    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", path=True)


def parser() -> Parser:
    """The parser of `nanochat export`."""
    return command_parser(
        "nanochat export",
        "Write a classic model in Hugging Face's format. The base directory may be upstream nanochat's.",
        ExportOptions,
    )


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat export …` and returns its exit code."""
    options, layout = parse_options(ExportOptions, parser(), argv)
    if not options.out:
        raise UserError("nanochat export: no --out", "name the folder to write, for example --out d20-hf")
    out = layout.resolve(options.out)
    check_target(out, options.force)

    from nanochat.checkpoint.weights import open_model

    opened = open_model(
        layout, options.source, tag=options.model_tag, step=options.step, tokenizer_dir=options.tokenizer_dir
    )
    export(opened, out, source=options.source, dtype=options.dtype, force=options.force)
    size = sum((out / name).stat().st_size for name in FILES)
    name = f"{options.source} {opened.checkpoint.path.parent.name}"
    print(sanitize(f"{name}, step {opened.checkpoint.step}: wrote {out}"))
    print(f"{len(FILES)} files, {size_bytes(size)}; in transformers: AutoModelForCausalLM.from_pretrained")
    return Exit.OK


def export(
    opened: "OpenedModel", out: Path, *, source: str, dtype: str = "float32", force: bool = False
) -> None:
    """Writes config, weights, tokenizer, generation defaults and model card: the whole folder or nothing.

    Raises `UserError` when the model has parts that transformers' NanoChat lacks, when `out` holds
    something already (unless `force` is set and it is an export), or when it cannot be written.
    """
    from safetensors import SafetensorError

    check_expressible(opened.model.config, opened.checkpoint.path)
    check_target(out, force)
    texts = {
        name: json_text(content, indent=2) + "\n"
        for name, content in hf_documents(opened, dtype, chat=source != "base").items()
    }
    texts[CARD] = model_card(opened, source)
    try:
        with AtomicFolder(out, FILES.__contains__, overwrite=force) as new:
            write_weights(opened.model, new.content / WEIGHTS, dtype)
            for name, text in texts.items():
                (new.content / name).write_text(valid_text(text), encoding="utf-8")
            for path in new.content.iterdir():
                path.chmod(0o644)  # safetensors makes files that only their owner can read
            new.commit()
    except SafetensorError as error:
        raise UserError(
            f"cannot write {out}: {one_line(str(error))}", "nothing was changed", Exit.FAILED
        ) from error


def write_weights(model: "GPT", path: Path, dtype: str) -> None:
    """The weights in transformers' names as a safetensors file of that type."""
    import torch
    from safetensors.torch import save_file

    kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    weights = {name: tensor.to(kind) for name, tensor in hf_weights(model).items()}
    save_file(weights, path, {"format": "pt"})  # transformers refuses a file without this entry


def hf_documents(opened: "OpenedModel", dtype: str, *, chat: bool) -> dict[str, dict[str, Any]]:
    """The content of the JSON files, by name."""
    from nanochat.tokenizer.huggingface import tokenizer_config, tokenizer_json

    config, tokenizer = opened.model.config, opened.tokenizer
    return {
        "config.json": hf_config(config, tokenizer, chat=chat) | {"dtype": dtype},
        "generation_config.json": generation_config(tokenizer, chat=chat),
        "tokenizer.json": tokenizer_json(tokenizer),
        "tokenizer_config.json": tokenizer_config(config.sequence_len, chat=chat),
    }


def check_target(out: Path, force: bool) -> None:
    """Raises `UserError` unless `out` is empty, or holds only an export that `force` may replace."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file", "name a folder that does not exist yet")
    names = {path.name for path in out.iterdir()}
    if others := sorted(names - set(FILES)):
        raise UserError(f"{out} holds other files, {others[0]} for one", "name another folder")
    if names and not force:
        raise UserError(f"{out} holds an export already", "--force replaces it")


def check_expressible(config: ModelConfig, where: Path) -> None:
    """Raises `UserError` that names the parts transformers' NanoChat (the classic architecture) lacks."""
    parts = config.parts
    short = any(window is not None and window < config.sequence_len for window in config.windows)
    lacking = {
        "layer scales": parts.layer_scales,
        "value embeddings": parts.value_embeds,
        "smear": parts.smear,
        "backout": parts.backout,
        "short windows": short,
        "a gain on queries and keys": parts.qk_gain != 1.0,
    }
    if names := [name for name, present in lacking.items() if present]:
        raise UserError(
            f"{where} has parts that transformers' NanoChat lacks: {', '.join(names)}",
            "only models of the classic architecture can be exported",
        )


def hf_config(config: ModelConfig, tokenizer: "Tokenizer", *, chat: bool) -> dict[str, Any]:
    """The content of `config.json`. RMSNorm's eps is float32's, as torch takes it when none is given."""
    return {
        "architectures": ["NanoChatForCausalLM"],
        "model_type": "nanochat",
        "vocab_size": config.vocab_size,
        "hidden_size": config.n_embd,
        "intermediate_size": 4 * config.n_embd,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "max_position_embeddings": config.sequence_len,
        "hidden_act": "relu2",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rms_norm_eps": 2.0**-23,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.parts.rotary_base},
        "final_logit_softcapping": SOFTCAP,
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": _ends(tokenizer, chat),
        "pad_token_id": tokenizer.special_id("assistant_end"),
    }


def generation_config(tokenizer: "Tokenizer", *, chat: bool) -> dict[str, Any]:
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": _ends(tokenizer, chat),
        "pad_token_id": tokenizer.special_id("assistant_end"),
        "do_sample": True,
        "temperature": 0.6 if chat else 1.0,
        "top_k": 50,
    }


def _ends(tokenizer: "Tokenizer", chat: bool) -> int | list[int]:
    return [tokenizer.special_id("assistant_end"), tokenizer.bos_id] if chat else tokenizer.bos_id


def hf_weights(model: "GPT") -> "dict[str, Tensor]":
    """The state dict in transformers' names, tables without their padding rows."""
    size = model.config.vocab_size
    own = model.state_dict()
    weights = {
        "model.embed_tokens.weight": own["transformer.wte.weight"][:size],
        "lm_head.weight": own["lm_head.weight"][:size],
    }
    for layer in range(model.config.n_layer):
        for ours, theirs in _LAYER_NAMES.items():
            weights[f"model.layers.{layer}.{theirs}.weight"] = own[f"transformer.h.{layer}.{ours}.weight"]
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}


def model_card(opened: "OpenedModel", source: str) -> str:
    """A short README for whoever finds the folder."""
    config, checkpoint = opened.model.config, opened.checkpoint
    parameters = sum(parameter.numel() for parameter in opened.model.parameters())
    from nanochat.checkpoint.figures import bpb_of_step

    bpb = bpb_of_step(checkpoint)
    measured = f"- {bpb:.4f} bits per byte on its validation text\n" if bpb is not None else ""
    rounded = (
        "\nIt was trained with rotary tables rounded to bfloat16. Loaded in float32, transformers does\n"
        "not round them, and logits differ by about 0.001 from nanochat's; in bfloat16 it does as well.\n"
        if config.parts.rotary_bfloat16
        else ""
    )
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n\n"
        f"# {checkpoint.path.parent.name}\n\n"
        f"A nanochat model of the classic architecture ({source}, step {checkpoint.step}).\n\n"
        f"- {parameters:,} parameters: {config.n_layer} layers, width {config.n_embd}, {config.n_head} heads "
        f"({config.n_kv_head} for keys and values)\n"
        f"- vocabulary {config.vocab_size:,}, context {config.sequence_len:,} tokens\n{measured}{rounded}\n"
        "```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained(".")\n'
        'tokenizer = AutoTokenizer.from_pretrained(".")\n'
        'ids = tokenizer("The capital of France is", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**ids, max_new_tokens=16)[0]))\n"
        "```\n\n"
        "Text is encoded after `<|bos|>`. Special tokens spelled in a text are read as such; "
        "`split_special_tokens=True`\nreads them as the characters they are, as nanochat does.\n"
    )
