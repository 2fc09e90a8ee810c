"""The sandbox runs good programs, ends those that do not stop, and says which level holds."""

import resource
import time

import pytest
from sandbox_levels import SAFE, linux_only, need, run, why_not

from nanochat.common.errors import UserError
from nanochat.tools import sandbox
from nanochat.tools.jail import seccomp
from nanochat.tools.sandbox import Execution, Level, run_programs

pytestmark = linux_only


@pytest.fixture(params=SAFE)
def level(request: pytest.FixtureRequest) -> Level:
    return need(request.param)


# -- programs that behave --------------------------------------------------------------------------


def test_a_program_that_ends_has_succeeded(level):
    done = run("import math\nprint('ans', math.comb(5, 2))\nassert __name__ == '__main__'", level)
    assert done == Execution(True, False, False, "ans 10\n", "", "", level, done.layers)
    assert done.layers[-2:] == ("seccomp", "rlimits")


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("assert 1 == 2, 'Test 1'", "AssertionError: Test 1"),
        ("x = [", "SyntaxError: '[' was never closed"),
        ("import nanochat", "ModuleNotFoundError: No module named 'nanochat'"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("input()", "EOFError: EOF when reading a line"),
        ("import sys; sys.exit(0)", "exited early with sys.exit(0)"),
        ("import os; os._exit(0)", "exited with code 0 before its end"),
        ("class E(Exception):\n def __str__(self): raise E\nraise E", "E"),
        (
            "import signal, os; signal.signal(signal.SIGTERM, lambda *a: 1/0); os.kill(os.getpid(), 15)",
            "ZeroDivision",
        ),
    ],
)
def test_how_programs_fail(program, error):
    failed = run(program)
    assert not failed.success and not failed.timeout and not failed.memory
    assert failed.error.startswith(error)


def test_a_traceback_shows_the_program_and_nothing_of_the_sandbox():
    failed = run("def f():\n    return 1 / 0\nf()")
    assert failed.error == "ZeroDivisionError: division by zero"
    assert 'File "<program>", line 2, in f' in failed.stderr
    assert "child.py" not in failed.stderr


def test_output_and_text_that_is_hard_to_print():
    done = run(
        "import sys\nprint('Wörter \\udcff 漢字'.encode('utf-8', 'replace').decode())\nsys.stderr.write('e')"
    )
    assert done.success and done.stdout == "Wörter ? 漢字\n" and done.stderr == "e"
    assert not run("x = '\0'").success
    assert run("print('\udcff')").stdout == "?\n"


def test_the_same_program_gives_the_same_result():
    program = "import random\nprint({str(i) for i in range(50)}, random.random(), hash('a'))"
    assert len({run(program).stdout for _ in range(4)}) == 1


def test_a_private_folder_that_is_gone_afterwards():
    need("namespaces")
    program = """
        import os, tempfile, pathlib
        assert os.listdir('.') == []
        pathlib.Path('note').write_text('kept?')
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, 'x').write_text('y')
        print(os.listdir('.'))
    """
    for _ in range(2):
        done = run(program, "namespaces")
        assert (done.success, done.stdout) == (True, "['note']\n"), done


