"""Recommendations: what is known of purchases, which products go together, lists and their rules, figures, the choice."""

from datetime import date, timedelta

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CUSTOMERS, PRODUCTS, TRANSACTIONS
from crm_assets.mining.neighbours import NONE, Neighbours
from crm_assets.mining.product_purchases import (
    basket_lines,
    customer_segments_of,
    known_customers,
    later_purchases,
    offered_products,
    purchase_history,
    purchases,
    sales_of_segments,
)
from crm_assets.mining.ranking_metrics import Bought, means, per_customer
from crm_assets.mining.recommender import (
    FEATURES,
    Candidates,
    ListRules,
    Recommender,
    Shop,
    find_candidates,
    listed,
    recommend,
)
from crm_assets.mining.recommender_training import Known, recommender_days, train_recommender

DAY = date(2024, 3, 31)


def table(contract, rows):
    filled = [{name: row.get(name) for name in contract.by_name} for row in rows]
    schema = pa.schema([field.with_nullable(True) for field in contract.schema.to_pyarrow()])
    return ibis.memtable(pa.Table.from_pylist(filled, schema=schema))


def lines(*rows):
    """Order lines of: days before `DAY`, customer, product, order, and a quantity of 1 unless given."""
    known = [
        {
            "day": DAY - timedelta(days=days),
            "customer_id": who,
            "product_id": what,
            "order_id": order,
            "quantity": units,
        }
        for days, who, what, order, units in ((*row, 1)[:5] for row in rows)
    ]
    return table(layers.clean(TRANSACTIONS), known)


def rows_of(found, *columns):
    return sorted(map(tuple, found.to_pandas()[list(columns)].to_numpy().tolist()))


def products(*rows):
    known = [
        {"product_id": product, "product_name": name, "subcategory": kind, "valid_from": since, "valid_to": until}
        for product, name, kind, since, until in rows
    ]
    return table(layers.clean(PRODUCTS), known)


def offered(*rows):
    """Products on offer of: identifier, name, kind, lines."""
    frame = pd.DataFrame(rows, columns=["product_id", "product_name", "kind", "lines"])
    return frame.assign(category=None, brand=None)


def sales(*rows):
    return pd.DataFrame(rows, columns=["segment", "product_id", "lines"])


def history(*rows):
    """Purchases of: customer, product, lines in 365 days (as many in 90 and 30), days since."""
    frame = pd.DataFrame(rows, columns=["customer_id", "product_id", "bought_365d", "days_since"])
    return frame.assign(bought_90d=frame["bought_365d"], bought_30d=frame["bought_365d"])


def people(*rows):
    return pd.DataFrame(rows, columns=["customer_id", "segment"])


EARLY = date(1990, 1, 1)
BOUGHT = [
    (0, "ann", "tea", "o1"),
    (29, "ann", "tea", "o2"),
    (30, "ann", "tea", "o3"),
    (200, "ann", "jam", "o4"),
    (400, "ann", "pen", "o5"),
    (0, "bob", "tea", "o6", -1),
    (5, None, "jam", "o7"),
]


def test_history_counts_lines_in_windows_and_sees_neither_returns_nor_what_is_too_old_or_still_to_come() -> None:
    rows = purchases(lines(*BOUGHT, (-1, "ann", "tea", "o8")), DAY)
    columns = ("customer_id", "product_id", "bought_30d", "bought_90d", "bought_365d", "days_since")
    assert rows_of(purchase_history(rows, DAY), *columns) == [
        ("ann", "jam", 0, 0, 1, 200),
        ("ann", "tea", 2, 3, 3, 0),
    ]
    assert rows_of(purchase_history(rows, DAY, most=1), "product_id") == [("tea",)]
    assert rows_of(purchase_history(rows, DAY - timedelta(days=30)), *columns) == [
        ("ann", "jam", 0, 0, 1, 170),
        ("ann", "tea", 1, 1, 1, 0),
    ]


def test_what_is_on_offer_is_in_the_catalogue_and_sold_or_was_added_lately() -> None:
    catalogue = products(
        ("tea", "Tea", "drinks", EARLY, None),
        ("gone", "Gone", "drinks", EARLY, DAY),
        ("old", "Old", "drinks", EARLY, None),
        ("new", "New", None, DAY - timedelta(days=3), None),
        ("next", "Next", None, DAY + timedelta(days=1), None),
    )
    sold = purchases(lines((1, "ann", "tea", "o1"), (1, "ann", "gone", "o1"), (80, "ann", "old", "o2")), DAY)
    assert rows_of(offered_products(sold, catalogue, DAY), "product_id", "lines") == [("new", 0), ("tea", 1)]
    assert rows_of(offered_products(sold, None, DAY), "product_id", "lines") == [("gone", 1), ("tea", 1)]


