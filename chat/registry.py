"""All runs of this process: started, found again, killed, and kept for a while when they have ended. With peers, those
of the service's other processes are found and stopped too."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from accounts.principal import Principal
from chat import policies
from chat.runs import Answer, ConductedRun, Reason, Run, RunLimits
from chat.sharing.signals import Signal
from chat.wire import Encoder
from core.aio import TaskSet
from core.errors import AmplifyError, Draining, ModelTimedOut, Unavailable
from llm.events import Failed

if TYPE_CHECKING:
    from chat.sharing.peers import Peers

log = structlog.get_logger(__name__)

# Kills that wait for a request they have overtaken: memory is bounded, whoever sends them.
MAX_EARLY_KILLS = 10_000

_RequestKey = tuple[str, str]  # the owner's user id, the request id


class RunRegistry:
    def __init__(self, limits: RunLimits, peers: "Peers | None" = None) -> None:
        self.limits = limits
        self.draining = False
        self._peers = peers
        self._live: dict[str, ConductedRun] = {}
        self._ended = _EndedRuns(limits)
        self._by_request: defaultdict[_RequestKey, set[ConductedRun]] = defaultdict(set)
        self._early_kills: dict[_RequestKey, asyncio.TimerHandle] = {}
        self._tasks = TaskSet()

    @property
    def live(self) -> int:
        """How many runs go on."""
        return len(self._live)

    @property
    def shared(self) -> bool | None:
        """Whether other processes can find them at the moment; None where there are none."""
        return None if self._peers is None else self._peers.reached

    @property
    def ended(self) -> Mapping[Reason, int]:
        """How many runs have ended since the start, by the reason."""
        return self._ended.counts

    def start(
        self,
        *,
        principal: Principal,
        request_id: str,
        encode: Encoder,
        answer: Answer,
        run_id: str = "",
        on_end: Callable[[], None] = lambda: None,
    ) -> ConductedRun:
        """Begin a run and return at once; `answer(run)` gives its events, `on_end` is called when it has ended.

        Raises Draining while shutting down.
        """
        if self.draining:
            raise Draining
        run = ConductedRun(principal=principal, request_id=request_id, limits=self.limits, run_id=run_id, on_end=on_end)
        key = (run.owner, run.request_id)
        if early := self._early_kills.pop(key, None):
            early.cancel()
            self._mention(Signal(kind="revive", owner=run.owner, request_id=request_id))
            run.end("killed")
            self._ended.keep(run)
            self._share(run, encode)
            return run
        self._live[run.id] = run
        self._by_request[key].add(run)
        task = self._tasks.spawn(self._conduct(run, encode, answer), name=run.id)
        # A task that is cancelled before its first step never runs: its run must end all the same.
        task.add_done_callback(lambda _: self._settle_end(run, run.stop_reason or "failed", encode))
        run.begin(task)
        self._share(run, encode)
        return run

    async def find(self, run_id: str, principal: Principal) -> Run:
        """The caller's run of that id, live or ended, of whichever process. Raises NotFound, for somebody else's too;
        Forbidden for a key that is not for chat; Unavailable while other processes cannot be asked."""
        run: Run | None = self._live.get(run_id) or self._ended.get(run_id)
        if run is None and self._peers is not None:
            run = await self._peers.find(run_id)
        return policies.runs.seen(principal, run)

    async def cancel(self, run_id: str, principal: Principal) -> None:
        """Stop the caller's run of that id; one that has ended stays as it is. Raises as `find` does."""
        run = await self.find(run_id, principal)
        if isinstance(run, ConductedRun):
            run.stop("killed")
        elif self._peers is not None:
            await self._peers.tell(Signal(kind="cancel", run_id=run_id))

    async def kill(self, principal: Principal, request_id: str) -> None:
        """Stop the caller's runs of a request id. One that has not arrived yet is stopped when it does, once.

        Raises Unavailable if none is here and other processes cannot be told."""
        key = (principal.user_id, request_id)
        found = self._kill_here(key, early=True)
        if self._peers is None:
            return
        signal = Signal(kind="kill", owner=principal.user_id, request_id=request_id, early=not found)
        if found:
            self._peers.mention(signal)
        else:
            await self._peers.tell(signal)

    async def revive(self, principal: Principal, request_id: str) -> None:
        """Take back a kill that has found no run yet. Raises Unavailable if other processes cannot be told."""
        self._forget_kill((principal.user_id, request_id))
        if self._peers is not None:
            await self._peers.tell(Signal(kind="revive", owner=principal.user_id, request_id=request_id))

    def hear(self, signal: Signal) -> None:
        """Do what another process tells."""
        key = (signal.owner, signal.request_id)
        match signal.kind:
            case "kill":
                # Who sent an early one, and all others, wait for the run until somebody has it.
                if self._kill_here(key, early=signal.early) and signal.early:
                    self._mention(Signal(kind="revive", owner=signal.owner, request_id=signal.request_id))
            case "revive":
                self._forget_kill(key)
            case "cancel":
                if run := self._live.get(signal.run_id):
                    run.stop("killed")
            case "followed":
                if run := self._live.get(signal.run_id):
                    run.followed()

    def _kill_here(self, key: _RequestKey, *, early: bool) -> bool:
        """Whether there was something to kill; if not, an early kill waits for it."""
        runs = self._by_request.get(key, set())
        for run in tuple(runs):
            run.stop("killed")
        if early and not runs and key not in self._early_kills and len(self._early_kills) < MAX_EARLY_KILLS:
            forget = partial(self._early_kills.pop, key, None)
            self._early_kills[key] = asyncio.get_running_loop().call_later(self.limits.early_kill, forget)
        return bool(runs)

    def _forget_kill(self, key: _RequestKey) -> None:
        if early := self._early_kills.pop(key, None):
            early.cancel()

    def _mention(self, signal: Signal) -> None:
        if self._peers is not None:
            self._peers.mention(signal)

    def _share(self, run: ConductedRun, encode: Encoder) -> None:
        if self._peers is not None and (lost := _stop_error("shut_down")):
            self._peers.share(run, if_lost=encode(Failed(lost)))

    async def _conduct(self, run: ConductedRun, encode: Encoder, answer: Answer) -> None:
        """Turn a run's events into frames until it ends, whatever way; its money is settled before its log closes."""
        deadline = asyncio.get_running_loop().call_later(self.limits.deadline, run.stop, "timed_out")
        started = time.monotonic()
        reason: Reason = "failed"
        try:
            async with aclosing(answer(run)) as events:
                async for event in events:
                    run.observe(event)
                    run.log.append(*encode(event))
            reason = "finished"
        except asyncio.CancelledError:
            reason = run.stop_reason or "shut_down"
        except AmplifyError as error:
            run.error = error
        except Exception:
            log.exception("run_crashed", run=run.id)
            run.error = AmplifyError()
        finally:
            deadline.cancel()
            self._settle_end(run, reason, encode)
            log.info("run_ended", **_summary(run, reason, started))

    def _settle_end(self, run: ConductedRun, reason: Reason, encode: Encoder) -> None:
        if run.reason is not None:
            return
        run.error = run.error or _stop_error(reason)
        if run.error is not None:
            run.log.append(*encode(Failed(run.error)))
        run.end(reason)
        del self._live[run.id]
        self._ended.keep(run)
        asyncio.get_running_loop().call_later(self.limits.early_kill, self._forget_request, run)

    def _forget_request(self, run: ConductedRun) -> None:
        """Only now: a kill that comes just too late must not wait for the next request of the same id."""
        key = (run.owner, run.request_id)
        self._by_request[key].discard(run)
        if not self._by_request[key]:
            del self._by_request[key]

    async def drain(self, within: float) -> int:
        """Take no new runs, wait for those that go on, stop those left after `within` seconds; how many those were."""
        self.draining = True
        try:
            async with asyncio.timeout(within):
                await self._tasks.join()
        except TimeoutError:
            pass
        left = tuple(self._live.values())
        for run in left:
            run.stop("shut_down")
        await self._tasks.join()
        return len(left)


