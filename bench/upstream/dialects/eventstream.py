"""`application/vnd.amazon.eventstream`: frames of headers and a payload, with two checksums.

Source: the Amazon event stream specification,
smithy.io/2.0/aws/amazon-eventstream.html (lengths, CRC-32s, header encoding).
"""

import struct
from zlib import crc32

CONTENT_TYPE = b"application/vnd.amazon.eventstream"
_OVERHEAD = 16  # bytes: two lengths, the prelude's checksum, the message's checksum
_STRING = 7  # the type of a header's value
_LENGTHS = struct.Struct(">II")
_CHECKSUM = struct.Struct(">I")


def header(name: str, value: str) -> bytes:
    """One header with a string value."""
    return struct.pack(f">B{len(name)}sBH", len(name), name.encode(), _STRING, len(value)) + value.encode()


def json_headers(message_type: str, name: str) -> bytes:
    """The headers of a JSON message: `message_type` is event or exception, `name` which one."""
    pairs = {f":{message_type}-type": name, ":content-type": "application/json", ":message-type": message_type}
    return b"".join(header(*pair) for pair in pairs.items())


def frame(headers: bytes, payload: bytes) -> bytes:
    prelude = _LENGTHS.pack(_OVERHEAD + len(headers) + len(payload), len(headers))
    message = b"%b%b%b%b" % (prelude, _CHECKSUM.pack(crc32(prelude)), headers, payload)
    return message + _CHECKSUM.pack(crc32(message))


def damaged(whole: bytes) -> bytes:
    """The frame with a checksum that is not its own: the last four bytes are the message's."""
    return whole[:-1] + bytes([whole[-1] ^ 0xFF])
