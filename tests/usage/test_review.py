"""The usage review, through its pages: what it shows is the ledger's, whatever is asked for, and costs few queries."""

import random
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from html import unescape
from itertools import combinations

import pytest
from django.contrib.auth.models import Group, Permission
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from tests.usage.conftest import reservation
from tests.usage.test_roll_ups import row
from usage.group_sets import groups_of
from usage.ledger import write
from usage.models import Budget, Price, UsageRecord
from usage.reservations import keep
from usage.review.asked import FILTERS, NONE, Asked
from usage.review.cover import cover
from usage.review.forecast import forecast
from usage.review.periods import each_day
from usage.review.sums import by_day, by_month, parts, total
from usage.roll_ups import differences
from usage.testing import Clock

pytestmark = pytest.mark.django_db
URL = "/admin/usage/overview/"
TODAY = date(2026, 3, 20)
ATTRIBUTES = {
    "user": "user_id", "account": "account_id", "key": "api_key_id", "model": "model_id", "assistant": "assistant",
    "purpose": "purpose",
}  # fmt: skip
VALUES = {
    "user": ["ann", "bob"], "account": ["physics", "law"], "key": ["", "ann/ownerKey/1"], "model": ["gpt-4o", "llama"],
    "assistant": ["", "tutor"], "purpose": ["answer", "title"], "group": ["staff", "choir"],
}  # fmt: skip
PERIODS = ["2026-03-01..2026-03-20", "2026-03-18..2026-03-18", "2026-01-05..2026-03-11", "2025-12-01..2026-03-20"]


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("asked", "page", "periods", "sums"):
        monkeypatch.setattr(f"usage.review.{module}.utc_today", lambda: TODAY)


@pytest.fixture
def finance(client: Client) -> Client:
    """Somebody of the group that the migration makes, and of nothing else."""
    clerk = User.objects.create(username="clerk", is_staff=True)
    clerk.groups.add(Group.objects.get(name="Finance"))
    client.force_login(clerk)
    return client


def calls(number: int, seed: int = 1) -> list[UsageRecord]:
    """Over four months, with few values, so that every filter finds some."""
    rand = random.Random(seed)
    groups = [frozenset(), frozenset({"staff"}), frozenset({"staff", "choir"})]
    return [
        row(
            rand.choice(groups),
            **{ATTRIBUTES[name]: rand.choice(VALUES[name]) for name in ATTRIBUTES},
            outcome=rand.choice(["finished", "failed"]),
            first_token_ms=rand.choice([None, 500, 501, 2_000, 9_999]),
            micro_dollars=rand.randrange(10**7),
            started_at=datetime(2026, 3, 20, 23, tzinfo=UTC) - timedelta(hours=rand.randrange(24 * 110)),
        )
        for _ in range(number)
    ]


def agrees(call: UsageRecord, asked: Asked) -> bool:
    """What should be selected, said once more and plainly."""
    for name, value in asked.chosen.items():
        if name == "group":
            groups = groups_of([call.group_set]).get(call.group_set, frozenset())
            if (value not in groups) if value != NONE else groups:
                return False
        elif getattr(call, ATTRIBUTES[name]) != ("" if value == NONE else value):
            return False
    return asked.first <= call.started_at.date() <= asked.last


def selections() -> Iterator[dict[str, str]]:
    for size in range(4):
        for names in combinations(VALUES, size):
            yield {name: VALUES[name][size % 2] or NONE for name in names}
    yield {"group": NONE}


@pytest.mark.parametrize("period", PERIODS)
def test_every_combination_of_filters_is_the_ledgers(period: str) -> None:
    rows = calls(150)
    write(rows)
    assert differences() == []
    for chosen in selections():
        asked = Asked.read({"day": period, **chosen})
        selected = [call for call in rows if agrees(call, asked)]
        whole = (len(selected), sum(call.micro_dollars for call in selected))
        for found in (by_day(asked, asked.first, asked.last), by_month(asked)):
            amounts = total(list(found.values()))
            assert (amounts["calls"], amounts["micro_dollars"]) == whole, chosen
        for name in ("user", "model", "key"):
            shares = {part.value: part.micro_dollars for part in parts(asked, name)}
            by_hand: dict[str, int] = {}
            for call in selected:
                value = getattr(call, ATTRIBUTES[name])
                by_hand[value] = by_hand.get(value, 0) + call.micro_dollars
            assert shares == by_hand, (chosen, name)


