"""Time to first token at the tenth turn of a conversation, with its earlier turns in the prefix cache and
without."""

import statistics
from typing import Any

from parts.stream_clients import Answer, request, run_clients

TURNS = 10
ANSWER_TOKENS = 82


def conversation(questions: list[str], word: str) -> list[dict[str, str]]:
    """Nine questions with their answers, and the tenth.

    Every answer is one word again and again. What an untrained model says is seldom what the tokenizer makes
    of its text, so that a client who sends the text back would send other tokens.
    """
    messages = []
    for question in questions:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": word * ANSWER_TOKENS})
    return messages[:-1]


def ask(port: int, model: str, messages: list[dict[str, str]], word_id: int, max_tokens: int) -> Answer:
    """One answer, streamed."""
    document: dict[str, Any] = {
        "model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0, "stream": True,
        "logit_bias": {str(word_id): 100}, "stream_options": {"include_usage": True},
    }  # fmt: skip
    [[answer]] = run_clients(port, [[request("/v1/chat/completions", document)]], 0.0)
    return answer


def tenth(port: int, model: str, conversations: list[list[dict[str, str]]], word_id: int) -> dict[str, float]:
    """Plays each conversation turn by turn; the medians at the tenth: ms to first token, tokens of history,
    tokens that came from the cache."""
    first, lengths, cached = [], [], []
    for messages in conversations:
        for turn in range(1, 2 * TURNS - 2, 2):
            answer = ask(port, model, messages[:turn], word_id, ANSWER_TOKENS)
            if answer.text() != messages[turn]["content"]:
                raise ValueError(f"turn {turn}: {answer.text()[:100]!r}")
        answer = ask(port, model, messages, word_id, 4)
        [usage] = [event["usage"] for event in answer.events() if event.get("usage")]
        first.append(answer.first_text - answer.sent)
        lengths.append(usage["prompt_tokens"])
        cached.append(usage["prompt_tokens_details"]["cached_tokens"])
    return {
        "ms": 1000 * statistics.median(first),
        "prompt_tokens": statistics.median(lengths),
        "cached_tokens": statistics.median(cached),
    }
