"""A download is whole or absent, gets on with what it has, and says in one line why it could not."""

import fcntl
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from fileserver import FileServer, Misbehaviour, serving
from training_data import runs_of

from nanochat.common.errors import UserError
from nanochat.data import download as download_module
from nanochat.data import fetch_lock as fetch_lock_module
from nanochat.data.download import CHUNK, Policy, Stopped, Transfer
from nanochat.data.fetch_lock import fetch_lock
from nanochat.data.published import published_set
from nanochat.data.shards import list_shards, split_shards
from nanochat.evals.bundle import read_bundle
from nanochat.run.stage_run import main

QUICK = Policy(first_wait=0.01, timeout=5)
CONTENT = bytes(hashlib.blake2b(str(i).encode()).digest()[0] for i in range(4096)) * 1024  # 4 MiB


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as files:
        files.files["/file"] = CONTENT
        yield files


def transfer(server: FileServer, folder: Path, **options: object) -> Transfer:
    options.setdefault("policy", QUICK)
    return Transfer(f"{server.address}/file", folder / "file", **options)  # type: ignore[arg-type]


def offset(range_header: str) -> int:
    return int(range_header.removeprefix("bytes=").removesuffix("-"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_alone(server: FileServer, tmp_path: Path) -> None:
    job = transfer(server, tmp_path)
    assert job.run() is True
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert names(tmp_path) == ["file"]
    assert job.received == job.size == len(CONTENT)


def test_what_is_there_is_not_fetched_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert transfer(server, tmp_path).run() is False
    assert server.requests == []


def test_a_connection_that_breaks_in_the_middle_is_gone_on_with(server: FileServer, tmp_path: Path) -> None:
    server.misbehave("/file", Misbehaviour(cut_after=3_000_000), Misbehaviour(cut_after=500_000))
    transfer(server, tmp_path).run()
    assert (tmp_path / "file").read_bytes() == CONTENT
    first, second, third = server.asked("/file")
    assert first == ""
    assert offset(second) in range(3_000_000 - CHUNK, 3_000_001)
    assert offset(third) in range(offset(second) + 500_000 - CHUNK, 3_500_001)


def test_a_later_process_goes_on_with_the_part(server: FileServer, tmp_path: Path) -> None:
    server.misbehave("/file", Misbehaviour(cut_after=1_000_000))
    with pytest.raises(UserError, match="in 1 tries"):
        transfer(server, tmp_path, policy=Policy(tries=1)).run()
    assert names(tmp_path) == [".file.part", ".file.part.json"]
    transfer(server, tmp_path).run()
    assert offset(server.asked("/file")[1]) in range(1_000_000 - CHUNK, 1_000_001)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert names(tmp_path) == ["file"]


def test_a_file_that_changed_on_the_server_is_no_mixture(server: FileServer, tmp_path: Path) -> None:
    server.misbehave("/file", Misbehaviour(cut_after=1_000_000))
    with pytest.raises(UserError):
        transfer(server, tmp_path, policy=Policy(tries=1)).run()
    server.files["/file"] = CONTENT[::-1]
    transfer(server, tmp_path).run()
    assert (tmp_path / "file").read_bytes() == CONTENT[::-1]


def test_another_address_is_another_file(server: FileServer, tmp_path: Path) -> None:
    server.misbehave("/file", Misbehaviour(cut_after=1_000_000))
    with pytest.raises(UserError):
        transfer(server, tmp_path, policy=Policy(tries=1)).run()
    server.files["/other"] = b"other" * 1000
    Transfer(f"{server.address}/other", tmp_path / "file", policy=QUICK).run()
    assert (tmp_path / "file").read_bytes() == b"other" * 1000


@pytest.mark.parametrize("lacking", ["ranges", "etags"])
def test_a_server_that_cannot_resume_sends_it_all_again(
    server: FileServer, tmp_path: Path, lacking: str
) -> None:
    setattr(server, lacking, False)
    server.misbehave("/file", Misbehaviour(cut_after=1_000_000))
    transfer(server, tmp_path).run()
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_complete_part_needs_no_byte_more(server: FileServer, tmp_path: Path) -> None:
    """Killed between the last byte and the rename."""
    server.misbehave("/file", Misbehaviour(cut_after=1_000_000))
    with pytest.raises(UserError):
        transfer(server, tmp_path, policy=Policy(tries=1)).run()
    (tmp_path / ".file.part").write_bytes(CONTENT)
    transfer(server, tmp_path).run()
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked("/file")[1:] == [f"bytes={len(CONTENT)}-"]


def test_five_tries_with_doubled_waits(server: FileServer, tmp_path: Path) -> None:
    server.misbehave("/file", *[Misbehaviour(status=503)] * 9)
    notes: list[str] = []
    with pytest.raises(UserError, match="in 5 tries: HTTP 503") as caught:
        transfer(server, tmp_path, note=notes.append).run()
    assert caught.value.exit_code == 1
    assert len(server.requests) == 5
    assert [note.rpartition(" in ")[2] for note in notes] == ["0.01 s", "0.02 s", "0.04 s", "0.08 s"]
    assert [Policy().wait(failures) for failures in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert not (tmp_path / "file").exists()


def test_a_link_that_brings_something_each_time_is_not_given_up(server: FileServer, tmp_path: Path) -> None:
    server.files["/file"] = CONTENT * 3
    server.misbehave("/file", *[Misbehaviour(cut_after=1_100_000)] * 8)
    transfer(server, tmp_path).run()
    assert (tmp_path / "file").read_bytes() == CONTENT * 3
    assert len(server.requests) > QUICK.tries


def test_a_missing_file_is_not_asked_for_twice(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="HTTP 404"):
        Transfer(f"{server.address}/nothing", tmp_path / "nothing", policy=QUICK).run()
    assert len(server.requests) == 1
    assert names(tmp_path) == []


def test_a_body_shorter_than_announced_is_not_taken(server: FileServer, tmp_path: Path) -> None:
    server.misbehave("/file", *[Misbehaviour(announce_extra=10)] * 5)
    with pytest.raises(UserError, match="cannot fetch"):
        transfer(server, tmp_path).run()
    assert not (tmp_path / "file").exists()


def test_flipped_bits_are_found_by_the_announced_hash(server: FileServer, tmp_path: Path) -> None:
    server.announce_sha256 = True
    server.misbehave("/file", Misbehaviour(corrupt=True))
    notes: list[str] = []
    transfer(server, tmp_path, note=notes.append).run()
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert "sha256" in notes[0]


def test_the_callers_check_rejects_and_fetches_again(server: FileServer, tmp_path: Path) -> None:
    server.misbehave("/file", Misbehaviour(corrupt=True))

    def check(path: Path) -> None:
        if path.read_bytes() != CONTENT:
            raise UserError(f"{path} is damaged")

    (tmp_path / "file").write_bytes(b"torn long ago")
    notes: list[str] = []
    assert transfer(server, tmp_path, check=check, note=notes.append).run() is True
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert len(notes) == 2


def test_silence_is_a_failed_try(server: FileServer, tmp_path: Path) -> None:
    server.misbehave("/file", Misbehaviour(stall=30, cut_after=1_000_000))
    started = time.monotonic()
    transfer(server, tmp_path, policy=Policy(first_wait=0.01, timeout=0.3)).run()
    assert time.monotonic() - started < 10
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_stop_keeps_the_part(server: FileServer, tmp_path: Path) -> None:
    job = transfer(server, tmp_path)
    job.should_stop = lambda: job.received > 1_000_000
    with pytest.raises(Stopped):
        job.run()
    assert 1_000_000 < (tmp_path / ".file.part").stat().st_size < len(CONTENT)
    transfer(server, tmp_path).run()
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked("/file")[1].startswith("bytes=")


def test_two_at_once_fetch_a_file_once(server: FileServer, tmp_path: Path) -> None:
    server.misbehave("/file", Misbehaviour(stall=0.5))
    outcomes: list[bool] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(transfer(server, tmp_path).run())) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == [False, False, True]
    assert len(server.requests) == 1
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("said", ["9" * 5_000, "²", "-5", "1e3", "x", ""])
def test_a_size_that_is_no_number_is_unknown(said: str) -> None:
    answer = requests.Response()
    answer.headers["Content-Length"] = said
    assert download_module._origin_of("http://h/file", answer).size == -1
    answer.headers["Content-Range"] = f"bytes {said}-7/{said}"
    assert download_module._content_range(answer) == (-1, -1)


@pytest.mark.parametrize(
    "content", ["[]", '{"url": 1}', '{"url": "ADDRESS", "validator": "x", "size": "7", "sha256": ""}', "{"]
)
def test_a_damaged_file_beside_a_part_starts_the_part_anew(
    server: FileServer, tmp_path: Path, content: str
) -> None:
    (tmp_path / ".file.part").write_bytes(b"half")
    (tmp_path / ".file.part.json").write_text(content.replace("ADDRESS", f"{server.address}/file"))
    assert transfer(server, tmp_path).run() is True
    assert (tmp_path / "file").read_bytes() == CONTENT


def stopped() -> None:
    raise Stopped


def test_a_file_that_another_process_fetches_is_waited_for_with_a_word(tmp_path: Path) -> None:
    notes: list[str] = []
    with fetch_lock(tmp_path / "file", stopped, notes.append):
        assert (tmp_path / ".file.lock").stat().st_mode & 0o777 == 0o600
        for _ in range(2):
            with pytest.raises(Stopped), fetch_lock(tmp_path / "file", stopped, notes.append):
                pass
    assert notes == [f"file: process {os.getpid()} fetches it, too: waiting for it"] * 2
    with fetch_lock(tmp_path / "file", stopped, notes.append):
        pass
    assert names(tmp_path) == []


@pytest.mark.parametrize("says", ["", "0 here", "word", "9" * 400, f"-1 {os.uname().nodename}"])
def test_a_lock_that_a_stranger_holds_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    monkeypatch.setattr(fetch_lock_module, "STRANGER_SECONDS", 0.0)
    lock = tmp_path / ".file.lock"
    lock.write_text(says)
    lock.chmod(0o644)
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with (
            pytest.raises(UserError, match="is locked by a process that fetches nothing"),
            fetch_lock(tmp_path / "file", stopped, lambda text: None),
        ):
            pass
    with fetch_lock(tmp_path / "file", stopped, lambda text: None):
        assert lock.stat().st_mode & 0o777 == 0o600


def test_no_server_there_says_so(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/file"
        with pytest.raises(
            UserError, match=r"in 2 tries: the connection broke \(\[Errno 111\] Conn.* refused\)"
        ):
            Transfer(address, tmp_path / "file", policy=QUICK).run()


def test_a_wrong_address_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no address"):
        Transfer("http://[bad/file", tmp_path / "file", policy=QUICK).run()


def test_a_full_disk_is_one_line_and_keeps_the_part(server: FileServer, small_disk: Path) -> None:
    with pytest.raises(UserError, match="disk is full") as caught:
        transfer(server, small_disk).run()
    assert "\n" not in str(caught.value)
    assert not (small_disk / "file").exists()
    assert (small_disk / ".file.part").stat().st_size > 0


# -- the stage -------------------------------------------------------------------------------------


def shard_bytes(tmp_path: Path, text: str) -> bytes:
    path = tmp_path / "one.parquet"
    pq.write_table(pa.table({"text": [text, text]}), path)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.fixture
def hub(server: FileServer, tmp_path: Path) -> FileServer:
    for name in ("climbmix", "fineweb-edu"):
        chosen = published_set(name)
        for number in (0, 1, 2, chosen.last):
            path = chosen.url(number, "http://x").removeprefix("http://x")
            server.files[path] = shard_bytes(tmp_path, f"{name} {number}")
    return server


def download(server: FileServer, *argv: str) -> int:
    return main("data_download", [f"--mirror={server.address}", "--retry-wait=0.01", *argv])


def test_addresses_are_the_published_ones() -> None:
    assert published_set("climbmix").url(7) == (
        "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main/shard_00007.parquet"
    )
    assert (
        published_set("fineweb-edu")
        .url(1822)
        .endswith("/fineweb-edu-100b-shuffle/resolve/main/shard_01822.parquet")
    )


def test_climbmix_adds_its_validation_shard(hub: FileServer, layout: object, tmp_path: Path) -> None:
    out = tmp_path / "data"
    assert download(hub, "--dataset", "climbmix", "-n", "2", f"--out={out}") == 0
    assert [path.name for path in list_shards(out)] == [
        "shard_00000.parquet", "shard_00001.parquet", "shard_06542.parquet",
    ]  # fmt: skip
    assert split_shards(out).gap_warning == ""
    assert names(out) == [path.name for path in list_shards(out)]


def test_fineweb_is_the_first_n(hub: FileServer, layout: object, tmp_path: Path) -> None:
    assert download(hub, "--dataset=fineweb-edu", "-n", "3") == 0
    found = list_shards(Path(os.environ["NANOCHAT_BASE_DIR"]) / "base_data")
    assert [path.name for path in found] == [f"shard_0000{i}.parquet" for i in range(3)]


def test_numbers_follow_each_sets_rule() -> None:
    assert published_set("climbmix").numbers(-1) == list(range(6543))
    assert published_set("climbmix").numbers(6543) == list(range(6543))
    assert published_set("fineweb-edu").numbers(-1) == list(range(1823))
    for name, count in (("fineweb-edu", 1), ("climbmix", 0), ("climbmix", 6544)):
        with pytest.raises(UserError):
            published_set(name).numbers(count)


def test_a_web_page_in_place_of_a_shard_is_refused(
    hub: FileServer, tmp_path: Path, layout: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a captive portal or a wrong mirror answers: 200 and HTML."""
    path = published_set("climbmix").url(0, "http://x").removeprefix("http://x")
    hub.files[path] = b"<html>please log in</html>"
    assert download(hub, "-n", "1", f"--out={tmp_path / 'data'}") == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert "not a complete parquet file" in error[0]
    assert "shard_00000.parquet" not in names(tmp_path / "data")


def test_ctrl_c_leaves_parts_that_the_next_run_completes(hub: FileServer, tmp_path: Path) -> None:
    chosen = published_set("climbmix")
    slow = chosen.url(1, "http://x").removeprefix("http://x")
    hub.misbehave(slow, Misbehaviour(stall=60, cut_after=200))
    out = tmp_path / "data"
    command = [
        sys.executable, "-m", "nanochat.stages.data_download", "-n", "2", f"--out={out}",
        f"--mirror={hub.address}", f"--base-dir={tmp_path / 'base'}",
    ]  # fmt: skip
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (out / ".shard_00001.parquet.part").exists() or not hub.asked(slow):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=15)
    assert child.returncode == 4
    assert "Traceback" not in errors
    hub.release.set()
    assert download(hub, "-n", "2", f"--out={out}", f"--base-dir={tmp_path / 'base'}") == 0
    assert len(list_shards(out)) == 3
    run_dirs = runs_of(tmp_path / "base")
    assert json.loads((run_dirs[0] / "state.json").read_text())["status"] == "stopped"


# -- the bundle of CORE ----------------------------------------------------------------------------

BUNDLE_PATH = "/eval_bundle.zip"


def bundle_zip(**more: str) -> bytes:
    """A bundle of one task, in a folder of the zip."""
    files = {
        "eval_bundle/core.yaml": (
            "icl_tasks:\n- {label: copa, icl_task_type: multiple_choice, dataset_uri: copa.jsonl, "
            "num_fewshot: [0]}\n"
        ),
        "eval_bundle/eval_meta_data.csv": "Eval Task,Random baseline\ncopa,50\n",
        "eval_bundle/eval_data/copa.jsonl": '{"query": "a", "choices": ["b", "c"], "gold": 0}\n',
    } | more
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return raw.getvalue()


def fetch_bundle(server: FileServer, base: Path) -> int:
    options = [f"--mirror={server.address}", "--retry-wait=0.01", f"--base-dir={base}"]
    return main("data_download", ["--dataset=eval-bundle", *options])


def test_the_bundle_is_fetched_unpacked_and_then_left_alone(server: FileServer, tmp_path: Path) -> None:
    server.files[BUNDLE_PATH] = bundle_zip()
    assert fetch_bundle(server, tmp_path) == 0
    assert [task.label for task in read_bundle(tmp_path / "eval_bundle")] == ["copa"]
    assert {name for name in names(tmp_path) if not name.startswith(".")} == {"eval_bundle", "runs"}
    asked = len(server.requests)
    assert fetch_bundle(server, tmp_path) == 0
    assert len(server.requests) == asked


def test_a_damaged_bundle_is_fetched_again_and_other_files_stay(
    server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files[BUNDLE_PATH] = bundle_zip()
    folder = tmp_path / "eval_bundle"
    folder.mkdir()
    (folder / "core.yaml").write_text("icl_tasks: 3")
    assert fetch_bundle(server, tmp_path) == 0
    assert read_bundle(folder)
    (folder / "core.yaml").unlink()
    (folder / "my notes").write_text("mine")
    capsys.readouterr()
    assert fetch_bundle(server, tmp_path) != 0
    assert "my notes" in capsys.readouterr().err
    assert (folder / "my notes").read_text() == "mine"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"not a zip at all", "not a complete zip"),
        (bundle_zip()[:-40], "not a complete zip"),
        (bundle_zip(**{"eval_bundle/core.yaml": "icl_tasks: 3"}), "damaged"),
        (bundle_zip(**{"../outside": "x"}), "lies outside"),
        (bundle_zip(**{"/outside": "x"}), "lies outside"),
        (None, "404"),
    ],
    ids=["no zip", "cut", "damaged tasks", "a file above", "an absolute file", "missing"],
)
def test_a_bundle_that_is_none_leaves_nothing_behind(
    server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], raw: bytes | None, said: str
) -> None:
    if raw is not None:
        server.files[BUNDLE_PATH] = raw
    assert fetch_bundle(server, tmp_path) != 0
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert said in errors[0]
    assert not (tmp_path / "eval_bundle").exists()
    assert not (tmp_path / "eval_bundle.zip").exists()
    assert not (tmp_path.parent / "outside").exists()
