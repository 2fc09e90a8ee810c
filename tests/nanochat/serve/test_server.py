"""`nanochat chat_web` as a program: its line, its addresses, whom it lets in, and how it ends."""

import asyncio
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn
from chat_models import save_model

from nanochat.checkpoint.files import META, MODEL
from nanochat.cli import main
from nanochat.common.paths import Layout
from nanochat.config.serve_options import KEY_VARIABLE
from nanochat.infer.scheduler import NewToken
from nanochat.serve import server
from nanochat.serve.loading import Capacity, CheckpointLoader
from nanochat.serve.models import ModelRegistry, ServedName
from nanochat.serve.server import build_app, open_socket, serve, url_of

CHAT = {"model": "sft/d2", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}
LONG = {"model": "sft/d2", "prompt": [1], "max_tokens": 200, "stream": True, "ignore_eos": True}


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """The command sends them to stderr, for as long as its process lives."""
    loggers = [logging.getLogger(name) for name in server.LOGGERS]
    before = [(one.handlers, one.propagate, one.level) for one in loggers]
    yield
    for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


def registry_of(layout: Layout, *names: str, capacity: Capacity | None = None) -> ModelRegistry:
    loader = CheckpointLoader(
        layout, [torch.device("cpu")], torch.float32, capacity or Capacity(4, 8, 1 << 20)
    )
    served = [ServedName.parse(name) for name in names or ("sft/d2", "base/d2")]
    return ModelRegistry(layout, served, loader, 1 << 34)


