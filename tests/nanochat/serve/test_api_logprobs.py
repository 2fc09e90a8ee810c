"""Log-probabilities as clients get them: exact bytes, exact places."""

from nanochat.infer.logprobs import TokenLogprobs
from nanochat.infer.scheduler import NewToken
from nanochat.infer.text_stream import TextToken
from nanochat.infer.token_table import token_table
from nanochat.serve.api.logprobs import LegacyLogprobs, chat_logprobs, prompt_text, text_offsets
from nanochat.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer({bytes([byte]): byte for byte in range(256)} | {b"ab": 256})
TABLE = token_table(TOKENIZER)


def test_a_chat_choice_tells_the_bytes_of_each_token_also_of_half_a_character() -> None:
    half = 0xC3
    end = TOKENIZER.special_id("assistant_end")
    logprobs = TokenLogprobs(half, -1.5, ((256, -0.5), (half, -1.5), (end, -3.0)))
    new = NewToken(0, 0, half, forced=False, logprobs=logprobs)
    assert chat_logprobs(TABLE, [TextToken(new, 0)]) == {
        "content": [
            {
                "token": "\ufffd",
                "logprob": -1.5,
                "bytes": [0xC3],
                "top_logprobs": [
                    {"token": "ab", "logprob": -0.5, "bytes": [97, 98]},
                    {"token": "\ufffd", "logprob": -1.5, "bytes": [0xC3]},
                    {"token": "<|assistant_end|>", "logprob": -3.0, "bytes": None},
                ],
            }
        ],
        "refusal": None,
    }


def test_a_completion_tells_every_token_once_and_the_chosen_one_always() -> None:
    legacy = LegacyLogprobs(TABLE)
    legacy.add_prompt(
        [TOKENIZER.bos_id, 256, 0xC3, 0xA9], [None, *_found((256, -1.0), (0xC3, -2.0), (0xA9, -0.5))]
    )
    legacy.add(0xFF, TokenLogprobs(0xFF, -4.0, ((97, -0.25),)), 3)
    assert legacy.document == {
        "tokens": ["<|bos|>", "ab", "bytes:\\xc3", "bytes:\\xa9", "bytes:\\xff"],
        "token_logprobs": [None, -1.0, -2.0, -0.5, -4.0],
        "top_logprobs": [
            None,
            {"ab": -1.0},
            {"bytes:\\xc3": -2.0},
            {"bytes:\\xa9": -0.5},
            {"a": -0.25, "bytes:\\xff": -4.0},
        ],
        "text_offset": [0, 0, 2, 2, 3],
    }


def _found(*pairs: tuple[int, float]) -> list[TokenLogprobs]:
    return [TokenLogprobs(token, logprob) for token, logprob in pairs]


def test_special_tokens_are_no_text_and_take_no_place() -> None:
    ids = [TOKENIZER.bos_id, 97, TOKENIZER.special_id("user_end"), 98]
    assert prompt_text(TABLE, ids) == "ab"
    assert text_offsets(TABLE, ids) == [0, 0, 1, 1]


def test_the_table_knows_every_token_and_is_made_once() -> None:
    assert len(TABLE.bytes_of) == TOKENIZER.vocab_size
    assert TABLE.text(TOKENIZER.bos_id) == "<|bos|>"
    assert TABLE.special("python_start") == TOKENIZER.special_id("python_start")
    assert TABLE.longest == 2
    assert token_table(TOKENIZER) is TABLE
