"""One token for every row of a running batch: the transformer again, written for decoding.

Computing one token is a pass over the weights and the caches, and on a small model most of the time would
go to Python and to launching kernels. On a CPU a step is therefore one call of a compiled kernel
(`cpu_step.py`). Elsewhere, and where that was not built, torch computes it: weights are prepared once
(queries, keys, values and gates in one matrix), results go to preallocated buffers, keys and values straight
to their slot of the cache.

Channels of queries and keys are interleaved (their products do not change), so that the rotation of a pair
is the multiplication by one complex number (RoPE, arXiv 2104.09864).

Shapes below: B rows of the batch, C the model's width, H query heads, H_kv key-value heads, D channels of a
head, V the vocabulary.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.infer.cpu_step import READ_TOKENS, CpuStep, kernel_available
from nanochat.infer.cuda_graphs import GRAPH_SPARE_SLOTS, Capture, CudaGraphCapture, StepGraphs
from nanochat.infer.decode_weights import DecodeWeights, LayerWeights, prepare_weights
from nanochat.infer.kvcache import SPARE_SLOTS, BatchCache, KVCache, LayerCacheView
from nanochat.infer.prompt_reader import PromptPart, passes, read_in_torch
from nanochat.model.architecture import SMEAR_CHANNELS, SOFTCAP, ModelConfig
from nanochat.model.gpt import GPT

EPS = torch.finfo(torch.float32).eps
"""What torch's rms_norm adds to the mean square when none is given."""
VALUE_GATE_SCALE = 3.0
"""Value embeddings are added with a gate of 3 · sigmoid, as in the model."""
PREFILL_CHUNK = 1024
"""Tokens of prompts read in one pass: it bounds the memory of a prefill."""


def as_complex(x: Tensor) -> Tensor:
    """A view of (…, D) float32 as (…, D/2) complex numbers."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


class PreparedModel:
    """What a model that may be trained on decodes with: the CPU kernel, or weights for torch.

    `kernel` False leaves the kernel out.
    """

    def __init__(self, model: GPT, kernel: bool = True) -> None:
        self._model = model
        self._use_kernel = kernel and model.device.type == "cpu" and kernel_available()
        self.kernel: CpuStep | None = None
        self._weights: DecodeWeights | None = None
        self.version = 0
        """Changes whenever the weights are at new addresses."""
        self._prepare()

    @property
    def weights(self) -> DecodeWeights:
        """The weights for torch."""
        assert self._weights is not None
        return self._weights

    @property
    def dtype(self) -> torch.dtype:
        """The type that keys and values are stored in."""
        return self._model.compute_dtype if self.kernel is None else torch.float32

    def refresh(self) -> None:
        """Prepares the weights again when the model's have changed since."""
        if self._fingerprint() != self._prepared_from:
            self._prepare()
            self.version += 1

    def _prepare(self) -> None:
        self._prepared_from = self._fingerprint()
        weights = prepare_weights(self._model)
        if self._use_kernel:
            self.kernel = CpuStep(self._model.config, weights)
        else:
            self._weights = weights

    def _fingerprint(self) -> list[tuple[int, int]]:
        """Address and version counter of each parameter: torch counts in-place writes, except to inference
        tensors."""
        return [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self._model.parameters()]


