"""The bundle's zip: what it unpacks to is bounded before anything is written."""

import zipfile
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.evals import bundle_archive


def test_a_zip_that_unpacks_to_more_than_a_bundle_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle/core.yaml", "tasks: []\n")
        archive.writestr("bundle/data.jsonl", bytes(3 << 20))
    assert path.stat().st_size < 10_000
    bundle_archive.check_archive(path)
    monkeypatch.setattr(bundle_archive, "MAX_UNPACKED", 3 << 20)
    with pytest.raises(UserError, match=r"it unpacks to 2 files of 3,145,738 bytes, more than a bundle may"):
        bundle_archive.unpack_bundle(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(bundle_archive, "MAX_UNPACKED", 4 << 20)
    monkeypatch.setattr(bundle_archive, "MAX_FILES", 1)
    with pytest.raises(UserError, match="it unpacks to 2 files"):
        bundle_archive.check_archive(path)
