"""One token for every row of a running batch: the transformer again, written for decoding.

Computing one token is a pass over the weights and the caches, and on a small model most of the time would
go to Python and to launching kernels. On a CPU a step is therefore one call of a compiled kernel
(`cpu_step.py`). Elsewhere, and where that was not built, torch computes it: weights are prepared once
(queries, keys, values and gates in one matrix), results go to buffers that stay, keys and values straight
to their slot.

Channels of queries and keys are interleaved (their products do not change), so that the rotation of a pair
is the multiplication of one complex number.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.infer.cpu_step import CpuStep, kernel_there
from nanochat.infer.cuda_graphs import SLACK_OF_GRAPHS, Capture, CudaCapture, StepGraphs
from nanochat.infer.decode_weights import LayerWeights, Weights, interleave, prepare
from nanochat.infer.kvcache import SLACK, BatchCache, KVCache, LayerReads
from nanochat.model.architecture import SMEAR_CHANNELS, SOFTCAP, ModelConfig
from nanochat.model.gpt import GPT

EPS = torch.finfo(torch.float32).eps
PREFILL_CHUNK = 1024
"""Tokens of a prompt read at a time: it bounds the memory of a prefill."""


def as_pairs(x: Tensor) -> Tensor:
    """A view of (…, D) float32 as (…, D/2) complex numbers."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


def even(count: int) -> int:
    return count + count % 2


class Prepared:
    """What a model that may be trained on decodes with: the kernel of a CPU, or weights for torch.

    `kernel` False leaves the kernel out.
    """

    def __init__(self, model: GPT, kernel: bool = True) -> None:
        self._model = model
        self._by_kernel = kernel and model.device.type == "cpu" and kernel_there()
        self.kernel: CpuStep | None = None
        self._weights: Weights | None = None
        self.version = 0
        """Another number when the weights lie elsewhere than before."""
        self._make()

    @property
    def weights(self) -> Weights:
        """The weights for torch."""
        assert self._weights is not None
        return self._weights

    @property
    def dtype(self) -> torch.dtype:
        """What keys and values are kept in."""
        return self._model.compute_dtype if self.kernel is None else torch.float32

    def refresh(self) -> None:
        """Prepares anew when the model's weights have changed since."""
        if self._fingerprint() != self._made_from:
            self._make()
            self.version += 1

    def _make(self) -> None:
        made_from = self._fingerprint()
        weights = prepare(self._model)
        if self._by_kernel:
            self.kernel = CpuStep(self._model.config, weights)
        else:
            self._weights = weights
        self._made_from = made_from

    def _fingerprint(self) -> list[tuple[int, int]]:
        """Where each parameter lies and how often it was written to."""
        return [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in self._model.parameters()]


