"""Finding lines where the log lies gives what grep gives on the same file, from any byte and in any steps."""

import json
import subprocess
from pathlib import Path

import pytest
from agenthost import AgentHost
from hypothesis import given, settings
from hypothesis import strategies as st

from remote.agent import search as module
from remote.agent.files import AgentError
from remote.agent.search import MOST_SECONDS, Wanted, find_lines, search

word = st.text(st.sampled_from("aAbBéÉß \t\r☃"), min_size=1, max_size=3)
logs = st.lists(
    st.text(st.sampled_from("aAbBéÉß \t\r☃\x1b"), max_size=12).map(str.encode) | st.binary(max_size=6),
    max_size=30,
).map(lambda lines: b"\n".join(line.replace(b"\n", b"") for line in lines))


def wanted(text: str, offset: int = -1, back: bool = True, most: int = 1 << 30) -> Wanted:
    return Wanted(text, offset, back, most, MOST_SECONDS)


def reads(log: bytes):  # type: ignore[no-untyped-def]
    return lambda at, most: log[at : at + most]


def expected(log: bytes, text: str) -> list[int]:
    """The bytes at which the matching lines begin."""
    found, at = [], 0
    for line in log.split(b"\n"):
        if text.lower() in line.decode("utf-8", "replace").lower():
            found.append(at)
        at += len(line) + 1
    return found


@settings(deadline=None)
@given(logs, word, st.integers(1, 40), st.integers(1, 5), st.integers(0, 200), st.booleans())
def test_walking_in_any_steps_finds_every_line_once(
    log: bytes, text: str, block: int, most: int, start: int, back: bool
) -> None:
    start = min(start, len(log))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        seen, at = list[int](), start
        while True:
            found = find_lines(reads(log), len(log), wanted(text, at, back, most))
            seen += [offset for offset, _ in found["lines"]]
            assert found["size"] == len(log) and found["whole"] == log.rfind(b"\n") + 1
            if found["from"] == 0 if back else found["to"] >= found["whole"]:
                break
            assert found["from"] < at if back else found["to"] > at
            at = found["from"] if back else found["to"]
    torn = [found["torn"][0]] if found["torn"] else []
    every = expected(log, text)
    assert torn == [offset for offset in every if offset >= found["whole"] and found["whole"] < len(log)]
    beside = [at for at in every if (at < start if back else at >= start) and at < found["whole"]]
    assert seen == (beside[::-1] if back else beside)


@pytest.mark.parametrize("text", ["error", "ERROR", "step 0001", "é", "a.*b", "[x]", "loss 2"])
def test_it_is_what_grep_finds_on_the_same_file(tmp_path: Path, text: str) -> None:
    lines = [f"step {n:07d} loss {2 + n % 7}" for n in range(30_000)]
    lines[5_000] += " Error: É"
    lines[29_999] = "a.*b [x] error"
    log = tmp_path / "console.log"
    log.write_bytes("\n".join(lines).encode() + b"\n")
    argv = ["grep", "--fixed-strings", "--ignore-case", "--byte-offset", "--text", text, str(log)]
    said = subprocess.run(argv, capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=False).stdout
    grep = [line.split(b":", 1) for line in said.splitlines()]
    found, at = list[tuple[int, str]](), 0
    while at < log.stat().st_size:
        part = search(log, wanted(text, at, back=False))
        found, at = found + part["lines"], part["to"]
    assert [(int(offset), line.decode()) for offset, line in grep] == found
    assert found


def test_a_line_of_megabytes_is_taken_in_pieces_and_shown_capped() -> None:
    log = b"x" * (9 << 20) + b"needle\nplain needle\n"
    back = find_lines(reads(log), len(log), wanted("needle", most=5))
    assert back["lines"][0][1] == "plain needle" and len(back["lines"]) == 2
    assert all(len(text) <= module.LINE_CAP for _, text in back["lines"])
    on = find_lines(reads(log), len(log), wanted("needle", 0, back=False))
    assert len(on["lines"]) == 2 and on["to"] == len(log)
    bar = b"\r".join(b"%3d%%" % n for n in range(100)) + b"\r" + b"y" * 70_000 + b" done\n"
    assert find_lines(reads(bar), len(bar), wanted("done"))["lines"][0][1].startswith("yyy")


def test_a_search_ends_in_time_and_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 1000)
    log = b"line of text\n" * 10_000
    for back, offset in ((True, -1), (False, 0)):
        found = find_lines(reads(log), len(log), Wanted("absent", offset, back, 1, -1.0))
        assert not found["lines"] and 0 < found["to"] - found["from"] < len(log)


@pytest.mark.parametrize(
    "asked",
    [{}, {"text": ""}, {"text": "a\nb"}, {"text": 1}, {"text": "x" * 3000}, {"text": "x", "offset": "y"}],
)
def test_what_cannot_be_searched_for_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(AgentError):
        Wanted.parse(asked)


def test_the_agent_searches_a_file_of_a_run_and_no_other(agent: AgentHost) -> None:
    path = agent.base / "runs" / "r1"
    path.mkdir(parents=True)
    (path / "console.log").write_bytes(b"one\ntwo needle\nthree")
    (path / "launch.json").write_text('{"env": "needle"}', encoding="utf-8")
    request = json.dumps({"text": "NEEDLE", "most": 3, "back": True})
    answer = agent.call("search", "--run", "r1", "--file", "console.log", request=request)
    assert answer["lines"] == [[4, "two needle"]] and answer["torn"] is None
    assert (answer["from"], answer["to"], answer["whole"], answer["size"]) == (0, 15, 15, 20)
    for run, name in (("r1", "launch.json"), ("r1", "../../x"), ("r2", "console.log")):
        agent.refused("search", "--run", run, "--file", name, request=request)
    empty = agent.call("search", "--run", "r1", "--file", "none.log", request=request)
    assert (empty["lines"], empty["size"]) == ([], 0)
