"""OpenAI's own Python client against the server: answers, streams, its exceptions, its retries."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import torch
from api_server import Script, ServedApi
from served import BASE, CHAT, CONTEXT, KEY, QUEUE, ROWS, Served
from test_api_sockets import over_a_socket

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

# openai is imported where it is used: it takes a second, which each worker would spend on collecting.

QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is read from rows?"}]
ASKED = {"role": "user", "content": "What is read from rows?"}
SHORT: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture
def client(server: Served) -> Iterator[openai.OpenAI]:
    import openai

    with openai.OpenAI(base_url=server.api, api_key=KEY, max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(server: Served) -> AsyncIterator[openai.AsyncOpenAI]:
    import openai

    async with openai.AsyncOpenAI(base_url=server.api, api_key=KEY, max_retries=0) as made:
        yield made


def test_models_are_listed_and_found_by_name(client: openai.OpenAI) -> None:
    import openai

    assert [model.id for model in client.models.list()] == [CHAT, BASE]
    assert client.models.retrieve(CHAT).id == CHAT
    with pytest.raises(openai.NotFoundError, match="d2"):
        client.models.retrieve("sft/d3")


def test_a_chat_answer_is_the_engines(client: openai.OpenAI, server: Served) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=QUESTION, max_completion_tokens=24, temperature=0
    )
    [choice] = answer.choices
    prompt = server.conversation(ASKED)
    assert choice.message.content == server.texts(CHAT, prompt, 24)[0]
    assert (choice.message.role, choice.finish_reason) == ("assistant", "length")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (len(prompt), 24)


def test_a_stream_says_the_same_in_pieces(client: openai.OpenAI, server: Served) -> None:
    stream = client.chat.completions.create(
        model=CHAT, messages=QUESTION, max_tokens=200, temperature=0, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert len(pieces) > 3
    assert "".join(pieces) == server.texts(CHAT, server.conversation(ASKED), 200)[0]
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 200


def test_the_clients_stream_helper_puts_the_message_together(client: openai.OpenAI, server: Served) -> None:
    [text] = server.texts(CHAT, server.conversation(ASKED), 40, seed=3, temperature=0.9)
    stop = text[20:23]  # the helper refuses an answer that ended at its length
    with client.chat.completions.stream(
        model=CHAT, messages=QUESTION, max_tokens=40, seed=3, temperature=0.9, stop=stop, tools=[TOOL]
    ) as stream:
        kinds = {event.type for event in stream}
        whole = stream.get_final_completion()
    assert {"content.delta", "content.done", "chunk"} <= kinds
    assert whole.choices[0].message.content == text.partition(stop)[0]
    assert not whole.choices[0].message.tool_calls


def test_a_seed_gives_its_samples(client: openai.OpenAI, server: Served) -> None:
    how: dict[str, Any] = {"temperature": 0.8, "seed": 11, "top_p": 0.9}
    answers = [
        client.chat.completions.create(
            model=CHAT, messages=QUESTION, max_tokens=16, n=3, extra_body={"top_k": 40, "min_p": 0.01}, **how
        )
        for _ in range(2)
    ]
    texts = [[choice.message.content for choice in answer.choices] for answer in answers]
    assert texts[0] == texts[1] and len(set(texts[0])) == 3
    assert [choice.index for choice in answers[0].choices] == [0, 1, 2]
    own = server.texts(CHAT, server.conversation(ASKED), 16, 3, top_k=40, min_p=0.01, **how)
    assert texts[0] == own


def test_logprobs_are_the_models_and_their_bytes_exact(client: openai.OpenAI, server: Served) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=QUESTION, max_tokens=8, temperature=0, logprobs=True, top_logprobs=3
    )
    prompt = server.conversation(ASKED)
    [tokens] = server.generate(CHAT, prompt, 8)
    with torch.no_grad():
        logits = server.models[CHAT](torch.tensor([[*prompt, *tokens[:-1]]]))[0, len(prompt) - 1 :]
    expected = torch.log_softmax(logits.float(), dim=-1)
    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content
    assert content is not None and len(content) == 8
    for entry, token, row in zip(content, tokens, expected, strict=True):
        assert bytes(entry.bytes or []) == server.tokenizer.decode_bytes([token])
        assert entry.logprob == pytest.approx(row[token].item(), abs=1e-4)
        top = [other.logprob for other in entry.top_logprobs]
        assert top == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)


def test_a_stop_string_ends_the_answer_before_it(client: openai.OpenAI, server: Served) -> None:
    [text] = server.texts(CHAT, server.conversation(ASKED), 40)
    stop = text[7:10]
    how: dict[str, Any] = {"model": CHAT, "messages": QUESTION, "temperature": 0, "stop": [stop]}
    choice = client.chat.completions.create(max_tokens=40, **how).choices[0]
    assert (choice.message.content, choice.finish_reason) == (text.partition(stop)[0], "stop")
    chunks = list(client.chat.completions.create(max_tokens=40, stream=True, **how))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text.partition(stop)[0]
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_completions_of_texts_and_of_ids(client: openai.OpenAI, server: Served) -> None:
    prompts = ["the model", " reads rows"]
    ids = [server.tokenizer.encode(prompt, bos=True) for prompt in prompts]
    expected = [server.texts(BASE, prompt, 12)[0] for prompt in ids]
    for given in (prompts, ids):
        answer = client.completions.create(model=BASE, prompt=given, max_tokens=12, temperature=0)
        assert [choice.text for choice in answer.choices] == expected
    echoed = client.completions.create(
        model=BASE, prompt=ids[0], max_tokens=0, echo=True, logprobs=1, temperature=0
    )
    assert echoed.choices[0].logprobs is not None
    scores: list[Any] = [*(echoed.choices[0].logprobs.token_logprobs or [])]  # the first is null
    assert scores[0] is None and len(scores) == len(ids[0])
    with torch.no_grad():
        logits = torch.log_softmax(server.models[BASE](torch.tensor([ids[0]]))[0].float(), dim=-1)
    own = [logits[place, token].item() for place, token in enumerate(ids[0][1:])]
    assert scores[1:] == pytest.approx(own, abs=1e-4)
    assert math.isfinite(sum(own))


async def test_the_calculators_calls_are_not_the_clients_to_run(api: ServedApi) -> None:
    """They come whole in a field of their own, which the client keeps; never as tool calls, never as text."""
    import openai

    api.script(Script.text("It is ", call=("12*3", "36"), after="36."))
    async with (
        over_a_socket(api) as http,
        openai.AsyncOpenAI(base_url=f"{http.base_url}/v1", api_key="none") as client,
    ):
        whole = await client.chat.completions.create(model="scripted", messages=SHORT, tools=[TOOL])
        message = whole.choices[0].message
        assert (message.content, message.tool_calls) == ("It is 36.", None)
        calls = (message.model_extra or {})["executed_tools"]
        assert [(call["type"], call["arguments"], call["output"]) for call in calls] == [
            ("calculator", "12*3", "36")
        ]
        again: list[Any] = [*SHORT, message.model_dump(), *SHORT]
        answer = await client.chat.completions.create(model="scripted", messages=again)
        assert answer.choices[0].finish_reason == "stop"
        async with client.chat.completions.stream(model="scripted", messages=SHORT, tools=[TOOL]) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == "It is 36."


# -- errors -----------------------------------------------------------------------------------------------


def test_errors_are_the_clients_exceptions(client: openai.OpenAI, server: Served) -> None:
    import openai

    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="sft/d20", messages=QUESTION)
    assert missing.value.code == "model_not_found" and "sft/d2" in missing.value.message
    with pytest.raises(openai.BadRequestError) as base:
        client.chat.completions.create(model=BASE, messages=QUESTION)
    assert base.value.param == "model" and "base model" in base.value.message
    with pytest.raises(openai.BadRequestError) as field:
        client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=3)
    assert field.value.param == "temperature" and "from 0 to 2" in field.value.message
    with pytest.raises(openai.BadRequestError) as length:
        client.completions.create(model=BASE, prompt=[5] * (CONTEXT + 3), max_tokens=1)
    assert length.value.code == "context_length_exceeded" and "4 too many" in length.value.message
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="another").models.list()
    with pytest.raises(openai.APIConnectionError):
        client.with_options(base_url="http://127.0.0.1:9/v1").models.list()


def test_a_full_server_is_tried_again_and_then_answers(server: Served) -> None:
    import openai

    statuses: list[int] = []
    http = openai.DefaultHttpxClient(
        event_hooks={"response": [lambda response: statuses.append(response.status_code)]}
    )
    with (
        openai.OpenAI(base_url=server.api, api_key=KEY, http_client=http) as client,
        ThreadPoolExecutor(1) as thread,
    ):
        full = client.completions.create(
            model=BASE, prompt="all", max_tokens=900, n=ROWS + QUEUE, stream=True, temperature=0
        )
        next(iter(full))
        with pytest.raises(openai.RateLimitError) as busy:
            client.with_options(max_retries=0).completions.create(model=BASE, prompt="one", max_tokens=2)
        assert 1 <= int(busy.value.response.headers["retry-after"]) <= 30
        del statuses[:]
        waiting = thread.submit(
            client.completions.create, model=BASE, prompt="one", max_tokens=2, temperature=0
        )
        deadline = time.monotonic() + 20
        while not statuses and time.monotonic() < deadline:
            time.sleep(0.01)
        full.close()
        [text] = server.texts(BASE, server.tokenizer.encode("one", bos=True), 2)
        assert waiting.result(timeout=60).choices[0].text == text
    assert statuses[0] == 429 and statuses[-1] == 200


# -- async ------------------------------------------------------------------------------------------------


async def test_many_async_answers_at_once_are_each_the_engines(
    async_client: openai.AsyncOpenAI, server: Served
) -> None:
    async def ask(number: int) -> str:
        text = f"{number} rows"
        if number % 2:
            answer = await async_client.chat.completions.create(
                model=CHAT, messages=[{"role": "user", "content": text}], max_tokens=30, temperature=0
            )
            return answer.choices[0].message.content or ""
        stream = await async_client.chat.completions.create(
            model=CHAT,
            messages=[{"role": "user", "content": text}],
            max_tokens=30,
            temperature=0,
            stream=True,
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    answers = await asyncio.gather(*(ask(number) for number in range(ROWS + QUEUE)))
    for number, answer in enumerate(answers):
        prompt = server.conversation({"role": "user", "content": f"{number} rows"})
        assert answer == server.texts(CHAT, prompt, 30)[0]


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_a_client_that_leaves_frees_its_rows(
    async_client: openai.AsyncOpenAI, server: Served, how: str
) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        stream = await async_client.chat.completions.create(
            model=CHAT, messages=QUESTION, max_tokens=900, n=ROWS, temperature=0, stream=True
        )
        async for _ in stream:
            begun.set()
            if how == "close":
                await stream.close()
                return

    task = asyncio.create_task(read())
    await asyncio.wait_for(begun.wait(), 30)
    if how == "cancel":
        task.cancel()
    await asyncio.wait([task])
    async with asyncio.timeout(20):
        while server.rows():
            await asyncio.sleep(0.02)
    answer = await async_client.chat.completions.create(
        model=CHAT, messages=QUESTION, max_tokens=4, n=ROWS + QUEUE
    )
    assert len(answer.choices) == ROWS + QUEUE
