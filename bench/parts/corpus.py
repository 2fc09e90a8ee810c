"""The text that benches of tokenizers read, and the machine they run on."""

import os
import platform
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT_SUFFIXES = {".py", ".txt", ".md", ".rst"}


def default_corpus() -> Path:
    """The shared text, else the standard library."""
    shared = Path(os.environ.get("NANOCHAT_SHARED", ROOT.parent / "shared")) / "data" / "text"
    return shared if shared.is_dir() else Path(sysconfig.get_paths()["stdlib"])


def read_documents(folder: Path) -> list[str]:
    """Every document of the shards in `folder`, or every text file under it."""
    if any(folder.glob("*.parquet")):
        from nanochat.data.shards import iter_documents, list_shards

        return list(iter_documents(list_shards(folder)))
    files = (path for path in sorted(folder.rglob("*")) if path.suffix in TEXT_SUFFIXES and path.is_file())
    return [path.read_text(errors="replace", encoding="utf-8") for path in files]


def processor() -> str:
    """The processor's name, and whether it has AVX-512."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split("\t", 1) for line in lines if "\t" in line)
    name = facts.get("model name", platform.machine()).strip("\t: ")
    return f"{name} ({'AVX-512' if 'avx512f' in facts.get('flags', '') else 'no AVX-512'})"