def test_a_call_counts_in_each_of_its_groups() -> None:
    rows = calls(60)
    write(rows)
    for chosen in ({}, {"user": "ann"}):
        asked = Asked.read({"day": PERIODS[0], **chosen})
        selected = [call for call in rows if agrees(call, asked)]
        for part in parts(asked, "group"):
            inside = [call for call in selected if part.value in groups_of([call.group_set]).get(call.group_set, ())]
            assert part.calls == len(inside)


@given(first=st.dates(date(2025, 1, 1), date(2026, 3, 20)), length=st.integers(0, 500))
def test_a_period_is_covered_exactly_by_few_days(first: date, length: int) -> None:
    last = first + timedelta(days=length)
    pieces = cover(first, last, TODAY)
    counted: dict[date, int] = {}
    for month in pieces.months:
        for day in each_day(month, (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)):
            counted[day] = counted.get(day, 0) + 1
    for sign, ranges in ((1, pieces.more), (-1, pieces.less)):
        for start, end in ranges:
            for day in each_day(start, end):
                counted[day] = counted.get(day, 0) + sign
    there = {day: times for day, times in counted.items() if day <= TODAY and times}
    assert there == dict.fromkeys((day for day in each_day(first, last) if day <= TODAY), 1)
    read = [day for start, end in (*pieces.more, *pieces.less) for day in each_day(start, end)]
    assert len(read) <= 32


def test_the_forecast_can_be_done_by_hand() -> None:
    spent = {date(2026, 3, 13): 700, date(2026, 3, 14): 80, date(2026, 3, 20): 5}  # a Friday, a Saturday, today
    told = forecast(spent, TODAY)
    # Known: seven days, of which 13 and 16 to 19 are weekdays.
    assert (told.days, told.weekday, told.weekend) == (7, 140, 40)
    # Seven weekdays from today on, and two weekends: 21, 22, 28, 29.
    assert told.month_to_date == 785 and told.expected == 780 + 8 * 140 + 4 * 40
    assert forecast({}, TODAY).expected == 0


def test_the_page_shows_all_that_it_should(finance: Client) -> None:
    write(
        [
            row(frozenset({"staff"}), user_id="ann", model_id="gpt-4o", micro_dollars=1_230_000, first_token_ms=700,
                outcome="failed", started_at=datetime(2026, 3, 2, tzinfo=UTC)),
        ]
    )  # fmt: skip
    html = finance.get(URL).content.decode()
    for shown in (
        *("Spend by day", "Tokens by day", "Time to first token by day", "Failed calls by day", "Models", "Users"),
        *("Groups", "Accounts", "Budgets nearest the edge", "$1.23", "100.0 %", "March 2026 to date", "≤ 1 s: 1"),
    ):
        assert shown in html
    assert "?day=month&amp;user=ann" in html and "/admin/usage/usagerecord/?day=month&amp;user=ann" in html
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html)  # no content network
    # Whoever cannot see the charts, or point at a column.
    assert 'aria-label="Spend by day: at most $1.23, 2 Mar"' in html
    for name in ("Spend", "Tokens", "Time to first token", "Failed calls"):
        assert f"<summary>{name} by day in numbers</summary>" in html
    assert '<th scope="row">2 Mar</th><td class="number">$1.23</td>' in html


def test_names_from_callers_are_escaped(finance: Client) -> None:
    write([row(user_id="<b>x", model_id='"><i>', started_at=datetime(2026, 3, 2, tzinfo=UTC))])
    assert not re.search("<b>x|<i>", finance.get(URL, {"user": "<b>x"}).content.decode())


@pytest.mark.parametrize(
    "query",
    [
        {"day": "never"},
        {"from": "2026-02-30"},
        {"from": "2026-03-02", "to": "2026-03-01"},
        {"user": "a\0"},
        {"key": "x" * 601},
        {"from": "2999-01-01", "to": "9999-12-31"},
        {"from": "0001-01-01", "to": "1999-12-31"},
    ],
    ids=str,
)
def test_what_cannot_be_is_said_and_this_month_shown(finance: Client, query: dict[str, str]) -> None:
    response = finance.get(URL, query)
    assert response.status_code == 200
    assert "Shown is this month." in response.content.decode()
    assert not re.search("format|time data|Error", response.content.decode())  # words for people


