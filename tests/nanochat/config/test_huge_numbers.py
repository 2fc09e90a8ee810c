"""Numbers of thousands of digits, and texts nested thousands deep, are one line to the user everywhere."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nanochat.commands.bench import InferBenchOptions, batch_sizes
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.config.options import from_mapping
from nanochat.config.plan import parse_plan
from nanochat.config.stages import stage_spec
from nanochat.evals.records import RecordFile
from nanochat.run.stage_run import main as run_stage
from nanochat.tasks.identity import read_identity
from nanochat.tasks.mixture import parse_part
from remote.fleet.answers import probe_of
from remote.hosts.book import HostBook, parse_ssh_target
from tui.keymap import read_keymap

SPELLED = ["9" * 5_000, "-" + "9" * 5_000, "9" * 400, "1e999999", "0x" + "f" * 5_000, "٣" * 50]
DEEP = "[" * 20_000


def in_file(read: Callable[[Path], object], form: str) -> Callable[[str, Path], object]:
    def reading(number: str, folder: Path) -> object:
        path = folder / "file"
        path.write_text(form.replace("NUMBER", number), encoding="utf-8")
        return read(path)

    return reading


def hosts(path: Path) -> object:
    layout = Layout(path.parent)
    path.rename(layout.hosts_file)
    return HostBook(layout).get("a")


READERS: dict[str, Callable[[str, Path], object]] = {
    "plan": lambda number, _: parse_plan(
        f"name = 'x'\n[[stage]]\nstage = 'base_train'\ndepth = {number}\n", "p"
    ),
    "plan name": lambda number, _: parse_plan(f"name = {number}\n", "p"),
    "option": lambda number, _: from_mapping(
        stage_spec("base_train").options, {"depth": number}, "base_train"
    ),
    "rate": lambda number, _: from_mapping(
        stage_spec("base_train").options, {"matrix_lr": number}, "base_train"
    ),
    "port": lambda number, _: parse_ssh_target(f"me@host:{number}"),
    "mixture": lambda number, _: parse_part(f"GSM8K:{number}"),
    "epochs": lambda number, _: parse_part(f"GSM8K*{number}"),
    "batch sizes": lambda number, _: batch_sizes(InferBenchOptions(batch_sizes=(number,))),
    "keymap": in_file(read_keymap, '"runs.stop" = NUMBER'),
    "identity": in_file(read_identity, "facts = NUMBER"),
    "records": in_file(RecordFile, '{"task": "x", "index": NUMBER}\n'),
    "hosts": in_file(hosts, '{"hosts": [{"name": "a", "kind": "ssh", "address": "h", "port": NUMBER}]}'),
    "price": in_file(
        hosts, '{"hosts": [{"name": "a", "kind": "ssh", "address": "h", "price_per_hour": NUMBER}]}'
    ),
}


@pytest.mark.parametrize(
    "name", ["WORLD_SIZE", "RANK", "LOCAL_RANK", "NANOCHAT_ATTEMPT", "NANOCHAT_LAUNCHER_PID"]
)
@pytest.mark.parametrize("said", ["x", "-1", "²", "9" * 5_000])
def test_a_variable_that_is_no_number_is_one_line(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "run"))
    if name.endswith("RANK"):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(name, said)
    assert run_stage("base_loss", [f"--base-dir={tmp_path}", "--device-type=cpu"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{name}='{said[:40]}' in the environment is not a whole number" in error


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "number", [*SPELLED, DEEP], ids=["long", "below", "400", "e", "hex", "arabic", "deep"]
)
def test_it_is_one_line(reader: str, number: str, tmp_path: Path) -> None:
    try:
        READERS[reader](number, tmp_path)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 2_500
    else:
        assert (reader, number) in (("records", SPELLED[2]), ("rate", SPELLED[5]))


@pytest.mark.parametrize(
    "value", [10**400, 10**5_000, float("inf"), float("nan"), "x", [], None], ids=list("abcdefg")
)
@pytest.mark.parametrize(
    "name", ["cores", "ram_total", "disk_free", "disk_total", "gpus", "hostname", "interpreter"]
)
def test_a_probe_with_any_value_is_a_probe_or_one_line(name: str, value: object) -> None:
    answer = {
        "hostname": "h",
        "python": "3",
        "version": "1",
        "cores": 1,
        "ram_total": 1,
        "disk_free": 1,
        "disk_total": 1,
        "in_container": False,
        "gpus": [{"name": "x", "mem_total": 1}],
    }
    answer[name] = [{"name": "\x1b]0;x\x07", "mem_total": value}] if name == "gpus" else value
    try:
        probe = probe_of("box", answer, 0.0)
    except UserError as error:
        assert "cannot read" in str(error) and "\n" not in str(error)
    else:
        assert "\x1b" not in repr(probe) and "\x07" not in repr(probe)


def test_errors_print_no_control_character_of_what_was_typed() -> None:
    error = UserError("no run '\x1b[2J\x1b]0;title\x07\x9b31m\u202e'", "see \x1b[31m")
    assert json.dumps(str(error), ensure_ascii=False).isprintable()
    assert str(error) == "no run '␛[2J␛]0;title␇⟨009b⟩31m⟨202e⟩' (see)"
