"""Data sets of the hub: shuffled as one, and fetched so that they are whole or absent."""

import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fileserver import FileServer, Misbehaviour, serving
from hubserver import CONVERTED, in_place_of_the_hub, publish

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.data.download import Policy
from nanochat.tasks import TaskData, make_task
from nanochat.tasks.hub import Hub, HubSet, Rows

GSM8K = HubSet("openai/gsm8k", "main", "test", ("question", "answer"))
QUICK = Policy(tries=3, first_wait=0.01, timeout=5)


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[1], [7], [3, 0, 5], [100, 1, 30]])
def test_rows_are_shuffled_as_one_whatever_their_files(sizes):
    numbers = iter(range(sum(sizes)))
    tables = [pa.table({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())}) for size in sizes]
    rows = Rows(tables)
    assert [rows[i]["n"] for i in range(len(rows))] == np.random.default_rng(42).permutation(
        sum(sizes)
    ).tolist()


# -- fetching --------------------------------------------------------------------------------------


@pytest.fixture
def server():
    with serving() as files:
        yield files


def hub(server: FileServer, layout: Layout, **changes: object) -> Hub:
    return Hub(layout.base / "task_data", mirror=server.address, policy=QUICK, **changes)  # type: ignore[arg-type]


def offer(server: FileServer, tables: list[pa.Table], wanted: HubSet = GSM8K) -> list[str]:
    """Serves the set as the hub does: a list of addresses, and the files at those."""
    paths = [f"/datasets/{wanted.repo}/{wanted.split}/{number}.parquet" for number in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        server.files[path] = sink.getvalue().to_pybytes()
    listing = f"/api/datasets/{wanted.repo}/parquet/{wanted.subset}/{wanted.split}"
    server.files[listing] = json.dumps([f"https://huggingface.co{path}" for path in paths]).encode()
    return [listing, *paths]


def questions(count: int, begin: int = 0) -> pa.Table:
    numbers = range(begin, begin + count)
    return pa.table(
        {"question": [f"{n}?" for n in numbers], "answer": [f"#### {n}" for n in numbers], "x": list(numbers)}
    )


def test_a_set_is_fetched_once_through_the_mirror_into_upstreams_cache(server, layout):
    listing, first, second = offer(server, [questions(5), questions(3, 5)])
    rows = hub(server, layout).rows(GSM8K)
    place = layout.base / "task_data" / "openai--gsm8k" / "main" / "test"
    assert sorted(rows[i]["question"] for i in range(8)) == [f"{n}?" for n in range(8)]
    assert set(rows[0]) == {"question", "answer"}
    assert json.loads((place / "manifest.json").read_text()) == ["00000.parquet", "00001.parquet"]
    assert (place / "00000.parquet").read_bytes() == server.files[first]
    assert sorted(path.name for path in place.iterdir()) == [
        "00000.parquet", "00001.parquet", "files.json", "manifest.json",
    ]  # fmt: skip
    server.files.clear()
    assert len(hub(server, layout, offline=True).rows(GSM8K)) == 8
    assert [path for path, _ in server.requests] == [listing, first, second]


def test_a_cache_of_upstreams_is_read(layout):
    place = layout.base / "task_data" / "openai--gsm8k" / "main" / "test"
    place.mkdir(parents=True)
    pq.write_table(questions(4), place / "00000.parquet")
    (place / "manifest.json").write_text('["00000.parquet"]')
    assert len(Hub(layout.base / "task_data", offline=True).rows(GSM8K)) == 4


def test_broken_connections_are_gone_on_with(server, layout):
    _, first = offer(server, [questions(20_000)])
    server.misbehave(first, Misbehaviour(cut_after=70_000), Misbehaviour(status=503))
    assert len(hub(server, layout).rows(GSM8K)) == 20_000
    asked = server.asked(first)
    assert asked[0] == "" and asked[-1].startswith("bytes=") and len(asked) == 3


def test_a_file_whose_hash_is_not_the_announced_one_is_fetched_again(server, layout):
    _, first = offer(server, [questions(5)])
    server.announce_sha256 = True
    server.misbehave(first, Misbehaviour(corrupt=True))
    assert len(hub(server, layout).rows(GSM8K)) == 5
    assert len(server.asked(first)) == 2


def test_an_interrupted_set_is_no_set(server, layout):
    _, first, second = offer(server, [questions(5), questions(5, 5)])
    server.misbehave(second, *[Misbehaviour(status=500)] * 3)
    with pytest.raises(UserError, match=r"openai/gsm8k \(main, test\) is missing: .*HTTP 500.*--task-data"):
        hub(server, layout).rows(GSM8K)
    place = layout.base / "task_data" / "openai--gsm8k" / "main" / "test"
    assert not (place / "manifest.json").exists()
    assert len(hub(server, layout).rows(GSM8K)) == 10
    assert len(server.asked(first)) == 1


def test_many_at_once_fetch_each_file_once(server, layout):
    _, first = offer(server, [questions(2000)])
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(len(hub(server, layout).rows(GSM8K)))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [2000] * 6
    assert len(server.asked(first)) == 1


def test_a_plain_server_of_the_folder_serves_as_a_mirror(layout, shared_data):
    handler = partial(SimpleHTTPRequestHandler, directory=str(shared_data / "hub"))
    handler.log_message = lambda *args: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as plain:
        thread = threading.Thread(target=plain.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            data = TaskData.at(layout, mirror=f"http://127.0.0.1:{plain.server_address[1]}/", policy=QUICK)
            task = make_task("GSM8K", data)
        finally:
            plain.shutdown()
            thread.join()
    local = make_task("GSM8K", TaskData.at(layout, folder=str(shared_data / "hub")))
    assert len(task) == 660
    assert [task[i] for i in (0, 7, 659)] == [local[i] for i in (0, 7, 659)]


@pytest.mark.parametrize("listing", [b"<html>login</html>", b"{}", b"[]", b"[1]"])
def test_a_server_that_answers_something_else_is_named(server, layout, listing):
    path, *_ = offer(server, [questions(1)])
    server.files[path] = listing
    with pytest.raises(UserError, match="no list of addresses"):
        hub(server, layout).rows(GSM8K)


def test_what_is_no_parquet_is_not_kept(server, layout):
    _, first = offer(server, [questions(5)])
    server.files[first] = b"<html>not here</html>"
    with pytest.raises(UserError, match="not a complete parquet file"):
        hub(server, layout).rows(GSM8K)
    assert not list((layout.base / "task_data").rglob("*.parquet"))


def test_a_damaged_cache_is_named_and_says_what_to_do(server, layout):
    offer(server, [questions(500)])
    here = hub(server, layout)
    (path,) = here.files(GSM8K)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(
        UserError, match=r"00000.parquet has .* bytes where .* were fetched.*delete that folder"
    ):
        here.rows(GSM8K)
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    with pytest.raises(UserError, match="another sha256"):
        here.verify(GSM8K)
    path.unlink()
    with pytest.raises(UserError, match=r"00000.parquet is missing"):
        here.rows(GSM8K)
    (path.parent / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        here.rows(GSM8K)


# -- from the hub, by its client -------------------------------------------------------------------

PARTS = {"main/test/0000.parquet": 5, "main/test/0001.parquet": 3, "main/train/0000.parquet": 7}


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.fixture
def published(server, tmp_path):
    """The hub with the set of three files, and the cache of its client."""
    with in_place_of_the_hub(server.address, tmp_path / "hub"):
        publish(server, GSM8K.repo, {n: parquet(questions(rows)) for n, rows in PARTS.items()}, CONVERTED)
        yield tmp_path / "hub"


def bodies(server: FileServer) -> list[str]:
    return [path for path, _ in server.requests if path.startswith("/cdn/")]


def of_the_hub(layout: Layout, **changes: object) -> Hub:
    return Hub(layout.base / "task_data", policy=QUICK, **changes)  # type: ignore[arg-type]


def test_a_set_comes_from_the_hub_into_upstreams_cache(server, layout, published):
    rows = of_the_hub(layout).rows(GSM8K)
    assert sorted(rows[i]["question"] for i in range(8)) == sorted([f"{n}?" for n in [*range(5), *range(3)]])
    place = layout.base / "task_data" / "openai--gsm8k" / "main" / "test"
    assert json.loads((place / "manifest.json").read_text()) == ["00000.parquet", "00001.parquet"]
    assert sorted(path.name for path in place.iterdir()) == [
        "00000.parquet",
        "00001.parquet",
        "files.json",
        "manifest.json",
    ]
    assert len(bodies(server)) == 2  # not those of the other split
    server.requests.clear()
    assert len(of_the_hub(layout).verify(GSM8K)) == 2
    assert server.requests == []


def test_offline_the_hubs_cache_serves_another_base_directory(server, layout, published, tmp_path):
    of_the_hub(layout).files(GSM8K)
    server.requests.clear()
    other = Layout(tmp_path / "other")
    assert len(of_the_hub(other, offline=True).rows(GSM8K)) == 8
    with in_place_of_the_hub(server.address, published, offline=True):
        assert len(of_the_hub(Layout(tmp_path / "third")).rows(GSM8K)) == 8
    assert server.requests == []


def test_offline_a_part_of_a_set_is_no_set(server, layout, published, tmp_path):
    of_the_hub(layout).files(GSM8K)
    next(published.rglob("0001.parquet")).unlink()
    with pytest.raises(UserError, match=r"is not in .*: main/test of openai/gsm8k is not in the hub's cache"):
        of_the_hub(Layout(tmp_path / "other"), offline=True).files(GSM8K)
    assert not (tmp_path / "other").exists()


def test_a_damaged_file_of_the_hubs_cache_is_fetched_again(server, layout, published, tmp_path):
    of_the_hub(layout).files(GSM8K)
    blob = next(published.rglob("0000.parquet")).resolve()
    blob.write_bytes(blob.read_bytes()[::-1])
    assert len(of_the_hub(Layout(tmp_path / "other")).rows(GSM8K)) == 8
    assert len(bodies(server)) == 3


@pytest.mark.parametrize(
    "wanted", [HubSet("openai/gsm8k", "socratic", "test", ()), HubSet("openai/other", "a", "b", ())]
)
def test_what_the_hub_does_not_have_is_named(server, layout, published, wanted):
    with pytest.raises(UserError, match=rf"{wanted.repo} .*task-data") as caught:
        of_the_hub(layout).files(wanted)
    assert "\n" not in str(caught.value)
    assert not list((layout.base / "task_data").rglob("*.parquet"))


def test_a_private_set_needs_the_token(server, layout, published, monkeypatch):
    server.token, server.refusal = "hf_secret", {"X-Error-Code": "GatedRepo"}
    with pytest.raises(UserError, match=r"HTTP 401 .*ask for access .*HF_TOKEN"):
        of_the_hub(layout).files(GSM8K)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert len(of_the_hub(layout).rows(GSM8K)) == 8


def test_a_web_page_in_place_of_the_hub_is_named(server, layout, published):
    server.files["/api/datasets/openai/gsm8k/revision/refs%2Fconvert%2Fparquet"] = b"<html>log in</html>"
    with pytest.raises(UserError, match="does not answer as the Hugging Face hub does"):
        of_the_hub(layout).files(GSM8K)


def test_many_at_once_fetch_from_the_hub_once(server, layout, published):
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(len(of_the_hub(layout).rows(GSM8K)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [8] * 4
    assert len(bodies(server)) == 2


def test_missing_data_says_what_to_get_and_where(layout, tmp_path, server):
    wanted = r"openai/gsm8k/main/test/00000\.parquet"
    for data in (
        TaskData.at(layout, folder=str(tmp_path)),
        TaskData.at(layout, offline=True),
        TaskData.at(layout, mirror=server.address, policy=QUICK),
    ):
        with pytest.raises(UserError, match=wanted) as caught:
            make_task("GSM8K", data)
        assert "\n" not in str(caught.value)


def test_a_foreign_file_in_the_folder_is_named(layout, tmp_path):
    place = tmp_path / "openai" / "gsm8k" / "main" / "test"
    place.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["a"]}), place / "00000.parquet")
    with pytest.raises(UserError, match=r"00000.parquet has no column 'question' \(it has: text\)"):
        make_task("GSM8K", TaskData.at(layout, folder=str(tmp_path)))


def test_a_folder_in_the_shape_of_the_cache_serves_too(layout, tmp_path, shared_data):
    target = tmp_path / "openai--gsm8k" / "main" / "test"
    shutil.copytree(shared_data / "hub" / "openai" / "gsm8k" / "main" / "test", target)
    assert len(make_task("GSM8K", TaskData.at(layout, folder=str(tmp_path)))) == 660
