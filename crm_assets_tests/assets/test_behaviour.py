"""Marts of behaviour in a finished workspace, beside what plain SQL over the clean tables says."""

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from pyarrow import parquet

from crm_assets.automation.instance import open_instance
from crm_assets.contracts.behaviour import BEHAVIOUR_SALES
from crm_assets.definitions import lake_of
from crm_assets.runs import Planned, Runs
from crm_assets.settings import load_settings
from crm_assets_tests import shop


@pytest.fixture
def warehouse(finished: Path):
    with duckdb.connect(str(finished / "warehouse.duckdb"), read_only=True) as connection:
        yield connection


def test_sales_are_those_of_the_clean_lines(warehouse):
    query = """
        SELECT date_trunc('month', l.day)::DATE, p.category, sum(l.amount), count(DISTINCT l.order_id),
               count(DISTINCT l.customer_id)
        FROM clean.transactions AS l JOIN clean.products AS p USING (product_id) GROUP BY 1, 2 ORDER BY 1, 2
    """
    mart = """
        SELECT starts_on, value, revenue, orders, customers FROM marts.behaviour_sales
        WHERE period = 'month' AND dimension = 'category' ORDER BY 1, 2
    """
    expected = warehouse.execute(query).fetchall()
    assert warehouse.execute(mart).fetchall() == expected
    assert len(expected) == 12


def test_every_dimension_of_every_period_adds_up_to_all_sales(warehouse):
    sums = warehouse.execute("SELECT sum(revenue) FROM marts.behaviour_sales GROUP BY period, dimension").fetchall()
    total = warehouse.execute("SELECT sum(amount) FROM clean.transactions").fetchone()
    assert sums == [total] * 12


def test_cohorts_hold_every_customer_and_all_their_revenue(warehouse):
    sizes = (
        "SELECT sum(customers) FILTER (months_since = 0), sum(revenue), min(cohort_month) FROM marts.behaviour_cohorts"
    )
    clean = "SELECT count(DISTINCT customer_id), sum(amount), DATE '2024-01-01' FROM clean.transactions"
    assert warehouse.execute(sizes).fetchone() == warehouse.execute(clean).fetchone()


def test_repeats_and_gaps_count_each_order(warehouse):
    placed = "SELECT sum(ordered) FROM marts.behaviour_repeats WHERE order_number = 3"
    third = "SELECT count(*) FROM (FROM profile.customer_days SELECT count(*) AS n GROUP BY customer_id) WHERE n >= 3"
    assert warehouse.execute(placed).fetchone() == warehouse.execute(third).fetchone()
    gaps = "SELECT sum(gaps) + sum(open_gaps), max(days) FROM marts.behaviour_gaps"
    orders, longest = warehouse.execute(gaps).fetchone()
    assert orders == warehouse.execute("SELECT count(*) FROM profile.customer_days").fetchone()[0]
    assert longest < (date(2024, 6, 30) - date(2024, 1, 1)).days


def test_effects_add_up_to_the_change_of_revenue_of_each_month(warehouse):
    query = """
        SELECT starts_on, base_starts_on, sum(amount), any_value(revenue) - any_value(base_revenue)
        FROM marts.behaviour_revenue_changes WHERE category = 'all' GROUP BY starts_on, base_starts_on, decomposition
    """
    rows = warehouse.execute(query).fetchall()
    months = "SELECT date_trunc('month', day)::DATE, sum(amount) FROM clean.transactions GROUP BY 1"
    sales = dict(warehouse.execute(months).fetchall())
    assert len(rows) == 2 * 5
    assert all(effects == change == sales[month] - sales[base] for month, base, effects, change in rows)


def test_without_campaigns_there_are_no_effects(warehouse):
    assert warehouse.execute("SELECT count(*) FROM marts.behaviour_campaign_effects").fetchone()[0] == 0


def test_drivers_of_the_newest_day_span_their_levels_around_the_mean_prediction(warehouse):
    spans = """
        SELECT outcome, rank, count(*), max(prediction) - min(prediction) FROM marts.behaviour_drivers
        WHERE as_of = DATE '2024-06-30' GROUP BY outcome, rank ORDER BY outcome, rank
    """
    rows = warehouse.execute(spans).fetchall()
    assert {outcome for outcome, *_ in rows} == {"churn", "spend"}
    assert all(levels == 5 and span > 0 for _, _, levels, span in rows)
    for outcome in ("churn", "spend"):
        own = [(rank, span) for name, rank, _, span in rows if name == outcome]
        assert [rank for rank, _ in own] == list(range(1, len(own) + 1))
        assert [span for _, span in own] == sorted((span for _, span in own), reverse=True)
    base = "SELECT count(DISTINCT round(prediction - effect, 9)) FROM marts.behaviour_drivers GROUP BY as_of, outcome"
    assert {count for (count,) in warehouse.execute(base).fetchall()} == {1}


def test_sales_after_deliveries_that_change_the_past_are_as_if_all_were_added_up(
    finished: Path, tmp_path: Path
) -> None:
    """A late order of March and another category of what was first sold in January come, one after the other."""
    home = shop.copy_with_history(finished, tmp_path / "home")
    mart = home / "lake" / "marts" / BEHAVIOUR_SALES.name / "part.parquet"
    header = "order,customer,sku,at,quantity,amount"

    def refresh() -> list[dict]:
        with open_instance(home) as instance:
            runs = Runs(load_settings(home), instance, lambda doing: None)
            runs.ingest()
            runs.clean()
            runs.make(Planned("sales", "refresh", made=[dg.AssetKey(["marts", BEHAVIOUR_SALES.name])]))
        return parquet.read_table(mart).to_pylist()

    def states() -> dict[str, str]:
        note = lake_of(load_settings(home)).note("marts", BEHAVIOUR_SALES)
        assert note is not None
        return json.loads(note)

    before, as_they_were = refresh(), states()
    assert list(as_they_were) == [f"2024-{month:02}" for month in range(1, 7)]
    late = [("late", "c1", "p1", "2024-03-05 10:00:00", 3, "9.50")]
    shop.write(home, shop.LAST_DAY + timedelta(days=1), "orders.csv", header, late)
    now = refresh()
    assert [month for month, state in states().items() if state != as_they_were[month]] == ["2024-03"]
    assert [row for row in now if row["starts_on"] < date(2024, 2, 26)] == [
        row for row in before if row["starts_on"] < date(2024, 2, 26)
    ]
    assert sum(row["revenue"] for row in now) == sum(row["revenue"] for row in before) + 3 * 4 * Decimal("9.5")
    mart.unlink()
    assert refresh() == now
    other = [(sku, title, "other", kind) for sku, title, _, kind in shop.products()]
    shop.write(home, shop.LAST_DAY + timedelta(days=2), "products.csv", "sku,title,category,kind", other)
    now = refresh()
    assert {row["value"] for row in now if row["dimension"] == "category"} == {"other"}
    mart.unlink()
    assert refresh() == now
