#!/usr/bin/env bash
# asyncssh 2.24.1: `import asyncssh` starts ldconfig, and gcc and ld where they are installed.
#
# Its modules for post-quantum key exchange (liboqs) and for umac (nettle) look for C libraries with
# ctypes.util.find_library as they are imported. On Linux that runs `ldconfig -p`, then `gcc -Wl,-t -l…` and `ld -t -l…` for each
# library that ldconfig does not know. Nothing is cached: every process that imports asyncssh pays it, connecting or not.
#
# Seen with Python 3.11 on Debian, gcc and ld installed, without liboqs: ldconfig 3 times, gcc 2, ld 2.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check asyncssh==2.24.1
cat >"$folder/try.py" <<'PY'
import os
import sys
from collections import Counter

started: Counter[str] = Counter()


def hear(event, arguments):
    if event == "subprocess.Popen":
        started[os.path.basename(os.fsdecode(arguments[0]))] += 1


sys.addaudithook(hear)
import asyncssh

print(f"asyncssh {asyncssh.__version__} was imported; programs it started: {dict(started)}")
assert started["ldconfig"] >= 1, started
PY
"$folder/venv/bin/python" "$folder/try.py"
