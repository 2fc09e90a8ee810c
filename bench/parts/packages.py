"""Packages to compare with: this environment's own, or installed into a folder of their own."""

import importlib.util
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 240


class MissingError(Exception):
    """The package cannot be had here; the message is one line that says why."""


def folder_of(name: str, version: str, module: str, cache: Path) -> tuple[str, ...]:
    """What is to stand on the path for `name`: nothing where it is installed. Raises `MissingError`."""
    if module != "rustbpe" and importlib.util.find_spec(module) is not None:
        return ()
    folder = cache / f"{name}-{version}"
    if not (folder / module).exists():
        install(f"{name}=={version}", folder)
    return (str(folder),)


def install(wanted: str, folder: Path) -> None:
    """`pip install --target folder wanted`, without what it depends on. Raises `MissingError`."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command = [*pip, "--target", str(folder), wanted]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, encoding="utf-8"
        )
    except subprocess.TimeoutExpired as error:
        raise MissingError(f"pip did not install {wanted} within {TIMEOUT_S} s") from error
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        told = (
            [line for line in lines if "fatal error" in line] or [x for x in lines if "ERROR" in x] or lines
        )
        raise MissingError(f"pip cannot install {wanted}: {(told or ['no reason given'])[0]}")
