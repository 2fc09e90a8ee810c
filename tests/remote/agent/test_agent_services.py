"""Services as the agent keeps them: started once, joined, kept by leases, pinned, ended, and told of."""

import errno
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from agenthost import AgentHost, until
from fake_chat_web import fake_server_python
from fake_nvml.build import build as build_nvml
from fake_nvml.machine import Machine

from remote.agent import procs
from remote.agent.answers import Answers
from remote.agent.documents import SERVICE_SCHEMA
from remote.agent.files import AgentError, read_json
from remote.agent.services import control, folder
from remote.agent.services.devices import Choice, Device, choose
from remote.agent.services.folder import Services
from remote.agent.services.keeper import REST_LOOKS, TERM_SECONDS, TICK, Leases, keep
from remote.agent.services.request import Wanted
from remote.fleet.leases import LEASE_SECONDS

LEASE = 2.0
DOCUMENTS = ("service.json", "state.json")
GIB = 1 << 30
FREE = Device("cuda:0", "H100", 70 * GIB, 80 * GIB, "", False)
FREER = Device("cuda:1", "H100", 79 * GIB, 80 * GIB, "", False)
TRAINS = Device("cuda:2", "H100", 79 * GIB, 80 * GIB, "run-1", False)
TAKEN = Device("cuda:3", "H100", 79 * GIB, 80 * GIB, "", True)
CPU = Device("cpu", "CPU", 9 * GIB, 16 * GIB, "", False)
CPU_TRAINS = CPU._replace(run="run-1")


