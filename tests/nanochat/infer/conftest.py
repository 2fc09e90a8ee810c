"""Fixtures of the engine's tests."""

import pytest


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captured reads of few slots and buffers that must grow, so that short tests meet many shapes."""
    monkeypatch.setattr("nanochat.infer.cuda_graphs.READ_BUCKET", 8)
    monkeypatch.setattr("nanochat.infer.decoder.GRAPH_SPARE_SLOTS", 24)
