"""The table: every measure, its target, each subject's figure, and a verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.measures import Figures

MOCK_BOUND = 0.9  # share of the mock's own ceiling from which a figure says nothing about the subject
COLUMNS = {"mock": "mock alone", "relay": "raw relay", "daphne": "Daphne", "uvicorn": "uvicorn"}
SERVERS = ("daphne", "uvicorn")
NOTHING = "-"
QUIET = 0.05  # share of the machine that others may use before they, not the subjects, decide the figures


@dataclass(frozen=True, slots=True)
class Target:
    """A bound. `at_least` turns it round; `times_relay` makes it a multiple of the relay's figure in the same run."""

    bound: float
    unit: str = ""
    at_least: bool = False
    times_relay: bool = False

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:,g}{' x relay' if self.times_relay else self.unit}"

    def met(self, value: float, relay: float | None) -> bool | None:
        """None when it cannot be judged."""
        if self.times_relay and relay is None:
            return None
        bound = self.bound * (relay or 0) if self.times_relay else self.bound
        return value >= bound if self.at_least else value <= bound


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `added` shows the figure less the mock's own; `capped` marks figures near the mock's."""

    figure: str
    title: str
    digits: int
    target: Target | None = None
    added: bool = False
    capped: bool = False


ROWS: Sequence[Row] = (
    Row("requests", "requests/s, short replies", 0, Target(700, at_least=True), capped=True),
    Row("request_cpu", "CPU a request, ms", 2, Target(1.5)),
    Row("ttft_p50", "added time to first token, p50 ms", 2, Target(2), added=True),
    Row("ttft_p99", "added time to first token, p99 ms", 2, Target(10), added=True),
    Row("behind_p50", "token behind the mock's stamp, p50 ms", 2),
    Row("behind_p99", "token behind the mock's stamp, p99 ms", 2),
    Row("streams", "stall-free streams at 50 frames/s", 0, Target(400, at_least=True), capped=True),
    Row("frame_cpu", "CPU a frame at 256 streams, µs", 1, Target(2, times_relay=True)),
    Row("late_p50", "lateness at 256 streams, p50 ms", 2),
    Row("late_p99", "lateness at 256 streams, p99 ms", 2),
    Row("idle_kb", "memory per idle open stream, kB", 1, Target(25)),
    Row("threads", "threads with the idle streams open", 0, Target(32)),
    Row("fifty_bytes", "bytes of a 50-token answer", 0, Target(6000)),
    Row("growth_1000", "bytes out per byte in, 1,000 tokens", 2, Target(1.3)),
    Row("growth_10000", "bytes out per byte in, 10,000 tokens", 2, Target(1.3)),
    Row("growth_25000", "bytes out per byte in, 25,000 tokens", 2, Target(1.3)),
)

Results = Mapping[str, Figures]
"""Figures by subject: `mock`, `relay`, `daphne`, `uvicorn`."""


def _value(row: Row, subject: str, results: Results) -> float | None:
    value = results.get(subject, {}).get(row.figure)
    if value is None or not row.added or subject == "mock":
        return value
    base = results.get("mock", {}).get(row.figure)
    return None if base is None else value - base


def _mock_bound(row: Row, subject: str, results: Results) -> bool:
    if not row.capped or subject == "mock":
        return False
    value, ceiling = _value(row, subject, results), _value(row, "mock", results)
    return value is not None and ceiling is not None and value >= MOCK_BOUND * ceiling


def _cell(row: Row, subject: str, results: Results) -> str:
    value = _value(row, subject, results)
    if value is None:
        return NOTHING
    return f"{value:,.{row.digits}f}{' mock-bound' if _mock_bound(row, subject, results) else ''}"


def _verdict(row: Row, results: Results) -> str:
    """Whether each server that ran meets the target; one without a figure is named, never passed over."""
    servers = [server for server in SERVERS if server in results]
    if row.target is None or not servers:
        return "" if row.target is None else NOTHING
    relay = _value(row, "relay", results)
    judged = {COLUMNS[server]: _met(row.target, _value(row, server, results), relay) for server in servers}
    missed = [name for name, met in judged.items() if met is False]
    unknown = [name for name, met in judged.items() if met is None]
    parts = [f"missed: {', '.join(missed)}"] if missed else []
    parts += [f"not measured: {', '.join(unknown)}"] if unknown else []
    return "; ".join(parts) or "met"


def _met(target: Target, value: float | None, relay: float | None) -> bool | None:
    return None if value is None else target.met(value, relay)


def table(results: Results) -> str:
    """An aligned Markdown table, with a column for each subject that has figures."""
    subjects = [subject for subject in COLUMNS if results.get(subject)]
    lines = [["measure", "target", *(COLUMNS[subject] for subject in subjects), "verdict"]]
    for row in ROWS:
        cells = [_cell(row, subject, results) for subject in subjects]
        if set(cells) != {NOTHING}:
            lines.append([row.title, str(row.target or ""), *cells, _verdict(row, results)])
    return _aligned(lines)


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    pads: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * (len(widths) - 2), str.ljust]
    rule = [
        "-" * width if pad is str.ljust else "-" * (width - 1) + ":" for width, pad in zip(widths, pads, strict=True)
    ]
    padded = [[pad(cell, width) for cell, width, pad in zip(line, widths, pads, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def document(results: Results, *, machine: str, settings: str, others: float, notes: Sequence[str]) -> str:
    """The whole report: the table, how it was made, and what went wrong.

    `others` is the share of the machine (0 to 1) that strangers to this run used meanwhile.
    """
    lines = ["# Benchmark", ""]
    if others > QUIET:
        lines += [
            f"**Not a fair run: other processes used {others:.0%} of the machine. Repeat it on a quiet one.**",
            "",
        ]
    lines += [
        table(results),
        "",
        f"Machine: {machine}; others used {others:.1%} of it. Run: {settings}.",
        "The subject had one core, the mock and the load generator another: `mock alone` is what those two can do, and",
        "`mock-bound` marks a figure within 10 % of that. The cost of a frame is given only where 256 streams ran",
        "without a stall. Other machines and hours give other figures: compare the columns of one run.",
    ]
    if notes:
        lines += ["", "Not measured:", "", *(f"* {note}" for note in notes)]
    return "\n".join(lines) + "\n"
