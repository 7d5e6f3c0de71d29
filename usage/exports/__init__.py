"""Exports that stream: each is a kind of rows (`usage.exports.rows`, `.focus`) written in a format (`.csv`, `.xlsx`).

A page of rows is read and written in one step off the loop, so that memory holds a page and never the table.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

from django.http import StreamingHttpResponse

from core.aio import run_blocking
from usage.exports.focus import FocusRows
from usage.exports.rows import CallRows, Rows
from usage.exports.sheets import CsvFile, File, XlsxFile
from usage.review.asked import Asked

__all__ = ["EXPORTS", "Export", "export"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One file that can be taken."""

    name: str
    title: str
    description: str
    rows: Callable[[Asked], Rows]
    file: Callable[[], File]


EXPORTS: Mapping[str, Export] = {
    one.name: one
    for one in (
        Export(
            name="calls-csv",
            title="Calls as CSV",
            description="A line for each model call: who, what, tokens by class, cost to the micro-dollar, times.",
            rows=CallRows,
            file=CsvFile,
        ),
        Export(
            name="calls-xlsx",
            title="Calls as XLSX",
            description="The same as a workbook for Excel and LibreOffice; further sheets after 500,000 calls.",
            rows=CallRows,
            file=XlsxFile,
        ),
        Export(
            name="focus-csv",
            title="FOCUS 1.2 as CSV",
            description="The FinOps Open Cost and Usage Specification, version 1.2: a line a day for each user, "
            "account, key and model, for tools that compare bills of many vendors.",
            rows=FocusRows,
            file=CsvFile,
        ),
    )
}


def export(one: Export, asked: Asked) -> StreamingHttpResponse:
    """The response; its first bytes leave before the first row is read."""
    file = one.file()
    name = f"usage-{one.name.rpartition('-')[0]}-{asked.first}-to-{asked.last}.{file.extension}"
    return StreamingHttpResponse(
        _stream(one.rows(asked), file),
        content_type=file.content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would keep it back until it is whole
        },
    )


async def _stream(rows: Rows, file: File) -> AsyncIterator[bytes]:
    parts = _parts(rows, file)
    while (part := await run_blocking(next, parts, None)) is not None:
        if part:
            yield part


def _parts(rows: Rows, file: File) -> Iterator[bytes]:
    """Each step reads a page at most. Blocks."""
    yield file.begin(rows.columns)
    for page in rows.pages():
        yield file.add(page)
    yield file.end()
