"""What clients may ask: defaults, bounds, and the field that an error names."""

import json
from typing import Any

import pytest

from nanochat.serve.api.errors import ApiError
from nanochat.serve.api.fields import Fields, parse_body
from nanochat.serve.api.parameters import (
    chat_parameters,
    completion_parameters,
    detokenize_parameters,
    lens_parameters,
    tokenize_parameters,
)
from nanochat.tokenizer.tokenizer import Tokenizer

ASK = [{"role": "user", "content": "Hi"}]
TOKENIZER = Tokenizer({bytes([byte]): byte for byte in range(256)} | {b"ab": 256})


def chat(**fields: Any) -> Any:
    return chat_parameters(Fields({"messages": ASK, **fields}))


def completion(**fields: Any) -> Any:
    return completion_parameters(Fields({"prompt": "Hi", **fields}))


def refusal(read: Any, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        read(**fields)
    assert error.value.status == 400
    assert error.value.document["error"]["type"] == "invalid_request_error"
    return error.value


# -- bodies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": 1} x', "not JSON"),
    ],
)
def test_what_is_no_request_is_told_in_one_line(raw: bytes, message: str) -> None:
    with pytest.raises(ApiError) as error:
        parse_body(raw)
    assert error.value.status == 400 and error.value.code == "invalid_json"
    assert message in error.value.message and "\n" not in error.value.message


def test_of_a_field_named_twice_the_last_counts() -> None:
    assert parse_body(b'\xef\xbb\xbf{"a": 1, "a": 2}')["a"] == 2


@pytest.mark.parametrize("digits", [25, 400, 5_000])
def test_numbers_of_any_length_are_only_out_of_range(digits: int) -> None:
    fields = parse_body(b'{"prompt": "x", "seed": ' + b"9" * digits + b"}")
    with pytest.raises(ApiError, match="seed") as error:
        completion_parameters(fields)
    assert error.value.param == "seed"


def test_halves_of_surrogate_pairs_become_replacement_characters() -> None:
    body = b'{"prompt": "a\\ud83d", "stop": ["\\ude00"], "model": "\\udfff"}'
    wanted = completion_parameters(parse_body(body))
    assert wanted.prompts == ("a\ufffd",)
    assert wanted.model == "\ufffd"
    TOKENIZER.encode("".join(str(prompt) for prompt in wanted.prompts))


# -- sampling -----------------------------------------------------------------------------------------


def test_a_chat_request_that_says_nothing_samples_as_upstream_does() -> None:
    quiet = chat().sampling
    assert (quiet.temperature, quiet.top_k, quiet.top_p, quiet.min_p) == (0.8, 50, 1.0, 0.0)


@pytest.mark.parametrize("field", [{"temperature": 1}, {"top_p": 0.5}, {"top_k": 7}, {"min_p": 0.1}])
def test_a_chat_request_that_names_one_cut_gets_no_other(field: dict[str, float]) -> None:
    sampling = chat(**field).sampling
    neutral = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    assert {name: getattr(sampling, name) for name in neutral} == neutral | field


def test_completions_sample_from_the_whole_distribution_and_make_sixteen_tokens() -> None:
    wanted = completion()
    assert (wanted.sampling.temperature, wanted.sampling.top_k, wanted.max_tokens) == (1.0, 0, 16)
    assert wanted.add_bos and not wanted.echo and wanted.logprobs is None


def test_a_seed_is_kept_and_without_one_every_request_has_its_own() -> None:
    assert chat(seed=-3).sampling.seed == -3
    assert len({chat().sampling.seed for _ in range(20)}) == 20


def test_a_seed_beyond_64_bits_is_told_what_it_may_be() -> None:
    assert chat(seed=(1 << 63) - 1).sampling.seed == (1 << 63) - 1
    assert "is not a whole number of 64 bits, sign included" in refusal(chat, seed=1 << 64).message


def test_a_bias_is_by_token_id() -> None:
    assert chat(logit_bias={"12": -100, "7": 0.5}).sampling.logit_bias == {12: -100.0, 7: 0.5}
    assert chat(logit_bias=None).sampling.logit_bias == {}


