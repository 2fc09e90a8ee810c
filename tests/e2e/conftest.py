"""The sshd of the runner's tests serves the whole pipeline too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "remote"))

from sshd import home, known_sshd, sshd

__all__ = ["home", "known_sshd", "sshd"]
