"""Which attention kernel is chosen, what it is passed, and that all give the same numbers."""

import sys
import types
from typing import Any

import pytest
import torch
from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.model import attention
from nanochat.model.architecture import ModelConfig
from nanochat.model.attention import Kernel, attend, choose_kernel
from nanochat.model.attention_cpu import (
    custom_attention_supported,
    inference_attention_supported,
    shared_prefix_attention,
)
from nanochat.model.gpt import build_model

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def flash_attn_func(
    q: Tensor, k: Tensor, v: Tensor, softmax_scale: float | None = None, causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:  # fmt: skip
    """FlashAttention-3's documented behaviour, plainly: (B, T, H, D); the query i of Tq sees the keys
    i + Tk − Tq − left … i + Tk − Tq + right; −1 has no limit; `causal` has none to the right."""
    assert q.is_contiguous() or q.stride(-1) == 1
    left, right = window_size
    offset = k.size(1) - q.size(1)
    query, key = torch.arange(q.size(1))[:, None] + offset, torch.arange(k.size(1))[None]
    hidden = key > query + right if right >= 0 else torch.zeros_like(key > query)
    if causal:
        hidden = hidden | (key > query)
    if left >= 0:
        hidden = hidden | (key < query - left)
    groups = q.size(2) // k.size(2)
    k, v = k.repeat_interleave(groups, dim=2), v.repeat_interleave(groups, dim=2)
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * (softmax_scale or q.size(-1) ** -0.5)
    return torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(hidden, float("-inf")).softmax(-1), v)


def heads(queries: int, keys: int, kv_heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(queries + keys)
    q = torch.randn(2, queries, 4, 16, generator=g, dtype=torch.float64)
    k, v = (torch.randn(2, keys, kv_heads, 16, generator=g, dtype=torch.float64) for _ in "kv")
    return q, k, v


@pytest.mark.parametrize("window", [None, 0, 3, 8, 40])
@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (1, 12), (5, 20)])
def test_flash_attention_is_called_so_that_it_gives_the_same_numbers(
    queries: int, keys: int, window: int | None
) -> None:
    q, k, v = heads(queries, keys)
    kernel = Kernel("fa3", flash=flash_attn_func, flash_dtype=torch.float64)
    ours = attend(q, k, v, window, 1.44, kernel)
    torch.testing.assert_close(ours, attend(q, k, v, window, 1.44))


def test_a_build_that_returns_the_normaliser_too() -> None:
    q, k, v = heads(8, 8)
    both = Kernel("fa3", flash=lambda *a, **b: (flash_attn_func(*a, **b), None), flash_dtype=torch.float64)
    torch.testing.assert_close(attend(q, k, v, 2, kernel=both), attend(q, k, v, 2))


def test_other_types_go_round_flash_attention() -> None:
    def fail(*args: Any, **kwargs: Any) -> Tensor:
        raise AssertionError("float32 must not come here")

    q, k, v = (x.float() for x in heads(8, 8))
    torch.testing.assert_close(attend(q, k, v, 2, kernel=Kernel("fa3", flash=fail)), attend(q, k, v, 2))


@pytest.mark.parametrize("window", [3, 64, 150])
def test_flex_attention_over_a_window_gives_the_same_numbers(window: int) -> None:
    from nanochat.model.attention_flex import flex_window  # loads sympy, which takes a second

    q, k, v = (x.float() for x in heads(200, 200))
    ours = flex_window(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), window, 0.3)
    torch.testing.assert_close(ours.transpose(1, 2), attend(q, k, v, window, 0.3 * 4), atol=1e-5, rtol=1e-4)


