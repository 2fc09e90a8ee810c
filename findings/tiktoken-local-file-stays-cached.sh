#!/usr/bin/env bash
# tiktoken 0.14.0: load_tiktoken_bpe caches a local rank file under its path, and gives the old ranks after the file has changed.
#
# The cache is for downloads, but `read_file_cached` takes any path: the copy lies in TIKTOKEN_CACHE_DIR (else a folder of the
# system's temporary one, which outlives the process) as the sha1 of the path. Without `expected_hash` nothing compares it with
# the file, so a tokenizer that is trained again under the same name loads as the one before, silently; even a deleted file loads.
# TIKTOKEN_CACHE_DIR="" turns the cache off. (openai/tiktoken#500 names the unchecked copies, as a way to plant a wrong one.)
#
# Seen with Python 3.11: the second write [b'a'] · the file gone [b'a'] · expected_hash [b'b'] · a third write, no cache [b'c']
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tiktoken==0.14.0
cat >"$folder/try.py" <<'PY'
import base64
import hashlib
import os
from pathlib import Path

from tiktoken.load import load_tiktoken_bpe

folder = Path(__file__).parent
cache = folder / "cache"
os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)
ranks = folder / "ranks.tiktoken"


def write(token):
    ranks.write_bytes(base64.b64encode(token) + b" 0\n")


def read(**options):
    return list(load_tiktoken_bpe(str(ranks), **options))


write(b"a")
seen = {"the first write": read()}
assert [path.name for path in cache.iterdir()] == [hashlib.sha1(str(ranks).encode()).hexdigest()]
write(b"b")
seen["the second write"] = read()
content = ranks.read_bytes()
ranks.unlink()
seen["the file gone"] = read()
ranks.write_bytes(content)
seen["expected_hash"] = read(expected_hash=hashlib.sha256(content).hexdigest())
write(b"c")
os.environ["TIKTOKEN_CACHE_DIR"] = ""
seen["a third write, no cache"] = read()
print(" · ".join(f"{name}: {tokens}" for name, tokens in seen.items()))
assert list(seen.values()) == [[b"a"], [b"a"], [b"a"], [b"b"], [b"c"]], seen
PY
"$folder/venv/bin/python" "$folder/try.py"
