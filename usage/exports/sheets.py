"""Files of rows, written piece by piece: each step returns the bytes that are ready, and nothing else is kept."""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import IO, Any, Protocol
from xml.sax.saxutils import escape

from usage.exports.rows import Row

SHEET_ROWS = 500_000
"""Excel takes 1,048,576; at half of that a sheet stays below 2 GiB, which a zip file holds without extensions."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
# XML 1.0 has no way to write these.
_NOT_XML = dict.fromkeys((*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0xFFFE, 0xFFFF, *range(0xD800, 0xE000)))


class File(Protocol):
    """A format. Texts that a spreadsheet would take for a formula begin with an apostrophe in every one."""

    extension: str
    content_type: str

    def begin(self, columns: Sequence[str]) -> bytes: ...
    def add(self, rows: Iterable[Row]) -> bytes: ...
    def end(self) -> bytes: ...


def safe(value: Any) -> Any:
    """A cell: user names, run ids and the like come from callers, and who opens the file trusts it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


class CsvFile:
    """RFC 4180, UTF-8; with a byte order mark, without which Excel takes it for Latin-1."""

    extension = "csv"
    content_type = "text/csv; charset=utf-8"

    def begin(self, columns: Sequence[str]) -> bytes:
        return "\ufeff".encode() + self.add([columns])

    def add(self, rows: Iterable[Row]) -> bytes:
        text = io.StringIO()
        csv.writer(text).writerows([safe(value) for value in row] for row in rows)
        return text.getvalue().encode(errors="replace")

    def end(self) -> bytes:
        return b""


class _Pipe(io.RawIOBase):
    """A file that one can only write to and empty: what makes `zipfile` stream."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


class XlsxFile:
    """Office Open XML (ECMA-376) with texts in their cells, so that no table of all texts has to be kept."""

    extension = "xlsx"
    content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

    def __init__(self) -> None:
        self._pipe = _Pipe()
        self._zip = zipfile.ZipFile(self._pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._sheets = 0
        self._sheet: IO[bytes] | None = None
        self._rows = 0
        self._columns: Sequence[str] = ()

    def begin(self, columns: Sequence[str]) -> bytes:
        self._columns = columns
        self._begin_sheet()
        return self._pipe.take()

    def add(self, rows: Iterable[Row]) -> bytes:
        for row in rows:
            if self._rows > SHEET_ROWS:
                self._end_sheet()
                self._begin_sheet()
            self._write(_row_xml(row))
        return self._pipe.take()

    def end(self) -> bytes:
        self._end_sheet()
        for name, text in _frame(self._sheets):
            self._zip.writestr(name, text)
        self._zip.close()
        return self._pipe.take()

    def _begin_sheet(self) -> None:
        self._sheets += 1
        self._rows = 0
        self._sheet = self._zip.open(f"xl/worksheets/sheet{self._sheets}.xml", "w")
        # The first row stays where it is when one scrolls.
        self._sheet.write(
            f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
            '<pane ySplit="1" topLeftCell="A2" state="frozen"/></sheetView></sheetViews><sheetData>'.encode()
        )
        self._write(_row_xml(self._columns))

    def _end_sheet(self) -> None:
        assert self._sheet is not None
        self._sheet.write(b"</sheetData></worksheet>")
        self._sheet.close()

    def _write(self, row: str) -> None:
        assert self._sheet is not None
        self._sheet.write(row.encode())
        self._rows += 1


def _row_xml(row: Row) -> str:
    return f"<row>{''.join(map(_cell_xml, row))}</row>"


def _cell_xml(value: Any) -> str:
    match value:
        case None | "":
            return "<c/>"
        case bool():
            return f'<c t="b"><v>{int(value)}</v></c>'
        case int():
            return f"<c><v>{value}</v></c>"
        case Decimal():  # money, to the micro-dollar; without a format Excel shows little of it as 2.2E-05
            return f'<c s="{_MONEY}"><v>{value}</v></c>'
    text = escape(str(safe(str(value))).translate(_NOT_XML))
    return f'<c t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'


_MONEY = 1
"""The place of the format of money among those of the workbook."""
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
# One font, the two fills that Excel wants first, no border; a cell is plain, or money.
_STYLES = (
    f'{_XML}<styleSheet xmlns="{_MAIN}"><numFmts count="1"><numFmt numFmtId="164" formatCode="0.000000"/></numFmts>'
    '<fonts count="1"><font/></fonts><fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2"><xf numFmtId="0"/>'
    '<xf numFmtId="164" applyNumberFormat="1"/></cellXfs></styleSheet>'
)


def _frame(sheets: int) -> Iterator[tuple[str, str]]:
    """The parts of the workbook around its sheets; written last, when one knows how many there are."""
    numbers = range(1, sheets + 1)
    named = "".join(f'<sheet name="Usage {n}" sheetId="{n}" r:id="rId{n}"/>' for n in numbers)
    yield "xl/workbook.xml", f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{named}</sheets></workbook>'
    related = "".join(
        f'<Relationship Id="rId{n}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
    )
    related += f'<Relationship Id="rId{sheets + 1}" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    yield "xl/styles.xml", _STYLES
    yield (
        "xl/_rels/workbook.xml.rels",
        f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{related}</Relationships>',
    )
    book = f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    yield "_rels/.rels", f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{book}</Relationships>'
    types = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{_TYPE}.worksheet+xml"/>' for n in numbers
    )
    yield (
        "[Content_Types].xml",
        f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{_TYPE}.styles+xml"/>{types}</Types>',
    )
