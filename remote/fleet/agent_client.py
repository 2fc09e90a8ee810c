"""The laptop's side of the agent: put it on the host, ask it things, follow what is new there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shlex
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from nanochat.common.text import sanitize
from remote.fleet.agent_archive import AgentFile, build
from remote.hosts.book import Host
from remote.runs import CommandRecord
from remote.transport.base import Completed, HostUnreachable, Stream, Transport

Json = dict[str, Any]

# Finds a Python for the agent and whether the agent is there, whole. What it prints stands between fences of
# a word that nobody else knows: a job that a login file left behind may print at any time. The interpreter
# tells its own path: what PATH finds may be a shim that costs a third of a second at each command.
_CHECK = (
    "import sys,hashlib\n"
    "if sys.version_info < (3, 8): sys.exit(1)\n"
    "print(sys.executable)\n"
    "try: print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())\n"
    "except OSError: print('absent')\n"
)
_HANDSHAKE = r"""
fence=$1; base=$2; name=$3; check=$4; shift 4
case $base in "~") base=$HOME;; "~/"*) base=$HOME/${base#"~/"};; esac
for python in "$@"; do
  python=$(command -v "$python" 2>/dev/null) || continue
  found=$("$python" -c "$check" "$base/agent/$name" 2>/dev/null) || continue
  printf '%s%s\036%s\036%s%s\n' "$fence" "$base" "$python" "$found" "$fence"
  exit 0
done
printf '%s%s\036\036%s\n' "$fence" "$base" "$fence"
"""
_INSTALL = """
import hashlib, os, sys, tempfile
path, digest = sys.argv[1], sys.argv[2]
data = sys.stdin.buffer.read()
if not hashlib.sha256(data).hexdigest().startswith(digest):
    sys.exit("it arrived damaged")
temp = None
try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fd, temp = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".agent-")
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temp, 0o644)
    os.replace(temp, path)
    temp = None
except OSError as error:
    sys.exit("%s: %s" % (path, error.strerror))
finally:
    if temp is not None:
        os.unlink(temp)