class _EndedRuns:
    """The latest ended runs, within a time and a size."""

    def __init__(self, limits: RunLimits) -> None:
        self.counts: Counter[Reason] = Counter()
        self._limits = limits
        self._runs: dict[str, tuple[ConductedRun, float]] = {}  # oldest first
        self._bytes = 0
        self._sweeping: asyncio.TimerHandle | None = None

    def get(self, run_id: str) -> ConductedRun | None:
        kept = self._runs.get(run_id)
        return kept[0] if kept else None

    def keep(self, run: ConductedRun) -> None:
        self.counts[run.reason or "failed"] += 1
        self._runs[run.id] = (run, time.monotonic() + self._limits.keep)
        self._bytes += run.log.size
        while self._bytes > self._limits.keep_bytes:
            self._drop_oldest()
        if self._sweeping is None:
            self._sweep_in(self._limits.keep)

    def _sweep_in(self, seconds: float) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(seconds, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        while self._runs:
            _, until = next(iter(self._runs.values()))
            if (left := until - time.monotonic()) > 0:
                return self._sweep_in(left)
            self._drop_oldest()
        return None

    def _drop_oldest(self) -> None:
        run, _ = self._runs.pop(next(iter(self._runs)))
        self._bytes -= run.log.size


def _stop_error(reason: Reason) -> AmplifyError | None:
    """What the readers of a stopped run are told; one that was killed just ends."""
    match reason:
        case "timed_out":
            return ModelTimedOut("The answer took longer than a run may last. Ask for less at a time.")
        case "shut_down":
            return Unavailable("The server was restarted in the middle of the answer. Please ask again.")
        case _:
            return None


def _summary(run: ConductedRun, reason: Reason, started: float) -> dict[str, Any]:
    """One line per run: ids, sizes, timings, outcome; no word of what was said."""
    return {
        "run": run.id,
        "request": run.request_id,
        "user": run.owner,
        "reason": reason,
        "error": run.error.code if run.error else None,
        "input_tokens": run.usage.input + run.usage.cache_read + run.usage.cache_write,
        "output_tokens": run.usage.output,
        "bytes": run.log.size,
        "ms": round((time.monotonic() - started) * 1000),
    }
