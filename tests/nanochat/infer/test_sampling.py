"""Sampling: which tokens the settings leave, and how often each is drawn."""

import pytest
import torch

from nanochat.common.errors import UserError
from nanochat.infer.sampling import Sampling, sample_tokens


def test_sampling_keeps_what_its_filters_say_and_draws_by_probability() -> None:
    logits = torch.tensor([[0.1, 3.0, 2.0, 1.0, -1.0]]).log_softmax(-1)
    grid = [(i + 0.5) / 2000 for i in range(2000)]

    def shares(sampling: Sampling) -> torch.Tensor:
        ids = sample_tokens(logits.expand(len(grid), -1), [sampling] * len(grid), grid)
        return torch.bincount(torch.tensor(ids), minlength=5) / len(grid)

    def expected(kept: list[int], temperature: float = 1.0) -> torch.Tensor:
        weights = torch.zeros(5)
        weights[kept] = (logits[0, kept] / temperature).softmax(-1)
        return weights

    for sampling, weights in [
        (Sampling(), expected([0, 1, 2, 3, 4])),
        (Sampling(temperature=0.5), expected([0, 1, 2, 3, 4], 0.5)),
        (Sampling(top_k=2), expected([1, 2])),
        (Sampling(top_k=99), expected([0, 1, 2, 3, 4])),
        (Sampling(top_p=0.7), expected([1, 2])),
        (Sampling(top_p=1e-9), expected([1])),
        (Sampling(top_k=3, top_p=0.93), expected([1, 2, 3])),
        (Sampling(min_p=0.2), expected([1, 2])),  # e⁻¹ = 0.37 of the likeliest stays, e⁻² = 0.14 does not
        (Sampling(min_p=0.2, temperature=2.0), expected([1, 2, 3, 0], 2.0)),
        (Sampling(min_p=1.0), expected([1])),
        (Sampling(top_k=3, min_p=0.3), expected([1, 2])),
        (Sampling(top_p=0.7, min_p=0.5), expected([1])),
        (Sampling(temperature=0, top_k=3), expected([1])),
    ]:
        torch.testing.assert_close(shares(sampling), weights, atol=2e-3, rtol=0)
    mixed = [Sampling(temperature=0), Sampling(top_k=1), Sampling(top_p=1e-9), Sampling(temperature=1e-6)]
    assert sample_tokens(logits.expand(4, -1), mixed, [0.99] * 4) == [1, 1, 1, 1]
    tied = torch.tensor([[2.0, 5.0, 5.0, 5.0]])
    assert sample_tokens(tied, [Sampling(temperature=0)], [0.9]) == [1]


def test_a_bias_is_added_to_the_logits_of_its_own_row_before_temperature() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, 1.5]]).expand(4, -1)
    before = logits.clone()
    settings = [
        Sampling(temperature=0),
        Sampling(temperature=0, logit_bias={0: 2.5}),
        Sampling(temperature=0, logit_bias={2: -100, 3: -0.6}),
        Sampling(temperature=0.5, top_k=1, logit_bias={1: 1.5}),
    ]
    assert sample_tokens(logits, settings, [0.5] * 4) == [2, 0, 1, 1]
    assert torch.equal(logits, before)  # log-probabilities are told from them afterwards
    grid = [(i + 0.5) / 2000 for i in range(2000)]
    drawn = sample_tokens(logits[:1].expand(2000, -1), [Sampling(2.0, logit_bias={0: 3.0})] * 2000, grid)
    expected = (torch.tensor([3.0, 1.0, 2.0, 1.5]) / 2).softmax(-1)
    torch.testing.assert_close(torch.bincount(torch.tensor(drawn)) / 2000, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"logit_bias": {3: float("nan")}},
    ],
)
def test_settings_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError):
        Sampling(**wrong)  # type: ignore[arg-type]
