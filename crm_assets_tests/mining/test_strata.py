"""Strata, quotas and the sample drawn from them."""

from collections import Counter
from datetime import date

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.segmentation import CUSTOMER_STRATA
from crm_assets.mining.strata import allocate, draw_strata, with_strata

CONNECTION = ibis.duckdb.connect()


def customers(count: int = 100) -> ibis.Table:
    numbers = range(count)
    frame = pd.DataFrame(
        {
            "as_of": pd.Series([date(2024, 6, 30)] * count, dtype="object"),
            "customer_id": [f"c{n:03}" for n in numbers],
            "value_tier": ["A" if n < 20 else "B" for n in numbers],
            "region": ["北" if n % 2 else None for n in numbers],
        }
    )
    return ibis.memtable(
        frame, schema={"as_of": "date", "customer_id": "string", "value_tier": "string", "region": "string"}
    )


def drawn(quotas: dict[str, int], seed: int = 1, fields: tuple[str, ...] = ("value_tier", "region")) -> pd.DataFrame:
    return CONNECTION.to_pandas(draw_strata(with_strata(customers(), fields), quotas, seed))


def test_a_sample_is_shared_out_in_proportion_with_one_for_the_smallest():
    assert allocate({"a": 600, "b": 300, "c": 99, "d": 1}, 100, {}) == {"a": 59, "b": 30, "c": 10, "d": 1}


def test_quotas_win_and_the_rest_is_shared_by_the_others():
    assert allocate({"a": 50, "b": 25, "c": 25}, 40, {"a": 10}) == {"a": 10, "b": 15, "c": 15}
    assert allocate({"a": 5, "b": 25}, 10, {"a": 8}) == {"a": 5, "b": 5}
    assert allocate({"a": 50, "b": 50}, 10, {"a": 20}) == {"a": 20, "b": 0}


def test_fewer_than_strata_go_to_the_largest():
    assert allocate({"a": 1, "b": 10, "c": 5}, 2, {}) == {"a": 0, "b": 1, "c": 1}
    assert allocate({}, 10, {"gone": 3}) == {}


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 500), max_size=12),
    st.integers(0, 3_000),
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 600), max_size=3),
)
def test_no_more_are_drawn_than_there_are_and_no_fewer_than_asked(sizes, sample, quotas):
    found = allocate(sizes, sample, quotas)
    assert set(found) == set(sizes)
    assert all(0 <= found[name] <= sizes[name] for name in sizes)
    given_quotas = {name: min(quotas[name], sizes[name]) for name in sizes if name in quotas}
    assert {name: found[name] for name in given_quotas} == given_quotas
    others = sum(size for name, size in sizes.items() if name not in quotas)
    assert sum(found.values()) == sum(given_quotas.values()) + min(max(0, sample - sum(given_quotas.values())), others)


def test_each_stratum_gives_its_quota_and_weights_stand_for_all_of_it():
    rows = drawn({"A / 北": 4, "A / unknown": 10, "B / 北": 3, "B / unknown": 0})
    sampled = rows[rows["is_sampled"]]
    assert Counter(sampled["stratum"]) == {"A / 北": 4, "A / unknown": 10, "B / 北": 3}
    assert sampled.groupby("stratum")["weight"].sum().round(9).to_dict() == {
        "A / 北": 10,
        "A / unknown": 10,
        "B / 北": 40,
    }
    assert rows.loc[~rows["is_sampled"], "weight"].isna().all()
    assert list(rows.columns) == list(CUSTOMER_STRATA.by_name)
    assert len(rows) == 100


def test_the_same_customers_are_drawn_each_time_and_stay_when_more_are_wanted():
    quotas = {"A / 北": 5, "A / unknown": 5, "B / 北": 5, "B / unknown": 5}
    first, again, other = drawn(quotas), drawn(quotas), drawn(quotas, seed=2)
    pd.testing.assert_frame_equal(first, again)
    assert first["is_sampled"].tolist() != other["is_sampled"].tolist()
    more = drawn({name: quota + 3 for name, quota in quotas.items()})
    assert more.loc[first["is_sampled"], "is_sampled"].all()


def test_without_fields_there_is_one_stratum():
    rows = drawn({"everyone": 7}, fields=())
    assert set(rows["stratum"]) == {"everyone"}
    assert rows["is_sampled"].sum() == 7


def test_a_field_that_is_no_column_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"strata_fields names 'regoin'.*Choose of: value_tier, region"):
        with_strata(customers(), ["regoin"])
