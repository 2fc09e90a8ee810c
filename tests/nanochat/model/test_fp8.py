"""float8 layers: exactly their emulation, close to float32, and only where they belong."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.model.architecture import CLASSIC, ModelConfig
from nanochat.model.fp8 import AMAX_FLOOR, fits_float8, float8_linear, quantize, require_float8
from nanochat.model.gpt import GPT, build_model
from nanochat.model.loss import chunked_loss

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` as float8 sees it, back in float32: scaled to the type's largest number, rounded, scaled back."""
    largest = torch.finfo(dtype).max
    scale = largest / x.abs().max().clamp(min=AMAX_FLOOR)
    return (x * scale).to(dtype).float() * scale.reciprocal()


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("rows", [32, 37])
def test_a_linear_layer_and_its_gradients_are_their_emulation(rows: int) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 128, generator=g, requires_grad=True)
    weight = (0.05 * torch.randn(256, 128, generator=g)).requires_grad_()
    upstream = torch.randn(rows, 256, generator=g)
    y = float8_linear(x, weight)
    of_x, of_weight = torch.autograd.grad(y, (x, weight), upstream)
    x8, w8, g8 = rounded(x.detach(), E4M3), rounded(weight.detach(), E4M3), rounded(upstream, E5M2)
    for ours, emulated, exact in (
        (y, x8 @ w8.T, x @ weight.T),
        (of_x, g8 @ w8, upstream @ weight),
        (of_weight, g8.T @ x8, upstream.T @ x),
    ):
        torch.testing.assert_close(ours, emulated, atol=1e-4, rtol=1e-4)
        assert 0.001 < relative(ours, exact) < 0.08  # float8 keeps 3 or 2 digits: close, and really rounded


def test_leading_dimensions_and_types_are_kept() -> None:
    x = torch.randn(2, 8, 128, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.randn(128, 128, requires_grad=True)
    y = float8_linear(x, weight)
    y.sum().backward()
    assert (y.shape, y.dtype) == ((2, 8, 128), torch.bfloat16)
    assert x.grad is not None
    assert weight.grad is not None
    assert (x.grad.dtype, weight.grad.dtype) == (torch.bfloat16, torch.float32)


def test_quantizing_survives_zeros_and_keeps_what_is_not_finite() -> None:
    zeros = quantize(torch.zeros(4, 4), E4M3)
    assert not zeros.data.float().any()
    assert zeros.inverse_scale.isfinite()
    broken = quantize(torch.tensor([[1.0, float("nan")]]), E4M3)
    assert broken.data.float().isnan().any()


@pytest.mark.parametrize("vocab", [256, 250])
def test_the_heads_loss_in_float8_is_its_emulation(vocab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanochat.model.loss.chunk_rows", lambda vocab, device: 64)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(50, 128, generator=g, requires_grad=True)
    head = (0.3 * torch.randn(256, 128, generator=g)).requires_grad_()
    targets = torch.randint(0, vocab, (50,), generator=g)
    targets[::7] = -1
    loss = chunked_loss(x, head, targets, vocab, True, float8=True)
    of_x, of_head = torch.autograd.grad(loss, (x, head))
    x8, w8 = rounded(x.detach(), E4M3), rounded(head.detach(), E4M3)
    raw = (x8 @ w8[:vocab].T).requires_grad_()
    nats = F.cross_entropy(15 * torch.tanh(raw / 15), targets, ignore_index=-1)
    upstream = F.pad(rounded(torch.autograd.grad(nats, raw)[0], E5M2), (0, 256 - vocab))
    torch.testing.assert_close(loss, nats)
    # The gradient of the logits is rounded unscaled by the count here, which can flip a rounding.
    assert relative(of_x, upstream @ w8) < 0.02
    assert relative(of_head, upstream.T @ x8) < 0.02
    exact = torch.autograd.grad(chunked_loss(x, head, targets, vocab, True), (x, head))
    assert relative(of_x, exact[0]) < 0.1
    assert relative(of_head, exact[1]) < 0.1


def tiny(parts: object = None) -> ModelConfig:
    sizes = {"sequence_len": 32, "vocab_size": 250, "n_layer": 2, "n_head": 2, "n_kv_head": 2, "n_embd": 128}
    return ModelConfig(**sizes, **({"parts": parts} if parts else {}))  # type: ignore[arg-type]


def test_a_model_trains_in_float8_and_evaluates_without() -> None:
    plain, model = build_model(tiny(), "cpu"), build_model(tiny(), "cpu")
    plain.init_weights(3)
    model.init_weights(3)
    with torch.no_grad():
        for p, q in zip(plain.parameters(), model.parameters(), strict=True):
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
            q.copy_(p)
    assert model.use_float8() == 2 * 6 + 1  # gates are too small, the head is padded to 256 rows
    ids = torch.randint(0, 250, (2, 33), generator=torch.Generator().manual_seed(5))
    ours, exact = model(ids[:, :-1], ids[:, 1:]), plain(ids[:, :-1], ids[:, 1:])
    ours.backward()
    exact.backward()
    assert ours != exact
    torch.testing.assert_close(ours, exact, rtol=0.02, atol=0.02)
    for (name, p), q in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        if q.grad.norm() > 1e-3:
            assert relative(p.grad, q.grad) < 0.25, name
    with torch.no_grad():
        torch.testing.assert_close(model(ids), plain(ids), rtol=0, atol=0)


@pytest.mark.slow
def test_compiling_a_block_sees_through_it() -> None:
    model = build_model(tiny(), "cpu")
    model.init_weights(1)
    model.use_float8()
    ids = torch.randint(0, 250, (1, 33))
    eager = model(ids[:, :-1], ids[:, 1:])
    for block in model.blocks:
        block.compile(backend="aot_eager", fullgraph=True)
    compiled = model(ids[:, :-1], ids[:, 1:])
    compiled.backward()
    torch.testing.assert_close(compiled, eager)


def test_shapes_that_the_kernels_take_without_any_data() -> None:
    with torch.device("meta"):
        model = GPT(ModelConfig(vocab_size=1000, parts=CLASSIC, n_layer=1))
        assert [fits_float8(torch.empty(shape)) for shape in ((128, 128), (112, 256), (128, 130))] == [
            True, False, False,
        ]  # fmt: skip
    assert model.use_float8() == 6  # a classic head of 1,000 rows does not divide by 16
    with torch.device("meta"):
        assert GPT(ModelConfig(vocab_size=1000, n_layer=1)).use_float8() == 7


def test_float8_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="not cpu"):
        require_float8(torch.device("cpu"))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (8, 9))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA L4")
    with pytest.raises(UserError, match="NVIDIA L4 is older"):
        require_float8(torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))
    require_float8(torch.device("cuda"))
    with pytest.raises(UserError, match="--dtype bfloat16"):
        require_float8(torch.device("cuda"), torch.float32)
