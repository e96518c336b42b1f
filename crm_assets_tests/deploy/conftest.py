"""The PostgreSQL server that the tests of this folder share."""

from collections.abc import Iterator

import pytest

from crm_assets_tests.deploy.team import Postgres, postgres_server


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server
