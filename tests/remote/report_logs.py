"""A whole pipeline as event logs, in a store: every stage of the plan, evaluated at base, mid, sft and rl."""

from collections.abc import Mapping
from typing import Any

from evaluation_logs import log_of

from nanochat.config.known_tasks import CHAT_TASKS, CORE_TASKS
from remote.store.store import Store

PLAN = "20261130-080000-ab12"
BEGAN = 1_796_000_000.0
MODELS = {
    "base": ("base_train", "base", 300),
    "mid": ("mid_train", "mid", 200),
    "sft": ("chat_sft", "chatsft", 100),
    "rl": ("chat_rl", "chatrl", 30),
}
SYSTEM = {
    "hostname": "node7", "platform": "Linux-6.1", "cpu": "EPYC", "cores": 16, "ram": 128 << 30,
    "python": "3.11.7", "torch": "2.9.1", "driver": "570.1", "cuda": "12.8",
    "gpus": [{"name": "NVIDIA H100", "bytes": 80 << 30}] * 8,
}  # fmt: skip
COMMIT = "0123456789abcdef0123456789abcdef01234567"
Said = tuple[str, int | None, dict[str, Any]]


def path_of(source: str) -> str:
    """The checkpoint that a source's training ends with."""
    _, folder, step = MODELS[source]
    return f"/far/{folder}_checkpoints/p/step_{step:06d}"


def begin(stage: str, info: Mapping[str, Any], attempt: int = 1, from_step: int = 0, **options: Any) -> Said:
    """A stage_start that tells its machine."""
    data = {
        "stage": stage, "attempt": attempt, "from_step": from_step, "total_steps": 300, "unit": "step",
        "options": {"depth": 4, **options}, "info": dict(info), "system": SYSTEM,
    }  # fmt: skip
    return "stage_start", None, data


def end(status: str = "succeeded", error: str = "", **results: Any) -> Said:
    """A stage_end."""
    return "stage_end", None, {"status": status, "error": error, "results": results}


def training(source: str, after: str = "", steps: int = 12) -> list[Said]:
    """A training's events: curves, an evaluation, a sample, a checkpoint."""
    stage, _, step = MODELS[source]
    info: dict[str, Any] = {"params": 7_340_162, "device": "cuda", "checkpoint_dir": path_of(source)[:-12]}
    info |= {"started_from": path_of(after)} if after else {}
    found = [begin(stage, info)]
    for at in range(steps):
        values = {
            "train/loss": 4 - at / steps,
            "train/lrm": 1.0,
            "train/mfu": 40.0 + at,
            "progress": at / steps,
        }
        found.append(("metric", at, values))
    found.append(("eval", 0, {"val/bpb": 3.25}))
    found.append(("eval", step, {"val/bpb": 1.5}))
    found.append(
        ("sample", step, {"prompt": "The sky is", "text": f"{source} <b>blue</b> `x` | & ```", "mode": ""})
    )
    found.append(("checkpoint", step, {"path": path_of(source), "step": step, "bytes": 1 << 20}))
    results: dict[str, Any] = {"val/bpb": 1.5, "tok_per_sec": 12345.0, "checkpoint": path_of(source)}
    found.append(end(**results))
    return found


def judged(source: str, kind: str) -> list[Said]:
    """An evaluation's events: every task, then the mean."""
    step = MODELS[source][2]
    info = {"checkpoint": path_of(source), "checkpoint_step": step, "dtype": "bfloat16", "eval": ["core"]}
    stage, tasks, mean = (
        ("base_eval", CORE_TASKS, "core/core")
        if kind == "core"
        else ("chat_eval", CHAT_TASKS, "chat/ChatCORE")
    )
    found = [begin(stage, {**info, "tasks": list(tasks)}, source=source, model_tag="p")]
    for number, task in enumerate(tasks):
        name = f"{kind}/{task}"
        found.append(("eval", step, {name: figure(source, number), f"{name}_stderr": 0.0125}))
    found.append(
        ("eval", step, {mean: figure(source, 40 if kind == "core" else 45), f"{mean}_stderr": 0.0075})
    )
    return [*found, end()]


def figure(source: str, number: int) -> float:
    """A share that no other cell of the table has."""
    return round(0.1 + 0.0103 * number + 0.0007 * [*MODELS].index(source), 4)


class Plan:
    """Runs of one plan in a store, one after the other, each `seconds` long."""

    def __init__(self, store: Store, host: str = "box", plan: str = PLAN, name: str = "pipeline") -> None:
        self.store, self.host, self.plan, self.name = store, host, plan, name
        self.count, self.now = 0, BEGAN
        self.ids: dict[str, str] = {}

    def run(
        self,
        name: str,
        stage: str,
        said: list[Said] | None,
        *,
        status: str = "succeeded",
        reason: str = "",
        seconds: float = 600.0,
        needs: tuple[str, ...] = (),
        **options: Any,
    ) -> str:
        """Takes in a run and returns its key; `said` is None for one that never started."""
        run_id = f"{(self.plan or PLAN)[:15]}-{stage}-{self.count:04x}"
        place = {
            "id": self.plan, "name": self.name, "index": self.count,
            "needs": [self.ids[need] for need in needs],
        }  # fmt: skip
        told = {
            "run_id": run_id, "name": name, "stage": stage, "created_at": BEGAN + self.count * 0.001,
            "plan": place if self.plan else None, "options": options,
            "code": {"version": "0.2.0", "sha": COMMIT},
            "argv": ["python", "-m", f"nanochat.stages.{stage}"],
        }  # fmt: skip
        ran = said is not None
        state = {
            "run_id": run_id, "status": status, "attempt": 1 if ran else 0, "reason": reason,
            "started_at": self.now if ran else None, "ended_at": self.now + seconds,
            "heartbeat": self.now + seconds,
        }  # fmt: skip
        self.store.ingest_state(self.host, told, state)
        if said is not None:
            self.store.ingest(self.host, run_id, "events.jsonl", 0, log_of(*said, t=self.now + 1))
            self.now += seconds
        self.count += 1
        self.ids[name] = run_id
        return f"{self.host}/{run_id}"


def whole(store: Store, host: str = "box") -> Plan:
    """A plan through all its stages."""
    plan = Plan(store, host)
    plan.run("tok_train", "tok_train", [begin("tok_train", {}), end(vocab_size=4096)], vocab_size=4096)
    before = ""
    for source, (stage, _, _) in MODELS.items():
        last = MODELS[before][0] if before else "tok_train"
        plan.run(stage, stage, training(source, before), needs=(last,), model_tag="p")
        for kind, judge in (("core", "base_eval"), ("chat", "chat_eval")):
            name = f"{judge}_{source}"
            plan.run(name, judge, judged(source, kind), needs=(stage,), source=source, model_tag="p")
        before = source
    return plan
