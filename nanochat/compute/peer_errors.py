"""Whose error it was: the processes of one training tell each other why one of them failed.

When a process fails, the others only see their connection to it closed. It leaves its own line in the store
through which they met (torch's, whatever started them), where rank 0 finds it. Light: loads no torch.
"""

import contextlib
import sys
from typing import Any

from nanochat.common.errors import one_line

_KEY = "nanochat/error/{}"
MAX_ERROR = 2_000
"""Characters of a line."""


def _distributed() -> Any:
    """torch.distributed where this process has joined others, else None."""
    module = sys.modules.get("torch.distributed")
    if module is None or not module.is_available() or not module.is_initialized():
        return None
    return module


def leave_error(message: str) -> bool:
    """Leaves this process's error for the others; whether they will find it once this process has ended.

    False where there are no others or they cannot be reached, and on GPUs: nccl waits for a process that has
    ended until somebody ends it too.
    """
    distributed = _distributed()
    if distributed is None:
        return False
    try:
        store = distributed.distributed_c10d._get_default_store()
        store.set(_KEY.format(distributed.get_rank()), one_line(message)[:MAX_ERROR])
        return bool(distributed.get_backend() == "gloo")
    except (RuntimeError, ValueError):
        return False


def peer_error() -> str:
    """`error in rank N: …` of the first other process that left one, else ""."""
    distributed = _distributed()
    if distributed is None:
        return ""
    with contextlib.suppress(RuntimeError, ValueError):
        store = distributed.distributed_c10d._get_default_store()
        for rank in range(distributed.get_world_size()):
            key = _KEY.format(rank)
            if rank != distributed.get_rank() and store.check([key]):
                return f"error in rank {rank}: {store.get(key).decode(errors='replace')}"
    return ""


def is_lost_connection(error: BaseException) -> bool:
    """Whether `error` says only that another process does not answer any more."""
    distributed = _distributed()
    if distributed is None or not isinstance(error, RuntimeError):
        return False
    kinds = tuple(
        kind
        for name in ("DistError", "DistBackendError", "DistNetworkError")
        if isinstance(kind := getattr(distributed, name, None), type)
    )
    return isinstance(error, kinds) or any(
        word in str(error) for word in ("gloo/", "Connection closed by peer", "Connection reset by peer")
    )
