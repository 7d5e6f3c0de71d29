"""Decode Amazon's binary event stream as it arrives.

Source of the format: https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html. A frame is its length, the
length of its headers, the CRC of both; headers; payload; the CRC of all that. Not botocore's decoder, because that one
copies its whole buffer for each frame and lets a frame grow to 24 MiB.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from zlib import crc32

from core.errors import ModelBrokeOff

# No vendor sends a frame near this; a server that does would eat our memory.
MAX_FRAME_BYTES = 8 * 1024 * 1024

_PRELUDE = struct.Struct("!III")
_CRC = struct.Struct("!I")
_LENGTH = struct.Struct("!H")
# Sizes in bytes of header values by their type, where these are fixed.
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _STRING = 6, 7


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of the stream."""

    headers: Mapping[str, str]
    """Those that are strings; no others say anything that we need."""
    payload: bytes = field(repr=False)


class EventStreamDecoder:
    """Feed it bytes as they come; it gives the frames that are complete."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames completed by `chunk`, in order. Raises ModelBrokeOff for a wrong checksum or length."""
        self._buffer += chunk
        frames = []
        start = 0
        while (end := self._end(start)) is not None:
            frames.append(_frame(bytes(self._buffer[start:end])))
            start = end
        del self._buffer[:start]
        return frames

    def _end(self, start: int) -> int | None:
        """Where the frame that begins at `start` ends, or None while it is not complete."""
        if len(self._buffer) - start < _PRELUDE.size:
            return None
        total, headers, checksum = _PRELUDE.unpack_from(self._buffer, start)
        if crc32(self._buffer[start : start + 8]) != checksum:
            raise ModelBrokeOff
        if total > MAX_FRAME_BYTES or headers > total - _PRELUDE.size - _CRC.size:
            raise ModelBrokeOff
        end: int = start + total
        return end if end <= len(self._buffer) else None


def _frame(data: bytes) -> Frame:
    body, checksum = data[: -_CRC.size], _CRC.unpack(data[-_CRC.size :])[0]
    if crc32(body) != checksum:
        raise ModelBrokeOff
    headers_end = _PRELUDE.size + _PRELUDE.unpack_from(data)[1]
    try:
        return Frame(dict(_headers(body[_PRELUDE.size : headers_end])), body[headers_end:])
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise ModelBrokeOff from error


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name, kind, at = data[at + 1 : name_end].decode(), data[name_end], name_end + 1
        if kind in (_BYTES, _STRING):
            size, at = _LENGTH.unpack_from(data, at)[0], at + _LENGTH.size
        else:
            size = _FIXED[kind]
        if kind == _STRING:
            yield name, data[at : at + size].decode()
        at += size
