"""How much of one device's memory training takes, counted from the shapes without torch.

Parameters, gradients and optimizer states are exact. Activations are what autograd keeps of one forward
pass of `nanochat.model.gpt`, tensor by tensor; the head's logits are not among them, for the loss computes a
chunk of them at a time (`nanochat.model.loss`). Workspace and context are estimates.
"""

from collections import Counter
from dataclasses import dataclass, fields

from nanochat.model.architecture import VALUE_GATE_CHANNELS, ModelConfig, parameter_counts
from nanochat.model.attention_blocks import kept_weights

FLOAT32 = 4
ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
CONTEXT = {"cuda": 640 << 20, "cpu": 600 << 20}
"""Bytes a process takes before it holds a tensor: CUDA's context and kernels, or Python and torch."""
COMMUNICATION = 512 << 20
"""Bytes of NCCL's buffers, where several GPUs train together."""
LOSS_CHUNK = {"cpu": 1 << 20, "cuda": 1 << 27}
"""Logits in a chunk of the loss (`nanochat.model.loss.chunk_rows`)."""
HEADROOM = 0.95
"""Part of a GPU's memory that can be planned with: the rest is lost between the allocator's blocks."""
LARGEST_BATCH = 4096
"""Rows of a micro-batch beyond which no larger one is tried."""
SMALLEST_FLOAT8 = 128
"""`nanochat.model.fp8.SMALLEST`."""
UPDATE_COPIES = 6
"""An estimate: so many temporaries of a stack's size are alive at once in Muon's update."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by what they hold."""

    parameters: int
    gradients: int
    optimizer: int
    """Momentum and second moments; sharded over the ranks (ZeRO-2, arXiv 1910.02054)."""
    casts: int
    """Matrices in the compute type, kept for the backward pass."""
    activations: int
    """Of one micro-batch, with the head's gradient in float32."""
    workspace: int
    """The largest temporaries beside all that, of the loss or of the optimizer's update."""
    context: int

    @property
    def total(self) -> int:
        return sum(getattr(self, item.name) for item in fields(self))


@dataclass(frozen=True)
class Compute:
    """How a model is computed: what activations depend on besides shapes."""

    device: str = "cuda"
    """cuda or cpu."""
    dtype: str = "bfloat16"
    fp8: bool = False
    compiled: bool = True
    """Blocks run under torch.compile, which recomputes cheap steps instead of keeping them."""

    @property
    def size(self) -> int:
        """Bytes of an element of the compute type."""
        return ELEMENT_BYTES[self.dtype]

    @property
    def table_size(self) -> int:
        """Bytes of an element of the embedding tables (`Runtime.embedding_dtype`)."""
        return 2 if self.device == "cuda" and self.dtype == "bfloat16" else FLOAT32


def estimate_memory(
    config: ModelConfig, compute: Compute, *, device_batch_size: int, world: int = 1
) -> Memory:
    """Bytes that training takes on each of `world` devices with micro-batches of `device_batch_size` rows."""
    weights = parameter_bytes(config, compute)
    activations = activation_bytes(config, compute, device_batch_size)
    # The update runs when activations are gone.
    update = update_workspace(config, compute, world) - activations
    return Memory(
        parameters=weights,
        gradients=weights,
        optimizer=optimizer_bytes(config, compute, world),
        casts=cast_bytes(config, compute),
        activations=activations,
        workspace=max(update, loss_workspace(config, compute, device_batch_size)),
        context=CONTEXT[compute.device] + (COMMUNICATION if compute.device == "cuda" and world > 1 else 0),
    )


def device_batch_that_fits(
    config: ModelConfig, compute: Compute, memory: int, *, world: int = 1, total_batch: int = 0
) -> int:
    """The most rows of a micro-batch that fit `memory` bytes, a power of two; 0 when not even one does.

    With `total_batch` tokens an optimizer step, only what it divides into over all ranks.
    """
    budget, best, rows = int(memory * HEADROOM), 0, 1
    while rows <= LARGEST_BATCH:
        if estimate_memory(config, compute, device_batch_size=rows, world=world).total > budget:
            break
        if not total_batch or total_batch % (rows * config.sequence_len * world) == 0:
            best = rows
        rows *= 2
    return best


