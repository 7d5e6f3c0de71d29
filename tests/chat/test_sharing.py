"""Registries of several processes, here side by side, with a real Valkey between them."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from accounts.principal import Principal
from chat.registry import RunRegistry
from chat.runs import ConductedRun, RunLimits
from chat.sharing import logs, shared_run
from chat.sharing.peers import Peers
from chat.sharing.shared_run import SharedRun
from chat.sharing.signals import STREAM
from chat.wire import SEED
from core.errors import NotFound, Unavailable
from core.shared_store import Addition, SharedStore, StoreAway
from llm.events import Event, TextDelta, Usage
from tests.harness import wait_until
from tests.valkey import Valkey, running_valkey

ALICE = Principal(user_id="alice")
LIMITS = RunLimits(deadline=60, grace=5, keep=30, heartbeat=0.2, early_kill=5)


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with running_valkey() as running:
        yield running


@asynccontextmanager
async def store_of(valkey: Valkey) -> AsyncIterator[SharedStore]:
    store = SharedStore(valkey.url)
    try:
        yield store
    finally:
        await store.aclose()


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[SharedStore]:
    async with store_of(valkey) as store:
        yield store


Registries = Callable[..., Awaitable[list[RunRegistry]]]


@pytest.fixture
async def registries(valkey: Valkey) -> AsyncIterator[Registries]:
    """Registries of so many processes, which hear nothing of former tests."""
    async with store_of(valkey) as store:
        await store._quick.flushdb()
    async with AsyncExitStack() as stack:

        async def make(count: int, limits: RunLimits = LIMITS) -> list[RunRegistry]:
            made = []
            for _ in range(count):
                peers = Peers(await stack.enter_async_context(store_of(valkey)), limits)
                registry = RunRegistry(limits, peers)
                peers.start(registry.hear)
                stack.push_async_callback(peers.aclose)
                stack.push_async_callback(registry.drain, 0)
                made.append(registry)
            return made

        yield make


class Said:
    """What a run says, as the test tells it to."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()

    def say(self, *words: str) -> None:
        for word in words:
            self.events.put_nowait(TextDelta(word))

    def end(self) -> None:
        self.events.put_nowait(None)

    async def __call__(self, run: ConductedRun) -> AsyncGenerator[Event, None]:
        while event := await self.events.get():
            yield event
        run.spend(Usage(input=3, output=7))


def start(registry: RunRegistry, said: Said, request_id: str = "r") -> ConductedRun:
    return registry.start(principal=ALICE, request_id=request_id, encode=SEED, answer=said)


async def numbered(run: SharedRun | ConductedRun, after: int = 0) -> list[tuple[int, bytes]]:
    async with run.reading(after) as batches:
        return [(n, frame) async for batch in batches for n, frame in enumerate(batch.frames, batch.first)]


async def test_a_run_reads_the_same_everywhere(registries: Registries) -> None:
    here, there = await registries(2)
    said = Said()
    run = start(here, said)
    found = await there.find(run.id, ALICE)
    assert isinstance(found, SharedRun) and found.owner == "alice" and found.reason is None
    readers = [asyncio.create_task(numbered(found)), asyncio.create_task(numbered(run))]
    for n in range(50):
        said.say(f"w{n}\n")
        await asyncio.sleep(0.01)
    said.end()
    elsewhere, local = [await reader for reader in readers]
    assert elsewhere == local and len(local) == 50
    assert (found.reason, found.usage) == (run.reason, run.usage) == ("finished", Usage(input=3, output=7))
    again = await there.find(run.id, ALICE)
    assert await numbered(again, 20) == local[20:]  # type: ignore[arg-type]
    assert await numbered(await there.find(run.id, ALICE), 50) == []  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        await there.find(run.id, Principal(user_id="mallory"))


async def test_a_reader_that_is_ahead_of_the_store_gets_what_follows(
    registries: Registries, store: SharedStore
) -> None:
    """It has three frames of this process, of which the store has one."""
    here, there = await registries(2)
    said = Said()
    run = start(here, said)
    said.say("a")
    await wait_until(lambda: run.log.size > 0)
    found = await there.find(run.id, ALICE)
    reader = asyncio.create_task(numbered(found, 3))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    said.say("b", "c", "d")
    said.end()
    assert await reader == [(4, SEED(TextDelta("d"))[0])]


async def test_many_readers_come_at_once(registries: Registries) -> None:
    """As in a rollout: more than a client of Redis opens connections by itself."""
    here, there = await registries(2, RunLimits())
    said = Said()
    run = start(here, said)

    async def read() -> list[tuple[int, bytes]]:
        return await numbered(await there.find(run.id, ALICE))  # type: ignore[arg-type]

    readers = [asyncio.create_task(read()) for _ in range(300)]
    said.say("a")
    # Each of them waits for the rest, on a connection of its own; so does who listens to signals.
    waiting = there._peers._store._waiting.connection_pool  # type: ignore[union-attr]
    await wait_until(lambda: len(waiting._in_use_connections) > len(readers), 30)
    said.say("b")
    said.end()
    whole = [(1, SEED(TextDelta("a"))[0]), (2, SEED(TextDelta("b"))[0])]
    assert await asyncio.gather(*readers) == [whole] * len(readers)


