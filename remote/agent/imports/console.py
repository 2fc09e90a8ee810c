"""Upstream nanochat's console output as runs: its training lines, evaluations, samples and checkpoints.

One log may hold several programs in a row (a speedrun), a program started again, and one that was resumed.
`Console` is fed whole lines and keeps all it has to remember in `memory`, a JSON object, so that a growing
log is read on from where it was left.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import header, names
from .rows import LATEST, LONGEST_TEXT, MOST_STEP, Row, number_text

if TYPE_CHECKING:
    from .rows import Sink

    Json = dict[str, Any]

# The training line of both eras. What does not match is read word by word.
_N = r"((?:0|[1-9]\d{0,15})\.\d{1,20})"
_STEP = re.compile(
    r"step (\d{1,15})(?:/(\d{1,15}))? \((\d{1,9}\.\d{1,9})%\) \| loss: " + _N + r" \|(?: grad norm: " + _N
    + r" \|)? lrm: " + _N + r" \| dt: " + _N + r"ms \| tok/sec: ([\d,]{1,20}) \| (?:bf16_)?mfu: " + _N
    + r"( \| epoch: (\d{1,9})[^|]*)? \| total time: " + _N + r"m(?: \| eta: " + _N + r"m)?\s*",
    re.ASCII,
)  # fmt: skip
_POINT = re.compile(r"[Ss]tep (\d{1,15})(?:/(\d{1,15}))?\s*(?:\([\d.]+%\)\s*)?\|(.*)", re.ASCII | re.DOTALL)
_LABEL = re.compile(r"(?:\[(?:rank|default)\d{1,5}\]:\s?|\d{1,5}: )(?=[\w<])")
_LABELLED = tuple("[0123456789")
_TASK = re.compile(
    r"Evaluating: ([\w.-]{1,80}) \([^)]*\)\.\.\. accuracy: ([\d.]+|nan) \| centered: (?:-?[\d.]+|nan)"
)
_SPLIT_BPB = re.compile(r"(train|val) bpb: ([\d.]+|nan|inf)\s*")
_CORE = re.compile(r"CORE metric: (-?[\d.]+|nan)\s*")
_CHAT_TASK = re.compile(r"(?:  )?([A-Z][\w-]{1,40})(?: accuracy)?: ([\d.]+|nan)%\s*")
_CHATCORE = re.compile(r"ChatCORE metric: (-?[\d.]+|nan)\s*")
_PEAK = re.compile(r"Peak memory usage: ([\d.]+)MiB\s*")
_ENDED = re.compile(r"(?:Minimum validation bpb|✅ Saved model checkpoint to)\b")
_TIMED = ("eta", "epoch", "total time", "dt")
_SAMPLE = "<|bos|>"
PROMPTS = (
    "The capital of France is",
    "The chemical symbol of gold is",
    "If yesterday was Friday, then tomorrow will be",
    "The opposite of hot is",
    "The planets of the solar system are:",
    "My favorite color is",
    "If 5*x + 3 = 13, then x is",
)
"""What upstream lets its base models continue."""
EVALUATIONS = ("base_eval", "chat_eval")
_LAST_FIGURES = frozenset(("core/core", "chat/ChatCORE", "val/bpb"))
"""With one of these an evaluation may be over; what follows is of it all the same."""
_NO_STEP = -2
"""The last step where there was none: step 0 does not follow it."""
_MOST_TASKS = 100
_MOST_TRACE = 2_000


class Console:
    """Reads lines; `memory` is what it knows so far. `clock` is the time of the line that is read.

    Times of the logger beyond `latest` are of another time zone, and count for nothing.
    """

    def __init__(self, memory: Json) -> None:
        self.memory = memory
        self.latest = LATEST
        self.clock: float = memory.setdefault("clock", 0.0)
        for name, value in (("run", -1), ("last", _NO_STEP), ("attempt", 0), ("total", 0), ("stage", "")):
            memory.setdefault(name, value)
        for name in ("head", "tasks", "results", "facts"):
            memory.setdefault(name, {})
        memory.setdefault("ended", "")
        memory.setdefault("sample", "")
        memory.setdefault("trace", None)

    def feed(self, lines: list[str], sink: Sink) -> None:
        """Takes whole lines, in order."""
        found = sink.found
        memory = self.memory
        match = _STEP.match
        per_token, batch = self._scale()
        clock = self.clock
        for line in lines:
            if line[:1] in _LABELLED:
                line = _LABEL.sub("", line, 1)
            plain = match(line) if line.startswith("step ") else None
            if plain is None:
                self.clock = clock
                self._other(line, sink)
                clock = self.clock
                per_token, batch = self._scale()
                continue
            step, total, _, loss, norm, lrm, dt, speed, mfu, epoch, turn, time, eta = plain.groups()
            at = int(step)
            milliseconds = float(dt)
            clock += milliseconds / 1000
            if memory["head"] or memory["sample"] or memory["trace"] is not None or at != memory["last"] + 1:
                self.clock = clock
                self._place(at, total, self._stage_of(total, epoch), sink)
                per_token, batch = self._scale()
            memory["last"] = at
            text = '{"train/loss":%s,"train/lrm":%s,"train/dt":%.5g,"train/tok_per_sec":%s' % (
                loss, lrm, milliseconds / 1000, speed.replace(",", "").lstrip("0") or "0",
            )  # fmt: skip
            if norm is not None:
                text += ',"train/grad_norm":' + norm
            if mfu != "0.00":  # of hardware whose peak upstream does not know
                text += ',"train/mfu":' + mfu
            if turn is not None:
                text += ',"train/epoch":' + str(int(turn))
            text += ',"train/total_time":%.6g' % (float(time) * 60)
            if batch:
                tokens = (at + 1) * batch
                text += ',"train/total_tokens":%d' % tokens
                if per_token:
                    text += ',"train/total_flops":%.6g' % (tokens * per_token)
            size = int(total) if total else memory["total"]
            share = (at + 1) / size if size else float(plain[3]) / 100
            text += ',"progress":%.6g' % min(1.0, share)
            if eta is not None:
                text += ',"eta_s":%.6g' % (float(eta) * 60)
            found.append(Row(memory["run"], "metric", at, clock, text + "}"))
        self.clock = memory["clock"] = clock

    def finish(self, sink: Sink) -> str:
        """Called at the end of what there is: takes in what waits for a next line. Returns how far it is."""
        self._close_sample(sink)
        self._close_trace(sink)
        self.memory["clock"] = self.clock
        memory = self.memory
        if memory["run"] < 0:
            return ""
        total = f" of {memory['total']}" if memory["total"] else ""
        return f"it ends at step {max(0, memory['last'])}{total}"

    def _scale(self) -> tuple[float, int]:
        facts = self.memory["facts"]
        return facts.get("flops_per_token", 0.0), facts.get("total_batch_size", 0)

    # -- lines that are no training line

    def _other(self, line: str, sink: Sink) -> None:
        memory = self.memory
        line = line.rpartition("\r")[2] if "\r" in line.rstrip("\r") else line.rstrip("\r")
        if memory["trace"] is not None and self._in_trace(line, sink):
            return None
        point = _POINT.match(line)
        if point is not None:
            return self._point(point, sink)
        if line.startswith(_SAMPLE):
            self._close_sample(sink)
            memory["sample"] = line[:LONGEST_TEXT]
            return None
        if line.endswith("Traceback (most recent call last):"):
            self._close_sample(sink)
            memory["trace"] = ""
            return None
        at = header.time_of(line)
        if at is not None and at <= self.latest:
            # The first one is right where the file's own time is that of a copy.
            first = memory["run"] < 0 and not memory.get("dated")
            self.clock = at if first else max(self.clock, at)
            memory["dated"] = True
        if self._evaluated(line, sink) or self._told(line, sink) or header.take(line, memory["head"]):
            self._close_sample(sink)
        elif memory["sample"] and not line.startswith(("wandb:", "-----", "=====", "\x1b")):
            memory["sample"] = (memory["sample"] + "\n" + line)[:LONGEST_TEXT]
        else:
            self._close_sample(sink)
        return None

    def _point(self, point: re.Match[str], sink: Sink) -> None:
        """`Step 00250 | Validation bpb: 0.9`, and training lines of another form."""
        at, total, rest = int(point[1]), point[2], point[3]
        if at > MOST_STEP or "Example step" in rest:
            return
        values: Json = {}
        seconds = None
        for part in re.split(r"\||, (?=[A-Za-z])", rest[:4_000]):
            name, colon, value = part.rpartition(": ")
            if name.strip().lower().startswith("epoch"):
                continue
            spelled = number_text(value.strip().rstrip("ms%").strip()) if colon else ""
            ours = names.of_console(name)
            if ours and spelled and ours not in values:
                values[ours] = float(spelled) if not spelled.startswith('"') else spelled.strip('"')
            elif name.strip() == "dt" and spelled and not spelled.startswith('"'):
                seconds = float(spelled) / 1000
        if not values:
            return
        if values.get("train/mfu") == 0:
            del values["train/mfu"]
        if seconds is not None:
            self.clock += seconds
            values["train/dt"] = seconds
        evaluated = any(map(names.is_evaluation, values))
        self._place(at, total, self._stage_by(values, rest), sink)
        self.memory["last"] = max(at, self.memory["last"]) if evaluated else at
        if evaluated and ("core/core" in values or "chat/ChatCORE" in values):
            values = {**self._take_tasks(), **values}
        if evaluated:
            self.memory["results"].update(values)
        elif total and int(total):
            values["progress"] = min(1.0, (at + 1) / int(total))
        sink.row(self.memory["run"], "eval" if evaluated else "metric", at, self.clock, values)
        for name in [name for name, value in values.items() if isinstance(value, str)]:
            sink.alert(self.memory["run"], "non_finite", f"{name} is {values[name]}", at, self.clock)

    def _stage_of(self, total: str | None, epoch: str | None) -> str:
        """Of a training line: midtraining and fine-tuning do not know how many steps there will be."""
        if total is not None:
            return "base_train"
        return "chat_sft" if epoch is not None else "mid_train"

    def _stage_by(self, values: Json, rest: str) -> str:
        """Of a line that names figures only one stage has; "" where others have them too."""
        if any(name.startswith("rl/") for name in values):
            return "chat_rl"
        if "Training loss" in rest or "val/loss" in values or any(n.startswith("chat/") for n in values):
            return "chat_sft"
        return "base_train" if "core/core" in values else ""

    def _take_tasks(self) -> Json:
        tasks, self.memory["tasks"] = self.memory["tasks"], {}
        return dict(tasks)

    def _evaluated(self, line: str, sink: Sink) -> bool:
        """Figures of evaluations without a step: those of base_eval, base_loss and chat_eval."""
        tasks = self.memory["tasks"]
        found = _TASK.match(line)
        if found is not None:
            if len(tasks) < _MOST_TASKS:
                tasks["core/" + found[1]] = _value(found[2])
            return True
        for pattern, stage, name in (
            (_CORE, "base_eval", "core/core"),
            (_CHATCORE, "chat_eval", "chat/ChatCORE"),
        ):
            found = pattern.fullmatch(line)
            if found is not None:
                self._figures(stage, {**self._take_tasks(), name: _value(found[1])}, sink)
                return True
        found = _SPLIT_BPB.fullmatch(line)
        if found is not None:
            self._figures("base_eval", {f"{found[1]}/bpb": _value(found[2])}, sink)
            return True
        found = _CHAT_TASK.fullmatch(line)
        if found is None:
            return False
        value = _value(found[2])
        share = value / 100 if isinstance(value, float) else value
        if line.startswith("  "):
            if len(tasks) < _MOST_TASKS:
                tasks["chat/" + found[1]] = share
        elif " accuracy: " in line:
            self._figures("chat_eval", {"chat/" + found[1]: share}, sink)
        return True

    def _figures(self, stage: str, values: Json, sink: Sink) -> None:
        memory = self.memory
        if memory["stage"] != stage or memory["head"]:
            name = next(iter(values))
            self._begin(stage, 0, sink, evaluates="bpb" if name.endswith("/bpb") else name.partition("/")[0])
        memory["results"].update(values)
        sink.row(memory["run"], "eval", None, self.clock, values)
        if not _LAST_FIGURES.isdisjoint(values):
            memory["ended"] = "succeeded"
            sink.end(memory["run"], "succeeded", "", self.clock, memory["results"])

    def _told(self, line: str, sink: Sink) -> bool:
        """A checkpoint that was saved, or the lines a program ends with."""
        memory = self.memory
        if memory["run"] < 0:
            return False
        saved = header.checkpoint_of(line)
        if saved is not None:
            path, step, size = saved
            data = {"path": path, "step": step, "bytes": size}
            sink.row(memory["run"], "checkpoint", step, self.clock, data)
            return True
        peak = _PEAK.fullmatch(line)
        if peak is not None:
            if float(peak[1]):
                memory["results"]["peak_memory_mib"] = float(peak[1])
            return True
        if _ENDED.match(line) and memory["stage"] not in ("", *EVALUATIONS) and not memory["ended"]:
            more = memory["stage"] == "chat_rl" and memory["last"] + 1 < memory["total"]
            if not more:
                memory["ended"] = "succeeded"
                sink.end(memory["run"], "succeeded", "", self.clock, memory["results"])
            return True
        return False

    # -- samples and errors

    def _close_sample(self, sink: Sink) -> None:
        text = self.memory["sample"]
        if not text:
            return
        self.memory["sample"] = ""
        if self.memory["run"] < 0 or self.memory["head"]:
            return
        text = text[len(_SAMPLE) :].rstrip("\n")
        prompt = next((known for known in PROMPTS if text.startswith(known)), "")
        step = None if self.memory["stage"] in EVALUATIONS else max(0, self.memory["last"])
        data = {"prompt": prompt, "text": text[len(prompt) :], "mode": "greedy" if prompt else "sampled"}
        sink.row(self.memory["run"], "sample", step, self.clock, data)

    def _in_trace(self, line: str, sink: Sink) -> bool:
        """Takes a line of a traceback; the first that is not indented names the error."""
        if line.startswith((" ", "\t")) or not line.strip():
            return True
        self.memory["trace"] = line[:_MOST_TRACE]
        self._close_trace(sink)
        return True

    def _close_trace(self, sink: Sink) -> None:
        error, self.memory["trace"] = self.memory["trace"], None
        if error and self.memory["run"] >= 0 and not self.memory["ended"] and not self.memory["head"]:
            self.memory["ended"] = "failed"
            sink.end(self.memory["run"], "failed", error, self.clock, self.memory["results"])
        elif error == "":
            self.memory["trace"] = ""  # its last line is still to come

    # -- where a line belongs

    def _place(self, at: int, total: str | None, stage: str, sink: Sink) -> None:
        """Begins a run or an attempt where a line at step `at` is not the next one of the present run."""
        self._close_sample(sink)
        self._close_trace(sink)
        memory = self.memory
        head = memory["head"]
        resumed = head.pop("resume", None)
        known = memory["run"] >= 0 and memory["stage"] not in EVALUATIONS
        same = known and (not stage or stage == memory["stage"] or not memory["stage"])
        stage = header.stage_of(head) or stage or (memory["stage"] if same else "") or "base_train"
        same = known and stage == memory["stage"]
        size = int(total) if total else 0
        if same and resumed is not None and resumed <= memory["last"] + 1:
            self._again(resumed, size, sink)
        elif not same or head or (at == 0 and memory["last"] > 0):
            self._begin(stage, size, sink, at if resumed is None else resumed)
        elif at < memory["last"] or memory["ended"]:
            self._again(at, size, sink)
        elif size and size != memory["total"]:
            memory["total"] = size

    def _begin(self, stage: str, total: int, sink: Sink, step: int = 0, evaluates: str = "") -> None:
        memory = self.memory
        if memory["run"] >= 0 and not memory["ended"]:
            self._end_before(sink)
        head, memory["head"] = memory["head"], {}
        facts, options = header.facts_of(head, evaluates), header.options_of(head)
        total = total or facts.get("steps", 0)
        last = _NO_STEP if stage in EVALUATIONS else step
        memory.update(run=memory["run"] + 1, stage=stage, total=total, last=last, attempt=1, ended="")
        memory.update(results={}, facts=facts, options=options)
        sink.start(memory["run"], stage, self.clock, "", options)
        about = {"stage": stage, "options": options, "info": facts}
        sink.attempt(memory["run"], 1, step, total, self.clock, about)

    def _again(self, step: int, total: int, sink: Sink) -> None:
        """The same run goes on from an earlier step: what came after it before counts no more."""
        memory = self.memory
        memory["head"] = {}
        memory["attempt"] += 1
        memory.update(last=step, ended="", total=total or memory["total"])
        about = {"stage": memory["stage"], "options": memory.get("options", {}), "info": memory["facts"]}
        sink.attempt(memory["run"], memory["attempt"], step, memory["total"], self.clock, about)

    def _end_before(self, sink: Sink) -> None:
        """The present run ends, as another begins in the same log."""
        memory = self.memory
        if memory["stage"] in EVALUATIONS:
            sink.end(memory["run"], "succeeded", "", self.clock, memory["results"])
            return
        total = f" of {memory['total']}" if memory["total"] else ""
        why = f"its log breaks off at step {max(0, memory['last'])}{total}; another run begins after it"
        sink.end(memory["run"], "failed", why, self.clock, memory["results"])


def _value(text: str) -> float | str:
    spelled = number_text(text)
    return spelled.strip('"') if spelled.startswith('"') or not spelled else float(spelled)