def matrix_shapes(config: ModelConfig) -> Counter[tuple[int, int]]:
    """How many matrices of each shape (outputs, inputs) the blocks hold."""
    width, kv = config.n_embd, config.kv_dim
    attention = [(width, width), (kv, width), (kv, width), (width, width)]
    mlp = [(4 * width, width), (width, 4 * width)]
    total = Counter({shape: count * config.n_layer for shape, count in Counter(attention + mlp).items()})
    gates = sum(config.has_value_embed(i) for i in range(config.n_layer))
    if gates:
        total[config.n_kv_head, VALUE_GATE_CHANNELS] += gates
    return total


def parameter_bytes(config: ModelConfig, compute: Compute) -> int:
    """Bytes of all parameters, and so of all gradients: tables in their own type, the rest in float32."""
    counts = parameter_counts(config)
    tables = counts["wte"] + counts["value_embeds"]
    return tables * compute.table_size + (counts["total"] - tables) * FLOAT32


def optimizer_bytes(config: ModelConfig, compute: Compute, world: int = 1) -> int:
    """Muon's momentum and row or column moments in float32; AdamW's two moments in the parameter's type.

    Each rank holds its share: whole matrices (rounded up), rows of the tables; scalars are on every rank.
    """
    counts = parameter_counts(config)
    muon = sum(
        -(-count // world) * (rows * columns + max(rows, columns))
        for (rows, columns), count in matrix_shapes(config).items()
    )
    tables = 2 * (counts["wte"] + counts["value_embeds"]) * compute.table_size
    head = 2 * counts["lm_head"] * FLOAT32
    return FLOAT32 * muon + (tables + head) // world + 2 * counts["scalars"] * FLOAT32


def float8_matrices(config: ModelConfig) -> bool:
    """Whether the blocks' large matrices are of shapes that float8 products take."""
    sides = (config.n_embd, config.kv_dim)
    return all(side >= SMALLEST_FLOAT8 and side % 16 == 0 for side in sides)


def cast_bytes(config: ModelConfig, compute: Compute) -> int:
    """Bytes of the blocks' matrices in the type they are multiplied in, where that is not their own."""
    if compute.dtype == "float32":
        return 0
    matrices = parameter_counts(config)["matrices"]
    if compute.fp8 and float8_matrices(config):
        return matrices
    return 0 if compute.compiled else matrices * compute.size


def activation_bytes(config: ModelConfig, compute: Compute, rows: int) -> int:
    """Bytes that autograd keeps of one forward pass over `rows` rows of the whole context."""
    tokens, width, size = rows * config.sequence_len, config.n_embd, compute.size
    parts = config.parts
    windows = [_if_short(window, config.sequence_len) for window in config.windows]
    blocks = sum(_block_bytes(config, compute, layer, window, rows) for layer, window in enumerate(windows))
    # Token ids, the first embedding (a norm's output and its scale), smear's gate and its result.
    ends = 8 + width * size + FLOAT32
    if parts.smear:
        ends += width * size + 2 * size
    # The last norm, and the gradient of its output, found with the loss.
    ends += width * size + FLOAT32 + width * size
    masks = sum(_mask_bytes(config, compute, window, rows) for window in windows)
    return tokens * (blocks + ends) + masks + config.padded_vocab * width * FLOAT32


def _block_bytes(config: ModelConfig, compute: Compute, layer: int, window: int | None, rows: int) -> int:
    """Bytes a token that one block keeps."""
    width, kv, size = config.n_embd, config.kv_dim, compute.size
    gated = config.has_value_embed(layer)
    cpu = compute.device == "cpu"
    kept = width if config.parts.layer_scales else 0  # the stream, for its λ; a bare sum keeps nothing
    scales = 2 * FLOAT32 + FLOAT32 * (config.n_head + config.n_kv_head)
    kept += width  # the first norm's output
    kept += width + kv + kv + width  # q, k and v as attention takes them, and what it gives
    if gated:
        kept += kv + 2 * config.n_kv_head  # the value embedding, the gate before and after its factor
    kept += width + 8 * width  # the second norm's output; relu's and its square
    attention = FLOAT32 * config.n_head  # the logarithm of each softmax's sum
    if _custom_attention_weights(config, compute, window, rows):
        attention = 0
    elif cpu:
        kept += _window_copies(config, window)
    elif compute.compiled:
        kept += _compiled_difference(config, gated, compute.fp8 and float8_matrices(config))
    else:
        kept += 2 * width + 2 * (width + kv)  # inputs of both norms; q and k before and after their rotation
    bytes_kept = kept * size + scales + attention
    if compute.fp8 and float8_matrices(config):
        # Linear layers keep float8 inputs: three of q, k, v for the one norm's, and so on.
        bytes_kept += (3 * width + width + width + 4 * width) - (width + width + 4 * width) * size
    return bytes_kept


def _compiled_difference(config: ModelConfig, gated: bool, float8: bool) -> int:
    """Elements a token that a compiled block keeps more (or fewer) than the hand-written CPU block.

    Set by what depths 12 and 20 took on an H200 (docs/benchmarks.md). In float8 the result of the first MLP
    matrix is not kept beside its square.
    """
    width, kv = config.n_embd, config.kv_dim
    more = 2 * width + width + kv
    fewer = width + (4 * width if float8 else 0)
    return more - fewer - (2 * config.n_kv_head if gated else 0)


def _if_short(window: int | None, context: int) -> int | None:
    """A layer's window where it is shorter than the context."""
    return None if window is None or window + 1 >= context else window


def _window_copies(config: ModelConfig, window: int | None) -> int:
    """Elements a token of windowed attention in blocks (`attention._blocked`): q, k and v are copied."""
    if window is None or 2 * window > config.sequence_len:
        return 0
    blocks = -(-config.sequence_len // window)
    padded = blocks * window / config.sequence_len
    copies = config.n_embd + 2 * 2 * config.kv_dim + config.n_embd  # q once, k and v twice, the output once
    # The values as they were are not kept; the normed q and k are, by their norms.
    return round(copies * padded) - config.kv_dim


def _custom_attention_weights(config: ModelConfig, compute: Compute, window: int | None, rows: int) -> int:
    """Attention weights kept where `nanochat.model.attention_cpu` computes attention for training, else 0."""
    if compute.device != "cpu" or compute.compiled:
        return 0
    if config.n_kv_head != config.n_head:
        return 0
    return kept_weights(rows, config.n_head, config.sequence_len, window, compute.dtype)


def _mask_bytes(config: ModelConfig, compute: Compute, window: int | None, rows: int) -> int:
    """Bytes of attention weights that the custom CPU form keeps, or of a window's mask, which torch's CPU
    kernel keeps in the compute type."""
    if weights := _custom_attention_weights(config, compute, window, rows):
        return weights * compute.size
    if compute.device != "cpu" or window is None:
        return 0
    if 2 * window > config.sequence_len:
        return config.sequence_len**2 * compute.size
    blocks = -(-config.sequence_len // window)
    return rows * blocks * window * 2 * window * compute.size


def loss_workspace(config: ModelConfig, compute: Compute, rows: int) -> int:
    """Bytes of one chunk's logits and their gradients, and of the head in the compute type."""
    vocab, size = config.vocab_size, compute.size
    chunk = max(16, LOSS_CHUNK[compute.device] // vocab)
    logits = min(chunk, rows * config.sequence_len) * vocab
    head = vocab * config.n_embd * size
    return logits * (2 * size + 2 * FLOAT32) + 2 * head


def update_workspace(config: ModelConfig, compute: Compute, world: int = 1) -> int:
    """Bytes of Muon's temporaries for the largest stack of matrices of one shape."""
    stacks = (-(-count // world) * rows * columns for (rows, columns), count in matrix_shapes(config).items())
    return UPDATE_COPIES * FLOAT32 * max(stacks)
