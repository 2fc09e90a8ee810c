"""Fetches one file over HTTP so that it is whole or absent: retry, resume, verify, rename.

A transfer goes to `.NAME.part`; what it is a part of (address, validator, size) stands in `.NAME.part.json`.
A new try, also of a later process, asks for the rest with `Range` and `If-Range`, so a file that changed
on the server starts again instead of becoming a mixture. The size the server announced, the sha256 where it
gives one, and the caller's own check come before the rename.
"""

import contextlib
import email.utils
import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import requests

from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.fields import json_object, parse_int, whole
from nanochat.common.files import read_regular
from nanochat.common.paths import atomic_write, fsync_dir, make_dir
from nanochat.data.fetch_lock import fetch_lock

CHUNK = 1 << 16
"""Bytes read at a time: what a broken connection may lose."""
PROGRESS_BYTES = 1 << 20
"""A try that brought this much more than any before counts as the first one again: the link works."""
WAIT = 0.1
"""Seconds between two tries to lock a file that another process fetches."""
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')
_MALFORMED = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Policy:
    """How stubborn a download is: `tries` in all, waits of 2, 4, 8, 16 s between, `timeout` s of silence."""

    tries: int = 5
    first_wait: float = 2.0
    timeout: float = 30.0

    def wait(self, failures: int) -> float:
        """Seconds to wait after the n-th failure, n from 1: doubles each time."""
        return float(self.first_wait * 2 ** (failures - 1))


_ANSWERED: set[str] = set()
"""Hosts that have answered this process."""


def answered(host: str) -> None:
    """Remembers that `host` can be reached."""
    _ANSWERED.add(host)


def tries_for(host: str, policy: Policy) -> int:
    """The tries of `policy`, but two for a host that never answered: it is hardly the line that is bad."""
    return policy.tries if host in _ANSWERED else min(2, policy.tries)


@dataclass(frozen=True)
class Origin:
    """What a partial file is a part of."""

    url: str
    validator: str = ""
    """A strong ETag, else the Last-Modified date; "" when the server gave neither."""
    size: int = -1
    """Bytes of the whole file, -1 unknown."""
    sha256: str = ""


class RefusedByServer(UserError):  # noqa: N818 - the server's word
    """The server answered, and the answer is no: `status` is HTTP's."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        hint = "check the set's name, the number of files and --mirror"
        super().__init__(f"cannot fetch {url}: HTTP {status} {reason}", hint, Exit.FAILED)
        self.status = status


class Stopped(Exception):  # noqa: N818 - asked for
    """The caller's `should_stop` became true; what has come is kept for the next time."""


class _Transient(Exception):  # noqa: N818 - caught by the retry loop below
    """A failure that a new try may fix."""


