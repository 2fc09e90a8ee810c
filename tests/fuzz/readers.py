"""Every reader of foreign bytes, with inputs that it takes: what `fuzz.py` breaks and feeds to it.

A reader takes bytes and returns; the errors that it may raise are the one-line errors of its caller.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import checkpoint_readers
import import_readers
import service_readers
import tokenizer_readers
import training_readers

from nanochat.checkpoint.files import read_meta
from nanochat.common import text
from nanochat.common.errors import UserError
from nanochat.common.fields import json_object, parse_json
from nanochat.common.paths import Layout
from nanochat.config.options import from_mapping
from nanochat.config.plan import parse_plan
from nanochat.config.stages import stage_spec
from nanochat.data.html_text import page_text
from nanochat.data.sources import Skips
from nanochat.evals.records import RecordFile
from nanochat.run.events import EventWriter, parse_line, read_events
from nanochat.serve import chat_log
from nanochat.serve.answer_stream import AnswerReader
from nanochat.serve.api.errors import ApiError
from nanochat.serve.api.fields import parse_body
from nanochat.serve.api.parameters import chat_parameters
from nanochat.serve.conversation import AnswerSettings, Conversation, Part, Turn
from nanochat.serve.event_stream import EventReader
from nanochat.serve.terminal.screen import SafeText
from nanochat.tasks.customjson import read_conversations
from nanochat.tasks.identity import SHIPPED, read_identity
from nanochat.tasks.mixture import parse_part
from nanochat.tokenizer.upstream import read_encoding
from nanochat.tools.calculator import calculate
from remote.agent import documents as agent_documents
from remote.agent import logs
from remote.agent.files import AgentError, read_json
from remote.agent.follow import _request
from remote.agent.requests import Resume, Submission
from remote.cli.printer import describe, progress_line
from remote.filter.completion import complete
from remote.filter.run_filter import parse as parse_filter
from remote.fleet.answers import log_sizes, probe_of
from remote.fleet.follower import Follower, Resync
from remote.hosts.book import HostBook, parse_ssh_target
from remote.key_metric import key_figure
from remote.runs import RunRow
from remote.store.documents import read_documents, stored_documents
from remote.store.store import Store
from remote.store.summary import Summary
from remote.transport.known_hosts import _read as read_known_hosts
from tui.data.console import _split as console_lines
from tui.data.settings import Settings
from tui.keymap import read_keymap

SHARE_OF_FILES = 0.1
"""Of the inputs of an ordinary reader: one that goes through a file or the store is that much slower."""


@dataclass(frozen=True)
class Reader:
    """`read` takes bytes; `seeds` are whole inputs; `share` how many inputs it gets beside the others."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    share: float = 1.0
    errors: tuple[type[BaseException], ...] = (UserError,)


RUN_ID = "20260101-000000-base_train-0001"
RUN: dict[str, Any] = {
    "schema": 1,
    "run_id": RUN_ID,
    "stage": "base_train",
    "options": {"depth": 4, "lr": 0.1},
    "argv": ["python", "-m", "x"],
    "code": {"version": "0", "sha": ""},
    "host": "h",
    "created_at": 1.79e9,
    "plan": {"id": "p", "name": "plan", "index": 1, "needs": ["a"]},
}
STATE: dict[str, Any] = {
    "schema": 1,
    "run_id": RUN_ID,
    "status": "running",
    "attempt": 1,
    "pid": 7,
    "pid_start": 9,
    "boot_id": "b",
    "heartbeat": 1.79e9,
    "started_at": 1.79e9,
    "ended_at": None,
    "exit_code": None,
    "signal": None,
    "reason": "r",
    "supervisor": {"pid": 1, "pid_start": 2},
}
EVENTS = [
    {"seq": 0, "t": 1.79e9, "kind": "stage_start", "data": {"attempt": 1, "total_steps": 9, "unit": "step"}},
    {
        "seq": 1,
        "t": 1.79e9,
        "kind": "metric",
        "step": 1,
        "data": {"train/loss": 2.5, "progress": 0.5, "eta_s": 9},
    },
    {"seq": 2, "t": 1.79e9, "kind": "eval", "step": 1, "data": {"val/bpb": "NaN", "val/bpb_stderr": 0.1}},
    {
        "seq": 3,
        "t": 1.79e9,
        "kind": "alert",
        "step": 1,
        "data": {"level": "warn", "message": "m", "what": "w"},
    },
    {
        "seq": 4,
        "t": 1.79e9,
        "kind": "stage_end",
        "data": {"status": "failed", "error": "e", "results": {"x": 1}},
    },
]
PROBE = {
    "hostname": "h",
    "python": "3.11",
    "version": "1",
    "cores": 8,
    "ram_total": 9,
    "disk_free": 1,
    "disk_total": 2,
    "in_container": False,
    "gpus": [{"name": "H100", "mem_total": 80}],
    "interpreter": {"path": "/p", "ok": True},
}
SAMPLING = {"temperature": 0.7, "top_k": 5, "stop": ["a"], "logit_bias": {"5": -1}, "stream_options": {}}
PLAN = b'name = "p"\n[[stage]]\nid = "a"\nstage = "tok_train"\n[stage.options]\nvocab_size = 300\n'
RUNS = [
    {"run_id": RUN_ID, "stage": "s", "argv": ["-m", "x"], "needs": [], "options": {}, "code": {}, "name": "n"}
]
RESUME = {"run_id": RUN_ID, "python": "python3", "env": {"A": "b"}}
HOSTS = {
    "hosts": [{"name": "a", "kind": "ssh", "address": "h", "port": 22, "user": "u", "price_per_hour": 2.5}]
}


