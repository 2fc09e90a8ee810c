"""Launch and plans: a form that checks as one types, the exact command, what is then asked of the fleet."""

import shlex
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from nanochat.config.command_parser import Parser, add_arguments, collect
from nanochat.config.options import from_mapping
from nanochat.config.stages import STAGES
from nanochat.scaling.estimate import estimate
from remote.hosts.book import Host
from remote.runs import Gpu, Probe, RunRow
from tests.tui.conftest import Bench, settle
from tui.actions.command_line import headless_line, reproduce, stage_line
from tui.actions.plan import next_to_show
from tui.app import ControlRoom
from tui.data.launch_estimate import estimate_text, machine_of
from tui.screens.launch import LaunchScreen
from tui.screens.plan import PlanScreen
from tui.widgets.bars import TopBar
from tui.widgets.choice import Choice
from tui.widgets.form import FieldRow, OptionForm


async def launch_screen(app: ControlRoom, pilot: Pilot[str]) -> LaunchScreen:
    app.action_launch()
    await settle(pilot, lambda: isinstance(app.screen, LaunchScreen) and bool(app.screen.query(FieldRow)))
    assert isinstance(app.screen, LaunchScreen)
    return app.screen


def row(screen: LaunchScreen, name: str) -> FieldRow:
    return next(row for row in screen.form.rows() if row.field.name == name)


