"""Whole screens as pictures at 80×24, 120×40 and 200×60, dark and light, from one set of real events."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from textual.pilot import Pilot

from bench.parts.evaluations import choice_record, sampled_record
from nanochat.serve.answer_tokens import AnswerToken, Guess
from nanochat.serve.conversation import AnswerSettings, Conversation, Part, Turn
from remote.hosts.book import Host, HostBook
from remote.store.evaluations import Evaluation
from tests.tui.conftest import Bench, settle, training_events
from tests.tui.screens import checkpoints_bench
from tests.tui.screens.chat_bench import HostServices, checkpoint
from tests.tui.screens.evals_bench import (
    chat_tasks,
    core_tasks,
    evaluation,
    install,
    published,
    write_items,
)
from tests.tui.screens.vocabulary_bench import opened
from tui.app import ControlRoom
from tui.data.tokenizer.samples import SAMPLES
from tui.screens.checkpoints.screen import CheckpointsScreen
from tui.screens.column_dialog import ColumnDialog
from tui.screens.evals.screen import EvalsScreen
from tui.screens.tokenizer.replay import ReplayScreen
from tui.screens.tokenizer.screen import TokenizerScreen
from tui.widgets.chat.pane_view import PaneView
from tui.widgets.form import FieldRow
from tui.widgets.log_view import LogView
from tui.widgets.plot import Plot
from tui.widgets.run_preview import RunPreview

pytest.importorskip("pytest_textual_snapshot")
SIZES = [(80, 24), (120, 40), (200, 60)]
Act = Callable[[ControlRoom, Pilot[str]], Awaitable[None]]

pytestmark = pytest.mark.usefixtures("frozen_clock")


@pytest.fixture
def full(bench: Bench) -> Bench:
    """A plan half way through, an ended run on another host, and a failed one."""
    plan = {"id": "p1", "name": "demo"}
    bench.run("d4", status="failed", host="box", age=9000, state={"reason": "CUDA out of memory"})
    tokenizer = bench.run("tok_train", "tok_train", age=700, plan=plan)
    end = {"status": "succeeded", "error": "", "results": {"tok/bytes_per_token": 3.498}}
    bench.events(tokenizer, [{"kind": "stage_end", "data": end}])
    live = bench.run("base_train", status="running", age=600, plan=plan)
    bench.training(live, steps=260, total=400)
    sample = {
        "prompt": "The capital of France is",
        "text": "The capital of France is Paris.\nAnd [b]so[/b] on.",
    }
    alert = {"level": "warn", "what": "spike", "message": "loss spike: 9.1 after 3.2"}
    bench.events(
        live, [{"kind": "sample", "step": 250, "data": sample}, {"kind": "alert", "step": 200, "data": alert}]
    )
    machine = {
        "host/cpu": 87.0,
        "host/cores": 2,
        "host/load1": 2.1,
        "host/ram_used": 1.4e9,
        "host/ram_total": 25e9,
        "host/disk_used": 1.8e11,
        "host/disk_total": 2.5e11,
    }
    for gpu in range(8):
        machine |= {f"gpu/{gpu}/name": "H100", f"gpu/{gpu}/util": 90.0 + gpu, f"gpu/{gpu}/mem_used": 7.1e10}  # type: ignore[dict-item]
        machine |= {f"gpu/{gpu}/mem_total": 8.5e10, f"gpu/{gpu}/power": 680.0, f"gpu/{gpu}/temp": 60.0 + gpu}
    bench.events(live, [{"kind": "telemetry", "data": machine}] * 3, file="telemetry.jsonl")
    bench.fleet.text[live] = b"".join(
        b"step %05d/00400 | loss 3.1415 | tok/s 3,612\n" % n for n in range(260)
    )
    bench.layout.hosts_file.write_text(
        '{"schema": 1, "hosts": [{"name": "box", "address": "10.0.0.7", "user": "me"}]}'
    )
    install(bench, evaluations(bench))
    checkpoints_bench.tell(bench)
    return bench


def evaluations(bench: Bench) -> list[Evaluation]:
    """CORE of two checkpoints, of one that is at it, and of published models; chat tasks of every stage."""
    tasks = ("copa", "piqa")
    first, second = (
        write_items(
            bench,
            f"runs/{name}/core-items.jsonl",
            [choice_record(task, at, at % every != 0) for task in tasks for at in range(30)],
        )
        for name, every in (("a", 4), ("b", 3))
    )
    sampled = write_items(bench, "chat.jsonl", [sampled_record(at, at % 2 == 0) for at in range(6)])
    stages = (
        ("base/d20", 21_400, 0.05),
        ("mid/d20", 800, 0.2),
        ("sft/d20", 650, 0.3),
        ("rl/d20", 1_200, 0.4),
    )
    return [
        evaluation(1, "base/d20", 21_400, skill=0.4, items=first),
        evaluation(2, "base/d12", 5_000, skill=0.2, items=second, settings={"max_per_task": -1}),
        evaluation(
            3, "base/d26", 900, tasks=core_tasks(0.2, first=7), status="running", progress=0.34, mean=None
        ),
        published(8, "gpt2", 0.18),
        published(9, "gpt2-xl", 0.36),
        *(
            evaluation(20 + at, name, step, kind="chat", tasks=chat_tasks(skill), items=sampled)
            for at, (name, step, skill) in enumerate(stages)
        ),
    ]


async def runs(app: ControlRoom, pilot: Pilot[str]) -> None:
    await pilot.press("1")
    await settle(pilot)
    await settle(pilot, lambda: all(preview.curve for preview in app.screen.query(RunPreview)))
    await steady(app, pilot)


async def run(app: ControlRoom, pilot: Pilot[str]) -> None:
    plots = app.screen.query(Plot)
    await settle(
        pilot, lambda: all(plot.frame for plot in plots if plot.region) and bool(plots.first().metric)
    )
    await settle(pilot, lambda: bool(app.screen.query_one(LogView)._lines))
    await steady(app, pilot)


async def steady(app: ControlRoom, pilot: Pilot[str]) -> None:
    """Waits until the screen has stood still for four looks."""
    seen: list[str] = []
    while len(seen) < 40 and (len(seen) < 4 or len(set(seen[-4:])) > 1):
        await pilot.pause(0.3)
        seen.append(app.export_screenshot())


async def compare(app: ControlRoom, pilot: Pilot[str]) -> None:
    await app.open_comparison([run.key for run in reversed(app.rows) if run.stage == "base_train"])
    await settle(pilot, lambda: bool(app.screen.query(Plot)) and bool(app.screen.query(Plot).first().metric))
    await steady(app, pilot)


async def compare_gap(app: ControlRoom, pilot: Pilot[str]) -> None:
    await compare(app, pilot)
    await pilot.press("v", "tab", "tab", "d")
    await unsaid(app, pilot)


async def compare_seeds(app: ControlRoom, pilot: Pilot[str]) -> None:
    await compare(app, pilot)
    await pilot.press("b", "comma", "comma", "comma")
    await unsaid(app, pilot)


async def unsaid(app: ControlRoom, pilot: Pilot[str]) -> None:
    """Waits until the screen stands still without what it said, which goes after some seconds."""
    app.messages._said.clear()
    app._show_message()
    await steady(app, pilot)


async def hosts(app: ControlRoom, pilot: Pilot[str]) -> None:
    async def probe(name: str) -> Any:
        from tests.tui.screens.test_hosts_screen import PROBE

        return PROBE

    app.fleet.probe = probe  # type: ignore[method-assign]
    await pilot.press("7")
    await steady(app, pilot)


async def launch(app: ControlRoom, pilot: Pilot[str]) -> None:
    app.layout = type(app.layout)(type(app.layout.base)("/base"))
    app.hosts = [
        type(app.hosts[0])("local", "local", python="/venv/bin/python", base_dir="/base"),
        *app.hosts[1:],
    ]
    await pilot.press("1", "n")
    await settle(pilot, lambda: bool(app.screen.query(FieldRow)))
    await steady(app, pilot)  # the form comes after the first frame: keys would meet a part of it
    await pilot.press("down", "down", "down", "down")
    for row in app.screen.query(FieldRow):
        if row.field.name == "depth":
            row.text = "4"
    await settle(pilot, lambda: "one of its 8 H100" in str(app.screen.query_one("#estimate").render()))
    await settle(pilot, lambda: "36.7M" in str(app.screen.query_one("#estimate").render()))
    await steady(app, pilot)


async def plan(app: ControlRoom, pilot: Pilot[str]) -> None:
    app.layout = type(app.layout)(type(app.layout.base)("/base"))
    await pilot.press("1", "p")
    await steady(app, pilot)


SAID = """\
The capital of France is **Paris**, on the Seine.

