"""What the first request of a chat costs is paid in a thread: imports, and reading certificates."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.serve.client import ChatClient
from tui.data.chat import connection
from tui.data.chat.target import EndpointTarget

ROOT = Path(__file__).resolve().parents[4]
FIRST_REQUEST = """
import asyncio, sys
from tui.screens.chat import load
load()
from nanochat.common.errors import UserError
from nanochat.serve.client import ChatClient

async def ask():
    before = set(sys.modules)
    try:
        async with ChatClient("http://127.0.0.1:9") as client:
            await client.models()
    except UserError:
        pass
    print(sorted(set(sys.modules) - before))

asyncio.run(ask())
"""


def test_the_first_request_imports_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_REQUEST], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


async def test_the_certificates_of_an_address_are_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def client(*given: str) -> ChatClient:
        made.append(threading.get_ident())
        return ChatClient(*given)

    monkeypatch.setattr(connection, "ChatClient", client)
    with pytest.raises(UserError, match="cannot reach"):
        async with asyncio.timeout(10):
            await connection.connect(EndpointTarget("https://127.0.0.1:9/v1"), None, None, lambda line: None)
    assert made and threading.get_ident() not in made
