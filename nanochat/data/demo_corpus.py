"""The demo corpus: the running Python's own text, which is real and on every machine, without a network.

The standard library's sources with the docstrings in them, the docstrings of what is written in C, and
the language reference's topics that `help()` shows.
"""

import builtins
import importlib
import inspect
import io
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from nanochat.common.errors import UserError
from nanochat.data.sources import Skips

_SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"})
_C_MODULES = ("array", "cmath", "datetime", "decimal", "math", "select", "sqlite3", "struct", "zlib")


def source_files() -> list[Path]:
    """The standard library's Python sources without its tests, in a fixed order.

    Raises `UserError` when this Python has none on disk.
    """
    top = Path(sysconfig.get_path("stdlib"))
    files = [
        path
        for path in sorted(top.rglob("*.py"))
        if not _SKIPPED_FOLDERS.intersection(path.relative_to(top).parts[:-1]) and path.is_file()
    ]
    if not files:
        raise UserError(
            f"this Python has no library sources under {top}",
            "give files of your own to `nanochat data build`",
        )
    return files


def demo_texts(files: list[Path], skips: Skips) -> Iterator[str]:
    """The texts of the demo corpus: `files`, then docstrings by module, then topics by name."""
    for path in files:
        try:
            yield _source(path)
        except (OSError, SyntaxError, UnicodeDecodeError):
            skips.add("source that cannot be decoded", path)
    yield from _docstrings()
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield topics[name]


def _source(path: Path) -> str:
    """The text of a Python file in the encoding it declares."""
    raw = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    return io.IncrementalNewlineDecoder(None, translate=True).decode(raw.decode(encoding))


def _docstrings() -> Iterator[str]:
    """One text a module of what is written in C: each name with its docstring."""
    names = sorted({*sys.builtin_module_names, *_C_MODULES} - {"__main__"})
    for name in ["builtins", *(name for name in names if name != "builtins")]:
        try:
            module = builtins if name == "builtins" else importlib.import_module(name)
        except ImportError:
            continue
        parts = list(_documented(module))
        if parts:
            yield "\n\n".join(parts) + "\n"


def _documented(module: ModuleType) -> Iterator[str]:
    if module.__doc__:
        yield f"{module.__name__}\n\n{inspect.cleandoc(module.__doc__)}"
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or isinstance(value, ModuleType):
            continue
        yield from _entry(f"{module.__name__}.{name}", value)
        if inspect.isclass(value):
            for method, member in sorted(vars(value).items()):
                if not method.startswith("_"):
                    yield from _entry(f"{module.__name__}.{name}.{method}", member)


def _entry(name: str, value: object) -> Iterator[str]:
    doc = getattr(value, "__doc__", None)
    own = inspect.isclass(value) or inspect.isroutine(value) or inspect.isdatadescriptor(value)
    if own and isinstance(doc, str) and doc.strip():
        yield f"{name}\n\n{inspect.cleandoc(doc)}"