async def test_silence_gives_heartbeats(registries: Registries) -> None:
    here, there = await registries(2)
    said = Said()
    run = start(here, said)
    async with (await there.find(run.id, ALICE)).reading() as batches:
        assert [(await anext(batches)).frames for _ in range(3)] == [[], [], []]


async def test_a_kill_that_finds_its_run_waits_nowhere(registries: Registries) -> None:
    """One has the run, another is told, a third only hears: soon none of them waits for a next run of that id."""
    all_of_them = one, two, three = await registries(3)
    run = start(one, Said(), "k")
    await two.kill(ALICE, "k")
    await wait_until(lambda: run.reason == "killed")
    await wait_until(lambda: not any(registry._early_kills for registry in all_of_them))
    said = Said()
    said.end()
    assert await numbered(start(three, said, "k")) == []
    assert one.ended == {"killed": 1} and three.ended == {"finished": 1}


async def test_an_early_kill_stops_one_run_wherever_it_begins(registries: Registries) -> None:
    one, two, three = await registries(3)
    await one.kill(ALICE, "e")
    await wait_until(lambda: len(two._early_kills) == len(three._early_kills) == 1)
    assert start(two, Said(), "e").reason == "killed"
    await wait_until(lambda: not (one._early_kills or two._early_kills or three._early_kills))


async def test_an_early_kill_is_taken_back_everywhere(registries: Registries) -> None:
    one, two = await registries(2)
    await one.kill(ALICE, "e")
    await wait_until(lambda: len(two._early_kills) == 1)
    await two.revive(ALICE, "e")
    await wait_until(lambda: not (one._early_kills or two._early_kills))


async def test_a_process_hears_what_was_told_moments_before_it_began(registries: Registries) -> None:
    (one,) = await registries(1)
    await one.kill(ALICE, "before")
    (late,) = await registries(1)
    await wait_until(lambda: ("alice", "before") in late._early_kills)


async def test_a_kill_here_is_told_to_runs_of_the_same_id_elsewhere(registries: Registries) -> None:
    one, two, three = await registries(3)
    runs = [start(one, Said(), "same"), start(two, Said(), "same")]
    await one.kill(ALICE, "same")
    await wait_until(lambda: [run.reason for run in runs] == ["killed", "killed"])
    assert not three._early_kills


async def test_a_signal_that_nobody_understands_stops_nothing(registries: Registries, store: SharedStore) -> None:
    one, two = await registries(2)
    await store.add(STREAM, {"from": b"newer", "signal": b'{"kind":"dance","partner":1}'}, longest=100)
    await one.kill(ALICE, "after")
    await wait_until(lambda: ("alice", "after") in two._early_kills)


async def test_a_killed_run_that_never_began_is_read_elsewhere_as_killed(registries: Registries) -> None:
    one, two = await registries(2)
    await one.kill(ALICE, "n")
    run = start(one, Said(), "n")
    found = await two.find(run.id, ALICE)
    assert await numbered(found) == [] and found.reason == "killed"  # type: ignore[arg-type]


async def test_a_lost_process_is_told_and_an_outage_is_not(
    registries: Registries, valkey: Valkey, store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_run, "LOST_SECONDS", 0.5)
    (here,) = await registries(1)
    run = "run_of_the_dead"
    head = b'{"owner":"alice","process":"dead","if_lost":["{\\"error\\":\\"gone\\"}"]}'
    await store.add_all([Addition(logs.stream_of(run), "1-1", {"head": head, "frames": b'"w"'}, True, 60)])
    found = await here.find(run, ALICE)
    assert await numbered(found) == [(1, b'"w"'), (2, b'{"error":"gone"}')]  # type: ignore[arg-type]
    assert found.reason == "shut_down" and isinstance(found.error, Unavailable)


async def test_a_gap_is_an_error_and_no_shorter_answer(registries: Registries, store: SharedStore) -> None:
    """A Valkey that failed over may have lost its latest entries, while the writer goes on after them."""
    (here,) = await registries(1)
    run = "run_with_a_gap"
    stream, head = logs.stream_of(run), b'{"owner":"alice","process":"p","if_lost":[]}'
    await store.add_all(
        [
            Addition(stream, "1-1", {"head": head, "frames": b"1"}, True, 60),
            Addition(stream, "4-1", {"frames": b"3\n4"}, False, None),
        ]
    )
    with pytest.raises(Unavailable, match="missing"):
        await numbered(await here.find(run, ALICE))  # type: ignore[arg-type]


