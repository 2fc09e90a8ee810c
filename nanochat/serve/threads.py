"""Work that blocks, beside the event loop, without holding up the end of the process."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

LOG = logging.getLogger("nanochat.serve")

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """What a function that blocks returns or raises, from a thread that does not hold up the process's end.

    The event loop's own threads do: a large model's loading would outlast a stop by minutes.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if not future.done():
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value, error = None, None
        try:
            value = function()
        except BaseException as fault:
            error = fault
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:  # the loop is closed
            LOG.debug("a thread outlived its loop")

    threading.Thread(target=work, name="serve-load", daemon=True).start()
    return await future
