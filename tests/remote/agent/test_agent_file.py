"""The agent as one file: the same everywhere, for any Python from 3.8, with nothing installed."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from agenthost import AgentHost

from nanochat.common.errors import UserError
from remote.fleet import agent_archive

SOURCES = sorted((Path(agent_archive.__file__).parent.parent / "agent").rglob("*.py"))
OLDEST = (3, 8)


def other_pythons() -> dict[tuple[int, int], str]:
    """An interpreter of each version that this machine happens to have."""
    # pyenv's own first: its commands on the PATH are shell scripts, and most of them answer with an error.
    folders = sorted((Path.home() / ".pyenv" / "versions").glob("*/bin"))
    folders += [Path(part) for part in os.environ.get("PATH", "").split(os.pathsep) if part]
    found: dict[tuple[int, int], str] = {}
    for version in ((2, 7), *((3, minor) for minor in range(6, 15))):
        paths = (folder / "python{}.{}".format(*version) for folder in folders)
        if answering := next((str(path) for path in paths if path.exists() and _answers(path)), None):
            found[version] = answering
    return found


def _answers(python: Path) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


PYTHONS = other_pythons()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_module_is_python_3_8_and_needs_only_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=OLDEST)
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported.add((node.module or "").split(".")[0])
    assert imported <= set(sys.stdlib_module_names) | {"pynvml"}
    modern = {"graphlib", "tomllib", "zoneinfo"}  # of the standard library, but later than 3.8
    assert not imported & modern


def test_the_bundled_pynvml_is_python_3_8_too() -> None:
    assert ast.parse(agent_archive.pynvml_source(), feature_version=OLDEST).body


@pytest.mark.slow
@pytest.mark.parametrize("python", [path for version, path in PYTHONS.items() if version >= OLDEST])
def test_it_runs_a_stage_under_every_python_found_here(pyz: Path, tmp_path: Path, python: str) -> None:
    """-S and -E: nothing that is installed there can help."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec "{python}" -S -E "$@"\n')
    wrapper.chmod(0o755)
    agent = AgentHost(pyz, tmp_path / "base", str(wrapper))
    try:
        assert agent.call("probe", "--python", sys.executable)["interpreter"]["ok"]
        first = agent.stage(steps=2, delay=0.1)
        second = agent.stage(needs=(first["run_id"],), steps=10000)
        agent.submit(first, second, python=python)
        with agent.following() as following:
            assert agent.wait(first["run_id"])["status"] == "succeeded"
            agent.wait_events(second["run_id"], 2)
            agent.wait_events(second["run_id"], 1, "telemetry.jsonl")
            following.until(lambda: bool(following.of("chunk", second["run_id"])), "its events")
        agent.kill_supervisor(second["run_id"])
        agent.call("ls")
        agent.call("stop", "--run", second["run_id"], "--grace", "3")
        assert agent.wait(second["run_id"])["status"] == "stopped"
    finally:
        agent.end_all()


@pytest.mark.parametrize("python", [path for version, path in PYTHONS.items() if version < OLDEST])
def test_a_python_that_is_too_old_is_told_in_one_line(pyz: Path, python: str) -> None:
    done = subprocess.run([python, str(pyz), "ls", "--base", "/nowhere"], capture_output=True)
    answer = json.loads(done.stdout)
    assert (
        done.returncode == 1 and answer["code"] == "python" and "needs Python 3.8 or newer" in answer["error"]
    )
    assert done.stderr == b""


def test_the_same_sources_give_the_same_bytes_in_any_process(tmp_path: Path) -> None:
    first = agent_archive.build(tmp_path / "a")
    script = (
        "import pathlib, sys; from remote.fleet.agent_archive import build; build(pathlib.Path(sys.argv[1]))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", script, tmp_path / "b"], env=env, check=True, umask=0o077)
    (second,) = (tmp_path / "b").iterdir()
    assert second.name == first.name and second.read_bytes() == first.path.read_bytes()


def test_the_name_is_the_hash_of_the_content(pyz: Path) -> None:
    digest = hashlib.sha256(pyz.read_bytes()).hexdigest()[:12]
    assert pyz.name == f"nanochat-agent-{digest}.pyz"


def test_a_changed_module_changes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyz: Path
) -> None:
    copy = tmp_path / "remote"
    shutil.copytree(Path(agent_archive.__file__).parent.parent, copy)
    with (copy / "agent" / "follow.py").open("a") as file:
        file.write("# another\n")
    monkeypatch.setattr(agent_archive, "__file__", str(copy / "fleet" / "agent_archive.py"))
    assert agent_archive.build(tmp_path / "cache").path.name != pyz.name


def test_a_damaged_copy_in_the_cache_is_replaced(tmp_path: Path) -> None:
    built = agent_archive.build(tmp_path)
    whole = built.path.read_bytes()
    built.path.write_bytes(whole[:1000])
    assert agent_archive.build(tmp_path).path.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == [built.name]


def test_the_default_cache_belongs_to_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = agent_archive.build().path.parent
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o777)
    assert agent_archive.build().path.parent != folder


def test_it_carries_nvidias_module_unchanged_with_its_licence(pyz: Path) -> None:
    installed = Path(str(metadata.distribution("nvidia-ml-py").locate_file("pynvml.py"))).read_bytes()
    with zipfile.ZipFile(pyz) as file:
        assert file.read("pynvml.py") == installed
        licence = file.read(agent_archive.NVML_NOTICE).decode()
        names = file.namelist()
    assert (
        "Copyright" in licence and "NVIDIA Corporation" in licence and "THIS SOFTWARE IS PROVIDED" in licence
    )
    assert names == sorted(names) and not [
        name for name in names if "pycache" in name or name.endswith(".pyc")
    ]


def test_without_nvidia_ml_py_the_build_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(UserError, match="pip install nvidia-ml-py"):
        agent_archive.build()


def test_building_it_loads_no_torch() -> None:
    script = (
        "import sys; from remote.fleet.agent_archive import archive; archive();"
        "sys.exit('torch' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=env).returncode == 0


def test_a_command_answers_quickly(agent: AgentHost) -> None:
    """An app asks often, and over SSH: the agent itself must not be what one waits for."""
    script = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        script,
        str(agent.pyz),
        "ls",
        "--base",
        str(agent.base),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"pynvml", "ctypes", "asyncio", "ssl", "email"}
