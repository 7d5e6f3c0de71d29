"""One mock a module, forgetful between tests."""

from collections.abc import Iterator

import pytest

from bench.upstream.testing import Upstream, running_upstream
from tests.bench.vendors import VENDORS, Vendor


@pytest.fixture(scope="module")
def process() -> Iterator[Upstream]:
    with running_upstream(models=("mock", "other")) as upstream:
        yield upstream


@pytest.fixture
def upstream(process: Upstream) -> Upstream:
    process.clear()
    return process


@pytest.fixture(params=list(VENDORS))
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]
