"""The tokenizer of a checkpoint: saved inside it, found again, and checked against its metadata.

Checkpoints of version 0.1.0 and of upstream nanochat hold none: theirs is looked for where it was, also among
those that a later `tok_train` replaced.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nanochat.checkpoint.files import Checkpoint, list_checkpoints
from nanochat.common.errors import UserError
from nanochat.common.paths import CHECKPOINT_FOLDERS, Layout
from nanochat.model.architecture import ModelConfig
from nanochat.tokenizer.tokenizer import Tokenizer

FOLDER = "tokenizer"
"""The tokenizer's folder inside a checkpoint."""


def tokenizer_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """What a checkpoint holds of its tokenizer: path inside the checkpoint → content."""
    return {f"{FOLDER}/{name}": content for name, content in tokenizer.files().items()}


def tokenizer_meta(tokenizer: Tokenizer) -> dict[str, str]:
    """What a checkpoint's metadata says of its tokenizer."""
    return {"tokenizer_sha256": tokenizer.sha256, "tokenizer_fingerprint": tokenizer.fingerprint}


def is_tokenizer_of(meta: Mapping[str, Any], tokenizer: Tokenizer) -> bool:
    """Whether a checkpoint with this metadata was trained with `tokenizer`, as far as the metadata says.

    Version 0.1.0 recorded the ranks only, upstream nanochat nothing.
    """
    if "tokenizer_fingerprint" in meta:
        return bool(meta["tokenizer_fingerprint"] == tokenizer.fingerprint)
    return bool(meta.get("tokenizer_sha256", tokenizer.sha256) == tokenizer.sha256)


def find_tokenizer(checkpoint: Checkpoint, layout: Layout, explicit: str = "") -> Tokenizer:
    """The tokenizer in the folder `explicit`, else the checkpoint's own.

    Raises `UserError` when there is none or it is not the one the checkpoint was trained with.
    """
    if explicit:
        tokenizer = Tokenizer.load(layout.tokenizer_dir(explicit))
        if not is_tokenizer_of(checkpoint.meta, tokenizer):
            raise _other_tokenizer(checkpoint)
        return tokenizer
    failure: UserError | None = None
    for load in _places(checkpoint, layout):
        try:
            found = Tokenizer.load(load)
            if not is_tokenizer_of(checkpoint.meta, found):
                failure = failure or _other_tokenizer(checkpoint)
                kept = Tokenizer.load_kept(load, str(checkpoint.meta.get("tokenizer_sha256", "")))
                if kept is None or not is_tokenizer_of(checkpoint.meta, kept):
                    continue
                found = kept
            return found
        except UserError as error:
            failure = failure or error
    assert failure is not None  # there is always a place to look
    raise failure


def _places(checkpoint: Checkpoint, layout: Layout) -> Iterator[Path]:
    """Folders that may hold the tokenizer, the surest first."""
    if not checkpoint.is_upstream and (checkpoint.path / FOLDER).is_dir():
        yield checkpoint.path / FOLDER
    yield layout.tokenizer_dir()
    options = checkpoint.meta.get("user_config")
    named = options.get("tokenizer_dir") if isinstance(options, dict) else None
    if isinstance(named, str) and named:
        yield layout.tokenizer_dir(named)


def check_tokenizer(checkpoint: Checkpoint, config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Raises `UserError` when the model's ids are not this tokenizer's."""
    if tokenizer.vocab_size != config.vocab_size:
        raise UserError(
            f"{checkpoint.path} has a vocabulary of {config.vocab_size:,}, "
            f"the tokenizer {tokenizer.vocab_size:,}",
            "restore the tokenizer it was trained with, or name it with --tokenizer-dir",
        )
    if not is_tokenizer_of(checkpoint.meta, tokenizer):
        raise _other_tokenizer(checkpoint)


def _other_tokenizer(checkpoint: Checkpoint) -> UserError:
    return UserError(
        f"{checkpoint.path} was trained with another tokenizer than the present one",
        "its ids would mean other text; restore that tokenizer, or name it with --tokenizer-dir",
    )


def trained_with(layout: Layout, tokenizer: Tokenizer) -> list[Checkpoint]:
    """The checkpoints under a base directory whose metadata names `tokenizer`."""
    found = []
    for source in CHECKPOINT_FOLDERS:
        folder = layout.checkpoints(source)
        tags = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        for tag in tags:
            found += [c for c in list_checkpoints(tag) if _names(c.meta, tokenizer)]
    return found


def _names(meta: Mapping[str, Any], tokenizer: Tokenizer) -> bool:
    return "tokenizer_sha256" in meta and is_tokenizer_of(meta, tokenizer)
