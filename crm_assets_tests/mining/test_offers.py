"""Cross-sell offers: who meets a rule, what they lack, which rules are used, and how many offers."""

from datetime import date, timedelta

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.basket import CROSS_SELL_RULES, SEQUENTIAL_RULES
from crm_assets.contracts.canonical import PRODUCTS, TRANSACTIONS
from crm_assets.contracts.offers import CROSS_SELL_OFFERS
from crm_assets.mining.offers import OfferRules, cross_sell_offers

AS_OF = date(2024, 3, 31)
LINES = {column.name: column.dtype for column in TRANSACTIONS.columns} | {"day": "date"}
VERSIONS = {column.name: column.dtype for column in PRODUCTS.columns} | {"valid_from": "date", "valid_to": "date"}
KINDS = ("bread", "cheese", "milk", "酒")
FEW = OfferRules(count=2, history_days=30, repeat_days=30)


def table(rows, schema):
    return ibis.memtable(pd.DataFrame(rows, columns=list(schema)).astype("object"), schema=schema)


PRODUCT_TABLE = table(
    [
        {"product_id": kind[0], "product_name": name, "category": kind, "valid_from": date(1900, 1, 1)}
        for kind, name in zip(KINDS, ("Bread", None, "Milk", "米酒"), strict=True)
    ],
    VERSIONS,
)


def lines_of(bought):
    """Order lines of (customer, letters of products, days before AS_OF); each costs 10."""
    rows = [
        {
            "order_id": str(order),
            "line_id": str(line),
            "customer_id": customer,
            "product_id": product,
            "quantity": 1,
            "amount": 10,
            "day": AS_OF - timedelta(days=ago),
        }
        | more[0]
        for order, (customer, products, ago, *more) in enumerate((*item, {}) for item in bought)
        for line, product in enumerate(products)
    ]
    return table(rows, LINES)


def rule(antecedents, consequent, confidence=0.6, lift=2.0, **more):
    filled = {
        "level": "category",
        "antecedents": sorted(antecedents),
        "consequents": [consequent],
        "antecedent_length": len(antecedents),
        "consequent_length": 1,
        "confidence": confidence,
        "lift": lift,
        "q_value": 0.001,
        "holdout_lift": 1.5,
        "is_redundant": False,
        "expected_value": 10 * (confidence - confidence / lift),
    }
    return filled | more


def rules_of(*rules):
    return table(rules, dict(CROSS_SELL_RULES.schema.items()))


def sequence(antecedent, consequent, confidence=0.3, lift=2.0, **more):
    filled = {
        "level": "category",
        "antecedent": antecedent,
        "consequent": consequent,
        "within_days": 30,
        "confidence": confidence,
        "expected_confidence": confidence / lift,
        "lift": lift,
        "q_value": 0.001,
        "holdout_lift": 1.5,
        "expected_value": 10 * (confidence - confidence / lift),
    }
    return filled | more


def made(bought, rules, sequences=(), limits=FEW):
    return cross_sell_offers(
        lines_of(bought),
        PRODUCT_TABLE,
        rules_of(*rules),
        table(list(sequences), dict(SEQUENTIAL_RULES.schema.items())),
        AS_OF,
        limits,
    )


def offers(bought, rules, sequences=(), limits=FEW):
    found = made(bought, rules, sequences, limits).offers
    assert found.schema() == CROSS_SELL_OFFERS.schema
    return found.to_pandas()


# Somebody else, who meets no rule.
OTHERS = [("other", "酒m", 1), ("other", "c", 2)]


def of(customer, found):
    return found.loc[found["customer_id"] == customer, ["rank", "item", "kind", "expected_value"]].to_numpy().tolist()


def test_who_holds_most_of_a_combination_is_offered_the_rest():
    found = offers([("a", "b", 3), ("a", "c", 9), ("b", "b", 3), *OTHERS], [rule(["bread", "cheese"], "酒")])
    # In 60% of baskets, in 30% by chance: 0.3 more of 10 each. Customer b has no cheese.
    assert of("a", found) == [[1, "酒", "missing item", pytest.approx(3.0)]]
    assert set(found["customer_id"]) == {"a"}
    assert found["reason"].tolist() == [
        "bought bread and cheese in the last 30 days, but not 酒: "
        "60% of baskets with these have it, 2.0 times as many as by chance"
    ]


def test_the_most_confident_rule_that_is_met_speaks_for_an_item():
    rules = [rule(["bread"], "酒", 0.4), rule(["cheese"], "酒", 0.5), rule(["bread", "milk"], "酒", 0.9)]
    found = offers([("a", "bc", 3), *OTHERS], rules)
    assert of("a", found) == [[1, "酒", "rule", pytest.approx(2.5)]]


def test_offers_are_ranked_by_value_then_by_name_and_are_few():
    rules = [rule(["bread"], "cheese"), rule(["bread"], "milk"), rule(["bread"], "酒", 0.8)]
    found = offers([("a", "b", 3), *OTHERS], rules)
    assert [row[:2] for row in of("a", found)] == [[1, "酒"], [2, "cheese"]]


