"""A stand-in for a host's interpreter that serves without a model: ready at once, asks for its key.

Everything around it is real: agent, keeper, leases. What it does is in the file `mode` beside it.
"""

import sys
from pathlib import Path

_PROGRAM = """#!{python}
import http.server, json, os, signal, sys, time
mode = open({mode!r}).read()
if sys.argv[1] == "-c":
    version, serves = {{"old": ("0.0.9", False), "missing": ("", False)}}.get(mode, ("0.1.0", True))
    print("a login file's words")
    print(json.dumps({{"nanochat": version, "serves": serves, "error": ""}}))
    sys.exit()
assert sys.argv[1:3] == ["-m", "nanochat.stages.chat_web"], sys.argv
if mode == "refuses":
    print("some warning\\nnanochat: error: no CUDA device is used here (models run on: cpu)", file=sys.stderr)
    sys.exit(2)
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.headers.get("Authorization") == "Bearer " + os.environ["NANOCHAT_API_KEY"]
        body = b'nanochat_model_idle_seconds{{model="sft/d2",step="8"}} 12.5\\n' if known else b"no"
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
if mode != "slow":
    print(json.dumps({{"url": "http://127.0.0.1:%d" % server.server_port, "models": ["sft/d2"]}}), flush=True)
server.serve_forever()
"""


def fake_server_python(folder: Path, mode: str = "fine") -> Path:
    """An executable to be named as a host's interpreter."""
    path, told = folder / "a python", folder / "mode"
    told.write_text(mode)
    path.write_text(_PROGRAM.format(python=sys.executable, mode=str(told)))
    path.chmod(0o755)
    return path
