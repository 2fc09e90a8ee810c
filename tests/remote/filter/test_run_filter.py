"""The filter language: what it finds, what it says when it does not understand, what it offers."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from remote.filter.completion import complete
from remote.filter.run_filter import parse, understood
from remote.runs import RunRow

NOW = time.time()
RUNS = [
    RunRow(
        "local/a",
        "local",
        "a",
        name="demo",
        stage="base_train",
        status="running",
        plan_name="speedrun",
        plan_id="1",
        created_at=NOW - 60,
        step=50,
        total_steps=100,
        eta_s=90.0,
        latest={"train/loss": 2.5, "val/bpb": 0.95, "train/grad_norm": 0.4},
        options={"depth": 20, "device": "cuda", "compile": True},
    ),
    RunRow(
        "box/b",
        "box",
        "b",
        name="d4 try",
        stage="tok_train",
        status="failed",
        alerts=2,
        reason="CUDA out of memory",
        created_at=NOW - 3 * 86400,
        started_at=1000.0,
        ended_at=1000.0 + 5400,
        options={"depth": 4, "vocab-size": "32k"},
    ),
    RunRow(
        "box/c",
        "box",
        "c",
        name="d20",
        stage="base_train",
        status="succeeded",
        tags=("paper",),
        pinned=True,
        note="the one to beat (so far)",
        created_at=NOW - 40 * 86400,
        step=100,
        total_steps=100,
        latest={"train/loss": 1.9, "val/bpb": 0.82},
        results={"core/core": 0.25},
        options={"depth": 12},
    ),
    RunRow(
        "box/old",
        "box",
        "old",
        name="older",
        stage="mid_train",
        status="stopped",
        archived=True,
        tags=("paper",),
    ),
]


def found(text: str) -> list[str]:
    keep = parse(text, RUNS)
    return [run.run_id for run in RUNS if keep.keeps(run)]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", ["a", "b", "c"]),
        ("base", ["a", "c"]),
        ("BASE box", ["c"]),
        ("stage:base host:box", ["c"]),
        ("status:running", ["a"]),
        ("status:live", ["a"]),
        ("status:ended", ["b", "c"]),
        ("-status:live", ["b", "c"]),
        ("-base", ["b"]),
        ("paper", ["c"]),
        ("has:alerts", ["b"]),
        ("has:pin", ["c"]),
        ("plan:speed", ["a"]),
        ("tag:paper", ["c"]),
        ("nothing", []),
        ("queued", []),
        ("loss<2", ["c"]),
        ("loss < 2.5", ["c"]),
        ("loss<=2.5", ["a", "c"]),
        ("train/loss>=2.5", ["a"]),
        ("bpb<0.9", ["c"]),
        ("BPB<0.9", ["c"]),
        ("core>0.2", ["c"]),
        ("CORE>0.2", ["c"]),
        ("grad_norm:", ["a"]),
        ("loss:", ["a", "c"]),
        ("loss=1.9", ["c"]),
        ("loss!=1.9", ["a"]),
        ("not loss<2", ["a", "b"]),
        ("config.depth>12", ["a"]),
        ("config.depth>=12", ["a", "c"]),
        ("config.depth:12", ["c"]),
        ("config.device:CUD", ["a"]),
        ("config.compile=true", ["a"]),
        ("config.vocab_size:32k", ["b"]),
        ("config.depth!=4", ["a", "c"]),
        ("demo or try", ["a", "b"]),
        ("demo OR try", ["a", "b"]),
        ("host:local or loss<2", ["a", "c"]),
        ("base demo or base paper", ["a", "c"]),
        ("base and paper", ["c"]),
        ("(demo or try) host:box", ["b"]),
        ("not (demo or try)", ["c"]),
        ("-(demo or try)", ["c"]),
        ("not not demo", ["a"]),
        ('"d4 try"', ["b"]),
        ('name:"d4 try"', ["b"]),
        ('"(so far)"', ["c"]),
        ('"or"', ["b"]),
        ("name=d20", ["c"]),
        ("name!=d20", ["a", "b"]),
        ("reason:memory", ["b"]),
        ("has:reason", ["b"]),
        ("has:note", ["c"]),
        ("has:tags", ["c"]),
        ("has:tag", ["c"]),
        ("has:plan", ["a"]),
        ("note:beat", ["c"]),
        ("is:live", ["a"]),
        ("is:pinned", ["c"]),
        ("is:archived", ["old"]),
        ("is:arch", ["old"]),
        ("is:any paper", ["c", "old"]),
        ("not is:archived", ["a", "b", "c"]),
        ("step>=50", ["a", "c"]),
        ("done>50%", ["c"]),
        ("done=50", ["a"]),
        ("eta<2m", ["a"]),
        ("time>1h", ["b"]),
        ("time=1h30m", ["b"]),
        ("age<1h", ["a"]),
        ("age>2d", ["b", "c"]),
        ("alerts>1", ["b"]),
        ("created:today", ["a"] if time.localtime(NOW).tm_yday == time.localtime(NOW - 60).tm_yday else []),
        (f"created<{time.strftime('%Y-%m-%d', time.localtime(NOW - 86400))}", ["b", "c"]),
        (f"created>={time.strftime('%Y-%m-%d', time.localtime(NOW - 4 * 86400))}", ["a", "b"]),
        (f"created:{time.strftime('%Y-%m', time.localtime(NOW - 40 * 86400))}", ["c"]),
        ("created:", ["a", "b", "c"]),
    ],
)
def test_words_and_fields_must_all_hold(text: str, ids: list[str]) -> None:
    assert found(text) == ids


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("statsu:running", "did you mean 'status'"),
        ("lsos<2", "did you mean 'loss'"),
        ("zzz<2", "known: name"),
        ("config.dept>2", "did you mean 'config.depth'"),
        ("loss<two", "'two' is no number"),
        ("loss<", "loss< what"),
        ("host<box", "host is text"),
        ("status:runing", "no status 'runing' (did you mean 'running'"),
        ("has:nothing", "no has 'nothing'"),
        ("has:", "known: alerts, note"),
        ("created>soon", "'soon' is no date"),
        ("config.depth<deep", "'deep' is no number"),
        ('"open', "a quotation mark is not closed"),
        ("(demo", "a ( is not closed"),
        ("demo)", "a ) that closes nothing"),
        ("demo or", "'or' needs a term on either side"),
        ("or demo", "'or' needs a term on either side"),
        ("demo and", "'and' needs a term on either side"),
        ("and", "'and' needs a term on either side"),
        ("demo and or try", "'and' needs a term on either side"),
        ("not", "'not' of what"),
        ("<2", "'<2' compares nothing"),
        ("(" * 200 + "demo", "nested deeper than 50"),
        ("not " * 200 + "demo", "nested deeper than 50"),
        ("-" * 200 + "demo", "nested deeper than 50"),
    ],
)
def test_what_is_not_understood_is_said_in_one_line(text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, RUNS)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("statsu:failed", ""),
        ("host:box statsu:failed", "host:box"),
        ("host:box or statsu:failed", "host:box"),
        ("host:box and not statsu:failed", "host:box"),
        ("host:box (demo or loss<", "host:box"),
        ("host:box -statsu:failed", "host:box"),
        ("host:box loss<2", "host:box loss<2"),
    ],
)
def test_rows_are_left_as_they_were_before_what_is_not_understood(text: str, kept: str) -> None:
    keep, error = understood(text, RUNS)
    assert (error is None) == (kept == text)
    assert [keep.keeps(run) for run in RUNS] == [parse(kept, RUNS).keeps(run) for run in RUNS]


# ---- any filter against a plain predicate ------------------------------------------------------------


Plain = Callable[[RunRow], bool]
NUMBER = st.sampled_from([-1.5, 0.0, 0.25, 1.9, 2.0, 12.0, 1e6])
OPS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}
NAMES = ("demo", "d4 try", "a(b)", "or", "x")


def compared(read: Callable[[RunRow], object], op: str, wanted: float) -> Plain:
    def holds(run: RunRow) -> bool:
        value = read(run)
        return isinstance(value, float) and OPS[op](value, wanted)

    return holds


@st.composite
def a_term(draw: st.DrawFn) -> tuple[str, Plain]:
    kind = draw(st.sampled_from(["loss", "option", "name", "status", "tag", "has", "word"]))
    op, wanted = draw(st.sampled_from(sorted(OPS))), draw(NUMBER)
    name = draw(st.sampled_from(NAMES))
    if kind == "loss":
        space = draw(st.sampled_from(["", " "]))
        return f"loss{space}{op}{space}{wanted}", compared(
            lambda run: run.latest.get("train/loss"), op, wanted
        )
    if kind == "option":
        return f"config.lr{op}{wanted}", compared(lambda run: run.options.get("lr"), op, wanted)
    if kind == "name":
        return f'name:"{name}"', lambda run: name in run.name or (name in run.run_id and not run.name)
    if kind == "status":
        status = draw(st.sampled_from(["running", "failed", "succeeded"]))
        return f"status:{status}", lambda run: run.status == status
    if kind == "tag":
        return "tag=x", lambda run: "x" in run.tags
    if kind == "has":
        return "has:note", lambda run: bool(run.note)
    fields = ("name", "stage", "host", "run_id", "note", "status")
    return (
        f'"{name}"',
        lambda run: any(name in str(getattr(run, field)) for field in fields) or name in run.tags,
    )


def joined(inner: st.SearchStrategy[tuple[str, Plain]]) -> st.SearchStrategy[tuple[str, Plain]]:
    def negated(part: tuple[str, Plain], word: str) -> tuple[str, Plain]:
        return f"{word}({part[0]})", lambda run: not part[1](run)

    def both(left: tuple[str, Plain], right: tuple[str, Plain], word: str) -> tuple[str, Plain]:
        return f"({left[0]}){word}({right[0]})", lambda run: left[1](run) and right[1](run)

    def either(left: tuple[str, Plain], right: tuple[str, Plain]) -> tuple[str, Plain]:
        return f"({left[0]} or {right[0]})", lambda run: left[1](run) or right[1](run)

    return st.one_of(
        st.builds(negated, inner, st.sampled_from(["not ", "-", "NOT "])),
        st.builds(both, inner, inner, st.sampled_from([" ", " and ", " AND "])),
        st.builds(either, inner, inner),
    )


A_RUN = st.builds(
    RunRow,
    st.just("h/r"),
    st.just("h"),
    st.just("r"),
    name=st.sampled_from(["", *NAMES]),
    stage=st.sampled_from(["base", "tok"]),
    status=st.sampled_from(["running", "failed", "succeeded"]),
    latest=st.dictionaries(st.just("train/loss"), NUMBER),
    options=st.fixed_dictionaries({}, optional={"lr": NUMBER}),
    tags=st.sampled_from([(), ("x",), ("demo", "x")]),
    note=st.sampled_from(["", "x", "or so"]),
)


@given(st.recursive(a_term(), joined, max_leaves=6), st.lists(A_RUN, min_size=1, max_size=6))
def test_any_filter_keeps_what_a_plain_predicate_keeps(case: tuple[str, Plain], runs: list[RunRow]) -> None:
    text, plain = case
    vocabulary = [*runs, RunRow("h/v", "h", "v", options={"lr": 1.0})]
    keep = parse(text, vocabulary)
    assert [keep.keeps(run) for run in runs] == [plain(run) for run in runs], text


@given(st.text(alphabet="ab:<>=!()\"'- or.n/t\x1b2", max_size=30), st.integers(0, 30))
def test_any_text_is_understood_or_told_and_can_be_completed(text: str, cursor: int) -> None:
    keep, error = understood(text, RUNS)
    [keep.keeps(run) for run in RUNS]
    assert error is None or str(error).isprintable()
    offered = complete(text, min(cursor, len(text)), RUNS)
    assert 0 <= offered.start <= offered.end <= len(text)


# ---- completion --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("sta", ["stage:", "status:"]),
        ("stage:", ["stage:base_train", "stage:mid_train", "stage:tok_train"]),
        ("stage:tok", ["stage:tok_train"]),
        ("host:box status:f", ["status:failed"]),
        ("-tag:p", ["tag:paper"]),
        ("has:", ["has:alerts", "has:note"]),
        ("is:arc", ["is:archived"]),
        ("bp", ["bpb<"]),
        ("los", ["loss<"]),
        ("grad", ["train/grad_norm<"]),
        ("config.de", ["config.depth=", "config.device="]),
        ("config.depth=1", ["config.depth=12"]),
        ("name:d4", ['name:"d4 try"']),
        ('name:"d4', ['name:"d4 try"']),
        ("(status:run", ["status:running"]),
        ("created>", ["created>today"]),
    ],
)
def test_the_term_at_the_cursor_is_completed(text: str, first: list[str]) -> None:
    offered = complete(text, len(text), RUNS)
    assert list(offered.options[: len(first)]) == first
    written = text[: offered.start] + offered.options[0]
    parse(written + ("1" if written.endswith(("<", ">", "=")) else "") + ")" * written.count("("), RUNS)


def test_nothing_is_offered_for_a_term_that_is_whole() -> None:
    assert complete("status:running", 14, RUNS).options == ()
    assert complete("zzz:", 4, RUNS).options == ()