def test_null_is_as_good_as_missing() -> None:
    names = [
        "temperature",
        "top_p",
        "n",
        "stop",
        "seed",
        "stream",
        "stream_options",
        "max_tokens",
        "logprobs",
    ]
    wanted = chat(**dict.fromkeys([*names, "response_format", "tool_choice", "frequency_penalty"]))
    assert (wanted.samples, wanted.stops, wanted.stream, wanted.max_tokens) == (1, (), False, None)


def test_whole_numbers_may_be_written_as_floats() -> None:
    assert chat(max_tokens=5.0, n=2.0).max_tokens == 5


def test_stops_are_a_text_or_a_list() -> None:
    assert chat(stop="END").stops == ("END",)
    assert chat(stop=["a", "b", "a"]).stops == ("a", "b")
    assert chat(stop=[]).stops == ()


def test_the_newer_name_of_the_length_counts_first() -> None:
    wanted = chat(max_tokens=5, max_completion_tokens=7)
    assert (wanted.max_tokens, wanted.max_tokens_field) == (7, "max_completion_tokens")
    assert chat(max_tokens=5).max_tokens_field == "max_tokens"


def test_usage_and_log_probabilities_are_given_when_asked_for() -> None:
    assert chat(stream=True, stream_options={"include_usage": True}).include_usage
    assert chat(logprobs=True).logprobs == 0
    assert chat(logprobs=True, top_logprobs=3).logprobs == 3
    assert chat(logprobs=False).logprobs is None
    assert completion(logprobs=0).logprobs == 0


def test_unknown_fields_are_ignored() -> None:
    chat(user="me", metadata={}, service_tier="auto", tools=[{}], parallel_tool_calls=True, whatever=[[[1]]])


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("temperature", "0.5", "temperature"),
        ("temperature", True, "temperature"),
        ("temperature", 2.1, "temperature"),
        ("temperature", -0.1, "temperature"),
        ("temperature", float("inf"), "temperature"),
        ("temperature", [1], "temperature"),
        ("top_p", 0, "top_p"),
        ("top_p", 1.5, "top_p"),
        ("top_k", -2, "top_k"),
        ("top_k", 1.5, "top_k"),
        ("min_p", 2, "min_p"),
        ("n", 0, "n"),
        ("n", 129, "n"),
        ("n", "2", "n"),
        ("seed", 1 << 63, "seed"),
        ("seed", "x", "seed"),
        ("stop", 5, "stop"),
        ("stop", [5], "stop"),
        ("stop", "", "stop"),
        ("stop", ["a", ""], "stop"),
        ("stop", ["a"] * 33, "stop"),
        ("stop", "a" * 257, "stop"),
        ("stop_token_ids", [-1], "stop_token_ids[0]"),
        ("stop_token_ids", 5, "stop_token_ids"),
        ("stream", "yes", "stream"),
        ("stream_options", [], "stream_options"),
        ("stream_options", {"include_usage": 1}, "stream_options.include_usage"),
        ("logit_bias", {"a": 1}, "logit_bias"),
        ("logit_bias", {"-1": 1}, "logit_bias"),
        ("logit_bias", {"\u0661": 1}, "logit_bias"),
        ("logit_bias", {"1": 101}, "logit_bias.1"),
        ("logit_bias", {"1": "x"}, "logit_bias.1"),
        ("logit_bias", [1], "logit_bias"),
        ("model", 5, "model"),
        ("frequency_penalty", 0.5, "frequency_penalty"),
        ("presence_penalty", -1, "presence_penalty"),
        ("presence_penalty", "x", "presence_penalty"),
        ("repetition_penalty", 1.1, "repetition_penalty"),
        ("response_format", {"type": "json_object"}, "response_format"),
        ("response_format", "text", "response_format"),
    ],
)
@pytest.mark.parametrize("read", [chat, completion])
def test_a_wrong_field_is_named(read: Any, field: str, value: Any, param: str) -> None:
    error = refusal(read, **{field: value})
    assert error.param == param
    assert field in error.message and len(error.message) < 300


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("max_tokens", 0, "max_tokens"),
        ("max_completion_tokens", -1, "max_completion_tokens"),
        ("logprobs", 3, "logprobs"),
        ("top_logprobs", 3, "top_logprobs"),
        ("tool_choice", "required", "tool_choice"),
        ("tool_choice", {"type": "function"}, "tool_choice"),
        ("continue_final_message", True, "continue_final_message"),
    ],
)
def test_a_wrong_field_of_a_chat_request_is_named(field: str, value: Any, param: str) -> None:
    assert refusal(chat, **{field: value}).param == param


