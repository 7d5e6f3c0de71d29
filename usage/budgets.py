"""Which limits apply to a caller: administrators' budgets, the key's own, the request's, those kept elsewhere."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import chain

from accounts.limits import Period, SpendLimit
from accounts.principal import Principal
from core.errors import Unavailable
from core.remembered import REMEMBERED_SECONDS, Remembered
from usage.limits import Line
from usage.models import Budget, Dimension

LimitSource = Callable[[Principal], Awaitable[Sequence[Line]]]
"""Further limits of a caller, kept elsewhere. Raises Unavailable when it cannot be asked and does not remember."""

WithElsewhere = Callable[[Principal, Sequence[Line]], Awaitable[Sequence[Line]]]
"""The same lines with what was spent outside our books. Raises Unavailable when that cannot be known."""

_Budgets = Mapping[tuple[str, str], tuple[Budget, ...]]
"""Whom they apply to, and its subject."""


class BudgetBook:
    """The active budgets as they were seconds ago, and other places where limits are kept."""

    def __init__(
        self,
        sources: Sequence[LimitSource] = (),
        *,
        with_elsewhere: WithElsewhere | None = None,
        seconds: float = REMEMBERED_SECONDS,
    ) -> None:
        self._sources = tuple(sources)
        self._with_elsewhere = with_elsewhere
        self._budgets = Remembered(_read_budgets, name="budgets", tables=(Budget,), seconds=seconds)

    async def lines_for(self, principal: Principal, *, tighter: SpendLimit | None = None) -> tuple[Line, ...]:
        """All limits on a call that this caller makes now; `tighter` is what the request itself asks for.

        Raises Unavailable while nobody knows whether there are any.
        """
        budgets = await self._budgets.get()
        if budgets is None:
            raise Unavailable("Your budget cannot be checked at the moment. Please try again in a few seconds.")
        elsewhere = [await source(principal) for source in self._sources]
        lines = (*_of_budgets(budgets, principal), *_own(principal, tighter), *chain.from_iterable(elsewhere))
        if self._with_elsewhere is None or not lines:
            return lines
        return tuple(await self._with_elsewhere(principal, lines))


class _Current:
    """Holds this process's book for the pages that show it, because Django makes views itself. Filled by
    `amplify_chat.wiring`."""

    book: BudgetBook | None = None


current = _Current()


def _of_budgets(budgets: _Budgets, principal: Principal) -> Iterator[Line]:
    if not budgets:
        return
    for applies_to, subject, dimension, value in _roles(principal):
        for budget in budgets.get((applies_to, subject), ()):
            yield Line(
                dimension=dimension,
                value=value,
                limit=SpendLimit(period=Period(budget.period), micro_dollars=budget.micro_dollars),
                source="admin",
                name=str(budget),
                warn_at_percent=budget.warn_at_percent,
            )


def _roles(principal: Principal) -> Iterator[tuple[str, str, Dimension, str]]:
    """In which roles a caller may meet a budget, and whose spending that one then counts."""
    user, kind = principal.user_id, Budget.AppliesTo
    yield kind.EACH_USER, "", Dimension.USER, user
    yield kind.USER, user, Dimension.USER, user
    yield kind.ACCOUNT, principal.account_id, Dimension.ACCOUNT, principal.account_id
    yield kind.ALL, "", Dimension.ALL, ""
    if principal.api_key_id is not None:
        yield kind.KEY, principal.api_key_id, Dimension.KEY, principal.api_key_id
    for group in sorted(principal.groups):
        yield kind.GROUP, group, Dimension.GROUP, group
        yield kind.GROUP_MEMBER, group, Dimension.USER, user


def _own(principal: Principal, tighter: SpendLimit | None) -> Iterator[Line]:
    if principal.limit is not None and principal.api_key_id is not None:
        yield Line(dimension=Dimension.KEY, value=principal.api_key_id, limit=principal.limit, source="key")
    if tighter is not None:
        yield Line(dimension=Dimension.USER, value=principal.user_id, limit=tighter, source="user")


def _read_budgets() -> _Budgets:
    found: dict[tuple[str, str], tuple[Budget, ...]] = {}
    for budget in Budget.objects.filter(active=True):
        key = (budget.applies_to, budget.subject)
        found[key] = (*found.get(key, ()), budget)
    return found
