"""Schedules and horizons at the points where they are known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.model.architecture import CLASSIC, MODERN, ModelConfig, flops_per_token, parameter_counts
from nanochat.scaling.horizon import config_from_depth, plan_horizon, scaling_parameters
from nanochat.train.schedule import classic_momentum, lr_multiplier, muon_momentum, muon_weight_decay


def test_the_learning_rate_warms_up_holds_and_warms_down() -> None:
    rates = [lr_multiplier(it, 1000, 40, 0.65, 0.05) for it in range(1001)]
    assert rates[0] == 1 / 40
    assert rates[39] == 1.0
    assert all(rate == 1.0 for rate in rates[39:351])
    assert rates[675] == pytest.approx(0.5 + 0.5 * 0.05)
    assert rates[1000] == pytest.approx(0.05)
    assert rates[350:] == sorted(rates[350:], reverse=True)


def test_momentum_warms_up_before_all_else_and_ends_low() -> None:
    assert muon_momentum(0, 10_000, 0.65) == 0.85
    assert muon_momentum(200, 10_000, 0.65) == pytest.approx(0.91)
    assert muon_momentum(400, 10_000, 0.65) == muon_momentum(3499, 10_000, 0.65) == 0.97
    assert muon_momentum(10_000, 10_000, 0.65) == pytest.approx(0.90)
    assert muon_momentum(399, 400, 0.65) == pytest.approx(0.85 + 0.12 * 399 / 400)


def test_weight_decay_follows_half_a_cosine() -> None:
    assert [muon_weight_decay(it, 100, 0.2) for it in (0, 50, 100)] == pytest.approx([0.2, 0.1, 0.0])


@given(st.integers(1, 3000), st.integers(0, 50), st.floats(0, 1), st.floats(0, 1))
def test_schedules_stay_in_their_bounds(steps: int, warmup: int, ratio: float, final: float) -> None:
    for it in {0, steps // 3, steps // 2, steps - 1}:
        assert 0 <= lr_multiplier(it, steps, warmup, ratio, final) <= 1
        assert 0.85 <= muon_momentum(it, steps, ratio) <= 0.97
        assert 0 <= muon_weight_decay(it, steps, 1.0) <= 1


def test_depth_sets_width_heads_and_windows() -> None:
    config = config_from_depth(20, 32_768, 2048)
    assert (config.n_embd, config.n_head, config.head_dim) == (1280, 10, 128)
    assert config_from_depth(3, 32_768, 2048).n_embd == 256
    assert config.windows[:4] == [512, 512, 512, 2048]
    assert config.windows[-1] == 2048
    assert config_from_depth(6, 32_768, 512).windows == [128, 128, 128, 512, 128, 512]
    assert ModelConfig(parts=CLASSIC).windows == [None] * 20


def test_value_embeddings_are_on_every_other_layer_and_the_last() -> None:
    for depth in (3, 4):
        config = config_from_depth(depth, 1000, 128)
        layers = [i for i in range(depth) if config.has_value_embed(i)]
        assert layers == list(range((depth - 1) % 2, depth, 2))
        assert layers[-1] == depth - 1


def test_the_batch_grows_with_the_model_and_is_a_power_of_two() -> None:
    batches = []
    for depth in (4, 12, 20, 26):
        plan = plan_horizon(config_from_depth(depth, 32_768, 2048), ratio=12, weight_decay=0.28)
        assert plan.total_batch & (plan.total_batch - 1) == 0
        assert plan.steps == 12 * plan.scaling_params // plan.total_batch
        batches.append(plan.total_batch)
    assert batches == sorted(batches)
    assert batches[1] == 2**19


def test_depth_12_at_its_own_batch_is_unscaled() -> None:
    plan = plan_horizon(config_from_depth(12, 32_768, 2048), ratio=12, weight_decay=0.28)
    assert plan.lr_scale == 1.0
    assert plan.weight_decay == pytest.approx(0.28)


def test_iterations_go_before_flops_and_flops_before_the_ratio() -> None:
    config = config_from_depth(4, 4096, 512, head_dim=64)
    common = {"ratio": 12.0, "weight_decay": 0.28, "total_batch": 4096, "head_dim": 64}
    assert plan_horizon(config, iterations=7, target_flops=1e15, **common).steps == 7  # type: ignore[arg-type]
    by_flops = plan_horizon(config, target_flops=1e13, **common)  # type: ignore[arg-type]
    assert by_flops.steps == round(1e13 / (flops_per_token(config) * 4096))
    by_ratio = plan_horizon(config, **common)  # type: ignore[arg-type]
    assert by_ratio.steps == int(12 * scaling_parameters(config)) // 4096
    assert by_ratio.weight_decay == by_flops.weight_decay


def test_no_horizon_at_all_is_a_user_error() -> None:
    with pytest.raises(UserError, match="no option says how long to train"):
        plan_horizon(config_from_depth(4, 4096, 512), ratio=0, weight_decay=0.28)


def test_matmul_parameters_are_all_but_tables_and_scalars() -> None:
    config = config_from_depth(4, 4096, 512, head_dim=64, window_pattern="L")
    counts = parameter_counts(config)
    attention = 12 * config.n_embd * 512 * 4
    assert flops_per_token(config) == 6 * (counts["matrices"] + counts["lm_head"] + 24) + attention
    assert config.parts == MODERN


def test_a_smaller_exponent_keeps_rates_up_in_small_batches_and_leaves_the_rest() -> None:
    config = config_from_depth(4, 4096, 512)
    root = plan_horizon(config, ratio=12, weight_decay=0.28, total_batch=4096)
    flat = plan_horizon(config, ratio=12, weight_decay=0.28, total_batch=4096, lr_exponent=0.125)
    assert root.lr_scale == root.scalar_lr_scale == pytest.approx(2**-3.5)
    assert flat.lr_scale == pytest.approx(2**-0.875)
    assert (flat.scalar_lr_scale, flat.weight_decay) == (root.scalar_lr_scale, root.weight_decay)


def test_the_classic_era_has_its_own_sizes() -> None:
    config = config_from_depth(3, 5000, 256, parts=CLASSIC)
    assert (config.n_embd, config.n_head, config.padded_vocab) == (192, 2, 5000)
    assert scaling_parameters(config) == parameter_counts(config)["total"]
    plan = plan_horizon(config, ratio=20, weight_decay=0.0, lr_exponent=0.5)
    assert (plan.total_batch, plan.lr_scale) == (2**19, 1.0)
    assert plan.steps == 20 * parameter_counts(config)["total"] // 2**19
    assert [classic_momentum(it) for it in (0, 150, 300, 9000)] == pytest.approx([0.85, 0.90, 0.95, 0.95])
