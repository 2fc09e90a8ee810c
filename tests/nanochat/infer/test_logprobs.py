"""Log-probabilities of answers and prompts, and the logit lens, against the full pass."""

import json
from pathlib import Path

import pytest
import torch
from small_models import VOCAB, Bytes, by_kernel, by_replay, chain_model, random_model

from nanochat.checkpoint.files import find_checkpoint
from nanochat.checkpoint.weights import load_model
from nanochat.common.errors import UserError
from nanochat.infer.decoder import Decoder
from nanochat.infer.engine import Engine
from nanochat.infer.lens import lens
from nanochat.infer.logprobs import TokenLogprobs
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import NewToken, Request, Scheduler, Started
from nanochat.model.architecture import CLASSIC, MODERN, ArchitectureFlags
from nanochat.model.gpt import GPT


def run(scheduler: Scheduler) -> tuple[list[NewToken], list[Started]]:
    """Everything until the scheduler is idle."""
    tokens, started = [], []
    while scheduler.busy:
        tokens += scheduler.step()
        started += scheduler.take_started()
    return tokens, started


def check(model: GPT, before: list[int], found: TokenLogprobs, top: int) -> None:
    """`found` is what the full pass says of its token after `before`."""
    with torch.no_grad():
        logprobs = model(torch.tensor([before]))[0, -1].log_softmax(-1)
    assert found.logprob == pytest.approx(float(logprobs[found.token]), abs=5e-4)
    assert len(found.top) == top
    best = logprobs.topk(top).values.tolist()
    for (token, logprob), expected in zip(found.top, best, strict=True):
        assert logprob == pytest.approx(expected, abs=5e-4)
        assert logprob == pytest.approx(float(logprobs[token]), abs=5e-4)


@pytest.mark.parametrize("way", [by_kernel, by_replay])
@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
def test_each_token_comes_with_what_the_model_gave_it(way: type[Decoder], parts: ArchitectureFlags) -> None:
    """Before temperature, bias and filters, whatever the others of the batch ask for."""
    model = random_model(21, parts)
    scheduler = Scheduler(way(model), max_rows=8)
    hot = Sampling(temperature=2.0, top_k=5, logit_bias={7: 5.0})
    requests = [
        Request([1, 2, 3], 12, hot, samples=2, logprobs=3),
        Request([4], 9, Sampling(temperature=0)),
        Request([5, 6], 7, Sampling(temperature=0), logprobs=0),
        Request([9], 3, Sampling(), logprobs=99),
    ]
    for request in requests:
        scheduler.submit(request)
    rows: dict[tuple[int, int], list[int]] = {}
    for new in run(scheduler)[0]:
        request = requests[new.request]
        row = rows.setdefault((new.request, new.sample), list(request.prompt))
        assert (new.logprobs is None) == (request.logprobs is None)
        if new.logprobs is not None:
            assert new.logprobs.token == new.token
            check(model, row, new.logprobs, min(request.logprobs or 0, VOCAB))
        row.append(new.token)


def test_forced_tokens_have_the_log_probability_the_model_gave_them() -> None:
    t = Bytes()
    start, end = t.special_id("python_start"), t.special_id("python_end")
    model = chain_model([ord("a"), start, *b"7*6", end, ord("x")])
    engine = Engine(model, t)
    scheduler = engine.scheduler()
    scheduler.submit(
        Request([ord("a")], 9, Sampling(temperature=0), calculator=engine.calculator, logprobs=1)
    )
    row = [ord("a")]
    for new in run(scheduler)[0]:
        assert new.logprobs is not None and new.logprobs.token == new.token
        check(model, row, new.logprobs, 1)
        assert (new.logprobs.top[0][0] == new.token) != new.forced
        row.append(new.token)
    assert t.decode(row[-3:-1]) == "42"


