"""The admin's page of endpoints, through its address."""

import asyncio
import os
import re
import socket
from weakref import WeakSet

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts.models import User
from core.errors import ModelBusy, ModelFailed
from llm.endpoints import endpoint_of
from llm.pool import FAILURES_TO_OPEN, Member, Pool
from llm.testing import CARD, FailingModel, ScriptedModel, listen
from tests.harness import CANARY

pytestmark = pytest.mark.django_db
URL = "/admin/llm/endpointstate/"
NONE = "\N{EN DASH}"


@pytest.fixture(autouse=True)
def pools(monkeypatch: pytest.MonkeyPatch) -> "WeakSet[Pool]":
    """No pools but the test's own: those of other tests may not have been collected yet."""
    own: WeakSet[Pool] = WeakSet()
    monkeypatch.setattr("llm.pool.pools", own)
    monkeypatch.setattr("llm.admin.pools", own)
    return own


@pytest.fixture
def staff(client: Client, django_user_model: type[User]) -> User:
    person = django_user_model.objects.create(username="operator", is_staff=True)
    client.force_login(person)
    return person


@pytest.fixture
def operator(client: Client, staff: User) -> Client:
    staff.user_permissions.add(Permission.objects.get(codename="view_modelentry"))
    return client


def failing(name: str, error: ModelFailed | None = None) -> Member:
    return Member(model=FailingModel(error or ModelFailed("no")), name=name, clock=lambda: 100.0)


def rows(client: Client) -> list[list[str]]:
    response = client.get(URL)
    assert response.status_code == 200
    body = response.content.decode().partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [re.sub("<[^>]*>", "", cell).strip() for cell in re.findall(r"<t[hd] [^>]*>.*?</t[hd]>", row, re.DOTALL)]
        for row in body.split("</tr>")[:-1]
    ]


def test_without_pools_it_says_so(operator: Client) -> None:
    assert rows(operator) == []
    assert "No endpoints yet." in operator.get(URL).content.decode()


def test_every_endpoint_of_every_pool(operator: Client) -> None:
    ready, resting = Member(model=ScriptedModel(), name="a.example/v1"), failing("b.example/v1", ModelBusy("x"))
    ready.calls = 7
    resting.failed(ModelBusy(retry_after=12.34))
    resting.in_flight, resting.calls = 2, 3
    pool = Pool(CARD, [ready, resting])
    assert rows(operator) == [
        ["double", "a.example/v1", "ready", "7", "0", "0", "0", NONE, NONE],
        ["double", "b.example/v1", "resting", "3", "1", "2", "1", ModelBusy.code, "12.3 s"],
    ]
    assert pool.members == (ready, resting)


def test_an_open_circuit_and_its_probe(operator: Client) -> None:
    members = [failing("open.example"), failing("probed.example")]
    for member in members:
        member.failures_in_a_row = FAILURES_TO_OPEN - 1
        member.failed(ModelFailed("no"))
    members[1].clock = lambda: 1e6
    pool = Pool(CARD, members)
    assert [row[2] for row in rows(operator)] == ["open", "probing"]
    page = operator.get(URL).content.decode()
    assert page.count("endpoints-open") == page.count("endpoints-probing") == 2  # the row and the legend
    assert pool.members == tuple(members)


def test_a_pool_that_was_made_anew_is_listed_once(operator: Client) -> None:
    endpoint = endpoint_of("https://a.example/v1", "k")
    both = [Pool(CARD, [Member.at(endpoint, ScriptedModel(card=CARD))]) for _ in range(2)]
    assert [row[1] for row in rows(operator)] == ["a.example/v1"] and len(both) == 2


def test_what_calls_leave_behind(operator: Client) -> None:
    pool = Pool(CARD, [failing("down.example", ModelBusy(retry_after=30))])
    assert asyncio.run(listen(pool)).error is not None
    assert rows(operator) == [["double", "down.example", "resting", "1", "1", "0", "1", ModelBusy.code, "30.0 s"]]


def test_no_key_and_no_query_is_shown(operator: Client) -> None:
    endpoint = endpoint_of(f"https://u:{CANARY}@x.example/v1/chat?key={CANARY}", CANARY)
    pool = Pool(CARD, [Member(model=ScriptedModel(), name=endpoint.name)])
    page = operator.get(URL).content.decode()
    assert "x.example/v1/chat" in page and CANARY not in page
    assert pool.card is CARD


def test_names_are_escaped(operator: Client) -> None:
    pool = Pool(CARD, [Member(model=ScriptedModel(), name="<b>x")])
    assert "<b>x" not in operator.get(URL).content.decode()
    assert pool.card is CARD


def test_it_says_whose_view_it_is_and_is_in_the_index(operator: Client) -> None:
    assert f"process {os.getpid()} on {socket.gethostname()}" in operator.get(URL).content.decode()
    assert f'href="{URL}"' in operator.get("/admin/").content.decode()


def test_only_staff_who_may_view_models_may_look(client: Client, staff: User) -> None:
    assert client.get(URL).status_code == 403
    assert URL not in client.get("/admin/").content.decode()
    client.logout()
    assert client.get(URL)["Location"].startswith("/admin/login/")
    staff.is_staff = False
    staff.save()
    client.force_login(staff)
    assert client.get(URL)["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("path", ["add/", "1/change/", "1/delete/", "1/history/"])
def test_there_is_no_other_page(client: Client, django_user_model: type[User], path: str) -> None:
    client.force_login(django_user_model.objects.create(username="root", is_staff=True, is_superuser=True))
    assert client.get(URL + path).status_code == 404
    assert client.post(URL, {"action": "delete_selected"}).status_code == 403
