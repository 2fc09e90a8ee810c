"""The transformer: its parts, attention against its definition, cached decoding against the whole."""

import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.infer.engine import KVCache, generate_batch
from nanochat.model import ops
from nanochat.model.architecture import CLASSIC, MODERN, ArchitectureFlags, ModelConfig, parameter_counts
from nanochat.model.attention import attend, causal_mask
from nanochat.model.gpt import GPT, build_model
from nanochat.model.loss import capped_logits, chunked_loss, token_losses


def config(parts: ArchitectureFlags = MODERN, **sizes: object) -> ModelConfig:
    base = {
        "sequence_len": 16, "vocab_size": 50, "n_layer": 3, "n_head": 4, "n_kv_head": 2, "n_embd": 32,
        "window_pattern": "SL",
    }  # fmt: skip
    return ModelConfig(**(base | sizes), parts=parts)  # type: ignore[arg-type]


def random_model(config: ModelConfig, seed: int = 0) -> GPT:
    """Every parameter random, so that no part is silent."""
    model = build_model(config, "cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.5 if parameter.ndim == 1 else 1.0
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None) -> torch.Tensor:
    """Attention a query at a time, from its definition."""
    out = torch.empty_like(q)
    offset, group = k.size(1) - q.size(1), q.size(2) // k.size(2)
    for b in range(q.size(0)):
        for t in range(q.size(1)):
            first = 0 if window is None else max(0, offset + t - window)
            for h in range(q.size(2)):
                keys, values = (
                    k[b, first : offset + t + 1, h // group],
                    v[b, first : offset + t + 1, h // group],
                )
                weights = (keys @ q[b, t, h] / q.size(-1) ** 0.5).softmax(0)
                out[b, t, h] = weights @ values
    return out


@settings(deadline=None, max_examples=60)
@given(
    queries=st.integers(1, 20), before=st.integers(0, 12), window=st.none() | st.integers(1, 24),
    kv_heads=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99),
)  # fmt: skip
def test_attention_is_its_definition(
    queries: int, before: int, window: int | None, kv_heads: int, seed: int
) -> None:
    """Whole, windowed, in blocks, continued after earlier keys, with shared key-value heads."""
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(2, queries, 4, 8, generator=g, dtype=torch.float64)
    k = torch.randn(2, before + queries, kv_heads, 8, generator=g, dtype=torch.float64)
    v = torch.randn(2, before + queries, kv_heads, 8, generator=g, dtype=torch.float64)
    torch.testing.assert_close(attend(q, k, v, window), plain_attention(q, k, v, window))


def test_a_window_sees_itself_and_w_before() -> None:
    mask = causal_mask(5, 5, 2, torch.device("cpu"))
    assert mask.sum(1).tolist() == [1, 2, 3, 3, 3]


def test_gradients_flow_through_blocked_windows() -> None:
    g = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, 11, 2, 4, generator=g, dtype=torch.float64, requires_grad=True) for _ in "qkv")
    attend(q, k, v, 3).square().sum().backward()
    blocked = [x.grad.clone() for x in (q, k, v) if x.grad is not None]
    for x in (q, k, v):
        x.grad = None
    plain_attention_grad(q, k, v, 3)
    for ours, x in zip(blocked, (q, k, v), strict=True):
        torch.testing.assert_close(ours, x.grad)