def test_segments_sales_and_baskets_are_those_of_the_newest_days() -> None:
    versions = table(
        layers.clean(CUSTOMERS),
        [
            {"customer_id": "ann", "gender": "female", "age_band": "35-44", "valid_from": EARLY},
            {"customer_id": "cat", "gender": None, "age_band": None, "valid_from": EARLY},
        ],
    )
    segments = customer_segments_of(versions)
    assert rows_of(segments, "customer_id", "segment") == [("ann", "female 35-44"), ("cat", "")]
    seen = purchases(lines(*BOUGHT), DAY)
    found = sales_of_segments(seen, segments, DAY)
    assert rows_of(found, "segment", "product_id", "lines") == [("", "jam", 1), ("female 35-44", "tea", 1)]
    assert rows_of(basket_lines(seen, DAY, most=1), "order_id", "product_id") == [
        ("o1", "tea"),
        ("o2", "tea"),
        ("o3", "tea"),
    ]
    everyone = known_customers(segments, purchase_history(seen, DAY), segments)
    assert rows_of(everyone, "customer_id", "segment") == [("ann", "female 35-44"), ("cat", "")]
    before = DAY - timedelta(days=30)
    assert rows_of(later_purchases(seen, before, 30), "customer_id", "product_id") == [("ann", "tea")]
    assert rows_of(later_purchases(seen, before, 0), "customer_id") == []


def model(**weights):
    return Recommender({"bought_365d": 4.0, "together": 1.0, "popular": 0.1, **weights}, -3.0, NONE, NONE, {})


TOGETHER = Neighbours(
    np.array(["milk", "tea"]), np.array([1], np.int32), np.array([0], np.int32), np.array([0.5], np.float32)
)
GOODS = offered(("jam", "Jam", "sweet", 9), ("milk", "Milk", "dairy", 5), ("tea", None, "drinks", 7))
SALES = sales(("", "jam", 9), ("", "milk", 5), ("", "tea", 5), ("female", "tea", 2))


def test_each_row_has_the_reason_that_speaks_for_it() -> None:
    shop = Shop.of(GOODS, SALES, TOGETHER)
    who = people(("ann", "male"), ("bob", "female"))
    found = recommend(model(), shop, who, history(("ann", "tea", 3, 1)), DAY, ListRules())
    rows = found[["customer_id", "rank", "product_id", "method", "reason"]].to_numpy().tolist()
    assert rows == [
        ["ann", 1, "tea", "repeat purchase", "you bought it 3 times, last yesterday"],
        ["ann", 2, "milk", "bought together", "because you bought drinks (tea): often bought together"],
        ["ann", 3, "jam", "popular", "popular with all customers"],
        ["bob", 1, "jam", "popular", "popular with customers like you (female)"],
        ["bob", 2, "tea", "popular", "popular with customers like you (female)"],
        ["bob", 3, "milk", "popular", "popular with customers like you (female)"],
    ]
    assert found["score"].between(0, 1).all()


def test_a_cold_product_is_recommended_to_who_bought_what_it_is_alike_to() -> None:
    cold = Neighbours(
        np.array(["tea", "green"]), np.array([0], np.int32), np.array([1], np.int32), np.array([0.9], np.float32)
    )
    goods = pd.concat([offered(("green", "Green tea", "drinks", 0)), GOODS], ignore_index=True)
    shop = Shop.of(goods, SALES, NONE, cold)
    found = recommend(
        model(bought_365d=1.0, alike=1.0), shop, people(("ann", "")), history(("ann", "tea", 1, 9)), DAY, ListRules()
    )
    row = found[found["product_id"] == "green"].iloc[0]
    assert (row["method"], row["reason"]) == ("alike", "because you bought drinks (tea): Green tea is alike")
    assert found["product_id"].tolist()[:2] == ["green", "tea"]


def test_a_segment_with_many_sales_has_its_own_favourites_and_a_small_one_everybodys() -> None:
    many = sales(("", "jam", 9000), ("male", "tea", 9000), ("few", "milk", 1))
    shop = Shop.of(GOODS, many, NONE)
    who = people(("ann", "male"), ("bob", "few"), ("cat", "unheard of"))
    found = recommend(model(), shop, who, history(), DAY, ListRules())
    first = found[found["rank"] == 1].set_index("customer_id")["product_id"].to_dict()
    assert first["ann"] == "tea"
    assert first["bob"] == first["cat"]


