"""The Evals screen: tables of scores, their items, differences, curves, and the form that evaluates."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from textual.pilot import Pilot

from bench.parts.evaluations import sampled_record
from remote.fleet.services import HostCheckpoint
from remote.runs import Link
from remote.store.evaluation_files import listing_of
from remote.store.evaluations import Evaluation
from tests.tui.conftest import NOW, Bench, settle
from tests.tui.screens.chat_bench import checkpoint
from tests.tui.screens.evals_bench import (
    chat_tasks,
    choice_item,
    core_tasks,
    evaluation,
    install,
    published,
    write_items,
)
from tui.app import ControlRoom
from tui.data.evals import board
from tui.data.evals.scores import score_rows
from tui.screens.evals.curve import CurveScreen
from tui.screens.evals.difference import DifferenceScreen
from tui.screens.evals.item import ItemScreen
from tui.screens.evals.items import ItemsScreen
from tui.screens.evals.screen import EvalsScreen
from tui.screens.launch import LaunchScreen
from tui.widgets.plot import Plot

pytestmark = pytest.mark.slow


def known(bench: Bench) -> list[Evaluation]:
    """Two checkpoints with items, one that is being evaluated, published tables, and chat."""
    first = [choice_item(task, at, at % 3 != 0) for task in ("copa", "piqa") for at in range(30)]
    second = [choice_item(task, at, at % 2 != 0) for task in ("copa", "piqa") for at in range(24)]
    chat = [sampled_record(at, at % 2 == 0) for at in range(6)]
    a = write_items(bench, "runs/a/core-items.jsonl", first)
    b = write_items(bench, "runs/b/core-items.jsonl", second)
    c = write_items(bench, "chat_eval/c.jsonl", chat)
    return [
        evaluation(1, "base/d20", 21_400, skill=0.4, items=a),
        evaluation(2, "base/d20", 20_000, skill=0.3),
        evaluation(3, "base/d12", 5_000, skill=0.2, items=b, settings={"max_per_task": -1}),
        published(8, "gpt2", 0.18),
        published(9, "gpt2-xl", 0.36),
        evaluation(20, "sft/d20", 650, kind="chat", tasks=chat_tasks(0.3), items=c),
        evaluation(21, "mid/d20", 800, kind="chat", tasks=chat_tasks(0.2)),
    ]


async def go(app: ControlRoom, pilot: Pilot[str]) -> EvalsScreen:
    """The Evals screen, when it has read the store."""
    await pilot.press("4")
    await settle(pilot, lambda: isinstance(app.screen, EvalsScreen) and app.screen._is_read)
    assert isinstance(app.screen, EvalsScreen)
    return app.screen


def painted(app: ControlRoom) -> str:
    """What is on the screen, line by line."""
    return "\n".join(
        "".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips()
    )


async def shows(app: ControlRoom, pilot: Pilot[str], *words: str) -> None:
    await settle(pilot, lambda: all(word in painted(app) for word in words))


async def test_tables_of_core_and_chat(bench: Bench) -> None:
    bench.run("one")
    install(bench, known(bench))
    async with bench.open((160, 40)) as (app, pilot):
        screen = await go(app, pilot)
        await shows(app, pilot, "base/d20@21400", "base/d12@5000", "gpt2-xl", "commonsense reasoning")
        assert "base/d20@20000" not in painted(app), "an older step is no column unless it is chosen"
        await shows(app, pilot, "500 a task", "all items", "published", "CORE 5", "chat 2")
        row = next(row for row in screen.table.items if row.key == "copa")
        score = row.score(1, "centered")
        assert score is not None and f"{score.value:.4f}±.0" in painted(app)
        await pilot.press("a")
        accuracy = row.score(1, "accuracy")
        assert accuracy is not None
        await shows(app, pilot, "· accuracy", f"{accuracy.value:.3f}")
        await pilot.press("tab")
        await shows(app, pilot, "ChatCORE", "▸ MMLU (3 subjects)", "mid/d20@800", "sft/d20@650")
        assert "anatomy" not in painted(app)
        await pilot.press("u")
        await shows(app, pilot, "▾ MMLU (3 subjects)", "abstract algebra", "world religions")
        await pilot.press("shift+tab", "a")
        await shows(app, pilot, "CORE · 4 evaluations · centered")
    kept = app.settings.get("evals")
    assert isinstance(kept, dict) and kept["unfolded"] is True and kept["table"] == "core"


async def test_sorting_filtering_and_categories(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("one")
    install(bench, known(bench))
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        await pilot.press("right", "o", "o", "o")
        here = screen.table.heading
        assert here is not None and here.title == "base/d20@21400"
        values = [row.score(here.evaluation, "centered") for row in screen.table.items if not row.is_mean]
        order = [score.value for score in values if score is not None]
        assert order == sorted(order, reverse=True)
        assert screen.table.items[0].key == "CORE"
        worked_out: list[str] = []
        monkeypatch.setattr(
            "tui.screens.evals.screen.score_rows",
            lambda kind, columns: worked_out.append(kind) or score_rows(kind, columns),
        )
        await pilot.press("slash", *"reading")
        await shows(app, pilot, "4 of 23 rows")
        assert not worked_out, "a letter of the filter works out no figures"
        assert {row.key for row in screen.table.items} == {"CORE", "squad", "coqa", "boolq"}
        await pilot.press("escape", "escape")
        await settle(pilot, lambda: len(screen.table.items) == 23)
        await pilot.press("ampersand")
        await shows(app, pilot, "only language understanding")
        await pilot.press("escape")
        await settle(pilot, lambda: len(screen.table.items) == 23)


async def test_hosts_are_asked_again_when_the_screen_is_shown_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run("one")
    there = install(bench, known(bench))
    async with bench.open((100, 30)) as (app, pilot):
        await go(app, pilot)
        await pilot.press("1", "4")
        await settle(pilot)
        assert there.refreshed == ["local"]
        monkeypatch.setattr("tui.screens.evals.screen.LOOK_SECONDS", 0.0)
        await pilot.press("1", "4")
        await settle(pilot, lambda: there.refreshed == ["local", "local"])


async def test_cells_and_titles_are_clicked(bench: Bench) -> None:
    bench.run("one")
    install(bench, known(bench))
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        line = next(number for number, text in enumerate(painted(app).split("\n")) if "base/d12@5000" in text)
        left = painted(app).split("\n")[line].index("base/d20@21400")
        await pilot.click(offset=(left + 3, line + 6))
        here = screen.table.heading
        assert here is not None and here.title == "base/d20@21400"
        assert screen.table.cursor == 4
        await pilot.click(offset=(left + 3, line))
        await settle(pilot, lambda: screen.table.order == str(here.evaluation))
        assert "base/d20@21400▼" in painted(app)
        await pilot.click(offset=(left + 3, line + 6), times=2)
        await settle(pilot, lambda: isinstance(app.screen, ItemsScreen))


async def test_columns_are_chosen_and_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("one")
    install(bench, known(bench))
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        await pilot.press("C")
        told: list[int] = []
        about = board.about
        monkeypatch.setattr(board, "about", lambda one, now: told.append(one.id) or about(one, now))
        await pilot.press(*"20000")
        await settle(pilot)
        assert sorted(told) == [1, 2, 3, 8, 9], "what is searched is made once, not at each letter"
        await pilot.press("tab", "enter")
        await shows(app, pilot, "base/d20@20000", "base/d20@21400")
        assert len(screen.columns) == 5
    async with bench.open((80, 24)) as (app, pilot):
        screen = await go(app, pilot)
        assert len(screen.columns) == 5
        await shows(app, pilot, "2 more ›")
        await pilot.press(*["right"] * 4)
        await shows(app, pilot, "gpt2-xl", "‹ 2 more")
        assert "0 more" not in painted(app)


async def test_a_running_evaluation_grows_in_place(bench: Bench) -> None:
    bench.run("one")
    running = evaluation(
        5, "base/d26", 900, tasks=core_tasks(0.2, first=3), status="running", progress=0.1, mean=None
    )
    store = [running, *known(bench)]
    install(bench, store)
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        await shows(app, pilot, "◐ 10%")
        store[0] = replace(running, tasks=core_tasks(0.2, first=6), progress=0.25)
        bench.store.evaluations = lambda kind=None: list(store)  # type: ignore[method-assign]
        bench.store.evaluations_version = lambda: 7  # type: ignore[method-assign]
        screen.changed(frozenset())
        await shows(app, pilot, "◐ 25%")
        copa = next(row for row in screen.table.items if row.key == "copa")
        assert copa.score(5, "accuracy") is not None


async def test_items_of_a_cell(bench: Bench) -> None:
    bench.run("one")
    install(bench, known(bench))
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        screen.table.move_to_key("copa")
        screen.table.move_to_column(1)
        await pilot.press("enter")
        await shows(app, pilot, "base/d20@21400 · copa · 30 items", "Question: Which number is 7?")
        assert isinstance(app.screen, ItemsScreen)
        table = app.screen.table
        await pilot.press("w")
        await shows(app, pilot, "10 items, only wrong")
        assert {app.screen.list.items.correct[row] for row in table.items} == {False}  # type: ignore[union-attr]
        await pilot.press("w", "w", "t")
        await shows(app, pilot, "all tasks · 60 items")
        await pilot.press("slash", *"which number is 2?", "enter")
        await shows(app, pilot, "“which number is 2?” 1 of 2")
        assert app.screen.list.items.task[table.current] == "copa"  # type: ignore[union-attr, index]
        await pilot.press("n")
        await shows(app, pilot, "“which number is 2?” 2 of 2")
        await pilot.press("escape")
        await settle(pilot, lambda: isinstance(app.screen, ItemsScreen) and app.screen.found is None)
        await pilot.press("g", "enter")
        await shows(app, pilot, "copa · item 0", "✗ wrong", "✓ gold", "● chosen", "0. the first one of 0")
        await pilot.press("n")
        await shows(app, pilot, "copa · item 1", "✓ right", "✓ gold, ● chosen", "2 of 60")
        await pilot.press("y")
        await settle(pilot, lambda: any("the item" in said.text for said in app.messages))
        await pilot.press("escape", "escape")
        await settle(pilot, lambda: isinstance(app.screen, EvalsScreen))


async def test_the_copy_of_an_item_is_its_record(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr("tui.actions.clipboard.copy", lambda text, *_: copied.append(text) or "the clipboard")
    bench.run("one")
    install(bench, known(bench))
    async with bench.open() as (app, pilot):
        screen = await go(app, pilot)
        screen.table.move_to_column(1)
        await pilot.press("y", "enter")
        await settle(pilot, lambda: isinstance(app.screen, ItemsScreen) and bool(app.screen.table.items))
        await pilot.press("down", "y")
        await settle(pilot, lambda: len(copied) == 2)
    base = bench.layout.base
    assert copied[0] == f"nanochat evals show base/d20@21400 --kind core --base-dir {base}"
    assert json.loads(copied[1]) == choice_item("copa", 1, True)


async def test_items_of_a_host_out_of_reach_say_of_when_they_are(bench: Bench, frozen_clock: float) -> None:
    bench.run("one", host="box")
    install(bench, [replace(one, host="box") for one in known(bench)])
    bench.layout.hosts_file.write_text('{"schema": 1, "hosts": [{"name": "box", "address": "10.0.0.7"}]}')
    bench.fleet.links["box"] = Link("down", NOW - 60, NOW - 60)
    async with bench.open((120, 30)) as (app, pilot):
        await go(app, pilot)
        await pilot.press("right", "enter")
        await shows(app, pilot, "60 items", "host 'box' is out of reach: its items as of")


async def test_a_sampled_answer_with_its_tool_calls(bench: Bench) -> None:
    bench.run("one")
    install(bench, known(bench))
    async with bench.open((100, 30)) as (app, pilot):
        screen = await go(app, pilot)
        await pilot.press("tab")
        screen.table.move_to_key("GSM8K")
        screen.table.move_to_column(1)
        await pilot.press("enter")
        await shows(app, pilot, "GSM8K · 6 items")
        await pilot.press("down", "enter")
        await shows(app, pilot, "✗ wrong", "✓ gold      4", "⚙ calls  1+2", "= result 3", "21 tokens")


async def test_two_evaluations_item_by_item(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("one")
    install(bench, known(bench))
    async with bench.open((140, 40)) as (app, pilot):
        screen = await go(app, pilot)
        screen.table.move_to_column(1)
        await pilot.press("d", *"d12")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, DifferenceScreen) and bool(app.screen.table.items))
        await shows(
            app, pilot, "A base/d20@21400 · B base/d12@5000", "48 items paired", "max_per_task: 500 and all"
        )
        copa = app.screen.table.items[0]  # type: ignore[attr-defined]
        # Right are 2 of 3 in A and every second one in B; both have items 0 to 23.
        a = [at % 3 != 0 for at in range(24)]
        b = [at % 2 != 0 for at in range(24)]
        wins = sum(y and not x for x, y in zip(a, b, strict=True))
        losses = sum(x and not y for x, y in zip(a, b, strict=True))
        assert (copa.name, copa.paired, copa.only_a, copa.wins, copa.losses) == ("copa", 24, 6, wins, losses)
        await pilot.press("s")
        await shows(app, pilot, "A base/d12@5000 · B base/d20@21400")
        await settle(pilot, lambda: app.screen.table.items[0].wins == losses)  # type: ignore[attr-defined]
        await pilot.press("s")
        await shows(app, pilot, "A base/d20@21400")
        await settle(pilot, lambda: app.screen.table.items[0].wins == wins)  # type: ignore[attr-defined]
        monkeypatch.setattr("nanochat.evals.items.read_items", None)
        monkeypatch.setattr("nanochat.evals.paired.compare", None)
        await pilot.press("enter")  # what was compared is not read and compared again
        await shows(app, pilot, f"{wins + losses} items, only differing", "A", "B")
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, ItemScreen))
        await shows(app, pilot, "A base/d20@21400: ", "B base/d12@5000: ", "A chose", "B chose")


async def test_a_subject_is_compared_and_its_items_opened(bench: Bench) -> None:
    bench.run("one")
    names = ("anatomy", "virology")
    both = [
        write_items(
            bench,
            f"{every}.jsonl",
            [choice_item("MMLU", at, at % every != 0, subject=names[at % 2]) for at in range(24)],
        )
        for every in (2, 3)
    ]
    install(
        bench,
        [
            evaluation(1 + at, f"sft/{name}", kind="chat", tasks=chat_tasks(0.3), items=there)
            for at, (name, there) in enumerate(zip("ab", both, strict=True))
        ],
    )
    async with bench.open((120, 30)) as (app, pilot):
        await go(app, pilot)
        await pilot.press("d", "enter")
        await shows(app, pilot, "MMLU/anatomy", "MMLU/virology", "24 items paired")
        assert isinstance(app.screen, DifferenceScreen)
        app.screen.table.move_to_key("MMLU/virology")
        await pilot.press("enter")
        await shows(app, pilot, "MMLU · virology", "only differing")


async def test_items_beside_another_evaluation_and_alone_again(bench: Bench) -> None:
    bench.run("one")
    install(bench, known(bench))
    async with bench.open((120, 30)) as (app, pilot):
        screen = await go(app, pilot)
        screen.table.move_to_key("copa")
        screen.table.move_to_column(1)
        await pilot.press("enter")
        await shows(app, pilot, "30 items")
        await pilot.press("n")
        await shows(app, pilot, "nothing is searched for")
        await pilot.press("d", "enter")
        await shows(app, pilot, "A base/d20@21400 · B base/d12@5000", "of A and 0 of B")
        assert isinstance(app.screen, ItemsScreen)
        here = app.screen.table.cursor
        await pilot.press("n")
        await settle(pilot, lambda: app.screen.table.cursor != here)  # type: ignore[attr-defined]
        row = app.screen.table.current
        assert app.screen.list is not None and row is not None and app.screen.list.differs(row)
        await pilot.press("d")
        await settle(pilot, lambda: app.screen.other is None and app.screen.list.other is None)  # type: ignore[attr-defined]


async def test_items_that_go_away_end_what_was_begun_with_them(bench: Bench) -> None:
    bench.run("one")
    evaluations = known(bench)
    install(bench, evaluations)
    async with bench.open((120, 30)) as (app, pilot):
        screen = await go(app, pilot)
        screen.table.move_to_column(1)
        await pilot.press("enter")
        await shows(app, pilot, "all tasks · 60 items")
        assert isinstance(app.screen, ItemsScreen)
        a, b = (bench.layout.base / one.items.path for one in (evaluations[0], evaluations[2]) if one.items)
        b.unlink()
        await pilot.press("d", "enter")
        await settle(pilot, lambda: any("the items are gone" in said.text for said in app.messages))
        assert str(app.screen.table.border_title) == "base/d20@21400 · all tasks · 60 items"
        assert not app.screen.table.border_subtitle
        a.unlink()
        await pilot.press("slash", *"which", "enter")
        await settle(pilot, lambda: any(a.name in said.text for said in app.messages))
        assert app.screen.found is None and not app.screen.table.border_subtitle


async def test_a_curve_over_steps_and_flops(bench: Bench) -> None:
    key = bench.run("train", "base_train", options={"model_tag": "d20"})
    points = ({"train/total_flops": step * 1e15, "train/loss": 2.0} for step in range(0, 22_000, 1_000))
    bench.events(
        key, [{"kind": "metric", "step": at * 1_000, "data": data} for at, data in enumerate(points)]
    )
    install(bench, [*known(bench), evaluation(4, "base/d12", 4_000, skill=0.1)])
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        screen.table.move_to_column(2)
        await pilot.press("v")
        await settle(pilot, lambda: isinstance(app.screen, CurveScreen) and bool(app.screen.drawn))
        await settle(pilot, lambda: all(plot.frame for plot in app.screen.query(Plot) if plot.display))
        await shows(app, pilot, "core/core", "evaluated at 2 steps", "published: gpt2 0.")
        assert "train/" not in painted(app)
        await pilot.press("x")
        await shows(app, pilot, "write the plot of core/core")
        await pilot.press("escape")
        await pilot.press("a")
        await shows(app, pilot, "FLOPs")
        await settle(pilot, lambda: app.screen.plots.view.axis == "FLOPs")  # type: ignore[attr-defined]
        await pilot.press("o", "enter")
        await settle(pilot, lambda: len(app.screen.drawn) == 2)  # type: ignore[attr-defined]
        await shows(app, pilot, "base/d12 · all items: evaluated at 1 step", "no tokens and FLOPs")
        await pilot.press("o", "enter")
        await settle(pilot, lambda: len(app.screen.drawn) == 1)  # type: ignore[attr-defined]


async def test_a_checkpoint_is_evaluated_from_here(bench: Bench) -> None:
    bench.run("one")
    install(bench, known(bench))
    found = [checkpoint("base/d20", 20_000, 21_400), checkpoint("base/d26", 300)]

    async def checkpoints(host: str) -> list[HostCheckpoint]:
        return found

    bench.fleet.quiet_services.checkpoints = checkpoints  # type: ignore[method-assign]
    async with bench.open((120, 40)) as (app, pilot):
        screen = await go(app, pilot)
        screen.table.move_to_column(1)
        await pilot.press("e")
        await shows(app, pilot, "evaluate a checkpoint", "base/d20@21400")
        await pilot.press("ctrl+u", *"d26")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))
        launch = app.screen
        assert isinstance(launch, LaunchScreen)
        await settle(pilot, lambda: launch.form.changes().get("model_tag") == "d26")
        assert launch.form.changes() == {"eval": ("core",), "model_tag": "d26", "max_per_task": 500}
        assert "--model-tag=d26" in launch.command() and "base_eval" in launch.command()
        await pilot.press("escape")
        await settle(pilot, lambda: app.screen is screen)
        app.launch_with("local", "base_eval", {"model_tag": "d20", "step": 5})
        await settle(pilot, lambda: launch.form.changes() == {"model_tag": "d20", "step": 5})
        await pilot.press("escape")
        await settle(pilot, lambda: app.screen is screen)
        await pilot.press("shift+tab", "e")
        await settle(pilot, lambda: isinstance(app.screen, LaunchScreen))
        await settle(pilot, lambda: "tok_eval" in launch.command())


async def test_broken_input_is_a_line_and_the_rest_goes_on(bench: Bench) -> None:
    bench.run("one")
    whole = [choice_item("copa", at, at % 2 == 0) for at in range(8)]
    half = write_items(bench, "runs/half.jsonl", whole, tail=json.dumps(whole[0])[:60])
    old = [
        {"task": "copa", "index": at, "correct": True, "prediction": 0, "gold": 0, "losses": [1.0, 2.0],
         "prompt": f"Which {at}?"}
        for at in range(4)
    ]  # fmt: skip
    first = write_items(bench, "runs/old.jsonl", old)
    other = write_items(
        bench, "runs/bundle.jsonl", [choice_item("copa", at, True, key=f"{at:016d}") for at in range(4)]
    )
    gone = evaluation(4, "base/gone", gone=True, items=replace(first, path="runs/nowhere.jsonl"))
    install(
        bench,
        [
            evaluation(1, "base/half", items=half),
            evaluation(2, "base/old", items=first),
            evaluation(3, "base/bundle", items=other),
            gone,
        ],
    )
    async with bench.open((120, 30)) as (app, pilot):
        screen = await go(app, pilot)
        await shows(app, pilot, "✗ deleted")
        columns = {heading.title: at for at, heading in enumerate(screen.table.headings)}

        async def open_items(name: str) -> None:
            screen.table.move_to_column(columns[name])
            await pilot.press("enter")

        await open_items("base/half@1000")
        await shows(app, pilot, "8 items", "incomplete")
        await pilot.press("escape")
        await open_items("base/old@1000")
        await shows(app, pilot, "4 items")
        await pilot.press("enter")
        await shows(app, pilot, "a record of version 1", "Which 0?")
        await pilot.press("escape", "escape")
        await open_items("base/gone@1000")
        await shows(app, pilot, "✗ the items are gone: there is no runs/nowhere.jsonl")
        await pilot.press("escape")
        screen.table.move_to_column(columns["base/half@1000"])
        await pilot.press("d", *"bundle")
        await settle(pilot)
        await pilot.press("enter")
        await shows(app, pilot, "– not paired")
        await pilot.press("escape")
        await settle(pilot, lambda: isinstance(app.screen, EvalsScreen))


async def test_one_damaged_record_costs_no_other(bench: Bench) -> None:
    bench.run("one")
    items = write_items(bench, "runs/items.jsonl", [choice_item("copa", at, True) for at in range(4)])
    path = bench.layout.base / items.path
    path.write_text(path.read_text("utf-8").replace("number is 1?", 'number "is 1?'), "utf-8")
    install(bench, [evaluation(1, "base/d4", items=items)])
    async with bench.open((120, 30)) as (app, pilot):
        screen = await go(app, pilot)
        screen.table.move_to_key("copa")
        await pilot.press("enter")
        await shows(app, pilot, "4 items", "number is 0?", "✗ the record is damaged", "number is 3?")
        await pilot.press("enter")
        await shows(app, pilot, "copa · item 0", "number is 0?")
        await pilot.press("n")
        await shows(app, pilot, "copa · unreadable", "the record of copa 1 is damaged")
        assert "number is 0?" not in painted(app)
        await pilot.press("n")
        await shows(app, pilot, "copa · item 2", "number is 2?")


async def test_files_of_results_that_cannot_be_read_are_told(bench: Bench) -> None:
    bench.run("one")
    install(bench, [evaluation(1, "base/d4")])
    told = [
        {"path": f"base_eval/base_model_00000{at}.json", "bytes": 9, "t": NOW, "stamp": "1", "text": "{[red]"}
        for at in range(3)
    ]
    bench.store.take_listing("local", listing_of({"files": told}), NOW)
    async with bench.open((120, 30)) as (app, pilot):
        screen = await go(app, pilot)
        await shows(
            app, pilot, "base/d4@1000", "! local: base_eval/base_model_000000.json: not the result of"
        )
        assert "and 2 more files, told by nanochat" in " ".join(painted(app).split())
        bench.store.take_listing("local", listing_of({}), NOW)
        await pilot.press("r")
        await settle(pilot, lambda: not screen.unread["local"] and "more files" not in painted(app))


async def test_what_there_is_none_of_is_said(bench: Bench) -> None:
    bench.run("one")
    there = install(bench, [published(8, "gpt2", 0.2)])
    there.unreachable.add("local")
    async with bench.open((120, 30)) as (app, pilot):
        screen = await go(app, pilot)
        await shows(app, pilot, "✗ local: host 'local' is unreachable")
        for key, line in (
            ("enter", "a published table"),
            ("d", "no other evaluation"),
            ("v", "has no steps"),
            ("u", "no subjects here"),
            ("O", "in the order of evaluation"),
        ):
            await pilot.press(key)
            await settle(pilot, lambda line=line: any(line in said.text for said in app.messages))  # type: ignore[misc]
        await pilot.press("tab")
        await shows(app, pilot, "no chat evaluation yet: e evaluates a checkpoint")
        await pilot.press("enter")
        await settle(pilot, lambda: any("no evaluation here" in said.text for said in app.messages))
        there.unreachable.clear()
        bench.fleet.links["local"] = Link("up", NOW, NOW)
        await pilot.press("r")
        await settle(pilot, lambda: not screen.failed)


async def test_hostile_text_of_hosts_and_models_is_harmless(bench: Bench) -> None:
    bench.run("one")
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m[red]x[/]"
    records = [
        choice_item("copa", at, at % 2 == 0, prompt=f"{hostile} {at}", choices=[hostile] * 4, subject=hostile)
        for at in range(4)
    ]
    said = sampled_record(9, False)
    said |= {"task": "copa", "prediction": hostile, "gold": hostile, "prompt": hostile * 2}
    said["samples"][0]["transcript"] = [{"type": kind, "text": hostile} for kind in ("text", "python")]
    there = write_items(bench, "hostile.jsonl", [*records, said])
    tasks = {"copa": replace(core_tasks(0.3)["copa"], subjects={hostile: core_tasks(0.3)["piqa"]})}
    more = {"tasks": {**tasks, hostile: tasks["copa"]}, "settings": {hostile: hostile}, "items": there}
    install(
        bench, [evaluation(1, f"base/{hostile}", **more), evaluation(2, "base/b", problem=hostile, **more)]
    )
    seen = []
    async with bench.open((120, 40)) as (app, pilot):
        await go(app, pilot)
        for keys in (
            ["u"],
            ["C"],
            ["escape", "d"],
            ["enter"],
            ["enter"],
            ["end", "enter"],
            ["escape"] * 3,
            ["v"],
        ):
            await pilot.press(*keys)
            await settle(pilot)
            seen.append(painted(app))
    assert any("x[/]" in text for text in seen), "markup is text"
    assert not [text for text in seen if {"\x1b", "\x07", "\x9b"} & set(text)]
