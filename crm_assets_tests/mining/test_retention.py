"""The retention queue: who is in it and in which order, who is held out, what to do, and what it brought."""

from datetime import date, timedelta
from fractions import Fraction

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind

from crm_assets.contracts.churn import CHURN_SCORES
from crm_assets.contracts.features import CUSTOMER_DAYS
from crm_assets.contracts.identity import IDENTITY_MEMBERS
from crm_assets.contracts.retention import RETENTION_OUTCOMES, RETENTION_QUEUE
from crm_assets.mining.churn import CHURN_FEATURES
from crm_assets.mining.churn_reasons import NOTHING, by_theme, sentence, theme
from crm_assets.mining.identity import BEGINNING
from crm_assets.mining.persons import Persons
from crm_assets.mining.retention import ACTION_OF_THEME, RetentionPolicy, action_of, is_held_out, retention_queue
from crm_assets.mining.retention_outcomes import Side, effect, queue_outcomes, retention_outcomes

DAY = date(2024, 3, 10)
CONNECTION = ibis.duckdb.connect()


def policy(**changes):
    """A contact costs 1 and brings a tenth of a half of the value at risk, so it pays above 20."""
    return RetentionPolicy(
        **{"capacity": None, "contact_cost": 1, "save_rate": 0.1, "margin": 0.5, "holdout_share": 0, "seed": 1}
        | changes
    )


def scores(probabilities, day=DAY, reason=NOTHING):
    rows = [(day, name, chance, "low", [reason], "m") for name, chance in probabilities.items()]
    return ibis.memtable(pd.DataFrame(rows, columns=list(CHURN_SCORES.by_name)), schema=CHURN_SCORES.schema)


def values(clv, day=DAY):
    rows = [(day, name, value) for name, value in clv.items()]
    schema = {"as_of": "date", "customer_id": "string", "clv": "float64"}
    return ibis.memtable(pd.DataFrame(rows, columns=list(schema)), schema=schema)


def queue(probabilities, clv, rules, day=DAY):
    found = retention_queue(scores(probabilities, day), values(clv, day), rules)
    assert found.schema() == RETENTION_QUEUE.schema
    return CONNECTION.to_pandas(found)


def test_value_at_risk_ranks_and_only_those_who_repay_a_contact_are_in():
    chances = {"rich": 0.1, "gone": 0.9, "poor": 0.9, "even": 0.5, "tie": 0.5, "unvalued": 0.9}
    rows = queue(chances, {"rich": 1000, "gone": 80, "poor": 10, "even": 40, "tie": 144, "worthless": 9}, policy())
    assert rows[["rank", "customer_id", "value_at_risk"]].to_numpy().tolist() == [
        [1, "rich", 100], [2, "gone", 72], [3, "tie", 72]
    ]  # fmt: skip
    assert rows["expected_profit"].round(9).tolist() == [4, 2.6, 2.6]
    assert not rows["is_holdout"].any()


def test_a_contact_that_brings_what_it_costs_does_not_pay():
    rules = policy(save_rate=0.5, margin=0.5)
    assert queue({"at": 0.5, "above": 0.5}, {"at": 8, "above": 8.5}, rules)["customer_id"].tolist() == ["above"]


def test_capacity_counts_contacts_and_keeps_those_held_out_among_them():
    chances = {f"c{number:02}": 0.5 for number in range(40)}
    clv = {name: 1000 - number for number, name in enumerate(chances)}
    every = queue(chances, clv, policy(holdout_share=0.3))
    cut = queue(chances, clv, policy(holdout_share=0.3, capacity=5))
    assert (~cut["is_holdout"]).sum() == 5
    assert not cut["is_holdout"].iloc[-1]
    assert cut["is_holdout"].any()
    pd.testing.assert_frame_equal(cut, every.head(len(cut)))


def test_the_same_customers_are_held_out_all_month_and_others_the_next():
    names = [f"c{number}" for number in range(2000)]
    drawn = {}
    for day in (date(2024, 3, 1), date(2024, 3, 31), date(2024, 4, 1)):
        table = ibis.memtable({"customer_id": names}).mutate(as_of=ibis.literal(day))
        drawn[day] = CONNECTION.to_pandas(is_held_out(table.as_of, table.customer_id, 0.2, 7).name("held"))
    first, last, after = drawn.values()
    assert first.equals(last)
    assert not first.equals(after)
    # Of 2,000 draws with 0.2, 400 are expected and 72 is four standard deviations.
    assert all(abs(held.sum() - 400) < 72 for held in (first, after))
    assert abs((first & after).sum() - 80) < 36
    table = ibis.memtable({"customer_id": names}).mutate(as_of=ibis.literal(date(2024, 3, 1)))
    other_seed = CONNECTION.to_pandas(is_held_out(table.as_of, table.customer_id, 0.2, 8).name("held"))
    assert not first.equals(other_seed)


