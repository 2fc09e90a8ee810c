"""`/v1/completions`, `/tokenize`, `/v1/lens` and upstream's `/chat/completions` over real models."""

import asyncio
import gzip
import json
from typing import Any

import pytest
import torch
from api_server import CONTEXT, TOKENIZER, Script, ServedApi

from nanochat.infer.lens import lens
from nanochat.infer.sampling import Sampling

COMPLETE = "/v1/completions"


async def completed(api: ServedApi, **body: Any) -> Any:
    answer = await api.client.post(COMPLETE, json={"model": "base", "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def streamed(api: ServedApi, **body: Any) -> list[Any]:
    fields = {"model": "base", "temperature": 0, "stream": True, **body}
    answer = await api.client.post(COMPLETE, json=fields)
    assert answer.status_code == 200, answer.text
    *events, last, rest = answer.content.decode("ascii").split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


@pytest.mark.parametrize("model", ["base", "base-classic"])
async def test_a_prompt_in_any_form_is_continued_as_the_engine_does(api: ServedApi, model: str) -> None:
    texts = ["he", "éa", "x"]
    prompts = [api.tokenizer.encode(text, bos=True) for text in texts]
    sampling = Sampling(temperature=0.9, seed=4)
    expected = [
        api.text(tokens)
        for prompt in prompts
        for tokens in api.generate(model, prompt, samples=2, max_tokens=6, sampling=sampling)
    ]
    fields = {"model": model, "max_tokens": 6, "n": 2, "temperature": 0.9, "seed": 4}
    for prompt in (texts, prompts):
        document = await completed(api, prompt=prompt, **fields)
        assert document["object"] == "text_completion" and document["id"].startswith("cmpl-")
        assert [choice["index"] for choice in document["choices"]] == list(range(6))
        assert [choice["text"] for choice in document["choices"]] == expected
        assert document["usage"]["prompt_tokens"] == sum(map(len, prompts))
    for single in (texts[0], prompts[0]):
        document = await completed(api, prompt=single, **fields)
        assert [choice["text"] for choice in document["choices"]] == expected[:2]
    events = await streamed(api, prompt=texts, **fields)
    assert {event["object"] for event in events} == {"text_completion"}
    for index, text in enumerate(expected):
        choices = [event["choices"][0] for event in events if event["choices"][0]["index"] == index]
        assert "".join(choice["text"] for choice in choices) == text
        assert [choice["finish_reason"] is not None for choice in choices].index(True) == len(choices) - 1


async def test_bos_is_put_before_a_text_unless_told_and_never_before_ids(api: ServedApi) -> None:
    ids = api.tokenizer.encode("he")
    assert (await completed(api, prompt="he", max_tokens=1))["usage"]["prompt_tokens"] == len(ids) + 1
    without = await completed(api, prompt="he", max_tokens=1, add_special_tokens=False)
    assert without["usage"]["prompt_tokens"] == len(ids)
    assert (await completed(api, prompt=ids, max_tokens=1))["usage"]["prompt_tokens"] == len(ids)


@pytest.mark.parametrize("most", [0, 1, 3])
@pytest.mark.parametrize("text", ["hello é🙂 w", "\ufffd\u2028"])
async def test_an_echo_has_the_log_probability_of_every_token_in_its_place(
    api: ServedApi, most: int, text: str
) -> None:
    prompt = api.tokenizer.encode(text, bos=True)
    document = await completed(api, prompt=prompt, max_tokens=most, echo=True, logprobs=1)
    (choice,) = document["choices"]
    assert choice["text"].startswith(text)
    found = choice["logprobs"]
    made = document["usage"]["completion_tokens"]
    assert made == most
    assert [len(column) for column in found.values()] == [len(prompt) + made] * 4
    assert found["token_logprobs"][0] is None and found["top_logprobs"][0] is None
    with torch.no_grad():
        logits = api.models["base"](torch.tensor([prompt]))[0]
    rows = torch.log_softmax(logits.float(), -1)
    for at, token in enumerate(prompt[1:]):
        assert found["token_logprobs"][at + 1] == pytest.approx(rows[at, token].item(), abs=1e-4)
        assert max(found["top_logprobs"][at + 1].values()) == pytest.approx(rows[at].max().item(), abs=1e-4)
        greedy = found["token_logprobs"][at + 1] == max(found["top_logprobs"][at + 1].values())
        assert greedy == (rows[at].argmax().item() == token)
    ends = [*found["text_offset"][1:], len(choice["text"])]
    for name, begin, end in list(zip(found["tokens"], found["text_offset"], ends, strict=True))[
        1 : len(prompt)
    ]:
        if not name.startswith("bytes:"):
            assert choice["text"][begin:end] == name
    events = await streamed(api, prompt=prompt, max_tokens=most, echo=True, logprobs=1)
    parts = [event["choices"][0] for event in events]
    assert "".join(part["text"] for part in parts) == choice["text"]
    for name, column in found.items():
        assert [value for part in parts for value in part["logprobs"][name]] == column


async def test_the_token_that_ends_a_text_is_listed_so_that_the_last_one_can_be_dropped(
    api: ServedApi,
) -> None:
    """lm-evaluation-harness drops the last entry, which it takes for the one token that it let be made."""
    prompt = api.tokenizer.encode("he", bos=True)
    bias = {str(api.tokenizer.bos_id): 100}
    document = await completed(
        api, prompt=prompt, max_tokens=1, echo=True, logprobs=1, logit_bias=bias, temperature=1
    )
    (choice,) = document["choices"]
    assert (choice["finish_reason"], choice["text"]) == ("stop", "he")
    assert len(choice["logprobs"]["tokens"]) == len(prompt) + 1
    assert choice["logprobs"]["tokens"][-1] == "<|bos|>"


async def test_an_echo_without_log_probabilities_is_only_text(api: ServedApi) -> None:
    document = await completed(api, prompt=["hé", "b"], max_tokens=0, echo=True)
    assert [choice["text"] for choice in document["choices"]] == ["hé", "b"]
    assert {choice["finish_reason"] for choice in document["choices"]} == {"length"}
    assert {choice["logprobs"] for choice in document["choices"]} == {None}
    assert (await streamed(api, prompt="hé", max_tokens=0, echo=True))[0]["choices"][0]["text"] == "hé"


async def test_a_prompt_may_fill_the_context_when_nothing_is_to_follow(api: ServedApi) -> None:
    prompt = [65] * CONTEXT
    document = await completed(api, prompt=prompt, max_tokens=0, echo=True, logprobs=0)
    assert len(document["choices"][0]["logprobs"]["tokens"]) == CONTEXT
    answer = await api.client.post(COMPLETE, json={"model": "base", "prompt": prompt, "max_tokens": 1})
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "1 too many" in answer.json()["error"]["message"]


async def test_more_prompts_than_the_queue_holds_are_all_answered(api: ServedApi) -> None:
    count = 3 * api.places
    document = await completed(api, prompt=[[65 + n % 5] for n in range(count)], max_tokens=2)
    assert len(document["choices"]) == count
    first = await completed(api, prompt=[65], max_tokens=2)
    assert document["choices"][5]["text"] == document["choices"][0]["text"] == first["choices"][0]["text"]


async def test_a_prompt_that_is_repeated_is_continued_in_another_way_each_time(api: ServedApi) -> None:
    document = await completed(api, prompt=[[65]] * 5, max_tokens=12, temperature=2)
    assert len({choice["text"] for choice in document["choices"]}) == 5


async def test_with_a_seed_a_prompt_among_others_is_continued_as_alone(api: ServedApi) -> None:
    several = await completed(api, prompt=[[66], [65], [65]], max_tokens=12, temperature=2, seed=7)
    alone = await completed(api, prompt=[65], max_tokens=12, temperature=2, seed=7)
    assert [choice["text"] for choice in several["choices"][1:]] == [alone["choices"][0]["text"]] * 2


async def test_what_others_stream_goes_on_while_a_long_list_is_encoded(
    api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    seen: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    encode = TOKENIZER.encode

    def watched(text: str, **options: Any) -> list[int]:
        seen.append(turns)
        return encode(text, **options)

    monkeypatch.setattr(TOKENIZER, "encode", watched)
    running = asyncio.create_task(others())
    try:
        document = await completed(api, prompt=["he"] * 20, max_tokens=1)
    finally:
        running.cancel()
    assert len(document["choices"]) == 20
    assert seen == sorted(set(seen)) and len(seen) == 20  # a turn of the others between any two


async def test_ignoring_the_end_makes_as_many_tokens_as_asked(api: ServedApi) -> None:
    bias = {str(api.tokenizer.bos_id): 100}
    fields = {"prompt": "he", "max_tokens": 5, "logit_bias": bias, "temperature": 1}
    assert (await completed(api, **fields))["usage"]["completion_tokens"] == 1
    document = await completed(api, **fields, ignore_eos=True)
    assert document["usage"]["completion_tokens"] == 5 and document["choices"][0]["text"] == ""


async def test_a_chat_model_shows_its_calls_apart_here_too(api: ServedApi) -> None:
    api.script(Script.text("It is ", call=("6*6", "36"), after="36."))
    answer = await api.client.post(COMPLETE, json={"model": "scripted", "prompt": "x"})
    (choice,) = answer.json()["choices"]
    assert choice["text"] == "It is 36."
    assert choice["executed_tools"][0]["arguments"] == "6*6"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": [70_000]}, "prompt"),
        ({"prompt": [[1], [70_000]]}, "prompt[1]"),
        ({"prompt": ["a", "x" * 100]}, "prompt[1]"),
        ({"prompt": "", "add_special_tokens": False}, "prompt"),
        ({"prompt": "a", "max_tokens": 64}, "max_tokens"),
        ({"prompt": ["a"] * 1000, "n": 100}, "n"),
        ({}, "prompt"),
    ],
)
async def test_a_wrong_prompt_is_named(api: ServedApi, body: dict[str, Any], param: str) -> None:
    answer = await api.client.post(COMPLETE, json={"model": "base", **body})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


# -- the models ---------------------------------------------------------------------------------------


async def test_a_compressed_request_is_refused_for_what_it_is(api: ServedApi) -> None:
    body = gzip.compress(b'{"prompt": "hello"}')
    answer = await api.client.post(COMPLETE, content=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415 and "Content-Encoding is gzip" in answer.json()["error"]["message"]
    plain = {"Content-Encoding": "identity"}
    assert (await api.client.post(COMPLETE, content=b'{"prompt": "hello"}', headers=plain)).status_code == 200


async def test_models_are_listed_and_shown_by_their_names(api: ServedApi) -> None:
    listed = (await api.client.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert {model["id"] for model in listed["data"]} >= {"chat", "base", "sft/d2"}
    for address in ("/v1/models/sft/d2", "/v1/models/sft%2Fd2"):
        model = (await api.client.get(address)).json()
        assert (model["id"], model["object"], model["max_model_len"]) == ("sft/d2", "model", CONTEXT)
    assert (await api.client.get("/v1/models/")).json() == listed
    missing = await api.client.get("/v1/models/sft/d3")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "model_not_found"


# -- tokens -------------------------------------------------------------------------------------------


async def test_tokenize_and_detokenize_have_vllms_shapes(api: ServedApi) -> None:
    ids = api.tokenizer.encode("hello é", bos=True)
    body = {"model": "base", "prompt": "hello é", "return_token_strs": True}
    document = (await api.client.post("/tokenize", json=body)).json()
    assert document == {
        "count": len(ids),
        "max_model_len": CONTEXT,
        "tokens": ids,
        "token_strs": [api.tokenizer.decode([token]) for token in ids],
    }
    plain = {"prompt": "hello é", "add_special_tokens": False}
    assert (await api.client.post("/tokenize", json=plain)).json()["tokens"] == ids[1:]
    back = await api.client.post("/detokenize", json={"tokens": ids[1:]})
    assert back.json() == {"prompt": "hello é"}
    wrong = await api.client.post("/detokenize", json={"tokens": [70_000]})
    assert wrong.json()["error"]["param"] == "tokens"


async def test_tokenize_renders_a_conversation_of_any_length(api: ServedApi) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "hello " * 2_000}]
    document = (await api.client.post("/tokenize", json={"model": "chat", "messages": messages})).json()
    expected = api.tokenizer.render_for_completion(messages, 1 << 40)
    assert (document["count"], document["tokens"]) == (len(expected), expected)


@pytest.mark.parametrize("stream", [False, True])
async def test_token_ids_come_where_they_are_asked_for(api: ServedApi, stream: bool) -> None:
    prompts = [[1, 2, 3], [4]]
    body = {"prompt": prompts, "max_tokens": 4, "return_token_ids": True}
    documents = await streamed(api, **body) if stream else [await completed(api, **body)]
    choices = [choice for document in documents for choice in document["choices"]]
    for index, prompt in enumerate(prompts):
        mine = [choice for choice in choices if choice["index"] == index]
        assert mine[0]["prompt_token_ids"] == prompt
        ids = [token for choice in mine for token in choice["token_ids"]]
        expected = api.generate("base", prompt, max_tokens=4, sampling=Sampling(temperature=0))[0]
        assert ids[: len(expected)] == expected and len(ids) <= len(expected) + 1


# -- the lens -----------------------------------------------------------------------------------------


async def test_the_lens_shows_every_layers_guess_at_every_place(api: ServedApi) -> None:
    ids = api.tokenizer.encode("hello", bos=True)
    answer = await api.client.post("/v1/lens", json={"model": "base", "tokens": ids, "top_k": 3})
    document = answer.json()
    expected = lens(api.models["base"], ids, 3)
    assert [place["id"] for place in document["places"]] == ids
    for place, layers in zip(document["places"], expected, strict=True):
        shown = [[(guess["id"], guess["logprob"]) for guess in layer] for layer in place["layers"]]
        assert shown == [[(token, pytest.approx(logprob)) for token, logprob in layer] for layer in layers]
    assert document["system_fingerprint"] == "base@5"
    some = {"model": "base", "prompt": "hello", "positions": [1], "top_k": 3}
    (place,) = (await api.client.post("/v1/lens", json=some)).json()["places"]
    assert (place["position"], place["id"]) == (1, ids[1])
    shown = [[(guess["id"], guess["logprob"]) for guess in layer] for layer in place["layers"]]
    assert shown == [[(token, pytest.approx(logprob)) for token, logprob in layer] for layer in expected[1]]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tokens": [70_000]}, "prompt"),
        ({"tokens": [1] * (CONTEXT + 1)}, "prompt"),
        ({"tokens": [1], "positions": [1]}, "positions"),
        ({"tokens": [1], "top_k": 21}, "top_k"),
        ({"tokens": [1], "positions": []}, "positions"),
        ({"tokens": [1], "positions": [-1]}, "positions[0]"),
    ],
)
async def test_a_lens_that_cannot_be_is_refused(api: ServedApi, body: dict[str, Any], param: str) -> None:
    answer = await api.client.post("/v1/lens", json={"model": "base", **body})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param
    if param.startswith("positions"):
        assert "token id" not in answer.json()["error"]["message"]


