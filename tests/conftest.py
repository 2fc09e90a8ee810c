"""Fixtures every room's tests share."""

import gc
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores already: threads of a matrix product on top of them only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from nanochat.common.paths import Layout

# A busy machine is no failure: properties are about what comes out, never about how fast.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

_HUB_HOME = tempfile.TemporaryDirectory(prefix="hub-home-")


def pytest_configure() -> None:
    """No test asks the Hugging Face hub (nobody listens at port 9), or sees the user's cache and token.

    The hub's client reads these variables when it is imported.
    """
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
        del os.environ[name]
    os.environ |= {"HF_HOME": _HUB_HOME.name, "HF_ENDPOINT": "http://127.0.0.1:9"}


ROOT = Path(__file__).resolve().parent.parent


def _shared(part: str) -> Path:
    folder = Path(os.environ.get("NANOCHAT_SHARED", ROOT.parent / "shared")) / part
    if not folder.is_dir():
        pytest.skip(f"needs the shared {part} folder: set NANOCHAT_SHARED to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real text, evals and vocabularies."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_reference() -> Path:
    """Upstream nanochat's checkpoints and what it computes from them."""
    return _shared("reference")


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """An empty base directory, also set in the environment of what the test starts."""
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "base"))
    monkeypatch.delenv("NANOCHAT_RUN_DIR", raising=False)
    (tmp_path / "base").mkdir()
    return Layout(tmp_path / "base")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deals the slow tests out to the workers, which begin with them: none is left alone with one at the end.

    With `--dist worksteal` each worker starts with an equal part of the list, one after the other, and later
    takes from the end of another's. A module's tests stay together, for they share what its fixtures make.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow") is not None]
    modules = [list(found) for _, found in itertools.groupby(slow, key=lambda item: item.path)]
    modules.sort(key=lambda found: not any(item.get_closest_marker("timeout") for item in found))  # minutes
    quick = iter([item for item in items if item.get_closest_marker("slow") is None])
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        size = (len(items) - len(dealt)) // (workers - worker)
        share = [item for module in modules[worker::workers] for item in module]
        dealt += share + list(itertools.islice(quick, max(0, size - len(share))))
    items[:] = dealt + list(quick)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Leaves what collecting makes, which stays for good, out of every garbage collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are numbered, not spelled: gzip writes the time, and workers must collect the same ids."""
    return argname if isinstance(val, bytes) else None
