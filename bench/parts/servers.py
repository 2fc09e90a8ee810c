"""Servers in processes of their own: ours, and `transformers serve`."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 120.0
ROOT = Path(__file__).resolve().parents[2]


class ServerError(Exception):
    """A server did not start; the text is one line."""


@dataclass
class Server:
    """A server that answers, and the name of its model."""

    port: int
    model: str
    process: subprocess.Popen[str]


def environment(threads: int) -> dict[str, str]:
    return os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "NANOCHAT_DTYPE": "float32",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1",
    }


@contextlib.contextmanager
def ours(python: str, base: Path, model: str, threads: int, *options: str) -> Iterator[Server]:
    """`nanochat chat_web` over one checkpoint. Raises `ServerError`."""
    command = [python, "-m", "nanochat", "chat_web", f"--base-dir={base}", f"--model={model}", "--port=0"]
    log = base / "chat_web.log"
    with (
        log.open("w", encoding="utf-8") as errors,
        ended(
            subprocess.Popen(
                [*command, "--dtype=float32", "--json", *options],
                env=environment(threads),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )
        ) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise ServerError(last_line(log))
        ready = json.loads(line)
        yield Server(int(ready["url"].rpartition(":")[2]), ready["models"][0], process)


@contextlib.contextmanager
def transformers(python: str, export: Path, threads: int, *options: str) -> Iterator[Server]:
    """`transformers serve` over an exported model. Raises `ServerError`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python, "-m", "transformers.cli.transformers", "serve", str(export), f"--port={port}"]
    log = export.parent / "transformers.log"
    with (
        log.open("w", encoding="utf-8") as output,
        ended(
            subprocess.Popen(
                [*command, "--host=127.0.0.1", "--device=cpu", "--log-level=error", *options],
                env=environment(threads) | {"PYTHONPATH": ""},
                stdout=output,
                stderr=output,
                text=True,
                encoding="utf-8",
            )
        ) as process,
    ):
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(last_line(log))
            time.sleep(0.1)
        yield Server(port, str(export), process)


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The process, ended at the end."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def last_line(log: Path) -> str:
    lines: Sequence[str] = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a word")
