"""Telemetry: what the machine and its GPUs do, through the real pynvml over a fake driver library."""

import itertools
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from agenthost import AgentHost, until
from fake_nvml.build import build as build_nvml
from fake_nvml.machine import Machine

from remote.agent import procs
from remote.agent.telemetry.host import Host, disk

pytestmark = pytest.mark.slow

NOT_SUPPORTED, DRIVER_NOT_LOADED, GPU_IS_LOST, UNKNOWN = 3, 9, 15, 999
UNINITIALIZED, VERSION_MISMATCH = 1, 18
FIGURES = {
    "name",
    "util",
    "mem_used",
    "mem_total",
    "power",
    "power_limit",
    "temp",
    "sm_clock",
    "throttle",
    "ecc",
}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def machine(library: Path, tmp_path: Path) -> Machine:
    return Machine(library, tmp_path / "gpus.txt")


def test_every_figure_of_eight_gpus_in_its_unit(machine: Machine) -> None:
    machine.set(util_3=12, power_3=71250, reasons_5=0x44, ecc_6=2, temp_7=88)
    values = machine.sample()
    for index in range(8):
        assert {name.split("/")[2] for name in values if name.startswith(f"gpu/{index}/")} == FIGURES
    assert values["gpu/0/name"] == "NVIDIA H100 80GB HBM3"
    assert (values["gpu/0/util"], values["gpu/3/util"]) == (97, 12)
    assert (values["gpu/0/power"], values["gpu/3/power"], values["gpu/0/power_limit"]) == (689.5, 71.2, 700.0)
    assert (values["gpu/0/mem_used"], values["gpu/0/mem_total"]) == (71 << 30, 80 << 30)
    assert (values["gpu/0/temp"], values["gpu/7/temp"], values["gpu/0/sm_clock"]) == (61, 88, 1980)
    assert (values["gpu/0/throttle"], values["gpu/5/throttle"]) == ("", "power cap, hardware thermal")
    assert (values["gpu/0/ecc"], values["gpu/6/ecc"]) == (0, 2)


def test_what_a_card_does_not_support_is_left_out_never_zero(machine: Machine) -> None:
    machine.set(util__error_2=NOT_SUPPORTED, ecc__error_2=NOT_SUPPORTED, power__error_2=UNKNOWN)
    values = machine.sample()
    found = {name.split("/")[2] for name in values if name.startswith("gpu/2/")}
    assert found == FIGURES - {"util", "ecc", "power"}
    assert {name.split("/")[2] for name in values if name.startswith("gpu/1/")} == FIGURES


@pytest.mark.parametrize("where", ["error_4", "handle__error_4"], ids=["while read", "at once"])
def test_a_gpu_that_falls_off_the_bus_says_so_and_the_others_keep_their_places(
    machine: Machine, where: str
) -> None:
    machine.set(**{where: GPU_IS_LOST}, util_5=5)
    values = machine.sample()
    assert {name: value for name, value in values.items() if name.startswith("gpu/4/")} == {
        "gpu/4/error": "GPU is lost"
    }
    assert values["gpu/5/util"] == 5 and values["gpu/7/util"] == 97


def test_an_older_driver_gives_the_same_figures(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    machine = Machine(build_nvml(tmp_path / "lib", "OLD_DRIVER"), tmp_path / "gpus.txt")
    machine.set(reasons_0=0x20)
    values = machine.sample()
    assert {name.split("/")[2] for name in values if name.startswith("gpu/0/")} == FIGURES
    assert values["gpu/0/throttle"] == "software thermal"
    assert values["gpu/0/mem_used"] == (71 << 30) + (1 << 29)  # the old call counts the driver's own memory


@pytest.mark.parametrize("code", [UNINITIALIZED, DRIVER_NOT_LOADED, VERSION_MISMATCH])
def test_a_driver_that_is_unloaded_and_loaded_again_is_read_again(machine: Machine, code: int) -> None:
    before, gone, why, back, again = machine.ask(f"""
before = len(gpus.sample(1.0))
settings("broken={code}", "init={DRIVER_NOT_LOADED}")
gone = [len(gpus.sample(2.0)), len(gpus.sample(3.0))]
why = gpus.error
settings("")
back = len(gpus.sample(4.0))
tell([before, gone, why, back, gpus.error])
""")
    assert before == back == 8 * len(FIGURES)
    assert gone == [0, 0] and why == "Driver Not Loaded" and again == ""


def test_after_a_driver_upgrade_the_loaded_library_is_given_up(machine: Machine) -> None:
    """The old library can never talk to the new driver: only a new process can load the new one."""
    machine.set(init=VERSION_MISMATCH)
    assert machine.ask("""
stale = []
for now in (10.0, 100.0, 320.0):
    gpus.sample(now)
    stale.append(gpus.stale)
tell(stale)
""") == [False, False, True]


def test_a_driver_that_hangs_costs_the_gpu_values_only(machine: Machine) -> None:
    machine.set(hang=1)
    first, again, seconds = machine.ask("""
patient = PatientGpus(gpus, patience=0.2)
start = time.monotonic()
first, again = patient.sample(), patient.sample()
seconds = time.monotonic() - start
tell([first, again, seconds])
sys.stdout.flush()
import os
os._exit(0)
""")
    assert first == again == [{}, "NVML does not answer: the driver hangs"]
    assert seconds < 1.0


def test_a_machine_without_nvml_has_no_gpu_values_and_one_note(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=10000))
    agent.wait_events(run_id, 3, "telemetry.jsonl")
    events = agent.events(run_id, "telemetry.jsonl")
    assert not [name for event in events for name in event["data"] if name.startswith("gpu/")]
    notes = [event["data"]["host/nvml"] for event in events if "host/nvml" in event["data"]]
    assert notes == ["NVML Shared Library Not Found"]


