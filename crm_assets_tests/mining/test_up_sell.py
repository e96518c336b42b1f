"""Up-sell: ladders by price, where customers stand, the step above, and what is offered."""

import json
from datetime import date, timedelta
from decimal import Decimal

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.canonical import PRODUCTS, TRANSACTIONS
from crm_assets.contracts.offers import UP_SELL_OFFERS
from crm_assets.mining.offers import OfferRules
from crm_assets.mining.up_sell import FEATURES, catalogue, kind_lines, price_ladders, standings, step_cases, steps
from crm_assets.mining.up_sell_offers import up_sell_offers

AS_OF = date(2024, 6, 30)
LINES = {column.name: column.dtype for column in TRANSACTIONS.columns} | {"day": "date"}
VERSIONS = {column.name: column.dtype for column in PRODUCTS.columns} | {"valid_from": "date", "valid_to": "date"}
RULES = OfferRules(count=5, history_days=90, repeat_days=90)

COFFEE = {"p1": 2, "p2": 3, "p3": 4, "p4": 5, "p5": 6}
"""Prices of five products of one kind, of which as many are sold."""


def table(rows, schema):
    return ibis.memtable(pd.DataFrame(rows, columns=list(schema)).astype("object"), schema=schema)


def hold(rows):
    return rows.cache()


def product(product_id, subcategory="coffee", brand=None, package_size=None, name=None, category="drinks"):
    return {
        "product_id": product_id,
        "product_name": name,
        "category": category,
        "subcategory": subcategory,
        "brand": brand,
        "attributes": json.dumps({"package_size": package_size}, ensure_ascii=False),
        "valid_from": date(1990, 1, 1),
    }


def line(customer, product_id, ago, amount, quantity=1, **more):
    paid = Decimal(str(round(amount, 4)))
    filled = {"customer_id": customer, "product_id": product_id, "amount": paid, "quantity": quantity}
    return filled | {"day": AS_OF - timedelta(days=ago)} | more


def sold(prices, ago=45, times=6, quantity=10):
    """Order lines of nobody, so that every product sells."""
    return [line(None, name, ago, price * quantity, quantity) for name, price in prices.items() for _ in range(times)]


def numbered(lines, products, as_of=AS_OF, days=240):
    known = hold(catalogue(table(products, VERSIONS), as_of, hold))
    return known, hold(kind_lines(table(lines, LINES), known, as_of, days))


def ladder_of(lines, products):
    known, some = numbered(lines, products)
    rungs = hold(price_ladders(some, known, [AS_OF]))
    return known, some, rungs, rungs.join(known.select("product", "product_id"), "product").to_pandas()


COFFEES = [product(name) for name in COFFEE]


def test_a_tier_is_a_third_of_the_units_sold_and_a_price_is_the_mean_paid():
    lines = [*sold(COFFEE), line("a", "p1", 1, 62, 31), line("a", "p1", 1, 58, 29)]
    *_, found = ladder_of(lines, COFFEES)
    found = found.set_index("product_id").sort_index()
    # 60 units of each and 60 more of the cheapest: middles at 60, 150, 210, 270 and 330 of 360 units.
    assert found["tier"].tolist() == [1, 2, 2, 3, 3]
    assert found["price"].tolist() == [2, 3, 4, 5, 6]
    assert found["lines"].tolist() == [8, 6, 6, 6, 6]


def test_returns_gifts_later_and_older_lines_make_no_price():
    odd = [
        line("a", "p1", 3, 900, 1, is_return=True),
        line("a", "p1", 3, 0, 5),
        line("a", "p1", -1, 900),
        line("a", "p1", 90, 900),
        line("a", "p1", 3, -900, -1),
    ]
    *_, found = ladder_of([*sold(COFFEE), *odd], COFFEES)
    assert found.set_index("product_id").loc["p1", ["price", "lines"]].tolist() == [2, 6]


@pytest.mark.parametrize("prices", [{"p1": 2, "p2": 4}, {"p1": 4, "p2": 4.4, "p3": 4.7}, {"p1": 2, "p2": 2, "p3": 2}])
def test_few_products_or_prices_that_are_nearly_alike_are_no_ladder(prices):
    *_, found = ladder_of(sold(prices), COFFEES)
    assert found.empty