def plain_attention_grad(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> None:
    mask = causal_mask(q.size(1), k.size(1), window, q.device)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / q.size(-1) ** 0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(-1)
    torch.einsum("bhqk,bkhd->bqhd", weights, v).square().sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize("in_float32", [True, False])
@pytest.mark.parametrize("compiled", [False, True])
def test_chunked_loss_and_gradients_are_those_of_plain_cross_entropy(
    in_float32: bool, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled and not shutil.which("g++"):
        pytest.skip("compiling for the CPU needs a C++ compiler")
    monkeypatch.setattr("nanochat.model.loss.chunk_rows", lambda vocab, device: 7)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(33, 16, generator=g, requires_grad=True)
    head = (3 * torch.randn(64, 16, generator=g)).requires_grad_()
    targets = torch.randint(0, 50, (33,), generator=g)
    targets[::5] = -1
    logits = 15 * torch.tanh(F.linear(x, head[:50]) / 15)
    expected = F.cross_entropy(logits, targets, ignore_index=-1)
    expected_grads = torch.autograd.grad(expected * 0.25, (x, head))
    loss = chunked_loss(x, head, targets, 50, in_float32, compiled=compiled)
    grads = torch.autograd.grad(loss * 0.25, (x, head))
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert (grads[1][50:] == 0).all()
    nats = token_losses(x.detach(), head.detach(), targets, 50, in_float32)
    torch.testing.assert_close(nats.sum() / (targets >= 0).sum(), expected.detach())
    assert (nats[::5] == 0).all()


def test_a_batch_with_nothing_to_learn_has_loss_zero() -> None:
    x, head = torch.randn(4, 8, requires_grad=True), torch.randn(16, 8, requires_grad=True)
    loss = chunked_loss(x, head, torch.full((4,), -1), 16, True)
    loss.backward()
    assert loss.item() == 0
    assert x.grad is not None
    assert not x.grad.any()


def test_logits_stay_within_the_cap() -> None:
    logits = capped_logits(100 * torch.randn(5, 8), torch.randn(16, 8), 10, True)
    assert logits.shape == (5, 10)
    assert logits.abs().max() <= 15


@settings(deadline=None, max_examples=25)
@given(
    parts=st.sampled_from([MODERN, CLASSIC, replace(MODERN, smear=False), replace(MODERN, backout=False)]),
    pattern=st.sampled_from(["L", "S", "SSSL"]),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_prefill_in_pieces_gives_the_logits_of_the_whole(
    parts: ArchitectureFlags, pattern: str, cuts: list[int], seed: int
) -> None:
    """Piece by piece through the cache equals one pass: windows, smear across the cuts, rotary offsets."""
    sizes = {"window_pattern": pattern, "sequence_len": 8}
    model = random_model(config(parts, **sizes), seed)
    ids = torch.randint(0, 50, (2, sum(cuts)), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        whole = model(ids)
        cache = KVCache(model.config, 2, 1, model.lm_head.weight)
        pieces = [model(piece, cache=cache) for piece in ids.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
def test_greedy_decoding_equals_the_full_forward_pass(parts: ArchitectureFlags) -> None:
    model = random_model(config(parts))
    prompt = [3, 1, 4, 1, 5]
    decoded = generate_batch(model, prompt, samples=2, max_tokens=30, temperature=0)
    ids = list(prompt)
    for _ in range(30):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert decoded == [ids[5:], ids[5:]]


def test_sampling_is_seeded_and_ends_at_stop_tokens() -> None:
    model = random_model(config())

    def draw(seed: int, stop: frozenset[int] = frozenset()) -> list[list[int]]:
        return generate_batch(
            model, [1], samples=4, max_tokens=20, temperature=1.0, top_k=30, seed=seed, stop=stop
        )

    first = draw(7)
    assert first == draw(7) != draw(8)
    ends = frozenset({first[0][5]})
    stopped = draw(7, ends)
    assert stopped[0] == first[0][: first[0].index(first[0][5])]
    assert not any(token in ends for row in stopped for token in row)


def test_parameter_counts_are_those_of_the_module() -> None:
    for parts in (MODERN, CLASSIC):
        for sizes in ({}, {"n_layer": 4, "n_kv_head": 4}, {"vocab_size": 64, "n_layer": 1}):
            built = build_model(config(parts, **sizes), "cpu")
            by_name = dict(built.named_parameters())
            counts = parameter_counts(built.config)
            assert counts["total"] == sum(p.numel() for p in by_name.values())
            blocks = [p.numel() for name, p in by_name.items() if name.startswith("transformer.h.")]
            assert counts["matrices"] == sum(blocks)


def test_first_weights_have_the_spread_they_should() -> None:
    model = build_model(config(n_embd=256, vocab_size=2000, n_layer=4), "cpu")
    model.init_weights(1)
    block = model.blocks[1]
    assert model.wte.weight.std().item() == pytest.approx(0.8, rel=0.02)
    assert model.lm_head.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert block.attn.c_q.weight.std().item() == pytest.approx(256**-0.5, rel=0.02)
    assert block.attn.c_q.weight.abs().max().item() <= (3 / 256) ** 0.5
    assert block.mlp.c_fc.weight.std().item() == pytest.approx(0.4 * 256**-0.5, rel=0.02)
    assert not block.attn.c_proj.weight.any()
    assert not block.mlp.c_proj.weight.any()
    assert model.resid_lambdas.tolist() == pytest.approx([1.15, 1.15 - 0.1 / 3, 1.15 - 0.2 / 3, 1.05])
    assert model.x0_lambdas.tolist() == pytest.approx([0.20, 0.15, 0.10, 0.05])
    assert (model.smear_lambda.item(), model.backout_lambda.item()) == pytest.approx((0.0, 0.2))
    same = build_model(model.config, "cpu")
    same.init_weights(1)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_a_bfloat16_model_is_near_its_float32_self() -> None:
    model = random_model(config(n_embd=64))
    ids = torch.randint(0, 50, (2, 16))
    with torch.no_grad():
        exact = model(ids)
        model.compute_dtype = torch.bfloat16
        rough = model(ids)
    assert rough.dtype == torch.float32
    assert (exact - rough).pow(2).mean().sqrt() < 0.05 * exact.std()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_head": 5}, "does not split into 5 heads"),
        ({"n_kv_head": 3}, "do not divide by 3"),
        ({"window_pattern": "SXL"}, "holds more than S and L"),
        ({"n_layer": 0}, "n_layer is 0"),
    ],
)
def test_sizes_that_make_no_model_are_user_errors(sizes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(**sizes)


@pytest.mark.parametrize("step", ["norm", "rotate", "relu_squared"])
def test_hand_written_gradients_are_those_of_the_plain_formula(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(2, 5, 3, 8, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 5, 3, 8, dtype=torch.float64)
    tables = [torch.randn(5, 1, 4, dtype=torch.float64) for _ in range(2)] if step == "rotate" else []
    function = getattr(ops, step)
    results = []
    for use_custom_gradients in (True, False):
        monkeypatch.setattr(ops, "use_custom_gradients", lambda x, chosen=use_custom_gradients: chosen)
        y = function(x, *tables)
        results.append((y, *torch.autograd.grad((y * weights).sum(), x)))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-6)
