"""The host book: what is written is what is read, bad entries are refused in one line, nothing is lost."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from remote.hosts.book import Host, HostBook, parse_ssh_target

ROOT = Path(__file__).resolve().parents[3]


def test_this_machine_is_always_there_and_first(layout: Layout) -> None:
    book = HostBook(layout)
    assert [host.name for host in book.all()] == ["local"]
    assert book.get("local").base_dir == str(layout.base)
    book.add(Host("aaa", address="a"))
    assert [host.name for host in book.all()] == ["local", "aaa"]
    with pytest.raises(UserError, match="always there"):
        book.remove("local")


def test_a_host_comes_back_as_it_was_written(layout: Layout, tmp_path: Path) -> None:
    key = tmp_path / "my key"
    key.write_text("k")
    host = Host(
        "box",
        "ssh",
        "me",
        "::1",
        2222,
        str(key),
        "/opt/a venv/bin/python",
        "~/it's here",
        2.5,
        ("HF_TOKEN", "A"),
    )
    HostBook(layout).add(host)
    assert HostBook(layout).get("box") == host
    assert layout.hosts_file.stat().st_mode & 0o077 == 0
    HostBook(layout).remove("box")
    assert [host.name for host in HostBook(layout).all()] == ["local"]


def test_an_hour_of_any_host_has_a_price_also_of_this_machine(layout: Layout) -> None:
    book = HostBook(layout)
    box = Host("box", address="a", python="/p", pass_env=("HF_TOKEN",))
    book.set_price("local", 2.5)
    book.add(box)
    book.set_price("box", 7)
    assert {host.name: host.price_per_hour for host in book.all()} == {"local": 2.5, "box": 7}
    assert book.get("local").price_per_hour == 2.5 and replace(book.get("box"), price_per_hour=None) == box
    for name in ("local", "box"):
        book.set_price(name, None)
    assert [host.price_per_hour for host in book.all()] == [None, None]
    for bad in (-1, math.nan, math.inf, 1e9):
        with pytest.raises(UserError, match="bad price"):
            book.set_price("local", bad)
    with pytest.raises(UserError, match="no host 'bax'"):
        book.set_price("bax", 1)


def test_a_bad_price_of_this_machine_is_told_and_costs_nothing_else(layout: Layout) -> None:
    book = HostBook(layout)
    book.add(Host("box", address="a"))
    document = json.loads(layout.hosts_file.read_text())
    layout.hosts_file.write_text(json.dumps({**document, "local_price_per_hour": "cheap"}))
    (told,) = book.read()[1]
    assert "'local_price_per_hour' is no price" in told and "\n" not in told
    assert [host.price_per_hour for host in book.all()] == [None, None]
    book.set_price("local", 1.5)
    assert not book.read()[1] and book.get("local").price_per_hour == 1.5


@pytest.mark.parametrize(
    ("host", "told"),
    [
        (Host("", address="a"), "bad host name"),
        (Host("a/b", address="a"), "bad host name"),
        (Host("-x", address="a"), "bad host name"),
        (Host("a\nb", address="a"), "bad host name"),
        (Host("local", address="a"), "always there"),
        (Host("box", address="a", key="/no/such/key"), "no such key file"),
        (Host("box", address="a", base_dir="relative"), "not absolute"),
        (Host("box", address="a", base_dir="/a\x1b[2J"), "control character"),
        (Host("box", address="a", price_per_hour=-1.0), "price"),
        (Host("box", address="-oProxyCommand=x"), "bad host name"),
        (Host("box", address="a", pass_env=("A=b",)), "--pass-env: not the name of an environment variable"),
        (Host("box", address="a", pass_env=("LD_PRELOAD",)), "LD_PRELOAD is not passed on"),
    ],
)
def test_a_host_that_cannot_be_used_is_refused_in_one_line(layout: Layout, host: Host, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        HostBook(layout).add(host)
    assert "\n" not in str(caught.value)
    assert not layout.hosts_file.exists()


def test_a_name_already_taken_and_an_unknown_one_say_what_to_do(layout: Layout) -> None:
    book = HostBook(layout)
    book.add(Host("h100-node", address="a"))
    with pytest.raises(UserError, match="already"):
        book.add(Host("h100-node", address="b"))
    assert book.get("h100-node").address == "a"
    book.add(Host("h100-node", address="b"), replace=True)
    assert book.get("h100-node").address == "b"
    with pytest.raises(UserError, match="did you mean 'h100-node'"):
        book.get("h100node")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"hosts": 3}', '{"host": []}', '{"hosts": {}}'],
)
def test_a_damaged_book_is_one_line_and_is_left_alone(layout: Layout, content: str) -> None:
    layout.hosts_file.write_text(content)
    for act in (lambda book: book.all(), lambda book: book.add(Host("box", address="a"))):
        with pytest.raises(UserError, match=r"hosts\.json") as caught:
            act(HostBook(layout))
        assert "\n" not in str(caught.value)
    assert layout.hosts_file.read_text() == content


BAD_ENTRIES = {
    "it has no address": {"name": "x"},
    "'address' has a value of the wrong type: 3": {"name": "x", "address": 3},
    "its kind is 'telnet', not 'ssh'": {"name": "x", "address": "a", "kind": "telnet"},
    "'local' cannot be a host's name": {"name": "local", "address": "a"},
    "'pass_env' is not a list of names": {"name": "x", "address": "a", "pass_env": "HF_TOKEN"},
    "'pass_env': PATH is not passed on": {"name": "x", "address": "a", "pass_env": ["A", "PATH"]},
    "'port' is no port: 1 to 65535": {"name": "x", "address": "a", "port": 70_000},
    "'price_per_hour' is no price": {"name": "x", "address": "a", "price_per_hour": -1},
    "an entry before it has that name": {"name": "good", "address": "b"},
    "it has no name": {"address": "a", "of a later version": [1, None, "é"]},
    "it is no object with a name and an address": ["x", "a"],
}


@pytest.mark.parametrize("told", BAD_ENTRIES)
def test_one_bad_entry_is_told_exactly_kept_as_it_is_and_costs_no_other(layout: Layout, told: str) -> None:
    bad = BAD_ENTRIES[told]
    layout.hosts_file.write_text(json.dumps({"schema": 1, "hosts": [{"name": "good", "address": "a"}, bad]}))
    book = HostBook(layout)
    assert [host.name for host in book.all()] == ["local", "good"]
    name = bad.get("name", "") if isinstance(bad, dict) else ""
    [line] = book.read()[1]
    named = f" ('{name}')" if name else ""
    assert line.startswith(f"{layout.hosts_file}: entry 2{named} is left out: {told}")
    assert line.endswith("(mend it by hand; the other hosts go on)") and "\n" not in line
    if name not in ("", "local", "good"):
        with pytest.raises(UserError, match="is left out"):
            book.get(name)
        with pytest.raises(UserError, match="already"):
            book.add(Host(name, address="b"))

    book.add(Host("box", address="c"))
    book.remove("good" if name != "good" else "box")
    assert bad in json.loads(layout.hosts_file.read_text())["hosts"]
    assert len(book.all()) == 2


def test_a_bad_entry_goes_when_it_is_replaced_or_removed_by_its_name(layout: Layout) -> None:
    bad = {"name": "box", "address": "a", "port": "22"}
    book = HostBook(layout)
    for mend in (lambda: book.add(Host("box", address="b"), replace=True), lambda: book.remove("box")):
        layout.hosts_file.write_text(json.dumps({"hosts": [bad]}))
        mend()
        assert bad not in json.loads(layout.hosts_file.read_text())["hosts"] and not book.read()[1]


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("me@host:2222", ("me", "host", 2222)),
        ("host", ("", "host", 0)),
        ("me@10.0.0.1", ("me", "10.0.0.1", 0)),
        ("ssh://me@host:22/", ("me", "host", 22)),
        ("::1", ("", "::1", 0)),
        ("me@[fe80::1]:2222", ("me", "fe80::1", 2222)),
        ("[::1]", ("", "::1", 0)),
        ("corp\\me@host", ("corp\\me", "host", 0)),
    ],
)
def test_ssh_targets(target: str, parts: tuple[str, str, int]) -> None:
    assert parse_ssh_target(target) == parts


@pytest.mark.parametrize(
    "target",
    [
        "",
        "@host",
        "me@",
        "host:",
        "host:0",
        "host:65536",
        "host:x",
        "a b",
        "me@[::1",
        "[::1]22",
        "1:2:3",
        "-x",
        "h/p",
    ],
)
def test_bad_ssh_targets_are_one_line(target: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_ssh_target(target)
    assert "\n" not in str(caught.value)


@given(
    st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True) | st.just(""),
    st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True) | st.ip_addresses(v=6).map(str),
    st.integers(0, 65535),
)
def test_a_hosts_target_reads_back(user: str, address: str, port: int) -> None:
    assert parse_ssh_target(Host("x", user=user, address=address, port=port).target) == (user, address, port)


def test_many_processes_that_add_at_once_all_end_up_in_the_book(layout: Layout) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from remote.hosts.book import *; from nanochat.common.paths import Layout;"
        "HostBook(Layout(Path(sys.argv[1]))).add(Host(sys.argv[2], address='a'))"
    )
    adders = [
        subprocess.Popen([sys.executable, "-c", code, str(layout.base), f"h{i}"], cwd=ROOT) for i in range(8)
    ]
    assert [adder.wait() for adder in adders] == [0] * 8
    assert {host.name for host in HostBook(layout).all()} == {"local", *(f"h{i}" for i in range(8))}
    assert json.loads(layout.hosts_file.read_text())["schema"] == 1


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, remote, remote.hosts.book, remote.store.store, remote.fleet.fleet;"
        "import remote.cli.runs, remote.cli.hosts, remote.cli.headless;"
        "print([m for m in ('torch', 'asyncssh', 'pyarrow', 'numpy', 'textual') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