def dumped(*values: object) -> tuple[bytes, ...]:
    return tuple(json.dumps(value).encode() for value in values)


def _fold(raw: bytes) -> None:
    event = parse_line(raw)
    if event is not None:
        summary = Summary()
        summary.fold(event)
        describe(event)


def _documents(raw: bytes) -> None:
    run, _, state = raw.partition(b"\n")
    found = read_documents(json_object(run), json_object(state), RUN_ID)
    clean = [json.dumps(part) for part in found.clean()]
    again = stored_documents(clean[0], clean[1], RUN_ID)
    row = RunRow("a/b", "a", "b", name=again.name, stage=again.stage, status=again.status)
    assert progress_line(row)
    assert not text.UNSAFE.search(repr(again))


def _summary(raw: bytes) -> None:
    found = Summary.read(raw.decode("utf-8", "replace"))
    found.attempt_list()
    str(key_figure(RunRow("a/b", "a", "b", latest=found.latest, first=found.first, results=found.results)))


def _agent_document(raw: bytes) -> None:
    found = json_object(raw)
    if found is not None:
        agent_documents.too_deep(found)
        for fault in (agent_documents.run_fault, agent_documents.state_fault, agent_documents.launch_fault):
            fault(RUN_ID, found)


def _request_of(kind: type[Submission] | type[Resume]) -> Callable[[bytes], object]:
    return lambda raw: kind.parse(json_object(raw) or {})


def _printed(raw: bytes) -> None:
    line = raw.decode("utf-8", "surrogateescape" if len(raw) % 2 else "replace")
    for shown in (text.sanitize(line), str(UserError(line, line))):
        assert not text.UNSAFE.search(shown)
    assert not text.UNSAFE.search(text.clean_text(line).replace("\n", "").replace("\t", ""))


_TALK = Conversation(
    datetime(2025, 10, 16, 18, 40, 38),
    "Be brief.",
    (
        Turn("a?", (Part("text", "it is "), Part("python", "6*7"), Part("python_output", "42")), "length"),
        Turn("b\nc", (Part("text", "```\n助手：\n```"),), settings=AnswerSettings(seed=7)),
    ),
)
_CHAT_LOGS = (chat_log.to_json(_TALK).encode(), chat_log.to_markdown(_TALK).encode())


def _chat_log(raw: bytes) -> None:
    if raw.lstrip()[:1] == b"{":
        found = chat_log.from_json(raw)
        assert chat_log.from_json(chat_log.to_json(found)) == found
    else:
        found = chat_log.from_markdown(raw.decode("utf-8", "replace"))
    chat_log.to_markdown(found).encode()


