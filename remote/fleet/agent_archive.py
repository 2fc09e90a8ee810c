"""Builds the agent's one file: a zipapp of `remote/agent` and NVIDIA's `pynvml` module.

The same sources give the same bytes on every machine, so the content hash in its name tells versions
apart and a host never holds a mixture.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import atomic_write, make_dir

PACKAGE = "nanochat_agent"
EPOCH = (1980, 1, 1, 0, 0, 0)
NVML_NOTICE = "LICENSE-nvidia-ml-py.txt"
MAIN = f'''"""Starts the agent, or says in one line that this Python is too old for it."""
import sys

if sys.version_info < (3, 8):
    found = ".".join(str(part) for part in sys.version_info[:3])
    text = "the agent needs Python 3.8 or newer, this is %s" % found
    sys.stdout.write('{{"error": "%s", "code": "python"}}\\n' % text)
    sys.exit(1)

from {PACKAGE}.__main__ import main

sys.exit(main())
'''


class AgentFile(NamedTuple):
    """The zipapp on this machine. `digest`: the first 12 hex digits of its SHA-256."""

    path: Path
    digest: str

    @property
    def name(self) -> str:
        return self.path.name


def build(cache: Path | None = None) -> AgentFile:
    """The agent's file in `cache` (a private temporary folder when None), built unless it is there whole.

    Raises UserError when nvidia-ml-py is not installed or the folder cannot be written.
    """
    content = archive()
    digest = hashlib.sha256(content).hexdigest()[:12]
    path = (make_dir(cache) if cache is not None else _temporary_folder()) / f"nanochat-agent-{digest}.pyz"
    if not (path.is_file() and path.read_bytes() == content):
        atomic_write(path, content)
    return AgentFile(path, digest)


def archive() -> bytes:
    """The zipapp's bytes: entries in fixed order, with a fixed time, stored uncompressed."""
    source = Path(__file__).resolve().parent.parent / "agent"
    nvml = pynvml_source()
    entries = {
        f"{PACKAGE}/{path.relative_to(source).as_posix()}": path.read_bytes() for path in source.rglob("*.py")
    }
    entries["__main__.py"] = MAIN.encode()
    entries["pynvml.py"] = nvml
    entries[NVML_NOTICE] = notice(nvml)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(entries):
            # stored, not deflated: compressors differ between machines, and the host may have no zlib
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            file.writestr(info, entries[name])
    return buffer.getvalue()


def pynvml_source() -> bytes:
    """NVIDIA's `pynvml.py` as the installed nvidia-ml-py package has it."""
    try:
        path = Path(str(metadata.distribution("nvidia-ml-py").locate_file("pynvml.py")))
        return path.read_bytes()
    except (metadata.PackageNotFoundError, OSError) as error:
        raise UserError(
            "the agent cannot be built: nvidia-ml-py is not installed here",
            "install it with: pip install nvidia-ml-py",
            Exit.FAILED,
        ) from error


def notice(nvml: bytes) -> bytes:
    """The copyright notice and licence at the head of `pynvml.py`, which redistribution must carry."""
    lines = []
    for line in nvml.decode("utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.strip("#").strip())
    text = "\n".join(lines).strip()
    if "Copyright" not in text:
        raise UserError(
            "the agent cannot be built: pynvml.py carries no licence notice",
            "install NVIDIA's own nvidia-ml-py",
            Exit.FAILED,
        )
    return f"pynvml.py is from nvidia-ml-py.\n\n{text}\n".encode()


def _temporary_folder() -> Path:
    """A folder under the system's temporary one that only we can write."""
    path = Path(tempfile.gettempdir()) / f"nanochat-agent-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022 or not path.is_dir() or path.is_symlink():
        return Path(tempfile.mkdtemp(prefix="nanochat-agent-"))
    return path
