"""Readers of what is said about services: a host's answers, a service's documents, a request for one."""

import json
from contextlib import suppress
from typing import Any

from nanochat.common.errors import UserError
from nanochat.common.fields import json_object
from nanochat.common.text import UNSAFE
from remote.agent.documents import service_fault, service_state_fault
from remote.agent.services.request import Wanted
from remote.fleet.service_answers import checkpoint_of, offer_of, told_of

_SERVICE: dict[str, Any] = {"schema": 1, "id": "cpu-1", "device": "cpu", "argv": ["p"], "env": {"A": "b"}}
_STATE: dict[str, Any] = {"id": "cpu-1", "status": "ready", "pid": 3, "pid_start": 4, "port": 5}
_TOLD: dict[str, Any] = {"id": "cpu-1", "device": "cpu", "status": "ready", "port": 5, "key": "k"}
_DEVICE: dict[str, Any] = {"device": "cuda:0", "title": "H100", "free": 1, "total": 2, "run": "r"}
_CHECKPOINT: dict[str, Any] = {"source": "sft", "tag": "d2", "steps": [5, 8], "bytes": 7, "run": "r"}
_WANTED: dict[str, Any] = {"device": "cuda:0", "python": "p", "holder": "a", "lease_seconds": 50}


def _seeds(*documents: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(json.dumps(document).encode() for document in documents)


ANSWERS = _seeds({**_TOLD, "models": ["sft/d2"], "idle": 1.5}, _DEVICE, {**_CHECKPOINT, "modified": 1.0})
DOCUMENTS = _seeds({**_SERVICE, "lease_seconds": 50, "created_at": 1}, {**_STATE, "supervisor": {"pid": 6}})
REQUESTS = _seeds({**_WANTED, "unload_after": 600})


def read_answer(raw: bytes) -> None:
    found = json_object(raw) or {}
    for read in (told_of, offer_of, lambda _, entry: checkpoint_of(entry)):
        with suppress(UserError):
            assert not UNSAFE.search(repr(read("box", found)))


def read_document(raw: bytes) -> None:
    found = json_object(raw) or {}
    service_fault("cpu-1", found)
    service_state_fault("cpu-1", found)


def read_request(raw: bytes) -> None:
    Wanted.parse(json_object(raw) or {})