def test_a_period_from_one_end_of_time_to_the_other_shows_all_there_is(finance: Client) -> None:
    write([row(started_at=datetime(2026, 3, 2, tzinfo=UTC), micro_dollars=7)])
    response = finance.get(URL, {"from": "0001-01-01", "to": "9999-12-31"})
    assert response.context["whole"]["micro_dollars"] == 7


def test_one_drills_down_to_a_call(finance: Client) -> None:
    moment = datetime(2026, 3, 2, 12, tzinfo=UTC)
    write(
        [
            row(user_id=user, api_key_id=f"{user}/ownerKey/1", started_at=moment, ended_at=moment)
            for user in ("ann", "bob")
        ]
    )
    html = unescape(finance.get(URL, {"key": "ann/ownerKey/1", "further": "key"}).content.decode())
    link = re.search(r'"(/admin/usage/usagerecord/\?[^"]*key=ann[^"]*)"', html)
    assert link is not None
    listed = finance.get(link[1])
    assert [call.user_id for call in listed.context["cl"].result_list] == ["ann"]
    assert listed.context["cl"].totals.calls == 1
    call = listed.context["cl"].result_list[0]
    assert finance.get(f"/admin/usage/usagerecord/{call.pk}/change/").status_code == 200


@pytest.mark.parametrize("name", FILTERS)
def test_whatever_one_reviews_by_leads_to_its_calls(finance: Client, name: str) -> None:
    """With the same sums: also where a call began on the last day of the period and ended after it."""
    midnight = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
    crossing = row(frozenset({"hpc"}), started_at=midnight, ended_at=midnight + timedelta(seconds=9), micro_dollars=5)
    write([*calls(60), crossing])
    response = finance.get(URL, {"day": "2026-02-01..2026-02-28", "further": name})
    (table,) = [table for table in response.context["tables"] if table.name == name]
    assert table.rows
    for one in table.rows:
        totals = finance.get(f"/admin/usage/usagerecord/?{one.only}").context["cl"].totals
        assert (totals.calls, totals.micro_dollars) == (one.part.calls, one.part.micro_dollars), one.name


class TestBudgets:
    def test_nearest_the_edge_first(self, finance: Client, clock: Clock) -> None:
        now = datetime.now(UTC)
        clock.now = now
        write([row(frozenset({"hpc"}), user_id="ann", micro_dollars=600_000, started_at=now, ended_at=now)])
        keep([reservation(clock, 300_000, worker="w", expires_at=now)])
        for applies_to, subject, limit in [
            *(
                ("all", "", 10_000_000),
                ("user", "ann", 1_000_000),
                ("each_user", "", 700_000),
                ("group", "hpc", 600_000),
            ),
            *(("group_member", "hpc", 4_000_000), ("user", "bob", 1)),
        ]:
            Budget.objects.create(applies_to=applies_to, subject=subject, period="Monthly", micro_dollars=limit)
        response = finance.get(f"{URL}budgets/")
        found = [(one.budget.applies_to, one.subject, one.per_cent, one.state) for one in response.context["standings"]]
        assert found == [
            *[("each_user", "ann", 128, "near"), ("group", "hpc", 100, "over"), ("user", "ann", 90, "near")],
            *[("group_member", "ann", 22, "fine"), ("all", "", 9, "fine"), ("user", "bob", 0, "fine")],
        ]
        html = response.content.decode()
        assert '<progress max="100" value="90"' in html and "$0.60 spent, $0.30 under way, of $1.00" in html


class TestSpeed:
    @pytest.mark.parametrize("period", ["month", "2025-12-20..2026-03-11"])
    @pytest.mark.parametrize(
        "query",
        [{}, {"user": "ann"}, {"model": "gpt-4o", "account": "law"}, {"group": "staff", "purpose": "title"}],
        ids=str,
    )
    def test_at_most_fifteen_queries_and_none_of_the_ledger(
        self, finance: Client, query: dict[str, str], period: str
    ) -> None:
        write(calls(40))
        for kind in ("all", "each_user"):
            Budget.objects.create(applies_to=kind, period="Monthly", micro_dollars=5)
        with CaptureQueriesContext(connection) as captured:
            assert finance.get(URL, {"day": period, **query}).status_code == 200
        assert len(captured) <= 15
        for asked in captured:
            assert "usage_usagerecord" not in asked["sql"]
            if "usage_combination" in asked["sql"] or "usage_rollup" in asked["sql"]:
                _assert_no_scan(asked["sql"])

    def test_budgets(self, finance: Client) -> None:
        for period in ("Hourly", "Daily", "Monthly", "Total"):
            for kind, subject in (("each_user", ""), ("group_member", "staff"), ("group", "staff"), ("all", "")):
                Budget.objects.create(applies_to=kind, subject=subject, period=period, micro_dollars=5)
        write(calls(40))
        with CaptureQueriesContext(connection) as captured:
            finance.get(f"{URL}budgets/")
        assert len(captured) <= 15
        assert not [asked for asked in captured if "usage_usagerecord" in asked["sql"]]


