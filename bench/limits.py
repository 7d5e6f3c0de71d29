"""The limit that a benchmark with thousands of sockets meets first."""

import resource


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one; returns it. Child processes inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
