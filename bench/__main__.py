"""`python -m bench [--quick] [--reps N] [--subject NAME]... [--out FILE.md]`: measure, and print one table."""

import argparse
import os
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvloop

from bench import process, report
from bench.limits import raise_open_files
from bench.measures import Figures, Measure, MeasureError, Settings, all_measures, ceiling_measures, fresh_measures
from bench.subjects import LOAD_CORE, SubjectError, mock_alone, starts
from bench.upstream.testing import Upstream, running_upstream

QUICK = Settings(
    reps=1,
    short_seconds=1.5,
    first_tokens=100,
    steps=(256, 400),
    ceiling_steps=(512,),
    attempts=1,
    step_windows=2,
    window_seconds=1.5,
    idle_streams=500,
    growth=(1_000, 10_000),
)
SUBJECTS = ("relay", "daphne", "uvicorn")

_BEGAN = time.monotonic()


def _say(line: str) -> None:
    print(f"{time.monotonic() - _BEGAN:6.1f} s  {line}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare the service with a raw relay.")
    parser.add_argument("--quick", action="store_true", help="under 90 seconds; rough figures")
    parser.add_argument("--reps", type=int, default=None, help="repetitions that medians are taken over (3; quick: 1)")
    parser.add_argument("--subject", choices=SUBJECTS, action="append", help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, help="write the report to this Markdown file too")
    return parser.parse_args()


def _settings(arguments: argparse.Namespace) -> Settings:
    settings = QUICK if arguments.quick else Settings()
    return replace(settings, reps=arguments.reps) if arguments.reps else settings


class Run:
    """One benchmark: the figures by subject, and notes on what could not be measured."""

    def __init__(self, settings: Settings, upstream: Upstream) -> None:
        self._settings = settings
        self._upstream = upstream
        self.results: dict[str, Figures] = {}
        self.notes: list[str] = []

    def ceiling(self) -> None:
        _say("mock alone")
        self._take("mock", ceiling_measures(mock_alone(self._upstream), self._settings, _say))

    def subject(self, name: str) -> None:
        _say(name)
        start = starts(self._upstream, self._settings.models)[name]
        try:
            with start() as subject:
                self._take(name, fresh_measures(subject, self._settings))
            with start() as subject:
                self._take(name, all_measures(subject, self._settings, self._upstream, _say))
        except SubjectError as error:
            self._note(f"{report.COLUMNS[name]} did not start: {error}")

    def _take(self, name: str, measures: dict[str, Measure]) -> None:
        figures = self.results.setdefault(name, {})
        for title, measure in measures.items():
            try:
                found = uvloop.run(measure())
            except (MeasureError, OSError) as error:
                self._note(f"{report.COLUMNS[name]}, {title}: {error}")
                continue
            figures |= found
            _say(f"  {title}: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()))

    def _note(self, note: str) -> None:
        self.notes.append(note)
        _say(f"  {note}")


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    arguments = _arguments()
    settings = _settings(arguments)
    raise_open_files()
    process.pin(0, LOAD_CORE)  # before the mock starts: it inherits the core
    busy, ours = process.machine_busy_seconds(), process.family_seconds()
    with running_upstream() as upstream:
        run = Run(settings, upstream)
        run.ceiling()
        for name in arguments.subject or SUBJECTS:
            run.subject(name)
    seconds = time.monotonic() - _BEGAN
    others = (process.machine_busy_seconds() - busy) - (process.family_seconds() - ours)
    text = report.document(
        run.results,
        machine=_machine(),
        settings=f"{'quick, ' if arguments.quick else ''}medians of {settings.reps}, {seconds:.0f} s",
        others=max(0.0, others) / seconds / len(process.cores()),
        notes=run.notes,
    )
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
