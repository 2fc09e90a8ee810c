"""What known_hosts files say of a host, line kinds and ports, beside what OpenSSH itself finds there."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import asyncssh
import pytest

from remote.transport.known_hosts import OnRecord, first_line, look_up

KEYS = [asyncssh.generate_private_key("ssh-ed25519").convert_to_public() for _ in range(6)]
A, B, C, D, E, F = KEYS
HOST, ADDRESS = "node.example.com", "192.0.2.7"


def entry(names: str, key: asyncssh.SSHKey, marker: str = "") -> str:
    return f"{marker} {names} {key.export_public_key().decode().strip()}\n".lstrip()


def hashed(line: str, folder: Path) -> str:
    """The line with its name hashed, by ssh-keygen."""
    if not shutil.which("ssh-keygen"):
        pytest.skip("needs OpenSSH's ssh-keygen")
    file = folder / "hashed"
    file.write_text(line)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    assert line.split()[0] not in file.read_text()
    return file.read_text()


def said(tmp_path: Path, text: str, port: int | None = None, host: str = HOST, addr: str = "") -> OnRecord:
    (tmp_path / "known_hosts").write_text(text)
    return look_up([tmp_path / "known_hosts"], host, addr, port)


def negative_rsa() -> str:
    """An RSA key whose modulus is negative: a damaged line that OpenSSH passes over."""
    words = [b"ssh-rsa", b"\x01\x00\x01", b"\xff" * 256]
    blob = b"".join(len(word).to_bytes(4, "big") + word for word in words)
    return f"{HOST} ssh-rsa {base64.b64encode(blob).decode()}\n"


@pytest.mark.parametrize(
    "line",
    [
        "word\n",
        f"{HOST}\n",
        f"@unknown {entry(HOST, B)}",
        f"@revoked {HOST}\n",
        f"|1|torn {entry('', B)}",
        f"|2|AAAA|AAAA {entry('', B)}",
        f"{HOST} ssh-ed25519 AAAA\n",
        f"{HOST} no-such-kind AAAAB3NzaC1yc2E=\n",
        negative_rsa(),
        "\x00\xff\u2028 \n",
    ],
    ids=lambda line: line[:8].strip().strip("\x00") or "bytes",  # the keys differ from process to process
)
def test_a_line_that_cannot_be_read_is_passed_over(tmp_path: Path, line: str) -> None:
    record = said(tmp_path, "# a comment\n\n" + line + entry(HOST, A))
    assert record == OnRecord((A,), True, (), ())
    assert first_line([tmp_path / "known_hosts"], HOST, "", None) == (
        tmp_path / "known_hosts",
        3 + len(line.splitlines()),
    )


def test_a_file_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    files = [tmp_path / "none", tmp_path]
    assert look_up(files, HOST, "", None) == OnRecord((), False, (), ())
    assert first_line(files, HOST, "", None) is None


def test_every_file_counts_and_the_first_line_is_named(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_text(entry("other", B))
    theirs.write_text(entry("*.example.com", A) + entry(f"x,{HOST}", C))
    assert set(look_up([ours, theirs], HOST, "", None).keys) == {A, C}
    assert first_line([ours, theirs], HOST, "", None) == (theirs, 1)


def test_a_key_of_this_port_goes_before_one_of_the_plain_name(tmp_path: Path) -> None:
    plain = entry(HOST, A)
    assert said(tmp_path, plain, 2222) == OnRecord((A,), False, (), ())
    assert first_line([tmp_path / "known_hosts"], HOST, "", 2222) is None
    both = plain + entry(f"[{HOST}]:2222", B)
    assert said(tmp_path, both, 2222) == OnRecord((B,), True, (), ())
    assert first_line([tmp_path / "known_hosts"], HOST, "", 2222) == (tmp_path / "known_hosts", 2)
    assert said(tmp_path, both) == OnRecord((A,), True, (), ())
    assert said(tmp_path, both, 2223) == OnRecord((A,), False, (), ())


def test_the_same_key_under_both_names_is_the_ports_own(tmp_path: Path) -> None:
    assert said(tmp_path, entry(HOST, A) + entry(f"[{HOST}]:2222", A), 2222).exact


def test_a_negated_pattern_takes_a_host_out_of_its_own_line_only(tmp_path: Path) -> None:
    text = entry(f"*.example.com,!{HOST}", A) + entry("node.*", B)
    assert said(tmp_path, text).keys == (B,)
    assert set(said(tmp_path, text, host="node.example.com.").keys) == {B}
    assert said(tmp_path, text, host="else.example.com").keys == (A,)


def test_hashed_names_with_and_without_a_port(tmp_path: Path) -> None:
    text = hashed(entry(HOST, A), tmp_path) + hashed(entry(f"[{HOST}]:2222", B), tmp_path)
    assert said(tmp_path, text).keys == (A,)
    assert said(tmp_path, text, 2222) == OnRecord((B,), True, (), ())
    assert said(tmp_path, text, 2223) == OnRecord((A,), False, (), ())


def test_the_address_counts_beside_the_name(tmp_path: Path) -> None:
    text = entry(ADDRESS, A) + entry(f"[{ADDRESS}]:2222", B)
    assert said(tmp_path, text).keys == ()
    assert said(tmp_path, text, addr=ADDRESS).keys == (A,)
    assert said(tmp_path, text, 2222, addr=ADDRESS) == OnRecord((B,), True, (), ())


def test_authorities_and_revoked_keys_of_the_plain_name_count_on_every_port(tmp_path: Path) -> None:
    text = (
        entry(f"[{HOST}]:2222", A)
        + entry("*.example.com", B, "@cert-authority")
        + entry(f"[{HOST}]:2222", C, "@cert-authority")
        + entry(HOST, D, "@revoked")
        + entry("[*.example.com]:2222", E, "@revoked")
        + entry("other", F, "@revoked")
    )
    record = said(tmp_path, text, 2222)
    assert (record.keys, record.exact) == ((A,), True)
    assert (set(record.authorities), set(record.revoked)) == ({B, C}, {D, E})
    plain = said(tmp_path, text)
    assert plain == OnRecord((), False, (B,), (D,))


ORACLE = [
    entry(HOST, A),
    entry(f"[{HOST}]:2222,[{ADDRESS}]:2222", B),
    entry("*.example.com,!node.*", C),
    entry("*.example.com,!other.*", D),
    "not a key line\n",
    entry("[*.example.com]:2222", E),
    entry("*", F),
]


@pytest.mark.parametrize("port", [None, 2222, 2223])
@pytest.mark.parametrize("host", [HOST, "other.example.com", "else.example.com", "elsewhere", ADDRESS])
def test_openssh_finds_the_same_keys(tmp_path: Path, host: str, port: int | None) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("needs OpenSSH's ssh-keygen")
    record = said(tmp_path, "".join(ORACLE), port, host)
    name = f"[{host}]:{port}" if port else host
    file = tmp_path / "known_hosts"
    found = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", str(file)], capture_output=True, text=True, check=False
    )
    lines = [int(number) for number in re.findall(r"found: line (\d+)", found.stdout)]
    assert lines and record.exact
    assert set(record.keys) == {asyncssh.import_public_key(ORACLE[n - 1].split(None, 1)[1]) for n in lines}
    assert first_line([file], host, "", port) == (file, lines[0])
