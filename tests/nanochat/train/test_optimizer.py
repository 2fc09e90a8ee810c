"""Muon and AdamW against a plain float64 restatement; Polar Express against the SVD."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.model.architecture import CLASSIC, ModelConfig
from nanochat.model.gpt import GPT, build_model
from nanochat.train.muon import POLAR_EXPRESS, newton_schulz, polar_express
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups


def tiny(seed: int = 3) -> GPT:
    model = build_model(
        ModelConfig(
            sequence_len=16, vocab_size=50, n_layer=3, n_head=4, n_kv_head=2, n_embd=32, window_pattern="SL"
        ),
        "cpu",
    )
    model.init_weights(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():  # nothing at zero, so that decay and signs matter
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(2, 48), columns=st.integers(2, 48), seed=st.integers(0, 999))
def test_polar_express_is_near_the_orthogonal_factor_of_the_svd(rows: int, columns: int, seed: int) -> None:
    x = torch.randn(2, rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u, values, vh = torch.linalg.svd(x, full_matrices=False)
    polar = polar_express(x)
    # Same singular vectors: UᵀPV is diagonal, and its diagonal is the scalar polynomial of the values.
    inner = u.mT @ polar @ vh.mT
    scalar = values / (torch.linalg.vector_norm(values, dim=-1, keepdim=True) * 1.01 + 1e-6)
    start = scalar.clone()
    for a, b, c in POLAR_EXPRESS:
        scalar = a * scalar + b * scalar**3 + c * scalar**5
    torch.testing.assert_close(inner, torch.diag_embed(scalar), atol=1e-5, rtol=0)
    # And every value that was not tiny has come near 1, so P is near UVᵀ.
    within = scalar[start > 2e-3]
    assert ((within > 0.7) & (within < 1.3)).all()


def test_polar_express_of_many_matrices_is_that_of_each() -> None:
    x = torch.randn(5, 12, 7)
    torch.testing.assert_close(polar_express(x), torch.stack([polar_express(m[None])[0] for m in x]))


class PlainAdamW:
    """AdamW for one parameter, as Loshchilov and Hutter write it, in float64."""

    def __init__(self, p: Tensor, group: dict) -> None:
        self.p, self.group = p.double(), group
        self.m, self.v, self.t = torch.zeros_like(self.p), torch.zeros_like(self.p), 0

    def step(self, grad: Tensor, lr: float, momentum: float, decay: float) -> None:
        beta1, beta2 = self.group["betas"]
        g = grad.double()
        self.t += 1
        self.m = beta1 * self.m + (1 - beta1) * g
        self.v = beta2 * self.v + (1 - beta2) * g * g
        m_hat, v_hat = self.m / (1 - beta1**self.t), self.v / (1 - beta2**self.t)
        self.p = self.p * (1 - lr * self.group["weight_decay"])
        self.p = self.p - lr * m_hat / (v_hat.sqrt() + 1e-10)


class PlainMuon:
    """Muon for one matrix, a line for each sentence of the recipe, in float64."""

    def __init__(self, p: Tensor, group: dict) -> None:
        self.p, self.rows, self.columns = p.double(), *p.shape
        self.buffer = torch.zeros_like(self.p)
        self.second = torch.zeros(p.shape[0] if self.rows >= self.columns else p.shape[1]).double()

    def step(self, grad: Tensor, lr: float, momentum: float, decay: float) -> None:
        g = grad.double()
        self.buffer = momentum * self.buffer + (1 - momentum) * g
        g = (1 - momentum) * g + momentum * self.buffer
        target = g.norm() / self.rows**0.5
        g = g * (target / g.norm(dim=1).clamp(min=1e-6))[:, None]
        g = g / (1.01 * g.norm() + 1e-6)
        for a, b, c in POLAR_EXPRESS:
            if self.rows > self.columns:
                A = g.T @ g
                g = a * g + g @ (b * A + c * A @ A)
            else:
                A = g @ g.T
                g = a * g + (b * A + c * A @ A) @ g
        g = g * min(self.rows, self.columns) ** 0.5 / g.norm().clamp(min=1e-6)
        axis = 1 if self.rows >= self.columns else 0
        self.second = 0.9 * self.second + 0.1 * g.pow(2).mean(dim=axis)
        before = g.norm()
        g = g * self.second.clamp(min=1e-10).rsqrt().unsqueeze(axis)
        g = g * before / g.norm()
        scale = max(1.0, self.rows / self.columns) ** 0.5
        self.p = self.p - lr * scale * (g + decay * self.p * (g * self.p >= 0))


def test_every_group_is_updated_as_the_plain_restatement_says() -> None:
    model = tiny()
    optimizer = MuonAdamW(parameter_groups(model, LearningRates(), batch_scale=0.5))
    named = dict(model.named_parameters())
    plain = {
        name: (PlainMuon if group["kind"] == "muon" else PlainAdamW)(named[name].detach().clone(), group)
        for group in optimizer.param_groups
        for name in group["names"]
    }
    generator = torch.Generator().manual_seed(0)
    for step in range(6):
        multiplier, momentum, decay = 1 - 0.1 * step, 0.85 + 0.02 * step, 0.3
        for name, parameter in named.items():
            grad = torch.randn(parameter.shape, generator=generator)
            parameter.grad = grad * (0.0 if step == 2 and name == "x0_lambdas" else 1.0)
        optimizer.schedule(multiplier, momentum, decay)
        optimizer.step()
        for group in optimizer.param_groups:
            for name in group["names"]:
                grad = named[name].grad
                assert grad is not None
                plain[name].step(grad, group["initial_lr"] * multiplier, momentum, decay)
                torch.testing.assert_close(
                    named[name].detach().double(),
                    plain[name].p,
                    atol=3e-6,
                    rtol=3e-5,
                    msg=f"{name}, step {step}",
                )


def test_groups_have_the_rates_of_the_recipe() -> None:
    groups = {g["label"]: g for g in parameter_groups(tiny(), LearningRates(), batch_scale=0.5)}
    width = (32 / 768) ** -0.5
    expected = {
        "head": (0.008 * width * 0.5, (0.8, 0.96), 0.01),
        "embedding": (0.3 * width * 0.5, (0.8, 0.995), 0.001),
        "value_embeds": (0.15 * width * 0.5, (0.8, 0.995), 0.01),
        "resid_lambdas": (0.005 * 0.5, (0.8, 0.95), 0.05),
        "x0_lambdas": (0.5 * 0.5, (0.96, 0.95), 0.0),
        "smear_backout": (0.2, (0.8, 0.95), 0.0),
    }
    for label, (lr, betas, decay) in expected.items():
        assert groups[label]["lr"] == pytest.approx(lr)
        assert groups[label]["betas"] == betas
        assert groups[label]["weight_decay"] == decay
    matrices = [g for g in groups.values() if g["kind"] == "muon"]
    assert {tuple(p.shape) for g in matrices for p in g["params"]} == {
        (32, 32), (16, 32), (128, 32), (32, 128), (2, 12)
    }  # fmt: skip
    assert all(g["lr"] == pytest.approx(0.01) for g in matrices)


def train(model: GPT, optimizer: MuonAdamW, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_saved_and_restored_state_continues_bit_for_bit() -> None:
    whole = tiny()
    optimizer = MuonAdamW(parameter_groups(whole, LearningRates()))
    train(whole, optimizer, range(3))
    resumed = build_model(whole.config, "cpu")
    resumed.load_state_dict(whole.state_dict())
    second = MuonAdamW(parameter_groups(resumed, LearningRates()))
    saved = {name: tensor.clone() for name, tensor in optimizer.state_tensors().items()}
    second.load_state_tensors([saved], optimizer.steps)
    train(whole, optimizer, range(3, 6))
    train(resumed, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_state_that_does_not_fit_is_a_user_error() -> None:
    optimizer = MuonAdamW(parameter_groups(tiny(), LearningRates()))
    tensors = optimizer.state_tensors()
    tensors["lm_head.weight.exp_avg"] = torch.zeros(3, 3)
    with pytest.raises(UserError, match=r"lm_head\.weight\.exp_avg is of shape \(3, 3\)"):
        optimizer.load_state_tensors([tensors], 1)
    del tensors["lm_head.weight.exp_avg"]
    with pytest.raises(UserError, match="missing"):
        optimizer.load_state_tensors([tensors], 1)


def test_the_gradient_norm_is_over_all_gradients_together() -> None:
    model = tiny()
    optimizer = MuonAdamW(parameter_groups(model, LearningRates()))
    train(model, optimizer, range(1))
    flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    optimizer.reduce_gradients()
    assert optimizer.square_norm().sqrt().item() == pytest.approx(flat.norm().item(), rel=1e-5)


def test_bfloat16_orthogonalisation_moves_matrices_about_the_same_way() -> None:
    exact, rough = tiny(), tiny()
    before = exact.blocks[0].mlp.c_fc.weight.detach().clone()
    train(exact, MuonAdamW(parameter_groups(exact, LearningRates())), range(2))
    train(rough, MuonAdamW(parameter_groups(rough, LearningRates()), torch.bfloat16), range(2))
    moves = [m.blocks[0].mlp.c_fc.weight.detach() - before for m in (exact, rough)]
    assert torch.cosine_similarity(moves[0].flatten(), moves[1].flatten(), dim=0) > 0.99


def test_a_classic_model_is_trained_by_the_first_muon_and_plain_adamw() -> None:
    config = ModelConfig(16, 50, 2, 4, 4, 32, parts=CLASSIC)
    model = build_model(config, "cpu")
    model.init_weights(1)
    groups = parameter_groups(model, LearningRates(0.2, 0.004, 0.02, 0.5, weight_decay=0.0))
    assert {(g["label"], g["betas"], g["weight_decay"]) for g in groups if g["kind"] == "adamw"} == {
        ("head", (0.8, 0.95), 0.0), ("embedding", (0.8, 0.95), 0.0)
    }  # fmt: skip
    generator = torch.Generator().manual_seed(2)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    grads = {name: torch.randn(p.shape, generator=generator) for name, p in before.items()}
    optimizer = MuonAdamW(groups)
    for _ in range(2):
        for name, p in model.named_parameters():
            p.grad = grads[name].clone()
        optimizer.step()
    for name, p in model.named_parameters():
        if not name.startswith("transformer.h."):
            continue
        wide, grad = before[name].double(), grads[name].double()
        buffer = torch.zeros_like(grad)
        for _ in range(2):
            buffer = 0.95 * buffer + 0.05 * grad
            x = 0.05 * grad + 0.95 * buffer
            x = x / (x.norm() + 1e-7)
            for _ in range(5):
                square = x @ x.T
                x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
            wide -= 0.02 * max(1.0, x.size(0) / x.size(1)) ** 0.5 * x
        torch.testing.assert_close(p.detach().double(), wide, rtol=1e-4, atol=1e-5)


def test_newton_schulz_brings_singular_values_near_one() -> None:
    for shape in ((1, 24, 60), (1, 60, 24)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        values = torch.linalg.svdvals(newton_schulz(x))
        assert values.min() > 0.6
        assert values.max() < 1.3


def test_every_update_counts_as_a_write() -> None:
    """Decoders take up new weights when a parameter was written to; torch's fused kernels do not say so."""
    model = build_model(ModelConfig(16, 40, 2, 2, 2, 32, "L"), "cpu")
    model.init_weights(0)
    model(torch.zeros(1, 8, dtype=torch.long), torch.ones(1, 8, dtype=torch.long)).backward()
    before = {name: p._version for name, p in model.named_parameters()}
    MuonAdamW(parameter_groups(model, LearningRates())).step()
    assert all(p._version > before[name] for name, p in model.named_parameters())