@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
def test_a_prompt_comes_with_its_log_probabilities(
    parts: ArchitectureFlags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanochat.infer.decoder.PREFILL_CHUNK", 7)
    monkeypatch.setattr("nanochat.infer.decoder.READ_TOKENS", 7)
    monkeypatch.setattr("nanochat.infer.logprobs.CHUNK", 4)
    model = random_model(22, parts)
    prompt = torch.randint(0, VOCAB, (23,), generator=torch.Generator().manual_seed(1)).tolist()
    scheduler = Scheduler(by_kernel(model), max_rows=2, max_length=23, prefill_tokens=5)
    scheduler.submit(Request([1], 20))
    scheduler.step()
    assert scheduler.take_started() == [Started(0, 0)]
    scored = scheduler.submit(Request(prompt, 0, prompt_logprobs=2))  # in pieces of 5, beside the other
    tokens, started = run(scheduler)
    assert {new.request for new in tokens} == {0}
    [result] = started
    assert (result.request, result.cached_tokens) == (scored, 0)
    assert result.prompt_logprobs is not None
    first, *others = result.prompt_logprobs
    assert first is None
    assert [found.token for found in others if found is not None] == prompt[1:]
    for place, found in enumerate(others):
        assert found is not None
        check(model, prompt[: place + 1], found, 2)


def test_what_log_probabilities_cannot_be_asked_of_is_refused() -> None:
    scheduler = Scheduler(by_kernel(random_model()), max_rows=1, max_length=5)
    for wrong in (
        Request([1], 0),
        Request([1], 0, logprobs=3),
        Request([1], 1, logprobs=-1),
        Request([1], 1, prompt_logprobs=-1),
        Request([1] * 6, 0, prompt_logprobs=1),
        Request([1] * 5, 1, prompt_logprobs=1),
        Request([1], 1, Sampling(logit_bias={VOCAB: 1.0})),
    ):
        with pytest.raises(UserError):
            scheduler.submit(wrong)
    assert not scheduler.busy


@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
@pytest.mark.parametrize("n_layer", [1, 2, 5])
def test_the_lens_shows_what_a_model_cut_after_each_layer_would_say(
    parts: ArchitectureFlags, n_layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanochat.infer.lens.CHUNK", 4)
    model = random_model(23, parts, n_layer=n_layer)
    ids = list(range(11))
    shown = lens(model, ids, 3)
    assert (len(shown), {len(place) for place in shown}) == (11, {n_layer})
    with torch.no_grad():
        expected = model(torch.tensor([ids]))[0].log_softmax(-1)
    for place, layers in enumerate(shown):
        best = expected[place].topk(3)
        assert [token for token, _ in layers[-1]] == best.indices.tolist()
        assert [logprob for _, logprob in layers[-1]] == pytest.approx(best.values.tolist(), abs=1e-4)
    for layers, all_layers in zip(lens(model, ids, 3, [7, 2]), (shown[7], shown[2]), strict=True):
        for layer, expected_layer in zip(layers, all_layers, strict=True):
            assert list(layer) == [
                (token, pytest.approx(logprob, abs=1e-4)) for token, logprob in expected_layer
            ]
    if n_layer == 5:
        # Without attention and MLP later layers change nothing but the λs' mix, which is undone here.
        with torch.no_grad():
            for block in model.blocks[1:]:
                block.attn.c_proj.weight.zero_()
                block.mlp.c_proj.weight.zero_()
            if parts.layer_scales:
                model.resid_lambdas[1:] = 1
                model.x0_lambdas[1:] = 0
        for layers in lens(model, ids, 3):
            for layer in layers[1:]:
                assert [token for token, _ in layer] == [token for token, _ in layers[0]]


@pytest.mark.parametrize(
    ("ids", "top_k", "says"),
    [([], 1, "no token"), ([VOCAB], 1, "vocabulary"), ([-1], 1, "vocabulary"), ([1], 0, "at least one")],
)
def test_a_lens_that_cannot_be_shown_is_refused(ids: list[int], top_k: int, says: str) -> None:
    with pytest.raises(UserError, match=says):
        lens(random_model(), ids, top_k)


@pytest.mark.parametrize("era", ["modern", "classic"])
def test_upstreams_checkpoints_give_upstreams_log_probabilities(shared_reference: Path, era: str) -> None:
    folder = shared_reference / "checkpoints" / era
    model = load_model(find_checkpoint(folder / "base_checkpoints"))
    scheduler = Engine(model).scheduler()
    cases = json.loads((folder / "expected.json").read_bytes())["cases"]
    for case in cases:
        scheduler.submit(Request(case["ids"], 1, Sampling(temperature=0), logprobs=8))
    tokens, _ = run(scheduler)
    for new, case in zip(sorted(tokens, key=lambda new: new.request), cases, strict=True):
        assert new.logprobs is not None
        expected = [logit - case["logsumexp"] for logit in case["top8_logits"]]
        assert [token for token, _ in new.logprobs.top] == case["top8_ids"]
        assert [logprob for _, logprob in new.logprobs.top] == pytest.approx(expected, abs=2e-4)
        [shown] = lens(model, case["ids"], 8)[-1:]
        assert [token for token, _ in shown[-1]] == case["top8_ids"]