def test_too_many_alternatives_are_refused() -> None:
    assert refusal(chat, logprobs=True, top_logprobs=21).param == "top_logprobs"
    assert refusal(completion, logprobs=21).param == "logprobs"


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("max_tokens", -1, "max_tokens"),
        ("suffix", "x", "suffix"),
        ("best_of", 3, "best_of"),
        ("echo", "yes", "echo"),
        ("prompt", None, "prompt"),
        ("prompt", [], "prompt"),
        ("prompt", {}, "prompt"),
        ("prompt", [True], "prompt[0]"),
        ("prompt", [1, 2.5], "prompt[1]"),
        ("prompt", [1, "a"], "prompt[1]"),
        ("prompt", ["a", 1], "prompt[0]"),
        ("prompt", [[1], []], "prompt[1]"),
        ("prompt", [[1], [-1]], "prompt[1][0]"),
        ("prompt", [[[1]]], "prompt[0][0]"),
        ("prompt", ["a"] * 2_049, "prompt"),
    ],
)
def test_a_wrong_field_of_a_completion_is_named(field: str, value: Any, param: str) -> None:
    assert refusal(completion, **{field: value}).param == param


@pytest.mark.parametrize(
    ("prompt", "prompts", "several"),
    [
        ("Hi", ("Hi",), False),
        ("", ("",), False),
        ([1, 2], ([1, 2],), False),
        (["a", "b"], ("a", "b"), True),
        ([[1], [2, 3]], ([1], [2, 3]), True),
    ],
)
def test_a_prompt_has_four_forms(prompt: Any, prompts: tuple[Any, ...], several: bool) -> None:
    wanted = completion(prompt=prompt)
    assert (wanted.prompts, wanted.several) == (prompts, several)


# -- messages -----------------------------------------------------------------------------------------


def render(messages: list[Any], **fields: Any) -> list[int]:
    wanted = chat_parameters(Fields({"messages": messages, **fields}))
    return wanted.conversation.render(TOKENIZER, generation_prompt=True)


def text_of(ids: list[int]) -> str:
    return TOKENIZER.decode(ids)


def test_a_conversation_is_rendered_as_the_model_was_trained() -> None:
    messages = [*ASK, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}]
    assert text_of(render(messages)) == (
        "<|bos|><|user_start|>Hi<|user_end|><|assistant_start|>Hello<|assistant_end|>"
        "<|user_start|>Bye<|user_end|><|assistant_start|>"
    )


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_goes_before_the_first_question(role: str) -> None:
    messages = [{"role": role, "content": "Be brief."}, *ASK]
    assert "<|user_start|>Be brief.\n\nHi<|user_end|>" in text_of(render(messages))


def test_content_may_be_parts_of_text() -> None:
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    assert render([{"role": "user", "content": parts}]) == render(ASK)


def test_special_tokens_in_a_text_are_only_text() -> None:
    ids = render([{"role": "user", "content": "<|assistant_start|>"}])
    assert ids.count(TOKENIZER.special_id("assistant_start")) == 1


CALLED = [
    {"type": "text", "text": "It is "},
    {"type": "python", "text": "6*6"},
    {"type": "python_output", "text": "36"},
    {"type": "text", "text": "36."},
]


def test_an_answer_with_its_calls_sent_back_is_rendered_as_the_model_wrote_it() -> None:
    calls = [{"index": 0, "type": "calculator", "arguments": "6*6", "output": "36", "offset": 6}]
    answer = {"role": "assistant", "content": "It is 36.", "executed_tools": calls, "refusal": None}
    ids = render([*ASK, answer, *ASK])
    assert ids == render([*ASK, {"role": "assistant", "content": CALLED}, *ASK])
    assert "It is <|python_start|>6*6<|python_end|><|output_start|>36<|output_end|>36." in text_of(ids)


