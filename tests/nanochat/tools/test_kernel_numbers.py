"""The sandbox's tables of system calls and flags against the kernel's headers, where they are installed."""

import re
from functools import cache
from pathlib import Path

import pytest

from nanochat.tools.jail import landlock, libc, seccomp

INCLUDE = Path("/usr/include")
DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+\(?([^/\n]+?)\)?\s*(?:/\*.*)?$", re.M)
ENUM = re.compile(r"^\s*(\w+)\s*=\s*(0x[0-9A-Fa-f]+|\d+)\s*,", re.M)
ON_64_BITS = {"fstatat": "newfstatat"}
"""Calls with one number for 32 and 64 bits that have another name on 64."""


@cache
def header(name: str) -> dict[str, str]:
    """The constants that a header defines, as they are written there. Skips the test without the header."""
    found = next(
        (path for path in (*INCLUDE.glob(f"*-linux-gnu/{name}"), INCLUDE / name) if path.is_file()), None
    )
    if found is None:
        pytest.skip(f"needs the kernel's header {name} (apt install linux-libc-dev)")
    text = found.read_text(encoding="utf-8")
    return dict(DEFINE.findall(text)) | dict(ENUM.findall(text))


def value(name: str, *headers: str) -> int:
    """A constant of these headers, with those it is made of."""
    known = {key: text for file in headers for key, text in header(file).items()}
    text = known[name].strip()
    words = re.sub(
        r"[A-Za-z_]\w*",
        lambda word: str(value(word[0], *headers)),
        re.sub(r"\b(0x[\da-fA-F]+|\d+)U?L*\b", _decimal, text),
    )
    assert re.fullmatch(r"[\d\s|<()~&+-]+", words), (name, text)
    return int(eval(words))  # nothing but numbers and operators, as just checked


def _decimal(number: re.Match[str]) -> str:
    digits = number[1]
    return str(int(digits, 8 if re.fullmatch(r"0[0-7]+", digits) else 0))


def calls_x86_64() -> dict[str, int]:
    return {
        name.removeprefix("__NR_"): int(text)
        for name, text in header("asm/unistd_64.h").items()
        if text.isdigit()
    }


def calls_aarch64() -> dict[str, int]:
    """The table that arm64 takes, from any machine's headers."""
    found = {}
    for name, text in header("asm-generic/unistd.h").items():
        if text.strip().isdigit():
            call = re.sub(r"^__NR(3264)?_", "", name)
            found[ON_64_BITS.get(call, call)] = int(text)
    return found


@pytest.mark.parametrize(("machine", "calls"), [("x86_64", calls_x86_64), ("aarch64", calls_aarch64)])
def test_every_listed_call_has_the_kernels_number(machine: str, calls) -> None:
    kernels = calls()
    listed = {
        name: number for table in seccomp._TABLES for name, number in seccomp._numbers(table, machine).items()
    }
    assert len(listed) > 90
    assert {name: kernels.get(name) for name in listed} == listed


@pytest.mark.parametrize(("machine", "calls"), [("x86_64", calls_x86_64), ("aarch64", calls_aarch64)])
def test_a_call_left_out_for_a_machine_does_not_exist_there(machine: str, calls) -> None:
    column = seccomp._ARCHITECTURES[machine][1]
    rows = [row.split() for table in seccomp._TABLES.values() for row in table.split(",")]
    absent = {name for name, *numbers in rows if int(numbers[column]) == seccomp._NONE}
    assert not absent & {"fstat", "mmap"}
    assert not absent & calls().keys()


def test_landlocks_calls_and_rights_are_the_kernels() -> None:
    calls = calls_x86_64()
    names = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
    assert [calls[name] for name in names] == [
        landlock._CREATE_RULESET, landlock._ADD_RULE, landlock._RESTRICT_SELF,
    ]  # fmt: skip
    assert value("LANDLOCK_ACCESS_FS_READ_FILE", "linux/landlock.h") == landlock._READ_FILE
    assert value("LANDLOCK_ACCESS_FS_READ_DIR", "linux/landlock.h") == landlock._READ_DIR


@pytest.mark.parametrize(
    ("ours", "name", "headers"),
    [
        *[(getattr(libc, name), name, ("linux/sched.h",)) for name in dir(libc) if name.startswith("CLONE_")],
        *[(getattr(libc, name), name, ("linux/prctl.h",)) for name in dir(libc) if name.startswith("PR_")],
        *[(getattr(libc, name), name, ("linux/mount.h",)) for name in dir(libc) if name.startswith("MS_")],
        (seccomp._THREAD_FLAG, "CLONE_THREAD", ("linux/sched.h",)),
        (seccomp._AT_EMPTY_PATH, "AT_EMPTY_PATH", ("linux/fcntl.h",)),
        (seccomp._ALLOW, "SECCOMP_RET_ALLOW", ("linux/seccomp.h",)),
        (seccomp._ERRNO, "SECCOMP_RET_ERRNO", ("linux/seccomp.h",)),
        (seccomp._KILL, "SECCOMP_RET_KILL_PROCESS", ("linux/seccomp.h",)),
        *[
            (seccomp._ARCHITECTURES[m][0], f"AUDIT_ARCH_{m.upper()}", ("linux/audit.h", "linux/elf-em.h"))
            for m in ("x86_64", "aarch64")
        ],
        *[
            (number, name, ("asm-generic/ioctls.h",))
            for number, name in zip(
                seccomp._TERMINAL_QUESTIONS,
                ("TCGETS", "TIOCGWINSZ", "FIONREAD", "FIONBIO", "FIONCLEX", "FIOCLEX"),
                strict=True,
            )
        ],
        *[
            (number, name, ("linux/prctl.h",))
            for number, name in zip(
                seccomp._SELF_PRCTLS,
                ("PR_GET_DUMPABLE", "PR_SET_NAME", "PR_GET_NAME", "PR_SET_VMA"),
                strict=True,
            )
        ],
    ],
)
def test_a_flag_has_the_kernels_value(ours: int, name: str, headers: tuple[str, ...]) -> None:
    assert value(name, *headers) == ours


def test_the_namespace_flags_are_all_that_the_kernel_has() -> None:
    names = [
        name for name in header("linux/sched.h") if name.startswith("CLONE_NEW") and name != "CLONE_NEWTIME"
    ]
    together = 0
    for name in names:
        together |= value(name, "linux/sched.h")
    assert len(names) == 7
    assert together == seccomp._NAMESPACE_FLAGS
