#!/usr/bin/env bash
# Textual 8.2.8: a line that was painted at its own width holds itself, so only the garbage collector ever frees it.
#
# Strip keeps what its methods return in a cache of its own. Where nothing has to be cut or padded, which is so for every line that
# a widget makes as wide as it is, that is the strip itself: a cycle. Reference counting then frees no painted line, and an app
# that paints many (streamed text, a log) leaves eight objects a line to one long collection, which holds the event loop.
#
# Seen with Python 3.11, the collector off, 1,000 strips made and dropped: untouched → 0 left; crop_extend to the own width →
# 1,000 left; the cache cleared before they are dropped → 0 left
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check textual==8.2.8
cat >"$folder/try.py" <<'PY'
import gc

from rich.segment import Segment
from textual.strip import Strip

WIDTH = 20


def left(use):
    """How many of 1,000 strips are still there after `use` of each, with nobody holding them."""
    gc.collect()
    for _ in range(1000):
        strip = Strip([Segment("x" * WIDTH)], WIDTH)
        use(strip)
        del strip
    return sum(isinstance(thing, Strip) for thing in gc.get_objects())


def painted(strip):
    assert strip.crop_extend(0, WIDTH, None) is strip


def cleared(strip):
    painted(strip)
    for name in ("_line_length_cache", "_crop_extend_cache", "_crop_cache", "_divide_cache"):
        getattr(strip, name).clear()


gc.disable()
seen = {"untouched": left(lambda strip: None), "painted": left(painted), "cleared": left(cleared)}
print(seen)
assert seen == {"untouched": 0, "painted": 1000, "cleared": 0}, seen
PY
"$folder/venv/bin/python" "$folder/try.py"
