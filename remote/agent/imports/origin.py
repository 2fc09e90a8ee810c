"""What a run's document says about the log it was imported from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Json = dict[str, Any]

FOLDER = "imports"
CONSOLE = "console log of upstream nanochat"


def import_of(run: Json | None) -> str:
    """The id of the import that a run came from, "" for a run of ours."""
    told = (run or {}).get("import")
    import_id = told.get("id") if isinstance(told, dict) else None
    return import_id if isinstance(import_id, str) and import_id.isalnum() else ""


def log_of(run: Json | None) -> Path | None:
    """The console log that a run was imported from: what it printed is there."""
    told = (run or {}).get("import")
    if not isinstance(told, dict) or told.get("kind") != CONSOLE:
        return None
    path = told.get("path")
    return Path(path) if isinstance(path, str) and os.path.isabs(path) else None


def has_imports(base: Path) -> bool:
    """Whether anything was ever imported under this base directory."""
    return (base / FOLDER).is_dir()
