"""`pass_env`: environment variables that a run is handed from the shell it is started in.

A host or a plan lists names. Values are read when a run is started or resumed, travel in the body of the
request and lie on the host in a file of mode 0600 until the run has ended. They are never logged or shown.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nanochat.common.errors import UserError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFUSED = re.compile(
    r"NANOCHAT_.*|LD_.*|DYLD_.*|PYTHON.*|PATH|HOME|PWD|OLDPWD|SHELL|USER|LOGNAME|IFS|ENV|BASH_ENV"
    r"|SSH_AUTH_SOCK|RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|MASTER_ADDR|MASTER_PORT|TORCHELASTIC_.*"
)
"""What nanochat sets itself, what decides which code runs, and what describes this machine and process."""
_SHOWN = 24


@dataclass(frozen=True)
class Passed:
    """Variables to hand over, and the names among those asked for that are not set here."""

    values: Mapping[str, str] = field(repr=False)
    missing: tuple[str, ...]


def split_names(text: str) -> list[str]:
    """Names written one after the other, with commas or spaces between."""
    return [word for word in re.split(r"[,\s]+", text) if word]


def check_names(names: Iterable[str], where: str) -> tuple[str, ...]:
    """`names` without repeats. Raises `UserError`, begun with `where`, for one that cannot be passed on."""
    checked = tuple(dict.fromkeys(names))
    for name in checked:
        if not _NAME.fullmatch(name):
            # What is no name may be a secret written in its place, so only its beginning is shown.
            start = _NAME.match(name)
            shown = f"{start[0][:_SHOWN]}…" if start else "it begins wrong"
            raise UserError(
                f"{where}: not the name of an environment variable ({shown})",
                "names alone, such as WANDB_API_KEY; their values are read from your shell",
            )
        if _REFUSED.fullmatch(name):
            raise UserError(
                f"{where}: {name} is not passed on",
                "it is nanochat's own, or describes one machine, or decides which code runs",
            )
    return checked


def collect(names: Iterable[str], environ: Mapping[str, str] = os.environ) -> Passed:
    """The variables called `names` as set in `environ`.

    Raises `UserError` for a value that is no text in UTF-8, which cannot be sent.
    """
    wanted = tuple(dict.fromkeys(names))
    values = {name: environ[name] for name in wanted if name in environ}
    for name, value in values.items():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError(f"the value of {name} is no UTF-8 text and cannot be passed on") from None
    return Passed(values, tuple(name for name in wanted if name not in values))


def missing_line(missing: Iterable[str]) -> str:
    """One line about names that are not set here."""
    names = list(missing)
    verb, them = ("is", "it is") if len(names) == 1 else ("are", "they are")
    return f"{', '.join(names)} {verb} listed in pass_env but not set here: {them} not passed on"


def option_names(given: Sequence[str]) -> tuple[str, ...]:
    """The names of every `--pass-env`."""
    return check_names((name for text in given for name in split_names(text)), "--pass-env")
