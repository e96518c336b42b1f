"""Dimensions of customers: thirds, habits, affinity, and what is not known."""

from datetime import date

import ibis
import pandas as pd
import pyarrow as pa
import pytest

from crm_assets.contracts.features import CUSTOMER_FEATURES
from crm_assets.contracts.segmentation import CUSTOMER_DIMENSIONS
from crm_assets.mining.customer_dimensions import customer_dimensions

DAY = date(2024, 6, 30)
CONNECTION = ibis.duckdb.connect()


def features(rows: list[dict]) -> ibis.Table:
    """Features of a day; counts that are not given are 0, everything else unknown."""
    counts = {column.name: 0 for column in CUSTOMER_FEATURES.columns if column.required and column.dtype != "string"}
    filled = [{**counts, "as_of": DAY, "customer_id": f"c{n}", "orders": 1, **row} for n, row in enumerate(rows)]
    schema = CUSTOMER_FEATURES.schema.to_pyarrow()
    names = [{name: row.get(name) for name in schema.names} for row in filled]
    return ibis.memtable(pa.Table.from_pylist(names, pa.schema([field.with_nullable(True) for field in schema])))


def dimensions(rows: list[dict], interests: ibis.Table | None = None) -> pd.DataFrame:
    return CONNECTION.to_pandas(customer_dimensions(features(rows), interests)).set_index("customer_id")


def test_thirds_are_of_those_with_anything_and_ties_share_the_lower_one():
    orders = [0, 1, 1, 2, 3, 4, 5]
    found = dimensions([{"orders_90d": count} for count in orders])
    assert found["activity"].tolist() == ["none", "low", "low", "medium", "medium", "high", "high"]
    alike = dimensions([{"orders_90d": 2}] * 4)
    assert set(alike["activity"]) == {"low"}


def test_a_customer_of_whom_nothing_is_known_has_nulls():
    found = dimensions([{}]).iloc[0]
    assert found["activity"] == "none"
    unknown = ["basket_size", "variety", "spend_trend", "interests", "favourite_category", "affinity_category",
               "category_affinity", "price_sensitivity", "promotion_affinity", "campaign_response", "weekday_habit",
               "time_habit", "age_band", "city"]  # fmt: skip
    assert found[unknown].isna().all()


def test_who_never_ordered_is_left_out():
    assert dimensions([{"orders": 0}, {"orders": 2}]).index.tolist() == ["c1"]
    assert dimensions([]).empty


def test_baskets_are_compared_by_spend_per_order():
    found = dimensions([{"orders_365d": 10, "amount_365d": 100.0}, {"orders_365d": 1, "amount_365d": 50.0},
                        {"orders_365d": 2, "amount_365d": 60.0}])  # fmt: skip
    assert found["basket_size"].tolist() == ["low", "high", "medium"]


def test_habits_and_trends():
    found = dimensions(
        [
            {"weekend_share": 0.8, "morning_share": 0.6, "evening_share": 0.4, "amount_change": 2.0},
            {"weekend_share": 0.5, "morning_share": 0.5, "evening_share": 0.5, "amount_change": 1.0},
            {"weekend_share": 0.0, "night_share": 1.0, "amount_change": 0.0},
        ]
    )
    assert found["weekday_habit"].tolist() == ["weekend", "any day", "weekdays"]
    assert found["time_habit"].tolist() == ["morning", "morning", "night"]
    assert found["spend_trend"].tolist() == ["rising", "steady", "falling"]


def test_price_sensitivity_and_promotions_tell_none_from_unknown():
    found = dimensions(
        [
            {"discount_share_365d": 0.0, "promoted_share_365d": 0.0},
            {"discount_share_365d": 0.1, "coupon_share_365d": 0.2},
            {"discount_share_365d": 0.2},
            {"discount_share_365d": 0.3, "promoted_share_365d": 0.9},
            {},
        ]
    )
    assert found["price_sensitivity"].tolist()[:4] == ["none", "low", "medium", "high"]
    assert pd.isna(found["price_sensitivity"].iloc[4])
    assert found["promotion_affinity"].iloc[[0, 1, 3]].tolist() == ["none", "low", "medium"]
    assert found["promotion_affinity"].iloc[[2, 4]].isna().all()


def test_answers_of_those_who_were_asked():
    found = dimensions([{"contacts_365d": 2, "responses_365d": 1}, {"contacts_365d": 2}, {}])
    assert found["campaign_response"].tolist()[:2] == ["answers", "ignores"]
    assert pd.isna(found["campaign_response"].iloc[2])


def test_affinity_is_to_what_others_who_favour_it_buy_less_of():
    found = dimensions(
        [
            {
                "top_category_1": "milk",
                "top_category_1_share": 0.5,
                "top_category_2": "茶",
                "top_category_2_share": 0.4,
            },
            {
                "top_category_1": "milk",
                "top_category_1_share": 0.5,
                "top_category_2": "茶",
                "top_category_2_share": 0.1,
            },
            {"top_category_1": "milk", "top_category_1_share": 0.8},
        ]
    )
    assert found["affinity_category"].tolist() == ["茶", "milk", "milk"]
    assert found["category_affinity"].tolist() == pytest.approx([0.4 / 0.25, 0.5 / 0.6, 0.8 / 0.6])
    assert found["favourite_category"].tolist() == ["milk"] * 3


def test_interests_and_who_customers_are_come_along():
    interests = ibis.memtable({"customer_id": ["c1", "other"], "interests": ["咖啡", "tea"]})
    found = dimensions([{"city": "上海"}, {"age_band": "25-34"}], interests)
    assert found["interests"].iloc[1] == "咖啡"
    assert pd.isna(found["interests"].iloc[0])
    assert (found["city"].iloc[0], found["age_band"].iloc[1]) == ("上海", "25-34")


def test_columns_and_types_are_those_of_the_contract():
    assert dict(customer_dimensions(features([{}])).schema()) == dict(CUSTOMER_DIMENSIONS.schema)
