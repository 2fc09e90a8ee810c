"""Fixtures of the Chat screen's data: a real server over small models, a scripted one, and services."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

NANOCHAT = Path(__file__).resolve().parents[3] / "nanochat"
sys.path[:0] = [str(NANOCHAT), str(NANOCHAT / "serve" / "chat")]

from chat_models import make_chat_base, save_model  # noqa: E402
from chat_panes import Panes, Server, Services  # noqa: E402
from stub_server import running_stub, stub  # noqa: E402

from nanochat.common.paths import Layout  # noqa: E402
from tui.data.chat.pane_set import PaneSet  # noqa: E402

__all__ = ["running_stub", "stub"]  # fixtures that the server's tests have, too

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One chat_web for all tests, over sft/d2, sft/classic, base/d2 and sft/live, which a test saves to."""
    base = make_chat_base(tmp_path_factory.mktemp("chat-screen"))
    save_model(base, "sft", tag="live", step=1, seed=7)
    words = ["--base-dir", str(base), "--port", "0", "--json", "--dtype", "float32", "--device-type", "cpu"]
    words += ["--model", "sft/d2,sft/classic,base/d2,sft/live"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nanochat.cli", "chat_web", *words],
        stdout=subprocess.PIPE, cwd=ROOT, encoding="utf-8",
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield Server(json.loads(process.stdout.readline())["url"], Layout(base))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
async def panes() -> AsyncIterator[Panes]:
    services = Services("")
    made = Panes(PaneSet(services, lambda pane: made.told.append((pane, pane.state.kind))), services)
    yield made
    await made.set.close()


@pytest.fixture
def here(panes: Panes, server: Server) -> Panes:
    """Panes whose hosts are all the real server."""
    panes.services.url = server.url
    return panes
