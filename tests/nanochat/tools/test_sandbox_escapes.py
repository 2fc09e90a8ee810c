"""Escapes from the sandbox: each is tried at every level, and shown to be one where nothing holds."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from sandbox_levels import SAFE, linux_only, need, run, why_not

from nanochat.tools.sandbox import Level, run_program

pytestmark = [linux_only, pytest.mark.slow]


@pytest.fixture(params=SAFE)
def level(request: pytest.FixtureRequest) -> Level:
    return need(request.param)


# -- programs that try to get out ------------------------------------------------------------------


@dataclass
class Outside:
    """What there is to reach: a secret, a folder, servers, this very process."""

    folder: Path
    port: int
    abstract: str

    def fill(self, program: str) -> str:
        names = {
            "SECRET": repr(str(self.folder / "secret")),
            "FOLDER": repr(str(self.folder)),
            "PORT": str(self.port),
            "ABSTRACT": repr(self.abstract),
            "PARENT": str(os.getpid()),
            "THREAD": str(threading.get_native_id()),
            "HERE": repr(str(Path(__file__).resolve())),
            "HOME": repr(str(Path.home())),
        }
        head = "".join(f"{name} = {value}\n" for name, value in names.items())
        return head + textwrap.dedent(program)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    (tmp_path / "secret").write_text("the secret")
    (tmp_path / "script").write_text("#!/bin/sh\necho ESCAPED\n")
    (tmp_path / "script").chmod(0o755)
    abstract = f"\0nanochat-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(abstract)
        unix.listen()
        yield Outside(tmp_path, tcp.getsockname()[1], abstract)


CTYPES = """
import ctypes, errno, os, platform
libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == 'x86_64'
def call(x86, arm, *args):
    return libc.syscall(ctypes.c_long(x86 if X86 else arm), *[
        a if isinstance(a, (bytes, type(None))) else ctypes.c_long(a) for a in args])
