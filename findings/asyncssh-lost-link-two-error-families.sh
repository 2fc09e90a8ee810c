#!/usr/bin/env bash
# asyncssh 2.24.1: one lost connection raises errors of two families, by which side of the process is used next.
#
# Reading from a process whose connection broke raises asyncssh.ConnectionLost, a DisconnectError, which is no OSError;
# draining its input raises BrokenPipeError, which is one. A handler written after either misses the other, and a handler of
# OSError, which serves for every socket and pipe of asyncio, misses the read. Waiting for the process then raises nothing.
#
# Seen with Python 3.11: read → ConnectionLost (no OSError); drain → BrokenPipeError; wait → exit_status None
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check asyncssh==2.24.1
cat >"$folder/try.py" <<'PY'
import asyncio

import asyncssh


class Server(asyncssh.SSHServer):
    connection = None

    def connection_made(self, connection):
        Server.connection = connection

    def begin_auth(self, username):
        return False


async def serve(process):
    process.stdout.write("hello\n")
    await process.stdout.drain()
    await asyncio.sleep(60)


async def main():
    key = asyncssh.generate_private_key("ssh-ed25519")
    listener = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], process_factory=serve
    )
    seen = {}
    async with asyncssh.connect(
        "127.0.0.1", listener.get_port(), known_hosts=None, config=[], username="x", client_keys=None
    ) as connection:
        process = await connection.create_process("anything")
        assert await process.stdout.readline() == "hello\n"
        Server.connection.abort()  # as when the machine is gone
        try:
            await process.stdout.read(10)
        except Exception as error:
            seen["read"] = type(error).__name__, isinstance(error, OSError)
        try:
            process.stdin.write("x")
            await process.stdin.drain()
        except Exception as error:
            seen["drain"] = type(error).__name__, isinstance(error, OSError)
        seen["wait"] = (await process.wait(check=False)).exit_status
    listener.close()
    return seen


seen = asyncio.run(main())
print(seen)
assert seen == {"read": ("ConnectionLost", False), "drain": ("BrokenPipeError", True), "wait": None}, seen
PY
timeout 60 "$folder/venv/bin/python" "$folder/try.py"
