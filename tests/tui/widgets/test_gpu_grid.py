"""The machine panel says in words what is wrong with a GPU, shows who is slow, invents no reading."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from tests.tui.plots.test_plotting import colours
from tui.data.telemetry import BUCKETS, GpuHistory, Value, gpus
from tui.style.themes import THEMES
from tui.widgets.gpu_grid import GpuGrid
from tui.widgets.machine_lines import NO_GPU, NO_TELEMETRY, WAITING, Machine, Panel, machine_lines

GIB = 2**30


def telemetry(count: int = 8, **changes: Value) -> dict[str, Value]:
    """One sample of a healthy node; a change is named like `gpu_5_util`."""
    data: dict[str, Value] = {
        "host/cpu": 12.0,
        "host/load1": 3.2,
        "host/cores": 208,
        "host/ram_used": 118 * GIB,
        "host/ram_total": 2000 * GIB,
        "host/disk_used": 1200 * GIB,
        "host/disk_total": 3500 * GIB,
        "host/net_rx": 1_200_000.0,
        "host/net_tx": 340_000.0,
        "host/in_container": 0,
    }
    for index in range(count):
        data |= {
            f"gpu/{index}/name": "NVIDIA H100 80GB HBM3",
            f"gpu/{index}/util": 98.0,
            f"gpu/{index}/mem_used": 71.2 * GIB,
            f"gpu/{index}/mem_total": 80 * GIB,
            f"gpu/{index}/power": 690.0,
            f"gpu/{index}/power_limit": 700.0,
            f"gpu/{index}/temp": 61,
            f"gpu/{index}/sm_clock": 1980,
            f"gpu/{index}/throttle": "",
            f"gpu/{index}/ecc": 0,
        }
    return data | {name.replace("__", "/"): value for name, value in changes.items()}


def machine(*samples: dict[str, Value]) -> Machine:
    made = Machine()
    for index, data in enumerate(samples):
        made.data, made.gpus = data, gpus(data)
        made.history.add(1000.0 + 2 * index, made.gpus)
    return made


def shown(of: Machine, width: int = 80, height: int | None = None, heat: str = "util") -> list[str]:
    lines = machine_lines(of, Panel(width, colours()), height=height, heat_metric=heat)
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_a_healthy_node_has_a_row_per_gpu_and_no_complaint() -> None:
    lines = shown(machine(telemetry()), width=100)
    assert lines[0].split() == [
        "GPU",
        "util",
        "mem",
        "W",
        "°C",
        "SM",
        "8",
        "×",
        "NVIDIA",
        "H100",
        "80GB",
        "HBM3",
    ]
    assert [line.split()[0] for line in lines[1:9]] == [str(index) for index in range(8)]
    assert lines[1].split()[2:] == ["98", "71.2G/80.0G", "690/700", "61", "1.98G"]
    assert not any(mark in "\n".join(lines) for mark in "⚠✖")


@pytest.mark.parametrize("width", [30, 40, 80, 120])
def test_no_line_is_wider_than_the_panel(width: int) -> None:
    sick = telemetry(gpu__3__throttle="SwThermalSlowdown", gpu__3__ecc=2, gpu__5__temp=91)
    for line in shown(machine(*[sick] * 40), width):
        assert len(line) <= width or "⚠" in line


def test_throttling_and_memory_errors_stand_in_words() -> None:
    lines = shown(machine(telemetry(gpu__2__ecc=3, gpu__5__throttle="HwThermalSlowdown")))
    text = "\n".join(lines)
    assert "✖ ECC 3" in text and "⚠ throttle: HwThermalSlowdown" in text
    at = next(index for index, line in enumerate(lines) if line.startswith("  5 "))
    assert "HwThermalSlowdown" in lines[at] + lines[at + 1], "the words stand with their GPU"


def test_what_a_host_says_cannot_command_the_terminal() -> None:
    assert "\x1b" not in "\n".join(
        shown(machine(telemetry(gpu__0__throttle="\x1b[2Jx", gpu__0__name="\x1b]0;x\x07")))
    )


def test_unreadable_values_are_dashes_never_zero() -> None:
    lines = shown(machine({"gpu/0/util": 50.0, "host/cpu": 3.0}))
    assert lines[1].split() == ["0", "━" * 20, "50", "–", "–", "–", "–"]
    assert lines[2] == "host cpu 3 %"
    assert gpus({"gpu/0/util": "NaN", "gpu/0/temp": float("nan")})[0].util is None


def test_a_straggler_stands_out_in_the_heat_map_at_80_columns() -> None:
    slow = telemetry(gpu__5__sm_clock=1410)
    lines = shown(machine(*[slow] * 240), heat="sm_clock")
    assert any("⚠ clock 29 % under the others" in line for line in lines)
    heat = lines[-8:]
    assert [line[3] for line in heat] == [" "] * 5 + ["⚠"] + [" "] * 2
    assert set(heat[0][4:70]) == {"▇"} and "▇" not in heat[5][4:70]
    assert heat[5].endswith("1410")


def test_two_gpus_have_no_straggler_because_nobody_can_say_which() -> None:
    assert machine(*[telemetry(2, gpu__1__util=10.0)] * 60).history.stragglers() == {}


def test_a_short_dip_of_one_gpu_is_no_straggler() -> None:
    samples = [telemetry()] * 58 + [telemetry(gpu__5__util=0.0)] * 2
    assert machine(*samples).history.stragglers() == {}


def test_a_machine_without_a_gpu_says_so() -> None:
    lines = shown(machine(telemetry(0)))
    assert lines[0] == NO_GPU
    assert lines[1].startswith("host cpu 12 %  load 3.2 of 208 cores  ram 118G of 2.0T")
    assert shown(Machine()) == [WAITING]
    assert shown(Machine(ended=True)) == [NO_TELEMETRY]


def test_a_container_is_named_as_one() -> None:
    assert any("in a container" in line for line in shown(machine(telemetry(1, host__in_container=1))))


def test_the_heat_map_gives_way_where_there_is_no_room() -> None:
    of = machine(*[telemetry()] * 60)
    assert len(shown(of, height=12)) <= 12
    assert len(shown(of)) > 12


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=300),
    st.integers(1, 40),
    st.floats(60, 2000),
)
def test_a_heat_map_cell_is_the_mean_of_what_was_read_in_it(
    values: list[float], columns: int, seconds: float
) -> None:
    history = GpuHistory()
    for index, value in enumerate(values):
        history.add(1000.0 + 5 * index, gpus({"gpu/0/util": value}))
    row = history.row(0, "util", columns, seconds)
    assert len(row) == columns
    known = [value for value in row if value is not None]
    recent = values[-int(seconds // 5) - 1 :]
    assert known and min(recent) - 1e-9 <= min(known) and max(known) <= max(recent) + 1e-9
    assert history.row(0, "util", 1, 1e6) == [pytest.approx(sum(values) / len(values))]


def test_history_is_bounded_to_two_hours() -> None:
    history = GpuHistory()
    for index in range(4000):
        history.add(5.0 * index, gpus({"gpu/0/util": 1.0}))
    assert history.span() == pytest.approx(5 * BUCKETS, rel=0.01)


class PanelApp(App[None]):
    CSS = "GpuGrid { width: 80; }"

    def compose(self) -> ComposeResult:
        yield GpuGrid()

    def on_mount(self) -> None:
        for theme in THEMES.values():
            self.register_theme(theme)
        self.theme = "dark"


async def test_the_panel_grows_with_its_gpus_dims_when_stale_and_cycles_its_heat_map() -> None:
    app = PanelApp()
    async with app.run_test(size=(80, 40)) as pilot:
        panel = app.query_one(GpuGrid)
        assert panel.size.height == 1
        panel.load([(1000.0 + 2 * index, telemetry()) for index in range(60)])
        await pilot.pause()
        assert panel.size.height == 1 + 8 + 2 + 1 + 8
        fresh = panel.render_line(1)
        panel.set_stale(12.0)
        await pilot.pause()
        assert panel.render_line(0).text.startswith("⚠ no contact for 12 s")
        assert panel.render_line(2).text == fresh.text, "the last data stays"
        assert panel.render_line(2) != fresh, "but dimmed"
        panel.set_stale(None)
        panel.focus()
        await pilot.press("m")
        await pilot.pause()
        titles = [panel.render_line(y).text for y in range(panel.size.height)]
        assert any(title.startswith("SM clock 0–1980 MHz, last 5m55s") for title in titles)
        panel.clear()
        await pilot.pause()
        assert panel.render_line(0).text.startswith(WAITING)


def test_a_narrow_panel_leaves_the_clock_out_with_its_title() -> None:
    for width, titled in ((33, False), (34, True)):
        lines = shown(machine(telemetry(1)), width=width)
        assert lines[0].endswith("SM") is titled
        assert lines[1].endswith("G") is titled
