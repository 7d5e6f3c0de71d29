"""The cost operations: who asks, for whom, and what they are answered. They block."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any, ClassVar

import structlog
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api import described
from accounts.api.views import ApiView
from accounts.policies import Action
from accounts.principal import Principal
from accounts.stores import KeyRecord
from accounts.stores.backends import get_stores
from accounts.stores.rows import iso
from core.errors import BadRequest, Forbidden, Unavailable
from core.rest import JsonParser
from usage import policies
from usage.billing import costs
from usage.billing.groups import billing_groups
from usage.counter_backends import get_counters
from usage.counters import Counter, Payer
from usage.policies import Spending
from usage.review.periods import ONE_DAY, month_of

log = structlog.get_logger(__name__)

DEFAULT_PAGE, MAX_PAGE = 100, 500
DEFAULT_MONTHS, MAX_MONTHS = 12, 120
MAX_KEYS = 100
MAX_ID = 600
# Of a key that does not say when it was made.
KEY_MONTHS = 36

NOT_AN_ADMIN = "Access denied. Admin privileges required."
Data = Mapping[str, Any]


class AnyJson(JsonParser):
    """JSON, whatever the header says it is: today's clients need not say."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return super().parse(stream, media_type, parser_context)
        except BadRequest as error:
            raise BadRequest("Invalid JSON in request body") from error


class CostView(ApiView):
    """One operation; subclasses say its `answer`."""

    parser_classes = (AnyJson,)
    only_admins: ClassVar[bool] = False

    @described.hidden
    def post(self, request: Request) -> Response:
        if self.only_admins and not self.principal.is_admin:
            raise Forbidden(NOT_AN_ADMIN)
        with _asked():
            return Response(self.answer(_data(request.data)))

    def answer(self, data: Data) -> costs.Body:
        """Raises BadRequest, Forbidden; OSError when the counters cannot be read."""
        raise NotImplementedError

    @property
    def principal(self) -> Principal:
        return self.by().principal

    def whose(self, data: Data) -> Spending:
        """The caller's own costs, or for administrators those of the user that `email` names. Raises Forbidden."""
        email = _email(data)
        if email in (None, self.principal.user_id):
            return policies.spending.own(self.principal)
        wanted = Spending(str(email))
        if not policies.spending.can(self.principal, Action.READ, wanted):
            raise Forbidden(NOT_AN_ADMIN)
        return wanted


class MtdCost(CostView):
    def answer(self, data: Data) -> costs.Body:
        whose = self.whose(data)
        return costs.mtd_cost(whose.user_id, _counters_of(whose))


class UserMtdCosts(CostView):
    """With what the caller's system keys have spent, for which the caller answers."""

    def answer(self, data: Data) -> costs.Body:
        whose = policies.spending.own(self.principal)
        counters = _counters_of(whose)
        if whose.api_key_id is None:
            counters += _of_system_keys(whose.user_id)
        return costs.user_costs(whose.user_id, counters, timezone.now())


class AllUserMtdCosts(CostView):
    only_admins = True

    def answer(self, data: Data) -> costs.Body:
        page = get_counters().page(_after(data), _whole_number(data, "pageSize", DEFAULT_PAGE, MAX_PAGE))
        return costs.all_users(page.counters, page.after, timezone.now())


class ApiKeyUserCost(CostView):
    """What each key has cost since it was made. A key acts as one user, so both figures agree for that one."""

    def answer(self, data: Data) -> costs.Body:
        named = data.get("apiKeys")
        if not isinstance(named, list) or not 1 <= len(named) <= MAX_KEYS or not all(map(_is_id, named)):
            raise BadRequest(f"apiKeys must be a list of 1 to {MAX_KEYS} API keys, by their ids or themselves.")
        email = _email(data) or self.principal.user_id
        if email != self.principal.user_id and not self.principal.is_admin:
            raise Forbidden(NOT_AN_ADMIN)
        now = timezone.now()
        records = {name: self._seen(name) for name in named}
        spent = _spent_by_keys([record for record in records.values() if record is not None], now)
        return {
            "email": email,
            "results": {name: _of_key(name, record, spent, email) for name, record in records.items()},
            "timestamp": iso(now),
        }

    def _seen(self, name: str) -> KeyRecord | None:
        """Raises Forbidden alike for a key that is another's and for one that does not exist, which only administrators
        are told."""
        record = _find_key(name)
        if record is None and self.principal.is_admin:
            return None
        if record is None or not policies.keys.can(self.principal, Action.READ, record):
            raise Forbidden(NOT_AN_ADMIN)
        return record


