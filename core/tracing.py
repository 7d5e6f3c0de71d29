"""Spans as the service writes them. Until `use` is called, which `amplify_chat.tracing` does, each is nothing at all.

Never in a span: prompts, answers, keys, who asked. The run id leads to the ledger, for those who may read it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol

Value = str | int | float | bool | Sequence[str]
Kind = Literal["server", "client", "internal"]


class RawSpan(Protocol):
    """A span of OpenTelemetry's, as far as it is used here."""

    def set_attributes(self, attributes: Mapping[str, Value]) -> None: ...

    def end(self) -> None: ...


class Tools(Protocol):
    """What makes real spans: `amplify_chat.tracing.Tracing`."""

    def start(
        self, name: str, attributes: Mapping[str, Value], kind: Kind, headers: Mapping[str, str] | None
    ) -> RawSpan: ...

    def current(self, span: Any) -> AbstractContextManager[Any]: ...

    def fail(self, span: Any, code: str) -> None: ...

    def trace_id(self) -> str: ...


_tools: Tools | None = None
"""None while traces are off."""


def use(tools: Tools | None) -> None:
    """Make real spans from now on with `tools`; None turns traces off."""
    global _tools  # noqa: PLW0603 - one switch for the process
    _tools = tools


def is_on() -> bool:
    return _tools is not None


def trace_id() -> str:
    """The current trace's id in hex, "" where there is none."""
    return "" if _tools is None else _tools.trace_id()


class Span:
    """One piece of work, or nothing while traces are off and after its `end`."""

    __slots__ = ("_inner",)

    def __init__(self, inner: RawSpan | None = None) -> None:
        self._inner = inner

    def set(self, attributes: Mapping[str, Value]) -> None:
        if self._inner is not None:
            self._inner.set_attributes(attributes)

    def fail(self, code: str) -> None:
        """It went wrong; `code` is ours (`core.errors`), never a vendor's words."""
        if self._inner is not None and _tools is not None:
            _tools.fail(self._inner, code)

    def end(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.end()

    @contextmanager
    def current(self) -> Iterator[None]:
        """The parent of what begins inside the block. Never across a `yield` of an asynchronous generator: its reader
        would run inside too."""
        if self._inner is None or _tools is None:
            yield
            return
        with _tools.current(self._inner):
            yield


def start(
    name: str,
    attributes: Mapping[str, Value] | None = None,
    *,
    kind: Kind = "internal",
    headers: Mapping[str, str] | None = None,
) -> Span:
    """Begin a span below the current one, or below the caller's that the request's `headers` name."""
    return Span(None if _tools is None else _tools.start(name, attributes or {}, kind, headers))


@contextmanager
def span(name: str, attributes: Mapping[str, Value] | None = None) -> Iterator[Span]:
    """A span that is current for the block and marked as failed by what leaves it."""
    begun = start(name, attributes)
    try:
        with begun.current():
            yield begun
    except Exception as error:
        begun.fail(code_of(error))
        raise
    finally:
        begun.end()


def code_of(error: BaseException) -> str:
    """Our code of an error, else the name of its class: the text may hold anything."""
    return str(getattr(error, "code", "") or type(error).__name__)
