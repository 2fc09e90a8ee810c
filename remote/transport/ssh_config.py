"""What OpenSSH makes of its configuration for one host, as OpenSSH itself tells it (`ssh -G`).

Its files have aliases, patterns, `Match exec`, includes and quoting of their own; a second parser of them is
right only until it is not. Without an `ssh` on this machine asyncssh reads ~/.ssh/config instead.
"""

from __future__ import annotations

import contextlib
import fnmatch
import getpass
import os
import pwd
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.text import sanitize
from remote.transport.child import end_child, start_child

_NO_TERMINAL = "Pseudo-terminal will not be allocated"
#: the host's own locale decides there; a laptop's may not exist on it
_NOT_SENT = ("LANG", "LANGUAGE", "LC_*")


@dataclass(frozen=True)
class SSHSettings:
    """One host's settings. `agent`: None is SSH_AUTH_SOCK, "" none; `algorithms` by OpenSSH's word."""

    host: str
    port: int
    user: str
    host_key_alias: str
    identity_files: tuple[Path, ...]
    certificates: tuple[Path, ...]
    identities_only: bool
    agent: str | None
    jumps: tuple[str, ...]
    proxy_command: str
    address_family: int
    bind_address: str
    compression: bool
    env: dict[str, str]
    known_hosts: tuple[Path, ...]
    algorithms: dict[str, tuple[str, ...]]


async def read_settings(address: str, user: str = "", port: int = 0) -> SSHSettings | None:
    """OpenSSH's settings for `address` (an alias, perhaps); None where no OpenSSH is installed.

    Raises `UserError` with OpenSSH's own line when it cannot read its files.
    """
    program = shutil.which("ssh")
    if program is None:
        return None
    words = [program, "-T", "-G", *_config_file()]
    words += ["-l", user] if user else []
    words += ["-p", str(port)] if port else []
    process = await start_child([*words, "--", address])
    try:
        out, err = await process.communicate()
    finally:
        await end_child(process)
    if process.returncode != 0:
        said = [line for line in err.decode(errors="replace").splitlines() if _NO_TERMINAL not in line]
        raise UserError(
            f"OpenSSH cannot read its own configuration: {sanitize(said[0] if said else 'ssh -G failed')}",
            f"mend that file; `ssh -G {address}` says more",
            Exit.UNREACHABLE,
        )
    return _settings(address, out.decode(errors="surrogateescape"))


def config_word(text: str) -> str:
    """`text` as one word of an option of OpenSSH's that takes several, such as UserKnownHostsFile."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _config_file() -> list[str]:
    """OpenSSH looks in the account's home whatever $HOME says; everything else of ours goes by $HOME."""
    with contextlib.suppress(KeyError):
        if Path(pwd.getpwuid(os.getuid()).pw_dir) == Path.home():
            return []
    file = Path.home() / ".ssh" / "config"
    return ["-F", str(file) if file.is_file() else "none"]


def _settings(address: str, printed: str) -> SSHSettings:
    found: dict[str, list[str]] = {}
    for line in printed.splitlines():
        word, _, value = line.partition(" ")
        found.setdefault(word.lower(), []).append(value)

    def one(word: str, default: str = "") -> str:
        value = found.get(word, [default])[0]
        return "" if value.lower() == "none" else value

    host, user = one("hostname", address), one("user", getpass.getuser())
    port = one("port", "22")
    tokens = _tokens(address, host, port, user, one("hostkeyalias"))
    return SSHSettings(
        host=host,
        port=int(port),
        user=user,
        host_key_alias=one("hostkeyalias"),
        identity_files=_paths(found.get("identityfile", []), tokens),
        certificates=_paths(found.get("certificatefile", []), tokens),
        identities_only=one("identitiesonly") == "yes",
        agent=_agent(found.get("identityagent", ["SSH_AUTH_SOCK"])[0], tokens),
        jumps=tuple(filter(None, one("proxyjump").split(","))),
        proxy_command=_expand(one("proxycommand"), tokens),
        address_family={"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(one("addressfamily"), 0),
        bind_address=one("bindaddress"),
        compression=one("compression") == "yes",
        env=_environment(found.get("sendenv", []), found.get("setenv", [])),
        known_hosts=_known_hosts(one("userknownhostsfile"), one("globalknownhostsfile")),
        algorithms={
            word: tuple(one(word).split(",")) for word in ("kexalgorithms", "ciphers", "macs") if one(word)
        },
    )


def _tokens(address: str, host: str, port: str, user: str, alias: str) -> dict[str, str]:
    name = socket.gethostname()
    return {
        "%": "%", "h": host, "n": address, "p": port, "r": user, "k": alias or host, "d": str(Path.home()),
        "u": getpass.getuser(), "i": str(os.getuid()), "l": name, "L": name.partition(".")[0],
    }  # fmt: skip


def _expand(text: str, tokens: dict[str, str]) -> str:
    """`text` with OpenSSH's %-tokens put in; one it does not know stays as it is."""
    return re.sub(r"%(.)", lambda match: tokens.get(match[1], match[0]), text)


def _path(text: str, tokens: dict[str, str]) -> Path:
    named = re.sub(r"\$\{(\w+)\}", lambda match: os.environ.get(match[1], match[0]), text)
    return _at_home(_expand(named, tokens))


def _at_home(text: str) -> Path:
    """A path with its `~` as the home directory; as it stands where there is no such home: then no file."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _paths(texts: list[str], tokens: dict[str, str]) -> tuple[Path, ...]:
    return tuple(_path(text, tokens) for text in texts if text.lower() != "none")


def _agent(text: str, tokens: dict[str, str]) -> str | None:
    if text == "SSH_AUTH_SOCK":
        return None
    if text.lower() == "none":
        return ""
    return os.environ.get(text[1:], "") if re.fullmatch(r"\$\w+", text) else str(_path(text, tokens))


def _environment(patterns: list[str], assigned: list[str]) -> dict[str, str]:
    sent = {
        name: value
        for name, value in os.environ.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in _NOT_SENT)
    }
    return {**sent, **{name: value for name, _, value in (item.partition("=") for item in assigned)}}


def _known_hosts(*lists: str) -> tuple[Path, ...]:
    """The files that are there. OpenSSH prints them without quotes: one with a space stays unknown."""
    return tuple(path for text in lists for word in text.split() if (path := _at_home(word)).is_file())
