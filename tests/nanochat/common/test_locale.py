"""No locale ends a stage or a command: what a terminal cannot show is shown otherwise, files are UTF-8."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SAYS = "from nanochat.common.streams import ensure_streams; ensure_streams(); print('\\u27f6 \\u2714 \\xe9')"
LOCALES = ("ascii", "latin-1", "gbk")
PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale that is not UTF-8 and that Python does not replace: files would be ASCII."""


def environment(locale: str, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON", "NANOCHAT"))}
    return {**kept, "PYTHONPATH": str(ROOT), **PLAIN, "PYTHONIOENCODING": f"{locale}:strict", **more}


@pytest.mark.parametrize(
    ("locale", "printed"),
    [
        ("ascii", b"\\u27f6 \\u2714 \\xe9"),
        ("latin-1", b"\\u27f6 \\u2714 \xe9"),
        ("gbk", b"\\u27f6 \\u2714 \xa8\xa6"),
    ],
)
def test_a_pipe_gets_escapes_and_a_file_utf_8(tmp_path: Path, locale: str, printed: bytes) -> None:
    words = [sys.executable, "-c", SAYS]
    done = subprocess.run(words, env=environment(locale), capture_output=True, check=True)
    assert done.stdout == printed + b"\n"
    with (tmp_path / "console.log").open("wb") as file:
        subprocess.run(words, env=environment(locale), stdout=file, check=True)
    assert (tmp_path / "console.log").read_text(encoding="utf-8") == "⟶ ✔ é\n"


def test_a_terminal_gets_one_cell_for_each_letter() -> None:
    leader, follower = pty.openpty()
    done = subprocess.Popen([sys.executable, "-c", SAYS], env=environment("ascii"), stdout=follower)
    os.close(follower)
    assert done.wait(60) == 0
    assert os.read(leader, 1000) == b"? ? ?\r\n"
    os.close(leader)


@pytest.mark.slow
@pytest.mark.parametrize("locale", LOCALES)
def test_a_stage_and_the_commands_run_to_their_end(tmp_path: Path, locale: str) -> None:
    text = tmp_path / "text"
    text.mkdir()
    (text / "ä.txt").write_text("Grüße ⟶ 你好. " * 3_000, encoding="utf-8")

    def nanochat(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "nanochat", *words],
            cwd=tmp_path,
            capture_output=True,
            env=environment(locale, NANOCHAT_BASE_DIR=str(tmp_path / "base"), HOME=str(tmp_path)),
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
        return done.stdout.decode("ascii", "replace")

    nanochat("data", "build", str(text), "--out", str(tmp_path / "data"))
    json.loads((tmp_path / "data" / "build.json").read_text(encoding="utf-8"))
    assert "data_build" in nanochat("runs", "ls")
    assert json.loads(nanochat("runs", "ls", "--json"))[0]["status"] == "succeeded"
    nanochat("--help")
