"""Rust and a linker for a machine that has none: what pip needs before it can build the extension.

`make` runs it with the interpreter of the virtual environment, before pip. A machine with both is left
alone. Otherwise Rust comes through puccinialin, which is what maturin itself would call, only once instead
of at every step of a build; and the linker is Zig's, from the ziglang package, through maturin's wrapper.
What was fetched is called by small scripts in the environment's `toolchain` folder, first on make's PATH.
See docs/setup.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(sys.prefix) / "toolchain"
LINT_TOOLS = {"rustfmt": "fmt", "clippy": "clippy"}  # a rustup component: the cargo command it brings


class CommandError(Exception):
    """A command that failed. The text is its own last word; `log` holds the whole of its output."""

    def __init__(self, output: str, log: Path) -> None:
        said = [line.strip() for line in output.splitlines() if line.strip()]
        super().__init__(said[-1] if said else "no output")
        self.log = log


def succeeds(*command: str) -> bool:
    """Whether `command` is there and exits with 0."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(command: Sequence[str], log: Path, extra_env: Mapping[str, str] | None = None) -> None:
    """Run `command` with its output in `log`. Raises `CommandError` when it fails."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(extra_env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            encoding="utf-8",
        )
    except OSError as error:
        raise CommandError(str(error), log) from error
    log.write_text(done.stdout, encoding="utf-8")
    if done.returncode != 0:
        raise CommandError(done.stdout, log)


def pip_install(package: str) -> None:
    """Install `package` unless it is there, at the version the suite last passed with.

    Raises `CommandError` when it cannot be fetched.
    """
    if find_spec(package) is not None:
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "-c", str(ROOT / "constraints.txt"), package], FOLDER / f"{package}.log")


def write_script(name: str, lines: Sequence[str]) -> None:
    """Put an executable shell script called `name` first on make's PATH."""
    script = FOLDER / name
    script.write_text("\n".join(["#!/bin/sh", *lines]) + "\n", encoding="utf-8")
    script.chmod(0o755)


# Rust


def wanted_rust() -> str:
    """The oldest Rust that builds the crates, `major.minor`."""
    manifest = tomllib.loads((ROOT / "rustbpe" / "Cargo.toml").read_text(encoding="utf-8"))
    return str(manifest["package"]["rust-version"])


def has_rust() -> bool:
    """Whether cargo and a new enough rustc are on the PATH and run (rustup's stand-ins may not)."""
    try:
        told = subprocess.run(
            ["rustc", "--version"], capture_output=True, text=True, check=False, encoding="utf-8"
        ).stdout
    except OSError:
        return False
    version = re.match(r"rustc (\d+)\.(\d+)", told)
    oldest = tuple(map(int, wanted_rust().split(".")[:2]))
    return (
        version is not None and tuple(map(int, version.groups())) >= oldest and succeeds("cargo", "--version")
    )


def fetch_rust() -> None:
    """Have puccinialin put Rust into the user's cache, and write scripts that call it from there."""
    print("Rust is missing: fetching it into your cache folder (about 200 MB, once)…", flush=True)
    told = FOLDER / "rust.json"
    try:
        pip_install("puccinialin")
        run(
            [sys.executable, "-m", "puccinialin", "--info-json", str(told)],
            FOLDER / "rust.log",
            # Asked for here, beside an older Rust too.
            extra_env={"RUSTUP_INIT_SKIP_PATH_CHECK": "yes"},
        )
    except CommandError as error:
        raise SystemExit(
            f"Rust {wanted_rust()} or newer is missing and could not be fetched ({error}): install it from "
            f"https://rustup.rs, open a new shell and run make again. Log: {error.log}"
        ) from error
    env = json.loads(told.read_text(encoding="utf-8"))["env"]
    homes = [f"export {name}={shlex.quote(env[name])}" for name in ("RUSTUP_HOME", "CARGO_HOME")]
    for tool in sorted((Path(env["CARGO_HOME"]) / "bin").iterdir()):
        write_script(tool.name, [*homes, f'exec {shlex.quote(str(tool))} "$@"'])


def add_lint_tools() -> None:
    """Give a Rust that was fetched, the compiler alone, what `make lint` calls. Another is left as it is."""
    rustup = FOLDER / "rustup"
    for component, command in LINT_TOOLS.items():
        if succeeds("cargo", command, "--version"):
            continue
        if not rustup.exists():
            raise SystemExit(
                f"cargo {command} is missing: rustup component add {component}, then run make lint again."
            )
        try:
            run([str(rustup), "component", "add", component], FOLDER / f"{component}.log")
        except CommandError as error:
            raise SystemExit(
                f"cargo {command} is missing and could not be fetched ({error}): run make lint again "
                f"where rustup's host can be reached. Log: {error.log}"
            ) from error


# The linker


def links() -> bool:
    """Whether `cc` makes a program: it may be absent, macOS's placeholder, or lack the C library's files."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "main.c"
        source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        return succeeds("cc", str(source), "-o", str(Path(folder) / "main"), "-lm", "-lpthread")


def fetch_zig() -> None:
    """Install Zig and maturin, whose wrapper turns what rustc asks of a linker into what Zig understands.

    Raises `CommandError` when either cannot be fetched.
    """
    pip_install("ziglang")
    pip_install("maturin")
    place = "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).with_name('zig'))"
    zig = subprocess.run(
        [sys.executable, "-c", place],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    ).stdout.strip()
    write_script("zig", [f'exec {shlex.quote(zig)} "$@"'])


def fetch_linker() -> None:
    """Make Zig the `cc` that Rust links with."""
    if sys.platform == "darwin":
        raise SystemExit("A linker is missing: run xcode-select --install, then run make again.")
    print("A C compiler is missing: fetching Zig to link with (about 100 MB, once)…", flush=True)
    try:
        fetch_zig()
    except CommandError as error:
        raise SystemExit(
            "A C compiler, which Rust links with, is missing and ziglang, which would do, could not be "
            f"fetched ({error}): install one (Debian, Ubuntu: apt install gcc libc6-dev) and run make again. "
            f"Log: {error.log}"
        ) from error
    # Named by its path: pip builds in an environment of its own, where this one's packages are not found.
    zig = f"export CARGO_ZIGBUILD_ZIG_PATH={shlex.quote(str(FOLDER / 'zig'))}"
    maturin = Path(sys.prefix) / "bin" / "maturin"
    write_script("cc", [zig, f'exec {shlex.quote(str(maturin))} zig cc -- "$@"'])


def main(words: Sequence[str] | None = None) -> None:
    """Fetch what is missing. Ends with one line that says what to do when that cannot be."""
    parser = argparse.ArgumentParser(description="Fetch Rust and a linker where the machine has none.")
    parser.add_argument("--lint", action="store_true", help="also what make lint calls: cargo fmt and clippy")
    options = parser.parse_args(words)
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] = os.pathsep.join([str(FOLDER), os.environ.get("PATH", os.defpath)])
    if not has_rust():
        fetch_rust()
    if not links():
        fetch_linker()
    if options.lint:
        add_lint_tools()


if __name__ == "__main__":
    main()