@given(
    total=st.integers(0, 30),
    attempts=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), max_size=12),
    after=st.integers(0, 35),
)
def test_whatever_is_written_twice_or_not_at_first_is_read_once(
    valkey: Valkey, total: int, attempts: list[tuple[int, bool, bool]], after: int
) -> None:
    """Each attempt to write comes after some more frames; it may be lost, or be there with its confirmation lost."""

    async def read() -> list[tuple[int, bytes]]:
        async with store_of(valkey) as store:
            run = ConductedRun(principal=ALICE, request_id="", limits=LIMITS)
            writer = logs.LogWriter(store, "me", LIMITS)
            writer.share(run, if_lost=())
            said = iter(range(1, total + 1))
            for more, arrives, confirmed in attempts:
                run.log.append(*(b"%d" % n for _, n in zip(range(more), said, strict=False)))
                await _write(writer, store, arrives=arrives, confirmed=confirmed)
            run.log.append(*(b"%d" % n for n in said))
            run.end("finished")
            await writer.write_news()
            found = await SharedRun.find(store, run.id, limits=LIMITS, following=_unfollowed)
            assert found is not None
            seen = await numbered(found, after)
            assert found.reason == "finished"
            return seen

    assert asyncio.run(read()) == [(n, b"%d" % n) for n in range(after + 1, total + 1)]


@asynccontextmanager
async def _unfollowed(run_id: str) -> AsyncIterator[None]:
    yield


async def _write(writer: logs.LogWriter, store: SharedStore, *, arrives: bool, confirmed: bool) -> None:
    class Unreliable(SharedStore):
        def __init__(self) -> None:
            """Uses the other one's connections."""

        async def add_all(self, additions):  # type: ignore[no-untyped-def]
            written = await store.add_all(additions) if arrives else []
            if not (arrives and confirmed):
                raise StoreAway
            return written

    writer._store = Unreliable()
    await writer.write_news()
    writer._store = store


async def test_an_emptied_store_gets_the_whole_log_again(valkey: Valkey, store: SharedStore) -> None:
    run = ConductedRun(principal=ALICE, request_id="", limits=LIMITS)
    writer = logs.LogWriter(store, "me", LIMITS)
    writer.share(run, if_lost=())
    run.log.append(b"1", b"2")
    await writer.write_news()
    await store._quick.flushdb()
    run.log.append(b"3")
    await writer.write_news()
    run.end("finished")
    await writer.write_news()
    found = await SharedRun.find(store, run.id, limits=LIMITS, following=_unfollowed)
    assert found is not None and await numbered(found) == [(1, b"1"), (2, b"2"), (3, b"3")]


async def test_logs_of_ended_runs_do_not_pile_up_while_the_store_is_away() -> None:
    store = SharedStore("redis://127.0.0.1:1/0")
    limits = RunLimits(keep=0.05)
    writer = logs.LogWriter(store, "me", limits)
    run = ConductedRun(principal=ALICE, request_id="", limits=limits)
    writer.share(run, if_lost=())
    run.end("finished")
    await writer.write_news()
    assert writer._news and writer.away
    await asyncio.sleep(0.06)  # time itself is what is tested
    await writer.write_news()
    assert not writer._news
    await store.aclose()


async def test_the_secret_in_the_address_is_in_no_error() -> None:
    store = SharedStore("redis://user:sk-canary-4f1d@127.0.0.1:1/0")
    with pytest.raises(StoreAway) as caught:
        await store.now()
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "sk-canary" not in f"{seen!r}{seen}"
        seen = seen.__cause__ or seen.__context__
    await store.aclose()


async def test_reading_ends_when_its_block_does(registries: Registries) -> None:
    here, there = await registries(2)
    run = start(here, Said())
    found = await there.find(run.id, ALICE)
    async with found.reading() as batches, aclosing(batches):
        await anext(batches)
    run.stop("killed")


async def test_tls_is_spoken_and_the_certificate_checked(valkey: Valkey, tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate)
    async with await asyncio.start_server(partial(_to, valkey.port), "localhost", 0, ssl=server) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        trusting = SharedStore(f"rediss://localhost:{port}/0?ssl_ca_certs={certificate}")
        assert await trusting.now() > 0
        await trusting.aclose()
        unknown = SharedStore(f"rediss://localhost:{port}/0")
        with pytest.raises(StoreAway) as caught:
            await unknown.now()
        assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value.__cause__)
        await unknown.aclose()


def _certificate(folder: Path) -> Path:
    """Its own key and issuer, for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (file := folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return file


async def _to(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.close()

    await asyncio.gather(pass_on(reader, behind_writer), pass_on(behind_reader, writer))
