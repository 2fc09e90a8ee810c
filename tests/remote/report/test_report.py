"""The report of a pipeline: what it says is what the store holds, in Markdown and in HTML."""

import os
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evaluation_logs import log_of
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report_logs import BEGAN, COMMIT, MODELS, PLAN, Plan, Said, begin, end, figure, judged, training, whole

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from nanochat.config.known_tasks import CHAT_TASKS
from nanochat.config.options import changed
from nanochat.config.plan import parse_plan
from remote.evaluation_tables import cell_text, rows
from remote.report.blocks import Code, Document, Facts, Lines, Sample, Section, Table, Text
from remote.report.compose import Sources, compose
from remote.report.html import html
from remote.report.markdown import fenced, inline, markdown
from remote.report.repeat import plan_toml, repeat_blocks
from remote.report.scope import Scope, choose, of_runs
from remote.report.scores import ROWS
from remote.report.time_and_cost import union
from remote.report.write import write_report
from remote.runs import RunRow
from remote.store.store import Store

GOLDEN = Path(__file__).with_name("small_pipeline.md")
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OURS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "nav", "ul", "li", "a", "p", "pre",
    "code", "div", "span", "b",
}  # fmt: skip
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """A page read by the standard library: every element closed, every table as rows of texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1][-1][-1] += data


def table_in(text: str, title: str) -> list[list[str]]:
    """The first table below a heading of a Markdown text, as rows of cells."""
    part = text.split(f"# {title}\n", 1)[1]
    lines = re.findall(r"^\|.*\|$", part.split("\n## ")[0], re.MULTILINE)
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if not set(line) <= set("|-: ")
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("report") / "control.sqlite") as found:
        whole(found)
        yield found


def sources(store: Store, price: float | None = 24.0) -> Sources:
    return Sources(store.evaluations(), {"box": price}, (), BEGAN + 90_000)


def report(store: Store, name: str = "pipeline", price: float | None = 24.0) -> Document:
    return compose(store, choose(store.runs(), store, name), sources(store, price), pictures=False)


def test_every_cell_of_the_table_is_what_the_store_holds_in_both_forms(store: Store) -> None:
    document = report(store)
    text, page = markdown(document), Page(html(document))
    shown = table_in(text, "Scores")
    assert shown[0] == ["metric", *MODELS] and page.tables[0] == shown
    evaluations = store.evaluations()
    for row, (title, kind, task) in zip(shown[1:], ROWS, strict=True):
        assert row[0] == title
        for source, cell in zip(MODELS, row[1:], strict=True):
            found = [one for one in evaluations if one.kind == kind and one.checkpoint == f"{source}/p"]
            own = next(one for one in found if not one.while_training)
            wanted = next(line for line in rows(kind, [own]) if line.task == task)
            assert cell == cell_text(wanted, wanted.figures[0]) != ""
            number = {"CORE": 40, "ChatCORE": 45}.get(task) or [*CHAT_TASKS].index(task)
            assert cell.split(" ")[0] == f"{figure(source, number):.4f}"
    assert len({cell for row in shown[1:] for cell in row[1:]}) == 32


def test_it_tells_of_machine_code_options_curves_samples_time_and_cost(store: Store) -> None:
    text = markdown(report(store))
    for said in (
        "GPUs: 8 × NVIDIA H100, 80.0G", "driver: 570.1", "CUDA: 12.8", "torch: 2.9.1", "hostname: node7",
        f"{COMMIT} (no file changed), nanochat 0.2.0", "- params: 7.34M", "- val/bpb: 1.500000",
        "- mean speed: 12.3k tok/s", "- began from: sft/p@100", "- wrote: rl/p@30", "depth = 4",
        "| train/mfu", "Host 'box' costs $24.00 an hour.", "13 of 13 succeeded",
    ):  # fmt: skip
        assert said in text, said
    times = table_in(text, "Time and cost")
    assert times[1] == ["tok_train", "box", "succeeded", "10m00s", "$4.00"]
    assert times[-1] == ["total", "", "", "2h10m", "$52.00"]
    curves = [line for line in text.splitlines() if line.startswith("| val/bpb")]
    assert [cell.strip() for cell in curves[0].split("|")[2:6]] == ["3.250", "1.500", "300", "1.500"]


def test_a_small_pipeline_reads_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To write it anew: NANOCHAT_GOLDEN=1 python -m pytest tests/remote/report -k small_pipeline"""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        with Store(tmp_path / "s.sqlite") as store:
            plan = Plan(store, name="small")
            plan.run("base_train", "base_train", training("base"), depth=4, model_tag="p")
            plan.run("chat_eval", "chat_eval", judged("base", "chat"), needs=("base_train",), source="base")
            text = markdown(report(store, "small"))
    finally:
        monkeypatch.undo()
        time.tzset()
    if os.environ.get("NANOCHAT_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_plan_that_it_gives_is_the_plan_that_ran(store: Store) -> None:
    scope = choose(store.runs(), store, PLAN)
    plan = parse_plan(plan_toml(scope.name, scope.runs), "plan.toml")
    assert [stage.id for stage in plan.stages] == [run.name for run in scope.runs]
    assert [dict(changed(stage.options)) for stage in plan.stages][-1] == {"source": "rl", "model_tag": "p"}
    by_id = {run.run_id: run.name for run in scope.runs}
    assert {stage.id: stage.needs for stage in plan.stages} == {
        run.name: tuple(by_id[need] for need in run.needs) for run in scope.runs
    }


def test_a_run_alone_brings_the_runs_that_its_model_came_from(store: Store) -> None:
    key = next(run.key for run in store.runs() if run.stage == "chat_rl")
    scope = choose(store.runs(), store, key)
    assert [run.stage for run in scope.all] == ["base_train", "mid_train", "chat_sft", "chat_rl"]
    document = compose(store, scope, sources(store), pictures=False)
    assert table_in(markdown(document), "Scores")[1][1:] == table_in(markdown(report(store)), "Scores")[1][1:]
    assert "(an earlier run)" in markdown(document)
    times = table_in(markdown(document), "Time and cost")
    assert [row[4] for row in times[-2:]] == ["$4.00", "$16.00"]
    judge = next(run.key for run in store.runs() if run.name == "chat_eval_sft")
    scope = choose(store.runs(), store, judge)
    assert [run.stage for run in scope.all] == ["base_train", "mid_train", "chat_sft", "chat_eval"]


def test_a_stage_that_failed_is_told_first_and_what_it_costs_the_table(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        plan = Plan(store)
        plan.run("base_train", "base_train", training("base"))
        plan.run("base_eval", "base_eval", [
            begin("base_eval", {"checkpoint_step": 300}, source="base", model_tag="p"),
            ("alert", None, {"what": "core_left_out", "message": "CORE is skipped: no bundle"}),
            end(),
        ], source="base")  # fmt: skip
        plan.run("mid_train", "mid_train", [begin("mid_train", {"started_from": path()})], status="failed",
                 reason="killed by signal 9")  # fmt: skip
        plan.run("chat_sft", "chat_sft", None, status="stopped", reason="needs mid_train, which failed")
        text = markdown(report(store, price=None))
    assert text.index("**mid_train failed: killed by signal 9**") < text.index("## Scores")
    assert "- stages: 2 of 4 succeeded, 1 failed, 1 stopped" in text
    table = table_in(text, "Scores")
    assert table[1] == ["CORE", "left out", "failed", "not reached", "no model"]
    assert table[2] == ["ARC-E", "not evaluated", "failed", "not reached", "no model"]
    for line in (
        "- base CORE: CORE is skipped: no bundle",
        "- mid: mid_train failed: killed by signal 9",
        "evaluate it: nanochat chat_eval --source base --model-tag p",
        "- sft: chat_sft stopped: needs mid_train, which failed",
    ):
        assert line in text
    assert table_in(text, "Time and cost")[4] == ["chat_sft", "box", "stopped", "not started", ""]
    assert table_in(text, "Time and cost")[-1][-1] == "unknown"


def path() -> str:
    return "/far/base_checkpoints/p/step_000300"


def test_foreign_text_is_text_in_both_forms(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> </title> `x` | **b** [l](http://x) \x1b[31m \u202e &lt; ```\n# head"
    with Store(tmp_path / "s.sqlite") as store:
        plan = Plan(store, name="<img src=x>")
        plan.run(evil.splitlines()[0], "base_train", [
            begin("base_train", {}, note=evil),
            ("metric", 0, {"train/loss": 1.0, "<b>": 1.0}), ("metric", 1, {"train/loss": 2.0}),
            ("sample", 1, {"prompt": evil, "text": evil}), ("alert", 1, {"what": "x", "message": evil}),
        ], status="failed", reason=evil, model_tag=evil)  # fmt: skip
        document = compose(store, choose(store.runs(), store), sources(store))
    text, page = markdown(document), Page(html(document))
    assert not {tag for tag, _ in page.tags} & {"script", "img", "iframe", "object", "link", "a-b"}
    assert (
        "alert(1)" in page.text and [tag for tag, _ in page.tags].count("title") == 2
    )  # the page's, the plot's
    assert not re.search(r"[\x1b\u202e]", text + html(document))
    outside = re.sub(r"^(````+)\w*\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert "<script>" not in outside.replace("\\<", "") and not re.search(r"^# head", outside, re.MULTILINE)
    assert re.search(r"^````\n<script>", text, re.MULTILINE)


def test_the_page_loads_nothing_and_every_curve_is_in_it(store: Store) -> None:
    document = compose(store, choose(store.runs(), store, "pipeline"), sources(store))
    page = Page(text := html(document))
    assert [tag for tag, _ in page.tags].count("svg") == 4 * 4  # loss, bpb, mfu, lr of each training
    for tag, attributes in page.tags:
        assert tag != "script" and not any(name.startswith("on") for name in attributes)
        links = [attributes.get(name) for name in ("src", "href", "xlink:href") if attributes.get(name)]
        assert all(str(link).startswith("#") for link in links), attributes
    assert "url(" not in text and "@import" not in text
    used = set(re.findall(r"var\((--plot-\w+)\)", text))
    assert len(used) >= 5 and all(text.count(f"{name}: #") == 2 for name in used)  # in light, in dark
    assert not re.search(r'="#0000[0-9a-f]{2}"', text)


def test_resumed_overlapping_and_live_runs(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        plan = Plan(store)
        said = [begin("base_train", {}), *[("metric", n, {"train/loss": 9.0 - n}) for n in range(4)]]
        again = [
            begin("base_train", {}, attempt=2, from_step=2),
            *[("metric", n, {"train/loss": 4.0}) for n in (2, 3)],
        ]
        key = plan.run("base_train", "base_train", None)
        run_id = key.partition("/")[2]
        told = {"run_id": run_id, "status": "running", "attempt": 2, "heartbeat": BEGAN + 400}
        store.ingest_state("box", {"run_id": run_id, "stage": "base_train", "name": "base_train"},
                           {**told, "started_at": BEGAN + 100})  # fmt: skip
        first = log_of(*said, t=BEGAN)
        store.ingest("box", run_id, "events.jsonl", 0, first + log_of(*again, first=5, t=BEGAN + 100))
        document = compose(store, choose(store.runs(), store), sources(store))
    text = markdown(document)
    assert "Not ended yet: base_train" in text and "attempt 2: from step 2" in text
    assert table_in(text, "Time and cost")[1][3] == "5m04s"  # 4 s of the first attempt, 300 s of the second
    row = next(line for line in text.splitlines() if line.startswith("| train/loss"))
    assert [cell.strip() for cell in row.split("|")[2:7]] == ["9", "", "", "4", "4"]
    assert union([(0, 10), (5, 20), (30, 31)]) == 21


def test_figures_of_a_training_stand_in_with_a_word_for_it(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        plan = Plan(store)
        said = training("sft")
        said.insert(-1, ("eval", 100, {"chat/SpellingBee": 0.75, "chat/SpellingBee_stderr": 0.05}))
        plan.run("chat_sft", "chat_sft", said)
        table = table_in(text := markdown(report(store)), "Scores")
        assert table[7][3] == "0.7500 ±0.0500" and "as measured while it was trained" in text
        plan.run("chat_eval", "chat_eval", judged("sft", "chat"), source="sft")
        table = table_in(text := markdown(report(store)), "Scores")
        assert table[7][3].startswith(f"{figure('sft', 5):.4f}") and "while it was trained" not in text


def test_a_log_of_another_program_that_names_no_checkpoint_at_first(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        start = {"stage": "base_train", "attempt": 1, "options": {}, "info": {}}
        said: list[Said] = [("stage_start", None, start)]
        said += [("eval", step, {"core/core": step / 1000, "core/copa": 0.5}) for step in (100, 300)]
        said.append(("checkpoint", 300, {"path": "/u/base_checkpoints/d20/model_000300.pt", "step": 300}))
        Plan(store, plan="").run("theirs", "base_train", said)
        table = table_in(markdown(report(store, "theirs")), "Scores")
    assert table[1] == ["CORE", "0.3000", "no model", "no model", "no model"]


def test_several_models_of_one_stage_have_a_column_each(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        plan = Plan(store, name="miniseries")
        for tag in ("d12", "d14"):
            said = [begin("base_train", {}), end(checkpoint=f"/far/base_checkpoints/{tag}/step_000010")]
            plan.run(tag, "base_train", said)
        table = table_in(markdown(report(store, "miniseries")), "Scores")
    assert table[0] == ["metric", "base/d12@10", "base/d14@10", "mid", "sft", "rl"]


def test_what_is_not_there_is_one_line(tmp_path: Path, store: Store) -> None:
    runs = store.runs()
    with pytest.raises(UserError, match=r"no run and no plan is called 'pipelin'.*did you mean 'pipeline'"):
        choose(runs, store, "pipelin")
    with pytest.raises(UserError, match="there is no run to report on"):
        choose([], store)
    with pytest.raises(UserError, match="there is no run on elsewhere"):
        choose(runs, store, "", {"elsewhere"})
    with pytest.raises(UserError, match="they were deleted"):
        of_runs(runs, store, {"box/20200101-gone"})


def test_an_older_log_tells_its_machine_by_its_telemetry(tmp_path: Path) -> None:
    start = {"stage": "base_train", "attempt": 1, "options": {}, "info": {}}
    seen = {
        "host/cores": 2.0,
        "host/ram_total": 1 << 34,
        "gpu/0/name": "NVIDIA L4",
        "gpu/0/mem_total": 24 << 30,
    }
    with Store(tmp_path / "s.sqlite") as store:
        key = Plan(store, plan="").run("old", "base_train", [("stage_start", None, start), end()])
        store.ingest("box", key.partition("/")[2], "telemetry.jsonl", 0, log_of(("telemetry", None, seen)))
        text = markdown(report(store, "old"))
    for line in ("- cores: 2\n", "- memory: 16.0G", "- GPUs: 1 × NVIDIA L4, 24.0G"):
        assert line in text


def test_a_run_without_events_has_a_report_that_says_so(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        Plan(store, plan="").run("base_train", "base_train", None, status="lost", reason="")
        scope = choose(store.runs(), store)
        written = write_report(store, scope, sources(store), tmp_path / "out")
        text = markdown(compose(store, scope, sources(store)))
        Plan(store, plan="").run(
            "tok", "tok_train", [begin("tok_train", {})], status="stopped", reason="as asked"
        )
        stopped = markdown(report(store, "tok"))
    assert stopped.index("**tok stopped: as asked**") < stopped.index("## Scores")
    assert not scope.is_plan and "base_train lost: it gave no reason" in text
    assert "machine: its logs do not tell" in text
    alone = Scope("x", "x", (RunRow("here/x", "here", "x"),))  # as of an imported log
    [block] = repeat_blocks(alone, [])
    assert isinstance(block, Text) and "neither a commit nor a command" in block.text
    assert sorted(path.name for path in written.folder.iterdir()) == ["report.html", "report.md"]


def test_a_full_disk_leaves_the_report_before_or_nothing(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = choose(store.runs(), store, next(run.run_id for run in store.runs() if run.stage == "tok_train"))
    written = write_report(store, scope, sources(store), tmp_path / "there")
    before = written.html.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr("nanochat.common.paths.os.fsync", full)
        for folder in ("there", "new/deep"):
            with pytest.raises(UserError, match="No space left on device"):
                write_report(store, scope, sources(store), tmp_path / folder)
    assert written.html.read_bytes() == before and len(list(written.folder.iterdir())) == 2
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="is there already"):
        write_report(store, scope, sources(store), written.folder, replace=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("base_train of 12.8M", "base_train of 12.8M"), ("_x_", r"\_x\_"), ("1. item", r"1\. item"),
        ("# head", r"\# head"), ("- x", r"\- x"), ("-1.5", "-1.5"), ("a|b", r"a\|b"), ("&lt;", r"\&lt;"),
        ("a & b", "a & b"), ("~~s~~", r"\~~s\~~"), ("===", r"==\="), ("<b>", r"\<b\>"), ("\x1b[1mx", "x"),
    ],
)  # fmt: skip
def test_a_line_of_markdown_reads_as_itself(text: str, shown: str) -> None:
    assert inline(text) == shown


MARKUP = st.text(st.sampled_from("ab 12.)-+*_`~#>|&;[]()!<\\/:=\"'@\n\t") | st.characters(), max_size=40)


@given(MARKUP)
def test_no_line_of_foreign_text_is_markup(text: str) -> None:
    """By CommonMark with GitHub's tables and strikethrough, and by a reader of HTML."""
    wanted = " ".join(sanitize(text).split())
    for line in (inline(text), f"- {inline(text)}", f"# {inline(text)}"):
        tokens = [token for token in PARSER.parse(line) if token.children is not None]
        assert len(tokens) <= 1
        children = tokens[0].children or [] if tokens else []
        assert {child.type for child in children} <= {"text"}
        assert " ".join("".join(child.content for child in children).split()) == wanted
    page = Page(html(Document(text, (Section(text, (Text(text), Code(text), Sample(text, text, text))),))))
    assert {tag for tag, _ in page.tags} <= OURS


@given(st.text(st.sampled_from("`~a\n") | st.characters(), max_size=60))
def test_no_sample_ends_its_fence(text: str) -> None:
    tokens = PARSER.parse(fenced(text))
    assert [token.type for token in tokens] == ["fence"]


def test_each_kind_of_block_has_both_forms() -> None:
    blocks = (
        Text("bad", "bad"), Facts((("a", "b"),), "t"), Facts((("c", "d"),), "every", folded=True),
        Lines(("one", "two"), "lines"), Table(("x",), (("1",),), ("note",), "table"), Code("ls", "sh"),
        Sample("p", "x" * 5_000, "step 1"),
    )  # fmt: skip
    document = Document("title", (Section("S", blocks),))
    text, page = markdown(document), Page(html(document))
    for word in ("bad", "every", "two", "note", "ls", "+1,000 characters"):
        assert word in text and word in page.text
    assert [tag for tag, _ in page.tags].count("details") == 1