def _assert_no_scan(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        plan = [step[3] for step in cursor.fetchall()]
    assert plan and not [step for step in plan if re.match("SCAN usage_(rollup|combination)", step)], (sql, plan)


class TestFinance:
    PAGES = (
        URL,
        f"{URL}budgets/",
        f"{URL}export/",
        "/admin/usage/budget/",
        "/admin/usage/price/",
        "/admin/usage/usagerecord/",
    )

    def test_finance_sees_usage_and_nothing_else(self, finance: Client) -> None:
        index = finance.get("/admin/").content.decode()
        assert index.index("Usage overview") < index.index("/admin/usage/budget/")
        for page in self.PAGES:
            response = finance.get(page)
            html = response.content.decode()
            assert response.status_code == 200 and not re.search(r"(?:src|href)=\"(?:https?:)?//", html), page
            for sheet in re.findall(r'href="/static/([^"]+\.css)"', html):
                assert finders.find(sheet), sheet
            assert "amplify_chat/admin.css" in html
        for page in ("/admin/accounts/user/", "/admin/llm/modelentry/", "/admin/audit/entry/", "/admin/auth/group/"):
            assert finance.get(page).status_code == 403, page

    def test_finance_changes_nothing(self, finance: Client) -> None:
        budget = Budget.objects.create(applies_to="all", period="Daily", micro_dollars=5)
        price = Price.objects.create(model_id="m", input=1, output=1)
        write([row()])
        call = UsageRecord.objects.get()
        places = [("budget", budget.pk), ("price", price.pk), ("usagerecord", call.pk)]
        for kind, pk in places:
            for page in ("add/", f"{pk}/change/", f"{pk}/delete/"):
                assert finance.post(f"/admin/usage/{kind}/{page}", {"post": "yes"}).status_code == 403, (kind, page)
            finance.post(
                f"/admin/usage/{kind}/", {"action": "delete_selected", "_selected_action": [pk], "post": "yes"}
            )
        for page in (URL, f"{URL}budgets/", f"{URL}export/", f"{URL}export/calls-csv/"):
            assert finance.post(page).status_code == 403
        budget.refresh_from_db()
        assert budget.micro_dollars == 5 and Price.objects.count() == UsageRecord.objects.count() == 1
        granted = Group.objects.get(name="Finance").permissions.values_list("codename", flat=True)
        assert set(granted) == {"view_budget", "view_price", "view_usagerecord", "view_overview", "export_usage"}

    def test_who_may_not_does_not(self, client: Client) -> None:
        person = User.objects.create(username="person", is_staff=True)
        client.force_login(person)
        for page in (URL, f"{URL}budgets/", f"{URL}export/", f"{URL}export/calls-csv/"):
            assert client.get(page).status_code == 403
        person.user_permissions.add(Permission.objects.get(codename="view_overview"))
        assert client.get(URL).status_code == 200
        assert client.get(f"{URL}export/calls-csv/").status_code == 403

    def test_everybody_else_signs_in_first(self, client: Client) -> None:
        assert client.get(URL).status_code == 302


def test_prices_and_models_are_edited_with_history(client: Client) -> None:
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    form = {"model_id": "gpt-4o", "provider": "", "input": "2.5", "output": "10", "valid_from_0": "2026-01-01"}
    assert client.post("/admin/usage/price/add/", form | {"valid_from_1": "00:00:00"}).status_code == 302
    price = Price.objects.get()
    html = unescape(client.get(f"/admin/usage/price/{price.pk}/change/").content.decode())
    assert "/admin/usage/price/add/?model_id=gpt-4o&input=2.500000&output=10.000000" in html
    history = client.get(f"/admin/usage/price/{price.pk}/history/", follow=True)
    assert history.redirect_chain and "root" in history.content.decode()
    assert [entry.action for entry in history.context["cl"].result_list] == ["created"]
