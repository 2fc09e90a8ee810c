"""The measurements of bench/serve.py and their tables."""

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from parts import engine_alone, served_model, servers, soak, tenth_turn
from parts.client_load import PATHS, ClientProcesses
from parts.servers import Server, ServerError
from parts.stream_clients import Answer, request
from parts.worker import Worker

PROCESSES = 2
"""Client processes."""
ANSWERS = 24
"""Answers of a run: of few clients more each."""
PROMPTS_AT_ONCE = 100
"""Prompts that are made together."""
PEER_CLIENTS = 8
PEER_MODES = {"plain": (), "continuous batching": ("--continuous-batching",)}
CONVERSATIONS = 5
QUESTION_TOKENS, LAST_QUESTION_TOKENS = 80, 24
"""Of the nine turns of history, 1,500 tokens with their answers, and of the tenth."""
WARM_UP = 0.2
"""Part of a soak after which memory has to be flat: caches are full by then."""


FLAGS = {"AVX2": "avx2", "AVX-512": "avx512f"}


def cpu_flags() -> list[str]:
    """The vector instructions that the CPU says it has; empty where Linux does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return [name for name, flag in FLAGS.items() if flag in line.split()]


@dataclass(frozen=True)
class Case:
    """The model and the load."""

    depth: int
    head_dim: int
    context: int
    vocab: int
    era: str
    prompt_tokens: int
    tokens: int
    clients: tuple[int, ...]
    threads: int
    rounds: int
    peer_python: str

    def answers(self, clients: int) -> int:
        """Answers that each of so many clients reads, one after the other."""
        return max(2, ANSWERS // clients // 2)


@dataclass
class Figures:
    """The best of some rounds."""

    rate: float = 0.0
    """Tokens a second."""
    first: float = float("inf")
    """Median ms to first token."""
    runs: list[float] = field(default_factory=list)
    """The rate of each round."""
    single: float = float("inf")
    """Median ms to first token of one client alone, where that was measured too."""

    def add(self, rate: float, first: Sequence[float]) -> None:
        self.runs.append(rate)
        self.rate = max(self.rate, rate)
        self.first = min(self.first, 1000 * statistics.median(first))


def figures_of(answers: Sequence[Sequence[Answer]], tokens: int) -> tuple[float, list[float]]:
    """Tokens a second over all clients, and the seconds to each first token. ValueError for an answer that
    is not whole, or has not that many tokens."""
    everything = [answer for own in answers for answer in own]
    for answer in everything:
        if not answer.whole or answer.tokens() != tokens:
            raise ValueError(f"an answer that is not {tokens} tokens: {answer.raw[:300]!r}")
    seconds = max(answer.end for answer in everything) - min(answer.sent for answer in everything)
    return len(everything) * tokens / seconds, [answer.first_text - answer.sent for answer in everything]


@dataclass(frozen=True)
class PeerPrompts:
    """What both servers are asked in a round, by client."""

    warm_up: list[list[str]]
    many: list[list[str]]
    one: list[list[str]]


class Bench:
    """The model in a folder of its own, and the processes that measurements share."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.folder = case, folder
        self.engine = Worker(PATHS, servers.environment(case.threads))
        self.clients = ClientProcesses(PROCESSES)
        self.engine.call(
            served_model.make_base_in, str(folder), case.depth, case.vocab, case.context, case.era,
            case.head_dim,
        )  # fmt: skip
        self._texts: Iterator[str] = iter(())
        """Prompts that no server has seen."""
        self._seed = 0

    def close(self) -> None:
        self.clients.close()
        self.engine.close()

    def server(self, source: str, *options: str) -> AbstractContextManager[Server]:
        return servers.ours(
            sys.executable, self.folder, f"{source}/{served_model.TAG}", self.case.threads, *options
        )

    def prompts(self, clients: int, each: int | None = None) -> list[list[str]]:
        """New prompts of each client, so that no server has any of them in a prefix cache."""
        each = each or self.case.answers(clients)
        return [[self._next_prompt() for _ in range(each)] for _ in range(clients)]

    def _next_prompt(self) -> str:
        text = next(self._texts, None)
        if text is None:
            self._seed += 1
            found = self.engine.call(
                served_model.prompts_of,
                str(self.folder),
                PROMPTS_AT_ONCE,
                self.case.prompt_tokens,
                self._seed,
            )
            self._texts = iter(found)
            text = next(self._texts)
        return text

    def requests(self, prompts: Sequence[Sequence[str]], model: str) -> list[list[bytes]]:
        """What each client asks, streamed and greedy."""
        return [
            [
                request(
                    "/v1/completions",
                    {
                        "model": model,
                        "prompt": text,
                        "max_tokens": self.case.tokens,
                        "temperature": 0,
                        "stream": True,
                        "stream_options": {"include_usage": True},
                    },
                )
                for text in own
            ]
            for own in prompts
        ]

    # -- speed ------------------------------------------------------------------------------------------

    def speed(self, parts: Sequence[str]) -> dict[str, Any]:
        """The parts asked for, printed as tables."""
        result: dict[str, Any] = {}
        if "engine" in parts:
            result["engine"] = self.beside_the_engine()
        if "peer" in parts:
            result["peer"] = self.beside_the_peer()
        if "tenth" in parts:
            result["tenth"] = self.tenth_turn()
        return result

    def beside_the_engine(self) -> dict[str, Any]:
        """1, 8 and 32 clients: the server, and the engine alone beside the same load."""
        case = self.case
        backend = self.engine.call(engine_alone.prepare, str(self.folder), case.threads)
        served = {count: Figures() for count in case.clients}
        alone = {count: Figures() for count in case.clients}
        compared = differ = 0
        with self.server("base", f"--max-rows={max(32, *case.clients)}") as server:
            for count in case.clients * case.rounds:
                prompts = self.prompts(count)
                requests = self.requests(prompts, server.model)
                answers = self.clients.run(server.port, requests)
                served[count].add(*figures_of(answers, case.tokens))
                with self.clients.beside(answers, requests) as start:
                    found = self.engine.call(engine_alone.alone, prompts, case.tokens, start)
                alone[count].add(found.tokens / found.seconds, found.first)
                for own, texts in zip(answers, found.texts, strict=True):
                    for answer, text in zip(own, texts, strict=True):
                        compared += 1
                        differ += answer.text().rstrip("\ufffd") != text.rstrip("\ufffd")
        print(f"the server beside the engine alone: tokens a second, {case.threads} threads, {backend}")
        print(f"{'clients':>8}{'server':>9}{'alone':>9}{'share':>8}{'first token':>14}{'alone':>10}")
        for count in case.clients:
            ours, bare = served[count], alone[count]
            line = f"{count:>8}{ours.rate:>9,.0f}{bare.rate:>9,.0f}{100 * ours.rate / bare.rate:>6.0f} %"
            print(f"{line}{ours.first:>11.1f} ms{bare.first:>7.1f} ms")
        print(f"{differ} of {compared} texts differ from the engine's")
        rows = {
            str(count): {
                "rate": served[count].rate, "alone": alone[count].rate,
                "share": served[count].rate / alone[count].rate,
                "first_ms": served[count].first, "alone_first_ms": alone[count].first,
                "rates": served[count].runs, "alone_rates": alone[count].runs,
            }
            for count in case.clients
        }  # fmt: skip
        return {"backend": backend, "clients": rows, "compared": compared, "differ": differ}

    def beside_the_peer(self) -> dict[str, Any]:
        """8 clients: the server, and `transformers serve` in its two modes."""
        case = self.case
        export = self.folder / "hf"
        self.engine.call(served_model.export_to, str(self.folder), str(export))
        found: dict[str, Figures] = {"ours": Figures()}
        missing: dict[str, str] = {}
        for _ in range(case.rounds):
            prompts = PeerPrompts(self.prompts(PEER_CLIENTS, 1), self.prompts(PEER_CLIENTS), self.prompts(1))
            with self.server("base", "--max-rows=32") as server:
                self._beside_peer(server, prompts, found["ours"])
            for mode, options in PEER_MODES.items():
                if mode in missing:
                    continue
                try:
                    with servers.transformers(case.peer_python, export, case.threads, *options) as server:
                        self._beside_peer(server, prompts, found.setdefault(mode, Figures()))
                except (ServerError, ValueError) as error:
                    missing[mode] = str(error)
        ours = found["ours"]
        print(
            f"the server beside transformers serve: tokens a second of {PEER_CLIENTS} clients, their first "
            "token, one client's; and how many times better ours is"
        )
        for mode, figures in found.items():
            line = f"{mode:>22}{figures.rate:>9,.0f}{figures.first:>11.1f} ms{figures.single:>11.1f} ms"
            if mode != "ours":
                ratios = (
                    ours.rate / figures.rate, figures.first / ours.first, figures.single / ours.single
                )  # fmt: skip
                line += "".join(f"{ratio:>8.1f} ×" for ratio in ratios)
            print(line)
        for mode, why in missing.items():
            print(f"{mode:>22}  not here: {why}")
        peers = [figures for mode, figures in found.items() if mode != "ours"]
        result: dict[str, Any] = {
            "modes": {
                mode: {
                    "rate": one.rate,
                    "first_ms": one.first,
                    "single_first_ms": one.single,
                    "rates": one.runs,
                }
                for mode, one in found.items()
            },
            "missing": missing,
        }
        if peers:
            result["ratio"] = ours.rate / max(peer.rate for peer in peers)
            result["first_share"] = ours.first / min(peer.first for peer in peers)
            result["single_first_share"] = ours.single / min(peer.single for peer in peers)
        return result

    def _beside_peer(self, server: Server, prompts: PeerPrompts, figures: Figures) -> None:
        """Adds a round against one server, warmed up."""
        warm, many, one = (
            self.requests(own, server.model) for own in (prompts.warm_up, prompts.many, prompts.one)
        )
        self.clients.run(server.port, warm)
        figures.add(*figures_of(self.clients.run(server.port, many), self.case.tokens))
        _, first = figures_of(self.clients.run(server.port, one), self.case.tokens)
        figures.single = min(figures.single, 1000 * statistics.median(first))

    def tenth_turn(self) -> dict[str, Any]:
        """A conversation's tenth turn, with the prefix cache and without."""
        count = CONVERSATIONS * (tenth_turn.TURNS - 1)
        texts = self.engine.call(served_model.prompts_of, str(self.folder), count, QUESTION_TOKENS, 9)
        last = self.engine.call(
            served_model.prompts_of, str(self.folder), CONVERSATIONS, LAST_QUESTION_TOKENS, 8
        )
        word, word_id = self.engine.call(served_model.one_word, str(self.folder))
        talks = [
            tenth_turn.conversation([*texts[number::CONVERSATIONS], last[number]], word)
            for number in range(CONVERSATIONS)
        ]
        found = {}
        for name, options in {"with": (), "without": ("--prefix-cache=0",)}.items():
            with self.server("sft", *options) as server:
                found[name] = tenth_turn.tenth(server.port, server.model, talks, word_id)
        ratio = found["without"]["ms"] / found["with"]["ms"]
        print(
            f"the tenth turn, {found['with']['prompt_tokens']:,.0f} tokens: first token after "
            f"{found['with']['ms']:.1f} ms, without the prefix cache {found['without']['ms']:.1f} ms: "
            f"{ratio:.1f} × shorter ({found['with']['cached_tokens']:,.0f} tokens were there)"
        )
        return {**found, "ratio": ratio}

    # -- soak -------------------------------------------------------------------------------------------

    def soak(self, seconds: float, clients: int) -> dict[str, Any]:
        """Clients that come and go for that long: memory, texts, and the time between two pieces of text."""
        work = self.engine.call(soak.jobs, str(self.folder), 60)
        with self.server("base", "--max-rows=32", "--prefix-cache=32") as server:
            until = time.monotonic() + seconds
            process = psutil.Process(server.process.pid)
            with ThreadPoolExecutor(PROCESSES) as threads:
                futures = [
                    threads.submit(
                        worker.call, soak.run, server.port, server.model, work,
                        (clients + number) // PROCESSES, until, number, timeout=seconds + 120,
                    )
                    for number, worker in enumerate(self.clients.workers)
                ]  # fmt: skip
                memory = []
                while time.monotonic() < until:
                    memory.append(process.memory_info().rss)
                    time.sleep(min(1.0, seconds / 40))
                seen = [future.result() for future in futures]
        steady = memory[int(WARM_UP * len(memory)) :]
        part = max(1, len(steady) // 8)
        growth = statistics.mean(steady[-part:]) / statistics.mean(steady[:part]) - 1
        gaps = sorted(gap for one in seen for gap in one.gaps)
        median, p99 = statistics.median(gaps), gaps[int(0.99 * len(gaps))]
        result = {
            "seconds": seconds,
            "clients": clients,
            "finished": sum(one.finished for one in seen),
            "left": sum(one.left for one in seen),
            "refused": sum(one.refused for one in seen),
            "wrong": sum(one.wrongs for one in seen),
            "examples": [what for one in seen for what in one.wrong],
            "memory_bytes": [min(steady), max(steady)],
            "memory_growth": growth,
            "gap_median_ms": 1000 * median,
            "gap_p99_ms": 1000 * p99,
        }
        print(
            f"{clients} clients for {seconds:.0f} s: {result['finished']:,} answers read, {result['left']:,} "
            f"left, {result['refused']:,} refused, {result['wrong']:,} wrong"
        )
        for what in result["examples"]:
            print(f"  wrong: {what}")
        print(
            f"memory {max(steady) / 1e6:.0f} MB, grown by {100 * growth:+.1f} %; between two pieces of text "
            f"{1000 * median:.1f} ms, p99 {1000 * p99:.1f} ms ({p99 / median:.1f} ×)"
        )
        return result
