"""The sandbox's process: reads the program from its input, confines itself, runs it, reports the outcome.

It writes lines to the descriptor named on its command line: `ready LAYERS` once it is confined (or
`refused REASON`), then the outcome: `done`, `exit CODE`, `memory …` or `raised …`.
"""

import gc
import os
import sys
import types

SETUP_FAILED = 97
_BALLAST = 1 << 20
_LONGEST_ERROR = 2000

PRELOADED = """
    abc array ast base64 bisect calendar cmath collections contextlib copy csv dataclasses datetime decimal
    difflib enum fractions functools hashlib heapq inspect io itertools json keyword linecache math numbers
    operator os pprint queue random re secrets statistics string struct textwrap threading time timeit
    traceback types typing unicodedata unittest uuid zlib
"""
"""Modules imported beforehand where the program cannot open files."""


def main() -> None:
    """`child LEVEL MEMORY_BYTES CPU_SECONDS STATUS_FD MOUNT_POINT PARENT_PID`, the program on stdin."""
    level, memory, cpu_seconds, status, mount_point, parent = sys.argv[1:7]
    descriptor = int(status)
    program = sys.stdin.buffer.read()
    _drop_inherited()
    try:
        layers = _confine(level, int(memory), int(cpu_seconds), mount_point, int(parent))
    except (OSError, ImportError, KeyError) as error:
        _write_status(descriptor, f"refused {error}")
        os._exit(SETUP_FAILED)
    _write_status(descriptor, f"ready {','.join(layers)}")
    outcome = run(program)
    _write_status(descriptor, outcome)
    os._exit(0 if outcome == "done" else 1)


def _write_status(descriptor: int, line: str) -> None:
    folded = " ".join(line[:_LONGEST_ERROR].split())
    os.write(descriptor, folded.encode("utf-8", "replace") + b"\n")


def _drop_inherited() -> None:
    """No input, no environment, and nothing of this project that a program could import."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.environ.clear()
    sys.argv = ["program"]
    sys.path = [path for path in sys.path if path.startswith((sys.base_prefix, sys.base_exec_prefix))]


def _confine(level: str, memory: int, cpu_seconds: int, mount_point: str, parent: int) -> list[str]:
    """Confines this process at `level` and returns the names of the layers in force."""
    if level == "rlimits":
        _limit(memory, cpu_seconds)
        return ["rlimits"]
    from nanochat.tools.jail import landlock, libc, seccomp

    libc.die_with_parent(parent)
    if level == "namespaces":
        from nanochat.tools.jail import namespaces

        identity = namespaces.enter()
        libc.die_with_parent(parent)  # a change of credentials clears it
        _continue_in_child()
        namespaces.build_root(mount_point, readable())
        if identity == "nobody":
            namespaces.become_nobody()
        libc.die_with_parent(0)
        layers, files = [identity, "mount", "network", "pid"], "write"
    elif level == "landlock":
        landlock.restrict(readable())
        layers, files = ["landlock"], "read"
    else:
        for name in PRELOADED.split():
            __import__(name)
        layers, files = [], "none"
    libc.drop_capabilities()
    _limit(memory, cpu_seconds)
    seccomp.install(files)
    return [*layers, "seccomp", "rlimits"]


def _continue_in_child() -> None:
    """Forks: the child, first of the new pid namespace, returns; the parent waits and ends as it ends."""
    child = os.fork()
    if child == 0:
        return
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def readable() -> list[str]:
    """What a program may read: the standard library, and the shared libraries it loads."""
    paths = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"]
    for prefix in {sys.base_prefix, sys.base_exec_prefix}:
        paths += [f"{prefix}/lib", f"{prefix}/lib64"]
    return list(dict.fromkeys(paths))


def _limit(memory: int, cpu_seconds: int) -> None:
    import resource

    limits = {
        "RLIMIT_AS": memory,
        "RLIMIT_CPU": cpu_seconds,
        "RLIMIT_FSIZE": 16 << 20,
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
    }
    for name, value in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (bound, bound))
        except ValueError as error:  # macOS has RLIMIT_AS and refuses it
            raise OSError(f"{name}: {error}") from error


def run(program: bytes) -> str:
    """Runs the program as `__main__`, its random numbers seeded, and returns the outcome."""
    import random

    random.seed(0)
    for name in [name for name in sys.modules if name.partition(".")[0] == "nanochat"]:
        del sys.modules[name]
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    ballast: bytearray | None = bytearray(_BALLAST)  # freed so that a full memory can still be reported
    try:
        exec(compile(program, "<program>", "exec", dont_inherit=True), module.__dict__)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except SystemExit as error:
        return f"exit {error.code}"
    except MemoryError:
        ballast = None
        module.__dict__.clear()
        gc.collect()
        return "memory MemoryError"
    except BaseException as error:
        return f"raised {_format_error(error)}"
    finally:
        del ballast
    return "done"


def _format_error(error: BaseException) -> str:
    """Prints the traceback to stderr and returns its last line."""
    import traceback

    try:
        frames = error.__traceback__ and error.__traceback__.tb_next  # without this file's frame
        shown = "".join(traceback.format_exception(type(error), error, frames, limit=-30))
        os.write(2, shown.encode("utf-8", "replace"))
        return traceback.format_exception_only(error)[-1]
    except BaseException:  # an exception whose own text fails
        return type(error).__name__
