"""A newcomer's machine: `make` without Rust, a compiler or a network, and the wheel, which needs none."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
RUST = ("cargo", "rustc", "rustup")
COMPILERS = ("cc", "gcc", "c++", "g++", "clang", "cpp", "c89", "c99", "ld", "lld", "zig")
ROOMS = ("nanochat", "remote", "rustbpe", "tui")
SMALL = [
    "--set=tok_train.vocab_size=512",
    "--set=tok_train.max_chars=300_000",
    "--set=base_train.depth=2",
    "--set=base_train.max_seq_len=64",
    "--set=base_train.device_batch_size=4",
    "--set=base_train.total_batch_size=256",
    "--set=base_train.eval_tokens=2048",
    "--set=base_train.num_iterations=5",
    "--set=base_train.sample_every=-1",
]


def commands(folder: Path, without: tuple[str, ...]) -> Path:
    """A folder with this machine's commands, first on PATH first, but for those `without` names.

    `gcc` leaves out `gcc-12` and `x86_64-linux-gnu-gcc-12` as well.
    """
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for command in Path(place).iterdir() if Path(place).is_dir() else ():
            parts = command.name.partition("-linux-gnu-")
            stem = (parts[2] or parts[0]).partition("-")[0].partition(".")[0]
            if stem not in without and not (folder / command.name).is_symlink():
                (folder / command.name).symlink_to(command)
    return folder


def environment(folder: Path, *, pip: bool = False, packages: bool = False) -> Path:
    """A virtual environment, empty but for `pip`, or for all `packages` of the one that runs the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    if pip:
        [site] = folder.glob("lib/python3*/site-packages")
        (site / "pip").symlink_to(Path(find_spec("pip").origin).parent)
    if packages:
        add_packages(folder)
    return folder


def add_packages(venv: Path) -> None:
    """Let `venv` import what the tests have installed, but not the checkout that theirs is linked to."""
    [site] = venv.glob("lib/python3*/site-packages")
    (site / "there.pth").write_text("\n".join(place for place in sys.path if place.endswith("-packages")))


@pytest.fixture
def closed() -> str:
    """The address of a host that refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What setting up reads of this checkout, and no source to build."""
    copy = tmp_path / "checkout"
    (copy / "rustbpe").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "rustbpe/Cargo.toml"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / ".make", copy / ".make")
    return copy