@asynccontextmanager
async def client_of(registry: ModelRegistry, **app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, without a socket."""
    made = build_app(registry, **{"host": "127.0.0.1", "key": "", "origins": (), **app})
    transport = httpx.ASGITransport(app=made)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            yield client
    finally:
        assert await registry.close()


@asynccontextmanager
async def serving(
    registry: ModelRegistry, idle_seconds: float | None = None
) -> AsyncIterator[tuple[str, "asyncio.Task[bool]"]]:
    """The server on a socket, in this process; stopped by a signal as it is from outside."""
    ready = asyncio.Event()
    with open_socket("127.0.0.1", 0) as opened:
        app = build_app(registry, "127.0.0.1", "", ())
        task = asyncio.create_task(serve(registry, app, opened, ready.set, False, idle_seconds))
        try:
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
            yield url_of(opened), task
        finally:
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            await task


def slow_steps(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    from nanochat.infer.scheduler import Scheduler

    step = Scheduler.step

    def slow(self: Scheduler) -> list[NewToken]:
        time.sleep(seconds)
        return step(self)

    monkeypatch.setattr(Scheduler, "step", slow)


def events_of(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that the command ends with."""
    code = main(["chat_web", *words])
    out, err = capsys.readouterr()
    assert code in (1, 2) and out == "" and err.count("\n") == 1, err
    return err


# -- the program ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_says_one_line_answers_and_finishes_a_stream_when_it_is_stopped(chat_base: Layout) -> None:
    words = ["--base-dir", str(chat_base.base), "--port", "0", "--json", "--dtype", "float32"]
    process = subprocess.Popen(
        [sys.executable, "-m", "nanochat.cli", "chat_web", *words, "--model", "sft/d2,b=base/d2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        assert list(ready) == ["url", "models"] and ready["models"] == ["sft/d2", "b"]
        with httpx.Client(base_url=ready["url"], timeout=30) as client:
            assert client.get("/health").json()["ready"] is True
            answer = client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 5}).json()
            assert answer["usage"]["completion_tokens"] <= 5
            with client.stream("POST", "/v1/completions", json=LONG) as stream:
                lines = stream.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                rest = "\n".join(lines)
            assert events_of(rest)[-1]["choices"][0]["finish_reason"] in ("length", "stop")
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")
    assert not chat_base.runs.exists()  # a service is no run


def test_it_is_a_command_with_help_and_no_stage(capsys: pytest.CaptureFixture[str]) -> None:
    from nanochat.config.stages import STAGES

    assert "chat_web" not in STAGES
    with pytest.raises(SystemExit) as ended:
        main(["chat-web", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--max-rows" in shown and "/v1/chat/completions" in shown
    code = (
        "import sys; from nanochat.stages.chat_web import parser; parser().format_help(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert not {"torch", "starlette", "uvicorn"} & set(done.stdout.split())


@pytest.mark.parametrize(("before", "stops"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_terminal_that_closes_stops_it_unless_nohup_says_otherwise(
    chat_base: Layout, before: signal.Handlers, stops: bool
) -> None:
    app = server._Server(uvicorn.Config("none"), registry_of(chat_base))
    kept = signal.signal(signal.SIGHUP, before)
    try:
        with app.capture_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert app.should_exit is stops and signal.getsignal(signal.SIGHUP) == before
    finally:
        signal.signal(signal.SIGHUP, kept)


async def test_what_still_streams_after_the_time_to_drain_ends_with_an_error(
    chat_base: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.3)
    slow_steps(monkeypatch, 0.05)
    async with (
        serving(registry_of(chat_base)) as (url, task),
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        client.stream("POST", "/v1/completions", json=LONG) as stream,
    ):
        lines = stream.aiter_lines()
        await anext(lines)
        os.kill(os.getpid(), signal.SIGTERM)
        last = events_of("\n".join([line async for line in lines]))[-1]
        assert "error" in last
        assert await task


async def test_a_client_that_never_sends_or_reads_does_not_keep_the_server(
    chat_base: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 0.2)
    server.log_to_stderr(access_log=False)
    async with serving(registry_of(chat_base)) as (url, task):
        port = int(url.rpartition(":")[2])
        half = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(half)
        await writer.drain()
        _, idle = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await task
        writer.close()
        idle.close()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "Cancel 1 running task(s)" in said[0]


async def test_idle_connections_outlast_those_that_clients_keep(
    chat_base: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[uvicorn.Config] = []
    config = uvicorn.Config

    def recorded(*args: Any, **options: Any) -> uvicorn.Config:
        configs.append(config(*args, **options))
        return configs[-1]

    monkeypatch.setattr(uvicorn, "Config", recorded)
    async with serving(registry_of(chat_base)):
        pass
    assert [one.timeout_keep_alive > 90 for one in configs] == [True]  # Go's transport: 90 s


async def test_a_second_stop_ends_at_once(chat_base: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_steps(monkeypatch, 0.05)
    async with (
        serving(registry_of(chat_base)) as (url, task),
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        client.stream("POST", "/v1/completions", json=LONG) as stream,
    ):
        lines = stream.aiter_lines()
        await anext(lines)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert not task.done()
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(5):
            await task


async def test_a_stop_does_not_wait_for_a_model_that_loads(
    chat_base: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, go_on, others = threading.Event(), threading.Event(), set(threading.enumerate())
    load = CheckpointLoader.load

    def slow(*words: Any) -> Any:
        loading.set()
        assert go_on.wait(30)
        return load(*words)

    monkeypatch.setattr(CheckpointLoader, "load", slow)
    with open_socket("127.0.0.1", 0) as opened:
        registry = registry_of(chat_base)
        app = build_app(registry, "127.0.0.1", "", ())
        task = asyncio.create_task(serve(registry, app, opened, lambda: None, False))
        await asyncio.to_thread(loading.wait, 30)
        async with httpx.AsyncClient(base_url=url_of(opened)) as client:
            assert (await client.get("/health")).status_code == 503
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await task is False  # a thread goes on
        go_on.set()
        async with asyncio.timeout(20):
            while any(thread.name == "serve-load" for thread in threading.enumerate()):
                await asyncio.sleep(0.01)
    new = set(threading.enumerate()) - others
    assert not [thread for thread in new if thread.name.startswith("model-")]


@pytest.mark.slow
async def test_an_idle_server_gives_memory_back_and_answers_again(chat_base: Layout) -> None:
    registry = registry_of(chat_base)
    async with serving(registry, 0.1) as (url, _), httpx.AsyncClient(base_url=url, timeout=30) as client:
        async with asyncio.timeout(20):
            while registry.loaded():
                await asyncio.sleep(0.01)
        assert (await client.get("/health")).json()["ready"] is True
        assert (await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 1})).status_code == 200


async def test_a_client_that_leaves_frees_its_row(chat_base: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_steps(monkeypatch, 0.02)
    registry = registry_of(chat_base)
    async with serving(registry) as (url, _):
        [loaded] = registry.loaded()
        async with (
            httpx.AsyncClient(base_url=url, timeout=30) as client,
            client.stream("POST", "/v1/completions", json=LONG) as stream,
        ):
            lines = stream.aiter_lines()
            await anext(lines)
            assert loaded.worker().load == 1
        async with asyncio.timeout(2):
            while loaded.worker().load:
                await asyncio.sleep(0.01)
        assert loaded.worker().figures.generated_tokens < 100


async def test_it_answers_that_it_loads_before_the_model_is_there(
    chat_base: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client_of(registry_of(chat_base)) as client:
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "loading")
        await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 1})
        answer = await client.get("/health")
        assert answer.json() == {"status": "ok", "ready": True, "num_gpus": 0, "available_workers": 1}


async def test_a_model_that_fails_is_told_with_when_to_come_back(
    chat_base: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nanochat.infer.scheduler import Scheduler

    step = Scheduler.step

    def out_of_memory(self: Scheduler) -> list[NewToken]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    async with client_of(registry_of(chat_base)) as client:
        assert (await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 2})).status_code == 200
        monkeypatch.setattr(Scheduler, "step", out_of_memory)
        answer = await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 2})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "out of memory" in answer.json()["error"]["message"]
        streamed = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert "out of memory" in streamed.text
        monkeypatch.setattr(Scheduler, "step", step)
        assert (await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 2})).status_code == 200


async def test_a_checkpoint_that_is_damaged_later_is_no_fault_of_the_request(chat_base: Layout) -> None:
    async with client_of(registry_of(chat_base)) as client:
        (chat_base.checkpoints("sft") / "d2" / "step_000008" / MODEL).write_bytes(b"not weights")
        answer = await client.post("/v1/chat/completions", json=CHAT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_unavailable")
        assert (
            await client.post("/v1/completions", json={"model": "base/d2", "prompt": "x"})
        ).status_code == 200


async def test_clients_are_not_told_where_the_server_keeps_its_files(chat_base: Layout) -> None:
    async with client_of(registry_of(chat_base, "sft/d2", "sft/classic", "base/d2")) as client:
        (chat_base.checkpoints("base") / "d2").rename(chat_base.base / "away")
        (chat_base.checkpoints("sft") / "classic" / "step_000004" / MODEL).write_bytes(b"not weights")
        for model, said in (
            ("sft/d2@7", "no checkpoint of step 7 in chatsft_checkpoints/d2 (there are: 5, 8)"),
            ("base/d2", "no checkpoint 'base/d2' (did you mean"),
            ("sft/classic", "chatsft_checkpoints/classic/step_000004/"),
        ):
            answer = await client.post("/v1/completions", json={"model": model, "prompt": "x"})
            message = answer.json()["error"]["message"]
            assert answer.status_code in (404, 503) and said in message
            assert str(chat_base.base) not in message


# -- whom it lets in --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "let_in"),
    [
        ({}, False),
        ({"Authorization": "Bearer wrong"}, False),
        ({"Authorization": "Bearer "}, False),
        ({"Authorization": "sesame"}, False),
        ({"Authorization": "Basic sesame"}, False),
        ({"Authorization": b"Bearer \xff\xfe"}, False),
        ({"Authorization": "Bearer sesame"}, True),
        ({"Authorization": "bearer sesame"}, True),
    ],
)
async def test_the_key_is_asked_for_everywhere_but_by_balancers(
    chat_base: Layout, sent: dict[str, str], let_in: bool
) -> None:
    async with client_of(registry_of(chat_base), key="sesame") as client:
        for path in ("/v1/models", "/metrics", "/stats", "/nothing"):
            answer = await client.get(path, headers=sent)
            assert (answer.status_code != 401) is let_in
        if not let_in:
            error = (await client.get("/v1/models", headers=sent)).json()["error"]
            assert error["code"] == "invalid_api_key" and "Bearer KEY" in error["message"]
        assert (await client.get("/health")).status_code == 503


async def test_web_pages_are_let_in_by_their_origin_only(chat_base: Layout) -> None:
    asks = {"Origin": "http://page.test", "Access-Control-Request-Method": "POST"}
    async with client_of(registry_of(chat_base)) as client:
        answer = await client.options("/v1/chat/completions", headers=asks)
        assert "access-control-allow-origin" not in answer.headers
    async with client_of(registry_of(chat_base), key="k", origins=("http://page.test",)) as client:
        answer = await client.options("/v1/chat/completions", headers=asks)
        assert answer.headers["access-control-allow-origin"] == "http://page.test"
        other = await client.options("/v1/chat/completions", headers={**asks, "Origin": "http://other.test"})
        assert "access-control-allow-origin" not in other.headers


async def test_a_page_cannot_reach_it_by_a_name_of_its_own(chat_base: Layout) -> None:
    async with client_of(registry_of(chat_base)) as client:
        for host in (
            "page.test",
            "page.test:8000",
            "localhost.page.test",
            "[::2]:8000",
            "127.0.0.1.page.test",
        ):
            refusal = await client.get("/v1/models", headers={"Host": host})
            assert refusal.status_code == 400 and refusal.json()["error"]["code"] == "invalid_host"
            assert host in refusal.json()["error"]["message"]
        for host in ("localhost:8000", "LOCALHOST", "127.0.0.1", "[::1]:8000"):
            assert (await client.get("/v1/models", headers={"Host": host})).status_code == 200


async def test_a_health_check_that_names_no_host_is_answered(chat_base: Layout) -> None:
    async with serving(registry_of(chat_base)) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(b"GET /health HTTP/1.0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_it_listens_elsewhere_only_with_a_key(
    chat_base: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    said = refused(capsys, "--base-dir", str(chat_base.base), "--host", host, "--port", "0")
    assert f"--host {host} lets other machines ask, and there is no key" in said and "--no-auth" in said
    monkeypatch.setenv(KEY_VARIABLE, "k")
    assert "--no-auth asks for no key" in refused(capsys, "--no-auth")


def test_a_key_comes_from_a_file_and_must_fit_a_header(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nanochat.serve.access import read_key

    monkeypatch.setenv(KEY_VARIABLE, "of-the-environment")
    file = tmp_path / "key"
    file.write_text("of-a-file\nsomething else\n", encoding="utf-8")
    assert read_key("", "") == "of-the-environment"
    assert read_key("", str(file)) == "of-a-file"
    assert read_key("given", "") == "given"
    assert "No such file" in refused(capsys, "--api-key-file", str(tmp_path / "none"))
    file.write_text("\n", encoding="utf-8")
    assert "first line is empty" in refused(capsys, "--api-key-file", str(file))
    assert "give one of them" in refused(capsys, "--api-key", "k", "--api-key-file", str(file))
    said = refused(capsys, "--api-key", "schlüssel")
    assert "printable ASCII" in said and "schl" not in said


# -- what is wrong is told in one line ----------------------------------------------------------------------


def test_a_port_that_is_taken(chat_base: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(capsys, "--base-dir", str(chat_base.base), "--port", port)
    assert f"port {port} of 127.0.0.1 is taken" in said and "--port 0" in said


@pytest.mark.parametrize(
    ("host", "said"), [("127.0.0.300", "no such address"), ("192.0.2.7", "is no address of this machine")]
)
def test_an_address_that_is_not_here(
    chat_base: Layout, capsys: pytest.CaptureFixture[str], host: str, said: str
) -> None:
    assert said in refused(capsys, "--base-dir", str(chat_base.base), "--host", host, "--no-auth")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "sft/d20"], "no checkpoint 'sft/d20' in"),
        (["--model", "stf/d2"], "did you mean 'sft'"),
        (["--model", "sft/d2@7"], "no checkpoint of step 7"),
        (["--model", "sft/d2", "--source", "base"], "--model names the whole checkpoint"),
        (["-i", "rl"], "no checkpoints in"),
        (["--model", "sft/d2", "--num-gpus", "2", "--device-type", "cpu"], "no CUDA device is used"),
        (["--model", "sft/d2", "--gpus", "0", "--device-type", "cpu"], "--gpus: no CUDA device is used"),
        (["--port", "70000"], "too large"),
        (["--model", "sft/d2", "--max-memory", "0.01", "--max-rows", "4096"], "raise --max-memory"),
    ],
)
def test_options_that_cannot_be(
    chat_base: Layout, capsys: pytest.CaptureFixture[str], words: Sequence[str], said: str
) -> None:
    assert said in refused(capsys, "--base-dir", str(chat_base.base), "--port", "0", *words)


