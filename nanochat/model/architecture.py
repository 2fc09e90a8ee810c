"""The shape of a model, counted without torch: configuration, optional parts, parameters, FLOPs.

One transformer serves two eras of checkpoints of upstream nanochat (karpathy/nanochat): classic, of autumn
2025, and modern, of 2026. `ModelConfig` holds the sizes (the keys of a checkpoint's metadata),
`ArchitectureFlags` the optional parts and constants in which the eras differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nanochat.common.errors import UserError

SMEAR_CHANNELS = 24
VALUE_GATE_CHANNELS = 12
"""Leading channels of their input that the gates of smear and of value embeddings read, as upstream."""
SOFTCAP = 15.0
"""Bound of the logits, as upstream; Gemma 2 (arXiv 2408.00118) caps at 30."""
WINDOW_MULTIPLE = 128
"""Short windows are a multiple of it, the size of attention kernels' blocks."""


@dataclass(frozen=True)
class ArchitectureFlags:
    """Optional parts of the transformer. The defaults are the modern era's."""

    layer_scales: bool = True
    """Per-layer λ of the residual stream and of the first embedding (x ← resid_λ·x + x0_λ·x0)."""
    value_embeds: bool = True
    """Gated value embeddings on every other layer, the last included (ResFormer, arXiv 2410.17897)."""
    smear: bool = True
    """A gated part of the previous token's embedding is added to each token's."""
    backout: bool = True
    """A learned part of the residual stream after the middle layer is subtracted before the head."""
    windows: bool = True
    """Layers attend within `window_pattern`'s windows; False: to every earlier token, however far."""
    qk_gain: float = 1.2
    """Factor on normed queries and on normed keys: QK norm bounds scores by √D, this sharpens them."""
    rotary_base: float = 100_000.0
    """Ten times RoFormer's (arXiv 2104.09864): slower rotations reach further (arXiv 2309.16039)."""
    rotary_bfloat16: bool = False
    """The rotary tables are rounded to bfloat16 whatever the compute type: classic checkpoints need it."""
    softcap_float32: bool = True
    """Logits are soft-capped in float32; False: in the compute type."""
    vocab_multiple: int = 64
    """Embedding and head rows are padded to a multiple of this, which matrix kernels prefer."""

    def __post_init__(self) -> None:
        for name, default in ((f.name, f.default) for f in fields(self)):
            value = getattr(self, name)
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            right = type(value) is type(default) or (isinstance(default, float) and numeric)
            if right and (not numeric or 0 < value < 1e9):
                continue
            raise UserError(f"model config: {name} is {str(value)[:40]}, such as {default} was expected")


