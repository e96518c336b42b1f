"""Cross-sell rules, against rules worked out by hand and the published rules of Groceries."""

import os
from datetime import date, timedelta
from math import comb
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from crm_assets.contracts.basket import CROSS_SELL_RULES
from crm_assets.contracts.canonical import PRODUCTS, TRANSACTIONS
from crm_assets.mining.cross_sell import basket_items, cross_sell_rules

AS_OF = date(2024, 3, 31)
CONNECTION = ibis.duckdb.connect()
REFERENCE = Path(os.environ.get("CRM_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
GROCERIES = REFERENCE / "groceries" / "groceries_long.csv"
LINES = {column.name: column.dtype for column in TRANSACTIONS.columns} | {"day": "date"}
VERSIONS = {column.name: column.dtype for column in PRODUCTS.columns} | {"valid_from": "date", "valid_to": "date"}


def engine_table(name, rows, schema):
    arrow = pa.Table.from_pylist(rows, schema=ibis.schema(schema).to_pyarrow())
    return CONNECTION.create_table(name, arrow, overwrite=True, temp=True)


def lines_of(baskets, day=AS_OF, prefix="", **more):
    """Order lines of baskets given as text: "bm" is a basket with the products b and m."""
    return [
        {
            "order_id": f"{prefix}{number}",
            "line_id": str(line),
            "product_id": product,
            "day": day,
            "quantity": 1,
            "amount": 2,
        }
        | more
        for number, products in enumerate(baskets)
        for line, product in enumerate(products)
    ]


def transactions_of(rows):
    return engine_table("transactions", rows, LINES)


def products_of(rows):
    return engine_table("products", [{"valid_from": date(1900, 1, 1)} | row for row in rows], VERSIONS)


@pytest.fixture
def products():
    """Bread, milk and wine: the category is the whole word, the product type its first letter in upper case."""
    names = ("bread", "milk", "wine")
    return products_of([{"product_id": name[0], "category": name, "subcategory": name[0].upper()} for name in names])


def rules_of(transactions, products, **options):
    options = {"minimum_support": 0, "minimum_count": 1, "minimum_confidence": 0, "levels": ("category",)} | options
    return cross_sell_rules(transactions, products, AS_OF, **options)


def rule(found, antecedents, consequents):
    rows = found.rules[
        [
            sides == (antecedents, consequents)
            for sides in zip(found.rules["antecedents"], found.rules["consequents"], strict=True)
        ]
    ]
    assert len(rows) == 1
    return rows.iloc[0]


TEN_BASKETS = ["bm", "bm", "bm", "bm", "b", "b", "m", "w", "w", "w"]


def test_measures_are_those_worked_out_by_hand(products):
    found = rules_of(transactions_of(lines_of(TEN_BASKETS)), products)
    row = rule(found, ["milk"], ["bread"])  # milk in 5 of 10 baskets, bread in 6, both in 4
    assert row[["support", "confidence"]].tolist() == pytest.approx([0.4, 0.8])
    assert row["lift"] == pytest.approx(0.8 / 0.6)
    assert row["leverage"] == pytest.approx(0.4 - 0.5 * 0.6)
    assert row["conviction"] == pytest.approx(0.4 / 0.2)
    assert row[["baskets", "antecedent_baskets", "consequent_baskets", "mined_baskets"]].tolist() == [4, 5, 6, 10]


def test_the_p_value_is_fishers_exact_test(products):
    row = rule(rules_of(transactions_of(lines_of(TEN_BASKETS)), products), ["milk"], ["bread"])
    chance = sum(comb(6, both) * comb(4, 5 - both) for both in (4, 5)) / comb(10, 5)
    assert row["p_value"] == pytest.approx(chance)


def test_q_values_count_every_rule_that_could_have_been_found(products):
    possible = 3 * 2 + 2 * 1  # one of three items suggests another; both frequent pairs, the item they lack
    mixed = lines_of(["bm", "bm", "bw", "mw", "b", "w", "w"])
    found = rules_of(transactions_of(mixed), products, levels=("category", "product_type")).rules
    for _level, rules in found.groupby("level"):
        ranked = rules.sort_values("p_value")
        steps = [p_value * possible / rank for rank, p_value in enumerate(ranked["p_value"], start=1)]
        expected = [min(1, *steps[rank:]) for rank in range(len(steps))]
        assert ranked["q_value"].tolist() == pytest.approx(expected)


def test_a_minimum_confidence_makes_no_rule_look_surer(products):
    transactions = transactions_of(lines_of(["bm", "bm", "bw", "mw", "b", "w", "w"]))
    every, kept = (rules_of(transactions, products, minimum_confidence=least) for least in (0, 0.5))
    assert 0 < len(kept.rules) < len(every.rules)
    for row in kept.rules.itertuples():
        assert row.q_value >= rule(every, row.antecedents, row.consequents)["q_value"] - 1e-12


def test_a_rule_whose_shorter_form_is_as_good_is_redundant(products):
    # Bread brings milk; wine is bought at random, so bread and wine bring milk no more than bread does.
    found = rules_of(
        transactions_of(lines_of(["bm"] * 40 + ["bmw"] * 40 + ["w"] * 40 + ["b"] * 5 + ["x"] * 40)), products
    )
    assert not rule(found, ["bread"], ["milk"])["is_redundant"]
    longer = rule(found, ["bread", "wine"], ["milk"])
    assert longer["lift"] > 1
    assert longer["is_redundant"]


def test_a_longer_rule_that_needs_both_is_not_redundant(products):
    found = rules_of(transactions_of(lines_of(["bmw"] * 60 + ["b"] * 60 + ["m"] * 60 + ["w"] * 5)), products)
    longer = rule(found, ["bread", "milk"], ["wine"])
    assert longer["q_value"] < 0.001
    assert not longer["is_redundant"]


def test_the_value_of_a_rule_is_what_its_baskets_spend_above_chance(products):
    lines = lines_of(TEN_BASKETS) + lines_of(["b"], amount=8)  # a second line of bread in the first basket
    row = rule(rules_of(transactions_of(lines), products), ["milk"], ["bread"])
    # Six baskets spend 20 on bread; a basket with milk has it 0.8 times instead of 0.6.
    assert row["expected_value"] == pytest.approx(20 / 6 * (0.8 - 0.6))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(baskets=st.lists(st.sets(st.sampled_from("bmw"), min_size=1), min_size=1, max_size=40))
def test_whatever_the_baskets_each_antecedent_must_add_to_the_others(products, baskets):
    found = rules_of(transactions_of(lines_of(baskets)), products).rules
    names = {"bread": "b", "milk": "m", "wine": "w"}
    for row in found.itertuples():
        (consequent,) = (names[item] for item in row.consequents)
        antecedents = {names[item] for item in row.antecedents}
        chances = []
        for left_out in antecedents:
            among = [basket for basket in baskets if antecedents - {left_out} <= basket]
            both = [
                [sum((left_out in b) == has and (consequent in b) == buys for b in among) for buys in (True, False)]
                for has in (True, False)
            ]
            chances.append(fisher_exact(both, alternative="greater").pvalue)
        assert row.p_value == pytest.approx(max(chances), abs=1e-9)
        assert row.p_value <= row.q_value <= 1
        assert row.is_redundant == (len(antecedents) > 1 and row.q_value > 0.05)


def test_products_and_brands_are_items_too():
    products = products_of([{"product_id": name, "brand": name.upper()} for name in "bm"])
    found = rules_of(transactions_of(lines_of(["bm"])), products, levels=("product", "brand"))
    assert sorted(map(tuple, found.rules[["level", "antecedents"]].map(str).to_numpy())) == [
        ("brand", "['B']"),
        ("brand", "['M']"),
        ("product", "['b']"),
        ("product", "['m']"),
    ]


def test_beyond_the_most_items_only_the_more_frequent_ones_make_rules(products):
    found = rules_of(transactions_of(lines_of(["bm", "bm", "bmw"])), products, max_items=2)
    assert {item for items in found.rules["antecedents"] for item in items} == {"bread", "milk"}
    assert found.levels["minimum_count"].tolist() == [2]


PLANTED = {1.5: ("p00", "p01"), 2.0: ("p02", "p03"), 3.0: ("p04", "p05"), 5.0: ("p06", "p07")}
"""Lift of each planted pair; each of its items is in a tenth of the baskets."""


def simulated_lines(seed, baskets=10_000, noise=25):
    """Baskets of planted pairs among items bought independently; the later half is the hold-out's."""
    random = np.random.default_rng(seed)
    held = {f"n{item:02}": random.random(baskets) < random.uniform(0.03, 0.3) for item in range(noise)}
    for lift, (first, second) in PLANTED.items():
        held[first] = random.random(baskets) < 0.1
        held[second] = random.random(baskets) < np.where(held[first], 0.1 * lift, (0.1 - 0.01 * lift) / 0.9)
    days = np.where(np.arange(baskets) < baskets // 2, 0, 60)
    return [
        {"order_id": f"{number}", "line_id": item, "product_id": item, "quantity": 1, "amount": 1}
        | {"day": date(2024, 1, 31) + timedelta(days=int(days[number]))}
        for item, baskets_of_item in held.items()
        for number in np.flatnonzero(baskets_of_item)
    ]


@pytest.mark.slow
def test_of_planted_rules_at_most_7_in_100_found_are_false_and_each_is_measured_later():
    names = {item for pair in PLANTED.values() for item in pair} | {f"n{item:02}" for item in range(25)}
    products = products_of([{"product_id": name} for name in sorted(names)])
    true = {sides: lift for lift, pair in PLANTED.items() for sides in (pair, pair[::-1])}
    shares, found_rules, later = [], dict.fromkeys(PLANTED, 0), {lift: [] for lift in PLANTED}
    for seed in range(20):
        options = {"levels": ("product",), "minimum_support": 0.005, "max_length": 3}
        rules = rules_of(transactions_of(simulated_lines(seed)), products, **options).rules
        found = rules[(rules["q_value"] <= 0.05) & ~rules["is_redundant"]]
        assert found["holdout_lift"].notna().all()
        sides = [(row.antecedents, row.consequents[0], row.holdout_lift) for row in found.itertuples()]
        lifts = [(true.get((items[0], item)) if len(items) == 1 else None, after) for items, item, after in sides]
        shares.append(sum(lift is None for lift, _ in lifts) / max(1, len(lifts)))
        for lift, after in lifts:
            if lift is not None:
                found_rules[lift] += 1
                later[lift].append(after)
    assert np.mean(shares) <= 0.07, shares
    assert found_rules[5.0] == found_rules[3.0] == found_rules[2.0] == 40, found_rules
    assert found_rules[1.5] > 0, found_rules
    for lift, after in later.items():
        assert np.mean(after) == pytest.approx(lift, rel=0.1), later


def test_of_too_many_baskets_some_are_drawn_for_all_levels(products):
    transactions = transactions_of(lines_of(["bm", "b", "m", "w"] * 500))
    found = rules_of(transactions, products, levels=("category", "product_type"), max_baskets=500, holdout_days=0)
    assert found.levels["share"].tolist() == [0.25, 0.25]
    baskets = found.levels["baskets"].tolist()
    assert baskets[0] == baskets[1]
    assert 400 < baskets[0] < 600
    row = rule(found, ["bread"], ["milk"])
    assert row["mined_baskets"] == baskets[0]
    assert row["confidence"] == pytest.approx(0.5, abs=0.07)


def test_a_rule_that_never_fails_has_no_conviction(products):
    row = rule(rules_of(transactions_of(lines_of(["bm", "bm", "b"])), products), ["milk"], ["bread"])
    assert row["confidence"] == 1
    assert pd.isna(row["conviction"])


def test_both_levels_are_mined_apart(products):
    found = rules_of(transactions_of(lines_of(["bm"])), products, levels=("category", "product_type"))
    sides = found.rules[["level", "antecedents", "consequents"]].to_numpy().tolist()
    assert sides == [
        ["category", ["bread"], ["milk"]],
        ["category", ["milk"], ["bread"]],
        ["product_type", ["B"], ["M"]],
        ["product_type", ["M"], ["B"]],
    ]


def test_a_confidence_right_at_the_minimum_is_enough(products):
    lines = lines_of(["bm"] * 12 + ["b"] * 3 + ["w"] * 9820)  # 12 of 15: (12 / 9835) / (15 / 9835) is a hair below 0.8
    found = rules_of(transactions_of(lines), products, minimum_confidence=0.8)
    assert rule(found, ["bread"], ["milk"])["confidence"] == pytest.approx(0.8)


def test_longer_consequents_come_only_when_asked_for(products):
    transactions = transactions_of(lines_of(["bmw", "bmw"]))
    assert set(rules_of(transactions, products).rules["consequent_length"]) == {1}
    assert set(rules_of(transactions, products, max_consequents=None).rules["consequent_length"]) == {1, 2}


def test_an_anonymous_line_counts_and_a_return_does_not(products):
    lines = lines_of(["bm"], customer_id=None) + lines_of(["w"], is_return=True) + lines_of(["w"], quantity=-1)
    items = basket_items(transactions_of(lines), products, "category", AS_OF).to_pandas()
    assert sorted(items["item"]) == ["bread", "milk"]


def test_a_line_after_the_as_of_day_is_not_seen(products):
    lines = lines_of(["b"]) + lines_of(["w"], day=AS_OF + timedelta(days=1))
    assert basket_items(transactions_of(lines), products, "category", AS_OF).to_pandas()["item"].tolist() == ["bread"]


def test_a_product_has_the_category_it_had_as_of_the_day():
    changed = date(2024, 3, 1)
    versions = [
        {"product_id": "b", "category": "old", "valid_to": changed},
        {"product_id": "b", "category": "new", "valid_from": changed},
    ]
    transactions, products = transactions_of(lines_of(["b"], day=date(2024, 1, 1))), products_of(versions)
    for as_of, category in ((date(2024, 2, 29), "old"), (changed, "new")):
        assert basket_items(transactions, products, "category", as_of).to_pandas()["item"].tolist() == [category]


def test_a_basket_over_midnight_stays_one_basket_of_its_first_day(products):
    lines = lines_of(["b"], day=AS_OF - timedelta(days=1)) + lines_of(["m"], day=AS_OF)
    items = basket_items(transactions_of(lines), products, "category", AS_OF).to_pandas()
    assert items["basket_id"].nunique() == 1
    assert set(pd.to_datetime(items["day"]).dt.date) == {AS_OF - timedelta(days=1)}


def test_the_last_days_are_held_out_and_measured_apart(products):
    early = lines_of(TEN_BASKETS, day=date(2024, 1, 1), prefix="early")
    late = lines_of(["bm", "b", "w", "w"], day=AS_OF, prefix="late")
    found = rules_of(transactions_of(early + late), products, holdout_days=28)
    row = rule(found, ["milk"], ["bread"])
    assert (row["baskets"], row["mined_baskets"], row["holdout_baskets"]) == (4, 10, 1)
    assert row["holdout_lift"] == pytest.approx(1 * 4 / (1 * 2))
    level = found.levels.iloc[0]
    assert (level["mined_until"], level["holdout_baskets"]) == (date(2024, 3, 3), 4)


def test_an_item_never_bought_in_the_holdout_has_no_holdout_lift(products):
    early = lines_of(["bm", "bm", "w"], day=date(2024, 1, 1), prefix="early")
    found = rules_of(transactions_of(early + lines_of(["b"], prefix="late")), products)
    row = rule(found, ["milk"], ["bread"])
    assert row["holdout_baskets"] == 0
    assert pd.isna(row["holdout_lift"])


def test_a_short_history_is_mined_whole(products):
    lines = lines_of(["bm"], day=AS_OF - timedelta(days=54), prefix="early") + lines_of(["bm"], prefix="late")
    found = rules_of(transactions_of(lines), products, holdout_days=28)
    assert found.rules["baskets"].tolist() == [2, 2]
    assert found.rules["holdout_lift"].isna().all()
    assert found.rules["holdout_baskets"].isna().all()


def test_oversized_baskets_are_reported(products):
    found = rules_of(transactions_of(lines_of(["bmw", "bm", "b"])), products, max_basket_items=2)
    assert found.levels[["baskets", "oversized_baskets"]].to_numpy().tolist() == [[2, 1]]


@pytest.mark.parametrize("baskets", [[], ["b"], ["bm"], ["x"]])
def test_too_little_gives_rules_in_the_contract(products, baskets):
    found = rules_of(transactions_of(lines_of(baskets)), products, levels=("category", "product_type"))
    written = ibis.memtable(found.rules, schema=CROSS_SELL_RULES.schema).to_pyarrow()
    assert written.schema.names == list(CROSS_SELL_RULES.by_name)
    assert len(written) == (4 if baskets == ["bm"] else 0)
    assert written["holdout_lift"].null_count == len(written)


def test_a_level_without_any_value_gives_no_rules():
    products = products_of([{"product_id": "b", "subcategory": "B"}, {"product_id": "m", "subcategory": "M"}])
    found = rules_of(transactions_of(lines_of(["bm"])), products, levels=("category", "product_type"))
    assert found.levels[["level", "baskets", "rules"]].to_numpy().tolist() == [
        ["category", 0, 0],
        ["product_type", 1, 2],
    ]


def test_an_unknown_level_is_refused(products):
    with pytest.raises(ValueError, match="category or brand, not 'shelf'"):
        basket_items(transactions_of([]), products, "shelf", AS_OF)


def test_the_same_input_gives_the_same_rules_whatever_the_threads(products):
    lines = lines_of(TEN_BASKETS, day=date(2024, 1, 1), prefix="early") + lines_of(["bm", "bmw"], prefix="late")
    tables = []
    for threads in (1, 4):
        CONNECTION.raw_sql(f"set threads = {threads}")
        found = rules_of(transactions_of(lines if threads == 1 else lines[::-1]), products).rules
        tables.append(ibis.memtable(found, schema=CROSS_SELL_RULES.schema).to_pyarrow())
    assert tables[0].equals(tables[1])


@pytest.fixture(scope="module")
def groceries():
    if not GROCERIES.exists():
        pytest.skip(f"needs the reference data set {GROCERIES}")
    lines = pd.read_csv(GROCERIES, dtype=str)
    rows = [
        {"order_id": order, "line_id": str(line), "product_id": item, "day": AS_OF, "quantity": 1, "amount": 1}
        for line, (order, item) in enumerate(zip(lines["transaction"], lines["item"], strict=True))
    ]
    items = lines[["item", "level2"]].drop_duplicates()
    products = [
        {"product_id": item, "category": level2, "subcategory": item}
        for item, level2 in zip(items["item"], items["level2"], strict=True)
    ]
    versions = [product | {"valid_from": date(1900, 1, 1)} for product in products]
    return engine_table("groceries", rows, LINES), engine_table("grocery_products", versions, VERSIONS)


def grocery_rules(groceries, support, confidence, max_length=10):
    options = {"minimum_support": support, "minimum_confidence": confidence, "max_length": max_length}
    return rules_of(*groceries, levels=("product_type",), **options)


def test_groceries_give_the_463_published_rules(groceries):
    found = grocery_rules(groceries, 0.006, 0.25)
    rules = found.rules
    lengths = (rules["antecedent_length"] + rules["consequent_length"]).value_counts().to_dict()
    assert lengths == {2: 150, 3: 297, 4: 16}
    best = rules.loc[rules["lift"].idxmax()]
    assert (best["antecedents"], best["consequents"]) == (["herbs"], ["root vegetables"])
    assert best["lift"] == pytest.approx(3.956, abs=0.0005)


def test_groceries_give_the_410_published_rules_of_high_confidence(groceries):
    found = grocery_rules(groceries, 0.001, 0.8)
    assert len(found.rules) == 410
    row = rule(found, ["liquor", "red/blush wine"], ["bottled beer"])
    assert row["lift"] == pytest.approx(11.235, abs=0.0005)


def test_groceries_give_the_5668_published_rules_of_low_support(groceries):
    assert len(grocery_rules(groceries, 0.001, 0.5).rules) == 5668