def test_products_of_one_price_are_in_one_tier():
    *_, found = ladder_of(sold({"p1": 2, "p2": 4, "p3": 4, "p4": 4, "p5": 4}), COFFEES)
    # The four of 4 lie around the middle of all units that cost 2 or more: 180 of 300.
    assert found.set_index("product_id")["tier"].to_dict() == {"p1": 1, "p2": 2, "p3": 2, "p4": 2, "p5": 2}


def test_kinds_are_apart_by_category_and_measure_and_sizes_make_prices_comparable():
    goods = [
        product("a", "oil", "X", "500 g"),
        product("b", "oil", "X", "1 kg"),
        product("c", "oil", "Y", "250克"),
        product("d", "oil", "X", "1.5升"),
        product("e", "oil", "X", "1 kg", category="paint"),
        product("f", None, "X", "1 kg"),
    ]
    known, _, _, found = ladder_of(sold({"a": 5, "b": 8, "c": 5, "d": 9, "e": 3, "f": 9}), goods)
    assert known.ladder.nunique().execute() == 3
    found = found.set_index("product_id").sort_index()
    assert found["comparable"].to_dict() == {"a": pytest.approx(0.01), "b": pytest.approx(0.008), "c": 0.02}
    assert found["tier"].to_dict() == {"a": 2, "b": 1, "c": 3}


def steps_of(lines, products):
    known, _, rungs, _ = ladder_of(lines, products)
    names = known.select("product", "product_id").to_pandas().set_index("product")["product_id"]
    found = steps(rungs).to_pandas()
    found = found.assign(product=found["product"].map(names), step=found["step"].map(names))
    return found.sort_values(["kind", "product", "place"])


def pairs_of(found):
    return found[["kind", "product", "step"]].to_numpy().tolist()


def test_what_costs_a_little_more_is_no_step():
    found = steps_of(sold({"p1": 100, "p2": 104, "p3": 106, "p4": 130}), COFFEES)
    steps_of_first = {(product, step) for _, product, step in pairs_of(found)}
    assert ("p1", "p2") not in steps_of_first
    assert ("p1", "p3") in steps_of_first


def test_the_step_above_is_of_the_next_tier_what_sells_best_and_is_no_leap():
    lines = [*sold(COFFEE), *sold({"p5": 6}, times=1)]
    found = steps_of(lines, COFFEES)
    # Tiers are 1, 1, 2, 3, 3; p4 and p5 sell as well but for one line. From 2, 6 is three times as much, which is all.
    assert pairs_of(found) == [
        ["premium", "p1", "p3"],
        ["premium", "p1", "p5"],
        ["premium", "p1", "p4"],
        ["premium", "p2", "p3"],
        ["premium", "p2", "p5"],
        ["premium", "p2", "p4"],
        ["premium", "p3", "p5"],
        ["premium", "p3", "p4"],
    ]
    first = found[found["place"] == 0].set_index("product")
    assert first["leap"].to_dict() == pytest.approx({"p1": np.log(2), "p2": np.log(4 / 3), "p3": np.log(1.5)})
    # Of 31 order lines 19 are in tiers above the first, 13 above the second.
    assert first["log_share"].to_dict() == pytest.approx(
        {"p1": np.log(19 / 31), "p2": np.log(19 / 31), "p3": np.log(13 / 31)}
    )


@pytest.mark.parametrize("fault", [{"ago": 60}, {"times": 4}, {"price": 6.1}])
def test_what_does_not_sell_or_costs_too_much_is_no_step(fault):
    prices = {"p1": 2, "p2": 2}
    dear = fault.pop("price", 6)
    assert pairs_of(steps_of([*sold(prices), *sold({"p3": dear})], COFFEES)) == (
        [["premium", "p1", "p3"], ["premium", "p2", "p3"]] if dear == 6 else []
    )
    assert pairs_of(steps_of([*sold(prices), *sold({"p3": 6}, **{"ago": 45, **fault})], COFFEES)) == (
        [] if fault else [["premium", "p1", "p3"], ["premium", "p2", "p3"]]
    )


