"""The house: floors in and between the rooms, no circle of imports, light parts that load nothing heavy."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ROOMS = ("rustbpe", "nanochat", "remote", "tui")
ALLOWED = {
    "rustbpe": {"rustbpe"},
    "nanochat": {"nanochat", "rustbpe"},
    "remote": {"remote", "nanochat"},
    "tui": {"tui", "remote", "nanochat"},
}
FLOORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "nanochat": (
        ("__init__",),
        ("common",),
        ("config", "compute", "data", "tokenizer", "tools"),
        ("run", "model"),
        ("checkpoint", "scaling", "infer", "tasks"),
        ("evals",),
        ("commands",),
        ("train", "serve", "cli"),
        ("stages", "__main__"),
    ),
    "remote": (
        ("__init__", "agent", "runs"),
        ("hosts", "store", "key_metric", "metrics"),
        ("transport", "run_summary", "comparison", "evaluation_tables", "checkpoints"),
        ("facts",),
        ("fleet", "filter", "export", "evaluation_names"),
        ("report",),
        ("cli",),
    ),
    "tui": (
        ("__init__", "style", "chat_keys", "compare_keys", "column_keys", "room"),
        ("evals_keys", "vocabulary_keys", "training_keys", "checkpoint_keys", "report_keys"),
        ("tokenizer_keys",),
        ("keys",),
        ("keymap",),
        ("data", "plots", "actions", "driver"),
        ("widgets",),
        ("screens",),
        ("command_palette", "standing_app"),
        ("room_app",),
        ("app",),
        ("cli",),
    ),
}
"""The table of floors, the lowest first: an entry is a folder or a file of the room, and imports from lower
floors only. docs/README.md shows the same table, with what is on each floor."""
AGENT = "remote.agent"
"""Runs on hosts where nothing is installed: imports the standard library, NVIDIA's pynvml, and itself."""

HEAVY = {"torch", "pyarrow", "numpy", "plotext", "asyncssh", "textual", "tiktoken", "rustbpe"} | {
    "selectolax",
    "huggingface_hub",
    "starlette",
    "uvicorn",
}
LIGHT = [
    "nanochat.cli",
    "nanochat.commands.table",
    "nanochat.commands.tensorboard",
    "nanochat.common.errors",
    "nanochat.common.paths",
    "nanochat.compute.gpus",
    "nanochat.config.plan",
    "nanochat.config.stages",
    "nanochat.run.events",
    "nanochat.run.stage_run",
    "nanochat.commands.estimate",
    "nanochat.scaling.estimate",
    "nanochat.scaling.memory",
    "nanochat.checkpoint.names",
    "nanochat.stages.chat_web",
    "nanochat.tokenizer.explore.replay",
    "nanochat.tokenizer.explore.sources",
    "nanochat.tokenizer.tokenizer",
]

Imports = Mapping[str, Set[str]]
"""The modules each module imports, by dotted name."""


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path, package: str) -> Iterator[str]:
    """The dotted names that `path` imports anywhere: at its head, in a function, for the type checker."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base += [node.module] if node.module else []
            yield from (".".join([*base, name.name]) for name in node.names)


@cache
def python_imports() -> dict[str, frozenset[str]]:
    """Imports between the project's own modules; a name of a module counts as the module."""
    files = {}
    for room in ROOMS:
        for path in sources(room):
            parts = path.relative_to(ROOT).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, frozenset[str]] = {}
    for module, path in files.items():
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        names = set(imported(path, package))
        modules = {name if name in files else name.rpartition(".")[0] for name in names}
        found[module] = frozenset(modules & files.keys()) - {module}
    return found


def planted(module: str, target: str) -> Imports:
    """The imports as they are, and one more."""
    imports = python_imports()
    return {**imports, module: imports[module] | {target}}


def rust_imports(crate: Path) -> dict[str, set[str]]:
    """`use crate::…` between the files of a crate; lib.rs, which names them all, left out."""
    files = {path.stem: path for path in crate.glob("*.rs") if path.stem != "lib"}
    named = re.compile(r"\b(?:crate|super)::(\w+)")
    return {
        name: (set(named.findall(path.read_text(encoding="utf-8"))) & files.keys()) - {name}
        for name, path in files.items()
    }