def test_a_run_has_a_sample_every_two_seconds_of_host_and_gpus(agent: AgentHost, machine: Machine) -> None:
    agent.env.update(machine.env)
    (run_id,) = agent.submit(agent.stage(steps=10000))
    agent.wait_events(run_id, 2, "telemetry.jsonl")
    machine.set(error_1=GPU_IS_LOST)
    agent.wait_events(run_id, 4, "telemetry.jsonl")
    events = agent.events(run_id, "telemetry.jsonl")
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert {event["kind"] for event in events} == {"telemetry"}
    times = [event["t"] for event in events]
    gaps = sorted(late - early for early, late in itertools.pairwise(times))
    assert 1.0 < gaps[len(gaps) // 2] < 4  # a busy machine may be late for one, and catch up
    last = events[-1]["data"]
    assert {
        "host/cpu", "host/ram_used", "host/ram_total", "host/disk_used", "host/disk_total", "host/net_rx",
        "host/net_tx", "host/load1", "host/cores", "host/in_container",
    } <= set(last)  # fmt: skip
    assert last["gpu/1/error"] == "GPU is lost" and last["gpu/0/util"] == 97
    assert all(isinstance(value, int | float | str) for value in last.values())


def test_telemetry_goes_on_without_gap_when_the_supervisor_is_replaced(agent: AgentHost) -> None:
    (run_id,) = agent.submit(agent.stage(steps=10000))
    agent.wait_events(run_id, 2, "telemetry.jsonl")
    agent.kill_supervisor(run_id)
    path = agent.dir(run_id) / "telemetry.jsonl"
    with path.open("ab") as file:
        file.write(b'{"seq":2,"t":17')  # torn, as by a full disk or a cut of power
    agent.call("ls")
    agent.wait_events(run_id, 5, "telemetry.jsonl")
    events = agent.events(run_id, "telemetry.jsonl")
    assert [event["seq"] for event in events] == list(range(len(events)))


def test_a_driver_library_that_crashes_takes_no_supervisor_with_it(
    agent: AgentHost, machine: Machine
) -> None:
    agent.env.update(machine.env)
    machine.set(crash=1)
    (run_id,) = agent.submit(agent.stage(steps=10000))
    agent.wait_events(run_id, 1, "telemetry.jsonl")
    (event, *_) = agent.events(run_id, "telemetry.jsonl")
    assert "crashed" in event["data"]["host/nvml"]
    state = agent.state(run_id)
    assert state["status"] == "running" and procs.alive(state["supervisor"]["pid"], None)
    assert "sampler ended with -6" in (agent.dir(run_id) / "supervisor.log").read_text()


def test_the_sampler_ends_with_its_run_and_with_its_supervisor(agent: AgentHost) -> None:
    go = agent.base / "go"
    (run_id,) = agent.submit(agent.stage(steps=1, wait=str(go)))
    agent.wait_events(run_id, 1, "telemetry.jsonl")
    (sampler,) = samplers(agent)
    os.kill(sampler, signal.SIGKILL)
    until(lambda: samplers(agent) not in ([], [sampler]), "a new sampler")
    agent.kill_supervisor(run_id)
    until(lambda: samplers(agent) == [], "the sampler to see that its supervisor is gone")
    agent.call("ls")
    until(lambda: len(samplers(agent)) == 1, "the new supervisor's sampler")
    go.touch()
    agent.wait(run_id)
    until(lambda: samplers(agent) == [], "the sampler to end")


def test_a_stage_run_directly_is_sampled_while_somebody_follows(agent: AgentHost, machine: Machine) -> None:
    """Nobody supervises it: each follower offers a sampler, and one of them gets the file."""
    agent.env.update(machine.env)
    run_id = "20260101-000000-fake-0001"
    stage = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    agent.make_hand_run(run_id)
    agent.write_hand_state(run_id, stage.pid)
    with agent.following() as following:
        with agent.following():
            agent.wait_events(run_id, 2, "telemetry.jsonl")
            until(lambda: len(samplers(agent)) == 2, "a sampler of each follower")
        until(lambda: len(samplers(agent)) == 1, "the sampler of the follower that left to end")
        seen = len(agent.events(run_id, "telemetry.jsonl"))
        agent.wait_events(run_id, seen + 2, "telemetry.jsonl")
        log = agent.dir(run_id) / "telemetry.jsonl"
        stage.communicate(b"\n")
        until(lambda: samplers(agent) == [], "the sampler to end with the stage")
        following.until(lambda: following.data(run_id, log.name) == log.read_bytes(), "all of its telemetry")
    events = agent.events(run_id, log.name)
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert events[-1]["data"]["gpu/7/util"] is not None


def samplers(agent: AgentHost) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"sample" in words and any(str(agent.base).encode() in word for word in words):
            found.append(int(entry.name))
    return found


def test_sampling_eight_gpus_costs_little(agent: AgentHost, machine: Machine) -> None:
    agent.env.update(machine.env)
    (run_id,) = agent.submit(agent.stage(steps=10000))
    agent.wait_events(run_id, 1, "telemetry.jsonl")
    (sampler,) = samplers(agent)
    keeper = agent.state(run_id)["supervisor"]["pid"]
    before, started = cpu_seconds(sampler) + cpu_seconds(keeper), time.monotonic()
    time.sleep(4)
    share = (cpu_seconds(sampler) + cpu_seconds(keeper) - before) / (time.monotonic() - started)
    assert share < 0.03, f"{share:.1%} of a processor"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_probe_names_gpus_driver_and_host(agent: AgentHost, machine: Machine) -> None:
    agent.env.update(machine.env)
    machine.set(name_7="NVIDIA A100-SXM4-40GB", mem_total_7=40 << 30)
    answer = agent.call("probe", "--python", sys.executable)
    assert answer["driver"] == "570.86.15" and answer["nvml_error"] is None
    assert answer["gpus"][0] == {"name": "NVIDIA H100 80GB HBM3", "mem_total": 80 << 30}
    assert len(answer["gpus"]) == 8
    assert answer["gpus"][7] == {"name": "NVIDIA A100-SXM4-40GB", "mem_total": 40 << 30}
    assert answer["hostname"] == os.uname().nodename and answer["boot_id"] == procs.boot_id()
    assert answer["version"] == agent.pyz.stem.rpartition("-")[2]
    assert 0 < answer["disk_free"] <= answer["disk_total"] and answer["ram_total"] > 0 and answer["cores"] > 0


def test_a_card_without_memory_of_its_own_shares_the_hosts(agent: AgentHost, machine: Machine) -> None:
    """NVIDIA's GB10 as its driver tells of it: memory, power limit and ECC are "not supported"."""
    agent.env.update(machine.env)
    machine.set(
        count=1, name_0="NVIDIA GB10", mem__error_0=NOT_SUPPORTED, limit__error_0=NOT_SUPPORTED,
        ecc__error_0=NOT_SUPPORTED,
    )  # fmt: skip
    assert agent.call("probe")["gpus"] == [{"name": "NVIDIA GB10", "mem_total": None, "mem_shared": True}]
    machine.set(count=1, name_0="NVIDIA GB10", mem_total_0=0)
    assert agent.call("probe")["gpus"] == [{"name": "NVIDIA GB10", "mem_total": None, "mem_shared": True}]
    machine.set(count=1, mem__error_0=UNKNOWN)
    assert agent.call("probe")["gpus"] == [{"name": "NVIDIA H100 80GB HBM3", "mem_total": None}]


def test_probe_says_why_there_are_no_gpus(agent: AgentHost, machine: Machine) -> None:
    agent.env.update(machine.env)
    machine.set(init=DRIVER_NOT_LOADED)
    answer = agent.call("probe")
    assert (answer["gpus"], answer["driver"], answer["nvml_error"]) == ([], None, "Driver Not Loaded")


def test_probe_checks_the_interpreter_of_the_stages(agent: AgentHost, tmp_path: Path) -> None:
    def check(python: str) -> dict[str, Any]:
        found: dict[str, Any] = agent.call("probe", "--python", python)["interpreter"]
        return found

    good = check(sys.executable)
    assert (good["path"], good["ok"], good["error"]) == (sys.executable, True, "")
    absent = check("/no/such/python")
    assert not absent["ok"] and absent["error"] == "cannot run /no/such/python: No such file or directory"
    foreign = tmp_path / "python"
    foreign.write_text("#!/bin/sh\necho this is no python >&2\nexit 3\n")
    foreign.chmod(0o755)
    assert "this is no python" in check(str(foreign))["error"]
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    lacking = check(str(bare))
    assert (
        not lacking["ok"] and lacking["nanochat"] is None and "No module named 'nanochat'" in lacking["error"]
    )


def fake_host(root: Path, **files: str) -> Host:
    for name, text in files.items():
        path = root / "proc" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Host(root, root)


STAT = "cpu  {user} 0 50 {idle} 10 0 5 0 7 0\ncpu0 1 1 1 1\n"


def net(**counters: tuple[int, int]) -> str:
    rows = [f" {name}: {rx} 1 0 0 0 0 0 0 {tx} 1 0 0 0 0 0 0\n" for name, (rx, tx) in counters.items()]
    return "Inter-|   Receive\n face |bytes\n" + "".join(rows)


def test_host_figures_are_rates_and_shares(tmp_path: Path) -> None:
    host = fake_host(
        tmp_path, stat=STAT.format(user=100, idle=800), loadavg="1.25 1 1 2/300 9\n",
        meminfo="MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n",
        net__dev=net(lo=(5, 5), eth0=(1000, 2000), docker0=(9, 9), vethab=(9, 9)),
    )  # fmt: skip
    (tmp_path / "proc/stat").write_text(STAT.format(user=130, idle=810))
    (tmp_path / "proc/net/dev").write_text(
        net(lo=(500, 500), eth0=(3000, 2000), docker0=(99, 9), vethab=(99, 9))
    )
    time.sleep(0.1)
    values = host.sample()
    assert values["host/cpu"] == 75.0
    assert (values["host/ram_total"], values["host/ram_used"]) == (1000 * 1024, 600 * 1024)
    assert values["host/load1"] == 1.25 and values["host/in_container"] == 0
    assert 0 < values["host/net_rx"] <= 2000 / 0.1 and values["host/net_tx"] == 0


def test_bonded_interfaces_are_counted_once(tmp_path: Path) -> None:
    (tmp_path / "sys/class/net/eth0/master").mkdir(parents=True)
    host = fake_host(tmp_path, net__dev=net(eth0=(0, 0), bond0=(0, 0)))
    (tmp_path / "proc/net/dev").write_text(net(eth0=(1000, 0), bond0=(1000, 0)))
    time.sleep(0.1)
    assert 0 < host.sample()["host/net_rx"] <= 1000 / 0.1


def test_what_cannot_be_read_of_a_host_is_left_out(tmp_path: Path) -> None:
    values = Host(tmp_path, tmp_path / "nothing").sample()
    assert set(values) == {"host/in_container", "host/cores", "host/disk_used", "host/disk_total"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".dockerenv", ""),
        ("run/.containerenv", ""),
        ("proc/1/cgroup", "1:name=systemd:/kubepods/pod1/abc\n"),
        ("proc/1/cgroup", "0::/system.slice/docker-abc.scope\n"),
    ],
)
def test_a_container_is_known_as_one(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    assert Host(tmp_path, tmp_path).sample()["host/in_container"] == 1


def test_in_a_container_its_limits_count_not_the_node(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for name, text in {
        "cgroup.controllers": "cpu memory\n", "memory.max": str(8 << 30), "memory.current": str(5 << 30),
        "memory.stat": f"inactive_file {2 << 30}\n", "cpu.max": "50000 100000\n",
        "cpu.stat": "usage_usec 1000000\n",
    }.items():  # fmt: skip
        (group / name).write_text(text)
    host = fake_host(
        tmp_path, self__cgroup="0::/\n", meminfo=f"MemTotal: {(2 << 40) // 1024} kB\nMemAvailable: 1 kB\n",
        stat=STAT.format(user=100, idle=800),
    )  # fmt: skip
    (group / "cpu.stat").write_text("usage_usec 1025000\n")
    time.sleep(0.1)
    values = host.sample()
    assert (values["host/ram_total"], values["host/ram_used"]) == (8 << 30, 3 << 30)
    assert values["host/cores"] == 0.5 and values["host/in_container"] == 1
    assert 20 < values["host/cpu"] <= 50  # 25 ms of the 50 ms or more that half a processor gave meanwhile


def test_the_disk_is_that_of_the_base_directory_even_before_it_exists(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    values = disk(tmp_path / "not" / "yet")
    assert values["host/disk_total"] == found.f_blocks * found.f_frsize


def test_what_an_interpreter_prints_besides_is_not_its_answer(agent: AgentHost, tmp_path: Path) -> None:
    chatty = tmp_path / "python"
    chatty.write_text(f"#!/bin/sh\necho '{{\"a\": 1}}'\n{sys.executable} \"$@\"\necho done; echo '[]'\n")
    chatty.chmod(0o755)
    found = agent.call("probe", "--python", str(chatty))["interpreter"]
    assert found["python"] == platform.python_version() and "no working Python" not in found["error"]
