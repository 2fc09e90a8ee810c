"""`nanochat hosts`: the machines that stages run on: list, add, test, remove, and what is served there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout, expanded
from nanochat.config.command_parser import Parser, add_base_dir, command_parser, parse
from nanochat.config.pass_env import option_names
from remote.cli.printer import print_check, print_problems, table
from remote.cli.services import add_service_arguments, services
from remote.hosts.book import DEFAULT_BASE, Host, HostBook, parse_ssh_target

if TYPE_CHECKING:
    from remote.transport.base import UnknownHostKey


def hosts_parser() -> Parser:
    """`nanochat hosts …`."""
    parser = command_parser("nanochat hosts", "The machines that stages run on.")
    words = parser.add_subparsers(dest="word", metavar="{ls,add,price,test,rm,services}", parser_class=Parser)
    words.add_parser("ls", help="a table of the hosts (the default)").add_argument(
        "--json", action="store_true"
    )
    add = words.add_parser("add", help="add a host that is reached over SSH")
    add.add_argument("name", metavar="NAME", help="what to call it")
    add.add_argument(
        "--ssh", required=True, metavar="USER@HOST:PORT", help="how to reach it; a ~/.ssh/config alias works"
    )
    add.add_argument("--key", default="", metavar="FILE", help="private key [ssh-agent and the default keys]")
    add.add_argument(
        "--python", default="", metavar="PATH", help="interpreter the stages run under there [python3]"
    )
    add.add_argument(
        "--base-dir", dest="remote_base", default=DEFAULT_BASE, metavar="DIR", help="base directory there"
    )
    add.add_argument(
        "--price", type=float, default=None, metavar="X", help="price an hour, for what a run has cost"
    )
    add.add_argument(
        "--pass-env",
        action="append",
        default=[],
        metavar="NAME",
        help="hand its runs this variable of your shell, such as HF_TOKEN; may be given again",
    )
    add.add_argument("--replace", action="store_true", help="overwrite the entry of that name")
    price = words.add_parser("price", help="set what an hour of a host costs, also of local")
    price.add_argument("name", metavar="NAME")
    price.add_argument("price", metavar="X", help="such as 2.49; 'unknown' takes it away")
    test = words.add_parser("test", help="connect and check the host, a line a check")
    test.add_argument(
        "--accept-key", default="", metavar="SHA256:…", help="trust a host key with this fingerprint"
    )
    test.add_argument("--json", action="store_true")
    words.add_parser("rm", help="take a host out of the book; its runs stay known")
    add_service_arguments(
        words.add_parser("services", help="servers of checkpoints that apps have opened: list, stop, pin")
    )
    for name in ("test", "rm"):
        words.choices[name].add_argument("name", metavar="NAME")
    for name in ("ls", "price", "test", "rm", "services"):  # `add --base-dir` is the host's own
        add_base_dir(words.choices[name], sub_command=True)
    return parser


def hosts(argv: Sequence[str]) -> int:
    """Answers `nanochat hosts …`."""
    given, layout = parse(hosts_parser(), argv or ["ls"])
    if given.word == "services":
        return services(layout, given)
    book = HostBook(layout)
    if given.word in (None, "ls"):
        known, problems = book.read()
        print_problems(problems)
        return _list_hosts(known, getattr(given, "json", False))
    if given.word == "add":
        user, address, port = parse_ssh_target(given.ssh)
        key = str(expanded(given.key).absolute()) if given.key else ""
        host = Host(
            name=given.name,
            user=user,
            address=address,
            port=port,
            key=key,
            python=given.python,
            base_dir=given.remote_base,
            price_per_hour=given.price,
            pass_env=option_names(given.pass_env),
        )
        book.add(host, replace=given.replace)
        print(f"added {host.name}: {host.target}; check it with: nanochat hosts test {host.name}")
        return Exit.OK
    if given.word == "price":
        book.set_price(given.name, _price(given.price))
        return Exit.OK
    if given.word == "rm":
        book.remove(given.name)
        print(f"removed {given.name}; its runs stay in the table")
        return Exit.OK
    book.get(given.name)
    return asyncio.run(_test(layout, given.name, given.accept_key, given.json))


def _price(word: str) -> float | None:
    """A price as it is typed; None for `unknown`."""
    if word == "unknown":
        return None
    try:
        return float(word)
    except ValueError:
        raise UserError(f"'{word}' is not a price", "a number such as 2.49, or unknown") from None


def _list_hosts(known: Sequence[Host], as_json: bool) -> int:
    if as_json:
        print(json.dumps([asdict(host) for host in known], ensure_ascii=False, indent=1))
        return Exit.OK
    cells = [
        [
            host.name,
            host.target,
            host.python or ("this one" if host.kind == "local" else "python3"),
            host.base_dir,
            f"{host.price_per_hour:g}/h" if host.price_per_hour is not None else "",
            " ".join(host.pass_env),
        ]
        for host in known
    ]
    print(table(["name", "where", "python", "base directory", "price", "passes on"], cells))
    return Exit.OK


async def _test(layout: Layout, name: str, fingerprint: str, as_json: bool) -> int:
    from remote.cli.watch import ask_host_key
    from remote.fleet.fleet import Fleet
    from remote.hosts.preflight import checks

    async def ask(unknown: UnknownHostKey) -> bool:
        if not fingerprint:
            return await ask_host_key(unknown)
        if unknown.fingerprint != fingerprint:
            raise UserError(
                f"host '{name}' shows {unknown.fingerprint}, not {fingerprint}",
                "find out why",
                Exit.UNREACHABLE,
            )
        return True

    fleet = Fleet(layout, ask_host_key=ask)
    try:
        probe = await fleet.probe(name)
        found = list(checks(probe))
        if as_json:
            lines = [{"level": check.level, "check": check.what, "fix": check.fix} for check in found]
            print(
                json.dumps(
                    {"host": name, "latency_ms": fleet.link(name).latency_ms, "checks": lines}, indent=1
                )
            )
        else:
            print(f"{name}: answered in {fleet.link(name).latency_ms or 0:.0f} ms")
            for check in found:
                print_check(check.level, check.what, check.fix)
        return Exit.FAILED if any(check.level == "bad" for check in found) else Exit.OK
    finally:
        await fleet.aclose()
