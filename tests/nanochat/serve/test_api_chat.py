"""`/v1/chat/completions` over real models: the engine's tokens in OpenAI's shapes."""

import asyncio
import json
from typing import Any

import httpx
import pytest
import torch
from api_server import CONTEXT, Script, ServedApi

from nanochat.infer.sampling import Sampling
from nanochat.serve.models import ModelUnavailable

ASK = [{"role": "user", "content": "Hi"}]
CHAT = "/v1/chat/completions"


def events_of(answer: httpx.Response) -> list[Any]:
    """The documents of a stream, which must have ended."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream"
    *events, last, rest = answer.content.decode("ascii").split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def text_of(events: list[Any], index: int = 0) -> str:
    choices = [choice for event in events for choice in event["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def error_of(answer: httpx.Response, status: int = 400) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    return answer.json()["error"]


def prompt_of(api: ServedApi, messages: list[dict[str, str]]) -> list[int]:
    return api.tokenizer.render_for_completion(messages)


@pytest.mark.parametrize("model", ["chat", "chat-classic"])
@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"temperature": 0.9, "seed": 7},
        {"temperature": 1.2, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "seed": -1},
        {"temperature": 1, "logit_bias": {"65": 3.0, "66": -100}, "seed": 5},
    ],
)
async def test_the_same_seed_gives_the_engines_tokens(
    api: ServedApi, model: str, fields: dict[str, Any]
) -> None:
    bias = {int(token): value for token, value in fields.get("logit_bias", {}).items()}
    sampling = Sampling(**fields | {"logit_bias": bias})
    answers = api.generate(model, prompt_of(api, ASK), samples=3, max_tokens=12, sampling=sampling)
    body = {"model": model, "messages": ASK, "max_tokens": 12, "n": 3, "logprobs": True, **fields}
    whole = await api.client.post(CHAT, json=body)
    stream = events_of(await api.client.post(CHAT, json=body | {"stream": True}))
    for index, tokens in enumerate(answers):
        choice = whole.json()["choices"][index]
        raw = b"".join(bytes(entry["bytes"]) for entry in choice["logprobs"]["content"])
        assert raw == b"".join(api.bytes_of(token) for token in tokens)
        assert choice["message"]["content"] == text_of(stream, index) == api.text(tokens)


async def test_an_answer_in_one_piece_has_openais_shape(api: ServedApi) -> None:
    answer = await api.client.post(
        CHAT, json={"model": "chat", "messages": ASK, "max_tokens": 4, "temperature": 0}
    )
    document = answer.json()
    assert document["object"] == "chat.completion" and document["model"] == "chat"
    assert document["id"].startswith("chatcmpl-") and isinstance(document["created"], int)
    (choice,) = document["choices"]
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "length", None)
    assert choice["message"] == {
        "role": "assistant",
        "content": choice["message"]["content"],
        "refusal": None,
    }
    read = len(prompt_of(api, ASK))
    assert document["usage"] == {
        "prompt_tokens": read,
        "completion_tokens": 4,
        "total_tokens": read + 4,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert answer.headers["X-Prefix-Cached-Tokens"] == "0"
    assert float(answer.headers["X-Queue-Time-Ms"]) >= 0


async def test_a_stream_begins_with_the_role_and_ends_with_a_reason(api: ServedApi) -> None:
    body = {
        "messages": ASK,
        "max_tokens": 5,
        "stream": True,
        "n": 2,
        "stream_options": {"include_usage": True},
    }
    answer = await api.client.post(CHAT, json=body)
    assert {"x-queue-time-ms", "x-prefix-cached-tokens"} <= answer.headers.keys()
    *events, last = events_of(answer)
    assert {event["object"] for event in [*events, last]} == {"chat.completion.chunk"}
    assert len({(event["id"], event["created"], event["model"]) for event in [*events, last]}) == 1
    for index in (0, 1):
        choices = [event["choices"][0] for event in events if event["choices"][0]["index"] == index]
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        assert (choices[-1]["delta"], choices[-1]["finish_reason"]) == ({}, "length")
        assert all(choice["finish_reason"] is None for choice in choices[:-1])
    assert all(event["usage"] is None for event in events)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 10


async def test_log_probabilities_are_the_models_own_before_temperature(api: ServedApi) -> None:
    body = {
        "messages": ASK,
        "max_tokens": 6,
        "temperature": 1.7,
        "seed": 1,
        "logprobs": True,
        "top_logprobs": 4,
    }
    document = (await api.client.post(CHAT, json=body)).json()
    tokens = api.generate(
        "chat", prompt_of(api, ASK), max_tokens=6, sampling=Sampling(temperature=1.7, seed=1)
    )[0]
    prompt = prompt_of(api, ASK)
    with torch.no_grad():
        logits = api.models["chat"](torch.tensor([[*prompt, *tokens]]))[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits.float(), -1)
    for entry, token, row in zip(
        document["choices"][0]["logprobs"]["content"], tokens, expected, strict=True
    ):
        assert entry["bytes"] == list(api.bytes_of(token))
        assert entry["logprob"] == pytest.approx(row[token].item(), abs=1e-4)
        best = row.topk(4).values.tolist()
        assert [top["logprob"] for top in entry["top_logprobs"]] == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("stream", [False, True])
async def test_token_ids_come_with_their_places_where_they_are_asked_for(
    api: ServedApi, stream: bool
) -> None:
    script = Script.text("It is ", call=("6*6", "36"), after="36.")
    api.script(script)
    body = {"model": "scripted", "messages": ASK, "logprobs": True, "stream": stream}
    plain = await api.client.post(CHAT, json=body)
    assert "token_ids" not in plain.text and '"index":0,"logprob"' not in plain.text
    answer = await api.client.post(CHAT, json=body | {"return_token_ids": True})
    documents = events_of(answer) if stream else [answer.json()]
    prompts = [document["prompt_token_ids"] for document in documents if "prompt_token_ids" in document]
    assert prompts == [prompt_of(api, ASK)] and "prompt_token_ids" in documents[0]
    choices = [choice for document in documents for choice in document["choices"]]
    ids = [token for choice in choices for token in choice.get("token_ids", [])]
    assert ids == script.ids
    entries = [entry for choice in choices for entry in (choice["logprobs"] or {"content": []})["content"]]
    assert b"".join(bytes(entry["bytes"]) for entry in entries) == b"It is 36."
    assert [list(api.bytes_of(ids[entry["index"]])) for entry in entries] == [e["bytes"] for e in entries]


async def test_a_second_turn_reads_only_what_is_new(api: ServedApi) -> None:
    long = [{"role": "user", "content": "quite a long question"}]
    first = {"messages": long, "max_tokens": 3, "temperature": 0}
    await api.client.post(CHAT, json=first)
    again = await api.client.post(CHAT, json=first)
    cached = int(again.headers["X-Prefix-Cached-Tokens"])
    assert cached == len(prompt_of(api, long)) - 1
    assert again.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == cached


# -- what a scripted model shows ----------------------------------------------------------------------


async def test_a_stop_string_over_token_borders_is_left_out_with_its_tokens(api: ServedApi) -> None:
    api.script(Script.text("one. STOP two"))
    body = {"model": "scripted", "messages": ASK, "stop": [". ST", "zzz"], "logprobs": True}
    for stream in (False, True):
        answer = await api.client.post(CHAT, json=body | {"stream": stream})
        if stream:
            events = events_of(answer)
            text, reason = text_of(events), events[-1]["choices"][0]["finish_reason"]
            entries = [
                e for event in events for e in (event["choices"][0]["logprobs"] or {"content": []})["content"]
            ]
        else:
            (choice,) = answer.json()["choices"]
            text, reason, entries = (
                choice["message"]["content"],
                choice["finish_reason"],
                choice["logprobs"]["content"],
            )
        assert (text, reason) == ("one", "stop")
        assert "".join(entry["token"] for entry in entries) == "one"


async def test_calls_of_the_calculator_have_a_field_of_their_own(api: ServedApi) -> None:
    api.script(Script.text("It is ", call=("6*6", "36"), after="36."))
    call = {"index": 0, "type": "calculator", "arguments": "6*6", "output": "36", "offset": 6}
    body = {"model": "scripted", "messages": ASK}
    message = (await api.client.post(CHAT, json=body)).json()["choices"][0]["message"]
    assert (message["content"], message["executed_tools"]) == ("It is 36.", [call])
    events = events_of(await api.client.post(CHAT, json=body | {"stream": True}))
    assert text_of(events) == "It is 36."
    told = [c for event in events for c in event["choices"][0]["delta"].get("executed_tools", [])]
    assert told == [call]


async def test_what_came_together_leaves_in_one_chunk_of_whole_characters(api: ServedApi) -> None:
    first, second = api.tokenizer.encode("🙂")
    api.batches("all of this", [first], [second, *api.tokenizer.encode("\ufffd\u2028")], "é")
    answer = await api.client.post(CHAT, json={"model": "scripted", "messages": ASK, "stream": True})
    deltas = [event["choices"][0]["delta"].get("content", "") for event in events_of(answer)]
    assert [delta for delta in deltas if delta] == ["all of this", "🙂\ufffd\u2028", "é"]


async def test_a_stop_string_ends_the_generation_too(api: ServedApi) -> None:
    worker = api.batches("some S", "TOP more", "and more")
    body = {"model": "scripted", "messages": ASK, "stop": ["STOP"]}
    document = (await api.client.post(CHAT, json=body)).json()
    assert document["choices"][0]["message"]["content"] == "some "
    assert worker.cancelled


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stop_string_frees_the_row_of_its_sample_alone(api: ServedApi, stream: bool) -> None:
    worker = api.batches((0, "one"), (1, "two S"), (1, "TOP, not heard"), (0, " and all of it"))
    body = {"model": "scripted", "messages": ASK, "stop": ["STOP"], "n": 2, "stream": stream}
    answer = await api.client.post(CHAT, json=body)
    assert worker.cancelled_samples == [1]
    texts = ["", ""]
    for event in events_of(answer) if stream else [answer.json()]:
        for choice in event["choices"]:
            texts[choice["index"]] += (choice.get("message") or choice["delta"]).get("content", "")
    assert texts == ["one and all of it", "two "]


async def test_a_fault_in_the_middle_of_a_stream_is_told_as_an_event(api: ServedApi) -> None:
    api.script(Script.text("some", one_a_step=True, fault=RuntimeError("out of memory")))
    answer = await api.client.post(CHAT, json={"model": "scripted", "messages": ASK, "stream": True})
    *events, last = events_of(answer)
    assert (last["error"]["type"], last["error"]["code"]) == ("server_error", "model_failed")
    assert "out of memory" in last["error"]["message"]
    assert events and all(c["finish_reason"] is None for event in events for c in event["choices"])


async def test_a_fault_before_the_first_token_is_a_status(api: ServedApi) -> None:
    for stream in (False, True):
        api.script(Script.text("", fault=RuntimeError("out of memory")))
        answer = await api.client.post(CHAT, json={"model": "scripted", "messages": ASK, "stream": stream})
        assert error_of(answer, 503)["code"] == "model_failed"


async def test_a_fault_of_the_server_itself_is_logged_and_not_told(
    api: ServedApi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanochat.serve.api.chat.render_prompt", lambda *_, **__: 1 / 0)
    answer = await api.client.post(CHAT, json={"messages": ASK})
    assert "division" not in str(error_of(answer, 500)) and "division" in caplog.text


async def test_a_full_queue_says_when_to_come_back(api: ServedApi) -> None:
    api.script(Script.text("x", one_a_step=True, blocks=True))
    body = {"model": "scripted", "messages": ASK}
    running = [asyncio.create_task(api.client.post(CHAT, json=body)) for _ in range(api.places)]
    await api.until(lambda: api.busy == api.places)
    answer = await api.client.post(CHAT, json=body)
    assert error_of(answer, 429)["code"] == "queue_full"
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    api.release(2)  # the first and the end
    assert [one.status_code for one in await asyncio.gather(*running)] == [200] * api.places


# -- refusals -----------------------------------------------------------------------------------------


async def test_a_base_model_says_what_it_is(api: ServedApi) -> None:
    error = error_of(await api.client.post(CHAT, json={"model": "base", "messages": ASK}))
    assert (error["param"], error["code"]) == ("model", "model_is_not_a_chat_model")
    assert "base model" in error["message"] and "/v1/completions" in error["message"]


async def test_an_unknown_model_is_told_with_the_nearest(api: ServedApi) -> None:
    error = error_of(await api.client.post(CHAT, json={"model": "chet", "messages": ASK}), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert "chat" in error["message"]


async def test_a_model_that_cannot_be_loaded_is_no_fault_of_the_request(
    api: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(_name: str) -> None:
        raise ModelUnavailable("sft/d2 is damaged", "restore it")

    monkeypatch.setattr(api.registry, "use", damaged)
    error = error_of(await api.client.post(CHAT, json={"messages": ASK}), 503)
    assert (error["param"], error["code"]) == ("model", "model_unavailable")
    assert error["message"] == "sft/d2 is damaged (restore it)"


@pytest.mark.parametrize(("field", "wanted"), [("max_tokens", 60), ("max_completion_tokens", 61)])
async def test_an_answer_that_does_not_fit_says_by_how_much(api: ServedApi, field: str, wanted: int) -> None:
    over = len(prompt_of(api, ASK)) + wanted - CONTEXT
    error = error_of(await api.client.post(CHAT, json={"messages": ASK, field: wanted}))
    assert (error["param"], error["code"]) == (field, "context_length_exceeded")
    assert f"{over} more than" in error["message"] and f"ask for {wanted - over} at most" in error["message"]


@pytest.mark.parametrize("characters", [100, 3_000, 100_000])
async def test_a_prompt_that_does_not_fit_says_by_how_much(api: ServedApi, characters: int) -> None:
    error = error_of(
        await api.client.post(CHAT, json={"messages": [{"role": "user", "content": "x" * characters}]})
    )
    assert (error["param"], error["code"]) == ("messages", "context_length_exceeded")
    if characters == 100:
        have = len(prompt_of(api, [{"role": "user", "content": "x" * characters}]))
        assert f"{have - CONTEXT + 1} too many" in error["message"]


async def test_ids_outside_the_vocabulary_are_refused(api: ServedApi) -> None:
    for field, value in (("logit_bias", {"999999": 1}), ("stop_token_ids", [999999])):
        error = error_of(await api.client.post(CHAT, json={"messages": ASK, field: value}))
        assert error["param"] == field and "999,999" in error["message"]


async def test_a_page_of_another_site_cannot_send_what_a_browser_does_not_ask_for(api: ServedApi) -> None:
    raw = json.dumps({"messages": ASK, "max_tokens": 1}).encode()
    text = {"content-type": "text/plain"}
    assert (await api.client.post(CHAT, content=raw, headers=text)).status_code == 200
    answer = await api.client.post(CHAT, content=raw, headers=text | {"origin": "http://elsewhere"})
    assert error_of(answer, 415)


async def test_a_request_has_a_largest_size(api: ServedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanochat.serve.api.endpoint.MAX_BODY", 1_000)
    answer = await api.client.post(CHAT, json={"messages": [{"role": "user", "content": "x" * 2_000}]})
    assert "1,000 bytes" in error_of(answer, 413)["message"]


async def test_addresses_and_methods_that_are_none_are_told_in_the_same_shape(api: ServedApi) -> None:
    assert "/v1/nothing" in error_of(await api.client.get("/v1/nothing"), 404)["message"]
    assert error_of(await api.client.get(CHAT), 405)
