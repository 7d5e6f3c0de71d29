"""A process as /proc shows it (proc(5)): what it used, what it holds, which core it may use. Linux only."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads, in steps of a clock tick (10 ms as a rule)."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold spaces
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise KeyError(name)


def resident_kb(pid: int) -> int:
    return _status(pid, "VmRSS")


def threads(pid: int) -> int:
    return _status(pid, "Threads")


def machine_busy_seconds() -> float:
    """CPU seconds that the machine spent on processes, whoever's, or had stolen by its host; all cores together.

    Interrupts are left out: those of our own loopback traffic could not be told from others'.
    """
    user, nice, system, _idle, _wait, _irq, _softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + steal) / _TICKS


def family_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, on a machine that has at least two; 0 is the caller itself."""
    if len(cores()) >= 2:
        os.sched_setaffinity(pid, {cores()[core]})


def cores() -> list[int]:
    """The cores this run was given when it began."""
    return _CORES


_CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
