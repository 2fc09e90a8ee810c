"""Build the wheel that `pip install` takes on a machine with no Rust and no compiler.

On Linux it is linked by Zig against glibc 2.17, whatever this machine's is, and auditwheel, which maturin
does not share code with, must agree. One wheel serves every Python from 3.11 on (abi3). See docs/setup.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from toolchain import FOLDER, ROOT, CommandError, fetch_zig, pip_install

GLIBC = (2, 17)  # the oldest that Rust's own library runs with
LINUX = sys.platform == "linux"


def audit(wheel: Path) -> str:
    """The platform tag that the symbols of `wheel` earn. Exits with one line unless it keeps to `GLIBC`."""
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, encoding="utf-8")
    tag = str(json.loads(done.stdout)["overall_tag"]) if done.returncode == 0 else "unreadable"
    version = re.match(r"manylinux_(\d+)_(\d+)_", tag)
    if version is None or tuple(map(int, version.groups())) > GLIBC:
        raise SystemExit(
            f"{wheel.name} is no manylinux_{GLIBC[0]}_{GLIBC[1]} wheel: auditwheel calls it {tag}."
        )
    return tag


def build(folder: Path) -> Path:
    """Build the wheel into the empty `folder`."""
    options = ["--zig", "--compatibility", f"manylinux_{GLIBC[0]}_{GLIBC[1]}"] if LINUX else []
    maturin = [str(Path(sys.prefix) / "bin" / "maturin"), "build", "--release", *options]
    done = subprocess.run(
        [*maturin, "--interpreter", sys.executable, "--out", str(folder)],
        cwd=ROOT,
        env={**os.environ, "CARGO_ZIGBUILD_ZIG_PATH": str(FOLDER / "zig")},
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit("The wheel was not built: maturin says why above.")
    return next(folder.glob("*.whl"))


def main(words: Sequence[str] | None = None) -> None:
    """Build the wheel and check it, or end with one line that says why not."""
    parser = argparse.ArgumentParser(description="Build the wheel and check it.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder to put it in (%(default)s)")
    out = parser.parse_args(words).out
    try:
        if LINUX:
            fetch_zig()
        for package in ("maturin", "auditwheel"):
            pip_install(package)
    except CommandError as error:
        raise SystemExit(
            f"The wheel's tools (maturin, ziglang, auditwheel) could not be fetched ({error}): "
            f"run make wheel again where PyPI can be reached. Log: {error.log}"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        tag = audit(wheel) if LINUX else "for this system"
        out.mkdir(parents=True, exist_ok=True)
        made = Path(shutil.move(wheel, out / wheel.name))
    print(f"{made}: {tag}, {made.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