@pytest.mark.slow
async def test_every_stage_has_a_form_with_all_its_options_at_their_defaults(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await launch_screen(app, pilot)
        for stage, spec in STAGES.items():
            screen.query_one("#stage", Choice).value = stage
            await settle(pilot, lambda stage=stage: screen._stage == stage)  # type: ignore[misc]
            fields = {field.name for field in screen.form.options.__dataclass_fields__.values()}
            assert {row.field.name for row in screen.form.rows()} == fields
            assert screen.form.changes() == {}
            assert screen.form.instance() == spec.options()  # type: ignore[call-arg]


@pytest.mark.slow
async def test_a_switch_that_the_stage_decides_is_automatic_on_or_off(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await launch_screen(app, pilot)
        screen.query_one("#stage", Choice).value = "chat_sft"
        await settle(pilot, lambda: screen._stage == "chat_sft")
        switch = row(screen, "load_optimizer")
        assert (switch.text, switch.query_one(Choice).values) == ("auto", ["auto", "false", "true"])
        for text, words in (("false", ["--no-load-optimizer"]), ("true", ["--load-optimizer"]), ("auto", [])):
            switch.text = text
            await settle(pilot)
            shown = shlex.split(screen.command())
            assert [word for word in shown if word.endswith("load-optimizer")] == words


@pytest.mark.slow
async def test_what_is_typed_is_checked_and_becomes_the_command(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await launch_screen(app, pilot)
        row(screen, "depth").text = "4"
        row(screen, "total_batch_size").text = "10_000"
        row(screen, "window_pattern").text = "S L"
        await settle(pilot)
        words = shlex.split(screen.command())
        assert words[0] == f"NANOCHAT_BASE_DIR={app.layout.base}"
        assert words[2:4] == ["-m", "nanochat.stages.base_train"]
        parser = Parser(prog="base_train")
        add_arguments(parser, STAGES["base_train"].options)
        options = collect(STAGES["base_train"].options, parser.parse_args(words[4:]))
        assert options == screen.form.instance()
        assert (options.depth, options.total_batch_size, options.window_pattern) == (4, 10_000, "S L")  # type: ignore[attr-defined]


@pytest.mark.slow
async def test_a_bad_value_is_reported_beside_its_field_and_nothing_starts(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await launch_screen(app, pilot)
        row(screen, "depth").text = "four"
        await settle(pilot)
        assert "not a whole number" in row(screen, "depth").error
        assert "not a whole number" in str(row(screen, "depth").query_one(".note").render())
        await pilot.press("ctrl+s")
        await settle(pilot)
        assert not bench.fleet.launched()
        row(screen, "depth").text = "0"
        await settle(pilot)
        assert "at least 1" in row(screen, "depth").error
        row(screen, "depth").text = "6"
        await settle(pilot)
        assert not screen.form.errors()


async def test_start_asks_the_fleet_for_exactly_what_the_form_says(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await launch_screen(app, pilot)
        row(screen, "depth").text = "3"
        screen.query_one("#name", Input).value = "try"
        await settle(pilot)
        await pilot.press("ctrl+s")
        await settle(pilot, lambda: bool(bench.fleet.launched()))
        (request,) = bench.fleet.launched()
        assert (request.stage, dict(request.options), request.name) == ("base_train", {"depth": 3}, "try")


@pytest.mark.slow
async def test_up_and_down_walk_the_fields_and_help_follows(bench: Bench) -> None:
    bench.run("one")
    async with bench.open(size=(80, 24)) as (app, pilot):
        screen = await launch_screen(app, pilot)
        await pilot.press("down", "down", "down")
        await settle(pilot, lambda: screen.form.current() is not None)
        first = next(screen.form.rows())
        assert screen.form.current() is first
        await pilot.press("down")
        await settle(pilot)
        following = screen.form.current()
        assert following is not None
        assert following is not first
        assert following.field.flag in str(screen.query_one("#option-help").render())
        await pilot.press("up")
        await settle(pilot)
        assert screen.form.current() is first
        first.text = "changed"
        await pilot.press("ctrl+r")
        await settle(pilot)
        assert first.text == ""


@pytest.mark.slow
async def test_what_was_typed_for_a_stage_is_kept_while_another_is_looked_at(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await launch_screen(app, pilot)
        row(screen, "depth").text = "7"
        choice = screen.query_one("#stage", Choice)
        choice.value = "tok_train"
        await settle(pilot, lambda: screen._stage == "tok_train")
        choice.value = "base_train"
        await settle(pilot, lambda: screen._stage == "base_train")
        assert row(screen, "depth").text == "7"


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_focused_field_its_help_and_the_command_are_in_sight(
    bench: Bench, size: tuple[int, int]
) -> None:
    bench.run("one")
    async with bench.open(size=size) as (app, pilot):
        screen = await launch_screen(app, pilot)
        for _ in range(12):
            await pilot.press("down")
        await settle(pilot)
        form = screen.query_one(OptionForm)
        focused = screen.focused
        assert focused is not None
        assert form.region.contains_region(focused.region)
        for part in ("#option-help", "#command"):
            assert screen.query_one(part).region.height > 0


async def test_the_plan_screen_shows_stages_and_headless_command_and_starts_the_plan(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        await pilot.press("p")
        await settle(pilot, lambda: isinstance(app.screen, PlanScreen))
        shown = str(app.screen.query_one("#stages").render())
        assert "tok_train" in shown
        assert "vocab_size" in shown
        assert "nanochat --no-tui demo" in str(app.screen.query_one("#headless").render())
        await pilot.press("ctrl+s")
        await settle(pilot, lambda: bool(bench.fleet.launched()))
        assert [request.stage for request in bench.fleet.launched()] == [
            "data_build",
            "tok_train",
            "base_train",
        ]


async def test_a_plan_file_that_cannot_be_read_says_why_and_does_not_start(
    bench: Bench, tmp_path: Any
) -> None:
    bench.run("one")
    bad = tmp_path / "bad.toml"
    bad.write_text('[[stage]]\nstage = "base_trian"\n')
    async with bench.open() as (app, pilot):
        await pilot.press("p")
        await settle(pilot, lambda: isinstance(app.screen, PlanScreen))
        app.screen.query_one("#plan-path", Input).value = str(bad)
        await settle(pilot)
        assert "base_train" in str(app.screen.query_one("#stages").render())
        await pilot.press("ctrl+s")
        await settle(pilot)
        assert not bench.fleet.launched()


def test_the_reproducing_command_can_be_pasted_into_a_shell(bench: Bench) -> None:
    from remote.hosts.book import Host

    host = Host("box", "ssh", "me", "node", python="~/venv/bin/python", base_dir="~/nano chat")
    run = RunRow(
        "box/a", "box", "a", stage="base_train", argv=("-m", "nanochat.stages.base_train", "--run=a b")
    )
    line = reproduce(run, host)
    assert shlex.split(line) == [
        "NANOCHAT_BASE_DIR=~/nano chat",
        "~/venv/bin/python",
        "-m",
        "nanochat.stages.base_train",
        "--run=a b",
    ]
    assert line.startswith("NANOCHAT_BASE_DIR=~/'nano chat' ~/venv/bin/python -m")
    options = from_mapping(STAGES["base_train"].options, {"depth": 4})
    assert stage_line("base_train", options, Host("x", base_dir="/b"), "python3").endswith(
        "base_train --depth=4"
    )
    assert headless_line("my plan.toml", "box") == "nanochat --no-tui 'my plan.toml' --host box"


def plan_run(index: int, status: str, plan: str = "p", host: str = "local") -> RunRow:
    return RunRow(
        f"{host}/{plan}{index}", host, f"{plan}{index}", status=status, plan_id=plan, plan_index=index
    )


def test_a_plan_is_followed_to_its_next_live_run() -> None:
    done, works, waits = plan_run(0, "succeeded"), plan_run(1, "running"), plan_run(2, "created")
    assert next_to_show([waits, works, done], done) == works.key
    assert next_to_show([waits, works, done], works) == ""
    assert next_to_show([plan_run(1, "running", "q"), plan_run(1, "running", host="box")], done) == ""
    assert next_to_show([plan_run(0, "failed"), plan_run(1, "stopped")], plan_run(0, "failed")) == ""
    alone = RunRow("local/a", "local", "a", status="succeeded")
    assert next_to_show([alone, RunRow("local/b", "local", "b", status="running", plan_index=1)], alone) == ""


def shown_estimate(screen: LaunchScreen) -> str:
    return str(screen.query_one("#estimate").render())


@pytest.mark.slow
async def test_a_pretraining_run_is_foreseen_on_the_chosen_host(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await launch_screen(app, pilot)
        await settle(pilot, lambda: "one of its 8 H100" in shown_estimate(screen))
        row(screen, "depth").text = "4"
        await settle(pilot, lambda: "36.7M parameters" in shown_estimate(screen))
        assert "up to batch 128 fits" in shown_estimate(screen)
        assert "steps" in shown_estimate(screen)
        assert "$" in shown_estimate(screen)
        row(screen, "depth").text = "26"
        row(screen, "device_batch_size").text = "64"
        await settle(pilot, lambda: "too much" in shown_estimate(screen))
        row(screen, "device_batch_size").text = "3"
        await settle(pilot, lambda: "batch 3 does not divide" in shown_estimate(screen))
        row(screen, "target_param_data_ratio").text = "0"
        await settle(pilot, lambda: "how long to train" in shown_estimate(screen))
        screen.query_one("#stage", Choice).value = "tok_train"
        await settle(pilot, lambda: not screen.query_one("#estimate").display)


def test_memory_that_is_shared_is_the_hosts_and_unknown_memory_gives_no_verdict() -> None:
    host = Host("box", "box")
    options = STAGES["base_train"].options(depth=4, num_iterations=10, eval_tokens=1)  # type: ignore[call-arg]

    def told(gpu: Gpu) -> str:
        probe = Probe("box", "node7", "3.11.7", "abc", 20, 128 << 30, 5 << 30, 100 << 30, False, gpus=(gpu,))
        machine, where = machine_of(host, probe, [])
        return str(estimate_text(options, machine, where, 1000, None))  # type: ignore[arg-type]

    shared = told(Gpu("NVIDIA GB10", None, mem_shared=True))
    assert "of 128G" in shared and "up to batch" in shared and "too much" not in shared
    unknown = told(Gpu("NVIDIA GB10", None))
    assert "of unknown memory" in unknown and "fits" not in unknown and "too much" not in unknown
    assert " 0B" not in shared + unknown


def test_a_cpu_is_as_fast_as_in_its_last_run_and_unknown_before() -> None:
    host = Host("local", "local", price_per_hour=2.0)
    probe = Probe("local", "node7", "3.11.7", "abc", 16, 64 << 30, 5 << 30, 100 << 30, False)
    options = STAGES["base_train"].options(depth=4, num_iterations=10, eval_tokens=1)  # type: ignore[call-arg]
    machine, where = machine_of(host, probe, [])
    assert machine.memory == 64 << 30
    assert "time not known" in str(estimate_text(options, machine, where, 1000, None))  # type: ignore[arg-type]
    latest = {"train/tok_per_sec": 2000.0, "train/total_flops": 3e12, "train/total_tokens": 1e5}
    runs = [RunRow("local/a", "local", "a", stage="base_train", latest=latest)]
    machine, where = machine_of(host, probe, runs)
    made = estimate(options, machine, 1000)  # type: ignore[arg-type]
    assert made.seconds == pytest.approx(made.flops / (2000 * 3e12 / 1e5))
    assert "as fast as in its last run" in where
    assert machine_of(host, None, runs)[1] == "on one H100, until the host is probed"


def command_shown(screen: LaunchScreen) -> bool:
    """Whether every line of the command is in sight, and nothing of its box is cut."""
    box, text = screen.query_one("#command-box"), screen.query_one("#command")
    return box.size.height >= text.virtual_size.height > 0 and box.region.bottom <= screen.size.height - 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (60, 20), (100, 28), (120, 40)])
async def test_exactly_this_will_run_is_whole_at_every_size(bench: Bench, size: tuple[int, int]) -> None:
    bench.run("one")
    async with bench.open(size) as (app, pilot):
        screen = await launch_screen(app, pilot)
        await settle(pilot, lambda: command_shown(screen))
        for name, text in (("depth", "4"), ("total_batch_size", "65536"), ("window_pattern", "SSSL")):
            row(screen, name).text = text
        row(screen, "data_dir").text = "/a/rather/long/folder/with/shards/of/text"
        await settle(pilot, lambda: "--data-dir" in screen.command() and command_shown(screen))
        await settle(pilot, lambda: screen.query_one("#form").size.height >= 3)
        row(screen, "depth").text = "4x"
        await settle(
            pilot, lambda: command_shown(screen) and "4x" in str(screen.query_one("#command").render())
        )


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 80, 109, 110, 120, 126, 140, 200])
async def test_a_field_that_is_wrong_is_still_seen(bench: Bench, width: int) -> None:
    bench.run("one")
    async with bench.open((width, 40)) as (app, pilot):
        screen = await launch_screen(app, pilot)
        for name, text in (("depth", "4x"), ("seed", "what is this"), ("model_tag", "changed")):
            field = row(screen, name)
            field.text = text
            await settle(pilot, lambda field=field: bool(str(field.query_one(".note").render())))  # type: ignore[misc]
            assert field.query_one(Input).size.width >= 14, name


def change(row: FieldRow) -> None:
    """Puts another value into the editor of a row."""
    editor = next(iter(row.query("Input, Choice")))
    if isinstance(editor, Input):
        editor.value = "9"
    else:
        assert isinstance(editor, Choice)
        editor.action_step(1)


@pytest.mark.slow
async def test_ctrl_r_puts_every_field_back_to_its_default(bench: Bench) -> None:
    bench.run("one")
    async with bench.open() as (app, pilot):
        screen = await launch_screen(app, pilot)
        name, stage = screen.query_one("#name", Input), screen.query_one("#stage", Choice)
        name.focus()
        await pilot.press(*"try", "ctrl+r")
        await settle(pilot, lambda: name.value == "")
        stage.focus()
        await pilot.press("right", "ctrl+r")
        await settle(pilot, lambda: stage.value == "base_train")
        rows = list(screen.form.rows())
        defaults = [field.text for field in rows]
        of_a_kind: dict[type, FieldRow] = {}
        for field in rows:
            editor = next(iter(field.query("Input, Choice")))
            of_a_kind.setdefault(type(editor), field)
            screen.set_focus(editor)
            change(field)
            assert field.text != defaults[rows.index(field)]
            screen.action_reset_field()
        await settle(pilot, lambda: [field.text for field in rows] == defaults)
        assert len(of_a_kind) == 2
        for kind, field in of_a_kind.items():  # and by the key: a hundred times would take half a minute
            screen.set_focus(field.query_one(kind))
            before = field.text
            change(field)
            await pilot.press("ctrl+r")
            await settle(pilot, lambda field=field, before=before: field.text == before)  # type: ignore[misc]


@pytest.mark.parametrize(("key", "place"), [("n", " Launch "), ("p", " Plan ")])
async def test_the_top_bar_says_that_one_is_on_launch_or_plan(bench: Bench, key: str, place: str) -> None:
    bench.run("one")
    async with bench.open((80, 24)) as (app, pilot):
        await pilot.press(key)
        await settle(pilot, lambda: place in str(app.screen.query_one(TopBar).render()))