def test_a_damaged_checkpoint(chat_base: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    new = save_model(chat_base.base, step=9, seed=50)
    (new.path / MODEL).write_bytes(b"not weights")
    said = refused(capsys, "--base-dir", str(chat_base.base), "--model", "sft/d2", "--port", "0")
    assert "is damaged: its checksum differs" in said
    (new.path / META).write_text("{", encoding="utf-8")
    said = refused(capsys, "--base-dir", str(chat_base.base), "--model", "sft/d2@9", "--port", "0")
    assert "the metadata of step_000009 is missing or damaged" in said


# -- what operators ask -------------------------------------------------------------------------------------


async def test_the_figures_are_what_prometheus_reads(chat_base: Layout) -> None:
    async with client_of(registry_of(chat_base, 'odd"name\\=sft/d2')) as client:
        body = {**CHAT, "model": 'odd"name\\', "max_tokens": 4, "ignore_eos": True}
        for _ in range(2):
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    labels = '{model="odd\\"name\\\\",step="8",replica="0"'
    lines = answer.text.splitlines()
    assert f"nanochat_generated_tokens_total{labels}}} 8" in lines
    assert f"nanochat_requests_total{labels}}} 2" in lines
    assert f"nanochat_rows{labels}}} 0" in lines
    assert f'nanochat_time_to_first_token_seconds_bucket{labels},le="+Inf"}} 2' in lines
    assert f"nanochat_time_to_first_token_seconds_count{labels}}} 2" in lines
    described = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    sampled = {line.split("{")[0] for line in lines if not line.startswith("#")}
    suffixes = ("_bucket", "_sum", "_count")
    assert {next((name.removesuffix(s) for s in suffixes if name.endswith(s)), name) for name in sampled} == (
        described
    )


async def test_upstreams_page_learns_of_the_workers(chat_base: Layout) -> None:
    async with client_of(registry_of(chat_base)) as client:
        await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 1})
        assert (await client.get("/stats")).json() == {
            "total_workers": 1,
            "available_workers": 1,
            "busy_workers": 0,
            "workers": [{"gpu_id": 0, "device": "cpu"}],
        }


def test_a_key_file_is_no_pipe_that_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert "is no file" in refused(capsys, "--api-key-file", str(tmp_path / "pipe"))
