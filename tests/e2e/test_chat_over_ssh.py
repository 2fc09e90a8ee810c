"""The Chat screen over real services: one pane here, one on an sshd host, both answer as chat_cli does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sshd import Sshd

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "nanochat"), str(ROOT)]

from chat_models import make_chat_base  # noqa: E402

from nanochat.common.paths import Layout  # noqa: E402
from nanochat.common.text import clean_text  # noqa: E402
from remote.fleet.fleet import Fleet  # noqa: E402
from remote.hosts.book import HostBook  # noqa: E402
from tests.tui.conftest import settle  # noqa: E402
from tui.app import ControlRoom  # noqa: E402
from tui.screens.chat.screen import ChatScreen  # noqa: E402

pytestmark = pytest.mark.slow

QUESTION = "Who are you?"
SAMPLED = {"temperature": 0.9, "top_k": 20, "max_tokens": 24, "seed": 11}


def by_chat_cli(base: Path) -> str:
    words = [sys.executable, "-m", "nanochat", "chat_cli", "--base-dir", str(base), "--model", "sft/d2"]
    words += ["--prompt", QUESTION, "--device-type", "cpu"]
    for name, value in SAMPLED.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, env=env, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()  # its line ends are what the model said


async def test_panes_here_and_on_an_sshd_host_answer_as_chat_cli_does(
    layout: Layout, known_sshd: Sshd, tmp_path: Path
) -> None:
    make_chat_base(layout.base)
    far = tmp_path / "far"
    make_chat_base(far)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" OMP_NUM_THREADS=1 exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    HostBook(layout).add(known_sshd.host(base=far, python=str(python)))
    app = ControlRoom(layout, fleet=Fleet(layout))
    panes = [
        {"target": target, "settings": SAMPLED, "device": "cpu"} for target in ("sft/d2", "box:sft/d2@8")
    ]
    app.settings.set("chat", {"panes": {"panes": panes}})
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(
            pilot, lambda: len(app.links) == 2 and all(link.status == "up" for link in app.links.values()), 60
        )
        await pilot.press("5")
        await settle(pilot, lambda: isinstance(app.screen, ChatScreen) and len(app.screen.views) == 2)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        screen.field.text = QUESTION
        await pilot.press("enter")
        await settle(pilot, lambda: all(view.pane.state.kind == "idle" for view in screen.views), 90)
        answers = [view.answer_text() for view in screen.views]
        assert [view.pane.answers_with for view in screen.views] == ["sft/d2@8", "sft/d2@8"]
        assert not app.unexpected
    expected = by_chat_cli(layout.base)
    assert answers[0]
    assert [clean_text(answer).strip() for answer in answers] == [clean_text(expected).strip()] * 2
    assert not list((layout.base / "services").glob("*/service.json")), "its server ended with the app"
