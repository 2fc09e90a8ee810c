"""Files of the hub come through its own client: its address, token, offline switch and cache hold."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fileserver import FileServer, Misbehaviour, serving
from hubserver import in_place_of_the_hub, publish, resolved, stored
from huggingface_hub import constants

from nanochat.common.errors import UserError
from nanochat.data.download import Policy, Stopped
from nanochat.data.hub_client import warnings_to
from nanochat.data.hub_download import HubFile

REPO, NAME = "someone/texts", "shard_00000.parquet"
CONTENT = bytes(range(256)) * 4096
QUICK = Policy(tries=3, first_wait=0.01)
ASK = f"HEAD {resolved(REPO, NAME)}"
BODY = stored(CONTENT)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def server(cache: Path) -> Iterator[FileServer]:
    with serving() as files, in_place_of_the_hub(files.address, cache):
        publish(files, REPO, {NAME: CONTENT})
        yield files


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / NAME


def job(target: Path, **options: object) -> HubFile:
    options.setdefault("policy", QUICK)
    return HubFile(REPO, NAME, target, **options)  # type: ignore[arg-type]


def blobs(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("blobs/*") if path.is_file()]


def test_a_file_takes_its_space_once(server: FileServer, target: Path, cache: Path) -> None:
    one = job(target)
    assert one.run() is True
    assert one.received == one.size == len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert not target.is_symlink()
    assert [blob.stat().st_ino for blob in blobs(cache)] == [target.stat().st_ino]
    assert list(target.parent.iterdir()) == [target]


def test_what_is_there_is_not_asked_for(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert job(target).run() is False
    assert server.requests == []


def test_what_the_cache_holds_is_not_fetched_again(server: FileServer, target: Path, cache: Path) -> None:
    job(target).run()
    target.unlink()
    server.requests.clear()
    assert job(target).run() is True
    assert {path for path, _ in server.requests} == {ASK}
    assert len(blobs(cache)) == 1


def test_the_token_goes_to_the_hub_and_to_nobody_else(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert job(target).run() is True
    assert {asked for asked, _ in server.tokens} == {ASK}
    assert server.asked(BODY) == [""]


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ({"X-Error-Code": "RepoNotFound"}, r"HTTP 401 .*\(it is private or does not exist: set HF_TOKEN"),
        (
            {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."},
            r"HTTP 401 Access is .*"
            r"\(ask for access on its page there, and set HF_TOKEN",
        ),
        ({}, r"HTTP 401 .*set HF_TOKEN"),
    ],
    ids=["private", "gated", "bare"],
)
def test_without_a_token_it_says_how_to_get_in(
    server: FileServer, target: Path, refusal: dict[str, str], said: str
) -> None:
    server.token, server.refusal = "hf_secret", refusal
    with pytest.raises(UserError, match=rf"{NAME} of {REPO} from http://127\S+: {said}") as caught:
        job(target).run()
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert server.asked(ASK) == [""]


@pytest.mark.parametrize(
    ("status", "said"), [(403, "set HF_TOKEN"), (404, "check the names and HF_ENDPOINT")]
)
def test_a_refusal_is_one_line_and_not_asked_for_twice(
    server: FileServer, target: Path, status: int, said: str
) -> None:
    server.misbehave(ASK, Misbehaviour(status=status))
    with pytest.raises(UserError, match=rf"HTTP {status} .*{said}"):
        job(target).run()
    assert len(server.asked(ASK)) == 1


def test_a_file_that_the_hub_does_not_have(server: FileServer, target: Path) -> None:
    server.headers[resolved(REPO, "other")] = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "0" * 40}
    with pytest.raises(UserError, match=r"cannot fetch other of someone/texts from .*: HTTP 404"):
        HubFile(REPO, "other", target, policy=QUICK).run()


def test_a_hub_that_is_busy_is_asked_again(server: FileServer, target: Path) -> None:
    server.misbehave(ASK, Misbehaviour(status=503), Misbehaviour(status=429))
    notes: list[str] = []
    assert job(target, note=notes.append).run() is True
    assert [note.partition(": ")[2] for note in notes] == [
        "HTTP 503; trying again in 0.01 s",
        "HTTP 429; trying again in 0.02 s",
    ]


def test_a_broken_connection_goes_on_where_it_was(server: FileServer, target: Path) -> None:
    server.misbehave(BODY, Misbehaviour(cut_after=300_000))
    notes: list[str] = []
    with warnings_to(notes.append), pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
        assert job(target).run() is True
    assert target.read_bytes() == CONTENT
    first, second = server.asked(BODY)
    assert (first, second.startswith("bytes=")) == ("", True)
    assert 200_000 < int(second.removeprefix("bytes=").removesuffix("-")) <= 300_000
    assert "Trying to resume" in " ".join(notes)


def test_flipped_bits_are_found_and_fetched_again(server: FileServer, target: Path) -> None:
    server.misbehave(BODY, Misbehaviour(corrupt=True))
    notes: list[str] = []
    assert job(target, note=notes.append).run() is True
    assert target.read_bytes() == CONTENT
    assert len(notes) == 1 and "sha256" in notes[0]


def test_wrong_content_is_put_nowhere(server: FileServer, target: Path, cache: Path) -> None:
    server.misbehave(BODY, *[Misbehaviour(corrupt=True)] * 3)
    with pytest.raises(UserError, match="in 3 tries: its sha256 is not the one"):
        job(target).run()
    assert list(target.parent.iterdir()) == []
    assert blobs(cache) == []


def test_a_damaged_cache_is_mended(server: FileServer, target: Path, cache: Path) -> None:
    job(target).run()
    target.unlink()
    (blob,) = blobs(cache)
    blob.write_bytes(CONTENT[::-1])
    assert job(target).run() is True
    assert target.read_bytes() == CONTENT


def test_the_callers_check_rejects(server: FileServer, target: Path) -> None:
    def check(path: Path) -> None:
        raise UserError(f"{path} is no shard")

    with pytest.raises(UserError, match="in 3 tries: the file that came is no shard"):
        job(target, check=check).run()
    assert len(server.asked(BODY)) == 3


def test_offline_the_cache_alone_is_read(server: FileServer, target: Path, cache: Path) -> None:
    job(target).run()
    target.unlink()
    server.requests.clear()
    with in_place_of_the_hub(server.address, cache, offline=True):
        assert job(target).run() is True
        assert target.read_bytes() == CONTENT
        with pytest.raises(UserError, match=rf"other of {REPO} is not in the hub's cache {cache} .*offline"):
            HubFile(REPO, "other", target.with_name("other")).run()
        target.unlink()
        blobs(cache)[0].write_bytes(CONTENT[::-1])
        with pytest.raises(UserError, match=r"in the hub's cache is damaged: its sha256 .*\(fetch it again"):
            job(target).run()
        assert len(blobs(cache)) == 1
    assert server.requests == []


def test_nobody_waits_long_for_a_hub_that_never_answers(target: Path, cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with in_place_of_the_hub(f"http://127.0.0.1:{free.getsockname()[1]}", cache):
            notes: list[str] = []
            with pytest.raises(
                UserError, match=r"in 2 tries: .*refused \(check the connection and HF_ENDPOINT"
            ):
                job(target, policy=Policy(tries=5, first_wait=0.01), note=notes.append).run()
    assert len(notes) == 1


def test_a_server_that_is_no_hub_is_named(server: FileServer, target: Path) -> None:
    path = resolved(REPO, NAME)
    del server.headers[path]
    server.files[path] = CONTENT
    with pytest.raises(UserError, match=r"does not answer as the Hugging Face hub does .*--mirror"):
        job(target).run()


def test_a_stop_leaves_nothing(
    server: FileServer, target: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    one = job(target)
    one.should_stop = lambda: one.received > 300_000
    with pytest.raises(Stopped):
        one.run()
    assert list(target.parent.iterdir()) == []
    assert blobs(cache) == []


def test_a_cache_on_another_disk_is_not_filled(
    server: FileServer, target: Path, cache: Path, mount_tmpfs: Callable[[Path, str], Path]
) -> None:
    target.parent.mkdir()
    mount_tmpfs(target.parent, "4m")
    assert job(target).run() is True
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert blobs(cache) == []


def test_a_cache_on_another_disk_is_copied_from(
    server: FileServer, target: Path, tmp_path: Path, mount_tmpfs: Callable[[Path, str], Path]
) -> None:
    job(tmp_path / "here").run()
    target.parent.mkdir()
    mount_tmpfs(target.parent, "4m")
    assert job(target).run() is True
    assert target.read_bytes() == CONTENT
    assert len(server.asked(BODY)) == 1


def test_a_full_disk_is_one_line(
    server: FileServer, target: Path, mount_tmpfs: Callable[[Path, str], Path]
) -> None:
    target.parent.mkdir()
    mount_tmpfs(target.parent, "512k")
    with pytest.raises(UserError, match="the disk is full") as caught:
        job(target).run()
    assert "\n" not in str(caught.value)
    assert list(target.parent.iterdir()) == []


# -- as people use it --------------------------------------------------------------------------------


def fetch(base: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "nanochat", "data", "download", "-n", "1", f"--base-dir={base}", *options]
    return subprocess.run(argv, env=os.environ | env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_hubs_variables_work_from_the_command_line(
    server: FileServer, tmp_path: Path, shard: bytes
) -> None:
    names = ("shard_00000.parquet", "shard_06542.parquet")
    publish(server, "karpathy/climbmix-400b-shuffle", dict.fromkeys(names, shard))
    server.token = "hf_secret"
    env = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home")}
    first, second, third = tmp_path / "a", tmp_path / "b", tmp_path / "c"

    refused = fetch(first, "--retry-wait=0.01", **env)
    assert refused.returncode == 1
    assert len([line for line in refused.stderr.splitlines() if "HF_TOKEN" in line]) == 1
    assert "Traceback" not in refused.stderr

    done = fetch(first, HF_TOKEN="hf_secret", **env)
    assert done.returncode == 0, done.stderr
    assert [(first / "base_data_climbmix" / name).read_bytes() for name in names] == [shard, shard]
    assert not [
        path for path, _ in server.requests if path.startswith("/api/")
    ]  # it asks for the files alone

    server.requests.clear()
    offline = fetch(second, HF_HUB_OFFLINE="1", **env)
    assert offline.returncode == 0, offline.stderr
    assert (second / "base_data_climbmix" / names[1]).read_bytes() == shard
    missing = fetch(third, HF_HUB_OFFLINE="1", HF_ENDPOINT=server.address, HF_HOME=str(third))
    assert missing.returncode == 1
    assert "is not in the hub's cache" in missing.stderr
    assert server.requests == []


def test_ctrl_c_does_not_wait_for_a_silent_hub(server: FileServer, tmp_path: Path, shard: bytes) -> None:
    publish(
        server,
        "karpathy/climbmix-400b-shuffle",
        {"shard_00000.parquet": shard, "shard_06542.parquet": CONTENT},
    )
    server.misbehave(BODY, Misbehaviour(stall=60, cut_after=200))
    env = os.environ | {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home")}
    argv = [sys.executable, "-m", "nanochat", "data", "download", "-n", "1", f"--base-dir={tmp_path}"]
    child = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not server.asked(BODY):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=15)
    assert child.returncode == 4
    assert "Traceback" not in errors
    assert not (tmp_path / "base_data_climbmix" / "shard_06542.parquet").exists()


def test_a_mirror_is_given_no_token(server: FileServer, tmp_path: Path, shard: bytes) -> None:
    for name in ("shard_00000.parquet", "shard_06542.parquet"):
        server.files[resolved("karpathy/climbmix-400b-shuffle", name)] = shard
    done = fetch(tmp_path, f"--mirror={server.address}", HF_TOKEN="hf_secret", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert server.tokens == []
