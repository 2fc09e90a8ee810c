"""The house: arrows between rooms run one way, and the light parts load nothing heavy."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "rustbpe": {"rustbpe"},
    "nanochat": {"nanochat", "rustbpe"},
    "remote": {"remote", "nanochat"},
    "tui": {"tui", "remote", "nanochat"},
}
HEAVY = {"torch", "pyarrow", "numpy", "plotext", "asyncssh", "textual", "tiktoken", "rustbpe"}
LIGHT = [
    "nanochat.cli",
    "nanochat.common.errors",
    "nanochat.scaling.estimate",
    "nanochat.run.events",
    "nanochat.compute.gpus",
    "nanochat.scaling.memory",
    "nanochat.config.options",
    "nanochat.common.paths",
    "nanochat.config.plan",
    "nanochat.run.stage_run",
    "nanochat.config.stages",
    "nanochat.config.train_options",
    "nanochat.commands.tensorboard",
    "nanochat.tokenizer.tokenizer",
]


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The top-level packages that `path` imports, at module level or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows_between_rooms_run_one_way(room):
    files = sources(room)
    assert files
    backward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if name in ALLOWED and name not in ALLOWED[room]
    ]
    assert not backward, backward


@pytest.mark.parametrize("room", ["remote", "tui"])
def test_the_runner_and_the_screens_never_import_torch(room):
    assert not [path for path in sources(room) if "torch" in set(imports(path))]


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_nothing_heavy(module):
    assert not loaded_by(f"import {module}") & HEAVY


def test_the_app_and_the_runner_load_no_torch():
    assert not loaded_by("import tui.app") & {"torch", "pyarrow", "plotext", "asyncssh"}
    assert not loaded_by("import remote") & HEAVY