@pytest.mark.parametrize(("ago", "offered"), [(29, []), (30, ["酒"]), (-1, ["酒"])])
def test_what_was_bought_within_the_repeat_window_is_not_offered(ago, offered):
    found = offers([("a", "b", 3), ("a", "酒", ago), *OTHERS], [rule(["bread"], "酒")])
    assert found.loc[found["customer_id"] == "a", "item"].tolist() == offered


@pytest.mark.parametrize("ago", [30, -1])
def test_antecedents_bought_before_the_history_or_after_the_day_say_nothing(ago):
    assert offers([("a", "b", ago), *OTHERS], [rule(["bread"], "酒")]).empty


@pytest.mark.parametrize(
    "fault", [{"q_value": 0.06}, {"lift": 1.0}, {"holdout_lift": 0.9}, {"is_redundant": True}, {"expected_value": 0.0}]
)
def test_rules_that_do_not_hold_offer_nothing(fault):
    assert len(offers([("a", "b", 3), *OTHERS], [rule(["bread"], "酒")])) == 1
    assert offers([("a", "b", 3), *OTHERS], [rule(["bread"], "酒") | fault]).empty


def test_a_rule_without_hold_out_is_used():
    assert len(offers([("a", "b", 3), *OTHERS], [rule(["bread"], "酒", holdout_lift=None)])) == 1


def test_returns_and_nobody_do_not_count():
    bought = [("a", "b", 3, {"is_return": True}), (None, "b", 3), ("c", "b", 3, {"quantity": -1}), *OTHERS]
    assert offers(bought, [rule(["bread"], "酒")]).empty


def test_nothing_gives_no_offers():
    assert offers([], [rule(["bread"], "酒")]).empty
    assert offers([("a", "b", 3)], []).empty


def test_who_lacks_what_others_buy_next_is_offered_it():
    found = offers([("a", "b", 3), ("a", "m", 3), *OTHERS], [], [sequence("bread", "酒"), sequence("bread", "milk")])
    # 30% buy it within 30 days, 15% of others: 0.15 more of 10 each.
    assert of("a", found) == [[1, "酒", "next purchase", pytest.approx(1.5)]]
    assert found["antecedents"].map(list).tolist() == [["bread"]]
    assert found["reason"].tolist() == [
        "bought bread in the last 30 days, but not 酒: "
        "30% of those who did buy it within 30 days, 2.0 times as many as of others who buy as much"
    ]


def test_the_more_confident_of_a_sequence_and_a_rule_of_baskets_speaks_for_an_item():
    rules, sequences = [rule(["bread"], "酒", 0.4), rule(["bread"], "milk", 0.2)], [sequence("bread", "酒", 0.3)]
    found = offers([("a", "b", 3), *OTHERS], rules, [*sequences, sequence("bread", "milk", 0.3)])
    assert of("a", found) == [[1, "酒", "rule", pytest.approx(2.0)], [2, "milk", "next purchase", pytest.approx(1.5)]]


@pytest.mark.parametrize("fault", [{"q_value": 0.06}, {"lift": 1.0}, {"holdout_lift": 0.9}, {"expected_value": 0.0}])
def test_sequences_that_do_not_hold_offer_nothing(fault):
    assert len(offers([("a", "b", 3), *OTHERS], [], [sequence("bread", "酒", holdout_lift=None)])) == 1
    assert offers([("a", "b", 3), *OTHERS], [], [sequence("bread", "酒") | fault]).empty


def test_of_each_item_the_five_most_confident_sequences_are_tried():
    kinds = [f"kind {number}" for number in range(6)]
    goods = [{"product_id": kind, "category": kind, "valid_from": date(1900, 1, 1)} for kind in (*kinds, "酒")]
    sequences = [sequence(kind, "酒", (90 - number) / 100) for number, kind in enumerate(kinds)]
    found = cross_sell_offers(
        lines_of([(kind, [kind], 3) for kind in kinds]),
        table(goods, VERSIONS),
        rules_of(),
        table(sequences, dict(SEQUENTIAL_RULES.schema.items())),
        AS_OF,
        FEW,
    ).offers.to_pandas()
    assert found["customer_id"].tolist() == kinds[:5]


def measured(bread, bought_by, **more):
    """Customers of whom so many bought bread before the newest days, and so many of these wine in them, for 10 each.

    As many others buy only milk before. All order in the newest days, when customer n meets every rule.
    """
    names = [f"c{number}" for number in range(bread)]
    before = [(who, "b", 40) for who in names] + [(f"other {who}", "m", 40) for who in names]
    after = [(who, "c", 10) for who, _product, _ago in before]
    return made([*before, *after, *((who, "酒", 9) for who in names[:bought_by]), ("n", "bc", 2)], **more)


