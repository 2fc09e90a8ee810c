"""`probe`: what this host is, and whether its interpreter for the stages can run them."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import procs
from .files import AgentError, agent_argv
from .interpreter import ask_interpreter
from .telemetry.gpus import Gpus, PatientGpus
from .telemetry.host import Host, disk

if TYPE_CHECKING:
    Json = dict[str, Any]

NVML_PATIENCE = 10.0
QUESTION = """
import json, platform, sys
answer = {"python": platform.python_version(), "nanochat": None, "error": ""}
try:
    import nanochat
    answer["nanochat"] = getattr(nanochat, "__version__", "")
except BaseException as error:
    answer["error"] = "nanochat cannot be imported: %s: %s" % (type(error).__name__, error)
print(json.dumps(answer))
"""


def probe(base: Path, python: str) -> Json:
    """Everything the control room wants to know before it sends work here."""
    host = Host(base)
    space = disk(base)
    total, used = int(space.get("host/disk_total", 0)), int(space.get("host/disk_used", 0))
    gpus = Gpus()
    patient = PatientGpus(gpus, NVML_PATIENCE)
    _, problem = patient.sample()
    answer: Json = {
        "hostname": os.uname().nodename,
        "python": platform.python_version(),
        "version": version(),
        "boot_id": procs.boot_id(),
        "cores": host.cores(),
        "ram_total": host.memory().get("host/ram_total"),
        "disk_free": total - used,
        "disk_total": total,
        "in_container": host.in_container,
        "gpus": [],
        "driver": None,
        "nvml_error": problem or None,
        "interpreter": check_interpreter(python, base),
    }
    if not problem:
        answer.update(gpus=gpus.describe(), driver=gpus.driver())
    answer["now"] = time.time()  # last: the nearer to the answer's arrival, the truer
    return answer


def version() -> str:
    """The first 12 hex digits of the zipapp's SHA-256; "source" when run from the source tree."""
    archive = Path(agent_argv()[-1])
    return hashlib.sha256(archive.read_bytes()).hexdigest()[:12] if archive.is_file() else "source"


def check_interpreter(python: str, base: Path) -> Json:
    """Whether `python` runs and imports nanochat, asked from where a stage would run."""
    path = os.path.expanduser(python or "python3")
    answer: Json = {"path": path, "ok": False, "python": None, "nanochat": None, "error": ""}
    try:
        answer.update(ask_interpreter(path, QUESTION, frozenset(("python", "nanochat", "error")), base))
    except AgentError as error:
        answer["error"] = str(error)
    answer["error"] = " ".join(str(answer["error"]).split())
    answer["ok"] = not answer["error"]
    return answer