class ServingHost:
    """The agent over a base directory whose interpreter is the stand-in for a server."""

    def __init__(self, agent: AgentHost, folder: Path) -> None:
        self.agent = agent
        self.folder = folder
        self.python = str(fake_server_python(folder))

    def mode(self, word: str) -> None:
        (self.folder / "mode").write_text(word)

    def request(self, **changes: Any) -> dict[str, Any]:
        asked = {"device": "cpu", "python": self.python, "holder": "app-1"}
        return {**asked, "lease_seconds": 60, "unload_after": 600, **changes}

    def serve(self, **changes: Any) -> str:
        """The id of a service that has started, or failed to."""
        told = self.agent.call("serve", request=self.request(**changes))["service"]["id"]
        until(lambda: self.state(told)["status"] != "starting", "the server to start")
        return str(told)

    def do(self, service_id: str, *words: str) -> None:
        self.agent.call("service", "--id", service_id, "--do", *words)

    def all(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.agent.call("services")["services"]
        return found

    def dir(self, service_id: str) -> Path:
        return self.agent.base / "services" / service_id

    def state(self, service_id: str) -> dict[str, Any]:
        """The state on disk, as a bystander reads it."""
        state: dict[str, Any] = json.loads((self.dir(service_id) / "state.json").read_bytes())
        return state

    def server(self, service_id: str) -> psutil.Process:
        return psutil.Process(self.state(service_id)["pid"])

    def gone(self, service_id: str, server: psutil.Process, seconds: float = 20) -> None:
        """Waits until neither the service's folder nor its server is there."""
        until(lambda: not self.dir(service_id).exists(), "the service to end", seconds)
        until(lambda: not server.is_running(), "the server to end", seconds)


@pytest.fixture
def host(agent: AgentHost, tmp_path: Path) -> Iterator[ServingHost]:
    host = ServingHost(agent, tmp_path)
    yield host
    for state in (agent.base / "services").glob("*/state.json"):
        told = read_json(state) or {}
        for pid in (told.get("pid"), (told.get("supervisor") or {}).get("pid")):
            if isinstance(pid, int) and pid > 1:
                procs.signal_each([pid], signal.SIGKILL)


def document_of(service_id: str) -> dict[str, Any]:
    """What a service was asked, of one that no keeper starts."""
    asked = {
        "schema": SERVICE_SCHEMA,
        "id": service_id,
        "device": "cpu",
        "shared": False,
        "argv": ["true"],
        "env": {},
    }
    return {**asked, "lease_seconds": 60.0, "created_at": 1.0}


def ask(port: int, key: str) -> int:
    """The status that a server answers with."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_a_service_is_started_once_joined_and_no_run(host: ServingHost) -> None:
    service_id = host.serve()
    [first] = host.agent.call("services", "--wait", service_id)["services"]
    assert (first["device"], first["status"], first["pinned"], first["kept"]) == ("cpu", "ready", False, True)
    assert ask(first["port"], first["key"]) == 200 and ask(first["port"], "guessed") == 401
    assert first["models"] == ["sft/d2"] and first["idle"] == 12.5
    joined = host.agent.call("serve", request=host.request(device=None, holder="app-2"))["service"]
    assert (joined["id"], joined["port"], joined["key"]) == (first["id"], first["port"], first["key"])
    [listed] = host.all()
    assert listed["id"] == service_id and "key" not in listed
    folder = host.dir(service_id)
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    command = host.server(service_id).cmdline()
    assert first["key"] not in " ".join(command) and "--max-memory" in command
    assert host.agent.call("ls")["runs"] == [] and not (host.agent.base / "runs").exists()


def test_it_ends_when_its_lease_ends_and_lives_while_that_is_renewed(host: ServingHost) -> None:
    service_id = host.agent.call("serve", request=host.request(lease_seconds=LEASE))["service"]["id"]
    with subprocess.Popen(
        host.agent.command("lease"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=host.agent.env,
    ) as app:  # fmt: skip
        assert app.stdin is not None and app.stdout is not None
        over_a_lease = time.monotonic() + 1.2 * LEASE
        while time.monotonic() < over_a_lease:
            app.stdin.write(json.dumps({"holder": "app-1", "services": [service_id]}) + "\n")
            app.stdin.flush()
            [told] = json.loads(app.stdout.readline())["services"]
            assert told["status"] in ("starting", "ready")
            time.sleep(LEASE / 8)
        server = host.server(service_id)
        app.kill()  # the app dies, as by kill -9: nobody says that it left
    host.gone(service_id, server)


@pytest.mark.slow
def test_a_lease_given_back_ends_it_at_once_unless_another_app_or_a_pin_keeps_it(host: ServingHost) -> None:
    service_id = host.serve()
    server = host.server(service_id)
    host.agent.call("serve", request=host.request(holder="app-2"))
    host.do(service_id, "leave", "--holder", "app-1")
    host.do(service_id, "pin")
    host.do(service_id, "leave", "--holder", "app-2")
    time.sleep(2 * TICK)  # its keeper has looked
    assert [(one["status"], one["pinned"], one["kept"]) for one in host.all()] == [("ready", True, False)]
    host.do(service_id, "unpin")
    host.gone(service_id, server)
    assert host.agent.refused("service", "--id", service_id, "--do", "pin")["code"] == "no_service"


@pytest.mark.slow
def test_an_end_asked_for_comes_to_a_pinned_one_also_when_its_keeper_dies_on_the_way(
    host: ServingHost,
) -> None:
    host.mode("deaf")
    service_id = host.serve()
    server = host.server(service_id)
    host.do(service_id, "pin")
    host.do(service_id, "end")
    until(lambda: host.state(service_id)["status"] == "ending", "the end to begin")
    os.kill(host.state(service_id)["supervisor"]["pid"], signal.SIGKILL)
    host.mode("fine")
    assert server.is_running()  # it heard no SIGTERM
    host.agent.call("serve", request=host.request())  # whoever comes next settles it
    host.gone(service_id, server)


def test_a_server_dies_with_its_keeper(host: ServingHost) -> None:
    service_id = host.serve()
    server = host.server(service_id)
    os.kill(host.state(service_id)["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: not server.is_running(), "the server to end with its keeper")
    assert [(one["status"], one["reason"]) for one in host.all()] == [("failed", "it was killed")]


def test_a_copy_of_a_base_directory_ends_no_server_of_the_other_one(
    host: ServingHost, tmp_path: Path
) -> None:
    service_id = host.serve()
    server = host.server(service_id)
    copy = Services(tmp_path / "copy")
    shutil.copytree(host.dir(service_id), copy.get(service_id).path)
    control.settle(copy)
    assert not copy.get(service_id).path.exists()
    assert server.is_running() and host.state(service_id)["status"] == "ready"


@pytest.mark.slow
def test_a_server_that_ends_is_told_in_its_own_last_words_or_by_its_signal(host: ServingHost) -> None:
    host.mode("refuses")
    told = host.serve()
    reason = "no CUDA device is used here (models run on: cpu)"
    assert (host.state(told)["status"], host.state(told)["reason"]) == ("failed", reason)
    host.mode("fine")
    service_id = host.serve()
    os.kill(host.state(service_id)["pid"], signal.SIGSEGV)
    until(lambda: host.state(service_id)["status"] == "failed", "the end to be noticed")
    assert [one["reason"] for one in host.all()] == [
        reason, "the server ended: killed by signal 11 (SIGSEGV)"
    ]  # fmt: skip
    assert "some warning" in (host.dir(told) / "server.log").read_text()  # the log stays


@pytest.mark.slow
def test_a_host_that_cannot_serve_is_one_line(host: ServingHost) -> None:
    for mode, told in (
        ("old", f"the nanochat 0.0.9 of {host.python} is too old to serve: update it there"),
        ("missing", f"{host.python} has no nanochat to serve with: install it there"),
    ):
        host.mode(mode)
        assert host.agent.refused("serve", request=host.request())["error"] == told
    missing = host.agent.refused("serve", request=host.request(python="/no/python"))
    assert missing["error"] == "cannot run /no/python: No such file or directory"
    absent = host.agent.refused("serve", request=host.request(device="cuda:7"))
    assert absent == {"error": "there is no device cuda:7 here: there are cpu", "code": "device"}
    assert not list((host.agent.base / "services").glob("[a-z]*"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device", "gpu"), ("device", 3), ("holder", "../x"), ("holder", ""), ("lease_seconds", 0),
        ("lease_seconds", "x"), ("lease_seconds", float("nan")), ("unload_after", True), ("python", ""),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_is_refused(field: str, value: object) -> None:
    good = {"device": None, "python": "python3", "holder": "a", "lease_seconds": 1, "unload_after": 60}
    assert Wanted.parse(good).argv(CPU)[0] == "python3"
    with pytest.raises(AgentError):
        Wanted.parse({**good, field: value})


def test_two_apps_at_once_get_one_service(host: ServingHost) -> None:
    asked = [json.dumps(host.request(holder=f"app-{who}")) for who in range(2)]
    apps = [
        subprocess.Popen(
            host.agent.command("serve"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=host.agent.env,
        )
        for _ in asked
    ]  # fmt: skip
    answers = [app.communicate(request)[0] for app, request in zip(apps, asked, strict=True)]
    [service_id] = {json.loads(answer)["service"]["id"] for answer in answers}
    assert [path.name for path in (host.agent.base / "services").glob("cpu-*")] == [service_id]
    assert sorted(path.name for path in (host.dir(service_id) / "leases").iterdir()) == ["app-0", "app-1"]


def test_nobody_waits_while_an_interpreter_is_asked_for_another_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services(tmp_path)
    services.make()
    _, lock = services.create(document_of("cpu-1"), "key", "app-1")
    asked = []

    def ask(python: str, _: Path) -> None:
        with services.exclusive():
            asked.append(python)

    monkeypatch.setattr(folder, "LOCK_PATIENCE", 0.0)
    monkeypatch.setattr(control.device_list, "devices", lambda _: [FREE, CPU])
    monkeypatch.setattr(control, "check_nanochat", ask)
    monkeypatch.setattr(control, "start_detached", lambda *_: True)
    request = {"python": "python3", "holder": "app-2", "lease_seconds": 60, "unload_after": 600}
    joined = control.serve(tmp_path, {**request, "device": "cpu"})["service"]
    assert (joined["id"], asked) == ("cpu-1", [])
    started = control.serve(tmp_path, {**request, "device": "cuda:0"})["service"]
    assert (started["device"], asked) == ("cuda:0", ["python3"])
    os.close(lock)


def test_a_folder_goes_whole_while_others_look_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services = Services(tmp_path)
    services.make()
    service, lock = services.create(document_of("cpu-1"), "key", "app-1")
    os.close(lock)
    rmdir = os.rmdir

    def looked_at(path: str, **words: Any) -> None:
        control.is_kept(service)
        service.renew("app-2")
        with suppress(FileNotFoundError):
            service.ask_end()
        rmdir(path, **words)

    monkeypatch.setattr(os, "rmdir", looked_at)
    service.remove()
    assert list(services.path.iterdir()) == []


def test_what_was_killed_half_way_is_swept_at_the_next_start(tmp_path: Path) -> None:
    services = Services(tmp_path)
    for name in (".new-cpu-1", ".old-cpu-2"):
        (services.path / name).mkdir(parents=True)
        (services.path / name / "key").write_text("secret")
    _, lock = services.create(document_of("cpu-3"), "key", "app-1")
    services.prune()
    assert [path.name for path in services.path.iterdir()] == ["cpu-3"]
    os.close(lock)


def test_a_keeper_that_cannot_be_forked_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(control.device_list, "devices", lambda _: [CPU])
    monkeypatch.setattr(control, "check_nanochat", lambda *_: None)
    monkeypatch.setattr(os, "fork", fork)
    request = {"python": "python3", "holder": "app-1", "lease_seconds": 60, "unload_after": 600}
    with pytest.raises(AgentError, match=r"^cannot start a keeper: Resource temporarily unavailable$"):
        control.serve(tmp_path, request)
    assert Services(tmp_path).all() == []


@pytest.mark.slow
def test_foreign_documents_cost_their_service_only(host: ServingHost) -> None:
    good = host.serve()
    documents = {name: json.loads((host.dir(good) / name).read_bytes()) for name in DOCUMENTS}
    nonsense = {"id": "bad-3", "status": "ready", "pid": -1, "port": 10**9}
    for number, (name, content) in enumerate(
        [
            ("service.json", "{"), ("service.json", '{"schema": 2}'), ("state.json", "[]"),
            ("state.json", json.dumps(nonsense)),
        ]
    ):  # fmt: skip
        bad = host.dir(f"bad-{number}")
        bad.mkdir()
        for other, document in documents.items():
            (bad / other).write_text(json.dumps({**document, "id": bad.name}))
        (bad / name).write_text(content)
    told = {one["id"]: one for one in host.all()}
    assert told[good]["status"] == "ready"
    assert [told[f"bad-{number}"]["status"] for number in range(4)] == ["damaged"] * 4
    assert told["bad-1"]["reason"] == "service.json was written by another version of nanochat"
    assert told["bad-3"]["reason"] == "pid, port of state.json cannot be used"
    joined = host.agent.call("serve", request=host.request(device=None))["service"]
    assert joined["id"] == good and host.server(good).is_running()


def test_a_lease_runs_by_our_own_clock() -> None:
    leases = Leases(10.0)
    assert leases.holders({"a": 1, "b": 1}, 100.0) == ["a", "b"]
    assert leases.holders({"a": 2, "b": 1}, 109.0) == ["a", "b"]
    assert leases.holders({"a": 2, "b": 1}, 111.0) == ["a"]
    assert leases.holders({"a": 2}, 120.0) == []
    assert leases.holders({"a": 0}, 121.0) == ["a"]  # a clock set back is a renewal all the same


def test_a_keeper_without_its_documents_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    services = Services(tmp_path)
    services.make()
    service, lock = services.create(document_of("cpu-1"), "key", "app-1")
    (service.path / "service.json").unlink()
    assert keep(tmp_path, "cpu-1", lock) == 1
    os.close(lock)
    assert "cpu-1: service.json is missing or damaged" in "".join(capsys.readouterr())


def test_a_lease_that_cannot_be_renewed_ends_no_others(tmp_path: Path) -> None:
    services = Services(tmp_path)
    services.make()
    folders = []
    for service_id in ("cpu-1", "cpu-2"):
        service, lock = services.create(document_of(service_id), "key", "app-1")
        os.close(lock)
        folders.append(service)
    (folders[0].path / "leases" / "app-2").mkdir()  # no file can be opened there
    line = json.dumps({"holder": "app-2", "services": ["cpu-1", "cpu-2"]})
    answers = io.StringIO()
    assert control.lease(tmp_path, io.StringIO(line + "\n"), Answers(answers)) == 0
    assert "app-2" in folders[1].leases() and json.loads(answers.getvalue())["type"] == "services"


def test_nobodys_service_is_gone_within_a_minute() -> None:
    assert LEASE_SECONDS + TICK + TERM_SECONDS + REST_LOOKS * TICK < 60


@pytest.mark.parametrize(
    ("found", "asked", "serving", "chosen"),
    [
        ([FREE, FREER, TAKEN, CPU], None, [], "cuda:1"),
        ([TAKEN, CPU], None, [], "cpu"),
        ([CPU_TRAINS], None, [], "cpu"),
        ([FREE, TRAINS, CPU], None, [], "asked: run-1"),
        ([FREE, TRAINS, CPU], "cuda:2", [], "cuda:2"),
        ([FREE, TRAINS, CPU], None, [("cuda:0", False)], "cuda:0"),
        ([FREE, TRAINS, CPU], None, [("cuda:2", False)], "asked: run-1"),
        ([FREE, TRAINS, CPU], None, [("cuda:2", True)], "cuda:2"),
        ([FREE, CPU_TRAINS], None, [("cpu", False)], "cpu"),
        ([FREE, CPU_TRAINS], None, [], "asked: run-1"),
    ],
)
def test_a_gpu_that_a_training_uses_is_taken_by_name_only(
    found: list[Device], asked: str | None, serving: list[tuple[str, bool]], chosen: str
) -> None:
    try:
        device = choose(found, asked, serving)
    except Choice as choice:
        assert chosen == f"asked: {choice.run}"
    else:
        assert chosen == device.name


# -- devices ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def machine(nvml: Path, tmp_path: Path, agent: AgentHost) -> Machine:
    """Four GPUs, of which the agent hears."""
    machine = Machine(nvml, tmp_path / "gpus.txt")
    agent.env.update(machine.env)
    return machine


def offers(agent: AgentHost) -> dict[str, dict[str, Any]]:
    return {device["device"]: device for device in agent.call("devices")["devices"]}


def used(index: int, gib: int, *pids: int) -> dict[str, object]:
    words = {f"pids_{index}": ",".join(map(str, pids))} if pids else {}
    return {f"mem_used_{index}": gib << 30, **words}


class Trainings:
    """Runs at work that do nothing: a process each, with the documents of a stage run directly."""

    def __init__(self, agent: AgentHost) -> None:
        self.agent = agent
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, run_id: str, options: dict[str, Any], **env: str) -> int:
        process = subprocess.Popen(["sleep", "60"], env={**self.agent.env, **env}, start_new_session=True)
        self.processes[run_id] = process
        self.agent.make_hand_run(run_id, stage="base_train", options=options)
        self.agent.write_hand_state(run_id, process.pid)
        return process.pid

    def end(self, run_id: str) -> None:
        process = self.processes.pop(run_id)
        process.kill()
        process.wait()


@pytest.fixture
def trainings(agent: AgentHost) -> Iterator[Trainings]:
    trainings = Trainings(agent)
    yield trainings
    for run_id in list(trainings.processes):
        trainings.end(run_id)


def test_devices_tell_how_much_is_free_and_who_is_at_work_there(
    agent: AgentHost, machine: Machine, trainings: Trainings
) -> None:
    pid = trainings.start("run-1", {})
    machine.set(count=4, **used(0, 71, pid), **used(1, 0), **used(2, 20, 999_999), **used(3, 3))
    found = offers(agent)
    assert list(found) == ["cuda:0", "cuda:1", "cuda:2", "cuda:3", "cpu"]
    assert [found[f"cuda:{i}"]["run"] for i in range(4)] == ["run-1", None, None, None]
    assert [found[f"cuda:{i}"]["other"] for i in range(4)] == [False, False, True, True]
    assert found["cuda:1"]["free"] == found["cuda:1"]["total"] == 80 << 30
    assert found["cuda:0"]["title"] == "NVIDIA H100 80GB HBM3"
    memory = psutil.virtual_memory()
    assert 0 < found["cpu"]["free"] <= found["cpu"]["total"] <= memory.total and found["cpu"]["run"] is None
    agent.env["CUDA_VISIBLE_DEVICES"] = "1,GPU-00000003"
    assert list(offers(agent)) == ["cuda:1", "cuda:3", "cpu"]


def test_a_run_that_nvml_does_not_show_has_the_gpus_it_was_given(
    agent: AgentHost, machine: Machine, trainings: Trainings
) -> None:
    machine.set(count=4, **{name: value for i in range(4) for name, value in used(i, 0).items()})

    def runs() -> list[str | None]:
        return [device["run"] for device in offers(agent).values()]

    trainings.start("run-1", {"nproc": 2})
    assert runs() == ["run-1", "run-1", None, None, None]
    trainings.end("run-1")
    trainings.start("run-2", {}, CUDA_VISIBLE_DEVICES="2,GPU-00000003")
    trainings.start("run-3", {"device_type": "cpu"})
    assert runs() == [None, None, "run-2", "run-2", "run-3"]


@pytest.mark.slow
def test_a_process_that_got_the_pid_of_a_service_is_somebody_elses(
    agent: AgentHost, machine: Machine
) -> None:
    services = Services(agent.base)
    services.make()
    service, lock = services.create(document_of("cuda-0-1"), "key", "app-1")
    os.close(lock)
    pid = os.getpid()
    machine.set(count=1, **used(0, 20, pid))
    state = {
        **(service.read_state() or {}),
        "status": "ready",
        "pid": pid,
        "pid_start": procs.start_time(pid),
    }
    for changes, other in ({}, False), ({"pid_start": 1}, True), ({"boot_id": "before"}, True):
        service.write_state({**state, **changes})
        assert offers(agent)["cuda:0"]["other"] is other
        assert offers(agent)["cuda:0"]["held"] is None  # the driver does not tell how much


def test_what_a_service_holds_of_a_gpu_is_told(agent: AgentHost, machine: Machine) -> None:
    services = Services(agent.base)
    services.make()
    service, lock = services.create(document_of("cuda-0-1"), "key", "app-1")
    os.close(lock)
    pid = os.getpid()
    machine.set(
        count=2, **used(0, 20), **used(1, 5), pids_0=f"{pid}:{12 * GIB},999999:{8 * GIB}", pids_1="999999:5"
    )
    state = {
        **(service.read_state() or {}),
        "status": "ready",
        "pid": pid,
        "pid_start": procs.start_time(pid),
    }
    service.write_state(state)
    assert [(one["held"], one["other"]) for one in offers(agent).values()] == [
        (12 * GIB, True), (None, True), (None, False)
    ]  # fmt: skip


@pytest.mark.slow
def test_beside_a_training_a_person_chooses_and_the_server_sees_only_that_gpu(
    host: ServingHost, machine: Machine, trainings: Trainings
) -> None:
    agent = host.agent
    pid = trainings.start("run-1", {})
    machine.set(count=2, **used(0, 71, pid), **used(1, 0))
    choice = agent.call("serve", request=host.request(device=None))["choice"]
    assert choice["run"] == "run-1" and len(choice["devices"]) == 3
    service_id = host.serve(device="cuda:1")
    server = host.server(service_id)
    assert server.environ()["CUDA_VISIBLE_DEVICES"] == "GPU-00000001-fake"
    words = server.cmdline()
    assert words[words.index("--max-memory") + 1] == "72.000" and words[words.index("--gpus") + 1] == "0"
    # What serves already is joined without a question, and its own memory makes it nobody else's.
    machine.set(count=2, **used(0, 71, pid), **used(1, 40, server.pid))
    assert agent.call("serve", request=host.request(device=None))["service"]["id"] == service_id
    assert offers(agent)["cuda:1"]["other"] is False
    words = host.server(host.serve(device="cuda:0")).cmdline()  # by name, all the same: half of what is free
    assert words[words.index("--max-memory") + 1] == "4.500"


def test_what_an_interpreter_prints_besides_keeps_it_from_no_serving(tmp_path: Path) -> None:
    chatty = tmp_path / "python"
    chatty.write_text(f'#!/bin/sh\necho hello\n"{sys.executable}" "$@"\necho done; echo "[]"\n')
    chatty.chmod(0o755)
    control.check_nanochat(str(chatty), tmp_path)


def test_a_nanochat_that_cannot_be_imported_is_told_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "nanochat.py").write_text(
        "raise SystemExit('not on\\na Tuesday')"
    )  # the folder that it runs in
    with pytest.raises(AgentError, match=r"nanochat cannot be imported: SystemExit: not on a Tuesday$"):
        control.check_nanochat(sys.executable, tmp_path)
