"""A SentencePiece model through `sentencepiece`. Loaded in the process of `library_worker` only."""

from nanochat.tokenizer.explore.libraries import Library, byte_of, checked_size

SPACE = "\u2581"
"""How SentencePiece spells a space: ▁."""
_KINDS: dict[int | bytes, tuple[str, str]] = {
    1: ("unigram", "a unigram model chooses the likeliest pieces; nothing is merged"),
    2: ("bpe", "SentencePiece merges characters, not bytes"),
    3: ("wordlevel", "whole words; nothing is merged"),
    4: ("characters", "characters are not merged"),
}
"""By the model type of the file: the kind, and why there is no merge tree."""


class SentencePiece(Library):
    """As `Library`. A special token that a text spells is plain text, a user-defined one is found in it."""

    def __init__(self, raw: bytes) -> None:
        import sentencepiece

        self._model = model = sentencepiece.SentencePieceProcessor(model_proto=raw)
        size = checked_size(model.get_piece_size() - 1)
        spelled = [model.id_to_piece(token) for token in range(size)]
        special = [token for token in range(size) if model.is_control(token) or model.is_unknown(token)]
        kept = set(special)
        tokens: list[bytes | None] = [
            text.encode() if token in kept else _raw(text, model.is_byte(token))
            for token, text in enumerate(spelled)
        ]
        kind, no_tree = _KINDS.get(_model_type(raw), _KINDS[1])
        super().__init__(
            kind,
            list(spelled),
            tokens,
            {spelled[token]: token for token in special},
            no_tree=no_tree,
            added=kept,
            unknown=model.unk_id(),
        )

    def encode(self, texts: list[str]) -> list[list[int]]:
        """As `Library`."""
        found: list[list[int]] = self._model.encode(texts)
        return found

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """As `Library`."""
        found = self._model.encode(text, return_type="offset_mapping", return_bytes=True)
        return list(found["ids"]), list(found["offsets"])


def _raw(spelled: str, is_byte: bool) -> bytes:
    byte = byte_of(spelled) if is_byte else None
    return spelled.replace(SPACE, " ").encode() if byte is None else byte


def _model_type(raw: bytes) -> int | bytes:
    """The model's type, 1 (unigram) where the file does not say it: the library does not tell."""
    from nanochat.tokenizer.explore.protobuf import fields

    for number, value in fields(raw):
        if number == 2 and isinstance(value, bytes):  # trainer_spec; its field 3 is model_type
            return next((kind for inner, kind in fields(value) if inner == 3), 1)
    return 1
