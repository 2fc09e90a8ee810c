"""A stage for the agent's tests: writes events, prints, and ends the way its arguments say.

Arguments are KEY=VALUE: steps, delay (s), end (the status of its stage_end event, or none), error, exit,
signal (kills itself with it), ignore (signals to shrug off, such as INT,TERM), save (s it takes to stop
when asked), child (1: a child in the stage's group; 2: one in a session of its own; both shrug off
signals), wait (a file it waits for before it ends). 2:KEY=VALUE holds from the second attempt on.
Runs under any Python from 3.8 and needs nothing.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

RUN_DIR = Path(os.environ["NANOCHAT_RUN_DIR"])
ATTEMPT = int(os.environ["NANOCHAT_ATTEMPT"])
ARGS = {}
for item in sys.argv[1:]:
    key, value = item.split("=", 1)
    first, _, name = key.rpartition(":")
    if int(first or "1") <= ATTEMPT:
        ARGS[name] = value
STUBBORN = """
import signal, sys, time
for number in (1, 2, 15):
    signal.signal(number, signal.SIG_IGN)
open(sys.argv[1], "w").close()
time.sleep(600)
"""


class Log:
    def __init__(self, path):
        self.seq = len(path.read_bytes().splitlines()) if path.exists() else 0
        self.file = path.open("a")

    def emit(self, kind, data, step=None):
        event = {"seq": self.seq, "t": time.time(), "kind": kind, "step": step, "data": data}
        self.file.write(json.dumps(event) + "\n")
        self.file.flush()
        self.seq += 1


def main():
    asked = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: asked.append(n))
    for name in filter(None, ARGS.get("ignore", "").split(",")):
        signal.signal(getattr(signal, "SIG" + name), signal.SIG_IGN)
    log = Log(RUN_DIR / "events.jsonl")
    start = {"stage": "fake", "attempt": ATTEMPT, "from_step": 0, "total_steps": 0, "unit": "step"}
    log.emit("stage_start", start)
    if "child" in ARGS:
        start_child(ARGS["child"] == "2")
    for step in range(int(ARGS.get("steps", "3"))):
        log.emit("metric", {"train/loss": 1.0 / (step + 1)}, step)
        print("step", step, flush=True)
        time.sleep(float(ARGS.get("delay", "0.02")))
        if asked:
            time.sleep(float(ARGS.get("save", "0")))
            log.emit("stage_end", {"status": "stopped", "error": "stopped, as asked", "results": {}})
            return 4
    while "wait" in ARGS and not Path(ARGS["wait"]).exists():
        time.sleep(0.02)
    if "signal" in ARGS:
        os.kill(os.getpid(), int(ARGS["signal"]))
    end = ARGS.get("end", "succeeded")
    if end != "none":
        log.emit("stage_end", {"status": end, "error": ARGS.get("error", ""), "results": {}})
    return int(ARGS.get("exit", "0"))


def start_child(own_session):
    ready = RUN_DIR / "child.ready"
    argv = [sys.executable, "-c", STUBBORN, str(ready)]
    child = subprocess.Popen(argv, start_new_session=own_session)
    while not ready.exists():
        time.sleep(0.01)
    temp = RUN_DIR / "child.tmp"
    temp.write_text(str(child.pid))
    temp.rename(RUN_DIR / "child.pid")


if __name__ == "__main__":
    sys.exit(main())