def test_a_bigger_pack_is_of_the_same_brand_and_costs_no_more_by_measure():
    goods = [
        product("small", "soap", "X", "100 g"),
        product("big", "soap", "X", "250 g"),
        product("other", "soap", "Y", "250 g"),
        product("dear", "soap", "X", "300 g"),
        product("hardly", "soap", "X", "120 g"),
        product("nameless", "soap", None, "100 g"),
    ]
    prices = {"small": 1, "big": 2, "other": 2, "dear": 3.3, "hardly": 1.1, "nameless": 1}
    found = steps_of(sold(prices), goods)
    assert [pair for pair in pairs_of(found) if pair[0] == "bigger pack"] == [
        ["bigger pack", "hardly", "big"],
        ["bigger pack", "small", "big"],
    ]


def test_where_a_customer_stands_is_what_is_bought_most_often_then_last_then_first():
    mine = [
        *[line("a", "p1", ago, 4, 2) for ago in (5, 20)],
        line("a", "p4", 3, 5),
        line("b", "p3", 9, 4),
        line("b", "p2", 2, 3),
        line("c", "p3", 4, 4),
        line("c", "p2", 4, 3),
        line("d", "p5", 100, 6),
        line("d", "p1", 1, 2),
        line("e", "p5", 100, 6),
    ]
    known, lines, rungs, _ = ladder_of([*sold(COFFEE), *mine], COFFEES)
    standing = hold(standings(lines, rungs, [AS_OF], 90))
    found = standing.join(known.select("product", "product_id"), "product").to_pandas().set_index("customer_id")
    assert found["product_id"].to_dict() == {"a": "p1", "b": "p2", "c": "p2", "d": "p1"}
    assert found["orders"].to_dict() == {"a": 3, "b": 2, "c": 2, "d": 1}
    assert found.loc["a", "units"] == pytest.approx(5 / 3)
    # d bought of the highest tier before the history, e nothing within it.
    assert found["top_tier"].to_dict() == {"a": 3, "b": 2, "c": 2, "d": 3}
    # By what was spent: d 2, c and b 7, a 13.
    assert found["spend_fifth"].to_dict() == {"a": 3, "b": 1, "c": 2, "d": 0}
    cases = step_cases(standing, steps(rungs)).to_pandas().set_index("customer_id").sort_index()
    assert cases["moved_up"].tolist() == [1, 1, 1, 1]
    assert cases["log_orders"].tolist() == pytest.approx(np.log([3, 2, 2, 1]).tolist())
    assert cases[["moved_up_elsewhere", "is_bigger"]].to_numpy().tolist() == [[0, 0]] * 4
    # Nothing is known of other ladders, so all stand in the middle of them.
    assert cases["premium"].tolist() == [0.5] * 4
    assert cases[list(FEATURES)].dtypes.eq("float64").all()


BEFORE = [line("a", "p1", 70, 2), line("b", "p3", 70, 8, 2), line("c", "p5", 70, 6)]
"""On the day 30 days before, a stands on the lowest of five steps, b in the middle, c on top."""

NAMED = [product("p1", name="Daily roast"), product("p2"), product("p3"), product("p4"), product("p5", name="金牌咖啡")]


def offers(lines, products=NAMED, rules=RULES):
    found = up_sell_offers(table(lines, LINES), table(products, VERSIONS), AS_OF, rules, 1, hold)
    assert found.offers.schema() == UP_SELL_OFFERS.schema
    return found.offers.to_pandas(), found.trained


def test_a_ladder_of_five_products_and_three_customers():
    now = [line("a", "p3", 10, 4), line("a", "p1", 5, 2), line("b", "p3", 5, 8, 2), line("c", "p5", 5, 6)]
    found, trained = offers([*sold(COFFEE), *BEFORE, *now])
    # Of two customers below a step, a took it: half of them do. a bought p3 lately, so the highest tier is next, of which
    # p5 sells better; c stands on it.
    columns = ["customer_id", "rank", "kind", "from_product_id", "product_id", "from_tier", "tier"]
    assert found[columns].to_numpy().tolist() == [
        ["a", 1, "premium", "p1", "p5", "value", "premium"],
        ["b", 1, "premium", "p3", "p5", "standard", "premium"],
    ]
    figures = found[["from_price", "price", "units", "extra", "probability", "expected_value"]].to_numpy().tolist()
    assert figures[0] == pytest.approx([2, 6, 1, 4, 0.5, 2.0])
    assert figures[1] == pytest.approx([4, 6, 2, 4, 0.5, 2.0])
    assert found["moved_up_before"].tolist() == [True, False]
    assert found["spend_fifth"].tolist() == [1, 3]
    assert found["reason"].tolist() == [
        "usually buys Daily roast at 2.00 in the last 90 days; 金牌咖啡, of the premium tier, costs 6.00; "
        "bought of a higher tier before",
        "usually buys coffee p3 at 4.00 in the last 90 days; 金牌咖啡, of the premium tier, costs 6.00; "
        "bought of no higher tier yet",
    ]
    assert trained.message == "step_rate is champion untested: too few cases before 2024-06-30 (0 and 2)"


