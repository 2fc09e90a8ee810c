"""All hosts as one: connect, launch, stop, resume, read, and hear of every change.

The one facade of screens and headless mode. Everything runs in one event loop; disk and network work is
off it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nanochat.common import fields
from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from nanochat.common.text import sanitize
from nanochat.config.options import from_mapping
from nanochat.config.pass_env import collect, missing_line
from nanochat.config.stages import stage_spec
from nanochat.run.run_directory import ENV_PREFIXES
from remote.fleet.agent_client import AgentClient, AgentError
from remote.fleet.answers import entries, found_of, log_sizes, probe_of
from remote.fleet.beside_training import beside_line, gpus_taken, held_gpus
from remote.fleet.checkpoints import FleetCheckpoints
from remote.fleet.evaluations import FleetEvaluations
from remote.fleet.follower import run_id_of, sizes_of
from remote.fleet.imports import Imports
from remote.fleet.services import Services
from remote.fleet.session import HostSession
from remote.fleet.submission import Submission, plan_ref, submission
from remote.fleet.tokenizers import FleetTokenizers
from remote.fleet.unanswered import Unanswered
from remote.hosts.book import HostBook
from remote.runs import (
    RUN_ID,
    Change,
    CommandRecord,
    Found,
    Link,
    PlanRef,
    Probe,
    RunRequest,
    run_key,
    split_key,
)
from remote.store.ingest import EVENTS
from remote.store.store import Store
from remote.transport.base import AskHostKey, HostUnreachable, UnknownHostKey

STOP_GRACE = 20.0
_QUIET = 5.0
_SUBMISSIONS = 3  # how often one document is sent before its answer is given up
_RESEND = 1.0


class Fleet:
    """The hosts of a base directory. Use `start` or `connect`, and always `aclose`.

    `ask_host_key` is asked about a key never seen before; without it such a host is refused. `warn` is told,
    in a line, what a person should know before a run starts.
    """

    def __init__(
        self,
        layout: Layout,
        store: Store | None = None,
        ask_host_key: AskHostKey | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.layout = layout
        self.hosts = HostBook(layout)
        self.store = store or Store(layout.store)
        self.ask_host_key = ask_host_key
        self.warn = warn
        self.services = Services(self._session)
        self.evaluations = FleetEvaluations(layout, self.hosts, self.store, self._agent, self._notify)
        self.checkpoints = FleetCheckpoints(self._agent)
        self.tokenizers = FleetTokenizers(layout, self._agent)
        self.imports = Imports(self._agent)
        self._own_store = store is None
        self._sessions: dict[str, HostSession] = {}
        self._subscribers: list[Callable[[Change], None]] = []
        self._unanswered = Unanswered(layout.unanswered)

    async def start(self, names: Iterable[str] | None = None) -> None:
        """Begins to follow hosts in the background: all in the book, or only those named."""
        known = await asyncio.to_thread(self.hosts.all)
        chosen = None if names is None else set(names)
        for host in known:
            if chosen is None or host.name in chosen:
                await self._session(host.name)

    async def aclose(self) -> None:
        """Ends every connection and task, and the services that are not pinned. Runs go on."""
        await self.services.aclose()
        sessions, self._sessions = list(self._sessions.values()), {}
        await asyncio.gather(*(session.close() for session in sessions), return_exceptions=True)
        if self._own_store:
            await asyncio.to_thread(self.store.close)

    # ---- hosts ---------------------------------------------------------------------------------------

    async def connect(self, name: str) -> None:
        """Connects to a host, or waits until it is; retries a link that is down at once.

        Raises `HostUnreachable` or another error of the transport; a host that was only unreachable is
        tried again in the background.
        """
        await self._agent(name)

    async def disconnect(self, name: str) -> None:
        """Stops following a host; services there that are not pinned end."""
        await self.services.leave(name)
        session = self._sessions.pop(name, None)
        if session is not None:
            await session.close()
            self._notify(Change("link", name))

    def link(self, name: str) -> Link:
        """How the connection to a host stands."""
        session = self._sessions.get(name)
        return Link() if session is None else session.link

    def commands(self, name: str) -> list[CommandRecord]:
        """Every command that was run on a host in this session, oldest first."""
        session = self._sessions.get(name)
        return [] if session is None else list(session.commands)

    async def probe(self, name: str) -> Probe:
        """What a host is: processors, memory, disk, GPUs, and whether its interpreter has nanochat."""
        agent = await self._agent(name)
        answer = await agent.call("probe", "--python", agent.stage_python, within=120)
        return probe_of(name, answer, time.time())

    def subscribe(self, callback: Callable[[Change], None]) -> Callable[[], None]:
        """Calls `callback` in the event loop after each committed change; returns what ends it."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    # ---- runs ----------------------------------------------------------------------------------------

    async def launch(
        self,
        name: str,
        requests: Sequence[RunRequest],
        plan: PlanRef | str | None = None,
        pass_env: Sequence[str] = (),
    ) -> list[str]:
        """Starts runs on a host as one submission and returns their store keys, in order.

        They are handed the variables of our environment that `pass_env` or the host's entry name. Raises
        `UserError` for a bad request before anything is sent.
        """
        reference = plan_ref(plan) if isinstance(plan, str) else plan
        submission(requests, "python3", reference)
        agent = await self._agent(name)
        folder = Path.cwd() if agent.host.kind == "local" else None
        env = self._passed((*await self._names_of(name), *pass_env))
        asked = await asyncio.to_thread(submission, requests, agent.stage_python, reference, folder, env)
        await self._tell_of_services(name, [(run["stage"], run["options"]) for run in asked.document["runs"]])
        asked = await self._submit(name, reference, asked)
        await self._refresh(name, await self._agent(name))
        keys = [run_key(name, run_id) for run_id in asked.run_ids]
        await asyncio.to_thread(self.store.let_have, keys, pass_env)
        return keys

    async def _submit(self, name: str, plan: PlanRef | None, asked: Submission) -> Submission:
        """Sends a submission until it is answered, the same document each time, which is no second start.

        One that stays unanswered is kept, and sent when the same is asked for again.
        """
        same = asked.fingerprint(None if plan is None else plan.name)
        asked, told = await asyncio.to_thread(self._kept, name, same, asked)
        if told and self.warn is not None:
            self.warn(told)
        for left in reversed(range(_SUBMISSIONS)):
            try:
                await (await self._agent(name)).call("submit", request=asked.document)
                break
            except (HostUnreachable, AgentError) as error:
                if isinstance(error, AgentError) and error.code != "no_answer":
                    await asyncio.to_thread(self._unanswered.forget, name, same, asked)
                    raise
                if not left:
                    raise UserError(
                        f"{error.message}; whether the runs have started is not known",
                        f"ask for the same again within an hour: nothing starts twice; or see "
                        f"nanochat runs ls --host {name}",
                        Exit.UNREACHABLE,
                    ) from error
                await asyncio.sleep(_RESEND)
        await asyncio.to_thread(self._unanswered.forget, name, same, asked)
        return asked

    async def _tell_of_services(self, name: str, runs: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Says in a line which GPUs that the runs will take are held by services of chats."""
        taken = 0
        for stage, options in runs:
            with contextlib.suppress(UserError):  # of another version: the host judges it
                spec = stage_spec(stage)
                taken = max(taken, gpus_taken(from_mapping(spec.options, options, stage)))
        if self.warn is None or not taken:
            return
        with contextlib.suppress(UserError):  # a host that cannot tell starts the runs all the same
            if line := beside_line(name, await held_gpus(self.services, name), taken):
                self.warn(line)

    def _kept(self, name: str, same: str, asked: Submission) -> tuple[Submission, str]:
        """What to send, kept on disk: what was sent before where that was the same; and what to tell."""
        before, told = self._unanswered.earlier(name, same), ""
        if before is not None:
            told = f"host '{name}' has not answered the same before: it is asked again, nothing starts twice"
            asked = replace(before, document={**before.document, "env": asked.document["env"]})
        try:
            self._unanswered.note(name, same, asked)
        except UserError as error:
            told = f"{error.message}: if host '{name}' does not answer, the same asked again may start twice"
        return asked, told

    async def stop(self, key: str, grace: float = STOP_GRACE) -> None:
        """Asks a run to end: SIGINT, after `grace` seconds SIGTERM, after as many again SIGKILL."""
        name, run_id = split_key(key)
        agent = await self._agent(name)
        await agent.call("stop", "--run", run_id, "--grace", f"{grace:g}")

    async def resume(self, key: str, pass_env: Sequence[str] = ()) -> None:
        """Starts a new attempt of an ended run in the same run directory.

        It is handed, as they are set now, the variables that the host's entry names, those it was let have
        when it was launched from here, and those of `pass_env`. What the host says it once had is no reason
        to send it anything.
        """
        name, run_id = split_key(key)
        agent = await self._agent(name)
        row = await asyncio.to_thread(self.store.run, key)
        names = (*await self._names_of(name), *(row.pass_env if row else ()), *pass_env)
        env = self._passed(names)
        # A stage run by hand notes which of its machine's variables were set: those are no loss.
        had = [word for word in (row.env if row else ()) if not word.startswith(ENV_PREFIXES)]
        self._say_forgotten(key, [word for word in had if word not in names])
        if row is not None:
            await self._tell_of_services(name, [(row.stage, row.options)])
        await agent.call("resume", request={"run_id": run_id, "python": agent.stage_python, "env": env})
        await self._refresh(name, agent)
        await asyncio.to_thread(self.store.let_have, [key], pass_env)
        (await self._session(name)).look_again()

    async def read(self, key: str, file: str, offset: int, size: int) -> tuple[bytes, int, int]:
        """`(bytes, offset, file size)` of a run's file; a negative `offset` counts from the end."""
        name, run_id = split_key(key)
        agent = await self._agent(name)
        arguments = ["--run", run_id, "--file", file, f"--offset={offset}", "--max", str(size)]
        answer = await agent.call("read", *arguments)
        start, length = (fields.whole(answer.get(word), 0) for word in ("offset", "size"))
        try:
            raw = base64.b64decode(str(answer.get("b64")), validate=True)
        except ValueError:
            start = None
        if start is None or length is None:
            raise UserError(f"host '{name}' gave an answer we cannot read: no bytes", exit_code=Exit.FAILED)
        return raw, start, length

    async def search(
        self, key: str, file: str, text: str, *, offset: int = -1, back: bool = True, most: int = 1
    ) -> Found:
        """Lines of a run's file that hold `text`, in either case, found on its host.

        With `back` those that begin before byte `offset` (-1: the end of the file), else those from there
        on; the nearest `most` of them. It gives what it has after a second: `Found.start` and `end` say
        how far it came.
        """
        name, run_id = split_key(key)
        agent = await self._agent(name)
        asked = {"text": text, "offset": offset, "back": back, "most": most}
        return found_of(name, await agent.call("search", "--run", run_id, "--file", file, request=asked))

    async def console(self, key: str, offset: int = -65536, size: int = 65536) -> tuple[bytes, int, int]:
        """The same of what the stage printed."""
        return await self.read(key, "console.log", offset, size)

    async def refresh(self, name: str) -> None:
        """Reads the state of every run of a host now, not only when the stream reports it."""
        await self._refresh(name, await self._agent(name))

    async def catch_up(self, name: str, keys: Iterable[str] | None = None, within: float = 60.0) -> None:
        """Returns when every event that a host's runs (or those of `keys`) have written is in the store.

        Raises `HostUnreachable` after `within` seconds.
        """
        answer = await self._refresh(name, await self._agent(name))
        wanted = None if keys is None else {split_key(key)[1] for key in keys}
        goal = {
            run_id: size for run_id, size in log_sizes(answer).items() if wanted is None or run_id in wanted
        }
        arrived = asyncio.Event()
        unsubscribe = self.subscribe(lambda change: arrived.set() if change.host == name else None)
        try:
            async with asyncio.timeout(within):
                while not await asyncio.to_thread(self._has_read, name, goal):
                    # A last line without its newline is never sent, so silence also ends the wait.
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_QUIET):
                            await arrived.wait()
                    if not arrived.is_set() and self.link(name).status == "up":
                        return
                    arrived.clear()
        except TimeoutError:
            raise HostUnreachable(name, f"its logs did not arrive within {within:g} s") from None
        finally:
            unsubscribe()

    def _has_read(self, name: str, goal: dict[str, int]) -> bool:
        offsets = self.store.offsets(name)
        return all(offsets.get(run_id, {}).get(EVENTS, 0) >= size for run_id, size in goal.items())

    async def _refresh(self, name: str, agent: AgentClient) -> dict[str, Any]:
        answer = await agent.call("ls")
        now, theirs = time.time(), fields.moment(answer.get("now"))

        def take() -> list[str]:
            """One entry at a time: what is wrong with one run is that run's alone."""
            fresh = []
            for entry in entries(answer, "runs"):
                run_id, here = run_id_of(entry), entry.get("here") is not False
                run, state = entry.get("run"), entry.get("state")
                if run_id and self.store.ingest_state(
                    name, run, state, snapshot=True, run_id=run_id, here=here, sizes=sizes_of(entry)
                ):
                    fresh.append(run_id)
            for entry in entries(answer, "problems"):
                run_id, error = str(entry.get("run_id")), str(entry.get("error"))
                if RUN_ID.fullmatch(run_id) and self.store.ingest_problem(
                    name, run_id, error, entry.get("damaged") is True
                ):
                    fresh.append(run_id)
            return fresh

        for run_id in await asyncio.to_thread(take):
            self._notify(Change("run", name, run_id))
        await asyncio.to_thread(self.store.contact, name, now, None if theirs is None else theirs - now)
        return answer

    # ---- inside --------------------------------------------------------------------------------------

    async def _session(self, name: str) -> HostSession:
        session = self._sessions.get(name)
        if session is None:
            host = await asyncio.to_thread(self.hosts.get, name)
            session = self._sessions.get(name)
            if session is None:
                session = HostSession(host, self.layout, self.store, self._notify, self._ask)
                self._sessions[name] = session
        return session

    async def _agent(self, name: str) -> AgentClient:
        session = await self._session(name)
        session.retry()
        return await session.ready()

    async def _names_of(self, name: str) -> tuple[str, ...]:
        """The host's `pass_env` as the book has it now; the session may be older than the entry."""
        known = await asyncio.to_thread(self.hosts.all)
        return next((host.pass_env for host in known if host.name == name), ())

    def _passed(self, names: Iterable[str]) -> dict[str, str]:
        """The variables of that name as they are set here; a name that is not is told."""
        passed = collect(names)
        if passed.missing and self.warn is not None:
            self.warn(missing_line(passed.missing))
        return dict(passed.values)

    def _say_forgotten(self, key: str, names: Sequence[str]) -> None:
        if names and self.warn is not None:
            self.warn(
                f"{key} first had {sanitize(', '.join(names))} from somewhere else, which is not passed on; "
                f"to do so: nanochat runs resume {split_key(key)[1]} --pass-env NAME"
            )

    async def _ask(self, unknown: UnknownHostKey) -> bool:
        return False if self.ask_host_key is None else await self.ask_host_key(unknown)

    def _notify(self, change: Change) -> None:
        for callback in list(self._subscribers):
            callback(change)
