"""The event log: numbering without gap or repeat, whole lines only, whatever dies in the middle."""

import json
import math
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.run.events import MAX_LINE, RENAMED_METRICS, Event, EventWriter, parse_line, read_events

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def nan_free(value: object) -> bool:
    return "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value)


names = st.text().filter(lambda name: name not in RENAMED_METRICS)


@given(step=st.none() | st.integers(0, 2**40), data=st.dictionaries(names, values, max_size=6))
def test_what_is_written_is_read_back_on_one_line(tmp_path_factory: pytest.TempPathFactory, step, data):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    with EventWriter(path) as log:
        log.emit("metric", step=step, data=data)
    raw = path.read_bytes()
    events, offset = read_events(path)
    assert raw.count(b"\n") == len(events)
    assert offset == len(raw)
    assert [event.seq for event in events] == list(range(len(events)))
    assert events[0].step == step
    if nan_free(data):
        assert events[0].data == data
        assert len(events) == 1


def test_metrics_of_version_0_1_0_have_their_present_names():
    event = parse_line(
        '{"seq":1,"t":1.0,"kind":"metric","step":2,"data":{"rl/ended":1,"rl/mixed":0.5,"x":3}}'
    )
    assert event is not None
    assert event.data == {"rl/finished_fraction": 1, "rl/mixed_reward_fraction": 0.5, "x": 3}


def test_non_finite_numbers_become_words_and_raise_an_alert(tmp_path: Path):
    with EventWriter(tmp_path / "events.jsonl") as log:
        log.emit(
            "metric", step=7, data={"train/loss": math.nan, "train/grad_norm": -math.inf, "train/lrm": 1.0}
        )
    (metric, alert), _ = read_events(tmp_path / "events.jsonl")
    assert metric.data == {"train/loss": "NaN", "train/grad_norm": "-Infinity", "train/lrm": 1.0}
    assert (alert.kind, alert.step, alert.data["what"]) == ("alert", 7, "non_finite")
    assert "train/loss is NaN" in str(alert.data["message"])


@given(torn=st.integers(0, 200), count=st.integers(0, 5))
def test_a_writer_continues_after_an_incomplete_line(tmp_path_factory: pytest.TempPathFactory, torn, count):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    with EventWriter(path) as log:
        for step in range(count):
            log.emit("metric", step=step, data={"train/loss": step})
    line = Event(count, 1.0, "metric", count, {"train/loss": "…" * 70}).line()
    with path.open("ab") as file:
        file.write(line[: min(torn, len(line) - 1)])
    before, offset = read_events(path)
    assert len(before) == count
    with EventWriter(path) as log:
        log.emit("log", data={"text": "again"})
    after, _ = read_events(path, offset)
    assert [event.seq for event in after] == [count]
    assert [event.seq for event in read_events(path)[0]] == list(range(count + 1))


def test_a_line_is_at_most_64_kib_and_says_that_it_was_cut(tmp_path: Path):
    with EventWriter(tmp_path / "events.jsonl") as log:
        log.emit("sample", data={"prompt": "p", "text": "é" * 200_000, "other": '"' * 90_000})
    raw = (tmp_path / "events.jsonl").read_bytes()
    assert len(raw) <= MAX_LINE
    (event,), _ = read_events(tmp_path / "events.jsonl")
    assert event.data["prompt"] == "p"
    assert str(event.data["text"]).startswith("é")
    assert "[cut]" in str(event.data["text"]) + str(event.data["other"])


@pytest.mark.parametrize(
    "line",
    [b"", b"\xff\xfe", b"[]", b"{}", b'{"seq":"0","t":1,"kind":"log"}', b'{"seq":0,"t":1,"kind":3}',
     b'{"seq":0,"t":1,"kind":"log","data":[]}', b'{"seq":0,"t":true,"kind":"log"}', b"[" * 100_000],
)  # fmt: skip
def test_a_foreign_line_is_no_event(line):
    assert parse_line(line) is None


def test_text_that_is_no_unicode_does_not_end_a_stage(tmp_path: Path):
    with EventWriter(tmp_path / "events.jsonl") as log:
        log.emit("log", data={"text": "a lone \ud800 surrogate"})
    assert read_events(tmp_path / "events.jsonl")[0][0].data == {"text": "a lone ? surrogate"}


def test_a_second_writer_is_refused(tmp_path: Path):
    with EventWriter(tmp_path / "events.jsonl"), pytest.raises(UserError, match="another process writes"):
        EventWriter(tmp_path / "events.jsonl")


def test_an_unknown_kind_and_unknown_keys_are_kept():
    event = parse_line(b'{"seq":3,"t":2.5,"kind":"from_the_future","data":{"x":{"y":[1,null]}},"more":1}')
    assert event == Event(3, 2.5, "from_the_future", None, {"x": {"y": [1, None]}})


def _write_for_ever(path: Path) -> None:
    with EventWriter(path) as log:
        step = 0
        while True:
            log.emit("metric", step=step, data={"train/loss": 1.0, "pad": "x" * 3000})
            step += 1


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_log_that_can_continue(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    for _ in range(5):
        process = multiprocessing.get_context("spawn").Process(target=_write_for_ever, args=(path,))
        size = path.stat().st_size if path.exists() else 0
        process.start()
        while not path.exists() or path.stat().st_size < size + 50_000:
            time.sleep(0.001)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    with EventWriter(path) as log:
        log.emit("stage_end")
    events, _ = read_events(path)
    assert [event.seq for event in events] == list(range(len(events)))


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"junk\n" * 100_000,
        b"x" * 1_000_000 + b"\n",
        b"torn",
        b"junk\n" * 60_000 + b"torn",
        b"y" * 500_000,
    ],
)
def test_a_log_goes_on_counting_behind_any_damage(tmp_path, damage):
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as log:
        for _ in range(5):
            log.emit("log", data={"text": "x" * 100})
    whole = path.read_bytes()
    path.write_bytes(whole + damage)
    with EventWriter(path) as log:
        log.emit("log")
    raw = path.read_bytes()
    assert raw.startswith(whole + damage[: damage.rfind(b"\n") + 1]) and raw.endswith(b"\n")
    assert [event.seq for event in read_events(path)[0]] == list(range(6))


@pytest.mark.parametrize("seq", ["9" * 400, "-5", "1e300", "true", '"x"', "9223372036854775807"])
def test_a_line_with_a_strange_number_is_no_place_to_go_on_from(tmp_path, seq):
    path = tmp_path / "events.jsonl"
    with EventWriter(path) as log:
        log.emit("log")
    with path.open("ab") as file:
        file.write(b'{"seq":%s,"t":1,"kind":"log","data":{}}\n' % seq.encode())
    with EventWriter(path) as log:
        log.emit("log")
    assert read_events(path)[0][-1].seq == 1
