"""A `Splitter` of a file of others, read by its own library in a process of its own."""

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.text import valid_text
from nanochat.tokenizer.explore import library_worker
from nanochat.tokenizer.explore.splitter import Kind, Split

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MEMORY = 16 << 30
"""Bytes of address space of the process."""
SECONDS = 300.0
"""Processor time that loading, or one request, may take."""
_FIRST_RANK = 256
"""Of a merge: as if the 256 bytes were the ids before it, whatever ids the file gives."""


class LibrarySplitter:
    """A `Splitter` of the file content `raw`, which `library` ("tokenizers", "sentencepiece") reads.

    Raises `UserError` when the library is not installed, refuses the file, or dies of it.
    """

    is_elsewhere = True

    def __init__(self, raw: bytes, path: Path, library: str) -> None:
        self.name = path.parent.name if path.stem == "tokenizer" and path.parent.name else path.stem
        self._raw, self._library, self._where = raw, library, path
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        with self._lock:
            header, spelled, tokens, pairs = self._started()
        self.kind: Kind = header["kind"]
        self.vocab_size: int = header["size"]
        self.specials: Mapping[str, int] = header["specials"]
        self.pattern: str | None = header["pattern"]
        self.no_tree: str = header["no_tree"]
        self._spelled: list[str | None] = spelled
        self._tokens: list[bytes | None] = tokens
        self.ranks: Mapping[bytes, int] | None = None
        self._merges: dict[tuple[bytes, bytes], int] = {}
        if not self.no_tree:
            added = set(header["added"])
            self.ranks = {token: index for index, token in enumerate(tokens) if token and index not in added}
            for rank, (left, right) in enumerate(pairs, _FIRST_RANK):
                self._merges.setdefault((tokens[left] or b"", tokens[right] or b""), rank)

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 of the file."""
        return hashlib.sha256(self._raw).hexdigest()

    def split(self, text: str) -> Split:
        """As the protocol says; `note` tells where the library changes the text before it splits."""
        import numpy as np

        text = valid_text(text)
        ids, ends, note = self._ask(("split", text))
        return Split(text, np.frombuffer(ids, np.uint32), np.frombuffer(ends, np.int64), note)

    def count_ids(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says."""
        return self._counted("count_ids", texts)

    def count_tokens(self, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        """As the protocol says."""
        return self._counted("count_tokens", texts)

    def _counted(self, what: str, texts: Sequence[str]) -> "npt.NDArray[np.int64]":
        import numpy as np

        return np.frombuffer(self._ask((what, [valid_text(text) for text in texts])), np.int64)

    def merge_rank(self, left: bytes, right: bytes) -> int | None:
        """256 and the place of the pair in the list of merges."""
        return self._merges.get((left, right))

    def token(self, token_id: int) -> bytes:
        """As the protocol says."""
        token = self._tokens[token_id] if 0 <= token_id < self.vocab_size else None
        if token is None:
            raise KeyError(token_id)
        return token

    def spelled(self, token_id: int) -> str:
        """As the protocol says."""
        spelled = self._spelled[token_id] if 0 <= token_id < self.vocab_size else None
        if spelled is None:
            raise KeyError(token_id)
        return spelled

    def close(self) -> None:
        """Ends the process. Another request starts it again; without this it ends with the splitter."""
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                _end(process)

    # -- the process -------------------------------------------------------------------------------

    def _ask(self, request: object) -> Any:
        """The answer to a request. A process that has died is started again with the next one."""
        with self._lock:
            if self._process is None:
                self._started()
            process = self._process
            assert process is not None and process.stdin is not None and process.stdout is not None
            try:
                library_worker.send(process.stdin, request)
                answer = library_worker.receive(process.stdout)
            except (OSError, EOFError, ValueError) as error:
                raise self._died("ended while it split a text") from error
        if isinstance(answer, str):
            raise UserError(f"{self.name} cannot encode this: {one_line(answer)[:300]}")
        return answer

    def _started(self) -> tuple[dict[str, Any], list[str | None], list[bytes | None], list[list[int]]]:
        """Starts the process and gives it the file. Returns its header, spellings, bytes and merges."""
        path = os.pathsep.join(filter(None, sys.path))
        command = [sys.executable, "-P", "-m", library_worker.__name__, str(MEMORY), str(SECONDS)]
        try:
            self._process = process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
                process_group=0,  # a Ctrl-C in the terminal is not for it
            )
        except OSError as error:
            raise UserError(f"no process to read {self._where} with: {error}", "", Exit.FAILED) from error
        weakref.finalize(self, _end, process)
        assert process.stdin is not None and process.stdout is not None
        try:
            library_worker.send(process.stdin, (self._library, self._raw))
            return _read_all(process.stdout)
        except (OSError, EOFError, ValueError) as error:
            raise self._died("ended while it read the file") from error
        except _RefusedError as error:
            self._process = None
            _end(process)
            raise self._refused(str(error)) from error

    def _died(self, when: str) -> UserError:
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        return UserError(f"{self._where}: the process of the library `{self._library}` {when}")

    def _refused(self, why: str) -> UserError:
        if why.startswith(("ModuleNotFoundError", "ImportError")):
            return UserError(
                f"{self._where} is read by the library `{self._library}`, which is not installed",
                "pip install 'nanochat-control-room[tokenizers]'",
            )
        return UserError(f"{self._where}: `{self._library}` cannot read it: {one_line(why)[:300]}")


class _RefusedError(Exception):
    """What the library says of the file."""


def _read_all(
    stream: Any,
) -> tuple[dict[str, Any], list[str | None], list[bytes | None], list[list[int]]]:
    """Header, spellings, bytes and merges, which come in parts so that unpacking holds the GIL shortly."""
    header = library_worker.receive(stream)
    if isinstance(header, str):
        raise _RefusedError(header)
    spelled: list[str | None] = []
    tokens: list[bytes | None] = []
    pairs: list[list[int]] = []
    while len(spelled) < header["size"]:
        some, raw = library_worker.receive(stream)
        spelled += some
        tokens += raw
    while len(pairs) < header["merges"]:
        numbers = memoryview(library_worker.receive(stream)).cast("I").tolist()
        pairs += [numbers[place : place + 2] for place in range(0, len(numbers), 2)]
    return cast(dict[str, Any], header), spelled, tokens, pairs


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends the process and takes its exit code."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what was not yet written to it
            if stream is not None:
                stream.close()
