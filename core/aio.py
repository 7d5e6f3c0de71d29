"""Async helpers: tasks that somebody owns, and blocking work off the loop, each kind in threads of its own."""

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


class BlockingPool:
    """A few threads for one kind of blocking work, so that no other kind waits behind it; they start when needed."""

    def __init__(self, name: str, *, threads: int) -> None:
        """`name` begins the names of its threads."""
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it in one of the threads, in the caller's context, and await its result."""
        return await _run_in(self._executor, partial(function, *args, **kwargs))


# Computing holds the interpreter's lock most of the time: more threads would not make it faster, only fairer.
COMPUTING = BlockingPool("computing", threads=4)
"""For what takes the processor long: large bodies, checks by a schema, counting long texts."""

# All work with the database goes through these threads, so they and its connections stay this few however many streams
# are open; and nothing else does, so that sign-in and the ledger never wait behind it.
BLOCKING_THREADS = 4
_pool = ThreadPoolExecutor(BLOCKING_THREADS, thread_name_prefix="blocking")


async def run_blocking(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run what waits for the database, or shortly for a file, in one of a few threads and await its result."""
    return await _run_in(_pool, partial(_with_fresh_connections, partial(function, *args, **kwargs)))


async def _run_in(executor: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(executor, partial(context.run, call))


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
