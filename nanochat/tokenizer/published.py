"""The vocabularies of GPT-2 and GPT-4, as tiktoken keeps them: from its cache, else from the network."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nanochat.common.errors import UserError, one_line

if TYPE_CHECKING:
    import tiktoken

_HOST = "https://openaipublic.blob.core.windows.net/encodings"
_SECONDS = 15
_LOCK = threading.Lock()
"""tiktoken's reader of files is replaced while it is held."""


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


def published_encoding(
    vocabulary: Published,
    folder: Path | None = None,
    *,
    offline: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> "tiktoken.Encoding":
    """The encoding, from `folder` or tiktoken's cache, else fetched, unless `offline`; its hash is checked.

    `note` hears what is fetched before it is. Raises `UserError` when it is not there and cannot be had.
    """
    import tiktoken

    with _cached_or_fetched(vocabulary, folder, offline, note):
        return tiktoken.get_encoding(vocabulary.encoding)


def published_ranks(
    vocabulary: Published,
    sha256: str,
    *,
    offline: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> bytes:
    """The rank file of that hash, as `published_encoding` finds it: no encoder is built."""
    import tiktoken.load

    with _cached_or_fetched(vocabulary, None, offline, note):
        content: bytes = tiktoken.load.read_file_cached(vocabulary.url, sha256)
    return content


@contextlib.contextmanager
def _cached_or_fetched(
    vocabulary: Published, folder: Path | None, offline: bool, note: Callable[[str], None]
) -> Iterator[None]:
    """Has tiktoken look into its cache first, then fetch as we do; its errors become one line."""
    import requests

    cache = cache_dir(folder)

    def fetch(url: str) -> bytes:
        if offline:
            raise OSError(f"it is not in {cache}")
        note(f"fetching the vocabulary of {vocabulary.name}, which is not in {cache}, from {url}")
        answer = requests.get(url, timeout=_SECONDS)
        answer.raise_for_status()
        return answer.content

    os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)
    try:
        with _LOCK, _fetched_by(fetch):
            yield
    except requests.ConnectionError as error:  # what it says of itself is a paragraph
        raise UserError(
            f"no vocabulary of {vocabulary.name} ({vocabulary.encoding}): no way to {_host(vocabulary)}",
            f"it is not in {cache} and could not be fetched; --vocab-dir names a folder that has it",
        ) from error
    except (OSError, ValueError, requests.RequestException) as error:
        fault = "nothing is fetched offline" if offline else f"it is not in {cache} and could not be fetched"
        raise UserError(
            f"no vocabulary of {vocabulary.name} ({vocabulary.encoding}): {one_line(str(error))[:300]}",
            f"{fault}; --vocab-dir names a folder that has it",
        ) from error


def _host(vocabulary: Published) -> str:
    return urlsplit(vocabulary.url).netloc


@contextlib.contextmanager
def _fetched_by(fetch: Callable[[str], bytes]) -> Iterator[None]:
    """Has tiktoken get by `fetch` what its cache lacks: by itself it says nothing, and waits without end."""
    import tiktoken.load

    def read_file(blobpath: str) -> bytes:
        return fetch(blobpath)

    own = tiktoken.load.read_file
    tiktoken.load.read_file = read_file
    try:
        yield
    finally:
        tiktoken.load.read_file = own