_CHUNK = {
    "choices": [
        {
            "index": 0,
            "delta": {
                "content": "hällo",
                "executed_tools": [{"index": 0, "arguments": "6*7", "output": "42", "offset": 3}],
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}},
    "system_fingerprint": "sft/d20@650",
}
_STREAMS = (
    f": hi\n\ndata: {json.dumps(_CHUNK)}\r\n\r\ndata: {json.dumps(_CHUNK)}\n\ndata: [DONE]\n\n".encode(),
    b'data: {"error": {"message": "no"}}\n\n',
)


def _streamed_answer(raw: bytes) -> None:
    """As the client reads it, in two pieces, down to what a terminal would show."""
    events, answer, screen = EventReader(), AnswerReader({"x-queue-time-ms": "1"}), SafeText()
    for piece in (raw[: len(raw) // 3], raw[len(raw) // 3 :]):
        for data in events.feed(piece):
            for part in answer.event(data):
                if not isinstance(part, Part):
                    continue
                shown = screen.feed(part.text)
                assert not text.UNSAFE.search(shown.replace("\n", "").replace("\t", ""))
    answer.finish()


def _numbers(raw: bytes) -> None:
    try:
        value = parse_json(raw)
    except ValueError:
        return
    if isinstance(value, int | float) and not isinstance(value, bool):
        for show in (text.number, text.short, text.size_bytes, text.percent, text.clock, text.duration):
            show(value)
        text.when(value, 1.79e9)
        text.amount(value, "step")


def _option(raw: bytes) -> None:
    word = raw.decode("utf-8", "replace")
    from_mapping(stage_spec("base_train").options, {"depth": word, "model_tag": word}, "base_train")


def _filter(raw: bytes) -> None:
    text, run = raw.decode("utf-8", "replace"), RunRow("a/b", "a", "b", name="n", latest={"train/loss": 1.0})
    complete(text, len(text), [run])
    parse_filter(text, [run]).keeps(run)


def _words(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda raw: read(raw.decode("utf-8", "replace"))


def _parsed(read: Callable[[dict[str, Any]], object]) -> Callable[[bytes], object]:
    return lambda raw: read(json_object(raw) or {})


class _Files:
    """Readers that go through one file in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(folder)
        self.store = Store(folder / "c.sqlite")

    def of(self, read: Callable[[Path], object], name: str = "file") -> Callable[[bytes], object]:
        path = self.folder / name

        def reading(raw: bytes) -> object:
            path.write_bytes(raw)
            return read(path)

        return reading

    def resume_log(self, path: Path) -> None:
        with EventWriter(path) as log:
            log.emit("log", data={"text": "x"})
        events, _ = read_events(path)
        assert events[-1].data == {"text": "x"}

    def frame(self, raw: bytes) -> None:
        Follower(self.store, "box").take(json_object(raw) or {})
        self.store.runs()


def readers() -> dict[str, Reader]:
    """Every reader by name."""
    files = _Files(Path(tempfile.mkdtemp(prefix="nanochat-fuzz-")))
    state_frame = {"type": "state", "run_id": RUN_ID, "here": True, "run": RUN, "state": STATE}
    problem = {"type": "problem", "run_id": RUN_ID, "error": "e", "damaged": True}
    log = b"".join(line + b"\n" for line in dumped(*EVENTS))
    chunk = {
        "type": "chunk",
        "run_id": RUN_ID,
        "file": "events.jsonl",
        "offset": 0,
        "next": len(log),
        "data": log.decode(),
    }
    few = SHARE_OF_FILES
    agent = (AgentError,)
    listing = {"runs": [{**state_frame, "sizes": {"events.jsonl": 3}}], "problems": [problem]}
    conversation = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    return {
        "event line": Reader(parse_line, dumped(*EVENTS)),
        "event folded": Reader(_fold, dumped(*EVENTS)),
        "event log resumed": Reader(files.of(files.resume_log, "events.jsonl"), (log,), few),
        "run.json and state.json": Reader(_documents, (b"\n".join(dumped(RUN, STATE)),)),
        "stored summary": Reader(
            _summary, dumped({"step": 1, "latest": {"a": 1}, "attempts": [{"attempt": 1}]})
        ),
        "follow frame": Reader(
            files.frame, dumped(state_frame, problem, chunk), few / 2, (UserError, Resync)
        ),
        "answer of ls": Reader(_parsed(log_sizes), dumped(listing)),
        "answer of probe": Reader(_parsed(lambda answer: probe_of("box", answer, 0.0)), dumped(PROBE)),
        "answer of checkpoints": Reader(checkpoint_readers.read_answer, checkpoint_readers.ANSWERS),
        "agent: checkpoint": Reader(
            checkpoint_readers.read_request, checkpoint_readers.REQUESTS, errors=agent
        ),
        "places of tensors": Reader(checkpoint_readers.read_tensors, checkpoint_readers.TENSORS),
        "answer of services": Reader(service_readers.read_answer, service_readers.ANSWERS),
        "agent: services": Reader(service_readers.read_document, service_readers.DOCUMENTS),
        "agent: serve": Reader(service_readers.read_request, service_readers.REQUESTS, errors=agent),
        "agent: documents": Reader(_agent_document, dumped(RUN, STATE)),
        "agent: a file": Reader(files.of(read_json), dumped(RUN), few),
        "agent: submit": Reader(_request_of(Submission), dumped({"plan": None, "runs": RUNS}), errors=agent),
        "agent: resume": Reader(_request_of(Resume), dumped(RESUME), errors=agent),
        "agent: follow request": Reader(
            _request, dumped({"offsets": {RUN_ID: {"x": 3}}, "interval": 1}), errors=agent
        ),
        "agent: log line": Reader(logs.parse, dumped(*EVENTS)),
        "agent: console": Reader(
            files.of(logs.last_console_line), (b"Tr\xc3\xa4n\rline\n\x1b[31mend\n",), few
        ),
        "agent: last stage_end": Reader(files.of(lambda path: logs.last_stage_end(path, 0)), (log,), few),
        "known_hosts line": Reader(
            lambda raw: read_known_hosts([raw.decode("utf-8", "replace")]),
            (b"[h]:22 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsABgH5C9okWi0dh2l9GKJl",),
        ),
        "SSH target": Reader(_words(parse_ssh_target), (b"me@host:22", b"ssh://u@[::1]:2222", b"::1")),
        "hosts.json": Reader(
            files.of(lambda _: HostBook(files.layout).all(), files.layout.hosts_file.name), dumped(HOSTS), few
        ),
        "plan": Reader(_words(lambda word: parse_plan(word, "plan")), (PLAN,)),
        "keymap": Reader(files.of(read_keymap), (b'"runs.stop" = "x"\n',), few),
        "settings": Reader(
            files.of(lambda _: Settings(files.layout), "control-room.json"), dumped({"theme": "dark"}), few
        ),
        "identity": Reader(files.of(read_identity), (SHIPPED.read_bytes(),), few),
        "option": Reader(_option, (b"12", b"1_000")),
        "mixture": Reader(_words(parse_part), (b"MMLU/test:5200", b"GSM8K*4", b"SmolTalk")),
        "filter of runs": Reader(_filter, (b"tag:x host:box failed", b'name:"a b"')),
        "evaluation records": Reader(
            files.of(RecordFile), (b'{"task": "t", "index": 3, "correct": true}\n',), few
        ),
        "checkpoint metadata": Reader(files.of(read_meta), dumped({"step": 1, "files": {}}), few),
        "conversation": Reader(
            files.of(lambda path: read_conversations(path, Skips())), dumped(conversation), few
        ),
        "rank file": Reader(tokenizer_readers.read_ranks, tokenizer_readers.RANK_FILES, few),
        "beside a rank file": Reader(
            lambda raw: tokenizer_readers.read_about(files.folder, raw), tokenizer_readers.ABOUT, few
        ),
        "upstream's tokenizer.pkl": Reader(
            files.of(read_encoding, "tokenizer.pkl"), tokenizer_readers.pickles(), few
        ),
        "model of SentencePiece": Reader(
            tokenizer_readers.read_message, tokenizer_readers.PROTOBUF, errors=(ValueError,)
        ),
        "kept token counts": Reader(
            lambda raw: tokenizer_readers.read_counts(files.folder, raw), tokenizer_readers.counts(), few
        ),
        "pasted conversations": Reader(training_readers.read_pasted, dumped(conversation)),
        "sweep": Reader(training_readers.read_sweep, training_readers.SWEEPS),
        "numbers of a corpus": Reader(training_readers.read_numbers, training_readers.NUMBERS),
        "page": Reader(
            page_text,
            (b"<!doctype html><svg><p>a<table><b>x</b></svg><!-- c -->d",),
            errors=(UserError, ValueError),
        ),
        "calculator": Reader(_words(calculate), (b"12*(3+4)/2", b'"strawberry".count("r")')),
        "request to the server": Reader(
            lambda raw: chat_parameters(parse_body(raw)),
            dumped({"messages": conversation[:1], **SAMPLING}),
            errors=(ApiError,),
        ),
        "chat log": Reader(_chat_log, _CHAT_LOGS),
        "streamed answer": Reader(_streamed_answer, _STREAMS),
        "printed text": Reader(_printed, ("ä\x1b[31m␛\u202e\x9b2J\x07\r\ntab\t".encode(),)),
        "console window": Reader(lambda raw: console_lines(raw, 0), (b"a\rb\n\x1b[1mc\n", b"\xff\xfe\n")),
        **{
            f"import: {name}": Reader(read, seeds, few)
            for name, (read, seeds) in import_readers.READERS.items()
        },
        "numbers": Reader(_numbers, (b"1790000000.5", b"-3", b"1e300", b"12345678901234567890", b"0.00001")),
    }
