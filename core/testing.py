"""For tests of what runs off the loop."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from django.db import connections

from core import aio


@contextmanager
def own_blocking_thread() -> Iterator[None]:
    """`run_blocking` in a thread of this test, whose database connection goes with it and not into the next test."""
    shared = aio._pool
    with ThreadPoolExecutor(1) as pool:
        aio._pool = pool
        try:
            yield
        finally:
            pool.submit(connections.close_all).result()
            aio._pool = shared