@dataclass
class Transfer:
    """One download. `received` bytes are on disk, of `size` (-1 until the server has said)."""

    url: str
    target: Path
    check: Callable[[Path], None] = lambda path: None
    """Raises `UserError` when the finished file is not what it should be."""
    should_stop: Callable[[], bool] = lambda: False
    policy: Policy = Policy()
    note: Callable[[str], None] = lambda text: None
    """Hears of every failed try, and for whom it waits."""
    received: int = 0
    size: int = -1

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def part(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def origin_file(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part.json")

    def run(self) -> bool:
        """Fetches the file; False when it was already there and whole.

        Raises `UserError` in one line when all tries failed, the server has no such file, or the disk
        is full, and `Stopped`. The part that has come is kept, except where it proved wrong.
        """
        make_dir(self.target.parent)
        with fetch_lock(self.target, lambda: sleep(WAIT, self.should_stop), self.note):
            if is_whole(self.target, self.check, self.note):
                self.received = self.size = self.target.stat().st_size
                return False
            with requests.Session() as session:
                self._with_retries(session)
            self._finish()
        return True

    def _with_retries(self, session: requests.Session) -> None:
        failures, furthest = 0, self.part.stat().st_size if self.part.exists() else 0
        while True:
            try:
                self._one_try(session)
                return
            except _MALFORMED as error:
                reason = one_line(str(error))
                raise UserError(f"{self.url} is no address: {reason}", "check --mirror") from error
            except (_Transient, requests.RequestException) as error:
                failures = 1 if self.received >= furthest + PROGRESS_BYTES else failures + 1
                furthest = max(furthest, self.received)
                reason = _reason(error)
                if failures >= tries_for(self.host, self.policy):
                    kept = "the part that has come is kept: run the same command again"
                    raise UserError(
                        f"cannot fetch {self.url} in {failures} tries: {reason}",
                        kept if self.received else "check the connection and --mirror",
                        Exit.FAILED,
                    ) from error
                wait = self.policy.wait(failures)
                self.note(f"{self.target.name}: {reason}; trying again in {wait:g} s")
                sleep(wait, self.should_stop)
            except OSError as error:
                raise disk_error(self.part, error) from error

    def _stop_if_asked(self) -> None:
        if self.should_stop():
            raise Stopped

    # -- one try ---------------------------------------------------------------------------------

    def _one_try(self, session: requests.Session) -> None:
        self._stop_if_asked()
        kept = self._kept_origin()
        offset = self.part.stat().st_size if kept else 0
        self.received = offset
        headers = {"Accept-Encoding": "identity"}
        if kept and offset:
            headers |= {"Range": f"bytes={offset}-", "If-Range": kept.validator}
        with session.get(self.url, headers=headers, stream=True, timeout=self.policy.timeout) as answer:
            answered(self.host)
            origin, offset = self._judge(answer, kept, offset)
            self.size = origin.size
            if answer.status_code != 416:
                self._receive(answer, origin, offset)
        self._verify(origin)

    def _kept_origin(self) -> Origin | None:
        """What the part on disk belongs to, when it can be gone on with."""
        try:
            kept = _read_origin(read_regular(self.origin_file))
        except (OSError, ValueError):
            return None
        usable = kept.url == self.url and kept.validator and self.part.is_file()
        return kept if usable else None

    def _judge(self, answer: requests.Response, kept: Origin | None, offset: int) -> tuple[Origin, int]:
        """The origin this answer belongs to and the offset its body begins at. Raises for a refusal."""
        status = answer.status_code
        if status == 206 and kept:
            start, total = _content_range(answer)
            if start == offset and total in (kept.size, -1) and _same_etag(answer, kept):
                return replace(kept, sha256=kept.sha256 or _announced_sha256(answer)), offset
            self._discard()
            raise _Transient(f"the server answered another range ({answer.headers.get('Content-Range')})")
        if status == 416 and kept:
            if offset == kept.size:
                return kept, offset
            self._discard()
            raise _Transient("the server has no such range any more")
        if status == 200:
            return _origin_of(self.url, answer), 0
        if status in RETRIED:
            raise _Transient(f"HTTP {status} {answer.reason}")
        raise RefusedByServer(self.url, status, answer.reason)

    def _receive(self, answer: requests.Response, origin: Origin, offset: int) -> None:
        if offset == 0:
            self._discard()
            atomic_write(self.origin_file, json.dumps(vars(origin)))
        self.received = offset
        with self.part.open("ab" if offset else "wb") as file:
            try:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    self.received += len(chunk)
                    self._stop_if_asked()
            finally:
                with contextlib.suppress(OSError):
                    file.flush()
                    os.fsync(file.fileno())

    def _verify(self, origin: Origin) -> None:
        size = self.part.stat().st_size
        if origin.size >= 0 and size < origin.size:
            raise _Transient(f"the connection ended after {size:,} of {origin.size:,} bytes")
        wrong = ""
        if origin.size >= 0 and size > origin.size:
            wrong = f"{size:,} bytes came where {origin.size:,} were announced"
        elif origin.sha256 and sha256_of(self.part, self._stop_if_asked) != origin.sha256:
            wrong = "its sha256 is not the one the server announced"
        else:
            try:
                self.check(self.part)
            except UserError as error:
                wrong = error.message.replace(str(self.part), "the file that came")
        if wrong:
            self._discard()
            raise _Transient(wrong)

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.origin_file.unlink(missing_ok=True)
        self.received = 0

    def _finish(self) -> None:
        try:
            self.part.replace(self.target)
            self.origin_file.unlink(missing_ok=True)
            fsync_dir(self.target.parent)
        except OSError as error:
            raise disk_error(self.target, error) from error
        self.received = self.size = self.target.stat().st_size


def sleep(seconds: float, should_stop: Callable[[], bool]) -> None:
    """Waits; raises `Stopped` soon after `should_stop` becomes true."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if should_stop():
            raise Stopped
        time.sleep(min(0.1, left))


def is_whole(target: Path, check: Callable[[Path], None], note: Callable[[str], None]) -> bool:
    """Whether a file is there that `check` takes; `note` hears of one that it does not."""
    if not target.is_file():
        return False
    try:
        check(target)
    except UserError as error:
        note(f"{error.message}: fetching it again")
        return False
    return True


def _origin_of(url: str, answer: requests.Response) -> Origin:
    """What a 200 answer says of the file."""
    etag = answer.headers.get("ETag", "")
    modified = answer.headers.get("Last-Modified", "")
    strong = etag if etag and not etag.startswith("W/") else ""
    dated = modified if email.utils.parsedate(modified) else ""
    length = answer.headers.get("Content-Length", "")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise _Transient("the server compressed the answer unasked")
    return Origin(url, strong or dated, _size(length), _announced_sha256(answer))


def _read_origin(raw: bytes) -> Origin:
    """What a file beside a part says it is a part of. Raises ValueError for what is no such file."""
    found = json_object(raw) or {}
    url, validator, sha256 = (found.get(name) for name in ("url", "validator", "sha256"))
    size = whole(found.get("size"), -1)
    if not (isinstance(url, str) and isinstance(validator, str) and isinstance(sha256, str)) or size is None:
        raise ValueError("it is not of a download")
    return Origin(url, validator, size, sha256)


def _size(said: str) -> int:
    """A number of bytes as HTTP spells it; -1 for anything else."""
    try:
        return parse_int(said) if said.isascii() and said.isdigit() else -1
    except ValueError:  # more than 64 bits
        return -1


def _same_etag(answer: requests.Response, kept: Origin) -> bool:
    """False when the answer names another version, for servers that overlook If-Range."""
    etag = answer.headers.get("ETag", "")
    return etag == kept.validator or not (etag.startswith('"') and kept.validator.startswith('"'))


def _announced_sha256(answer: requests.Response) -> str:
    """The sha256 the hub announces for a large file: `X-Linked-ETag`, on the redirect to its store."""
    for step in (*answer.history, answer):
        match = _SHA256.fullmatch(step.headers.get("X-Linked-ETag", ""))
        if match:
            return match[1]
    return ""


def _content_range(answer: requests.Response) -> tuple[int, int]:
    """`(start, total)` of `Content-Range: bytes start-end/total`; -1 for what is not given."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    return (_size(match[1]), _size(match[2])) if match else (-1, -1)


def sha256_of(path: Path, between: Callable[[], None] = lambda: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
            between()
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        cause: object = error.args[0] if error.args else error
        cause = getattr(cause, "reason", cause)  # urllib3 wraps what happened once more
        return f"the connection broke ({one_line(str(cause)).rpartition(': ')[2][:160]})"
    return one_line(str(error))[:200]


def disk_error(path: Path | str, error: OSError) -> UserError:
    if error.errno == errno.ENOSPC:
        hint = "free some space and run the same command again: the part that has come is kept"
        return UserError(f"the disk is full: cannot write {path}", hint, Exit.FAILED)
    return UserError(f"cannot write {path}: {error.strerror or error}", exit_code=Exit.FAILED)
