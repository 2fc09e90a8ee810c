"""The CORE bundle as it is published: a zip, unpacked completely or not at all."""

import shutil
import zipfile
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from nanochat.common.atomic_folder import AtomicFolder
from nanochat.common.errors import UserError
from nanochat.evals.bundle import BUNDLE_URL, read_bundle

MAX_UNPACKED = 4 << 30
"""Bytes that a bundle may unpack to; the published one takes some hundred MB."""
MAX_FILES = 10_000
_RETRY = f"fetch it again, or look at {BUNDLE_URL}"


def bundle_url(mirror: str = "") -> str:
    """The address of the zip; `mirror` replaces its server's."""
    return f"{mirror.rstrip('/')}{urlsplit(BUNDLE_URL).path}" if mirror else BUNDLE_URL


def check_archive(path: Path) -> None:
    """Raises `UserError` unless the file is a zip that holds a bundle."""
    members(path)


def members(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The bundle's files in the zip, by their paths inside the bundle.

    Raises `UserError` when it is not a zip, has no core.yaml, names a path outside its folder, or unpacks to
    more than `MAX_UNPACKED` bytes (a member never unpacks to more than its entry says).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            files = [item for item in archive.infolist() if not item.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a complete zip: {error}", _RETRY) from error
    size = sum(item.file_size for item in files)
    if size > MAX_UNPACKED or len(files) > MAX_FILES:
        much = f"{len(files):,} files of {size:,} bytes"
        most = f"{MAX_FILES:,} files, {MAX_UNPACKED >> 30} GiB"
        raise UserError(f"{path} is refused: it unpacks to {much}, more than a bundle may ({most})", _RETRY)
    roots = [PurePosixPath(item.filename).parent for item in files if item.filename.endswith("core.yaml")]
    if not roots:
        raise UserError(f"{path} holds no CORE bundle: it has no core.yaml", _RETRY)
    root = min(roots, key=lambda folder: len(folder.parts))
    found = {}
    for item in files:
        name = PurePosixPath(item.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in item.filename:
            raise UserError(f"{path} is refused: its member '{item.filename}' lies outside its folder")
        if name.is_relative_to(root):
            found[str(name.relative_to(root))] = item
    return found


def unpack_bundle(path: Path, out: Path) -> int:
    """Unpacks the zip at `path` into the folder `out`, which appears complete; returns the number of files.

    An earlier bundle there is replaced, other files are not. Raises `UserError` for a zip or a bundle that is
    damaged, and for a disk that is full.
    """
    files = members(path)
    top_names = {PurePosixPath(name).parts[0] for name in files}
    with (
        AtomicFolder(out, top_names.__contains__, overwrite=True) as new,
        zipfile.ZipFile(path) as archive,
    ):
        try:
            for name, item in files.items():
                target = new.content / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(item) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
        except (zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"{path} is damaged: {error}", _RETRY) from error
        read_bundle(new.content)
        new.commit()
    return len(files)
