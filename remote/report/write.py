"""Writing a report: `report.md` and `report.html` in one folder, both or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanochat.common.errors import Exit, UserError
from nanochat.common.new_file import check_new
from nanochat.common.paths import Layout, atomic_write_all
from remote.report.blocks import Document
from remote.report.compose import Sources, compose
from remote.report.html import html
from remote.report.markdown import markdown
from remote.report.scope import Scope
from remote.store.store import Store

MARKDOWN, HTML = "report.md", "report.html"


@dataclass(frozen=True)
class Written:
    """Where a report lies, and what it says as Markdown."""

    folder: Path
    text: str

    @property
    def markdown(self) -> Path:
        return self.folder / MARKDOWN

    @property
    def html(self) -> Path:
        return self.folder / HTML


def report_folder(layout: Layout, scope: Scope) -> Path:
    """Where the report of these runs lies unless told otherwise: under the base directory of this machine."""
    return layout.base / "report" / scope.id


def write_report(store: Store, scope: Scope, sources: Sources, folder: Path, replace: bool = True) -> Written:
    """Makes the report and writes it, over an earlier one where it may. Blocks on the disk.

    Raises `UserError` in one line, and leaves nothing half-made, where that cannot be.
    """
    missing = _missing_folders(folder)
    try:
        _make(folder)
        for name in (MARKDOWN, HTML):
            check_new(folder / name, replace, "give another folder with --out, or add --replace")
        text = write_document(compose(store, scope, sources), folder)
    except BaseException:
        for made in missing:  # those that this call has made, and that hold nothing
            try:
                made.rmdir()
            except OSError:
                break
        raise
    return Written(folder, text)


def write_document(document: Document, folder: Path) -> str:
    """Writes both forms of a document and returns the Markdown."""
    text = markdown(document)
    atomic_write_all({folder / MARKDOWN: text, folder / HTML: html(document)})
    return text


def _missing_folders(folder: Path) -> list[Path]:
    """The folders that are not there yet, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the folder {folder}: {error.strerror}", "give another with --out", Exit.FAILED
        ) from error
