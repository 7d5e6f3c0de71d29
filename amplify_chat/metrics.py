"""`GET /metrics`: this process in Prometheus' text format, version 0.0.4
(https://prometheus.io/docs/instrumenting/exposition_formats/).

Model ids are those of pools, which come out of the catalogue: what callers write never becomes a label.
"""

import hmac
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Literal, get_args

from django.utils import timezone

from amplify_chat.health import resident_bytes
from chat.consumer import HttpConsumer, Rest
from chat.runs import Reason
from chat.service import ChatService
from core.cors import Headers
from core.errors import NotFound, Unauthorized
from llm.pool import Member, pools
from usage import figures
from usage.platform.courier import couriers

_CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_STATES = ("ready", "resting", "open", "probing")
# Who sends one of these stands before us for somebody else.
_PROXY_HEADERS = frozenset({"x-forwarded-for", "x-real-ip", "forwarded", "via"})

Labels = Mapping[str, str]
Members = Mapping[tuple[str, str], list[Member]]
"""Model and endpoint to the members of that name: two keys to one URL are one endpoint here."""


class Metrics(HttpConsumer):
    """For whoever holds the token; without one for this machine alone, and for nobody through a proxy."""

    methods = ("GET", "HEAD")
    traced = False

    def __init__(self, service: ChatService, token: str) -> None:
        super().__init__(service)
        self._token = token

    async def respond(self, body: bytes) -> Rest:
        self._check_caller()
        text = "".join(family.text() for family in _families(self.service))
        await self.reply(200, text.encode() + figures.text(), headers=[(b"content-type", _CONTENT_TYPE)])
        return None

    def _check_caller(self) -> None:
        if self._token:
            if not _is_bearer(self.headers.get("authorization", ""), self._token):
                raise Unauthorized("Send METRICS_TOKEN as `Authorization: Bearer <token>`.")
        elif not (_PROXY_HEADERS.isdisjoint(self.headers) and _is_loopback(self.scope.get("client"))):
            raise NotFound

    def _cors(self) -> Headers:
        """No page of another origin may read this, whatever ALLOWED_ORIGINS says."""
        return []


def _is_bearer(authorization: str, token: str) -> bool:
    kind, _, given = authorization.strip().partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())


def _is_loopback(client: Any) -> bool:
    try:
        address = ip_address(client[0])
    except (TypeError, ValueError, IndexError):
        return False  # a Unix socket, say: a proxy stands behind it
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its samples."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Iterable[tuple[Labels, float]]

    def text(self) -> str:
        lines = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self.kind}"]
        lines += [f"{self.name}{_braced(labels)} {value}" for labels, value in self.samples]
        return "\n".join(lines) + "\n"


def _braced(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _families(service: ChatService) -> Iterator[Family]:
    yield from _of_chat(service)
    yield from _of_endpoints(_members())
    yield from _of_couriers()
    yield from _of_process()


def _of_chat(service: ChatService) -> Iterator[Family]:
    runs = service.runs
    ended = [({"reason": reason}, runs.ended.get(reason, 0)) for reason in get_args(Reason)]
    yield Family("amplify_runs_live", "gauge", "Runs that go on.", [({}, runs.live)])
    yield Family("amplify_runs_ended_total", "counter", "Runs that have ended, by the reason.", ended)
    yield Family(
        "amplify_connections_open", "gauge", "Streams and sockets that are open.", [({}, len(service.connections))]
    )
    if runs.shared is not None:
        yield Family(
            "amplify_runs_shared",
            "gauge",
            "1 while other processes can find the runs of this one.",
            [({}, int(runs.shared))],
        )
    yield Family("amplify_draining", "gauge", "1 while shutting down.", [({}, int(runs.draining))])


def _members() -> Members:
    named: dict[tuple[str, str], list[Member]] = {}
    for pool in sorted(pools, key=lambda pool: pool.card.id):
        for member in pool.members:
            of_name = named.setdefault((pool.card.id, member.name), [])
            if member not in of_name:  # a pool that was made anew has the former one's members
                of_name.append(member)
    return named


def _of_endpoints(named: Members) -> Iterator[Family]:
    labelled = [({"model": model, "endpoint": name}, members) for (model, name), members in named.items()]
    calls = [(labels, sum(member.calls for member in members)) for labels, members in labelled]
    failures = [(labels, sum(member.failures for member in members)) for labels, members in labelled]
    in_flight = [(labels, sum(member.in_flight for member in members)) for labels, members in labelled]
    states = [sample for labels, members in labelled for sample in _by_state(labels, members)]
    yield Family("amplify_endpoint_calls_total", "counter", "Calls sent to an endpoint.", calls)
    yield Family("amplify_endpoint_failures_total", "counter", "Calls that the endpoint failed.", failures)
    yield Family("amplify_endpoint_in_flight", "gauge", "Calls that go on.", in_flight)
    yield Family("amplify_endpoint_state", "gauge", "1 for the state the endpoint is in, 0 for the others.", states)


def _by_state(labels: Labels, members: Iterable[Member]) -> Iterator[tuple[Labels, float]]:
    """Of several members of one name, each counts."""
    found = Counter(member.state for member in members)
    for state in _STATES:
        yield {**labels, "state": state}, found[state]


def _of_couriers() -> Iterator[Family]:
    for courier in couriers:
        calls, oldest, set_aside = courier.waiting
        seconds = 0.0 if oldest is None else (timezone.now() - oldest).total_seconds()
        yield Family("amplify_deliveries_waiting", "gauge", "Calls the platform is to hear of.", [({}, calls)])
        yield Family("amplify_deliveries_oldest_seconds", "gauge", "Age of the oldest of them.", [({}, seconds)])
        yield Family("amplify_deliveries_set_aside", "gauge", "Calls that its tables refuse.", [({}, set_aside)])


def _of_process() -> Iterator[Family]:
    memory = resident_bytes()
    if memory is not None:
        yield Family("process_resident_memory_bytes", "gauge", "Resident memory.", [({}, memory)])
    yield Family("process_threads", "gauge", "Threads, of libraries too where the system tells.", [({}, _threads())])
    yield Family(
        "process_cpu_seconds_total", "counter", "Processor time, user and system.", [({}, time.process_time())]
    )


def _threads() -> int:
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except OSError:
        return threading.active_count()