def circle(imports: Imports) -> list[str]:
    """The modules of a circle of imports, the first one found; empty when there is none."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def place(module: str) -> str:
    """The folder or file of its room that a module belongs to: `nanochat.train.loop` → train."""
    inside = module.partition(".")[2]
    return inside.partition(".")[0] or "__init__"


def upward(imports: Imports) -> list[str]:
    """The imports, inside a room, that do not go to a lower floor."""
    floor = {
        (room, name): number
        for room, floors in FLOORS.items()
        for number, names in enumerate(floors)
        for name in names
    }
    return [
        f"{module} imports {target}"
        for module in sorted(imports)
        for target in sorted(imports[module])
        if module.partition(".")[0] == target.partition(".")[0] in FLOORS
        and place(module) != place(target)
        and floor[target.partition(".")[0], place(target)] >= floor[module.partition(".")[0], place(module)]
    ]


def backward(imports: Imports) -> list[str]:
    """The imports from one room into a room it must not know."""
    return [
        f"{module} imports {target}"
        for module in sorted(imports)
        for target in sorted(imports[module])
        if target.partition(".")[0] not in ALLOWED[module.partition(".")[0]]
    ]


def test_arrows_between_rooms_run_one_way() -> None:
    imports = python_imports()
    assert len(imports) > 200
    assert not backward(imports)


@pytest.mark.parametrize("room", FLOORS)
def test_every_file_of_a_room_has_a_floor(room: str) -> None:
    known = {name for names in FLOORS[room] for name in names}
    there = {place(module) for module in python_imports() if module.partition(".")[0] == room}
    assert there == known


def test_inside_a_room_imports_go_to_lower_floors_only() -> None:
    assert not upward(python_imports())


def test_there_is_no_circle_of_imports() -> None:
    assert not circle(python_imports())


@pytest.mark.parametrize("crate", ["rustbpe/src", "rustbpe/src/python", "nanochat/infer/decode_kernel/src"])
def test_there_is_no_circle_in_a_crate(crate: str) -> None:
    imports = rust_imports(ROOT / crate)
    assert imports and any(imports.values())
    assert not circle(imports)


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("nanochat.common.errors", "nanochat.train.loop"),
        ("nanochat.infer.engine", "nanochat.checkpoint.files"),  # the same floor
        ("remote.store.store", "remote.fleet.fleet"),
        ("remote.runs", "remote.agent.files"),
        ("tui.widgets.plot", "tui.app"),
    ],
)
def test_a_planted_upward_import_is_found(module: str, target: str) -> None:
    assert upward(planted(module, target)) == [f"{module} imports {target}"]


def test_a_planted_circle_is_found() -> None:
    assert "nanochat.train.step" in python_imports()["nanochat.train.loop"]
    found = circle(planted("nanochat.train.step", "nanochat.train.loop"))
    assert {"nanochat.train.step", "nanochat.train.loop"} == set(found)


def test_a_planted_arrow_back_is_found() -> None:
    assert backward(planted("nanochat.run.events", "remote.runs")) == [
        "nanochat.run.events imports remote.runs"
    ]


def test_imports_in_functions_and_for_the_type_checker_count(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tui.app import ControlRoom\n"
        "def f():\n    import remote.cli\n    from . import b\n    from ..c import d\n"
    )
    names = ["remote.cli", "tui.app.ControlRoom", "typing.TYPE_CHECKING", "x.c.d", "x.y.b"]
    assert sorted(imported(file, "x.y")) == names


def test_the_agent_imports_nothing_of_ours() -> None:
    own = [path for path in sources("remote") if "agent" in path.relative_to(ROOT).parts]
    assert own
    for path in own:
        package = ".".join(path.relative_to(ROOT).parts[:-1])
        ours = {name for name in imported(path, package) if name.partition(".")[0] in ROOMS}
        assert all(name.startswith(f"{AGENT}.") for name in ours), (path, ours)


@pytest.mark.parametrize("room", ["remote", "tui"])
def test_the_runner_and_the_screens_never_import_torch(room: str) -> None:
    heads = {name.partition(".")[0] for path in sources(room) for name in imported(path, room)}
    assert "torch" not in heads


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_loads_nothing_heavy(module: str) -> None:
    assert not loaded_by(f"import {module}") & HEAVY


def test_the_app_and_the_runner_load_no_torch() -> None:
    assert not loaded_by("import tui.app") & {"torch", "pyarrow", "plotext", "asyncssh"}
    assert not loaded_by("import remote") & HEAVY


def test_the_files_that_the_docs_name_are_there() -> None:
    named = re.compile(r"`((?:nanochat|remote|tui|rustbpe|tests|bench|docs)/[\w./*-]+)`")
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = {(page.name, name) for page in pages for name in named.findall(page.read_text(encoding="utf-8"))}
    assert len(names) > 40
    assert not sorted(pair for pair in names if not any(ROOT.glob(pair[1].rstrip("/"))))


def test_links_between_the_docs_lead_somewhere() -> None:
    link = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    links = {(page, target) for page in pages for target in link.findall(page.read_text(encoding="utf-8"))}
    assert links
    assert not sorted((page.name, target) for page, target in links if not (page.parent / target).exists())


def locale_bound(path: Path) -> list[str]:
    """The calls in a file that read, write or decode text in whatever encoding the locale has."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and "encoding" not in {word.arg for word in node.keywords}:
            words = {word.arg: word.value for word in node.keywords}
            called = node.func
            if isinstance(called, ast.Attribute):
                name, owner = called.attr, ast.unparse(called.value)
            else:
                name, owner = ast.unparse(called), ""
            if name in ("read_text", "write_text") or (name == "open" and _opens_text(node, words, owner)):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
            elif {"text", "universal_newlines"} & words.keys() and owner == "subprocess":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} subprocess.{name}")
    return found


