"""The local journal: what must not be lost while the database is away, in a file, until it can be booked.

One file per process, of JSON lines: `hold` (a call began), `row` (it ended, this is its ledger row), `release` (nothing
came of it). What is in it is safe against the death of the process and of the machine; against the loss of the disk
only the database is. A process holds a lock on its file, so that another may tell whether it is dead and take it over.
Everything here blocks.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.db import DatabaseError, models

from usage import group_sets
from usage.models import Reservation, UsageRecord

Row = TypeVar("Row", bound=models.Model)

log = structlog.get_logger(__name__)

_SUFFIX = ".jsonl"


@dataclass(slots=True)
class Entries:
    """What a journal says, taken together."""

    rows: dict[UUID, UsageRecord] = field(default_factory=dict)
    holds: dict[UUID, Reservation] = field(default_factory=dict)
    """Calls that have begun and of which nothing else is said."""
    size: int = 0
    """Bytes that were read."""

    def add(self, line: bytes) -> None:
        """Raises ValueError for what is no line of ours."""
        entry = json.loads(line)
        match entry:
            case {"row": dict(fields), "groups": list(groups)}:
                record = _restored(UsageRecord, fields, groups)
                self.rows[record.call_id] = record
                self.holds.pop(record.call_id, None)
            case {"hold": dict(fields), "groups": list(groups)}:
                held = _restored(Reservation, fields, groups)
                self.holds[held.call_id] = held
            case {"release": str(call_id)}:
                self.holds.pop(UUID(call_id), None)
            case _:
                raise ValueError("not an entry")


class Journal:
    """This process's journal. Its file is there only while something is in it."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._path = folder / f"{worker}{_SUFFIX}"
        self._file: int | None = None
        self._torn = False
        # A replay that the database has kept waiting may go on while new entries are written.
        self._lock = Lock()

    @property
    def is_empty(self) -> bool:
        return self._file is None

    def append(
        self,
        *,
        rows: Sequence[UsageRecord] = (),
        holds: Sequence[Reservation] = (),
        released: Iterable[UUID] = (),
    ) -> None:
        """Return when it is on the disk: one write and one fsync for all. Raises OSError."""
        entries: list[dict[str, Any]] = [{"hold": _fields(held), "groups": _groups(held.group_set)} for held in holds]
        entries += [{"row": _fields(record), "groups": _groups(record.group_set)} for record in rows]
        entries += [{"release": str(call_id)} for call_id in released]
        if not entries:
            return
        text = b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)
        with self._lock:
            self._write(text)

    def _write(self, text: bytes) -> None:
        if self._torn:
            text = b"\n" + text  # what a full disk has cut off must not take the next entry along
        file, self._torn = self._opened(), True
        while text:
            text = text[os.write(file, text) :]
        os.fsync(file)
        self._torn = False

    def _opened(self) -> int:
        while self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            # Before it was locked, another process may have taken it for a dead one's, empty as it is, and removed it.
            if _is_at(file, self._path):
                self._file = file
            else:
                os.close(file)
        return self._file

    def read(self) -> Entries:
        """Everything that it holds."""
        return Entries() if self._file is None else _read(self._file)

    def clear(self, booked: Entries) -> None:
        """What was read is booked: empty it, unless more has come meanwhile; then all of it will be read again."""
        with self._lock:
            if self._file is not None and os.fstat(self._file).st_size == booked.size:
                self._path.unlink(missing_ok=True)
                self._close(self._file)

    def set_aside(self) -> None:
        """Keep it for people to look at, out of the way."""
        with self._lock:
            if self._file is not None:
                self._path.rename(self._path.with_suffix(".unreadable"))
                self._close(self._file)

    def _close(self, file: int) -> None:
        os.close(file)
        self._file = None

    def orphans(self) -> Iterator[tuple[Entries, "Orphan"]]:
        """What dead processes on this machine have left; each is locked until the next one is asked for."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if path != self._path and (orphan := Orphan.taken(path)) is not None:
                try:
                    yield _read(orphan.file), orphan
                finally:
                    os.close(orphan.file)


@dataclass(frozen=True, slots=True)
class Orphan:
    """The journal of a process that is dead."""

    path: Path
    file: int

    @classmethod
    def taken(cls, path: Path) -> "Orphan | None":
        """None if its process lives, or somebody else has just taken it over."""
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its process may have booked and removed it since it was opened: then it is nobody's any more.
            is_free = _is_at(file, path)
        except BlockingIOError:
            is_free = False
        if not is_free:
            os.close(file)
            return None
        return cls(path, file)

    def remove(self) -> None:
        """All of it is booked."""
        self.path.unlink(missing_ok=True)


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _read(file: int) -> Entries:
    entries = Entries()
    with os.fdopen(os.dup(file), "rb") as lines:
        lines.seek(0)
        for line in lines:
            entries.size += len(line)
            if not line.strip():
                continue
            try:
                entries.add(line)
            except (ValueError, TypeError, KeyError):
                # The last line, torn by the end of its process: nobody was told that it is safe.
                log.warning("journal_line_unreadable", size=len(line))
    return entries


def _fields(row: models.Model) -> dict[str, Any]:
    own = (item for item in row._meta.concrete_fields if not isinstance(item, models.BigAutoField))
    return {item.attname: _text(item, row) for item in own}


def _text(item: "models.Field[Any, Any]", row: models.Model) -> Any:
    value = getattr(row, item.attname)
    return value if value is None or isinstance(item, models.JSONField) else item.value_to_string(row)


def _restored(kind: type[Row], fields: dict[str, Any], groups: list[str]) -> Row:
    group_sets.name_of(groups)
    known = {item.attname: item for item in kind._meta.concrete_fields}
    return kind(**{name: known[name].to_python(value) for name, value in fields.items() if name in known})


def _groups(group_set: str) -> list[str]:
    """Empty too where only the database knows: then it has the set."""
    try:
        return sorted(group_sets.groups_of([group_set])[group_set]) if group_set else []
    except DatabaseError:
        return []