def test_a_draw_is_the_same_everywhere():
    """Written down, since a changed draw would mix those held out with those contacted."""
    table = ibis.memtable({"customer_id": [f"c{number}" for number in range(12)]}).mutate(as_of=ibis.literal(DAY))
    held = CONNECTION.to_pandas(is_held_out(table.as_of, table.customer_id, 0.25, 20170101).name("held"))
    import hashlib

    digests = [int(hashlib.sha256(f"20170101/2024-03/c{number}".encode()).hexdigest()[:8], 16) for number in range(12)]
    assert held.tolist() == [digest < 0.25 * 16**8 for digest in digests]
    assert 0 < held.sum() < 12


def test_days_are_ranked_apart():
    two = scores({"a": 0.5, "b": 0.4}).union(scores({"a": 0.1, "b": 0.4}, DAY + timedelta(1)))
    worth = values({"a": 100, "b": 100}).union(values({"a": 300, "b": 100}, DAY + timedelta(1)))
    rows = CONNECTION.to_pandas(retention_queue(two, worth, policy()))
    assert rows[["rank", "customer_id"]].to_numpy().tolist() == [[1, "a"], [2, "b"], [1, "b"], [2, "a"]]


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.floats(0, 1), st.floats(-10, 1000)), max_size=8),
    st.none() | st.integers(1, 4),
    st.sampled_from([0, 0.3, 0.6]),
)
def test_ranks_have_no_hole_and_nobody_left_out_would_pay_more(customers, capacity, share):
    rules = policy(capacity=capacity, holdout_share=share)
    chances = {name: chance for name, (chance, _) in customers.items()}
    rows = queue(chances, {name: clv for name, (_, clv) in customers.items()}, rules)
    assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
    assert (rows["expected_profit"] > 0).all()
    contacted = (~rows["is_holdout"]).sum()
    assert capacity is None or contacted <= capacity
    left = [chance * clv for name, (chance, clv) in customers.items() if name not in set(rows["customer_id"])]
    assert contacted == capacity or all(at_risk * 0.05 <= 1 + 1e-9 for at_risk in left)
    assert all(at_risk <= rows["value_at_risk"].min() for at_risk in left if len(rows))


def test_the_theme_of_a_reason_is_found_in_its_text():
    """For every feature a reason may quote, with and without a typical value beside it."""
    texts, expected = [], []
    for feature in CHURN_FEATURES:
        inputs = {"recency_days": 9.0, "gap_median": 3.0, feature: 1.5}
        for typical in ({feature: 4.0, "recency_days": 3.0}, {}):
            texts.append(sentence(feature, inputs, typical))
            expected.append("spend" if feature.startswith("amount_slope") else theme(feature))
    names = {name: name for name in ACTION_OF_THEME}
    found = CONNECTION.to_pandas(by_theme(ibis.memtable({"reason": texts}).reason, names, "habit").name("theme"))
    assert dict(zip(texts, found, strict=True)) == dict(zip(texts, expected, strict=True))


def test_actions_follow_the_first_reason():
    texts = {
        "No order for 20 days; this customer's usual gap is 4 days": "remind",
        "Ordered on the day itself; typical is 3 days": "remind",
        "Spend has been falling in the last 30 days": "next_order_offer",
        "Different products in the last 60 days: 2; typical is 40": "recommend",
        "Share of orders with a coupon in the last 60 days: 0%; typical is 10%": "coupon",
        "Share of orders at the weekend: 80%": "check_in",
        NOTHING: "check_in",
    }
    found = CONNECTION.to_pandas(action_of(ibis.memtable({"reason": list(texts)}).reason).name("action"))
    assert found.tolist() == list(texts.values())


@pytest.mark.parametrize(
    "wrong",
    [{"save_rate": 0}, {"margin": 0}, {"margin": 1.1}, {"holdout_share": 1}, {"contact_cost": -1}, {"capacity": 0}],
)
def test_a_policy_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="retention policy"):
        policy(**wrong)


def days_table(rows):
    """Customer, day, orders, amount; the other columns are zero."""
    filled = [
        dict.fromkeys(CUSTOMER_DAYS.by_name, 0) | {"customer_id": who, "day": on, "orders": orders, "amount": amount}
        for who, on, orders, amount in rows
    ]
    table = ibis.memtable(pd.DataFrame(filled, columns=list(CUSTOMER_DAYS.by_name)), schema=CUSTOMER_DAYS.schema)
    return CONNECTION.create_table(ibis.util.gen_name("days"), CONNECTION.to_pyarrow(table))