def test_who_has_bought_every_step_lately_is_offered_none():
    now = [line("b", name, 5, COFFEE[name]) for name in ("p4", "p5")]
    found, _ = offers([*sold(COFFEE), *BEFORE, *now, *[line("b", "p3", ago, 4) for ago in (3, 4)]])
    assert found["customer_id"].tolist() == ["a"]


def test_a_bigger_pack_takes_the_place_of_one():
    goods = [
        product("small", "soap", "X", "100 g"),
        product("big", "soap", "X", "250 g"),
        product("y", "soap", "Y", "1g"),
    ]
    lines = [*sold({"small": 1, "big": 2, "y": 0.08}), line("a", "small", 70, 3, 3)]
    found, _ = offers(lines, goods)
    assert found[["kind", "product_id", "units", "extra"]].to_numpy().tolist() == [["bigger pack", "big", 1.0, 1.0]]
    assert "big, a bigger pack of the brand, costs 2.00; bought no bigger pack yet" in found["reason"].item()


@pytest.mark.parametrize(
    ("lines", "products", "missing"),
    [
        ([*sold(COFFEE), *BEFORE], [], "needs products of one subcategory that sell at several prices: 0"),
        ([], NAMED, "needs products of one subcategory that sell at several prices: 0"),
        ([line("a", "p1", 1, 2)], NAMED, "needs products of one subcategory that sell at several prices: 0"),
        ([line("a", name, 70, -2, -1) for name in COFFEE], NAMED, "needs products of one subcategory"),
        ([line("a", name, 70, 0, 1) for name in COFFEE], NAMED, "needs products of one subcategory"),
        ([*sold(COFFEE), *BEFORE], [product(name, subcategory=None) for name in COFFEE], "needs products of one"),
        (sold(COFFEE), NAMED, "needs customers who bought below a step, 30 days before 2024-06-30: 0"),
        ([*sold(COFFEE), line("a", "p1", 5, 2)], NAMED, "needs customers who bought below a step, 30 days before"),
    ],
)
def test_what_is_missing_is_said(lines, products, missing):
    found, trained = offers(lines, products)
    assert found.empty
    assert trained.message.startswith(missing)
    assert trained.leaderboard.empty


BOUGHT = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from(list(COFFEE)), st.integers(0, 120), st.integers(1, 3)),
    min_size=1,
    max_size=15,
)


@settings(max_examples=5, deadline=None)
@given(BOUGHT, st.integers(1, 3))
def test_offers_cost_more_are_new_and_do_not_depend_on_what_comes_later(bought, count):
    mine = [line(who, what, ago, COFFEE[what] * units, units) for who, what, ago, units in bought]
    lines = [*sold(COFFEE), *BEFORE, *mine]
    rules = OfferRules(count, history_days=60, repeat_days=45)
    found, _ = offers(lines, rules=rules)
    for row in found.itertuples():
        held = [(x["product_id"], AS_OF - x["day"]) for x in lines if x["customer_id"] == row.customer_id]
        assert row.from_product_id in {what for what, ago in held if ago.days < 60}
        assert row.product_id not in {what for what, ago in held if ago.days < 45}
        assert row.price > row.from_price
        assert row.expected_value == pytest.approx(row.probability * row.extra)
    for _, listed in found.groupby("customer_id"):
        assert listed["rank"].tolist() == list(range(1, len(listed) + 1))
        assert len(listed) <= count
        assert listed["expected_value"].is_monotonic_decreasing
    later = [line(who, "p1", -1 - ago, 500, 1) for who, _, ago, _ in bought]
    again, _ = offers([*lines, *later], rules=rules)
    pd.testing.assert_frame_equal(found, again)