def test_nothing_on_offer_or_nobody_to_make_a_list_for_gives_no_rows() -> None:
    rules = ListRules()
    nothing = Shop.of(GOODS.head(0), SALES.head(0), NONE)
    assert recommend(model(), nothing, people(("ann", "")), history(("ann", "tea", 3, 1)), DAY, rules).empty
    assert recommend(model(), Shop.of(GOODS, SALES, NONE), people(), history(), DAY, rules).empty


def test_the_repeat_window_keeps_out_what_was_bought_lately() -> None:
    shop = Shop.of(GOODS, SALES, TOGETHER)
    bought = history(("ann", "tea", 3, 10), ("ann", "jam", 1, 40))
    found = recommend(model(), shop, people(("ann", "")), bought, DAY, ListRules(repeat_days=30))
    assert sorted(found["product_id"]) == ["jam", "milk"]


def candidates(customer, product, days_since):
    count = len(customer)
    return Candidates(
        np.array(customer),
        np.array(product),
        np.zeros((count, len(FEATURES))),
        np.array(days_since),
        np.zeros(count),
        None,
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 15), st.booleans(), st.integers(0, 5)),
        unique_by=lambda row: row[:2],
        min_size=1,
    ),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.integers(1, 3),
)
def test_lists_keep_every_rule(rows, length, new_share, most_of_kind) -> None:
    found = candidates(*zip(*[(who, what, -1 if is_new else 9) for who, what, is_new, _ in rows], strict=True))
    score = np.array([float(row[3]) for row in rows])
    kinds = np.arange(16) % 5 - 1
    chosen, rank = listed(found, score, kinds, ListRules(length, 0, new_share, most_of_kind))
    for who in np.unique(found.customer):
        mine = chosen[found.customer[chosen] == who]
        places = rank[found.customer[chosen] == who]
        assert places.tolist() == list(range(len(mine)))
        assert 1 <= len(mine) <= length
        assert (np.diff(score[mine]) <= 0).all()
        of_kind = kinds[found.product[mine]]
        assert all((of_kind == kind).sum() <= most_of_kind for kind in range(4))
        # New products are as many as wanted, or else all that the rule on kinds leaves.
        new = (found.days_since[mine] < 0).sum()
        alone, _ = listed(found, score, kinds, ListRules(16, 0, 0.0, most_of_kind))
        there = ((found.days_since[alone] < 0) & (found.customer[alone] == who)).sum()
        assert new >= min(there, int(np.ceil(new_share * length)))


def test_figures_of_a_list_are_those_worked_out_by_hand() -> None:
    later = Bought(np.array([0, 0, 1]), np.array([5, 6, 7]))
    who, figures = per_customer(later, np.array([0, 0, 0, 1, 2]), np.array([0, 1, 2, 0, 0]), np.array([9, 5, 8, 3, 7]))
    assert who.tolist() == [0, 1]
    ideal = 1 + 1 / np.log2(3)
    # The first customer's list hits one of two at its second place; the second's hits nothing.
    assert figures.tolist() == [[pytest.approx(1 / np.log2(3) / ideal), 0.5, 1.0], [0.0, 0.0, 0.0]]
    found = means(figures, np.array([True, False]), seed=1)
    assert found.values["recall_at_10"] == 0.25
    assert found.values["warm_recall_at_10"] == 0.5
    assert found.values["cold_recall_at_10"] == 0.0
    assert set(np.unique(found.drawn["recall_at_10"])) <= {0.0, 0.25, 0.5}


@given(st.permutations(range(10)), st.sets(st.integers(0, 12), min_size=1))
def test_ndcg_is_one_for_a_list_that_starts_with_all_that_was_bought_and_never_more(order, wanted) -> None:
    later = Bought(np.zeros(len(wanted), int), np.array(sorted(wanted)))
    best = [*sorted(wanted), *(20 + n for n in range(10))][:10]
    for shown, is_best in ((best, True), (order, False)):
        _, figures = per_customer(later, np.zeros(10, int), np.arange(10), np.array(shown))
        assert figures[0, 0] == pytest.approx(1.0) if is_best else figures[0, 0] <= 1 + 1e-12


def test_training_days_lie_before_the_month_and_not_before_the_first_order() -> None:
    month = date(2024, 4, 1)
    assert recommender_days(month, date(2024, 1, 1), 30) == [date(2024, 1, 31), date(2024, 3, 1), date(2024, 3, 31)]
    assert recommender_days(month, date(2024, 2, 15), 30) == [date(2024, 3, 1), date(2024, 3, 31)]
    assert recommender_days(month, None, 30) == []