def test_a_model_on_flex_attention_is_the_model() -> None:
    config = ModelConfig(256, 100, 2, 2, 2, 32, "SL")
    model = build_model(config, "cpu")
    model.init_weights(0)
    ids = torch.randint(0, 100, (2, 256), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(ids)
        model.use_attention(Kernel("flex"))
        assert model.attention.name == "flex"
        torch.testing.assert_close(model(ids), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [None, 1, 40, 128, 200])
@pytest.mark.parametrize("length", [128, 300])
def test_custom_attention_and_its_gradient_equal_the_kernel(length: int, window: int | None) -> None:
    q, k, v = (x.float().requires_grad_() for x in heads(length, length, kv_heads=4))
    assert custom_attention_supported(q, k, window)
    upstream = torch.randn(q.shape, generator=torch.Generator().manual_seed(3))
    ours = attend(q, k, v, window, 1.44)
    plain = flash_attn_func(q, k, v, 1.44 / 4, True, (-1 if window is None else window, 0))
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)
    grads = torch.autograd.grad(ours, (q, k, v), upstream)
    expected = torch.autograd.grad(plain, (q, k, v), upstream)
    for mine, theirs in zip(grads, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def check_reading(ours: Tensor, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> None:
    plain = flash_attn_func(q, k, v, 1.44 / 4, True, (-1 if window is None else window, 0))
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [None, 0, 1, 40, 127, 128, 200, 400])
@pytest.mark.parametrize(("queries", "keys"), [(32, 32), (128, 128), (300, 300), (50, 333), (257, 400)])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_inference_attention_equals_the_kernel(
    queries: int, keys: int, window: int | None, kv_heads: int
) -> None:
    q, k, v = (x.float() for x in heads(queries, keys, kv_heads))
    assert inference_attention_supported(q, k, v)
    check_reading(attend(q, k, v, window, 1.44), q, k, v, window)
    rough = [x.bfloat16() for x in (q, k, v)]
    near = attend(*rough, window, 1.44).float()
    torch.testing.assert_close(near, attend(q, k, v, window, 1.44), atol=0.05, rtol=0.05)
    assert not inference_attention_supported(q, k.requires_grad_(), v)


@pytest.mark.parametrize("window", [None, 0, 3, 20, 26, 60])
@pytest.mark.parametrize(("prefix", "tail"), [(20, 7), (1, 40), (64, 1)])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_tails_see_the_prefix_they_continue(
    prefix: int, tail: int, window: int | None, kv_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some tails at a time, and of a long one some tokens at a time."""
    monkeypatch.setattr("nanochat.model.attention_cpu.READ_TOKENS", 16)
    g, counts = torch.Generator().manual_seed(prefix), [3, 1, 2]
    old_k, old_v = (torch.randn(3, prefix, kv_heads, 16, generator=g) for _ in "kv")
    q = torch.randn(6, tail, 4, 16, generator=g)
    k, v = (torch.randn(6, tail, kv_heads, 16, generator=g) for _ in "kv")
    ours = shared_prefix_attention(q, k, v, old_k, old_v, counts, window, 1.44 / 4)
    each = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    check_reading(ours, q, torch.cat((old_k[each], k), 1), torch.cat((old_v[each], v), 1), window)


def test_custom_attention_stays_within_its_memory() -> None:
    def shape(batch: int, length: int) -> Tensor:
        return torch.empty(batch, length, 8, 64, device="meta").requires_grad_()

    assert not custom_attention_supported(shape(1, 256), shape(1, 256), None)  # another device
    small, large = (torch.empty(1).expand(4, n, 8, 64).requires_grad_() for n in (512, 2048))
    assert custom_attention_supported(small, small, None)
    assert not custom_attention_supported(large, large, None)
    assert custom_attention_supported(large, large, 128)
    assert not custom_attention_supported(small.detach(), small.detach(), None)  # nothing to keep weights for


def hopper(monkeypatch: pytest.MonkeyPatch, get_kernel: Any, capability: tuple[int, int] = (9, 0)) -> None:
    package = types.ModuleType("kernels")
    package.__spec__ = types.SimpleNamespace(name="kernels")  # type: ignore[assignment]
    package.get_kernel = get_kernel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kernels", package)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    attention._fetch_flash.cache_clear()


def test_hopper_in_bfloat16_takes_flash_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get_kernel(repository: str, version: int | None = None) -> types.SimpleNamespace:
        asked.append((repository, version))
        if "varunneal" in repository:
            raise OSError("offline")
        return types.SimpleNamespace(
            flash_attn_interface=types.SimpleNamespace(flash_attn_func=flash_attn_func)
        )

    hopper(monkeypatch, get_kernel)
    kernel = choose_kernel(CUDA, torch.bfloat16)
    assert (kernel.name, kernel.flash) == ("fa3", flash_attn_func)
    assert "kernels-community/flash-attn3" in kernel.label
    assert asked[0] == ("varunneal/flash-attention-3", 1)
    assert choose_kernel(CUDA, torch.float32).name == "flex"
    assert "bfloat16" in choose_kernel(CUDA, torch.float16).label
    assert choose_kernel(CUDA, torch.bfloat16, "sdpa").name == "sdpa"
    attention._fetch_flash.cache_clear()


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_kernel(repository: str) -> None:
        raise OSError(f"cannot reach\nthe hub for {repository}")

    hopper(monkeypatch, get_kernel)
    kernel = choose_kernel(CUDA, torch.bfloat16)
    assert kernel.name == "flex"
    assert "cannot reach the hub" in kernel.label
    with pytest.raises(UserError, match=r"--attention fa3: .*cannot reach"):
        choose_kernel(CUDA, torch.bfloat16, "fa3")
    hopper(monkeypatch, get_kernel, (8, 0))
    assert "Hopper" in choose_kernel(CUDA, torch.bfloat16).label
    attention._fetch_flash.cache_clear()


def test_a_cpu_takes_sdpa_and_says_what_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_kernel(CPU, torch.bfloat16).label == "SDPA"
    for wanted, why in (("fa3", "Hopper"), ("flex", "gradients on CUDA"), ("flash", "no attention kernel")):
        with pytest.raises(UserError, match=why):
            choose_kernel(CPU, torch.float32, wanted)
    monkeypatch.setenv("NANOCHAT_ATTENTION", "fa3")
    with pytest.raises(UserError, match="NANOCHAT_ATTENTION fa3: "):
        choose_kernel(CPU, torch.float32)
    assert choose_kernel(CPU, torch.float32, "sdpa").name == "sdpa"
