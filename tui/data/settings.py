"""What the control room remembers between starts, in a small JSON file in the base directory."""

from __future__ import annotations

import json
import threading
from typing import Any

from nanochat.common.paths import Layout, atomic_write, make_dir


class Settings:
    """A mapping that is read once and written whole. A damaged file counts as empty. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.base / "control-room.json"
        self._lock = threading.Lock()
        try:
            loaded = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            loaded = {}
        self._values: dict[str, Any] = loaded if isinstance(loaded, dict) else {}

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def set(self, name: str, value: Any) -> None:
        """Remembers a JSON value, in any case until the app ends. It waits for the disk: call it in a thread.

        Raises `UserError` when the file cannot be written.
        """
        with self._lock:
            if self._values.get(name) != value:
                self._values[name] = value
                make_dir(self._path.parent)
                atomic_write(self._path, json.dumps(self._values, indent=1) + "\n")
