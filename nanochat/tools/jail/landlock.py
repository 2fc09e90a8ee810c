"""Landlock (Linux 5.13): this process may read beneath a few folders and open nothing else.

It needs no privilege. Later versions also cover truncation, TCP and signals; the system-call filter forbids
those as well, so the version does not matter.
"""

import os
import struct
from collections.abc import Iterable

from nanochat.tools.jail import libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_ACCESS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Version: number of kinds of access it knows; 16 from version 5 on."""


def version() -> int:
    """The kernel's Landlock version. Raises `OSError` where there is none."""
    return libc.syscall(_CREATE_RULESET, None, 0, 1)


def restrict(readable: Iterable[str]) -> None:
    """Leaves this process nothing but reading beneath the paths of `readable` that exist."""
    known = version()
    every_access = (1 << _FILE_ACCESS_BITS.get(known, 16)) - 1
    words = [every_access]
    if known >= 4:
        words.append(0b11)  # TCP bind and connect
    if known >= 6:
        words.append(0b11)  # abstract UNIX sockets and signals beyond this domain
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in readable:
            _allow_reading(ruleset, path)
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        libc.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        access = _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0)
        libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", access, descriptor), 0)
    finally:
        os.close(descriptor)