def make(checkout: Path, *words: str, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run make with nothing in its environment but a PATH, a home and `env`."""
    return subprocess.run(
        ["make", "-C", str(checkout), *words],
        env={"PATH": str(path), "HOME": str(checkout.parent), "LANG": "C.UTF-8", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a failed make printed, apart from make's own."""
    assert done.returncode != 0
    lines = [line for line in (done.stderr).splitlines() if not line.startswith("make")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_make_alone_lists_every_target():
    phony = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:"))
    listed = subprocess.run(
        ["make", "-s", "-C", str(ROOT)], capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in listed.splitlines() if line.startswith("  make ")} == set(
        phony.split()[1:]
    )


def test_without_python_one_line_says_where_to_get_it(checkout: Path, tmp_path: Path):
    path = commands(tmp_path / "bin", without=("python", "python3"))
    assert "Python 3.11 or newer is missing" in refusal(make(checkout, "demo", path=path))


def test_rust_that_cannot_be_fetched_is_one_line(checkout: Path, tmp_path: Path, closed: str):
    environment(checkout / ".venv", packages=True)
    path = commands(tmp_path / "bin", without=RUST)
    line = refusal(make(checkout, "demo", "ARGS=--no-tui", path=path, RUSTUP_UPDATE_ROOT=closed))
    assert "Rust 1.89 or newer is missing and could not be fetched" in line
    assert "Connection refused" in line
    assert "https://rustup.rs" in line
    log = Path(line.rpartition("Log: ")[2])
    assert f"Downloading rustup-init from {closed}" in log.read_text()


def test_a_linker_that_cannot_be_fetched_is_one_line(checkout: Path, tmp_path: Path, closed: str):
    environment(checkout / ".venv", pip=True)
    path = commands(tmp_path / "bin", without=(*RUST, *COMPILERS))
    new_rust(path)
    line = refusal(make(checkout, "demo", path=path, PIP_INDEX_URL=closed, PIP_RETRIES="0"))
    assert line.startswith("A C compiler, which Rust links with, is missing")
    assert "ziglang" in line
    assert "apt install gcc libc6-dev" in line


def test_a_wheel_whose_tools_cannot_be_fetched_is_one_line(checkout: Path, tmp_path: Path, closed: str):
    environment(checkout / ".venv", pip=True)
    path = commands(tmp_path / "bin", without=(*RUST, *COMPILERS))
    new_rust(path)
    script(path / "cc", "exit 0")
    line = refusal(make(checkout, "wheel", path=path, PIP_INDEX_URL=closed, PIP_RETRIES="0"))
    assert line.startswith("The wheel's tools (maturin, ziglang, auditwheel) could not be fetched")


def script(file: Path, text: str) -> None:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def new_rust(path: Path) -> None:
    """Commands that answer as Rust does when asked for its version."""
    script(path / "rustc", "echo 'rustc 1.95.0 (59807616e 2026-04-14)'")
    script(path / "cargo", "echo 'cargo 1.95.0 (f2d3ce0bd 2026-03-21)'")


@pytest.fixture
def rustup(tmp_path: Path) -> Iterator[str]:
    """The address of a host whose rustup-init installs a Rust of two lines."""
    folder = tmp_path / "host"
    for triple in (
        "x86_64-unknown-linux-gnu",
        "aarch64-unknown-linux-gnu",
        "x86_64-apple-darwin",
        "aarch64-apple-darwin",
    ):
        (folder / "dist" / triple).mkdir(parents=True)
        install = [
            'mkdir -p "$CARGO_HOME/bin"; cd "$CARGO_HOME/bin"',
            "for tool in rustc cargo; do",
            "  printf '#!/bin/sh\\necho \"%s 1.95.0 of $RUSTUP_HOME: $*\"\\n' $tool > $tool; chmod +x $tool",
            "done",
        ]
        script(folder / "dist" / triple / "rustup-init", "\n".join(install))
    serve = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    "installed", [None, "rustc 1.63.0 (4b91a6ea7 2022-08-08)"], ids=["no Rust", "an old one"]
)
def test_missing_rust_is_fetched_once_and_found(
    checkout: Path, tmp_path: Path, rustup: str, closed: str, installed
):
    venv = environment(checkout / ".venv", packages=True)
    path = commands(tmp_path / "bin", without=(*RUST, "cc"))
    script(path / "cc", "exit 0")
    if installed:
        new_rust(path)
        script(path / "rustc", f"echo '{installed}'")
    setup = [str(venv / "bin" / "python"), ".make/toolchain.py"]
    env = {"PATH": str(path), "HOME": str(tmp_path)}
    done = subprocess.run(
        setup,
        cwd=checkout,
        env={**env, "RUSTUP_UPDATE_ROOT": rustup},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "fetching it" in done.stdout
    # What make calls from here on, with the homes that this Rust was installed to.
    told = subprocess.run(
        [str(venv / "toolchain" / "cargo"), "build", "two words"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    home = json.loads((venv / "toolchain" / "rust.json").read_text())["env"]["RUSTUP_HOME"]
    assert Path(home).is_relative_to(tmp_path)
    assert told == f"cargo 1.95.0 of {home}: build two words\n"
    # The second time nothing is asked of the network.
    again = subprocess.run(
        setup,
        cwd=checkout,
        env={**env, "RUSTUP_UPDATE_ROOT": closed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def shipped(folder: Path) -> set[str]:
    """The files of the four packages in a checkout that an installed one needs: all but Rust's."""
    return {
        str(file.relative_to(folder))
        for room in ROOMS
        for file in (folder / room).rglob("*")
        if file.is_file()
        and not {"__pycache__", "target"} & set(file.parts)
        and file.suffix not in {".rs", ".so", ".pyc"}
        and file.name not in {"Cargo.toml", "Cargo.lock"}
    }


@pytest.mark.slow
@pytest.mark.timeout(900)  # compiles the crates for release
def test_the_wheel_is_built_without_a_compiler_and_runs_without_rust(tmp_path: Path):
    """With no compiler Zig links. The wheel is abi3 and manylinux, whole, and needs neither to run."""
    if shutil.which("cargo") is None:
        pytest.skip("needs cargo: https://rustup.rs")
    bare = commands(tmp_path / "bin", without=(*RUST, *COMPILERS))
    path = commands(tmp_path / "rust", without=COMPILERS)
    venv = environment(tmp_path / "build", packages=True)
    (venv / "bin" / "maturin").symlink_to(Path(sys.executable).with_name("maturin"))
    outer = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS", "PYTHONPATH"))
    }
    offline = {"PIP_NO_INDEX": "1", "CARGO_NET_OFFLINE": "true"}
    quick = {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0"}
    built = subprocess.run(
        ["make", "-C", str(ROOT), "wheel", f"VENV={venv}", f"DIST={tmp_path / 'dist'}"],
        env={**outer, **offline, **quick, "PATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    assert (venv / "toolchain" / "cc").is_file()
    [wheel] = (tmp_path / "dist").glob("*.whl")
    assert "-cp311-abi3-" in wheel.name
    if sys.platform == "linux":
        assert "manylinux_2_17_" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.split("/")[0] in ROOMS}
    assert inside == shipped(ROOT) | {"rustbpe/_rustbpe.abi3.so"}

    person = environment(tmp_path / "person")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(person / "bin" / "python"),
        "install",
        "--no-index",
        "--no-deps",
    ]
    subprocess.run([*pip, "--quiet", str(wheel)], check=True)
    add_packages(person)
    env = {
        "PATH": f"{person / 'bin'}:{bare}",
        "HOME": str(tmp_path),
        "NANOCHAT_BASE_DIR": str(tmp_path / "base"),
    }
    assert shutil.which("cargo", path=env["PATH"]) is shutil.which("cc", path=env["PATH"]) is None
    done = subprocess.run(
        ["nanochat", "demo", "--no-tui", *SMALL],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert (tmp_path / "base" / "base_checkpoints" / "demo" / "step_000005" / "model.safetensors").is_file()
    where = f"import {', '.join(ROOMS)}; print(*(room.__file__ for room in ({', '.join(ROOMS)})))"
    imported = subprocess.run(
        [str(person / "bin" / "python"), "-c", where],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(Path(file).is_relative_to(person) for file in imported.stdout.split())

    if sys.platform == "linux":
        # The symbols are asked, not the name.
        stem = wheel.name.partition("manylinux")[0]
        older = shutil.copy(wheel, tmp_path / f"{stem}manylinux_2_5_{os.uname().machine}.whl")
        code = f"import build_wheel as w, pathlib; w.GLIBC = (2, 5); w.audit(pathlib.Path({str(older)!r}))"
        checked = subprocess.run(
            [sys.executable, "-c", code],
            env={**outer, "PYTHONPATH": str(ROOT / ".make")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 1
        assert "is no manylinux_2_5 wheel: auditwheel calls it manylinux_2_17_" in checked.stderr


def test_lint_adds_what_a_fetched_rust_lacks_and_names_what_another_lacks(checkout: Path, tmp_path: Path):
    venv = environment(checkout / ".venv")
    path = commands(tmp_path / "bin", without=(*RUST, "cc"))
    script(path / "cc", "exit 0")
    new_rust(path)
    script(path / "cargo", f'[ "$1" = fmt ] && ! [ -e "{tmp_path}/added" ] && exit 1; exit 0')
    setup = [str(venv / "bin" / "python"), ".make/toolchain.py", "--lint"]
    env = {"PATH": str(path), "HOME": str(tmp_path)}
    own = subprocess.run(setup, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    assert own.returncode == 1
    assert own.stderr == "cargo fmt is missing: rustup component add rustfmt, then run make lint again.\n"
    script(venv / "toolchain" / "rustup", f'echo "$@" >> "{tmp_path}/added"')
    subprocess.run(setup, cwd=checkout, env=env, check=True)
    assert (tmp_path / "added").read_text() == "component add rustfmt\n"
