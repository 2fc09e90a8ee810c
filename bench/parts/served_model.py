"""The model that the server benchmarks serve: untrained, with a tokenizer of real text, and prompts."""

import json
import random
from pathlib import Path
from typing import Any

from nanochat.checkpoint.files import MODEL
from nanochat.checkpoint.tokenizer import tokenizer_meta
from nanochat.checkpoint.write import save_checkpoint
from nanochat.common.paths import Layout
from nanochat.data.demo_corpus import demo_texts, source_files
from nanochat.data.sources import Skips
from nanochat.model.architecture import CLASSIC, MODERN, flags_to_meta
from nanochat.model.gpt import GPT, build_model
from nanochat.scaling.horizon import config_from_depth
from nanochat.tokenizer.tokenizer import Tokenizer

TAG, STEP = "bench", 1
CORPUS_CHARS = 1_500_000
"""What the tokenizer is trained on: it splits such text as one of a real run does."""


def corpus() -> str:
    """English prose and Python, the same on a machine in every run."""
    parts, length = [], 0
    texts = list(demo_texts(source_files()[:150], Skips()))
    for text in reversed(texts):  # prose first: the topics of `help()` come last
        parts.append(text)
        length += len(text)
        if length > CORPUS_CHARS:
            break
    return "\n".join(parts)


def make_base(base: Path, *, depth: int, vocab: int, context: int, era: str, head_dim: int = 64) -> None:
    """Writes a tokenizer and one untrained model, as `base/bench` and as `sft/bench`, into a base directory.

    Every parameter is random and no special token is ever the likeliest, so that a greedy answer has as many
    tokens as were asked for.
    """
    import torch

    layout = Layout(base)
    tokenizer = Tokenizer.train_from_iterator(corpus().split("\n\n"), vocab)
    tokenizer.save(layout.tokenizer)
    parts = CLASSIC if era == "classic" else MODERN
    pattern = "SSSL" if parts.windows else "L"
    config = config_from_depth(
        depth, tokenizer.vocab_size, context, head_dim=head_dim, window_pattern=pattern, parts=parts
    )
    model = build_model(config, "cpu")
    model.init_weights(1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        model.lm_head.weight *= 4  # as wide apart as a trained model's logits
        model.lm_head.weight[len(tokenizer.ranks) :] = 0
    meta = {
        "step": STEP,
        "model_config": config.to_meta(),
        "parts": flags_to_meta(config.parts),
        "run_id": "bench",
        **tokenizer_meta(tokenizer),
    }
    for source in ("base", "sft"):
        save_checkpoint(layout.checkpoints(source) / TAG, STEP, {MODEL: dict(model.state_dict())}, meta)


def load(base: Path) -> tuple[GPT, Tokenizer]:
    """The model, in float32 on the CPU, and its tokenizer."""
    from nanochat.checkpoint.weights import open_model

    opened = open_model(Layout(base), "base", tag=TAG, device="cpu")
    return opened.model, opened.tokenizer


def prompts(tokenizer: Tokenizer, count: int, tokens: int, seed: int = 1) -> list[str]:
    """Texts of exactly that many tokens with bos, all different, which encode to the tokens they are cut
    from."""
    text = corpus()
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        start = rng.randrange(len(text) - 12 * tokens)
        ids = tokenizer.encode(text[start : start + 12 * tokens])[: tokens - 1]
        piece = tokenizer.decode(ids)
        if tokenizer.encode(piece) == ids:
            found[piece] = None
    return list(found)


def export(base: Path, out: Path) -> None:
    """The base model as Hugging Face's transformers loads it, made greedy."""
    from nanochat.checkpoint.weights import open_model
    from nanochat.commands import export as command

    opened = open_model(Layout(base), "base", tag=TAG)
    command.export(opened, out, source="base")
    # A server of transformers takes what a request does not say from here, and top-k it never asks for.
    path = out / "generation_config.json"
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    settings |= {"do_sample": False}
    del settings["temperature"], settings["top_k"]
    path.write_text(json.dumps(settings), encoding="utf-8")


# -- for a worker, whose calls take plain arguments ---------------------------------------------------------


def make_base_in(base: str, depth: int, vocab: int, context: int, era: str, head_dim: int) -> None:
    """`make_base` in the folder of that name."""
    make_base(Path(base), depth=depth, vocab=vocab, context=context, era=era, head_dim=head_dim)


def prompts_of(base: str, count: int, tokens: int, seed: int = 1) -> list[str]:
    """`prompts` for the base directory's tokenizer."""
    return prompts(Tokenizer.load(Layout(Path(base)).tokenizer), count, tokens, seed)


def one_word(base: str) -> tuple[str, int]:
    """A word of one token, which stays one when it is repeated, and its id."""
    tokenizer = Tokenizer.load(Layout(Path(base)).tokenizer)
    [word_id] = tokenizer.encode(" the")
    return " the", word_id


def export_to(base: str, out: str) -> None:
    """`export` into the folder of that name."""
    export(Path(base), Path(out))
