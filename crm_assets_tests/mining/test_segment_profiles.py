"""Effect sizes, profiles, overlap and the value curve, on values a person can check."""

from datetime import date
from decimal import Decimal

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.segmentation import SEGMENT_OVERLAP, SEGMENT_PROFILES, VALUE_CURVE
from crm_assets.mining.segment_profiles import (
    LEVELS_OF,
    MEASURES,
    SEGMENTATIONS,
    cohens_d,
    cramers_v,
    described_customers,
    levels_by_segments,
    segment_overlap,
    segment_profiles,
    sums_by_segments,
)
from crm_assets.mining.value_curve import value_curve

DAY = date(2024, 6, 30)
CONNECTION = ibis.duckdb.connect()


def sums(values: list[float]) -> tuple[float, float, float]:
    return len(values), sum_of(values), sum_of([value * value for value in values])


def sum_of(values: list[float]) -> float:
    return float(np.sum(values))


def tables(rows: list[dict]) -> tuple[ibis.Table, ibis.Table, ibis.Table]:
    """Segments, dimensions and features of a day, in which all that is not given is unknown."""

    def table(columns: dict[str, pa.DataType]) -> ibis.Table:
        schema = pa.schema(columns)
        return ibis.memtable(pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows], schema))

    named = {name: pa.int64() if name.endswith("_rule") else pa.string() for name in SEGMENTATIONS}
    named.pop("lifecycle_stage")
    segments = table({"customer_id": pa.string(), "monetary": pa.decimal128(18, 4), **named})
    dimensions = table({"customer_id": pa.string(), **dict.fromkeys(LEVELS_OF, pa.string())})
    return segments, dimensions, table({"customer_id": pa.string(), **dict.fromkeys(MEASURES, pa.float64())})


def described(rows: list[dict]) -> tuple[pd.DataFrame, pd.DataFrame]:
    customers = described_customers(*tables(rows))
    return CONNECTION.to_pandas(sums_by_segments(customers)), CONNECTION.to_pandas(levels_by_segments(customers))


SHOP = [
    {
        "customer_id": f"c{n:02}",
        "monetary": Decimal(100 if n < 4 else 10),
        "value_tier": "A" if n < 4 else "C",
        "rfm_segment": "champions" if n < 2 else "lost",
        "churn_rule": 1 + n % 2,
        "recency_days": float([1, 2, 3, 4, 11, 12, 13, 14, 15, 16][n]),
        "gap_median": 5.0,
        "orders_365d": 3.0 if n != 9 else None,
        "region": "北" if n < 4 else "南",
        "gender": "female" if n % 2 else None,
    }
    for n in range(10)
]


def test_cohens_d_is_the_difference_in_pooled_deviations():
    assert cohens_d(sums([2, 4, 6]), sums([8, 10, 12])) == pytest.approx(-6 / 2)
    assert cohens_d(sums([5, 5]), sums([5, 5])) is None
    assert cohens_d(sums([]), sums([1, 2])) is None
    assert cohens_d(sums([1]), sums([2])) is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-100, 100), min_size=2, max_size=20), st.lists(st.integers(-100, 100), min_size=2, max_size=20)
)
def test_cohens_d_changes_its_sign_with_the_groups(first, second):
    one, other = cohens_d(sums(first), sums(second)), cohens_d(sums(second), sums(first))
    if one is None or other is None:
        assert one is None
        assert other is None
        assert len(set(first)) == len(set(second)) == 1
    else:
        assert one == pytest.approx(-other)
        pooled = np.sqrt((np.var(first) * len(first) + np.var(second) * len(second)) / (len(first) + len(second) - 2))
        assert one == pytest.approx((np.mean(first) - np.mean(second)) / pooled, rel=1e-6, abs=1e-9)


def test_cramers_v_is_one_for_complete_and_none_for_chance():
    assert cramers_v([[50, 0], [0, 50]]) == pytest.approx(1)
    assert cramers_v([[20, 0, 0], [0, 20, 0], [0, 0, 20]]) == pytest.approx(1)
    assert cramers_v([[25, 25], [25, 25]]) == 0
    assert cramers_v([[10, 20]]) == 0
    assert cramers_v([[0, 0], [10, 20]]) == 0
    # phi squared is 0.36; Bergsma: (0.36 - 1/99) / (1 - 1/99)
    assert cramers_v([[40, 10], [10, 40]]) == pytest.approx(((0.36 - 1 / 99) / (1 - 1 / 99)) ** 0.5)
    many_levels_of_nothing = np.random.default_rng(1).multinomial(200, [1 / 60] * 60, size=2)
    assert cramers_v(many_levels_of_nothing) < 0.15