def _spent_by_keys(records: Sequence[KeyRecord], now: datetime) -> Mapping[str, list[int]]:
    """What stands to each key's name, month by month; each user that they act as is read once."""
    since: dict[str, date] = {}
    for record in records:
        made = record.created_at
        first = month_of(made.astimezone(UTC).date()) if made else _months_back(now, KEY_MONTHS)
        since[record.user_id] = min(first, since.get(record.user_id, first))
    counters, spent = get_counters(), defaultdict[str, list[int]](list)
    for user_id, first in since.items():
        for payers in counters.months_by_payer(user_id, first).values():
            for payer, cost in payers.items():
                spent[payer.api_key_id].append(cost)
    return spent


def _of_key(name: str, record: KeyRecord | None, spent: Mapping[str, list[int]], email: str) -> costs.Body:
    if record is None:
        return costs.key_costs(name, 0, 0) | {"recordCount": 0}
    amounts = spent.get(record.id, [])
    own = sum(amounts) if email == record.user_id else 0
    return costs.key_costs(record.id, sum(amounts), own) | {"recordCount": len(amounts)}


class BillingGroupsCosts(CostView):
    only_admins = True

    def answer(self, data: Data) -> costs.Body:
        return billing_groups(get_stores().groups.all(), get_counters().everybody(), timezone.now())


class UserCostHistory(CostView):
    def answer(self, data: Data) -> costs.Body:
        whose = self.whose(data)
        now = timezone.now()
        first = _months_back(now, _whole_number(data, "monthsBack", DEFAULT_MONTHS, MAX_MONTHS))
        months = get_counters().months_by_payer(whose.user_id, first)
        return costs.history(whose.user_id, {month: _part(payers, whose) for month, payers in months.items()}, now)


def _counters_of(whose: Spending) -> list[Counter]:
    found = get_counters().of_user(whose.user_id)
    return [one for one in found if whose.api_key_id in (None, one.api_key_id)]


def _part(payers: Mapping[Payer, int], whose: Spending) -> Mapping[Payer, int]:
    return {payer: cost for payer, cost in payers.items() if whose.api_key_id in (None, payer.api_key_id)}


def _of_system_keys(owner: str) -> Sequence[Counter]:
    records = [one for one in get_stores().keys.of_user(owner) if one.owner == owner and one.system_id]
    return [
        counter
        for record in records
        for counter in get_counters().of_user(str(record.system_id))
        if counter.api_key_id == record.id
    ]


def _find_key(name: str) -> KeyRecord | None:
    """By its id, or by the key itself, as newer clients send it. None too for one that acts as nobody."""
    keys = get_stores().keys
    record = keys.find([name]).get(name) if name.startswith("amp-") else keys.get(name)
    try:
        return record if record is not None and record.user_id else None
    except ValueError:
        return None


def _data(body: Any) -> Data:
    """What the body has under `data`; nothing is none asked."""
    data = body.get("data") if isinstance(body, Mapping) else body
    if data is None:
        return {}
    if not isinstance(body, Mapping) or not isinstance(data, Mapping):
        raise BadRequest('Send a JSON object like {"data": {}}.')
    return data


def _email(data: Data) -> str | None:
    email = data.get("email")
    if email is None:
        return None
    if not _is_id(email):
        raise BadRequest("Email is required")
    return str(email)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable()


def _whole_number(data: Data, name: str, default: int, most: int) -> int:
    number = data.get(name)
    if number is None:
        return default
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= most:
        raise BadRequest(f"{name} must be a whole number from 1 to {most}")
    return number


def _after(data: Data) -> str:
    """Where the page before this one ended, as `lastEvaluatedKey` has said."""
    key = data.get("lastEvaluatedKey")
    if not key:
        return ""
    if not isinstance(key, Mapping) or not _is_id(key.get("id")):
        raise BadRequest("lastEvaluatedKey must be the one of the page before, or be left out")
    return str(key["id"])


def _months_back(now: datetime, months: int) -> date:
    """The first of so many months, of which the present one is the last."""
    month = month_of(now.astimezone(UTC).date())
    for _ in range(months - 1):
        month = month_of(month - ONE_DAY)
    return month


@contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("costs_not_read", reason=type(error.__cause__ or error).__name__)
        raise Unavailable("Costs cannot be read at the moment. Please try again in a few seconds.") from error
