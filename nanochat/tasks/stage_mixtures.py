"""The conversations that midtraining and fine-tuning read unless they are told others: upstream nanochat's.

`identity` is the task that says who the model is.
"""


def mid_train(identity: str) -> tuple[str, ...]:
    """Upstream nanochat's mixture of autumn 2025."""
    return (
        "SmolTalk",  # 460 thousand general conversations
        "MMLU",  # 100 thousand multiple-choice questions (auxiliary_train)
        "GSM8K",  # 8 thousand problems that call the calculator
        f"{identity}*2",  # who the model is, twice
        "SimpleSpelling:200_000",
        "SpellingBee:80_000",
    )


def chat_sft(mmlu_epochs: int, gsm8k_epochs: int) -> tuple[str, ...]:
    """That of the modern era."""
    repeated = (("MMLU", mmlu_epochs), ("GSM8K", gsm8k_epochs))
    return ("SmolTalk", *(f"{name}*{epochs}" for name, epochs in repeated if epochs))


def classic_chat_sft(identity: str) -> tuple[str, ...]:
    """That of the classic era: 23 thousand conversations, one epoch."""
    return (
        "ARC-Easy",
        "ARC-Challenge",
        "GSM8K",
        "SmolTalk:10_000",
        identity,
        "SimpleSpelling:300",
        "SpellingBee:300",
    )