1. It has `2.1` million people.
2. It was called *Lutetia*.

```python
print("Bonjour, [b]monde[/b]")
```

| year | people |
|------|--------|
| 1900 | 2.7 M  |
"""


def conversation(model: str) -> Conversation:
    """Two turns, one with a call of the calculator; without figures, which differ at every run."""
    settings = AnswerSettings(seed=42)
    sums = (Part("text", "It is "), Part("python", "6*7"), Part("python_output", "42"), Part("text", "42."))
    first = Turn("What is the capital of France?", (Part("text", SAID),), "stop", model, settings)
    second = Turn("And six times seven?", sums, "length", model, settings)
    return Conversation(datetime(2026, 11, 30), "", (first, second))


async def open_chat(app: ControlRoom, pilot: Pilot[str]) -> None:
    targets = ["sft/d20", "box:rl/d20@1200", "base/d20 follow r1", "http://127.0.0.1:8080 qwen"]
    app.settings.set("chat", {"panes": {"panes": [{"target": target} for target in targets]}})
    await pilot.press("5")
    await settle(pilot, lambda: bool(app.screen.query(PaneView)))
    models = ["sft/d20@650", "rl/d20@1200", "base/d20@900", "qwen"]
    for view, model in zip(app.screen.query(PaneView), models, strict=True):
        view.pane.start(conversation(model))
        guesses = (Guess(" Paris", -0.1), Guess(" Lyon", -3.0), Guess(" the", -4.2))
        words = [("The", -0.01), (" capital", -0.3), (" of", -1.2), (" France", -3.5), (" is", -6.0)]
        tokens = [AnswerToken(word, word.encode(), logprob, guesses) for word, logprob in words]
        tokens.append(AnswerToken(" Paris", b" Paris", -0.1, guesses))
        leaf = view.pane.tree.leaf
        assert leaf is not None and leaf.answer is not None
        leaf.answer.tokens.extend(tokens)


async def chat(app: ControlRoom, pilot: Pilot[str]) -> None:
    await open_chat(app, pilot)
    await steady(app, pilot)


async def chat_tokens(app: ControlRoom, pilot: Pilot[str]) -> None:
    await open_chat(app, pilot)
    await pilot.press("escape", "t", "G")
    await steady(app, pilot)


async def chat_picker(app: ControlRoom, pilot: Pilot[str]) -> None:
    key = next(run.key for run in app.rows if run.live)
    services = HostServices("")
    services.found["local"] = [
        checkpoint("base/d20", *range(100, 1100, 100), run=key.split("/")[1]),
        checkpoint("sft/d20", 600, 650),
    ]
    app.fleet.services = services  # type: ignore[assignment]
    await open_chat(app, pilot)
    await pilot.press("escape", "m")
    await steady(app, pilot)


async def columns(app: ControlRoom, pilot: Pilot[str]) -> None:
    HostBook(app.layout).add(Host("box", address="10.0.0.7", user="me", price_per_hour=24.0), replace=True)
    await app.read_hosts()
    await pilot.press("1", "v")
    await settle(pilot, lambda: isinstance(app.screen, ColumnDialog))
    for name in ("best:val/bpb", "built plan"):
        app.screen.search.value = name  # type: ignore[attr-defined]
        await settle(pilot)
        await pilot.press("enter")
    await steady(app, pilot)
    app.screen.search.value = "val"  # type: ignore[attr-defined]
    await steady(app, pilot)


async def open_evals(app: ControlRoom, pilot: Pilot[str], *keys: str) -> None:
    await pilot.press("4")
    await settle(pilot, lambda: isinstance(app.screen, EvalsScreen) and bool(app.screen.table.items))
    for key in keys:
        await pilot.press(key)
        await settle(pilot)
    await steady(app, pilot)


async def evals(app: ControlRoom, pilot: Pilot[str]) -> None:
    await open_evals(app, pilot, "right", "down")


async def evals_chat(app: ControlRoom, pilot: Pilot[str]) -> None:
    await open_evals(app, pilot, "tab", "u")


async def evals_items(app: ControlRoom, pilot: Pilot[str]) -> None:
    await open_evals(app, pilot, "right", "enter")


async def evals_item(app: ControlRoom, pilot: Pilot[str]) -> None:
    await open_evals(app, pilot, "right", "d", *"d20", "enter", "enter", "enter")


async def evals_difference(app: ControlRoom, pilot: Pilot[str]) -> None:
    await open_evals(app, pilot, "right", "d", *"d20", "enter")


async def tokenizer(app: ControlRoom, pilot: Pilot[str]) -> None:
    specs = [opened(app.layout, "news", 300).spec, opened(app.layout, "code", 400).spec, "bytes"]
    panes = [{"spec": spec} for spec in specs]
    app.settings.set("tokenizer", {"panes": panes, "text": SAMPLES["code"] + SAMPLES["emoji"]})
    await pilot.press("3")
    await settle(pilot, lambda: isinstance(app.screen, TokenizerScreen) and app.screen.is_settled)
    await settle(pilot, lambda: len(app.screen.result.panes) == 3)  # type: ignore[attr-defined]
    await pilot.press("escape", "home", "n")
    await steady(app, pilot)


async def tokenizer_replay(app: ControlRoom, pilot: Pilot[str]) -> None:
    await tokenizer(app, pilot)
    await pilot.press("r")
    await settle(pilot, lambda: isinstance(app.screen, ReplayScreen) and app.screen.replay is not None)
    await pilot.press("right_square_bracket", "left")
    await steady(app, pilot)


async def checkpoints(app: ControlRoom, pilot: Pilot[str]) -> None:
    await pilot.press("6")
    await settle(pilot, lambda: isinstance(app.screen, CheckpointsScreen) and len(app.screen.rows) == 7)
    await pilot.press("down", "down")
    await steady(app, pilot)


async def checkpoint_details(app: ControlRoom, pilot: Pilot[str]) -> None:
    await checkpoints(app, pilot)
    await pilot.press("enter")
    await settle(pilot)


async def help_page(app: ControlRoom, pilot: Pilot[str]) -> None:
    await pilot.press("1", "question_mark")
    await settle(pilot)


async def stop(app: ControlRoom, pilot: Pilot[str]) -> None:
    await pilot.press("1", "s")
    await settle(pilot)


@pytest.mark.parametrize(
    "size",
    [SIZES[1], *(pytest.param(size, marks=pytest.mark.slow) for size in (SIZES[0], SIZES[2]))],
    ids=lambda size: "x".join(map(str, size)),
)
@pytest.mark.parametrize(
    "act",
    [runs, run, hosts, launch, plan, chat, evals, tokenizer, checkpoints],
    ids=lambda act: act.__name__,
)
def test_screen(full: Bench, snap_compare: Any, act: Act, size: tuple[int, int]) -> None:
    app = full.app()
    assert snap_compare(app, terminal_size=size, run_before=lambda pilot: act(app, pilot))


@pytest.mark.parametrize("theme", ["light", "contrast"])
@pytest.mark.parametrize("act", [runs, run, chat_tokens, tokenizer], ids=lambda act: act.__name__)
def test_theme(full: Bench, snap_compare: Any, act: Act, theme: str) -> None:
    app = full.app(theme=theme)
    assert snap_compare(app, terminal_size=(120, 40), run_before=lambda pilot: act(app, pilot))


@pytest.mark.parametrize(
    "act",
    [
        help_page,
        stop,
        columns,
        chat_tokens,
        chat_picker,
        evals_chat,
        evals_items,
        evals_item,
        evals_difference,
        tokenizer_replay,
        checkpoint_details,
    ],
    ids=lambda act: act.__name__,
)
def test_dialog(full: Bench, snap_compare: Any, act: Act) -> None:
    app = full.app()
    assert snap_compare(app, terminal_size=(80, 24), run_before=lambda pilot: act(app, pilot))


@pytest.fixture
def sweep(bench: Bench) -> Bench:
    """Two seeds of one depth, a deeper run that is shorter, and one that has not started."""
    for name, seed, depth, steps in (("s1", 1, 4, 240), ("s2", 2, 4, 240), ("deep", 1, 6, 160)):
        options = {"depth": depth, "seed": seed, "matrix_lr": 0.02}
        code = {"version": "0.1.0", "sha": f"{depth}" * 40}
        key = bench.run(name, age=9000 - 100 * len(bench.store.runs()), options=options, code=code)
        start, *events = training_events(steps, 240)
        start["data"] |= {"options": options, "info": {"params": 1_000_000 * depth, "device": "cpu"}}
        for event in events:
            data = event["data"]
            for metric in data.keys() & {"train/loss", "val/bpb"}:
                data[metric] += seed / 20 - depth / 10
            if event["kind"] == "metric":
                data["train/total_tokens"] = (event["step"] + 1) * 1000 * depth
        bench.events(key, [start, *events])
    bench.run("next", status="created", age=50, options={"depth": 8})
    return bench


@pytest.mark.parametrize(
    ("act", "size"),
    [
        *((compare, size) for size in SIZES),
        (compare_seeds, (120, 40)),
        (compare_gap, (120, 40)),
        (compare_gap, (80, 24)),
    ],
    ids=lambda value: value.__name__ if callable(value) else "x".join(map(str, value)),
)
def test_compare(sweep: Bench, snap_compare: Any, act: Act, size: tuple[int, int]) -> None:
    app = sweep.app()
    assert snap_compare(app, terminal_size=size, run_before=lambda pilot: act(app, pilot))


def test_first_use(bench: Bench, snap_compare: Any) -> None:
    app = bench.app()

    async def settled(pilot: Pilot[str]) -> None:
        app.screen.query_one("#where").update("base directory  /base")  # type: ignore[attr-defined]
        await settle(pilot)

    assert snap_compare(app, terminal_size=(80, 24), run_before=settled)
