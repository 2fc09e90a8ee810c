"""`huggingface_hub` as this project uses it: loaded late, silent on the terminal, errors of one line."""

import contextlib
import functools
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nanochat import __version__
from nanochat.common.errors import Exit, UserError, one_line
from nanochat.data.download import RETRIED, Policy, Stopped, answered, disk_error, sleep, tries_for

ANSWER_SECONDS = 10.0
"""How long the hub may take to answer a small request."""
USER_AGENT: dict[str, str] = {"library_name": "nanochat", "library_version": __version__}

T = TypeVar("T")

_NO_HUB = (TypeError, ValueError, LookupError, AttributeError)
"""What the client raises for an answer that it does not understand."""


class WrongFile(Exception):  # noqa: N818 - caught by `Tries`
    """A file that came, or was in the cache, is not what it should be."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(what)
        self.path = path

    def forget(self) -> None:
        """Takes the file out of the cache, so that it is fetched again and no other program gets it."""
        for path in {self.path.resolve(), self.path}:
            path.unlink(missing_ok=True)


@functools.cache
def hub() -> Any:
    """The module `huggingface_hub`, imported at the first use: that takes longer than `--help` may."""
    # Otherwise its first request asks the hub what it should report about this program.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import huggingface_hub

    logger = logging.getLogger(huggingface_hub.__name__)
    huggingface_hub.logging.disable_propagation()
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
    warnings.filterwarnings("ignore", module=rf"{huggingface_hub.__name__}\.")
    return huggingface_hub


def endpoint() -> str:
    """The hub's address: HF_ENDPOINT, else https://huggingface.co."""
    return str(hub().constants.ENDPOINT)


@contextlib.contextmanager
def warnings_to(note: Callable[[str], None]) -> Iterator[None]:
    """What the client warns of meanwhile (its own new tries, above all) goes to `note`, a line each."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(one_line(record.getMessage())[:300])

    handler = Handler(logging.WARNING)
    logger = logging.getLogger(hub().__name__)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def meter(count: Callable[[int], None]) -> type:
    """A progress bar for the client: it shows nothing, and calls `count` with the bytes received since."""
    bar: Any = hub().utils.tqdm

    class Meter(bar):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            count(int(n or 0))

        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes on the line, which the client reports besides those of the file."""

        def set_transfer_postfix_str(self, s: str = "", refresh: bool = True) -> None:
            pass

    return Meter


@dataclass(frozen=True)
class Tries:
    """How often the hub is asked for something. Offline the client's cache is asked, once."""

    policy: Policy
    note: Callable[[str], None]
    should_stop: Callable[[], bool]
    offline: bool

    def of(self, fetch: Callable[[], T], what: str) -> T:
        """What `fetch` returns, tried again after a failure that may pass.

        Raises `UserError` in one line, and `Stopped`.
        """
        failures = 0
        while True:
            if self.should_stop():
                raise Stopped
            try:
                return fetch()
            except (UserError, Stopped):
                raise
            except WrongFile as error:
                reason = str(error)
                if self.offline:
                    raise UserError(
                        f"{what} in the hub's cache is damaged: {reason}",
                        "fetch it again, not offline",
                        Exit.FAILED,
                    ) from error
                error.forget()
            except Exception as error:  # its HTTP client's errors come through, whatever that client is
                reason = _passing(error)
                if not reason:
                    raise _explained(error, what) from error
            failures += 1
            if failures >= tries_for(endpoint(), self.policy):
                raise UserError(
                    f"cannot fetch {what} from {endpoint()} in {failures} tries: {reason}",
                    "check the connection and HF_ENDPOINT",
                    Exit.FAILED,
                )
            wait = self.policy.wait(failures)
            self.note(f"{what}: {reason}; trying again in {wait:g} s")
            sleep(wait, self.should_stop)


def _passing(error: BaseException) -> str:
    """Why a new try may do better, in a few words; empty when it will not."""
    errors = hub().errors
    response = getattr(error, "response", None)
    if response is not None:
        answered(endpoint())
        return f"HTTP {response.status_code}" if response.status_code in RETRIED else ""
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _passing(error.__cause__) if error.__cause__ else ""
    if isinstance(error, (errors.OfflineModeIsEnabled, errors.FileMetadataError, *_NO_HUB)):
        return ""
    if isinstance(error, OSError) and error.errno is not None:
        return ""
    return one_line(str(error))[:200] or "no answer in time"


def _explained(error: BaseException, what: str) -> UserError:
    """What an error that will not pass means, and what to do."""
    errors, cache = hub().errors, hub().constants.HF_HUB_CACHE
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    response = getattr(error, "response", None)
    if response is not None:
        return _refused(error, response, what)
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return UserError(
            f"{what} is not in the hub's cache {cache}", "nothing is fetched offline", Exit.FAILED
        )
    if isinstance(error, OSError) and error.errno is not None:
        return disk_error(error.filename or cache, error)
    return no_hub(f"{type(error).__name__}: {one_line(str(error))[:200]}")


def no_hub(why: str) -> UserError:
    """The error that the address is no hub's."""
    return UserError(
        f"{endpoint()} does not answer as the Hugging Face hub does ({why})",
        "check HF_ENDPOINT; a server that only keeps the files goes with --mirror",
        Exit.FAILED,
    )


def _refused(error: BaseException, response: Any, what: str) -> UserError:
    status = response.status_code
    said = one_line(getattr(error, "server_message", None) or response.reason_phrase)[:200]
    if isinstance(error, hub().errors.GatedRepoError) or status == 403:
        hint = "ask for access on its page there, and set HF_TOKEN to a token of your account"
    elif status == 401:
        hint = "it is private or does not exist: set HF_TOKEN to a token that may read it"
    else:
        hint = "check the names and HF_ENDPOINT"
    return UserError(f"cannot fetch {what} from {endpoint()}: HTTP {status} {said}", hint, Exit.FAILED)
