"""Async helpers: tasks that somebody owns, and blocking work off the loop."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

import structlog
from django.db import close_old_connections

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

# All blocking work (the ORM, mostly) goes through these threads, so threads and database connections stay this few
# however many streams are open.
BLOCKING_THREADS = 4
_pool = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="blocking")


async def run_blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking function (ORM, files) in one of a few threads and await its result."""
    context = contextvars.copy_context()
    call = partial(context.run, _with_fresh_connections, partial(function, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_pool, call)


def _with_fresh_connections(call: Callable[[], T]) -> T:
    # What Django does around a request: a connection past CONN_MAX_AGE or broken is dropped, not reused.
    close_old_connections()
    try:
        return call()
    finally:
        close_old_connections()


class TaskSet:
    """Tasks with an owner: referenced while they run, their failures logged, all of them ended by `aclose()`.

    For work that outlives the function that starts it (a run outlives its request), where a TaskGroup cannot stand.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("task_failed", task=task.get_name(), exc_info=error)

    async def join(self) -> None:
        """Wait until none runs, those that start meanwhile included."""
        while self._tasks:
            # Not gather(): when it is cancelled, by a timeout say, it cancels what it waits for.
            await asyncio.wait(self._tasks)

    async def aclose(self) -> None:
        """Cancel what still runs and wait for its end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
