#!/usr/bin/env bash
# asyncssh 2.24.1: one line of known_hosts that it cannot read takes every other line with it, by errors of two families.
#
# OpenSSH passes over such lines (`ssh-keygen -F other -f FILE` finds the good one). asyncssh passes over key types it does not
# know, but a line of one word, or one with a marker and no key, is a ValueError for the whole file, and an RSA key whose modulus
# was damaged into a negative number an OverflowError, which a handler of ValueError misses.
#
# Seen with Python 3.11: unknown type → 1 key; one word → ValueError; marker alone → ValueError; negative RSA → OverflowError
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check asyncssh==2.24.1
cat >"$folder/try.py" <<'PY'
import base64

import asyncssh

good = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
words = [b"ssh-rsa", b"\x01\x00\x01", b"\xff" * 256]
negative = base64.b64encode(b"".join(len(word).to_bytes(4, "big") + word for word in words)).decode()
lines = {
    "unknown type": "node no-such-type AAAAB3NzaC1yc2E=",
    "one word": "node",
    "marker alone": "@revoked node",
    "negative RSA": f"node ssh-rsa {negative}",
}
seen = {}
for name, line in lines.items():
    try:
        seen[name] = len(asyncssh.import_known_hosts(f"other {good}\n{line}\n").match("other", "", None)[0])
    except Exception as error:
        seen[name] = type(error).__name__
print(seen)
assert seen == {
    "unknown type": 1, "one word": "ValueError", "marker alone": "ValueError", "negative RSA": "OverflowError",
}, seen
PY
"$folder/venv/bin/python" "$folder/try.py"