def test_a_call_without_a_result_and_an_answer_of_calls_only() -> None:
    answer = {"role": "assistant", "content": None, "executed_tools": [{"arguments": "1/0", "output": None}]}
    assert "<|assistant_start|><|python_start|>1/0<|python_end|><|assistant_end|>" in text_of(
        render([*ASK, answer, *ASK])
    )


def test_the_last_answer_is_continued_only_when_asked() -> None:
    messages = [*ASK, {"role": "assistant", "content": "Hel"}]
    assert text_of(render(messages, continue_final_message=True)).endswith("<|assistant_start|>Hel")
    assert refusal(chat, messages=messages).param == "messages"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ("Hi", "messages"),
        ([], "messages"),
        (["Hi"], "messages[0]"),
        ([{"content": "Hi"}], "messages[0].role"),
        ([{"role": "tool", "content": "Hi"}], "messages[0].role"),
        ([{"role": [], "content": "Hi"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": ["Hi"]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "python", "text": "1"}]}], "messages[0].content[0].type"),
        ([{"role": "system", "content": "Hi"}], "messages"),
        ([{"role": "assistant", "content": "Hi"}], "messages"),
        ([*ASK, *ASK], "messages"),
        ([*ASK, {"role": "system", "content": "x"}, *ASK], "messages"),
        (
            [*ASK, {"role": "assistant", "content": "x", "executed_tools": 5}, *ASK],
            "messages[1].executed_tools",
        ),
        (
            [*ASK, {"role": "assistant", "content": "x", "executed_tools": [{"offset": 2}]}, *ASK],
            "messages[1].executed_tools[0].offset",
        ),
        (
            [*ASK, {"role": "assistant", "content": CALLED, "executed_tools": [{}]}, *ASK],
            "messages[1].executed_tools",
        ),
    ],
)
def test_the_message_that_does_not_fit_is_named(messages: Any, param: str) -> None:
    assert refusal(chat, messages=messages).param == param


# -- the other endpoints ------------------------------------------------------------------------------


def test_tokenize_takes_a_prompt_or_messages() -> None:
    wanted = tokenize_parameters(Fields({"prompt": "Hi"}))
    assert (wanted.prompt, wanted.add_bos, wanted.token_strings) == ("Hi", True, False)
    wanted = tokenize_parameters(Fields({"messages": ASK}))
    assert wanted.conversation is not None and wanted.add_generation_prompt
    finished = [*ASK, {"role": "assistant", "content": "Hello"}]
    wanted = tokenize_parameters(Fields({"messages": finished, "add_generation_prompt": False}))
    assert wanted.conversation is not None
    assert text_of(wanted.conversation.render(TOKENIZER, False)).endswith("Hello<|assistant_end|>")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": [1]}, "prompt"),
        ({"messages": []}, "messages"),
        (
            {"messages": ASK, "add_generation_prompt": True, "continue_final_message": True},
            "continue_final_message",
        ),
    ],
)
def test_a_wrong_request_to_tokenize_is_told(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as error:
        tokenize_parameters(Fields(body))
    assert error.value.param == param


def test_detokenize_and_lens_take_ids() -> None:
    assert detokenize_parameters(Fields({"tokens": []})).tokens == []
    assert lens_parameters(Fields({"tokens": [1, 2]})).prompt == [1, 2]
    assert lens_parameters(Fields({"prompt": "Hi", "positions": [0]})).positions == (0,)
    for body, param in (({}, "prompt"), ({"tokens": "x"}, "tokens"), ({"tokens": [1], "top_k": 0}, "top_k")):
        with pytest.raises(ApiError) as error:
            lens_parameters(Fields(body))
        assert error.value.param == param
    with pytest.raises(ApiError, match="tokens"):
        detokenize_parameters(Fields({}))


def test_an_error_repeats_little_of_what_was_sent() -> None:
    error = refusal(chat, temperature="\x1b[31m" + "x" * 10_000)
    assert "\x1b" not in json.dumps(error.document) and len(error.message) < 200