@pytest.mark.slow
def test_a_program_costs_less_than_a_tenth_of_a_second_of_one_core():
    """In processor time, so that a busy machine does not decide."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = run_programs([f"print({i})" for i in range(40)], workers=2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert [result.stdout for result in results] == [f"{i}\n" for i in range(40)]
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 40 * 0.1


# -- programs that do not stop ---------------------------------------------------------------------

ENDLESS = {
    "a loop": "while True: pass",
    "sleep with every signal ignored": """
        import signal, time
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        time.sleep(1000)
    """,
    "closed outputs": "import os\nos.closerange(0, 64)\nwhile True: pass",
    "catching everything": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "threads": """
        import threading
        def forever():
            while True: pass
        for _ in range(8): threading.Thread(target=forever).start()
        while True: pass
    """,
    "a regular expression": "import re\nre.match('(a*)*b', 'a' * 64)",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENDLESS)
def test_what_does_not_stop_is_stopped(level, name, left_behind):
    started = time.perf_counter()
    stopped = run(ENDLESS[name], level, timeout=0.7)
    assert (stopped.success, stopped.timeout, stopped.memory) == (False, True, False), stopped
    assert stopped.error == "timed out after 0.7 s"
    assert time.perf_counter() - started < 4
    assert not left_behind()


def test_threads_left_behind_end_with_the_program(level, left_behind):
    done = run("import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()", level)
    assert done.success
    assert not left_behind()


@pytest.mark.parametrize(
    "program",
    ["x = bytearray(1 << 30)", "x = []\nwhile True: x.append(bytearray(1 << 20))", "x = [0] * 10**10"],
)
def test_memory_is_bounded(level, program):
    ended = run(program, level)
    assert (ended.success, ended.memory, ended.error) == (False, True, "MemoryError")


def test_memory_that_the_program_gives_back_in_time_is_no_failure(level):
    assert run("try:\n    x = bytearray(1 << 30)\nexcept MemoryError:\n    pass", level).success


def test_memory_has_no_back_door(level):
    program = """
        import os, mmap, resource, threading
        total = 0
        for limit in ('RLIMIT_AS', 'RLIMIT_FSIZE', 'RLIMIT_NOFILE', 'RLIMIT_CPU'):
            try:
                resource.setrlimit(getattr(resource, limit), (resource.RLIM_INFINITY,) * 2)
                print('RAISED', limit)
            except (ValueError, OSError): pass
        for make in (lambda: os.memfd_create('x'), lambda: os.open('big', os.O_CREAT | os.O_RDWR)):
            try:
                fd = make()
                while True: total += os.write(fd, b'x' * (1 << 20))
            except OSError: pass
        print(total >> 20)
        try: mmap.mmap(-1, 1 << 30)
        except (OSError, ValueError, MemoryError): print('none')
    """
    if level == "seccomp":
        program = program.replace("mmap, resource, ", "").split("for limit")[0] + "print(0); print('none')"
    lines = run(program, level).stdout.split()
    assert "RAISED" not in lines
    assert int(lines[0]) <= 17 and lines[1] == "none"


@pytest.mark.parametrize("stream", [1, 2])
def test_a_flood_of_output_is_cut_and_ended(level, stream):
    flood = run(f"import os\nwhile True: os.write({stream}, b'x' * 65536)", level)
    assert not flood.success and not flood.timeout
    assert flood.error == "wrote more than 16 MiB"
    kept = flood.stdout if stream == 1 else flood.stderr
    assert len(kept) == sandbox.OUTPUT_KEPT


def test_a_long_output_of_a_good_program_is_kept_in_part(level):
    done = run("print('y' * 1_000_000)", level)
    assert done.success and len(done.stdout) == sandbox.OUTPUT_KEPT


# -- what is said about the level -------------------------------------------------------------------


def test_the_strongest_level_is_found_with_its_layers():
    strongest = sandbox.strongest_level()
    assert strongest.level == next(name for name in sandbox.LEVELS if not why_not(name))
    assert strongest.level in str(strongest) and all(layer in str(strongest) for layer in strongest.layers)
    assert list(strongest.refusals) == list(sandbox.LEVELS[: sandbox.LEVELS.index(strongest.level)])


def test_limits_alone_are_refused_unless_said_to_be_unsafe():
    with pytest.raises(UserError, match="no sandbox is available"):
        run("1", "rlimits")
    assert run("1", "rlimits", unsafe=True).level == "rlimits"


def test_a_machine_without_any_sandbox_refuses_too(monkeypatch):
    nothing = sandbox.SupportedLevel(
        "rlimits", ("rlimits",), {"namespaces": "unshare: Operation not permitted"}
    )
    monkeypatch.setattr(sandbox, "strongest_level", lambda: nothing)
    with pytest.raises(UserError, match=r"unshare: Operation not permitted.*--unsafe"):
        run_programs(["1"])
    assert run_programs(["1"], unsafe=True)[0].level == "rlimits"


def test_an_unknown_level_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="did you mean 'landlock'"):
        run("1", "landlok")  # type: ignore[arg-type]


def test_no_room_for_temporary_files_is_one_line(monkeypatch, tmp_path):
    sandbox.strongest_level()
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UserError, match="No such file or directory") as caught:
        run("1")
    assert "\n" not in str(caught.value)


def test_what_solutions_import_is_there(level):
    names = "hashlib math re collections itertools functools heapq typing string copy datetime statistics"
    done = run(f"import {', '.join(names.split())}\nprint(hashlib.md5(b'a').hexdigest()[:4])", level)
    assert (done.success, done.stdout) == (True, "0cc1\n"), done


def test_an_unavailable_level_is_never_replaced_silently(monkeypatch):
    monkeypatch.setattr(sandbox, "_BOOT", "raise SystemExit('no setup here')")
    with pytest.raises(UserError, match=r"'landlock' is not available: no setup here"):
        sandbox.strongest_level.cache_clear()
        monkeypatch.setattr(sandbox, "strongest_level", lambda: sandbox.SupportedLevel("rlimits", (), {}))
        run("1", "landlock")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_well_formed(machine):
    """Every jump lands inside the program, and every path ends in a return: what the kernel checks."""
    for files in ("write", "read", "none"):
        raw = seccomp.build(machine, files, 1)
        count = len(raw) // 8
        assert len(raw) % 8 == 0 and count <= 4096
        for index in range(count):
            code, true, false = (
                int.from_bytes(raw[index * 8 : index * 8 + 2], "little"),
                raw[index * 8 + 2],
                raw[index * 8 + 3],
            )
            if code in (0x15, 0x35):
                assert index + 1 + max(true, false) < count
        assert int.from_bytes(raw[-8:-6], "little") == 0x06
