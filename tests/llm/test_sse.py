"""The SSE decoder at every split: a unit test, because sockets do not let one choose where segments end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ModelBrokeOff
from llm.sse import MAX_EVENT_BYTES, SseDecoder

PAYLOADS = st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), min_size=1), max_size=6)


def _stream(payloads: list[str], newline: str) -> bytes:
    blocks = [f": a comment{newline}event: x{newline}data: {payload}{newline}{newline}" for payload in payloads]
    return "".join(blocks).encode()


@given(payloads=PAYLOADS, newline=st.sampled_from(["\n", "\r\n", "\r"]), data=st.data())
def test_any_split_gives_the_same_payloads(payloads: list[str], newline: str, data: st.DataObject) -> None:
    stream = _stream(payloads, newline)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = SseDecoder()
    got: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += decoder.feed(stream[start:end])
    # A lone CR at the very end may still become CR LF: the last event waits for what follows.
    got += decoder.feed(b"\n") if newline == "\r" else []
    assert got == [payload.encode() for payload in payloads]


@given(payloads=PAYLOADS)
def test_byte_by_byte(payloads: list[str]) -> None:
    decoder = SseDecoder()
    got = [payload for byte in _stream(payloads, "\n") for payload in decoder.feed(bytes([byte]))]
    assert got == [payload.encode() for payload in payloads]


def test_data_lines_of_one_event_are_joined_and_the_space_is_optional() -> None:
    assert SseDecoder().feed(b"data:a\ndata: b\n\ndata:  c\n\n") == [b"a\nb", b" c"]


def test_an_event_without_its_blank_line_does_not_count() -> None:
    assert SseDecoder().feed(b"data: a\n\ndata: b\n") == [b"a"]


def test_an_endless_line_is_given_up() -> None:
    decoder = SseDecoder()
    with pytest.raises(ModelBrokeOff):
        for _ in range(MAX_EVENT_BYTES // 2**20 + 2):
            decoder.feed(b"x" * 2**20)
