"""The vocabularies of GPT-2 and GPT-4, as tiktoken keeps them: from its cache, else from the network."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError, one_line

if TYPE_CHECKING:
    import tiktoken

_HOST = "https://openaipublic.blob.core.windows.net/encodings"
_SECONDS = 15


@dataclass(frozen=True)
class Published:
    """A published vocabulary: how people call it, tiktoken's name for its ranks."""

    name: str
    encoding: str

    @property
    def url(self) -> str:
        return f"{_HOST}/{self.encoding}.tiktoken"


GPT2 = Published("GPT-2", "r50k_base")
GPT4 = Published("GPT-4", "cl100k_base")


def cache_dir(explicit: Path | None = None) -> Path:
    """Where tiktoken looks first: `explicit`, TIKTOKEN_CACHE_DIR, or its own folder among temporary files."""
    named = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    return explicit or Path(named or Path(tempfile.gettempdir()) / "data-gym-cache")


def published_encoding(vocabulary: Published, folder: Path | None = None) -> "tiktoken.Encoding":
    """The encoding, from `folder` or tiktoken's cache, else fetched by tiktoken (which checks its hash).

    Raises `UserError` when it is not there and cannot be had.
    """
    import requests
    import tiktoken

    cache = cache_dir(folder)
    cached = cache / hashlib.sha1(vocabulary.url.encode()).hexdigest()
    try:
        if not cached.is_file():  # tiktoken itself would wait without end for a host that does not answer
            requests.head(vocabulary.url, timeout=_SECONDS).raise_for_status()
        os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)
        return tiktoken.get_encoding(vocabulary.encoding)
    except (OSError, ValueError, requests.RequestException) as error:
        raise UserError(
            f"no vocabulary of {vocabulary.name} ({vocabulary.encoding}): {one_line(str(error))[:100]}",
            f"it is not in {cache} and could not be fetched; --vocab-dir names a folder that has it",
        ) from error
