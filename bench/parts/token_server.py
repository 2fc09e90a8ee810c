"""A server of language models that sends tokens at a steady rate and notes when.

OpenAI's API as far as chats need it, models m0 to m3. `history N` as the last question gives N tokens as fast
as they are taken, `stream N R` N tokens at R a second. Token i of model m is ` m-00000i`, so that each can be
told on a screen; `log_file` gets a JSON line `{"mark": …, "t": unix time}` for each of a stream, and
`{"done": model}` at the end of every answer.
"""

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any, TextIO

MODELS = 4
PARAGRAPH = 40
"""Tokens between two empty lines."""
WORDS = ("the", "of", "and", "to", "it", "is", "was", "that", "he", "for", "on", "are", "with", "they")


def mark(model: str, number: int) -> str:
    """The text that token `number` of `model` is known by."""
    return f"{model}-{number:06d}"


class TokenServer:
    """Answers until the process ends."""

    def __init__(self, log: TextIO) -> None:
        self._log = log
        self._random = random.Random(0)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: request after request."""
        while line := await reader.readline():
            method, path, _ = line.decode("latin-1").split(" ", 2)
            length = 0
            while (header := (await reader.readline()).decode("latin-1").strip()) != "":
                name, _, value = header.partition(":")
                if name.lower() == "content-length":
                    length = int(value)
            body = json.loads(await reader.readexactly(length)) if length else {}
            if method == "POST" and path.endswith("/chat/completions"):
                await self._chat(body, writer)
            else:
                models = [
                    {"id": f"m{number}", "object": "model", "owned_by": "bench"} for number in range(MODELS)
                ]
                self._whole({"object": "list", "data": models}, writer)
            await writer.drain()
        writer.close()

    def _whole(self, document: Any, writer: asyncio.StreamWriter) -> None:
        raw = json.dumps(document).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        writer.write(head.encode() + raw)

    async def _chat(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        model = str(body["model"]).rpartition("/")[2]
        what, *numbers = _question(body).split()
        count = int(numbers[0]) if numbers else 1
        rate = float(numbers[1]) if len(numbers) > 1 else 0.0
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        began = time.time()
        for number in range(count):
            said = " " + (mark(model, number) if what == "stream" else self._random.choice(WORDS))
            if number % PARAGRAPH == PARAGRAPH - 1:
                said += ".\n\n"
            event = self._event(
                model, {"content": said}, self._logprobs(said) if body.get("logprobs") else None
            )
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.time()))
                self._note({"mark": mark(model, number), "t": time.time()})
            writer.write(event)
            await writer.drain()
        usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}
        writer.write(self._event(model, {}, None, "stop"))
        writer.write(_chunk({"model": model, "choices": [], "usage": usage}))
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        self._note({"done": model})

    def _event(self, model: str, delta: Any, logprobs: Any, reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return _chunk(
            {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
        )

    def _logprobs(self, said: str) -> Any:
        token = {"token": said, "logprob": -0.2, "bytes": list(said.encode())}
        others = [f" {self._random.choice(WORDS)}" for _ in range(4)]
        top = [{"token": one, "logprob": -3.0, "bytes": list(one.encode())} for one in others]
        return {"content": [{**token, "top_logprobs": [token, *top]}]}

    def _note(self, line: dict[str, Any]) -> None:
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()


def _question(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    return str(content)


def _chunk(document: Any) -> bytes:
    raw = b"data: " + json.dumps(document).encode() + b"\n\n"
    return f"{len(raw):x}\r\n".encode() + raw + b"\r\n"


def serve(port_file: str, log_file: str) -> None:
    """Never ends. Writes its port to `port_file`."""

    def tell(port: int) -> None:
        Path(port_file).write_text(str(port), encoding="utf-8")

    async def main(log: TextIO) -> None:
        server = await asyncio.start_server(TokenServer(log).connected, "127.0.0.1", 0)
        tell(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with Path(log_file).open("w", encoding="utf-8") as log:
        asyncio.run(main(log))