def queued(rows):
    """Day, customer, is_holdout."""
    frame = pd.DataFrame(rows, columns=["as_of", "customer_id", "is_holdout"])
    return CONNECTION.create_table(
        ibis.util.gen_name("queue"), frame, schema={"as_of": "date", "customer_id": "string", "is_holdout": "boolean"}
    )


MONTH = {DAY + timedelta(n): 30 for n in range(7)}


def test_outcomes_are_orders_and_spend_within_the_horizon_after_the_day():
    days = days_table(
        [
            ("a", DAY, 1, 99), ("a", DAY + timedelta(1), 2, 10), ("a", DAY + timedelta(30), 1, 5),
            ("a", DAY + timedelta(31), 1, 77), ("b", DAY + timedelta(3), 0, -4), ("other", DAY + timedelta(1), 1, 1),
        ]
    )  # fmt: skip
    rows = queued([(DAY, "a", False), (DAY, "b", True), (DAY, "c", False), (DAY + timedelta(5), "a", False)])
    outcomes = queue_outcomes(rows, days, DAY + timedelta(30), MONTH)
    assert outcomes.drop(columns="as_of").to_numpy().tolist() == [
        [False, 2, 3, 15, 9, 225], [True, 1, 0, -4, 0, 16]
    ]  # fmt: skip
    assert queue_outcomes(rows, days, DAY + timedelta(29), MONTH).empty
    assert queue_outcomes(rows, days, DAY + timedelta(35), MONTH)["as_of"].nunique() == 2
    # The later queue's horizon is shorter, so that it has ended too.
    assert queue_outcomes(rows, days, DAY + timedelta(30), MONTH | {DAY + timedelta(5): 7})["as_of"].nunique() == 2


def test_outcomes_count_the_persons_of_the_queue_day():
    members = [
        ("a", "a", BEGINNING, None),
        ("b", "b", BEGINNING, DAY + timedelta(5)),
        ("b", "a", DAY + timedelta(5), None),
    ]
    frame = pd.DataFrame(members, columns=list(IDENTITY_MEMBERS.by_name))
    persons = Persons.of(ibis.memtable(frame, schema=IDENTITY_MEMBERS.schema))
    days = days_table([(who, DAY + timedelta(7), 1, 10) for who in "ab"])
    rows = queued([(DAY, "a", False), (DAY, "b", True), (DAY + timedelta(6), "a", False)])
    outcomes = queue_outcomes(rows, days, DAY + timedelta(40), MONTH, persons)
    assert outcomes[["is_holdout", "customers", "orders", "spend"]].to_numpy().tolist() == [
        [False, 1, 1, 10],
        [True, 1, 1, 10],
        [False, 1, 2, 20],
    ]


def side(values):
    exact = [Fraction(value) for value in values]
    return Side(len(exact), sum(exact, Fraction(0)), sum((value * value for value in exact), Fraction(0)))


def test_the_effect_is_the_difference_of_the_means_with_the_interval_of_welch():
    contacted, held_out = [2, 2, 2, 2, 0, 4], [1, 0, 2, 1]
    found = effect(side(contacted), side(held_out))
    assert (found["contacted"], found["held_out"], found["mean_contacted"], found["mean_held_out"]) == (6, 4, 2, 1)
    assert found["effect"] == 1
    interval = ttest_ind(contacted, held_out, equal_var=False).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx(tuple(interval), rel=1e-12)
    alike = effect(side([3, 3]), side([1, 1, 1]))
    assert (alike["low"], alike["effect"], alike["high"]) == (2, 2, 2)
    assert effect(side([3]), side([1, 1]))["low"] is None


def test_large_sums_lose_nothing():
    """A variance from sums of squares in floats would be noise here."""
    values = [10**9 + number for number in (1, 2, 3)]
    assert side(values).variance_of_mean == pytest.approx(1 / 3, rel=1e-12)


def test_an_interval_holds_the_true_effect_as_often_as_it_says():
    """Of 80 intervals of 95%, 76 are expected to hold it; below 68 lies a chance of one in a thousand."""
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(80):
        found = effect(side(generator.exponential(12, 400)), side(generator.exponential(10, 200)))
        held += found["low"] <= 2 <= found["high"]
    assert held >= 68


def test_without_one_side_there_is_no_effect():
    sums = {"customers": 2, "orders": 4, "spend": 12.0, "orders_squares": 10, "spend_squares": 74.0}
    outcomes = pd.DataFrame([{"as_of": DAY, "is_holdout": False, **sums}])
    rows = retention_outcomes(outcomes)
    assert list(rows) == list(RETENTION_OUTCOMES.by_name)
    assert rows["measure"].tolist() == ["orders", "spend"]
    assert rows["mean_contacted"].tolist() == [2, 6]
    assert rows[["mean_held_out", "effect", "low", "high"]].isna().all(axis=None)
    assert retention_outcomes(outcomes.head(0)).empty
