#!/usr/bin/env bash
# tokenizers 0.23.3: encode and Tokenizer.from_str hold the GIL from start to end, encode_batch of the same one text does not.
#
# A thread that encodes a long text, or loads a tokenizer, so that a window or a server goes on answering, stops every other thread:
# encode(text) lets none run until it returns, and threads that call it run one after the other. encode_batch([text]) gives the same
# ids and releases the GIL, with TOKENIZERS_PARALLELISM=false too. Loading has no such form: from_str and from_file need a process
# of their own. (huggingface/tokenizers#1726 says that encode supports threads: that it is safe there.)
#
# Seen with Python 3.11, 2 cores, how often a waiting thread came by, as a share of what it does while nothing runs:
# encode 0.00 · encode_batch of one 0.92 · from_str 0.01
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.23.3
cat >"$folder/try.py" <<'PY'
import os
import threading
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer, models, pre_tokenizers

letters = "abcdefgh"
words = {letter: token for token, letter in enumerate(letters)} | {f"word{token}": token for token in range(8, 300_000)}
tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
text = f"{letters} " * 100_000
saved = tokenizer.to_str()
ticks, done = 0, threading.Event()


def tick():
    global ticks
    while not done.wait(0.001):
        ticks += 1


def rate(call):
    """Ticks of the other thread a second while `call` runs, and what it returned."""
    before, start = ticks, time.perf_counter()
    result = call()
    return (ticks - before) / (time.perf_counter() - start), result


thread = threading.Thread(target=tick)
thread.start()
idle, _ = rate(lambda: time.sleep(1))
alone, one = rate(lambda: tokenizer.encode(text))
batch, (same,) = rate(lambda: tokenizer.encode_batch([text]))
load, _ = rate(lambda: Tokenizer.from_str(saved))
done.set()
thread.join()
assert one.ids == same.ids
seen = {"encode": alone / idle, "encode_batch of one": batch / idle, "from_str": load / idle}
print(" · ".join(f"{name} {share:.2f}" for name, share in seen.items()))
assert max(seen["encode"], seen["from_str"]) < 0.1 and seen["encode_batch of one"] > 0.3, seen
PY
"$folder/venv/bin/python" "$folder/try.py"
