"""The commands about services: devices, serve, services, lease, service."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import re
import secrets
import signal
import time
from typing import TYPE_CHECKING, Any, TextIO

from .. import machine, procs
from ..detached import start_detached
from ..documents import SERVICE_SCHEMA
from ..files import AgentError, agent_argv, os_error
from ..interpreter import ask_interpreter
from . import devices as device_list
from .devices import Choice, Device
from .folder import ALIVE, ServiceDir, Services, check_holder
from .request import Wanted

if TYPE_CHECKING:
    from pathlib import Path

    from ..answers import Answers

    Json = dict[str, Any]

ANSWER_SECONDS = 1.0
LONGEST_WAIT = 30.0
WAIT_STEP = 0.1
FAILED_TOLD_SECONDS = 3600.0
"""How long one that failed is listed."""
MOST_TOLD = 100
MOST_METRICS = 1 << 20
MOST_LINE = 1 << 16
MODEL = re.compile(r'nanochat_model_idle_seconds\{model="([^"\\]{1,300})",step="[^"]*"\} (\S{1,40})')
QUESTION = """
import json
answer = {"nanochat": "", "serves": False, "error": ""}
try:
    import nanochat
    answer["nanochat"] = str(getattr(nanochat, "__version__", ""))
    from nanochat.config.serve_options import ChatWebOptions
    answer["serves"] = hasattr(ChatWebOptions, "all_models")
except ImportError:
    pass
except BaseException as error:
    answer["error"] = "nanochat cannot be imported: %s: %s" % (type(error).__name__, error)
print(json.dumps(answer))
"""


def devices(base: Path) -> Json:
    """What could serve here."""
    return {"devices": [device.document() for device in device_list.devices(base)]}


# -- starting and joining


def serve(base: Path, content: Json) -> Json:
    """Joins the service of a device or starts it: `{"service"}`, or `{"choice": {"run", "devices"}}` where a
    person has to choose."""
    wanted = Wanted.parse(content)
    services = Services(base)
    checked = False
    while True:
        found = device_list.devices(base)
        names = [device.name for device in found]
        if wanted.device is not None and wanted.device not in names:
            raise AgentError(
                f"there is no device {wanted.device} here: there are {', '.join(names)}", "device"
            )
        services.make()
        with services.exclusive():
            answer = _join_or_start(services, wanted, found, may_start=checked)
        if answer is not None:
            return answer
        check_nanochat(wanted.python, base)  # outside of the lock, as it may take long
        checked = True


def _join_or_start(services: Services, wanted: Wanted, found: list[Device], may_start: bool) -> Json | None:
    """What `serve` answers; None where a service has to be started and that may not be yet."""
    settle(services)
    running = [one for one in _alive(services) if _status(one) in ("starting", "ready")]
    serving = [(str(_asked(one)["device"]), bool(_asked(one).get("shared"))) for one in running]
    try:
        device = device_list.choose(found, wanted.device, serving)
    except Choice as choice:
        return {"choice": {"run": choice.run, "devices": [one.document() for one in found]}}
    there = next((one for one in running if _asked(one)["device"] == device.name), None)
    if there is not None:
        there.renew(wanted.holder)
        return {"service": entry(there, with_key=True)}
    if not may_start:
        return None
    services.prune()
    return {"service": entry(_start(services, wanted, device), with_key=True)}


def _start(services: Services, wanted: Wanted, device: Device) -> ServiceDir:
    service_id = f"{device.name.replace(':', '-')}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    document = {
        "schema": SERVICE_SCHEMA,
        "id": f"{service_id}-{secrets.token_hex(2)}",
        "device": device.name,
        "shared": bool(device.run),
        "argv": wanted.argv(device),
        "env": {} if device.name == "cpu" else {device_list.VARIABLE: device.uuid or device.name[5:]},
        "lease_seconds": wanted.lease_seconds,
        "created_at": time.time(),
    }
    try:
        service, lock = services.create(document, secrets.token_urlsafe(32), wanted.holder)
    except OSError as error:
        raise os_error("cannot create the service", error) from error
    argv = [*agent_argv(), "keep", "--base", str(services.base), "--service", service.id]
    try:
        started = start_detached([*argv, "--lock", str(lock)], service.path / "keeper.log", [lock])
    except OSError as error:
        service.remove()
        raise os_error("cannot start a keeper", error) from error
    finally:
        os.close(lock)
    if not started:
        service.remove()
        raise AgentError(f"cannot start a keeper with {argv[0]}", "supervisor")
    return service


def check_nanochat(python: str, base: Path) -> None:
    """Raises AgentError unless the nanochat of `python` can serve every checkpoint of a base directory."""
    path = os.path.expanduser(python)
    answer = ask_interpreter(path, QUESTION, frozenset(("nanochat", "serves", "error")), base)
    if answer["error"]:
        raise AgentError(f"{path}: {' '.join(str(answer['error']).split())[:500]}", "interpreter")
    version, serves = str(answer["nanochat"])[:40], answer["serves"] is True
    if not serves and not version:
        raise AgentError(f"{path} has no nanochat to serve with: install it there", "interpreter")
    if not serves:
        raise AgentError(f"the nanochat {version} of {path} is too old to serve: update it there", "too_old")


# -- what there is


def listed(base: Path, wait: str = "", seconds: float = 0.0) -> Json:
    """Every service of this host, oldest first. With `wait` only that one, with its key, once it has started
    or after `seconds`."""
    services = Services(base)
    if wait:
        service = services.existing(wait)
        deadline = time.monotonic() + min(LONGEST_WAIT, seconds)
        while _status(service) == "starting" and is_kept(service) and time.monotonic() < deadline:
            time.sleep(WAIT_STEP)
        if not service.path.is_dir() and not _status(service):
            raise AgentError(f"no service {wait} here: it has ended", "no_service")
        return {"now": time.time(), "services": [entry(service, with_key=True)]}
    return {"now": time.time(), "services": [entry(one) for one in _here(services)]}


def _here(services: Services) -> list[ServiceDir]:
    """The services to tell of: those of another machine with this base directory are its own."""
    found = []
    for service in services.all():
        state = service.read_state()
        if state is None or (_is_ours(service, state) and not _failed_long_ago(service)):
            found.append(service)
    return found[:MOST_TOLD]


def _is_ours(service: ServiceDir, state: Json) -> bool:
    """False for a service of another machine with this base directory."""
    return machine.belongs(state, str(state.get("host") or ""), service.path.parent)


def _failed_long_ago(service: ServiceDir) -> bool:
    """Whether it failed so long ago that nobody asks any more."""
    try:
        written = os.stat(service.path / "state.json").st_mtime
    except OSError:
        return True
    return time.time() - written > FAILED_TOLD_SECONDS and not is_kept(service)


def entry(service: ServiceDir, with_key: bool = False) -> Json:
    """A service as the agent tells of it."""
    asked, state = service.read_service(), service.read_state()
    if asked is None or state is None:
        return {"id": service.id, "status": "damaged", "reason": service.fault()}
    status = str(state.get("status"))
    if status in ALIVE and not is_kept(service):
        status = "failed"
        state["reason"] = "it was killed"
    key = service.key()
    models = _models(int(state["port"]), key) if status == "ready" and state.get("port") else None
    return {
        "id": service.id,
        "device": asked["device"],
        "status": status,
        "port": state.get("port"),
        "pinned": service.pinned,
        "kept": bool(service.leases()),
        "started_at": state.get("started_at") or asked.get("created_at"),
        "reason": state.get("reason") or "",
        "models": None if models is None else sorted(models),
        "idle": min(models.values()) if models else None,
        **({"key": key} if with_key else {}),
    }


def _models(port: int, key: str) -> dict[str, float] | None:
    """The models in memory of a server, with the seconds that nobody has asked each; None without answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {key}"})
        text = connection.getresponse().read(MOST_METRICS).decode("utf-8", "replace")
        idle = {name: float(value) for name, value in MODEL.findall(text)}
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return {name: seconds for name, seconds in idle.items() if math.isfinite(seconds)}


