"""The ledger in the admin, through its pages."""

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from django.contrib.auth.models import Permission
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from bench.ledger import fill
from usage import group_sets, ledger
from usage.admin.columns import Columns
from usage.models import Outcome, UsageRecord

pytestmark = pytest.mark.django_db
URL = "/admin/usage/usagerecord/"
NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)
SUMMED = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "micro_dollars")
GROUPS = (frozenset(), frozenset({"staff"}), frozenset({"staff", "hpc"}), frozenset({"students"}))
EVERY_KIND = [
    dict(parse_qsl(query))
    for query in (
        *("", "user=ann", "account=physics", "model=gpt-4o", "outcome=failed", "day=2026-03-15"),
        *("user=ann&day=2026-03-15", "account=physics&model=gpt-4o", "user=ann&model=gpt-4o&outcome=finished"),
        "account=physics&model=gpt-4o&outcome=failed&day=2026-03-15",
        *("q=an", "q=gpt&account=physics", "q=run_7", "q=run_7&user=ann"),
        *("group=staff", "group=(none)", "group=nobody", "assistant=tutor", "assistant=(none)", "purpose=title"),
        *("key=ann/ownerKey/1", "key=(none)&model=llama", "group=hpc&model=gpt-4o&outcome=finished&day=2026-03-15"),
        *("group=staff&assistant=tutor&purpose=title&user=ann", "group=staff&q=gpt", "purpose=title&q=an"),
    )
]


@pytest.fixture
def admin_client(client: Client, django_user_model: type[User]) -> Client:
    """Logged in without a password, because hashing one would take longer than the page."""
    client.force_login(django_user_model.objects.create(username="auditor", is_staff=True, is_superuser=True))
    return client


def write(rows: Sequence[UsageRecord]) -> None:
    """Book rows, and tell each its key."""
    ledger.write(rows)
    keys = dict(UsageRecord.objects.values_list("call_id", "pk"))
    for row in rows:
        row.pk = keys[row.call_id]


def call(**fields: Any) -> UsageRecord:
    given = {
        "run_id": "run_1",
        "user_id": "ann",
        "account_id": "physics",
        "model_id": "gpt-4o",
        "provider": "openai",
        "outcome": Outcome.FINISHED,
        "price_version": "list 1",
        "started_at": NOON,
        **fields,
    }
    return UsageRecord(ended_at=given["started_at"] + timedelta(seconds=2), **given)


def some_calls(number: int, seed: int = 1) -> list[UsageRecord]:
    """Few values and few moments, so that every filter finds some and many rows end at once."""
    rand = random.Random(seed)
    return [
        call(
            run_id=f"run_{rand.randrange(number // 4 + 1)}",
            user_id=rand.choice(["ann", "anna", "bob", "gpt-fan"]),
            account_id=rand.choice(["physics", "law"]),
            model_id=rand.choice(["gpt-4o", "gpt-4o-mini", "llama"]),
            outcome=rand.choice(["finished", "finished", "failed", "killed"]),
            api_key_id=rand.choice(["", "ann/ownerKey/1"]),
            assistant=rand.choice(["", "default", "tutor"]),
            purpose=rand.choice(["answer", "title"]),
            group_set=group_sets.name_of(rand.choice(GROUPS)),
            started_at=NOON + timedelta(hours=12 * rand.randrange(-4, 4)),
            **{name: rand.randrange(10**6) for name in SUMMED},
        )
        for _ in range(number)
    ]


def listed(client: Client, query: dict[str, str] | str = "") -> Any:
    response = client.get(URL, query) if isinstance(query, dict) else client.get(URL + query)
    assert response.status_code == 200, response.get("Location")
    return response.context["cl"]


def agrees(row: UsageRecord, query: dict[str, str]) -> bool:
    """What the page should select, said once more and plainly."""
    term = query.get("q", "")
    found = row.run_id == term or row.user_id.startswith(term) or row.model_id.startswith(term)
    columns = {"user": row.user_id, "account": row.account_id, "model": row.model_id, "outcome": row.outcome}
    columns["day"] = row.started_at.date().isoformat()
    columns |= {"key": row.api_key_id, "assistant": row.assistant, "purpose": row.purpose}
    groups = next(groups for groups in [*GROUPS, frozenset()] if group_sets.name_of(groups) == row.group_set)
    if (group := query.get("group")) is not None and not (group in groups or (group == "(none)" and not groups)):
        return False
    wanted = {name: "" if value == "(none)" else value for name, value in query.items()}
    return found and all(columns[name] == value for name, value in wanted.items() if name not in ("q", "group"))