# -- upstream's page ----------------------------------------------------------------------------------


async def test_upstreams_page_gets_the_events_it_knows(api: ServedApi) -> None:
    api.batches("a", " é", "🙂")
    answer = await api.client.post(
        "/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]}
    )
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.content == (
        b'data: {"token": "a", "gpu": 0}\n\n'
        b'data: {"token": " \\u00e9", "gpu": 0}\n\n'
        b'data: {"token": "\\ud83d\\ude42", "gpu": 0}\n\n'
        b'data: {"done": true}\n\n'
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "user", "content": ""}]}, "message 0 has empty content"),
        ({"messages": [{"role": "system", "content": "x"}]}, "invalid role"),
        ({"messages": [{"role": "user", "content": "x" * 8_001}]}, "too long"),
        ({"messages": [{"role": "user", "content": "x" * 8_000}] * 5}, "40,000 characters"),
        ({"messages": [{"role": "user", "content": "x"}] * 501}, "501"),
        ({"messages": [{"role": "user", "content": "x"}], "temperature": 2.5}, "temperature"),
        ({"messages": [{"role": "user", "content": "x"}], "top_k": 201}, "top_k"),
        ({"messages": [{"role": "user", "content": "x"}], "max_tokens": 4_097}, "max_tokens"),
        ({"messages": [{"role": "user", "content": "x" * 100}]}, "too many"),
    ],
)
async def test_upstreams_limits_hold(api: ServedApi, body: dict[str, Any], message: str) -> None:
    answer = await api.client.post("/chat/completions", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["detail"]