class Scratch:
    """The buffers a step of `rows` rows writes to, and the views of them it needs."""

    def __init__(self, config: ModelConfig, rows: int, like: Tensor, table: Tensor) -> None:
        heads, kv_heads, dim, width = config.n_head, config.n_kv_head, config.head_dim, config.n_embd
        kv_dim, layers = config.kv_dim, config.n_layer
        empty = like.new_empty
        self.embedded = table.new_empty(rows, width)
        self.embedding, self.x0, self.x = empty(rows, width), empty(rows, width), empty(rows, width)
        self.hidden, self.middle = empty(rows, width), empty(rows, width)
        self.shares = empty(layers, rows, width)
        self.smear_gate = empty(rows, 1)
        self.up = empty(rows, 4 * width)
        self.logits = empty(rows, config.vocab_size)
        self.qkv = empty(rows, width + 2 * kv_dim)
        self.qkv_gate = empty(rows, width + 2 * kv_dim + even(kv_heads))
        self.gate = empty(rows, kv_heads, 1)
        self.value = table.new_empty(rows, kv_dim)
        self.attended = empty(rows * kv_heads, heads // kv_heads, dim)
        self.y = self.attended.view(rows, width)
        self.none = torch.zeros(1, dtype=like.dtype, device=like.device)
        # Queries and keys are turned and normed in float32 whatever the compute type.
        exact = torch.empty(rows, heads + kv_heads, dim, dtype=torch.float32, device=like.device)
        self.raw, self.turned = exact, torch.empty_like(exact)
        self.turned_pairs = as_pairs(self.turned)
        self.qk_norm = exact.new_empty(rows, heads + kv_heads, 1)
        self.q_norm, self.k_norm = self.qk_norm[:, :heads], self.qk_norm[:, heads:]
        self.q_turned, self.k_turned = self.turned[:, :heads], self.turned[:, heads:]
        self.q = empty(rows, heads, dim)
        self.queries = self.q.view(rows * kv_heads, heads // kv_heads, dim)
        self.angles = torch.empty(rows, dim // 2, dtype=torch.complex64, device=like.device)
        self.angle_pairs = self.angles[:, None]
        self.eps32 = torch.full((1,), EPS, device=like.device)
        qk = width + kv_dim
        self.views: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        for name, buffer in (("plain", self.qkv), ("gated", self.qkv_gate)):
            heads_view = buffer[:, :qk].view(rows, -1, dim)
            values = buffer[:, qk : qk + kv_dim].view(rows, kv_heads, dim)
            pairs = as_pairs(heads_view if like.dtype == torch.float32 else self.raw)
            self.views[name] = (buffer, heads_view, pairs, values)
        self.gate_logits = self.qkv_gate[:, qk + kv_dim : qk + kv_dim + kv_heads, None]
        self.value_heads = self.value.view(rows, kv_heads, dim)


class Decoder:
    """A model that decodes a running batch. Rows join by `admit`, and leave by `remove`.

    `capture` makes its steps replayable: "auto" captures CUDA graphs on a CUDA device, None never does.
    """

    def __init__(
        self, model: GPT, prepared: "Prepared | None" = None, capture: "Capture | str | None" = "auto"
    ) -> None:
        self.model = model
        self.config = model.config
        if isinstance(capture, str):
            capture = CudaCapture() if model.device.type == "cuda" else None
        self._capture = capture
        self._prepared = prepared or Prepared(model, kernel=capture is None)
        self.like = torch.empty(0, dtype=self._prepared.dtype, device=model.device)
        self.cache = BatchCache(self.config, self.like, SLACK_OF_GRAPHS if capture else SLACK)
        self.graphs = StepGraphs(self, capture) if capture else None
        self._scratch: dict[int, Scratch] = {}
        self._logits = torch.empty(0, self.config.vocab_size)
        self.angles = torch.empty(0, self.config.head_dim // 2, dtype=torch.complex64, device=model.device)
        self._scale = self.config.parts.qk_gain**2 / self.config.head_dim**0.5

    @property
    def rows(self) -> int:
        return len(self.cache.lengths)

    @property
    def method(self) -> str:
        """What computes a step, as people call it."""
        if self._prepared.kernel is not None:
            return f"compiled kernel ({self._prepared.kernel.instructions})"
        return "torch" if self.graphs is None else "torch, captured as CUDA graphs"

    @property
    def weights_version(self) -> int:
        """Another number when the weights lie elsewhere than before."""
        return self._prepared.version

    def beside(self) -> "Decoder":
        """Another decoder of the same model, with a batch of its own and the weights in common."""
        return Decoder(self.model, self._prepared, self._capture)

    def refresh(self) -> None:
        """Prepares the weights anew when the model's have changed since: for all decoders that have them in
        common, so rows that run in another go on with the new ones."""
        self._prepared.refresh()

    @torch.inference_mode()
    def prefill(self, prompt: list[int]) -> tuple[KVCache, Tensor]:
        """Reads a prompt of at least one token: its cache, and the logits (1, V) of what follows."""
        like = self.like.to(self.model.compute_dtype)
        cache = KVCache(self.config, 1, len(prompt), like)
        for start in range(0, len(prompt), PREFILL_CHUNK):
            chunk = prompt[start : start + PREFILL_CHUNK]
            hidden = self.model.hidden(torch.tensor([chunk], device=self.model.device), cache)
        cache.keys = [interleave(k) for k in cache.keys]
        return cache, self.model.logits(hidden[:, -1])

    @torch.inference_mode()
    def admit(self, prompt: KVCache, rows: int, to_come: int) -> None:
        """Adds rows that have read `prompt`, as `prefill` gave it."""
        self.cache.admit(prompt, rows, to_come)

    @torch.inference_mode()
    def remove(self, row: int) -> None:
        """Takes a row out of the batch; the last row takes its number."""
        self.cache.remove(row)

    def clear(self) -> None:
        """Takes every row out."""
        self.cache.lengths.clear()

    @torch.inference_mode()
    def step(self, tokens: list[int]) -> Tensor:
        """Reads one token a row and gives the logits (n, V) float32 of the next; good until the next step."""
        cache = self.cache
        cache.make_step()
        self._need_angles(max(cache.lengths) + 1)
        if self._prepared.kernel is not None:
            rows = len(tokens)
            if len(self._logits) < rows:
                self._logits = torch.empty(rows, self.config.vocab_size)
            logits = self._logits[:rows]
            self._prepared.kernel.step(tokens, cache, self.angles, logits)
        elif self.graphs is not None:
            logits = self.graphs.step(tokens)
        else:
            ids = torch.tensor(tokens, device=self.model.device)
            logits = self.forward(ids, self._reads(len(tokens)))
        cache.advance()
        return logits

    def _need_angles(self, length: int) -> None:
        """The rotation of every position of a sequence, (positions, D/2) complex."""
        if self.angles.size(0) >= length:
            return
        length = max(2 * length, self.config.sequence_len)
        cos, sin = [table[:, 0].float() for table in self.model.rotary(0, length)]
        self.angles = torch.complex(cos, -sin)

    @staticmethod
    def _norm(x: Tensor, out: Tensor) -> None:
        """RMSNorm of the last dimension into `out`."""
        out.copy_(F.rms_norm(x, x.shape[-1:]))

    def forward(self, ids: Tensor, reads: list[LayerReads]) -> Tensor:
        """Logits (rows, V) float32 of one token a row; writes to the slots in `reads` and to the caches."""
        config, weights, cache, rows = self.config, self._prepared.weights, self.cache, ids.size(0)
        s = self._scratch.get(rows)
        if s is None:
            s = self._scratch[rows] = Scratch(config, rows, self.like, weights.wte)
        torch.index_select(self.angles, 0, cache.positions[:rows], out=s.angles)
        torch.index_select(weights.wte, 0, ids, out=s.embedded)
        if weights.smear is None:
            self._norm(s.embedded, s.x0)
        else:
            self._norm(s.embedded, s.embedding)
            last = cache.last_embedding[:rows]
            torch.mm(s.embedding[:, :SMEAR_CHANNELS], weights.smear, out=s.smear_gate)
            s.smear_gate.sigmoid_().mul_(weights.smear_scale)
            torch.addcmul(s.embedding, s.smear_gate, last, out=s.x0)
            last.copy_(s.embedding)
        if weights.first is not None:
            torch.mul(s.x0, weights.first, out=s.shares)
        x = s.x.copy_(s.x0)
        for i, layer in enumerate(weights.layers):
            if weights.first is not None:
                torch.add(s.shares[i], x, alpha=weights.resid[i], out=x)
            self._norm(x, s.hidden)
            self._attend(layer, s, ids, reads[i])
            x.addmm_(s.y, layer.out)
            self._norm(x, s.hidden)
            torch.mm(s.hidden, layer.up, out=s.up)
            s.up.relu_()
            torch.mul(s.up, s.up, out=s.up)
            x.addmm_(s.up, layer.down)
            if i == config.n_layer // 2 and config.parts.backout:
                s.middle.copy_(x)
        if config.parts.backout:
            x.sub_(s.middle, alpha=weights.backout)
        self._norm(x, s.hidden)
        torch.mm(s.hidden, weights.head, out=s.logits)
        logits = s.logits.float() if config.parts.softcap_float32 else s.logits
        return logits.div_(SOFTCAP).tanh_().mul_(SOFTCAP).float()

    def _reads(self, rows: int) -> list[LayerReads]:
        """For each layer the slots of this step, and no more keys than some row sees."""
        reads: dict[int, LayerReads] = {}
        lengths, heads = self.cache.lengths, self.config.n_kv_head
        for track in self.cache.tracks:
            end, live = track.end, self.cache.live(track)
            keys, values = track.keys[:, : rows * heads], track.values[:, : rows * heads]
            seen = slice(end - live, end + 1)
            ragged = track.kept(min(lengths)) < live
            bias = track.bias[: rows * heads, :, seen] if ragged else None
            slots = [b[:, :, end].view(len(b), rows, heads, -1).unbind(0) for b in (keys, values)]
            parts = [keys[:, :, seen].transpose(2, 3).unbind(0), values[:, :, seen].unbind(0)]
            for j, layer in enumerate(track.layers):
                reads[layer] = LayerReads(slots[0][j], slots[1][j], parts[0][j], parts[1][j], bias)
        return [reads[i] for i in range(self.config.n_layer)]

    def _attend(self, layer: LayerWeights, s: Scratch, ids: Tensor, read: LayerReads) -> None:
        """Attention of the new token of every row into `s.attended`; its key and value into their slots."""
        table = layer.value_embed
        buffer, qk, pairs, v = s.views["plain" if table is None else "gated"]
        torch.mm(s.hidden, layer.qkv, out=buffer)
        if table is None:
            read.value.copy_(v)
        else:
            torch.index_select(table, 0, ids, out=s.value)
            torch.sigmoid(s.gate_logits, out=s.gate)
            torch.addcmul(v, s.gate, s.value_heads.to(v.dtype), value=3, out=read.value)
        if qk.dtype != torch.float32:
            s.raw.copy_(qk)
        torch.mul(pairs, s.angle_pairs, out=s.turned_pairs)
        # Rotated first, normed after, as in the model: a rounded table's turn changes the length.
        torch.linalg.vector_norm(s.turned, 2, -1, True, out=s.qk_norm)
        torch.addcmul(s.eps32, s.qk_norm, s.qk_norm, value=1 / self.config.head_dim, out=s.qk_norm)
        s.qk_norm.rsqrt_()
        torch.mul(s.q_turned, s.q_norm, out=s.q)
        torch.mul(s.k_turned, s.k_norm, out=read.key)
        if read.store is not None:
            slot, keys, values = read.store
            keys.index_copy_(1, slot, read.key.view(len(keys), 1, -1))
            values.index_copy_(1, slot, read.value.view(len(values), 1, -1))
        if read.bias is None:
            scores = torch.baddbmm(s.none, s.queries, read.keys, beta=0, alpha=self._scale)
        else:
            scores = torch.baddbmm(read.bias, s.queries, read.keys, alpha=self._scale)
        torch.bmm(torch.softmax(scores, -1), read.values, out=s.attended)
