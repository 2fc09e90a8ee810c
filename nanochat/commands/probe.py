"""`nanochat probe`: inspects a checkpoint: next-token logits and the greedy continuation of a prompt."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.text import sanitize
from nanochat.config.command_parser import Parser, collect, command_parser, parse
from nanochat.config.eval_options import CheckpointOptions
from nanochat.config.options import option

if TYPE_CHECKING:
    from nanochat.model.gpt import GPT
    from nanochat.tokenizer.tokenizer import Tokenizer

_WIDTH = 80
_LABEL = 14


@dataclass(frozen=True)
class ProbeOptions(CheckpointOptions):
    """Which checkpoint, which prompt, how much of the prediction to show."""

    prompt: str = option("", "The text the model reads, after bos", short="-p")
    top: int = option(8, "How many of the likeliest next tokens to show", minimum=1)
    greedy: int = option(24, "Tokens of the greedy continuation", minimum=0)
    json: bool = option(False, "One JSON document instead of the table")
    dtype: str = option("float32", "Compute type", choices=("auto", "float32", "bfloat16", "float16"))
    device_type: str = option("cpu", "Device; empty: the best there is", choices=("", "cpu", "cuda", "mps"))
    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", path=True)


@dataclass(frozen=True)
class Probe:
    """A model's prediction after a prompt."""

    ids: list[int]
    """The prompt's tokens, bos first."""
    top_ids: list[int]
    """The likeliest next tokens, best first."""
    top_logits: list[float]
    """Their logits, after the soft cap."""
    logsumexp: float
    """log Σ exp(logit) over the vocabulary: a logit minus this is a log-probability in nats."""
    greedy_ids: list[int]
    """The greedy continuation; special tokens do not end it."""
    text: str
    """The continuation as text."""


def probe(model: "GPT", tokenizer: "Tokenizer", prompt: str, *, top: int = 8, greedy: int = 24) -> Probe:
    """The `top` likeliest next tokens after `prompt` and `greedy` tokens of continuation.

    Raises `UserError` when `top` exceeds the vocabulary.
    """
    import torch

    from nanochat.infer.engine import generate_batch

    if top > model.config.vocab_size:
        raise UserError(f"--top {top} is more than the vocabulary's {model.config.vocab_size:,} tokens")
    ids = tokenizer.encode(prompt, bos=True)
    with torch.inference_mode():
        hidden = model.hidden(torch.tensor([ids], device=model.device))  # (1, T, C)
        logits = model.logits(hidden[0, -1])  # (V,)
    best = logits.topk(top)
    greedy_ids = generate_batch(model, ids, max_tokens=greedy, temperature=0)[0] if greedy else []
    return Probe(
        ids=ids,
        top_ids=best.indices.tolist(),
        top_logits=best.values.tolist(),
        logsumexp=logits.logsumexp(-1).item(),
        greedy_ids=greedy_ids,
        text=tokenizer.decode(greedy_ids),
    )


def parser() -> Parser:
    """The parser of `nanochat probe`."""
    return command_parser(
        "nanochat probe",
        "Show a checkpoint's next-token logits and continuation for a prompt. "
        "The base directory may be upstream nanochat's.",
        ProbeOptions,
    )


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat probe …` and returns its exit code. Makes no run and writes nothing."""
    given, layout = parse(parser(), argv)
    if not hasattr(given, "prompt"):
        raise UserError("nanochat probe: no --prompt", 'for example --prompt "The capital of France is"')
    options = collect(ProbeOptions, given)

    from nanochat.checkpoint.weights import open_model
    from nanochat.compute.device import pick_device, pick_dtype

    device = pick_device(options.device_type)
    opened = open_model(
        layout,
        options.source,
        tag=options.model_tag,
        step=options.step,
        tokenizer_dir=options.tokenizer_dir,
        device=device,
        dtype=pick_dtype(options.dtype, device),
    )
    found = probe(opened.model, opened.tokenizer, options.prompt, top=options.top, greedy=options.greedy)
    if options.json:
        print(json.dumps(dataclasses.asdict(found)))
    else:
        config, checkpoint = opened.model.config, opened.checkpoint
        what = sanitize(f"{options.source} {checkpoint.path.parent.name}, step {checkpoint.step}")
        shape = f"{config.n_layer} layers, width {config.n_embd}, context {config.sequence_len}"
        print("\n".join([f"{'model':<{_LABEL}}{what}: {shape}", *table(found, opened.tokenizer)]))
    return Exit.OK


def table(found: Probe, tokenizer: "Tokenizer") -> list[str]:
    """The probe as text, in lines of at most 80 columns."""
    from math import exp

    lines = _wrapped(f"prompt ({len(found.ids)})", found.ids, tokenizer)
    lines += ["", f"{'rank':>4}  {'id':>7}  {'logit':>9}  {'probability':>11}  token"]
    for rank, (token, logit) in enumerate(zip(found.top_ids, found.top_logits, strict=True), 1):
        chance = exp(logit - found.logsumexp)
        lines.append(f"{rank:>4}  {token:>7}  {logit:>9.5f}  {chance:>11.5f}  {_shown(token, tokenizer)}")
    lines += ["", f"{'logsumexp':<{_LABEL}}{found.logsumexp:.5f}"]
    if found.greedy_ids:
        lines += ["", *_wrapped(f"greedy ({len(found.greedy_ids)})", found.greedy_ids, tokenizer)]
    return lines


def _shown(token: int, tokenizer: "Tokenizer") -> str:
    """A token with its spaces visible; bytes that are not a complete character as hexadecimal."""
    raw = tokenizer.decode_bytes([token])
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in raw)[: _WIDTH - 40]
    visible = text.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥")
    return sanitize(visible, _WIDTH - 40)


def _wrapped(label: str, ids: Sequence[int], tokenizer: "Tokenizer") -> list[str]:
    """The tokens separated by bars, wrapped to the terminal, under a label."""
    from rich.cells import cell_len

    lines, line = [], ""
    for token in ids:
        piece = _shown(token, tokenizer)
        if line and cell_len(line) + cell_len(piece) + 2 > _WIDTH - _LABEL:
            lines.append(line + "│")
            line = ""
        line += ("│" if line else "") + piece
    lines.append(line)
    label = f"{label} "
    return [f"{label if number == 0 else '':<{_LABEL}}{text}" for number, text in enumerate(lines)]
