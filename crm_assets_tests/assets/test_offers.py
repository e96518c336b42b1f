"""Next best actions in a finished workspace, beside the marts they rest on."""

from pathlib import Path

import duckdb
import pytest

from crm_assets_tests import shop


@pytest.fixture
def warehouse(finished: Path):
    with duckdb.connect(str(finished / "warehouse.duckdb"), read_only=True) as connection:
        yield connection


def test_each_customer_has_one_action_and_those_held_out_of_retention_none(warehouse):
    everyone = "SELECT count(*) FROM profile.customers_current"
    actions = "SELECT count(*), count(DISTINCT customer_id), min(as_of) FROM marts.next_best_action"
    customers = warehouse.execute(everyone).fetchone()[0]
    assert warehouse.execute(actions).fetchone() == (customers, customers, shop.LAST_DAY)
    kept = """
        SELECT q.is_holdout, n.action, count(*) FROM marts.retention_queue AS q
        JOIN marts.next_best_action AS n USING (as_of, customer_id) GROUP BY ALL
    """
    found = {(held_out, action) for held_out, action, _ in warehouse.execute(kept).fetchall()}
    assert {action for held_out, action in found if held_out} <= {"leave_alone"}
    assert "leave_alone" not in {action for held_out, action in found if not held_out}