def _opens_text(call: ast.Call, words: Mapping[str | None, ast.expr], owner: str) -> bool:
    """Whether a call of something named `open` opens a file as text: `open(path)`, `path.open("w")`."""
    if owner in ("os", "webbrowser", "tarfile", "zipfile", "archive", "login", "self.log_pane.view", "pane"):
        return False
    place = 0 if owner and owner not in ("io", "gzip") else 1
    mode = call.args[place] if len(call.args) > place else words.get("mode")
    if mode is None:
        return owner != "gzip"
    said = [part.value for part in ast.walk(mode) if isinstance(part, ast.Constant)]
    return not all("b" in str(part) for part in said if str(part).strip("0123456789"))


OWN_JSON = {
    "common/fields.py", "run/events.py", "serve/api/errors.py",
    "commands/tensorboard.py",
}  # fmt: skip
"""Files that spell JSON in UTF-8 themselves: `json_text`, and those that clean what is in it."""


def test_documents_are_spelled_by_the_one_function_that_any_name_goes_through() -> None:
    """A file name of another encoding in a document would cost what the document describes."""
    found = {
        str(path.relative_to(ROOT / "nanochat"))
        for path in sources("nanochat")
        if "ensure_ascii=False" in path.read_text(encoding="utf-8")
    }
    assert "common/fields.py" in found <= OWN_JSON


def product_files() -> list[Path]:
    folders = (*ROOMS, "bench", ".make")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_files_are_read_and_written_in_utf_8_whatever_the_locale_is() -> None:
    files = product_files()
    assert len(files) > 200
    assert not [line for path in files for line in locale_bound(path)]


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("open(p)", True),
        ("open(p, 'w')", True),
        ("open(p, mode='a')", True),
        ("p.open()", True),
        ("p.open('w')", True),
        ("p.read_text()", True),
        ("p.write_text('x')", True),
        ("subprocess.run(a, text=True)", True),
        ("subprocess.Popen(a, universal_newlines=True)", True),
        ("open(p, 'rb')", False),
        ("p.open('ab' if x else 'wb')", False),
        ("os.open(p, 3)", False),
        ("p.read_text(encoding='utf-8')", False),
        ("subprocess.run(a, text=True, encoding='utf-8')", False),
    ],
)
def test_a_planted_call_without_an_encoding_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, found: bool
) -> None:
    monkeypatch.setattr("test_house.ROOT", tmp_path)
    file = tmp_path / "a.py"
    file.write_text(f"x = {call}\n", encoding="utf-8")
    assert bool(locale_bound(file)) == found


def markup_titles(path: Path) -> list[str]:
    """The titles of widgets that Textual would read as markup: all but literals and `Content`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Assign):
            continue
        names = {target.attr for target in node.targets if isinstance(target, ast.Attribute)}
        is_plain = isinstance(node.value, ast.Constant) or ast.unparse(node.value).startswith("Content(")
        if names & {"border_title", "border_subtitle"} and not is_plain:
            found.append(f"{path.name}:{node.lineno}")
    return found


def test_no_title_of_a_widget_is_read_as_markup() -> None:
    """What a person typed or a host said may hold brackets, which would end in a `MarkupError`."""
    assert not [line for path in sources("tui") for line in markup_titles(path)]


@pytest.mark.parametrize(
    ("value", "found"), [("'plain'", False), ("Content(name)", False), ("name", True), ("f'{name}'", True)]
)
def test_a_planted_title_of_markup_is_found(tmp_path: Path, value: str, found: bool) -> None:
    file = tmp_path / "a.py"
    file.write_text(f"box.border_title = {value}\n", encoding="utf-8")
    assert bool(markup_titles(file)) == found