def known(day, seed, is_loyal):
    """A world of 60 customers: each buys five of 30 products all the time, or anything, the last ones most often."""
    chance = np.random.default_rng(seed)
    past, later = [], []
    for who in range(60):
        own = np.random.default_rng(who).choice(30, 5, replace=False)
        for what in own:
            past.append((f"c{who:02}", f"p{what:02}", int(chance.integers(1, 6)), int(chance.integers(1, 60))))
        bought = own if is_loyal else np.minimum(30 - chance.geometric(0.3, 5), 29).clip(0)
        later.extend((f"c{who:02}", f"p{what:02}") for what in np.unique(bought))
    goods = offered(*((f"p{n:02}", None, None, n + 1) for n in range(30)))
    popular = sales(*(("", f"p{n:02}", (n + 1) ** 2) for n in range(30)))
    baskets = pd.DataFrame([], columns=["order_id", "product_id"])
    bought = pd.DataFrame(later, columns=["customer_id", "product_id"])
    return Known.of_customers(day, people(), history(*past), goods, popular, baskets, bought)


MONTH = date(2024, 4, 1)


def trained(is_loyal, count=3):
    days = recommender_days(MONTH, date(2023, 1, 1), 30)
    last = known(days[2], 9, is_loyal)
    worlds = [
        known(days[0], 1, is_loyal),
        known(days[1], 2, is_loyal),
        Known.of_products(days[2], last.offered, last.baskets),
    ]
    return train_recommender(worlds[3 - count :], MONTH, 30, ListRules(new_share=0), 1)


def test_what_beats_neither_baseline_beyond_chance_is_not_champion() -> None:
    found = trained(is_loyal=True)
    board = found.leaderboard.set_index(["candidate", "metric"])
    # All that each buys was bought before, and nothing else tells more.
    assert board.loc[("personal_frequency", "recall_at_10"), "value"] == 1.0
    assert board.loc[("popularity", "recall_at_10"), "value"] < 0.6
    assert found.model.card["champion"] == "personal_frequency"
    assert board[board["is_champion"]].index.get_level_values("candidate").unique().tolist() == ["personal_frequency"]
    assert found.model.weights["bought_365d"] > 0
    assert found.model.weights["popular"] == pytest.approx(found.model.weights["bought_365d"] * 1e-4)


def test_the_hybrid_learns_that_history_says_nothing_where_it_does_not() -> None:
    found = trained(is_loyal=False)
    board = found.leaderboard.set_index(["candidate", "metric"])["value"]
    assert board["hybrid", "ndcg_at_10"] > board["personal_frequency", "ndcg_at_10"] + 0.2
    assert board["hybrid", "ndcg_at_10"] == pytest.approx(board["popularity", "ndcg_at_10"], abs=0.05)
    assert np.isnan(board["hybrid", "cold_ndcg_at_10"])


def test_too_little_history_is_said_and_an_untested_hybrid_says_so() -> None:
    untested = trained(is_loyal=False, count=2)
    assert "untested" in untested.message
    assert untested.leaderboard.empty
    assert untested.model.card["champion"] == "hybrid"
    nothing = train_recommender([], MONTH, 30, ListRules(), 1)
    assert nothing.model is None
    assert nothing.message == "needs 200 products bought in the 30 days before 2024-04-01: 0"


def test_a_stored_recommender_gives_the_same_lists() -> None:
    first = trained(is_loyal=False).model
    again = Recommender.from_document(first.to_document(), first.card)
    world = known(DAY, 3, False)
    shop = Shop.of(world.offered, world.sales, first.together, first.alike)
    lists = [recommend(each, shop, world.customers, world.history, DAY, ListRules()) for each in (first, again)]
    pd.testing.assert_frame_equal(*lists)
    assert len(lists[0]) == 60 * 20


def test_lists_do_not_depend_on_who_else_gets_one() -> None:
    world = known(DAY, 3, False)
    shop = Shop.of(world.offered, world.sales, NONE)
    together = recommend(model(), shop, world.customers, world.history, DAY, ListRules())
    for who in ("c00", "c31"):
        alone = recommend(
            model(), shop, world.customers[world.customers["customer_id"] == who],
            world.history[world.history["customer_id"] == who], DAY, ListRules(),
        )  # fmt: skip
        pd.testing.assert_frame_equal(alone, together[together["customer_id"] == who].reset_index(drop=True))
    assert find_candidates(shop, world.customers, world.history).features.shape[1] == len(FEATURES)
