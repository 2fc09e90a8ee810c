#!/usr/bin/env bash
# huggingface_hub 2.4.0: a download that is killed is neither resumed nor cleaned up by the next one.
#
# What it wrote lies in blobs/SHA.RANDOM.incomplete. The next process takes another random name, asks for the whole file
# again (no Range header), and leaves the first part where it is, for good. Within one process a broken connection is
# resumed. A guess from older versions (blobs/SHA.incomplete, continued by a later process) is wrong.
#
# Seen with Python 3.11 on Linux: 24 MiB file, process killed with 20 MiB on disk →
#   second process asked for: bytes from 0; left in the cache: one part of 20971520 bytes
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check huggingface_hub==2.4.0
cat >"$folder/try.py" <<'PY'
import hashlib, http.server, os, pathlib, subprocess, sys, threading, time

BODY = bytes(range(256)) * (24 << 12)
SHA = hashlib.sha256(BODY).hexdigest()
asked, stalls = [], threading.Event()
stalls.set()


class Hub(http.server.BaseHTTPRequestHandler):
    """Just enough of the hub: where a file is, and the file, by range."""

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        asked.append(self.headers.get("Range", "bytes from 0"))
        self.answer(BODY)

    def answer(self, body):
        self.send_response(200)
        for name, value in {
            "X-Repo-Commit": "0" * 40, "ETag": f'"{SHA}"', "X-Linked-Etag": f'"{SHA}"',
            "X-Linked-Size": len(BODY), "Accept-Ranges": "bytes", "Content-Length": len(BODY),
        }.items():
            self.send_header(name, str(value))
        self.end_headers()
        if not stalls.is_set():
            self.wfile.write(body)
        elif body:
            self.wfile.write(body[: 22 << 20])
            self.wfile.flush()
            time.sleep(20)  # the rest never comes: the process is killed meanwhile

    def log_message(self, *words):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
home = pathlib.Path(sys.argv[1])
env = os.environ | {
    "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(home),
    "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
}
code = "from huggingface_hub import hf_hub_download as get; get('org/name', 'data.bin', repo_type='dataset')"
parts = lambda: [path.stat().st_size for path in home.rglob("*.incomplete")]
killed = subprocess.Popen([sys.executable, "-c", code], env=env)
until = time.monotonic() + 60
while not any(parts()) and time.monotonic() < until:
    time.sleep(0.1)
time.sleep(1)
killed.kill()
killed.wait()
on_disk = parts()
asked.clear(); stalls.clear()
subprocess.run([sys.executable, "-c", code], env=env, check=True)
print(f"killed with {on_disk[0] >> 20} MiB on disk; second process asked for: {asked[0]}; left: {parts()}")
assert on_disk[0] >= 10 << 20, on_disk
assert asked == ["bytes from 0"], asked
assert parts() == on_disk, parts()
PY
"$folder/venv/bin/python" "$folder/try.py" "$folder/home"