MODERN = ArchitectureFlags()
CLASSIC = ArchitectureFlags(
    layer_scales=False,
    value_embeds=False,
    smear=False,
    backout=False,
    windows=False,
    qk_gain=1.0,
    rotary_base=10_000.0,
    rotary_bfloat16=True,
    softcap_float32=False,
    vocab_multiple=1,
)


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a model. `vocab_size` is unpadded; `sequence_len` is the training context in tokens."""

    sequence_len: int = 2048
    vocab_size: int = 32_768
    n_layer: int = 20
    n_head: int = 10
    n_kv_head: int = 10
    n_embd: int = 1280
    window_pattern: str = "SSSL"
    parts: ArchitectureFlags = field(default=MODERN)

    def __post_init__(self) -> None:
        sizes = ("sequence_len", "vocab_size", "n_layer", "n_head", "n_kv_head", "n_embd")
        for name in sizes:
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise UserError(f"model config: {name} is {getattr(self, name)!r}, not a positive number")
        if self.n_embd % self.n_head or (self.n_embd // self.n_head) % 2:
            raise UserError(
                f"model config: width {self.n_embd} does not split into {self.n_head} heads of an even size"
            )
        if self.n_head % self.n_kv_head:
            raise UserError(
                f"model config: {self.n_head} query heads do not divide by {self.n_kv_head} key-value heads"
            )
        if not isinstance(self.window_pattern, str):
            raise UserError(f"model config: window_pattern is {type(self.window_pattern).__name__}, not text")
        if not self.window_pattern or set(self.window_pattern.upper()) - {"S", "L"}:
            raise UserError(
                f"window pattern '{self.window_pattern}' holds more than S and L", "for example SSSL or L"
            )
        if self.parts.smear and self.n_embd < SMEAR_CHANNELS:
            raise UserError(f"model config: width {self.n_embd} is under {SMEAR_CHANNELS}")

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def kv_dim(self) -> int:
        return self.n_kv_head * self.head_dim

    @property
    def padded_vocab(self) -> int:
        multiple = self.parts.vocab_multiple
        return -(-self.vocab_size // multiple) * multiple

    def has_value_embed(self, layer: int) -> bool:
        return self.parts.value_embeds and layer % 2 == (self.n_layer - 1) % 2

    @property
    def windows(self) -> list[int | None]:
        """Each layer's window W: a query sees W earlier keys and itself; None: all of them."""
        if not self.parts.windows:
            return [None] * self.n_layer
        whole = self.sequence_len
        short = -(-whole // 4 // WINDOW_MULTIPLE) * WINDOW_MULTIPLE  # a quarter, rounded up
        pattern = self.window_pattern.upper()
        tiled = [whole if pattern[i % len(pattern)] == "L" else short for i in range(self.n_layer)]
        return [*tiled[:-1], whole]  # the last layer always sees the whole context

    def to_meta(self) -> dict[str, Any]:
        """The keys of a checkpoint's `model_config`, in upstream nanochat's names."""
        names = [f.name for f in fields(self) if f.name != "parts"]
        return {name: getattr(self, name) for name in names if name != "window_pattern" or self.parts.windows}


def parameter_counts(config: ModelConfig) -> dict[str, int]:
    """Parameters by group: wte, value_embeds, lm_head, matrices (all of `transformer.h`), scalars, total."""
    width, kv, layers, parts = config.n_embd, config.kv_dim, config.n_layer, config.parts
    block = 2 * width * width + 2 * kv * width + 8 * width * width  # q and out, k and v, both of the MLP
    with_value = sum(config.has_value_embed(i) for i in range(layers))
    counts = {
        "wte": config.padded_vocab * width,
        "value_embeds": with_value * config.padded_vocab * kv,
        "lm_head": config.padded_vocab * width,
        "matrices": layers * block + with_value * VALUE_GATE_CHANNELS * config.n_kv_head,
        "scalars": (2 * layers if parts.layer_scales else 0)
        + (SMEAR_CHANNELS + 1 if parts.smear else 0)
        + (1 if parts.backout else 0),
    }
    return {**counts, "total": sum(counts.values())}


def matmul_parameters(config: ModelConfig) -> int:
    """Parameters that multiply the token stream: matrices, padded head, gates."""
    counts = parameter_counts(config)
    return counts["matrices"] + counts["lm_head"] + (SMEAR_CHANNELS if config.parts.smear else 0)


def flops_per_token(config: ModelConfig) -> int:
    """Training FLOPs a token, forward and backward: 6 a matmul parameter (Kaplan, arXiv 2001.08361) plus
    12·heads·head_dim·min(window, context) a layer for attention (PaLM, arXiv 2204.02311, appendix B)."""
    context = config.sequence_len
    reach = sum(context if window is None else min(window, context) for window in config.windows)
    return 6 * matmul_parameters(config) + 12 * config.n_head * config.head_dim * reach


def prefill_flops(config: ModelConfig, tokens: int) -> int:
    """FLOPs of reading a prompt of `tokens`: 2 a matmul parameter (the head for the last token alone), and
    4·heads·head_dim a key that a query sees."""
    head = config.padded_vocab * config.n_embd
    keys = 0
    for window in config.windows:
        reach = tokens if window is None else min(window + 1, tokens)
        keys += reach * (reach + 1) // 2 + (tokens - reach) * reach
    blocks = (matmul_parameters(config) - head) * tokens
    return 2 * (blocks + head) + 4 * config.n_head * config.head_dim * keys


def decode_bytes(config: ModelConfig, rows: int, context: int, item: int) -> int:
    """Bytes a decoding step must read: every matmul parameter once, and for each of `rows` rows of
    `context` tokens the keys and values that each layer's window still sees. `item`: bytes of a number."""
    seen = sum(context if window is None else min(context, window + 1) for window in config.windows)
    return item * (matmul_parameters(config) + rows * 2 * config.kv_dim * seen)


def config_from_checkpoint(model_config: Mapping[str, Any], keys: Iterable[str]) -> ModelConfig:
    """The configuration of a checkpoint of either era, recognised by its metadata and its weights' names.

    A checkpoint with none of the modern parts and no window pattern is classic. Between the eras a missing
    window pattern means "L", and a part whose weights are missing is off.
    Raises `UserError` when a size is missing or makes no sense.
    """
    names = set(keys)
    has = {
        "layer_scales": bool(names & {"resid_lambdas", "x0_lambdas"}),
        "value_embeds": any(name.startswith("value_embeds.") for name in names),
        "smear": "smear_lambda" in names,
        "backout": "backout_lambda" in names,
    }
    classic = not any(has.values()) and "window_pattern" not in model_config
    parts = CLASSIC if classic else ArchitectureFlags(**has)
    known = {f.name for f in fields(ModelConfig)} - {"parts"}
    sizes = {name: value for name, value in model_config.items() if name in known}
    if missing := sorted(known - sizes.keys() - {"window_pattern", "n_kv_head"}):
        raise UserError(f"the checkpoint's model_config lacks {', '.join(missing)}")
    sizes.setdefault("n_kv_head", sizes["n_head"])
    return ModelConfig(**{"window_pattern": "L", **sizes, "parts": parts})


def flags_to_meta(parts: ArchitectureFlags) -> dict[str, Any]:
    return asdict(parts)
