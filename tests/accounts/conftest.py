"""One service for all tests of the REST API, and the people who use it."""

from collections.abc import Iterator

import pytest

from tests.accounts.rest import Visitor, signed_in
from tests.harness import Service, running_service

PEOPLE = ("alice", "bob", "mallory", "root")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("rest"), BODY_SECONDS="2") as running:
        yield running


@pytest.fixture(scope="session")
def people(service: Service) -> dict[str, Visitor]:
    return signed_in(service, *PEOPLE)


@pytest.fixture
def alice(people: dict[str, Visitor]) -> Visitor:
    return people["alice"]


@pytest.fixture
def bob(people: dict[str, Visitor]) -> Visitor:
    return people["bob"]


@pytest.fixture
def mallory(people: dict[str, Visitor]) -> Visitor:
    return people["mallory"]


@pytest.fixture
def root(people: dict[str, Visitor]) -> Visitor:
    """Administers the service."""
    return people["root"]
