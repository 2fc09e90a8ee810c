"""`nanochat doctor`: is this machine ready to train and to reach others?"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nanochat import __version__
from nanochat.commands.table import keymap_problems
from nanochat.common.errors import Exit, one_line
from nanochat.common.paths import Layout
from nanochat.common.text import size_bytes
from nanochat.config.command_parser import Parser, command_parser, parse
from remote.cli.printer import print_check
from remote.hosts.preflight import LITTLE_DISK, Check

TORCH_CHECK = (
    "import torch; c = torch.cuda; "
    "print(torch.__version__, c.device_count() if c.is_available() else 0, torch.version.cuda or '-')"
)


def machine_checks(layout: Layout) -> Iterator[Check]:
    """Every check of this machine, cheap ones first."""
    yield Check("good", f"nanochat {__version__} under Python {sys.version.split()[0]}")
    yield _extension()
    yield from _packages()
    yield _torch()
    yield _gpus()
    yield _base(layout)
    yield _disk(layout.base)
    yield _memory()
    yield _ssh()
    yield _terminal()
    yield from _keymap(layout.base / "keymap.toml")


def _extension() -> Check:
    if importlib.util.find_spec("rustbpe") and importlib.util.find_spec("rustbpe._rustbpe"):
        return Check("good", "the tokenizer trainer (rustbpe) is built")
    return Check(
        "bad", "the tokenizer trainer (rustbpe) is not built", "pip install . in the checkout; it needs Rust"
    )


def _packages() -> Iterator[Check]:
    wanted = ("textual", "plotext", "asyncssh", "pyarrow", "tiktoken", "safetensors")
    missing = [name for name in wanted if not importlib.util.find_spec(name)]
    if missing:
        yield Check("bad", f"missing packages: {', '.join(missing)}", "pip install . in the checkout")


def _torch() -> Check:
    # In a process of its own: the runner's own process stays free of torch.
    try:
        done = subprocess.run(
            [sys.executable, "-c", TORCH_CHECK],
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        what = f"PyTorch: cannot run {sys.executable or 'this Python'}: {error.strerror}"
        return Check("bad", what, "see that this user may run it")
    if done.returncode:
        why = one_line(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it does not load")
        return Check("bad", f"PyTorch: {why}", "pip install torch, or its CPU build as the README says")
    words = (
        done.stdout.rstrip().rpartition("\n")[2].split()
    )  # whatever else is printed as it loads comes before
    if len(words) != 3:
        return Check("bad", f"PyTorch: it printed {one_line(done.stdout)[:200]!r}", "install it anew")
    version, count, cuda = words
    where = f"{count} CUDA GPUs (CUDA {cuda})" if count != "0" else "no CUDA GPU: stages run on the CPU here"
    return Check("good", f"PyTorch {version}, {where}")


def _gpus() -> Check:
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            driver, count = pynvml.nvmlSystemGetDriverVersion(), pynvml.nvmlDeviceGetCount()
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        return Check("warn", f"no NVIDIA GPU seen by NVML: {error}", "nothing to do where there is none")
    return Check("good", f"NVML: {count} GPUs, driver {driver}")


def _base(layout: Layout) -> Check:
    folder = next(path for path in (layout.base, *layout.base.parents) if path.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Check(
            "good", f"base directory {layout.base}" + ("" if layout.base.exists() else " (made when needed)")
        )
    return Check(
        "bad",
        f"base directory {layout.base} cannot be written",
        "choose another: --base-dir or NANOCHAT_BASE_DIR",
    )


def _disk(base: Path) -> Check:
    folder = next(path for path in (base, *base.parents) if path.exists())
    usage = shutil.disk_usage(folder)
    text = f"{size_bytes(usage.free)} of {size_bytes(usage.total)} free there"
    if usage.free < LITTLE_DISK:
        return Check(
            "warn", text, "shards and checkpoints need room: free some, or choose another base directory"
        )
    return Check("good", text)


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check(
        "good", f"{cores} cores, {size_bytes(memory.total)} memory, {size_bytes(memory.available)} free"
    )


def _ssh() -> Check:
    version = importlib.metadata.version("asyncssh") if importlib.util.find_spec("asyncssh") else ""
    agent = "an ssh-agent answers" if os.environ.get("SSH_AUTH_SOCK") else "no ssh-agent"
    keys = sorted(path.name for path in (Path.home() / ".ssh").glob("id_*") if path.suffix != ".pub")
    if not keys and not os.environ.get("SSH_AUTH_SOCK"):
        return Check("warn", "no SSH key found", "ssh-keygen -t ed25519, or name one: hosts add … --key FILE")
    return Check("good", f"asyncssh {version}, {agent}, keys: {', '.join(keys) or 'none in ~/.ssh'}")


def _terminal() -> Check:
    if "UTF-8" not in (sys.stdout.encoding or "").upper():
        return Check(
            "warn",
            f"the terminal's encoding is {sys.stdout.encoding}",
            "set a UTF-8 locale for braille plots",
        )
    return Check("good", f"terminal {os.environ.get('TERM', 'unknown')}, UTF-8")


def _keymap(path: Path) -> Iterator[Check]:
    """Lines of the control room's keymap file that are not applied, or that hide another key."""
    if path.exists() and importlib.util.find_spec("textual"):
        for text in keymap_problems(path):
            yield Check("warn", f"keymap: {text}", "docs/tui.md says how keys are remapped")


def doctor_parser() -> Parser:
    """`nanochat doctor`."""
    parser = command_parser(
        "nanochat doctor", "Check this machine, a line a check, with a fix for each failure."
    )
    parser.add_argument("--json", action="store_true")
    return parser


def doctor(argv: Sequence[str]) -> int:
    """Answers `nanochat doctor`: 0 when nothing fails, else 1."""
    given, layout = parse(doctor_parser(), argv)
    found: list[dict[str, Any]] = []
    for check in machine_checks(layout):
        found.append({"level": check.level, "check": check.what, "fix": check.fix})
        if not given.json:
            print_check(check.level, check.what, check.fix)
    if given.json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    return Exit.FAILED if any(check["level"] == "bad" for check in found) else Exit.OK
