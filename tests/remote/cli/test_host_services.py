"""`nanochat hosts services`: a table, JSON, pins and ends, of real services on this machine."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from agenthost import AgentHost, until
from fake_chat_web import fake_server_python

from nanochat.cli import main
from nanochat.common.paths import Layout
from remote.hosts.book import Host, HostBook

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(layout: Layout, home: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `nanochat hosts services …`: exit code, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["hosts", "services", *words])
        return code, *capsys.readouterr()

    return run


@pytest.mark.slow
def test_services_are_listed_pinned_and_ended(
    layout: Layout, pyz: Path, tmp_path: Path, command: Command
) -> None:
    assert command() == (0, "no services\n", "")
    agent = AgentHost(pyz, layout.base)
    request = {
        "device": "cpu", "python": str(fake_server_python(tmp_path)), "holder": "an-app",
        "lease_seconds": 600, "unload_after": 600,
    }  # fmt: skip
    service_id = agent.call("serve", request=request)["service"]["id"]
    agent.call("services", "--wait", service_id)
    code, out, _ = command("local")
    assert code == 0
    header, row = out.splitlines()
    assert header.split() == ["service", "host", "device", "status", "models", "kept", "by", "idle", "since"]
    assert row.split()[:7] == [service_id, "local", "cpu", "ready", "sft/d2", "app", "12s"]

    assert command("--pin", service_id) == (0, f"{service_id} on local lives on when no app keeps it\n", "")
    [told] = json.loads(command("--json")[1])
    assert (told["id"], told["pinned"], told["kept"], told["models"]) == (service_id, True, True, ["sft/d2"])
    assert command("--unpin", service_id)[1] == f"{service_id} on local ends once no app keeps it\n"
    assert not (layout.base / "services" / service_id / "pinned").exists()
    HostBook(layout).add(Host(name="gone", address="127.0.0.1", port=9, user="me"))
    code, out, err = command("--stop", service_id)  # whatever other hosts do
    assert (
        (code, out) == (0, f"{service_id} on local ends\n") and err.count("\n") == 1 and "host 'gone'" in err
    )
    until(lambda: not (layout.base / "services" / service_id).exists(), "the service to end")


def test_what_is_of_the_list_is_refused_beside_a_change(command: Command) -> None:
    code, out, err = command("--stop", "cpu-1", "--json")
    assert (code, out) == (2, "") and "--json is of the list of services (leave it out)" in err


@pytest.mark.slow
def test_what_is_not_there_is_one_line(layout: Layout, home: Path, command: Command) -> None:
    code, out, err = command("--stop", "cpu-1")
    assert (code, out) == (2, "") and "no service 'cpu-1' (there are none)" in err and err.count("\n") == 1
    code, out, err = command("lokal")
    assert (code, out) == (2, "") and "did you mean 'local'" in err
    HostBook(layout).add(Host(name="gone", address="127.0.0.1", port=9, user="me"))
    code, out, err = command()
    assert (code, out) == (3, "no services\n") and err.count("\n") == 1 and "host 'gone'" in err
    code, out, err = command("--stop", "cpu-1")
    assert (code, out) == (2, "") and "no service 'cpu-1' (there are none; 1 host gave no answer)" in err


def test_an_entry_that_cannot_be_used_is_told_beside_the_hosts(
    layout: Layout, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.hosts_file.write_text('{"hosts": [{"name": "box", "address": 3}, {"name": "a", "address": "a"}]}')
    told = f"{layout.hosts_file}: entry 1 ('box') is left out: 'address' has a value of the wrong type: 3"
    assert main(["hosts", "ls", "--json"]) == 0
    out, err = capsys.readouterr()
    assert [host["name"] for host in json.loads(out)] == ["local", "a"]
    assert err == f"nanochat: {told} (mend it by hand; the other hosts go on)\n"
    assert main(["hosts", "services", "local"]) == 0 and not capsys.readouterr().err
    assert main(["hosts", "test", "box"]) == 2 and told in capsys.readouterr().err