"""

REACHING = {
    "read the password file": "print(open('/etc/passwd').read(1) and 'ESCAPED')",
    "read a file outside": "print('ESCAPED' if open(SECRET).read() == 'the secret' else '')",
    "read this repository": "print(open(HERE).read(1) and 'ESCAPED')",
    "read through a C library": CTYPES + "print('ESCAPED' if libc.open(SECRET.encode(), 0) >= 0 else '')",
    "list a folder outside": "import os\nprint('ESCAPED' if os.listdir(FOLDER) else '')",
    "look at every process": "import os\nprint('ESCAPED' if str(PARENT) in os.listdir('/proc') else '')",
    "read the parent's environment": "print(open(f'/proc/{PARENT}/environ').read(1) and 'ESCAPED')",
    "read the parent's memory map": "print(open(f'/proc/{PARENT}/maps').read(1) and 'ESCAPED')",
    "read the parent's folder": "import os\nprint(os.readlink(f'/proc/{PARENT}/cwd') and 'ESCAPED')",
    "write a file outside": "open(FOLDER + '/new', 'w').write('x')\nprint('ESCAPED')",
    "append to a file outside": "open(SECRET, 'a').write('x')\nprint('ESCAPED')",
    "empty a file outside": "import os\nos.close(os.open(SECRET, os.O_TRUNC))\nprint('ESCAPED')",
    "truncate a file outside": "import os\nos.truncate(SECRET, 0)\nprint('ESCAPED')",
    "delete a file outside": "import os\nos.unlink(SECRET)\nprint('ESCAPED')",
    "rename a file outside": "import os\nos.rename(SECRET, SECRET + '2')\nprint('ESCAPED')",
    "change a file's mode": "import os\nos.chmod(SECRET, 0o777)\nprint('ESCAPED')",
    "make a folder outside": "import os\nos.mkdir(FOLDER + '/d')\nprint('ESCAPED')",
    "link to a file outside": "import os\nos.link(SECRET, FOLDER + '/l')\nprint('ESCAPED')",
    "read through a symlink": "import os\nos.symlink(SECRET, 'l')\nprint(open('l').read() and 'ESCAPED')",
    "connect over loopback": "import socket\nsocket.create_connection(('127.0.0.1', PORT))\nprint('ESCAPED')",
    "listen": "import socket\nsocket.create_server(('127.0.0.1', 0))\nprint('ESCAPED')",
    "send a datagram": (
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.sendto(b'x', ('127.0.0.1', PORT))\nprint('ESCAPED')"
    ),
    "connect to an abstract socket": (
        "import socket\nsocket.socket(socket.AF_UNIX).connect(ABSTRACT)\nprint('ESCAPED')"
    ),
    "a socket through a C library": CTYPES + "print('ESCAPED' if libc.socket(2, 1, 0) >= 0 else '')",
    "signal the parent": "import os\nos.kill(PARENT, 0)\nprint('ESCAPED')",
    "signal whoever the parent is": CTYPES + "print('ESCAPED' if libc.kill(os.getppid(), 0) == 0 else '')",
    "signal one of the parent's threads": CTYPES
    + "print('ESCAPED' if call(234, 131, PARENT, THREAD, 0) == 0 else '')",
    "signal the process group": CTYPES + "print('ESCAPED' if libc.kill(0, 0) == 0 else '')",
    "aim a signal by a descriptor": CTYPES
    + "r, w = os.pipe()\nprint('ESCAPED' if libc.fcntl(r, 8, PARENT) == 0 else '')",
    "fork": "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nprint('ESCAPED')",
    "fork by hand": CTYPES
    + "r = call(56, 220, 17, 0, 0, 0, 0)\nif r == 0: os._exit(0)\nprint('ESCAPED' if r > 0 else '')",
    "start a program": "import subprocess\nsubprocess.run(['/bin/true'], check=True)\nprint('ESCAPED')",
    "a shell": "import os\nprint('ESCAPED' if os.system('true') == 0 else '')",
    "become a script": "import os\nos.execv(FOLDER + '/script', ['script'])",
    "multiprocessing": (
        "import multiprocessing as m\np = m.get_context('fork').Process(target=int)\np.start()\np.join()\n"
        "print('ESCAPED' if p.exitcode == 0 else '')"
    ),
    "a pidfd of the parent": CTYPES + "print('ESCAPED' if call(434, 434, PARENT, 0) >= 0 else '')",
    "memory of its own kind": CTYPES + "print('ESCAPED' if call(319, 279, b'x', 0) >= 0 else '')",
    "message queues and shared memory": CTYPES
    + "print('ESCAPED' if call(29, 194, 0, 4096, 0o1600) >= 0 else '')",
    "a session of its own": CTYPES
    + "print('ESCAPED' if libc.prctl(36, 1, 0, 0, 0) == 0 else '')",  # PR_SET_CHILD_SUBREAPER
}
"""Each says ESCAPED where it got through. `rlimits` is the control: there all of them must."""


@pytest.mark.parametrize("name", REACHING)
def test_no_escape(level, outside, name):
    tried = run_program(outside.fill(REACHING[name]), level=level, timeout=3)
    assert "ESCAPED" not in tried.stdout, tried
    assert (outside.folder / "secret").read_text() == "the secret"
    assert sorted(path.name for path in outside.folder.iterdir()) == ["script", "secret"]


@pytest.mark.parametrize("name", REACHING)
def test_each_escape_is_one_where_nothing_holds(outside, name):
    tried = run_program(outside.fill(REACHING[name]), level="rlimits", unsafe=True)
    assert "ESCAPED" in tried.stdout, tried


PRIVILEGED = {
    "a namespace of its own": (272, 97, "0x10000000"),
    "trace the parent": (101, 117, "16, PARENT, 0, 0"),  # PTRACE_ATTACH
    "read the parent's memory": (310, 270, "PARENT, None, 0, None, 0, 0"),
    "mount": (165, 40, "b'none', b'/tmp', b'tmpfs', 0, None"),
    "io_uring": (425, 425, "1, b'0' * 120"),
    "load a kernel filter": (321, 280, "0, b'0' * 72, 72"),
    "keys": (250, 219, "0, -3, 0"),
    "change root": (161, 51, "b'/tmp'"),
    "userfaultfd": (323, 282, "0"),
    "a clock": (227, 112, "0, b'0' * 16"),
    "a node for a device": (259, 33, "-100, b'dev', 0o60600, 0x801"),
    "a priority": (141, 140, "0, PARENT, 5"),
    "an x32 call": (0x4000_0000 + 57, 0x4000_0000 + 57, ""),
}


@pytest.mark.parametrize("name", PRIVILEGED)
def test_the_kernels_other_doors_are_shut(outside, name):
    x86, arm, arguments = PRIVILEGED[name]
    program = CTYPES + f"r = call({x86}, {arm}, {arguments})\nprint(r, errno.errorcode[ctypes.get_errno()])"
    for holding in ("namespaces", "landlock"):
        if not why_not(holding):
            tried = run_program(outside.fill(program), level=holding)
            assert tried.stdout in ("-1 EPERM\n", "-1 ENOSYS\n"), tried


def test_a_root_of_its_own():
    need("namespaces")
    program = """
        import os, socket, sys
        print(os.getpid(), os.getppid(), os.getuid(), os.getgid(), sorted(os.environ))
        elsewhere = ['/proc/1', '/sys/kernel', '/etc/passwd', '/bin/sh', '/home', '/var']
        print([path for path in elsewhere if os.path.exists(path)])
        print([path for path in ('/', '/usr/lib', '/dev', '/etc', sys.prefix) if os.access(path, os.W_OK)])
        with open('/dev/null', 'w') as null: null.write('x')
        print(len(open('/dev/urandom', 'rb').read(8)))
    """
    seen = run(program, "namespaces")
    assert seen.stdout.splitlines() == ["1 0 65534 65534 []", "[]", "[]", "8"], seen


CHANGES_WHAT_IT_SEES = """
    import os, stat
    changed = []
    def attempt(path):
        try: seen = os.stat(path)
        except OSError: return
        changes = {
            'mode': lambda: os.chmod(path, stat.S_IMODE(seen.st_mode)),
            'owner': lambda: os.chown(path, seen.st_uid, seen.st_gid),
            'times': lambda: os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns)),
        }
        for name, change in changes.items():
            try: change()
            except (OSError, NotImplementedError): continue
            changed.append(name + ' of ' + path)
    attempt('/')
    for path in ('/dev', '/dev/null', '/dev/zero', '/dev/urandom', '/dev/shm', '/usr', '/lib', '/etc'):
        attempt(path)
    looked = 0
    for folder, folders, files in os.walk('/'):
        folders[:] = [name for name in folders if folder != '/' or name not in ('tmp', 'proc', 'sys')]
        for name in folders + files:
            attempt(os.path.join(folder, name))
            looked += 1
        if looked > 3000: break
    print(changed)
