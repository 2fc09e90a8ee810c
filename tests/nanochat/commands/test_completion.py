"""The completion scripts, asked by a real bash what may follow."""

import shutil
import subprocess
from pathlib import Path

import pytest

from nanochat.cli import main


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "nanochat.bash"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr("sys.stdout", file)
        assert main(["completion", "bash"]) == 0
    return path


def candidates(script: Path, *words: str, folder: Path | None = None) -> list[str]:
    """What bash offers for the last of `words`."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    code = (
        f'source "{script}"; COMP_WORDS=(nanochat "$@"); COMP_CWORD=$#; '
        '_shtab_nanochat; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", code, "bash", *words], capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("ba",), {"base_train", "base_loss", "base_eval"}),
        (("probe", "--gre"), {"--greedy"}),
        (("base_train", "--keep-l"), {"--keep-last"}),
        (("base_train", "--era", ""), {"modern", "classic"}),
        (("data", "build", "--ov"), {"--overwrite"}),
        (("tasks", "show", "--base"), {"--base-dir"}),
        (("hosts", "test", "--acc"), {"--accept-key"}),
        (("estimate", "--gpu"), {"--gpu", "--gpus"}),
    ],
)
def test_words_options_and_choices_are_offered(script: Path, words: tuple[str, ...], offered: set[str]):
    assert set(candidates(script, *words)) == offered


def test_folders_and_files_are_offered_where_they_are_asked_for(script: Path, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("")
    asked = ("base_train", "--data-dir", "f")
    assert candidates(script, *asked, folder=tmp_path) == ["folder"]
    asked = ("base_train", "--init-from", "f")
    assert set(candidates(script, *asked, folder=tmp_path)) == {"folder", "file.txt"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_there_is_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]):
    assert main(["completion", shell]) == 0
    assert "base_train" in capsys.readouterr().out