@pytest.mark.parametrize(
    ("bread", "bought_by", "share", "sales_share"),
    [
        # Promised are 100 times 4 of 6; spent are 200, and 100 by any half of the 200 customers.
        (100, 20, 0.25, 1 / 3),
        (99, 20, 1.0, 1.0),  # Too few to tell.
        (100, 0, 0.01, 0.01),
    ],
)
def test_values_are_what_came_true_of_promises_in_the_newest_days(bread, bought_by, share, sales_share):
    found = measured(bread, bought_by, rules=[rule(["bread"], "酒", lift=3.0)])
    assert found.came_true.to_dict("records") == [
        {"kind": "rule", "customers": bread, "offers": bread}
        | {"promised": pytest.approx(bread * 4.0), "more": pytest.approx(bought_by * 5.0)}
        | {"share": pytest.approx(share), "sales_promised": pytest.approx(bread * 6.0)}
        | {"sales": pytest.approx(bought_by * 10.0), "sales_share": pytest.approx(sales_share)}
    ]
    offered = found.offers.to_pandas()
    assert of("n", offered) == [[1, "酒", "rule", pytest.approx(4.0 * share)]]
    assert offered["expected_sales"].tolist() == [pytest.approx(6.0 * sales_share)]


def test_what_came_true_of_all_kinds_stands_in_for_a_kind_that_few_met():
    found = measured(100, 20, rules=[rule(["bread"], "酒")], sequences=[sequence("cheese", "milk", 0.8)])
    assert found.came_true[["kind", "customers", "share"]].to_numpy().tolist() == [
        ["next purchase", 0, pytest.approx(1 / 3)],
        ["rule", 100, pytest.approx(1 / 3)],
    ]
    # 0.4 more of 10 each is 4, a third of which comes true.
    assert of("n", found.offers.to_pandas())[0] == [1, "milk", "next purchase", pytest.approx(4 / 3)]


def test_expected_sales_are_never_below_the_part_above_others():
    weak, strong = rule(["bread"], "酒", 0.2, lift=1.25), rule(["cheese"], "milk", 0.5, lift=10.0)
    found = measured(100, 40, rules=[weak, strong])
    # Of 100 x 0.4 came 200, of 100 x 2 with what others spend 400: 5 and 2 times as much.
    assert found.came_true[["share", "sales_share"]].to_numpy().tolist() == [[pytest.approx(5.0), pytest.approx(2.0)]]
    offered = found.offers.to_pandas()
    milk = offered[(offered["customer_id"] == "n") & (offered["item"] == "milk")]
    # Five times 4.5; twice the sales of 5 would be less than this part of them.
    assert milk[["expected_value", "expected_sales"]].to_numpy().tolist() == [
        [pytest.approx(22.5), pytest.approx(22.5)]
    ]
    wine = offered[(offered["customer_id"] == "n") & (offered["item"] == "酒")]
    assert wine[["expected_value", "expected_sales"]].to_numpy().tolist() == [[pytest.approx(2.0), pytest.approx(4.0)]]


def test_who_did_not_order_in_the_newest_days_tells_nothing_of_promises():
    gone = [(f"c{number}", "b", 40) for number in range(100)]
    found = made([*gone, *OTHERS], [rule(["bread"], "酒")])
    assert found.came_true[["customers", "share"]].to_numpy().tolist() == [[0, 1.0]]


def test_rules_of_products_speak_of_their_names():
    found = offers([("a", "b", 3), ("a", "c", 3)], [rule("bc", "酒", level="product")])
    assert found[["level", "item"]].to_numpy().tolist() == [["product", "酒"]]
    assert found["reason"].item().startswith("bought Bread and c in the last 30 days, but not 米酒: 60%")


def test_limits_that_make_no_sense_are_refused():
    for wrong in ({"count": 0}, {"history_days": 0}, {"repeat_days": -1}):
        with pytest.raises(ValueError, match="offers need"):
            OfferRules(**wrong)


PURCHASES = st.tuples(st.sampled_from("xyz"), st.sampled_from("bcm酒"), st.integers(0, 60))
RULES = st.tuples(
    st.frozensets(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.sampled_from(KINDS),
    st.integers(10, 100),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(PURCHASES, min_size=1, max_size=12), st.lists(RULES, max_size=6), st.integers(1, 3))
def test_each_offer_rests_on_what_was_bought_and_is_of_what_was_not(bought, drawn, count):
    rules = {(items - {item}, item): confidence / 100 for items, item, confidence in drawn if items - {item}}
    known = [rule(items, item, confidence) for (items, item), confidence in rules.items()]
    limits = OfferRules(count, history_days=30, repeat_days=45)
    found = offers(bought, known, limits=limits)
    name = {kind[0]: kind for kind in KINDS}
    for row in found.itertuples():
        mine = [(name[product], ago) for customer, product, ago in bought if customer == row.customer_id]
        assert set(row.antecedents) <= {kind for kind, ago in mine if ago < 30}
        assert row.item not in {kind for kind, ago in mine if ago < 45}
        assert rules[frozenset(row.antecedents), row.item] == row.confidence
    for _customer, listed in found.groupby("customer_id"):
        assert listed["rank"].tolist() == list(range(1, len(listed) + 1))
        assert len(listed) <= count
        assert listed["item"].is_unique
        assert listed["expected_value"].is_monotonic_decreasing
