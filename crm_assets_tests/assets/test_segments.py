"""Segments of the finished shop: its tables agree with each other, and a range of days gives what a day alone gives."""

import hashlib
import json
from pathlib import Path

import duckdb
import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.contracts.segmentation import SEGMENTATION_TABLES
from crm_assets.contracts.segments import CUSTOMER_SEGMENTS
from crm_assets.runs import Planned, Runs
from crm_assets.settings import load_settings
from crm_assets_tests import shop

NEWEST = f"as_of = DATE '{shop.LAST_DAY}'"
SEGMENTS = [CUSTOMER_SEGMENTS.name, *SEGMENTATION_TABLES]


@pytest.fixture(scope="module")
def warehouse(finished: Path):
    with duckdb.connect(str(finished / "warehouse.duckdb"), read_only=True) as connection:
        yield connection


def rows(warehouse: duckdb.DuckDBPyConnection, query: str) -> list[tuple]:
    return warehouse.execute(query).fetchall()


def test_each_customer_has_dimensions_and_a_stratum(warehouse):
    customers = rows(warehouse, f"SELECT customer_id FROM marts.customer_segments WHERE {NEWEST} ORDER BY ALL")
    assert customers
    for table in ("customer_dimensions", "customer_strata"):
        assert rows(warehouse, f"SELECT customer_id FROM marts.{table} WHERE {NEWEST} ORDER BY ALL") == customers
    drawn = rows(
        warehouse,
        f"SELECT stratum, any_value(quota) = count(*) FILTER (is_sampled), sum(weight), any_value(stratum_customers) "
        f"FROM marts.customer_strata WHERE {NEWEST} GROUP BY stratum",
    )
    assert all(is_met and weight == pytest.approx(size) for _, is_met, weight, size in drawn)


def test_rules_count_the_customers_who_meet_them(warehouse):
    rules = rows(
        warehouse, f"SELECT target, rule_id, customers FROM marts.segment_rules WHERE {NEWEST} AND customers > 0"
    )
    assert {target for target, _, _ in rules} == {"churn"}
    counted = [
        (target, rule, count)
        for target in ("churn", "response", "value")
        for rule, count in rows(
            warehouse,
            f"SELECT {target}_rule, count(*) FROM marts.customer_segments WHERE {NEWEST} AND {target}_rule IS NOT NULL "
            "GROUP BY ALL",
        )
    ]
    assert sorted(rules) == sorted(counted)


def test_what_rules_need_is_on_their_card(finished: Path):
    card = json.loads((finished / "models" / "segment_rules" / "2024-06-01" / "card.json").read_text("utf-8"))
    assert card["needs"] == {
        "value": "needs spend whose days have passed before the month",
        "response": "needs campaign contacts whose days have passed before the month",
    }
    assert card["rules"]["churn"]


def test_profiles_have_each_segment_with_its_size(warehouse):
    sizes = rows(
        warehouse,
        f"SELECT DISTINCT segment, customers FROM marts.segment_profiles "
        f"WHERE {NEWEST} AND segmentation = 'cluster_name' ORDER BY ALL",
    )
    expected = (
        f"SELECT cluster_name, count(*) FROM marts.customer_segments WHERE {NEWEST} AND cluster_name IS NOT NULL "
        "GROUP BY ALL ORDER BY ALL"
    )
    assert sizes == rows(warehouse, expected)
    stages = f"SELECT count(DISTINCT segment) FROM marts.segment_profiles WHERE {NEWEST} AND segmentation = 'lifecycle_stage'"
    assert rows(warehouse, stages)[0][0] > 1


def test_the_curve_ends_with_everyone(warehouse):
    last = f"SELECT customers, value_share FROM marts.value_curve WHERE {NEWEST} AND percent = 100"
    everyone = f"SELECT count(*) FROM marts.customer_segments WHERE {NEWEST}"
    assert rows(warehouse, last) == [(rows(warehouse, everyone)[0][0], 1.0)]


def test_stability_of_the_month_is_measured(warehouse):
    found = rows(warehouse, "SELECT basis, customers > 0, adjusted_rand FROM quality.segment_stability ORDER BY basis")
    assert [basis for basis, _, _ in found] == ["month", "refit", "unchanged"]
    assert all(-0.5 <= agreement <= 1 for _, has_any, agreement in found if has_any)
    moved = "SELECT sum(customers) FROM quality.segment_migration"
    both = "SELECT customers FROM quality.segment_stability WHERE basis = 'month'"
    assert rows(warehouse, moved) == rows(warehouse, both)


@pytest.mark.slow
def test_segments_of_a_range_are_those_of_each_day_alone(finished: Path, tmp_path: Path):
    home = shop.copy_of(finished, tmp_path / "home")
    names = [("features", "customer_features"), ("marts", "lifecycle"), *(("marts", name) for name in SEGMENTS)]

    def digests() -> dict[str, str]:
        files = (home / "lake" / "marts").glob(f"*/as_of={shop.LAST_DAY}/*.parquet")
        found = {path.parts[-3]: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        return {name: found[name] for name in SEGMENTS}

    alone = digests()
    with open_instance(home) as instance:
        Runs(load_settings(home), instance, print).make(Planned("", "score", "2024-06-29", str(shop.LAST_DAY), names))
    assert digests() == alone
    assert len(alone) == 7
