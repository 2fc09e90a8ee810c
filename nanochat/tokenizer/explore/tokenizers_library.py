"""A `tokenizer.json` of others through `tokenizers`. Loaded in the process of `library_worker` only."""

import json
from functools import cache
from itertools import accumulate
from typing import Any

from nanochat.tokenizer.explore.libraries import Library, byte_of, checked_size, named
from nanochat.tokenizer.huggingface import byte_alphabet

SPACE = "\u2581"
_GPT2_REGEX = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What a ByteLevel pre-tokenizer splits by unless it is told not to."""
_KINDS = {"BPE": "bpe", "Unigram": "unigram", "WordPiece": "wordpiece", "WordLevel": "wordlevel"}
_NO_TREE = {
    "unigram": "a unigram model chooses the likeliest pieces; nothing is merged",
    "wordpiece": "WordPiece takes the longest pieces; nothing is merged",
    "wordlevel": "whole words; nothing is merged",
    "bpe": "its merges are of characters, not of bytes",
    "signs": "its tokens hold a sign for a word's end or middle, which is no byte of the text",
}


class Tokenizers(Library):
    """As `Library`. Special tokens that a text spells are plain text; other added tokens are found in it."""

    def __init__(self, raw: bytes) -> None:
        import tokenizers

        document = json.loads(raw)
        self._tokenizer: Any = tokenizers.Tokenizer.from_buffer(raw)
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        model = document["model"]
        kind = _KINDS.get(str(model.get("type")), "") or _guessed(model)
        added = {int(one["id"]): one for one in document.get("added_tokens") or []}
        vocab: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        spelled = {token: text for text, token in vocab.items()}
        size = checked_size(max(spelled, default=-1))
        # Byte-fallback tokens are written as added ones too, by some converters.
        fallback = {token for token, text in spelled.items() if byte_of(text) and model.get("byte_fallback")}
        whole = set(added) - fallback
        byte_level = _is_byte_level(document)
        has_tree = kind == "bpe" and byte_level and not _sign(model)
        raws = {
            token: text.encode() if token in whole else _raw(text, kind, byte_level, token in fallback, model)
            for token, text in spelled.items()
        }
        super().__init__(
            kind,
            named(spelled, size),
            named(raws, size),
            {one["content"]: token for token, one in added.items() if one.get("special") and token in whole},
            pattern=_pattern(document.get("pre_tokenizer")),
            no_tree="" if has_tree else _NO_TREE["signs" if kind == "bpe" and _sign(model) else kind],
            added=whole,
            merges=_merges(model, vocab) if has_tree else [],
            unknown=_unknown(model, vocab),
        )

    def encode(self, texts: list[str]) -> list[list[int]]:
        """As `Library`."""
        found = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in found]

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """As `Library`; its own are in characters."""
        (found,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
        byte = [0, *accumulate(len(char.encode()) for char in text)]
        return found.ids, [(byte[start], byte[end]) for start, end in found.offsets]


def _guessed(model: dict[str, Any]) -> str:
    """The kind of a model that does not say it, as files of old versions do not."""
    if "merges" in model:
        return "bpe"
    if isinstance(model.get("vocab"), list):
        return "unigram"
    return "wordpiece" if "continuing_subword_prefix" in model else "wordlevel"


def _raw(text: str, kind: str, byte_level: bool, fallback: bool, model: dict[str, Any]) -> bytes:
    """The bytes that a token of the model stands for in a text."""
    if fallback:
        return byte_of(text) or b""
    prefix = str(model.get("continuing_subword_prefix") or ("##" if kind == "wordpiece" else ""))
    bare = text.removeprefix(prefix) if len(text) > len(prefix) else text
    bare = bare.removesuffix(str(model.get("end_of_word_suffix") or ""))
    if byte_level:
        table = _letters()
        return bytes(table[char] for char in bare) if all(char in table for char in bare) else bare.encode()
    return (bare if kind == "wordpiece" else bare.replace(SPACE, " ")).encode()


def _sign(model: dict[str, Any]) -> bool:
    """Whether tokens say that a word ends with them, or goes on (`the</w>`)."""
    return bool(model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"))


@cache
def _letters() -> dict[str, int]:
    return {letter: byte for byte, letter in enumerate(byte_alphabet())}


def _merges(model: dict[str, Any], vocab: dict[str, int]) -> list[tuple[int, int]]:
    """Pairs of ids; a file of an old version has each pair as one text with a space."""
    pairs = [one.split(" ") if isinstance(one, str) else one for one in model.get("merges") or []]
    return [(vocab[left], vocab[right]) for left, right in pairs]


def _unknown(model: dict[str, Any], vocab: dict[str, int]) -> int | None:
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    return vocab.get(str(model.get("unk_token")))


def _parts(step: Any) -> list[dict[str, Any]]:
    """The steps of a pre-tokenizer or normalizer."""
    if not isinstance(step, dict):
        return []
    inner = step.get("pretokenizers") or step.get("normalizers")
    return [part for one in inner for part in _parts(one)] if isinstance(inner, list) else [step]


def _is_byte_level(document: dict[str, Any]) -> bool:
    """Whether the vocabulary is spelled in GPT-2's letters for bytes."""
    steps = [*_parts(document.get("pre_tokenizer")), *_parts(document.get("normalizer"))]
    return any(one.get("type") == "ByteLevel" for one in steps)


def _pattern(pre_tokenizer: Any) -> str | None:
    """The first pattern that text is split by."""
    for one in _parts(pre_tokenizer):
        if one.get("type") == "Split" and isinstance(one.get("pattern"), dict):
            return str(one["pattern"].get("Regex") or one["pattern"].get("String"))
        if one.get("type") == "ByteLevel" and one.get("use_regex", True):
            return _GPT2_REGEX
    return None