def walk(client: Client, query: dict[str, str], link: str = "older") -> list[list[int]]:
    pages, cl = [], listed(client, query)
    while True:
        pages.append([row.pk for row in cl.result_list])
        if getattr(cl.page, link) is None:
            return pages
        cl = listed(client, getattr(cl, f"{link}_link")())


class TestList:
    def test_shows_what_a_call_was(self, admin_client: Client) -> None:
        write([call(micro_dollars=54_399, input_tokens=1_234, duration_ms=2_500, first_token_ms=321)])
        html = admin_client.get(URL).content.decode()
        for shown in ("Model calls", "$0.054399", "1,234", "2.50 s", "321 ms", "12:00:00", "usage/ledger.css"):
            assert shown in html
        assert "no price" not in html
        assert "est." not in html

    def test_on_a_phone_each_cell_has_its_name(self) -> None:
        """There the head of the table is not shown: the style sheet says what it would."""
        path = finders.find("usage/ledger.css")
        assert isinstance(path, str)
        named = re.findall(r"\.field-(\w+)::before \{ content: ", Path(path).read_text())
        assert named == [column.__name__ for column in Columns({}).all()]

    def test_marks_what_is_not_known(self, admin_client: Client) -> None:
        write([call(price_version=""), call(estimated=True)])
        html = admin_client.get(URL).content.decode()
        assert html.count(">no price<") == 1
        assert html.count(">est.<") == 1

    def test_text_from_callers_is_escaped(self, admin_client: Client) -> None:
        write([call(user_id="<b>x", run_id='"><i>', model_id="<u>", account_id="<s>&day=x")])
        html = admin_client.get(URL).content.decode()
        assert not re.search("<b>x|<i>|<u>|<s>", html)
        assert 'href="?account=%3Cs%3E%26day%3Dx"' in html

    def test_an_empty_ledger_says_so(self, admin_client: Client) -> None:
        assert "No model calls here." in admin_client.get(URL).content.decode()

    def test_links_in_a_row_keep_the_filters(self, admin_client: Client) -> None:
        write([call()])
        page = admin_client.get(URL, {"outcome": "finished", "before": "9" * 16 + "-1", "e": "1"})
        html = unescape(page.content.decode())
        for link in ("?outcome=finished&user=ann", "?outcome=finished&day=2026-03-15"):
            assert f'href="{link}"' in html