def _asked(service: ServiceDir) -> Json:
    return service.read_service() or {"device": ""}


def _status(service: ServiceDir) -> str:
    return str((service.read_state() or {}).get("status", ""))


def is_kept(service: ServiceDir) -> bool:
    """Whether its keeper lives."""
    try:
        lock = service.try_lock()
    except OSError:
        return False
    if lock is None:
        return True
    os.close(lock)
    return False


def _alive(services: Services) -> list[ServiceDir]:
    return [one for one in _here(services) if one.read_service() and _status(one) in ALIVE and is_kept(one)]


def settle(services: Services) -> None:
    """Ends what keepers left behind that were killed. Linux has ended their servers already."""
    for service in services.all():
        state = service.read_state()
        if state is None or state.get("status") not in ALIVE or is_kept(service):
            continue
        if not _is_ours(service, state):
            continue
        if not _is_copied(state):
            left = procs.members(0, procs.mark_of(service.path, 1), False)
            if state.get("boot_id") == procs.boot_id() and procs.alive(
                state.get("pid"), state.get("pid_start")
            ):
                left.append(int(state["pid"]))
            procs.signal_each(left, signal.SIGKILL)
        service.remove()


def _is_copied(state: Json) -> bool:
    """Whether the keeper lives of a service whose lock nobody holds: the folder came with a copy of a base
    directory, and the processes that it names serve the other one."""
    keeper = state.get("supervisor")
    if state.get("boot_id") != procs.boot_id() or not isinstance(keeper, dict):
        return False
    return procs.alive(keeper.get("pid"), keeper.get("pid_start"))


# -- leases, pins, ends


def lease(base: Path, lines: TextIO, answers: Answers) -> int:
    """Renews, for each line `{"holder", "services"}` that comes, the leases of one app, and answers with
    every service of this host; until the lines end."""
    services = Services(base)
    while True:
        line = lines.readline(MOST_LINE)
        if not line:
            return 0
        try:
            content = json.loads(line)
            who, ids = check_holder(content["holder"]), list(content["services"])[:MOST_TOLD]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise AgentError(
                "a line of `lease` must be an object with holder and services", "usage"
            ) from error
        for service_id in ids:
            service = services.get(service_id)
            with contextlib.suppress(OSError):  # of one service: the others' leases go on
                service.renew(who)
        answers.write({"type": "services", **listed(base)})
        answers.flush()


def change(base: Path, service_id: str, do: str, who: str) -> Json:
    """Pins, unpins or ends a service, or gives the lease of `who` back; the service as it stands then."""
    service = Services(base).existing(service_id)
    try:
        if do in ("pin", "unpin"):
            service.pin(do == "pin")
        elif do == "leave":
            service.give_back(who)
        elif is_kept(service):
            service.ask_end()
        else:
            service.remove()
    except FileNotFoundError as error:
        raise AgentError(f"no service {service_id} here: it has ended", "no_service") from error
    except OSError as error:
        raise os_error(f"cannot {do} the service", error) from error
    return {"service": entry(service) if service.path.is_dir() else None}
