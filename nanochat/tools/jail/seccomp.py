"""The system-call filter: an allow-list as a BPF program assembled here (seccomp(2), filter mode).

What is not listed fails with EPERM: no socket, no new process, no other program, no signal to another
process, no tracing, no mounting, no key or kernel interface. Threads are allowed; the memory limit
bounds them like everything else. Calls newer than this list fail with ENOSYS, so that the C library falls
back to one it knows.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from nanochat.tools.jail import libc

_ARCHITECTURES = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}
"""machine: (the kernel's AUDIT_ARCH word, its column in the tables below)."""

_NONE = -1
_TABLES = {
    "process": """
        read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, close 3 57,
        close_range 436 436, fstat 5 80, lseek 8 62, poll 7 -1, ppoll 271 73, select 23 -1, pselect6 270 72,
        epoll_create 213 -1, epoll_create1 291 20, epoll_ctl 233 21, epoll_wait 232 -1, epoll_pwait 281 22,
        eventfd2 290 19, pipe 22 -1, pipe2 293 59, dup 32 23, dup2 33 -1, dup3 292 24, fsync 74 82,
        fdatasync 75 83, fadvise64 221 223, mmap 9 222, mprotect 10 226, munmap 11 215, brk 12 214,
        mremap 25 216, madvise 28 233, mincore 27 232, rt_sigaction 13 134, rt_sigprocmask 14 135,
        rt_sigreturn 15 139, rt_sigsuspend 130 133, rt_sigtimedwait 128 137, rt_sigpending 127 136,
        sigaltstack 131 132, pause 34 -1, alarm 37 -1, getitimer 36 102, setitimer 38 103,
        sched_yield 24 124, sched_getaffinity 204 123, getcpu 309 168, futex 202 98, set_robust_list 273 99,
        get_robust_list 274 100, rseq 334 293, restart_syscall 219 128, membarrier 324 283,
        set_tid_address 218 96, getpid 39 172, gettid 186 178, getppid 110 173, getpgrp 111 -1,
        getpgid 121 155, getsid 124 156, getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177,
        getgroups 115 158, getresuid 118 148, getresgid 120 150, umask 95 166, uname 63 160, sysinfo 99 179,
        times 100 153, getrusage 98 165, getrlimit 97 163, getpriority 140 141, gettimeofday 96 169,
        time 201 -1, clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115, nanosleep 35 101,
        timerfd_create 283 85, timerfd_settime 286 86, timerfd_gettime 287 87, getrandom 318 278,
        arch_prctl 158 -1, exit 60 93, exit_group 231 94, wait4 61 260, waitid 247 95, getcwd 79 17
    """,
    "read": """
        newfstatat 262 79, stat 4 -1, lstat 6 -1, statx 332 291, access 21 -1, faccessat 269 48,
        faccessat2 439 439, readlink 89 -1, readlinkat 267 78, getdents 78 -1, getdents64 217 61,
        chdir 80 49, fchdir 81 50, statfs 137 43, fstatfs 138 44
    """,
    "write": """
        openat 257 56, open 2 -1, creat 85 -1, ftruncate 77 46, truncate 76 45, fallocate 285 47, mkdir 83 -1,
        mkdirat 258 34, rmdir 84 -1, unlink 87 -1, unlinkat 263 35, rename 82 -1, renameat 264 38,
        renameat2 316 276, link 86 -1, linkat 265 37, symlink 88 -1, symlinkat 266 36, chmod 90 -1,
        fchmod 91 52, fchmodat 268 53, utimensat 280 88, copy_file_range 326 285, sendfile 40 71
    """,
    "checked": """
        ioctl 16 29, prctl 157 167, clone 56 220, clone3 435 435, kill 62 129, tgkill 234 131,
        prlimit64 302 261, socketpair 53 199, fcntl 72 25, openat 257 56, open 2 -1, newfstatat 262 79
    """,
}
_FIRST_UNKNOWN = 449
"""System calls from here on are newer than the tables; their numbers are the same on all machines."""

_THREAD_FLAG = 0x0001_0000
_NAMESPACE_FLAGS = 0x7E02_0000
_WRITING_FLAGS = 0o1103  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
_AT_EMPTY_PATH = 0x1000
_TERMINAL_QUESTIONS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""ioctls: TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_DESCRIPTOR_COMMANDS = (0, 1, 2, 3, 4, 1030)
"""fcntls: F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC. Not F_SETOWN, which aims signals."""
_SELF_PRCTLS = (3, 15, 16, 0x5356_4D41)
"""prctls: PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_SET_VMA."""

_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06


@dataclass(frozen=True)
class Check:
    """Allow the call only when `argument & mask` is one of `values` (its low 32 bits)."""

    argument: int
    values: Sequence[int]
    mask: int = 0xFFFF_FFFF


def _numbers(table: str, machine: str) -> dict[str, int]:
    column = _ARCHITECTURES[machine][1]
    rows = (row.split() for row in _TABLES[table].split(","))
    found = {name: int(numbers[column]) for name, *numbers in rows}
    return {name: number for name, number in found.items() if number != _NONE}


def _checks(files: str, pid: int) -> dict[str, Check]:
    checks = {
        "ioctl": Check(1, _TERMINAL_QUESTIONS),
        "prctl": Check(0, _SELF_PRCTLS),
        "clone": Check(0, (_THREAD_FLAG,), _THREAD_FLAG | _NAMESPACE_FLAGS),
        "kill": Check(0, (pid,)),
        "tgkill": Check(0, (pid,)),
        "prlimit64": Check(0, (0, pid)),
        "socketpair": Check(0, (1,)),
        "fcntl": Check(1, _DESCRIPTOR_COMMANDS),
    }
    if files == "read":
        checks |= {"openat": Check(2, (0,), _WRITING_FLAGS), "open": Check(1, (0,), _WRITING_FLAGS)}
    elif files == "none":
        checks["newfstatat"] = Check(3, (_AT_EMPTY_PATH,), _AT_EMPTY_PATH)
    return checks


def build(machine: str, files: str, pid: int) -> bytes:
    """The filter as an array of `struct sock_filter`.

    `files` says what the calls on files may do: "write" whatever the mounts allow, "read" open for reading
    only, "none" open nothing. `pid` is the one process that may be signalled: this one.
    """
    arch = _ARCHITECTURES[machine][0]
    allowed = _numbers("process", machine)
    if files != "none":
        allowed |= _numbers("read", machine)
    if files == "write":
        allowed |= _numbers("write", machine)
    checked = _numbers("checked", machine)
    program = [
        (_LOAD, 0, 0, 4),  # seccomp_data.arch
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # seccomp_data.nr
    ]
    for name, check in _checks(files, pid).items():
        if name in checked:
            program += _checked_call(checked[name], check)
    for number in sorted(allowed.values()):
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    program += [
        (_EQUAL, 0, 1, checked["clone3"]),  # its flags lie in memory, where a filter cannot look
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_AT_LEAST, 0, 1, _FIRST_UNKNOWN),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _checked_call(number: int, check: Check) -> list[tuple[int, int, int, int]]:
    block = [(_LOAD, 0, 0, 16 + 8 * check.argument)]
    if check.mask != 0xFFFF_FFFF:
        block.append((_AND, 0, 0, check.mask))
    for value in check.values:
        block += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    block.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return [(_EQUAL, 0, len(block), number), *block]


def install(files: str) -> None:
    """Installs the filter in this process, irrevocably. Raises `OSError` where the kernel or the machine has
    none."""
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no system-call table for {machine}")
    raw = build(machine, files, os.getpid())
    instructions = ctypes.create_string_buffer(raw, len(raw))
    header = struct.pack("HxxxxxxP", len(raw) // 8, ctypes.addressof(instructions))
    pointer = ctypes.create_string_buffer(header, len(header))
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(libc.PR_SET_SECCOMP, 2, ctypes.c_void_p(ctypes.addressof(pointer)))
