"""Where PyPI's rustbpe 0.1.0 lies, the package that ours is compared with."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.1.0"


class PeerUnavailableError(Exception):
    """The package is not there and cannot be had; the message is one line that says why."""


def peer_folder() -> Path:
    """The folder that holds the package: named by the environment, else installed into the cache once."""
    if named := os.environ.get("NANOCHAT_PEER_RUSTBPE"):
        if not (Path(named) / "rustbpe").is_dir():
            raise PeerUnavailableError(f"NANOCHAT_PEER_RUSTBPE={named} holds no package rustbpe")
        return Path(named).resolve()
    folder = ROOT / ".cache" / f"rustbpe-{VERSION}"
    if not (folder / "rustbpe").is_dir():
        _install(folder)
    return folder


def _install(folder: Path) -> None:
    wanted = f"rustbpe=={VERSION}"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command = [*pip, "--target", str(folder), wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailableError(f"pip did not install {wanted} within 240 s") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PeerUnavailableError(f"pip cannot install {wanted}: {reason}")