"""


def test_mode_owner_and_times_of_all_it_sees_are_not_its_to_change(level):
    tried = run(CHANGES_WHAT_IT_SEES, level)
    assert tried.stdout == "[]\n", tried


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: anybody else owns nothing of the machine's")
def test_of_root_the_program_gets_neither_identity_nor_devices():
    need("namespaces")
    before = {path: path.stat() for path in map(Path, ("/dev/null", "/dev/zero", "/dev/urandom"))}
    program = """
        import os
        owners = {os.stat(path).st_uid for path in ('/dev/null', '/dev/zero', '/dev/urandom')}
        print(os.getuid() in owners, os.access('/dev/null', os.X_OK), os.getgroups())
        for path in ('/dev/null', '/dev/zero', '/dev/urandom'):
            for change in (lambda: os.chmod(path, 0o777), lambda: os.utime(path, (1, 1))):
                try: change()
                except OSError as error: print(error.errno in (1, 13, 30))
                else: print('ESCAPED')
    """
    tried = run(program, "namespaces")
    assert tried.stdout.splitlines() == ["False False []", *["True"] * 6], tried
    for path, stat in before.items():
        now = path.stat()
        assert (stat.st_mode, stat.st_uid, stat.st_mtime) == (now.st_mode, now.st_uid, now.st_mtime)


def test_folders_of_killed_callers_are_swept(tmp_path, monkeypatch):
    from nanochat.tools import scratch

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, young, other = (tmp_path / f"{scratch.PREFIX}{name}" for name in ("left", "young", "file"))
    for folder in (left, young):
        folder.mkdir()
        (folder / "x").write_text("x", encoding="utf-8")
    other.write_text("not a folder", encoding="utf-8")
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(tmp_path)
    os.utime(left, (time.time() - 1000,) * 2)
    with scratch.held_folder() as held:
        os.utime(held, (time.time() - 1000,) * 2)
        scratch.sweep(tmp_path)
        assert Path(held).is_dir() and young.is_dir() and other.is_file() and not left.exists()
    assert not Path(held).exists()


def test_the_home_folder_shows_nothing_but_the_way_to_pythons_library():
    program = f"""
        import os
        for folder, _, files in os.walk({str(Path.home())!r}):
            for name in files:
                try: print(os.path.join(folder, name) if open(os.path.join(folder, name), 'rb') else '')
                except OSError: pass
    """
    allowed = (f"{sys.base_prefix}/lib", f"{sys.base_exec_prefix}/lib")
    for holding in ("namespaces", "landlock"):
        if not why_not(holding):
            found = run(program, holding).stdout.splitlines()
            assert not [path for path in found[:-1] if not path.startswith(allowed)]


def test_no_environment(level, monkeypatch):
    monkeypatch.setenv("NANOCHAT_TEST_SECRET", "hush")
    program = "import os\nprint(dict(os.environ), os.getenv('NANOCHAT_TEST_SECRET'))"
    assert run(program, level).stdout == "{} None\n"


def test_nothing_is_left_behind(level, left_behind):
    program = """
        import os
        try:
            if os.fork() == 0:
                os.setsid()
                while True: pass
        except OSError: print('no')
    """
    tried = run(program, level)
    assert tried.stdout == "no\n" and tried.success
    assert not left_behind()


def test_a_fork_bomb_is_no_more_than_an_error(level):
    tried = run("import os\nwhile True:\n    try: os.fork()\n    except OSError: print('no'); break", level)
    assert tried.stdout == "no\n" and tried.success


def test_a_bomb_of_threads_runs_into_the_limit(level, left_behind):
    program = """
        import threading, time
        count = 0
        try:
            while True:
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
                count += 1
        except (RuntimeError, MemoryError): print(0 < count < 200)
    """
    assert run(program, level).stdout == "True\n"
    assert not left_behind()


def test_a_crash_of_the_interpreter_is_that_programs_failure(level):
    crash = "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)"
    tried = run(crash, level)
    assert not tried.success and tried.error
    if level != "seccomp":
        assert run("import ctypes\nctypes.string_at(0)", level).error == "killed by SIGSEGV"


def test_lines_forged_for_the_watcher_do_not_confuse_it(level):
    program = """
        import os
        for fd in range(3, 64):
            try: os.write(fd, b'refused nothing\\nready namespaces\\n\\xff' + b'x' * 100000)
            except OSError: pass
        os._exit(3)
    """
    tried = run(program, level)
    assert not tried.success and tried.level == level
    assert tried.layers[-1] == "rlimits"


@pytest.mark.parametrize("holding", ["namespaces", "landlock"])
def test_a_killed_caller_takes_its_sandbox_along(holding, tmp_path):
    need(holding)
    call = f"run_program('while True: pass', timeout=100, level={holding!r})"
    code = f"from nanochat.tools.sandbox import run_program\n{call}"
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    wanted = 2 if holding == "namespaces" else 1
    deadline = time.monotonic() + 20
    children: list[psutil.Process] = []
    while len(children) < wanted or max(child.cpu_times().user for child in children) < 0.2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        children = psutil.Process(caller.pid).children(recursive=True)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


WITHOUT_USER_NAMESPACES = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
made, mapped = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    assert libc.unshare(0x10000000) == 0
    os.write(made[1], b'x')
    os.read(mapped[0], 1)
    os.setresuid(0, 0, 0)
    open('/proc/sys/user/max_user_namespaces', 'w').write('0')
    from nanochat.tools.sandbox import run_program
    done = run_program("import os; print(os.getuid(), os.path.exists('/etc/passwd'))")
    print(done.layers[0], done.stdout)
    sys.stdout.flush()
    os._exit(0)
os.read(made[0], 1)
for ids in ('uid_map', 'gid_map'):
    open(f'/proc/{pid}/{ids}', 'w').write('0 0 70000')
os.write(mapped[1], b'x')
os.waitpid(pid, 0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a root that may not make user namespaces")
def test_root_where_user_namespaces_are_switched_off_becomes_nobody():
    need("namespaces")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_USER_NAMESPACES],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["nobody", "65534", "False"], done.stderr
