"""The tokens that mark the structure of a conversation, in the order of their ids after the merges."""

SPECIAL_TOKENS = (
    "<|bos|>",
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    "<|assistant_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|output_start|>",
    "<|output_end|>",
)

MIN_VOCAB = 256 + 1 + len(SPECIAL_TOKENS)
"""The smallest vocabulary that can be trained: every byte, one merge, the special tokens."""