def test_a_profile_says_what_differs_with_size_and_value():
    profiles = segment_profiles(*described(SHOP))
    tier = profiles[(profiles["segmentation"] == "value_tier") & (profiles["segment"] == "A")].set_index("measure")
    assert tier[["customers", "share", "value"]].drop_duplicates().values.tolist() == [[4, 0.4, 400.0]]
    assert tier["value_share"].iloc[0] == pytest.approx(400 / 460)
    recency = tier.loc["recency_days"]
    assert (recency["segment_mean"], recency["rest_mean"]) == (2.5, 13.5)
    assert recency["effect_size"] == pytest.approx(-11 / np.sqrt((5 + 17.5) / 8), abs=1e-6)
    assert tier.loc["region", ["effect", "typical_level", "level_share", "rest_level_share"]].tolist() == [
        "cramers_v",
        "北",
        1.0,
        0.0,
    ]
    assert "gap_median" not in tier.index
    assert "orders_365d" not in tier.index
    assert "gender" not in tier.index
    assert sorted(tier["rank"]) == list(range(1, len(tier) + 1))
    assert list(profiles.columns) == [name for name in SEGMENT_PROFILES.by_name if name != "as_of"]


def test_segmentations_nobody_has_are_left_out():
    found = set(segment_profiles(*described(SHOP))["segmentation"])
    assert found == {"value_tier", "rfm_segment", "churn_rule"}


def test_overlap_counts_customers_in_both():
    overlap = segment_overlap(described(SHOP)[0])
    both = overlap[(overlap["segmentation"] == "rfm_segment") & (overlap["other_segmentation"] == "value_tier")]
    rows = both.set_index(["segment", "other_segment"])
    assert rows["customers"].to_dict() == {("champions", "A"): 2, ("lost", "A"): 2, ("lost", "C"): 6}
    first = rows.loc[("champions", "A")]
    assert (first["share_of_segment"], first["share_of_other"]) == (1.0, 0.5)
    assert first["lift"] == pytest.approx(2 * 10 / (2 * 4))
    assert first["jaccard"] == pytest.approx(2 / 4)
    assert list(overlap.columns) == [name for name in SEGMENT_OVERLAP.by_name if name != "as_of"]


def test_no_customers_have_no_profile_no_overlap_and_no_curve():
    nobody = described([])
    assert segment_profiles(*nobody).empty
    assert segment_overlap(nobody[0]).empty
    assert CONNECTION.to_pandas(value_curve(valued([]))).empty


def test_one_customer_differs_from_nobody():
    one = described(SHOP[:1])
    assert segment_profiles(*one).empty
    assert (segment_overlap(one[0])["cramers_v"] == 0).all()


def valued(amounts: list[int]) -> ibis.Table:
    rows = [
        {"as_of": DAY, "customer_id": f"c{n:04}", "monetary": Decimal(amount), "value_tier": "A" if amount > 5 else "C"}
        for n, amount in enumerate(amounts)
    ]
    types = {
        "as_of": pa.date32(),
        "customer_id": pa.string(),
        "monetary": pa.decimal128(18, 4),
        "value_tier": pa.string(),
    }
    return ibis.memtable(pa.Table.from_pylist(rows, pa.schema(types)))


def test_the_curve_adds_up_the_most_valuable_first():
    curve = CONNECTION.to_pandas(value_curve(valued([1] * 150 + [10] * 50))).set_index("percent")
    assert curve.index.tolist() == list(range(1, 101))
    assert curve.loc[25, ["customers", "value", "value_share", "value_tier"]].tolist() == [50, 500, 500 / 650, "A"]
    assert curve.loc[26, "value_tier"] == "C"
    assert curve.loc[100, ["customers", "value", "value_share"]].tolist() == [200, 650, 1.0]
    assert list(CONNECTION.to_pandas(value_curve(valued([1]))).columns) == list(VALUE_CURVE.by_name)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-20, 200), min_size=1, max_size=230))
def test_the_curve_never_falls_and_bends_down(amounts):
    curve = CONNECTION.to_pandas(value_curve(valued(amounts)))
    assert curve["percent"].tolist() == list(range(1, 101))
    assert curve["customers"].tolist() == [-(-len(amounts) * percent // 100) for percent in range(1, 101)]
    assert curve["value"].iloc[-1] == sum(max(0, amount) for amount in amounts)
    assert curve["value"].is_monotonic_increasing
    assert curve["least_value"].is_monotonic_decreasing
    if not curve["value"].iloc[-1]:
        assert curve["value_share"].isna().all()