"""
_STARTING = 120.0
_SILENT = 15.0
_FENCE = "\x1e"
_HEAD = 512  # bytes in which a frame tells its type, whatever it carries


class AgentError(UserError):
    """The agent refused a request; `code` names why, for programs."""

    def __init__(self, host: str, message: str, code: str) -> None:
        super().__init__(f"host '{host}': {sanitize(message)}", exit_code=Exit.FAILED)
        self.code = code


@lru_cache(maxsize=4)
def _agent_file(cache: Path) -> AgentFile:
    return build(cache)


@dataclass
class _There:
    """Where things are on the host."""

    base: str
    python: str
    path: str


class AgentClient:
    """The agent of one host over an open transport. Every command goes to `record`."""

    def __init__(
        self, host: Host, transport: Transport, layout: Layout, record: Callable[[CommandRecord], None]
    ) -> None:
        self.host = host
        self.transport = transport
        self.latency_ms: float | None = None
        self._layout = layout
        self._record = record
        self._there: _There | None = None
        self._word = secrets.token_hex(8)

    @property
    def base(self) -> str:
        """The base directory on the host, absolute."""
        return self._where().base

    @property
    def stage_python(self) -> str:
        """The interpreter that stages run under there."""
        if self.host.kind == "local":
            return self.host.python or sys.executable
        return self.host.python or "python3"

    async def connect(self) -> None:
        """Opens the transport and puts the agent in place if it is not there yet.

        Raises `HostUnreachable` and the other errors of a transport, `UserError` when the host has no
        Python ≥ 3.8 or its base directory cannot be written.
        """
        agent = await asyncio.to_thread(_agent_file, self._layout.base / "agent")
        await self.transport.connect()
        await self.measure()
        base, python, found = await self._handshake(agent.name)
        self._there = _There(base, python, f"{base}/agent/{agent.name}")
        if not found.startswith(agent.digest):
            await self._install(agent)

    async def measure(self) -> float:
        """Milliseconds that the smallest command takes, there and back."""
        started = time.monotonic()
        await self.transport.run(["true"], within=30)
        self.latency_ms = (time.monotonic() - started) * 1000
        return self.latency_ms

    async def _handshake(self, name: str) -> tuple[str, str, str]:
        candidates = (
            [sys.executable] if self.host.kind == "local" else ["python3", self.host.python, "python"]
        )
        words = [word for word in candidates if word]
        fence = f"{_FENCE}{self._word}{_FENCE}"
        argv = ["sh", "-c", _HANDSHAKE, "sh", fence, self.host.base_dir, name, _CHECK, *words]
        done = await self._run(argv, shown=f"look for Python and {name} in {self.host.base_dir}")
        fenced = done.stdout.decode(errors="surrogateescape").split(fence)  # a path need not be UTF-8
        told = fenced[1].split(_FENCE) if len(fenced) == 3 else []
        if len(told) != 3:
            said = sanitize((done.stderr or done.stdout).decode(errors="replace")[-200:])
            raise UserError(
                f"host '{self.host.name}' has no usable shell: {said or 'it printed nothing'}",
                exit_code=Exit.UNREACHABLE,
            )
        base, shim, answer = told
        python, _, found = answer.partition("\n")
        if not shim:
            raise UserError(
                f"host '{self.host.name}' has no Python 3.8 or newer ({', '.join(words)})",
                "name one with `hosts add --python PATH`",
                Exit.UNREACHABLE,
            )
        return base, python or shim, found

    async def _install(self, agent: AgentFile) -> None:
        there = self._where()
        data = await asyncio.to_thread(agent.path.read_bytes)
        argv = [there.python, "-c", _INSTALL, there.path, agent.digest]
        done = await self._run(
            argv, data, within=_STARTING, shown=f"put {agent.name} into {there.base}/agent"
        )
        if done.exit_code != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else f"exit {done.exit_code}"
            raise UserError(
                f"cannot put the agent on host '{self.host.name}': {sanitize(reason)}",
                "is --base-dir writable there, with space left?",
                Exit.FAILED,
            )

    async def call(
        self,
        command: str,
        *arguments: str,
        request: Mapping[str, Any] | None = None,
        within: float = 60.0,
        shown: str = "",
    ) -> Json:
        """One command of the agent's; its answer. Raises `AgentError` when it refuses.

        `shown` is what the list of commands tells instead of a request that holds a file's bytes.
        """
        stdin = b"" if request is None else json.dumps(request).encode()
        is_told = bool(shown)
        shown = shown or shlex.join(self._argv(command, *arguments))
        if request is not None and not is_told:
            shown = f"printf %s {_spelled(request)} | {shown}"
        done = await self._run(self._fenced(command, *arguments), stdin, within=within, shown=shown)
        lines = reversed(done.stdout.split(b"\n"))
        answer = next((found for line in lines if (found := self._object(line)) is not None), None)
        if answer is None:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else f"exit {done.exit_code}, no answer"
            raise AgentError(self.host.name, f"the agent failed: {reason}", "no_answer")
        if "error" in answer:
            raise AgentError(self.host.name, str(answer["error"]), str(answer.get("code", "")))
        return answer

    @contextlib.asynccontextmanager
    async def follow(
        self, offsets: Mapping[str, Mapping[str, int]], interval: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Frames of everything new on the host from these byte offsets on, as long as the block lasts.

        They come as the JSON that the agent sent; `frame_of` reads one.
        """
        line = json.dumps({"offsets": offsets, "interval": interval})
        self._record(CommandRecord(time.time(), self.host.name, shlex.join(self._argv("follow"))))
        stream = await self.transport.stream(self._fenced("follow"))
        try:
            await stream.write(line.encode() + b"\n")
            yield self._frames(stream)
        finally:
            await stream.close()

    @contextlib.asynccontextmanager
    async def dialog(self, command: str) -> AsyncIterator[Callable[[Mapping[str, Any]], Awaitable[Json]]]:
        """A command of the agent's that answers each line with one, as long as the block lasts.

        Gives a function that sends a request and returns its answer. It raises `HostUnreachable` on a lost
        link or after `_SILENT` seconds without answer, `AgentError` when the agent refuses.
        """
        self._record(CommandRecord(time.time(), self.host.name, shlex.join(self._argv(command))))
        stream = await self.transport.stream(self._fenced(command))
        frames = self._frames(stream)

        async def ask(request: Mapping[str, Any]) -> Json:
            await stream.write(json.dumps(request).encode() + b"\n")
            try:
                async with asyncio.timeout(_SILENT):
                    content = await anext(frames, None)
            except TimeoutError:
                raise HostUnreachable(self.host.name, f"silent for {_SILENT:g} s") from None
            answer = None if content is None else frame_of(content)
            if answer is None:
                raise HostUnreachable(self.host.name, f"its agent ended `{command}`")
            return answer

        try:
            yield ask
        finally:
            await stream.close()

    async def _frames(self, stream: Stream) -> AsyncIterator[bytes]:
        async for line in stream.lines():
            content = self._content(line)
            if content is None:
                continue
            if b'"type"' not in content[:_HEAD]:
                frame = frame_of(content)
                if frame is None:
                    continue
                if "error" in frame and "type" not in frame:
                    raise AgentError(self.host.name, str(frame["error"]), str(frame.get("code", "")))
            yield content

    async def close(self) -> None:
        """Closes the transport."""
        await self.transport.close()

    def _where(self) -> _There:
        if self._there is None:
            raise HostUnreachable(self.host.name, "not connected")
        return self._there

    def _argv(self, command: str, *arguments: str) -> list[str]:
        there = self._where()
        return [there.python, there.path, command, "--base", there.base, *arguments]

    def _fenced(self, command: str, *arguments: str) -> list[str]:
        """The same, with the word that its answers shall stand behind."""
        python, path, *rest = self._argv(command, *arguments)
        return [python, path, "--fence", self._word, *rest]

    def _content(self, line: bytes) -> bytes | None:
        """What the agent wrote on a line, None for a line of anybody else."""
        _, fence, content = line.rpartition(f"{_FENCE}{self._word}{_FENCE}".encode())
        return content if fence else None

    def _object(self, line: bytes) -> Json | None:
        """The agent's answer in a line, None for a line of anybody else."""
        content = self._content(line)
        return None if content is None else frame_of(content)

    async def _run(
        self, argv: Sequence[str], input: bytes = b"", within: float = 60.0, shown: str = ""
    ) -> Completed:
        started, t, done, error = time.monotonic(), time.time(), None, ""
        try:
            done = await self.transport.run(argv, input, within)
            return done
        except UserError as failure:
            error = str(failure)
            raise
        finally:
            seconds = time.monotonic() - started
            code = None if done is None else done.exit_code
            self._record(CommandRecord(t, self.host.name, shown or shlex.join(argv), code, seconds, error))


def frame_of(content: bytes) -> Json | None:
    """The JSON object that the agent sent, None for what is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _spelled(request: Mapping[str, Any]) -> str:
    """The request as one word for a shell. Values of its environment are secrets: it names the variables."""
    names, mark = list(request.get("env") or ()), secrets.token_hex(8)
    word = shlex.quote(json.dumps({**request, "env": dict.fromkeys(names, mark)} if names else request))
    for name in names:
        # out of the single quotes for as long as the shell puts its own variable there
        word = word.replace(f'"{name}": "{mark}"', f'"{name}": "\'"${name}"\'"')
    return word