class StepBuffers:
    """The preallocated buffers that a step of B rows writes to, and the views of them it needs.

    Fixed addresses cost no allocation a step, and a CUDA graph can be replayed on them.
    """

    def __init__(self, config: ModelConfig, rows: int, like: Tensor, table: Tensor) -> None:
        heads, kv_heads, dim, width = config.n_head, config.n_kv_head, config.head_dim, config.n_embd
        kv_dim, qk = config.kv_dim, config.n_embd + config.kv_dim
        empty = like.new_empty

        # The residual stream and the MLP.
        self.token_embedding = table.new_empty(rows, width)  # (B, C), in the table's type
        self.embedding = empty(rows, width)  # (B, C): normed
        self.smear_gate = empty(rows, 1)
        self.x0 = empty(rows, width)  # (B, C): the first embedding, added to each layer's input
        self.x0_scaled = empty(config.n_layer, rows, width)
        self.x = empty(rows, width)
        self.hidden = empty(rows, width)  # (B, C): x, normed
        self.up = empty(rows, 4 * width)
        self.backout = empty(rows, width)  # (B, C): x after the middle layer
        self.logits = empty(rows, config.vocab_size)

        # Attention. Queries and keys are rotated and normed in float32 whatever the compute type.
        self.qkv = empty(rows, width + 2 * kv_dim)
        self.qkv_gate = empty(rows, width + 2 * kv_dim + kv_heads + kv_heads % 2)  # as in `LayerWeights.qkv`
        self.gate_logits = self.qkv_gate[:, qk + kv_dim : qk + kv_dim + kv_heads, None]  # (B, H_kv, 1)
        self.gate = empty(rows, kv_heads, 1)
        self.value_embed = table.new_empty(rows, kv_dim)
        self.value_embed_heads = self.value_embed.view(rows, kv_heads, dim)
        self.qk_float32 = torch.empty(rows, heads + kv_heads, dim, dtype=torch.float32, device=like.device)
        self.rotated = torch.empty_like(self.qk_float32)
        self.rotated_complex = as_complex(self.rotated)  # (B, H + H_kv, D/2)
        self.rotated_q, self.rotated_k = self.rotated[:, :heads], self.rotated[:, heads:]
        self.norm = self.qk_float32.new_empty(rows, heads + kv_heads, 1)
        self.norm_q, self.norm_k = self.norm[:, :heads], self.norm[:, heads:]
        self.eps = torch.full((1,), EPS, device=like.device)
        self.rotation = torch.empty(rows, dim // 2, dtype=torch.complex64, device=like.device)
        self.rotation_of_heads = self.rotation[:, None]  # (B, 1, D/2)
        self.q = empty(rows, heads, dim)
        self.queries = self.q.view(rows * kv_heads, heads // kv_heads, dim)  # (B · H_kv, H / H_kv, D)
        self.attended = empty(rows * kv_heads, heads // kv_heads, dim)
        self.attended_rows = self.attended.view(rows, width)  # (B, C)
        self.zero = torch.zeros(1, dtype=like.dtype, device=like.device)
        self.projections = {
            gated: self._projection(buffer, rows, config)
            for gated, buffer in ((False, self.qkv), (True, self.qkv_gate))
        }

    def _projection(
        self, buffer: Tensor, rows: int, config: ModelConfig
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The product of a layer's `qkv` and its parts: all, queries and keys, the same as complex,
        values."""
        qk, kv_heads, dim = config.n_embd + config.kv_dim, config.n_kv_head, config.head_dim
        heads = buffer[:, :qk].view(rows, -1, dim)  # (B, H + H_kv, D)
        values = buffer[:, qk : qk + config.kv_dim].view(rows, kv_heads, dim)  # (B, H_kv, D)
        pairs = as_complex(heads if buffer.dtype == torch.float32 else self.qk_float32)  # (B, H + H_kv, D/2)
        return buffer, heads, pairs, values


class Decoder:
    """A model that decodes a running batch. Rows join by `admit`, and leave by `remove`.

    `capture` makes its steps replayable: "auto" captures CUDA graphs on a CUDA device, None never does.
    """

    def __init__(
        self, model: GPT, prepared: "PreparedModel | None" = None, capture: "Capture | str | None" = "auto"
    ) -> None:
        self.model = model
        self.config = model.config
        if isinstance(capture, str):
            capture = CudaGraphCapture() if model.device.type == "cuda" else None
        self._capture = capture
        self._prepared = prepared or PreparedModel(model, kernel=capture is None)
        self.like = torch.empty(0, dtype=self._prepared.dtype, device=model.device)
        self.cache = BatchCache(self.config, self.like, GRAPH_SPARE_SLOTS if capture else SPARE_SLOTS)
        self.graphs = StepGraphs(self, capture) if capture else None
        self._buffers: dict[int, StepBuffers] = {}
        """By number of rows."""
        self._logits = torch.empty(0, self.config.vocab_size)
        self.rotations = torch.empty(0, self.config.head_dim // 2, dtype=torch.complex64, device=model.device)
        """(positions, D/2): what the channel pairs of queries and keys are multiplied by."""
        self._scale = self.config.parts.qk_gain**2 / self.config.head_dim**0.5

    @property
    def rows(self) -> int:
        return len(self.cache.lengths)

    @property
    def backend(self) -> str:
        """What computes a step, for people."""
        if self._prepared.kernel is not None:
            return f"compiled kernel ({self._prepared.kernel.instructions})"
        return "torch" if self.graphs is None else "torch, captured as CUDA graphs"

    @property
    def reads_interleaved(self) -> bool:
        """Whether the caches of prompts hold keys with interleaved channels, as the batch's does."""
        return self._reading_kernel is not None

    @property
    def _reading_kernel(self) -> CpuStep | None:
        """What reads prompts in place of torch; of a model in bfloat16 it would keep other numbers."""
        return self._prepared.kernel if self.model.compute_dtype == torch.float32 else None

    @property
    def weights_version(self) -> int:
        """Changes whenever the weights are at new addresses."""
        return self._prepared.version

    @property
    def weights_key(self) -> tuple[object, int]:
        """Equal as long as keys and values come from the same weights."""
        return self._prepared, self._prepared.version

    def new_batch(self) -> "Decoder":
        """Another decoder that shares this one's weights and has a batch of its own."""
        return Decoder(self.model, self._prepared, self._capture)

    def refresh(self) -> None:
        """Prepares the weights again when the model's have changed since: for every decoder that shares them,
        so rows that run in another one continue with the new weights."""
        self._prepared.refresh()

    @torch.inference_mode()
    def prefill(self, prompt: Sequence[int]) -> tuple[KVCache, Tensor]:
        """Reads a prompt of at least one token: its cache, and the logits (1, V) of the next token."""
        cache = self.prompt_cache(len(prompt))
        return cache, self.read([PromptPart(cache, prompt)])

    @torch.inference_mode()
    def prompt_cache(self, capacity: int) -> KVCache:
        """An empty cache for one prompt of at most `capacity` tokens."""
        like = self.like.to(self.model.compute_dtype)
        return KVCache(self.config, 1, capacity, like, interleaved=self.reads_interleaved)

    @torch.inference_mode()
    def read(self, parts: Sequence[PromptPart]) -> Tensor:
        """Reads further tokens of prompts into their caches: the logits (parts, V) of each one's next."""
        kernel = self._reading_kernel
        logits: dict[int, Tensor] = {}
        for group in passes(parts, PREFILL_CHUNK if kernel is None else READ_TOKENS):
            if kernel is None:
                found = read_in_torch(self.model, group)
            else:
                self._extend_rotations(max(part.cache.length + len(part.tokens) for part in group))
                found = kernel.read(group, self.rotations)
            logits |= {id(part.cache): row for part, row in zip(group, found, strict=True)}
        return torch.stack([logits[id(part.cache)] for part in parts])

    @torch.inference_mode()
    def admit(self, prompt: KVCache, rows: int, expected_tokens: int) -> None:
        """Adds rows that have read `prompt`, from `prefill` or `read`, and may add `expected_tokens` each."""
        self.cache.admit(prompt, rows, expected_tokens)

    @torch.inference_mode()
    def remove(self, row: int) -> None:
        """Takes a row out of the batch; the last row takes its number."""
        self.cache.remove(row)

    def clear(self) -> None:
        """Takes every row out."""
        self.cache.lengths.clear()

    @torch.inference_mode()
    def step(self, tokens: list[int]) -> Tensor:
        """Reads one token a row and returns the logits (B, V) float32 of the next; valid until the next
        step."""
        cache = self.cache
        cache.reserve_step()
        self._extend_rotations(max(cache.lengths) + 1)
        if self._prepared.kernel is not None:
            rows = len(tokens)
            if len(self._logits) < rows:
                self._logits = torch.empty(rows, self.config.vocab_size)
            logits = self._logits[:rows]
            self._prepared.kernel.step(tokens, cache, self.rotations, logits)
        elif self.graphs is not None:
            logits = self.graphs.step(tokens)
        else:
            ids = torch.tensor(tokens, device=self.model.device)
            logits = self.forward(ids, self._cache_views(len(tokens)))
        cache.advance()
        return logits

    def _extend_rotations(self, length: int) -> None:
        """Makes the rotations of at least the first `length` positions."""
        if self.rotations.size(0) >= length:
            return
        length = max(2 * length, self.config.sequence_len)
        cos, sin = [table[:, 0].float() for table in self.model.rotary(0, length)]  # (length, D/2) each
        self.rotations = torch.complex(cos, -sin)  # the model rotates by −θ

    # -- one step in torch -------------------------------------------------------------------------

    def forward(self, ids: Tensor, views: list[LayerCacheView]) -> Tensor:
        """Logits (B, V) float32 after one token a row, ids (B,); writes to the slots in `views` and to the
        cache."""
        config, weights, rows = self.config, self._prepared.weights, ids.size(0)
        s = self._buffers.get(rows)
        if s is None:
            s = self._buffers[rows] = StepBuffers(config, rows, self.like, weights.wte)
        torch.index_select(self.rotations, 0, self.cache.positions[:rows], out=s.rotation)
        self._embed(s, ids)
        x = s.x.copy_(s.x0)  # (B, C)
        for number, layer in enumerate(weights.layers):
            if weights.x0_scales is not None:
                torch.add(s.x0_scaled[number], x, alpha=weights.resid_scales[number], out=x)
            _rms_norm(x, s.hidden)
            self._attend(layer, s, ids, views[number])
            x.addmm_(s.attended_rows, layer.out)
            _rms_norm(x, s.hidden)
            torch.mm(s.hidden, layer.up, out=s.up)  # (B, 4 C)
            s.up.relu_()
            torch.mul(s.up, s.up, out=s.up)
            x.addmm_(s.up, layer.down)
            if number == config.n_layer // 2 and config.parts.backout:
                s.backout.copy_(x)
        if config.parts.backout:
            x.sub_(s.backout, alpha=weights.backout_scale)
        return self._head(s)

    def _embed(self, s: StepBuffers, ids: Tensor) -> None:
        """The normed and smeared embedding into `s.x0`, and its factor of each layer into `s.x0_scaled`."""
        weights = self._prepared.weights
        torch.index_select(weights.wte, 0, ids, out=s.token_embedding)
        if weights.smear_gate is None:
            _rms_norm(s.token_embedding, s.x0)
        else:
            _rms_norm(s.token_embedding, s.embedding)
            last = self.cache.last_embedding[: ids.size(0)]  # (B, C): before its own smear
            torch.mm(s.embedding[:, :SMEAR_CHANNELS], weights.smear_gate, out=s.smear_gate)
            s.smear_gate.sigmoid_().mul_(weights.smear_scale)
            torch.addcmul(s.embedding, s.smear_gate, last, out=s.x0)
            last.copy_(s.embedding)
        if weights.x0_scales is not None:
            torch.mul(s.x0, weights.x0_scales, out=s.x0_scaled)  # (layers, B, C)

    def _attend(self, layer: LayerWeights, s: StepBuffers, ids: Tensor, view: LayerCacheView) -> None:
        """Attention of every row's new token into `s.attended`; its key and value into their slots."""
        buffer, qk, qk_complex, v = s.projections[layer.value_embed is not None]
        torch.mm(s.hidden, layer.qkv, out=buffer)
        if layer.value_embed is None:
            view.value.copy_(v)
        else:
            torch.index_select(layer.value_embed, 0, ids, out=s.value_embed)
            torch.sigmoid(s.gate_logits, out=s.gate)
            embedded = s.value_embed_heads.to(v.dtype)  # (B, H_kv, D)
            torch.addcmul(v, s.gate, embedded, value=VALUE_GATE_SCALE, out=view.value)
        if qk.dtype != torch.float32:
            s.qk_float32.copy_(qk)
        torch.mul(qk_complex, s.rotation_of_heads, out=s.rotated_complex)
        # Rotated first, normed after, as in the model: a rotation by a rounded table changes the length.
        torch.linalg.vector_norm(s.rotated, 2, -1, True, out=s.norm)
        # 1 / √(mean square + ε), the factor of RMSNorm.
        torch.addcmul(s.eps, s.norm, s.norm, value=1 / self.config.head_dim, out=s.norm)
        s.norm.rsqrt_()
        torch.mul(s.rotated_q, s.norm_q, out=s.q)
        torch.mul(s.rotated_k, s.norm_k, out=view.key)
        if view.store is not None:
            slot, keys, values = view.store
            keys.index_copy_(1, slot, view.key.view(len(keys), 1, -1))
            values.index_copy_(1, slot, view.value.view(len(values), 1, -1))
        # (B · H_kv, H / H_kv, D) @ (B · H_kv, D, slots): the query heads that share keys are one matrix
        # (GQA).
        if view.bias is None:
            scores = torch.baddbmm(s.zero, s.queries, view.keys, beta=0, alpha=self._scale)
        else:
            scores = torch.baddbmm(view.bias, s.queries, view.keys, alpha=self._scale)
        torch.bmm(torch.softmax(scores, -1), view.values, out=s.attended)

    def _head(self, s: StepBuffers) -> Tensor:
        """Logits (B, V) float32 of the residual stream, softcapped."""
        _rms_norm(s.x, s.hidden)
        torch.mm(s.hidden, self._prepared.weights.head, out=s.logits)
        logits = s.logits.float() if self.config.parts.softcap_float32 else s.logits
        return logits.div_(SOFTCAP).tanh_().mul_(SOFTCAP).float()

    def _cache_views(self, rows: int) -> list[LayerCacheView]:
        """For each layer this step's slots, and only those keys and values that some row attends to."""
        lengths, heads = self.cache.lengths, self.config.n_kv_head
        views: dict[int, LayerCacheView] = {}
        for window in self.cache.windows:
            end, used = window.end, self.cache.max_lookback(window)
            keys, values = window.keys[:, : rows * heads], window.values[:, : rows * heads]
            new_keys = keys[:, :, end].view(len(keys), rows, heads, -1).unbind(0)  # (B, H_kv, D) a layer
            new_values = values[:, :, end].view(len(values), rows, heads, -1).unbind(0)
            seen = slice(end - used, end + 1)
            seen_keys = keys[:, :, seen].transpose(2, 3).unbind(0)  # (B · H_kv, D, used + 1) a layer
            seen_values = values[:, :, seen].unbind(0)
            ragged = window.lookback(min(lengths)) < used
            for i, layer in enumerate(window.layers):
                views[layer] = LayerCacheView(
                    key=new_keys[i],
                    value=new_values[i],
                    keys=seen_keys[i],
                    values=seen_values[i],
                    bias=window.bias[: rows * heads, :, seen] if ragged else None,
                )
        return [views[layer] for layer in range(self.config.n_layer)]


def _rms_norm(x: Tensor, out: Tensor) -> None:
    """RMSNorm of the last dimension into `out`."""
    out.copy_(F.rms_norm(x, x.shape[-1:]))
