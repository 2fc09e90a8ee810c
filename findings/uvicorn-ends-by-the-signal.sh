#!/usr/bin/env bash
# uvicorn 0.54.0: after a clean shutdown at SIGTERM the process ends by that signal, and nothing after Server.run() is done.
#
# Server.serve() catches SIGTERM, lets what runs finish, then puts the former handlers back and raises the signal again. A program
# that wants to leave with 0, to print a last line or to unload its models has to hold the signals itself. SIGINT does come back,
# as KeyboardInterrupt.
#
# Seen with Python 3.11: SIGTERM: exit -15, printed "shut down" · SIGINT: exit 0, printed "shut down", "interrupted"
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0
cat >"$folder/serve.py" <<'PY'
import signal
import uvicorn

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background leaves it ignored


async def app(scope, receive, send):
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
            print("ready", flush=True)
        elif message["type"] == "lifespan.shutdown":
            print("shut down", flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return


try:
    uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="on")).run()
    print("after run", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
PY
cat >"$folder/try.py" <<'PY'
import signal
import subprocess
import sys

seen = {}
for number in (signal.SIGTERM, signal.SIGINT):
    server = subprocess.Popen([sys.executable, sys.argv[1]], stdout=subprocess.PIPE, text=True)
    first = server.stdout.readline()
    server.send_signal(number)
    seen[number.name] = (server.wait(20), [first.strip(), *server.stdout.read().split("\n")[:-1]])
print(seen)
assert seen == {"SIGTERM": (-15, ["ready", "shut down"]), "SIGINT": (0, ["ready", "shut down", "interrupted"])}, seen
PY
"$folder/venv/bin/python" "$folder/try.py" "$folder/serve.py"
