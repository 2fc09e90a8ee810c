#!/usr/bin/env bash
# httpx 0.28.1: Response.iter_lines and aiter_lines end a line at U+2028, U+2029, U+0085 and form feeds too, not only at newlines.
#
# Server-sent events and JSON Lines end lines at newlines alone, and JSON may hold U+2028 unescaped: an answer of a chat model that
# holds one arrives as two lines, the first of which is no JSON and the second no event. httpx decodes to text and then splits as
# str.splitlines does. requests splits the bytes and keeps the line whole.
#
# Seen with Python 3.11: httpx ['data: {"text":"a', 'b"}'] · bytes split at newlines ['data: {"text":"a\u2028b"}']
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check httpx==0.28.1
cat >"$folder/try.py" <<'PY'
import json

import httpx

line = "data: " + json.dumps({"text": "a\u2028b"}, ensure_ascii=False, separators=(",", ":"))
body = (line + "\n\n").encode()
seen = [part for part in httpx.Response(200, content=body).iter_lines() if part]
right = [part.decode() for part in body.split(b"\n") if part]
print("httpx:", ascii(seen), "· bytes split at newlines:", ascii(right))
assert right == [line]
assert seen == ['data: {"text":"a', 'b"}'], seen
PY
"$folder/venv/bin/python" "$folder/try.py"