class TestSelection:
    @pytest.mark.parametrize("query", EVERY_KIND, ids=str)
    @pytest.mark.parametrize("seed", [1, 2])
    def test_rows_and_totals_are_those_selected(self, admin_client: Client, query: dict[str, str], seed: int) -> None:
        rows = some_calls(50, seed)
        write(rows)
        cl = listed(admin_client, query)
        selected = [row for row in rows if agrees(row, query)]
        newest_first = sorted(selected, key=lambda row: (row.started_at, row.pk), reverse=True)
        assert [row.pk for row in cl.result_list] == [row.pk for row in newest_first]
        assert cl.totals.calls == len(selected)
        for name in SUMMED:
            assert getattr(cl.totals, name) == sum(getattr(row, name) for row in selected)

    @pytest.mark.parametrize(
        ("period", "days_ago"),
        [("today", {0}), ("yesterday", {1}), ("week", set(range(7))), ("month", set(range(15)))],
    )
    def test_periods(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch, period: str, days_ago: set[int]
    ) -> None:
        write([call(started_at=NOON - timedelta(days=days), run_id=f"run_{days}") for days in range(80)])
        monkeypatch.setattr("usage.review.periods.utc_today", NOON.date)
        cl = listed(admin_client, {"day": period})
        assert {(NOON - row.started_at).days for row in cl.result_list} == days_ago

    def test_last_month_has_both_its_ends(self, admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        ends = [datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)]
        outside = [ends[0] - timedelta(microseconds=1), ends[1] + timedelta(microseconds=1)]
        write([call(started_at=moment) for moment in ends + outside])
        monkeypatch.setattr("usage.review.periods.utc_today", NOON.date)
        assert [row.started_at for row in listed(admin_client, {"day": "last-month"}).result_list] == ends[::-1]

    @pytest.mark.parametrize("day", ["2026-03-01..2026-03-31", "2026-02-20..2026-03-14", "2026-03-14..2026-03-20",
                                     "2026-03-15..2026-03-16", "0001-01-01..9999-12-31"])  # fmt: skip
    @pytest.mark.parametrize("chosen", [{}, {"account": "physics", "model": "gpt-4o"}, {"group": "staff"}], ids=str)
    def test_sums_of_periods_of_every_length_are_exact(
        self, admin_client: Client, day: str, chosen: dict[str, str]
    ) -> None:
        rows = some_calls(80)
        write(rows)
        first, last = day.split("..")
        inside = [row for row in rows if first <= row.started_at.date().isoformat() <= last and agrees(row, chosen)]
        cl = listed(admin_client, {"day": day, **chosen})
        assert {row.pk for row in cl.result_list} == {row.pk for row in inside}
        assert cl.totals.calls == len(inside) and cl.totals.micro_dollars == sum(row.micro_dollars for row in inside)

    @pytest.mark.parametrize("day", ["today", "yesterday", "week", "month", "last-month", "0001-01-01", "9999-12-31"])
    def test_days_at_the_ends_of_time(self, admin_client: Client, day: str) -> None:
        write([call(started_at=timezone.now())])
        assert listed(admin_client, {"day": day, "account": "physics", "model": "gpt-4o"}) is not None

    @pytest.mark.parametrize(
        "query",
        [{"day": "never"}, {"day": "2026-02-30"}, {"user": "a\0b"}, {"model": "x" * 5_000}, {"day": "2026-01-01\0"}],
        ids=str,
    )
    def test_what_cannot_be_shows_the_whole_list(self, admin_client: Client, query: dict[str, str]) -> None:
        response = admin_client.get(URL, query)
        assert (response.status_code, response["Location"]) == (302, f"{URL}?e=1")
        assert admin_client.get(response["Location"]).status_code == 200

    @pytest.mark.parametrize("lookup", ["raw_usage__icontains", "user_id__contains", "run_id", "nonsense"])
    def test_the_address_cannot_ask_for_other_lookups(self, admin_client: Client, lookup: str) -> None:
        assert admin_client.get(URL, {lookup: "x"}).status_code == 400

    def test_rows_without_sums_are_not_hidden(self, admin_client: Client) -> None:
        row = call()
        row.save()
        assert list(listed(admin_client, {"account": "physics", "model": "gpt-4o"}).result_list) == [row]

    def test_a_group_with_very_many_sets(self, admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then they are not read one by one."""
        monkeypatch.setattr("usage.admin.selection.MAX_SETS", 1)
        rows = some_calls(60)
        write(rows)
        query = {"group": "staff", "model": "gpt-4o"}
        cl = listed(admin_client, query)
        selected = [row for row in rows if agrees(row, query)]
        assert {row.pk for row in cl.result_list} == {row.pk for row in selected} and cl.totals.calls == len(selected)


class TestSearch:
    @pytest.mark.parametrize(
        ("term", "users"),
        [
            *(("ann", {"ann", "anna"}), ("anna", {"anna"}), ("Ann", {"Ann B"}), ("Ann B", {"Ann B"})),
            *(("  bob ", {"bob"}), ("ø", {"øre"}), ("an%", set()), ("_nn", set()), ("ann bob", set())),
            *(("\U0010ffff", set()), ("x" * 10_000, set()), ("'; --", set())),
        ],
    )
    def test_users_by_how_their_name_starts(self, admin_client: Client, term: str, users: set[str]) -> None:
        write([call(user_id=user) for user in ("ann", "anna", "Ann B", "bob", "øre")])
        assert {row.user_id for row in listed(admin_client, {"q": term}).result_list} == users

    def test_a_run_is_found_by_its_whole_id_only(self, admin_client: Client) -> None:
        write([call(run_id="run_1"), call(run_id="run_12")])
        assert len(listed(admin_client, {"q": "run_1"}).result_list) == 1
        assert len(listed(admin_client, {"q": "run_"}).result_list) == 0

    def test_a_nul_is_refused_in_words(self, admin_client: Client) -> None:
        response = admin_client.get(URL, {"q": "a\0b"})
        assert response.status_code == 200
        assert "Null characters are not allowed." in response.content.decode()

    def test_too_many_names_are_cut_and_said(self, admin_client: Client) -> None:
        write([call(user_id=f"user{number:02d}") for number in range(15)])
        response = admin_client.get(URL, {"q": "user"})
        assert response.context["cl"].totals.calls == len(response.context["cl"].result_list) == 10
        assert "only the first 10 of each are shown and summed" in response.content.decode()

    def test_a_run_of_very_many_calls_is_summed_in_part(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("usage.admin.totals.MAX_ROWS", 3)
        write([call(micro_dollars=cost, started_at=NOON + timedelta(seconds=cost)) for cost in (1, 2, 4, 8, 16)])
        response = admin_client.get(URL, {"q": "run_1"})
        assert response.context["cl"].totals.micro_dollars == 4 + 8 + 16
        assert "The totals are of the newest 3 calls of this run." in response.content.decode()


class TestPages:
    @pytest.mark.parametrize(
        "query", [{}, {"model": "gpt-4o"}, {"q": "an"}, {"account": "law", "model": "llama"}], ids=str
    )
    def test_walk_every_row_once_and_back(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]
    ) -> None:
        monkeypatch.setattr("usage.admin.UsageRecordAdmin.list_per_page", 7)
        rows = some_calls(60)
        write(rows)
        pages = walk(admin_client, query)
        newest_first = sorted(rows, key=lambda row: (row.started_at, row.pk), reverse=True)
        assert list(chain.from_iterable(pages)) == [row.pk for row in newest_first if agrees(row, query)]
        assert all(len(page) == 7 for page in pages[:-1])
        oldest = UsageRecord.objects.order_by("started_at", "pk")[0]
        past_it = f"{int((oldest.started_at - timedelta(days=9)).timestamp()) * 10**6}-0"
        back = walk(admin_client, {**query, "after": past_it}, "newer")
        assert list(chain.from_iterable(back[::-1])) == list(chain.from_iterable(pages))

    def test_a_row_that_comes_in_between_moves_nothing(
        self, admin_client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("usage.admin.UsageRecordAdmin.list_per_page", 2)
        write([call(started_at=NOON + timedelta(seconds=second)) for second in range(4)])
        first = listed(admin_client)
        write([call(started_at=NOON + timedelta(seconds=60))])
        second = listed(admin_client, first.older_link())
        assert [row.started_at.second for row in [*first.result_list, *second.result_list]] == [3, 2, 1, 0]

    @pytest.mark.parametrize("name", ["before", "after"])
    @pytest.mark.parametrize(
        "cursor",
        [
            "",
            "x",
            "1",
            "-1-1",
            "1-",
            "1-1-1",
            "9" * 40 + "-1",
            "1-" + "9" * 40,
            "\0",
            "1-1\n",
            "\u0661-\u0661",
            "1e5-1",
        ],
    )
    def test_a_bad_cursor_is_the_first_page(self, admin_client: Client, name: str, cursor: str) -> None:
        write([call()])
        assert len(listed(admin_client, {name: cursor}).result_list) == 1

    @pytest.mark.parametrize(
        "query", [{"p": "99"}, {"all": ""}, {"o": "-1.3"}, {"p": "x"}, {"_facets": "True"}], ids=str
    )
    def test_djangos_own_pages_and_orders_change_nothing(self, admin_client: Client, query: dict[str, str]) -> None:
        write(some_calls(101))
        assert len(listed(admin_client, query).result_list) == 100

    def test_links(self, admin_client: Client) -> None:
        write(some_calls(101))
        first = admin_client.get(URL, {"q": ""})
        assert 'rel="next"' in first.content.decode()
        assert 'rel="prev"' not in first.content.decode()
        last = admin_client.get(URL + first.context["cl"].older_link())
        assert 'rel="next"' not in last.content.decode()
        assert 'rel="prev"' in last.content.decode()
        assert "1 on this page" in last.content.decode()
        assert len(listed(admin_client, last.context["cl"].newer_link()).result_list) == 100
        newest = f"{int(NOON.timestamp()) + 10**7}{'0' * 6}-1"
        beyond = admin_client.get(URL, {"after": newest}).content.decode()
        assert ">Newest<" in beyond
        assert "on this page" not in beyond


class TestSidebar:
    def test_offers_what_cost_most(self, admin_client: Client) -> None:
        write([call(user_id=f"user{cost:02d}", micro_dollars=cost) for cost in range(1, 26)])
        offered = _offered(listed(admin_client), "user")
        assert offered == [f"user{cost:02d}" for cost in range(25, 5, -1)]

    def test_shows_the_selected_value_all_the_same(self, admin_client: Client) -> None:
        write([call(user_id=f"user{cost:02d}", micro_dollars=cost) for cost in range(1, 26)])
        cl = listed(admin_client, {"user": "user03"})
        assert _offered(cl, "user")[-1] == "user03"
        assert [choice["display"] for choice in _choices(cl, "user") if choice["selected"]] == ["user03"]

    def test_a_choice_starts_at_the_newest_again(self, admin_client: Client) -> None:
        write(some_calls(101))
        cl = listed(
            admin_client, listed(admin_client, {"account": "law"}).get_query_string({"before": "9" * 16 + "-1"})
        )
        assert all("before" not in choice["query_string"] for choice in _choices(cl, "model"))
        assert all("account=law" in choice["query_string"] for choice in _choices(cl, "model"))


def _choices(cl: Any, title: str) -> list[dict[str, Any]]:
    return next(list(spec.choices(cl)) for spec in cl.filter_specs if spec.title == title)


def _offered(cl: Any, title: str) -> list[str]:
    return [choice["display"] for choice in _choices(cl, title)[1:]]


class TestReadOnly:
    def test_everything_about_a_call(self, admin_client: Client) -> None:
        row = call(raw_usage={"prompt_tokens": 7, "kind": "<æ>"}, error_code="boom", micro_dollars=1)
        row.save()
        html = unescape(admin_client.get(f"{URL}{row.pk}/change/").content.decode())
        assert '{\n  "prompt_tokens": 7,\n  "kind": "<æ>"\n}' in html
        for shown in ("$0.000001", "boom", str(row.call_id), "2026-03-15 12:00:00 UTC", f"{URL}?q=run_1"):
            assert shown in html
        assert "_save" not in html

    def test_nothing_can_be_changed(self, admin_client: Client) -> None:
        row = call()
        row.save()
        assert admin_client.post(f"{URL}{row.pk}/change/", {"user_id": "eve"}).status_code == 403
        assert admin_client.post(f"{URL}{row.pk}/delete/", {"post": "yes"}).status_code == 403
        assert admin_client.get(f"{URL}add/").status_code == 403
        assert admin_client.post(f"{URL}add/", {"user_id": "eve"}).status_code == 403
        assert admin_client.post(URL, {"action": "delete_selected", "_selected_action": row.pk}).status_code == 403
        assert UsageRecord.objects.get().user_id == "ann"

    def test_only_staff_with_the_permission_may_look(self, client: Client, django_user_model: type[User]) -> None:
        assert client.get(URL).status_code == 302
        person = django_user_model.objects.create_user("person")
        client.force_login(person)
        assert client.get(URL)["Location"].startswith("/admin/login/")
        person.is_staff = True
        person.save()
        assert client.get(URL).status_code == 403


def _selects(captured: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in captured if query["sql"].startswith(("SELECT", "WITH"))]


class TestSpeed:
    @pytest.mark.parametrize("query", EVERY_KIND, ids=str)
    @pytest.mark.parametrize("cursor", ["", "before", "after"])
    def test_queries_are_few_and_walk_indexes(
        self, client: Client, django_user_model: type[User], query: dict[str, str], cursor: str
    ) -> None:
        write(some_calls(40))
        clerk = django_user_model.objects.create_user("clerk", is_staff=True)
        clerk.user_permissions.add(Permission.objects.get(codename="view_usagerecord"))
        client.force_login(clerk)
        at = f"{int(NOON.timestamp()) * 10**6}-20"
        with CaptureQueriesContext(connection) as captured:
            listed(client, {**query, **({cursor: at} if cursor else {})})
        assert len(captured) <= (14 if "group" in query else 12)  # which sets the group is in, and all of them at once
        for sql in _selects(captured):
            if "usage_usagerecord" in sql:
                _assert_walks_an_index(sql)

    def test_no_query_counts_or_skips(self, admin_client: Client) -> None:
        write(some_calls(120))
        with CaptureQueriesContext(connection) as captured:
            listed(admin_client, listed(admin_client, {"model": "gpt-4o"}).older_link())
        assert not [sql for sql in _selects(captured) if "COUNT(" in sql or "OFFSET" in sql]


def _assert_walks_an_index(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        plan = [row[3] for row in cursor.fetchall()]
    assert plan
    for step in plan:
        assert not re.search(r"SCAN (usage_usagerecord|U0)|TEMP B-TREE FOR (LAST TERM|ORDER BY|.*ORDER BY)", step), (
            sql,
            plan,
        )


def test_the_bench_fills_a_ledger_whose_sums_agree(admin_client: Client) -> None:
    fill(300, until=NOON)
    cl = listed(admin_client)
    assert cl.totals.calls == UsageRecord.objects.count() == 300
    assert cl.totals.micro_dollars == sum(UsageRecord.objects.values_list("micro_dollars", flat=True))
