"""Next best action: what each action is worth, who is left alone and why, caps of contacts."""

from datetime import date, timedelta

import ibis
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.canonical import CAMPAIGN_CONTACTS, TRANSACTIONS
from crm_assets.contracts.offers import CROSS_SELL_OFFERS, NEXT_BEST_ACTION, UP_SELL_OFFERS
from crm_assets.contracts.recommendations import RECOMMENDATIONS
from crm_assets.contracts.response import RESPONSE_SCORES
from crm_assets.contracts.retention import RETENTION_QUEUE
from crm_assets.mining.next_best_action import ContactPolicy, next_best_action, product_prices

AS_OF = date(2024, 3, 31)
CONTACTS = dict(CAMPAIGN_CONTACTS.schema.items()) | {"day": "date"}
LINES = dict(TRANSACTIONS.schema.items()) | {"day": "date"}
POLICY = ContactPolicy(margin=0.5, take_rate=0.1, contact_cost=0.1, campaign_cost=1.0, gap_days=7)


def table(rows, schema):
    return ibis.memtable(pd.DataFrame(rows, columns=list(schema)).astype("object"), schema=schema)


def kept(customer, profit, is_holdout=False):
    return {
        "customer_id": customer,
        "action": "coupon",
        "expected_profit": profit,
        "is_holdout": is_holdout,
        "reason": "rare",
    }


def offer(customer, value, rank=1):
    return {"customer_id": customer, "rank": rank, "item": f"item {rank}", "expected_sales": value, "reason": "goes"}


def step(customer, value, rank=1):
    filled = {"customer_id": customer, "rank": rank, "product_id": f"step {rank}", "expected_value": value}
    return filled | {"reason": "above"}


def listed(customer, product, score, method="alike"):
    return {"customer_id": customer, "product_id": product, "score": score, "method": method, "reason": "like"}


def response(customer, profit, uplift=None, kind="mail", probability=0.5, **more):
    """A score of a campaign that it pays to contact the customer for, unless `more` says otherwise."""
    filled = {"customer_id": customer, "campaign_kind": kind, "response_probability": probability, "uplift": uplift}
    return filled | {"expected_profit": profit, "contact": True} | more


def contact(customer, ago, is_control=None):
    return {"customer_id": customer, "day": AS_OF - timedelta(days=ago), "is_control": is_control}


def actions(
    queue=(), offers=(), steps=(), lists=(), responses=(), values=(), likely=(), prices=(), contacts=(), policy=POLICY
):
    found = next_best_action(
        AS_OF,
        policy,
        table(list(queue), dict(RETENTION_QUEUE.schema.items())),
        table(list(offers), dict(CROSS_SELL_OFFERS.schema.items())),
        table(list(steps), dict(UP_SELL_OFFERS.schema.items())),
        table(list(lists), dict(RECOMMENDATIONS.schema.items())),
        table(list(responses), dict(RESPONSE_SCORES.schema.items())),
        table([{"customer_id": customer} for customer in values], {"customer_id": "string"}),
        table(list(likely), {"customer_id": "string", "p_order_30d": "float64"}),
        table(list(prices), {"product_id": "string", "price": "float64"}),
        table(list(contacts), CONTACTS),
    )
    assert found.schema() == NEXT_BEST_ACTION.schema
    return found.to_pandas().set_index("customer_id")


LIKELY = [{"customer_id": customer, "p_order_30d": 0.5} for customer in "abc"]
PRICES = [{"product_id": "p", "price": 100.0}, {"product_id": "q", "price": 10.0}]


def test_the_action_with_the_highest_value_is_chosen():
    found = actions(
        queue=[kept("a", 1.0), kept("b", 0.2)],
        offers=[offer("a", 20.0), offer("b", 20.0), offer("b", 90.0, rank=2)],
        lists=[listed("c", "q", 0.9), listed("c", "p", 0.4)],
        likely=LIKELY,
        prices=PRICES,
    )
    # Offers: 20 x 0.5 likely x 0.05 less 0.1 is 0.4; 0.4 x 100 x 0.05 less 0.1 is 1.9.
    assert found["action"].to_dict() == {"a": "retention", "b": "cross_sell", "c": "recommendation"}
    assert found["detail"].to_dict() == {"a": "coupon", "b": "item 1", "c": "p"}
    assert found["expected_value"].tolist() == pytest.approx([1.0, 0.4, 1.9])
    assert found["rank"].tolist() == [2, 3, 1]
    assert found["reason"].tolist() == ["rare", "goes", "like"]


def test_retention_comes_first_where_values_are_equal():
    found = actions(queue=[kept("a", 0.4)], offers=[offer("a", 20.0)], likely=LIKELY)
    assert found.loc["a", "action"] == "retention"


def test_the_first_step_up_is_worth_what_it_brings_more():
    found = actions(
        steps=[step("a", 10.0), step("a", 90.0, rank=2), step("b", 10.0), step("c", 2.0)],
        offers=[offer("b", 100.0)],
        likely=LIKELY,
    )
    # 10 x 0.05 less 0.1 is 0.4, whether or not an order is likely; 2 x 0.05 is just the cost.
    assert found["action"].to_dict() == {"a": "up_sell", "b": "cross_sell", "c": "leave_alone"}
    assert found.loc["a", ["detail", "reason"]].tolist() == ["step 1", "above"]
    assert found["expected_value"].tolist() == pytest.approx([0.4, 2.4, 0.0])


def test_cross_sell_comes_before_up_sell_and_this_before_recommendations_where_values_are_equal():
    found = actions(
        offers=[offer("a", 20.0)],
        steps=[step("a", 10.0), step("b", 10.0)],
        lists=[listed("a", "p", 0.1), listed("b", "p", 0.1)],
        likely=LIKELY,
        prices=PRICES,
    )
    assert found["action"].to_dict() == {"a": "cross_sell", "b": "up_sell"}


def test_a_campaign_is_worth_its_uplift_or_else_a_share_of_the_responses():
    found = actions(
        responses=[
            response("a", 29.0, probability=0.5),
            response("b", 5.0, uplift=0.0625, probability=0.5),
            response("c", 29.0, kind="call", probability=0.076),
            response("c", 19.0, kind="mail"),
        ],
        offers=[offer("a", 20.0), offer("b", 20.0)],
        likely=LIKELY,
    )
    # A response brings 30 before the cost of 1, a tenth of it due to the contact: 2. The uplift is due to it as a whole.
    assert found["action"].to_dict() == dict.fromkeys("abc", "campaign")
    assert found["detail"].to_dict() == {"a": "mail", "b": "mail", "c": "call"}
    assert found["expected_value"].tolist() == pytest.approx([2.0, 5.0, 2.0])
    assert found["rank"].to_dict() == {"a": 2, "b": 1, "c": 3}
    assert found["reason"].tolist() == [
        "50.0% likely to answer a campaign of the kind mail",
        "a campaign of the kind mail makes an answer 6.3 points likelier",
        "7.6% likely to answer a campaign of the kind call",
    ]


@pytest.mark.parametrize(
    "more",
    [
        {"contact": False},
        {"contact": None},
        {"expected_profit": None},
        {"uplift": 0.1, "uplift_group": "do not disturb"},
        {"expected_profit": 9.0},  # A tenth of 10 is just the cost.
    ],
)
def test_who_is_not_to_be_contacted_by_a_campaign_is_left_but_known(more):
    assert actions(responses=[response("a", 29.0)]).loc["a", "action"] == "campaign"
    assert actions(responses=[response("a", 29.0, **more)])["action"].to_dict() == {"a": "leave_alone"}


def test_campaigns_come_last_where_values_are_equal():
    found = actions(
        responses=[response("a", 11.5, uplift=0.1), response("b", 11.5, uplift=0.1)],
        lists=[listed("a", "p", 0.5)],
        prices=PRICES,
        policy=ContactPolicy(margin=0.5, take_rate=0.5, contact_cost=1.0, campaign_cost=1.0),
    )
    # 0.5 x 100 x 0.25 less 1 is 11.5 too.
    assert found["expected_value"].tolist() == [11.5, 11.5]
    assert found["action"].to_dict() == {"a": "recommendation", "b": "campaign"}


def test_what_does_not_pay_is_left():
    found = actions(
        offers=[offer("a", 4.0), offer("z", 900.0)],  # 4 x 0.5 x 0.05 is just the cost; nobody knows if z will order
        lists=[listed("b", "p", 0.9, "repeat purchase"), listed("c", "no price", 0.9)],
        values=["d"],
        likely=LIKELY,
        prices=PRICES,
    )
    assert found.index.tolist() == ["a", "b", "c", "d", "z"]
    assert set(found["action"]) == {"leave_alone"}
    assert set(found["reason"]) == {"no action is expected to bring more than it costs"}
    assert found["expected_value"].tolist() == [0.0] * 5
    assert found[["detail", "rank"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("given", "is_left"),
    [(contact("a", 6), True), (contact("a", 7), False), (contact("a", -1), False), (contact("a", 2, True), False)],
)
def test_whom_a_campaign_contacted_lately_is_left_alone(given, is_left):
    found = actions(queue=[kept("a", 1.0)], contacts=[given])
    assert (found.loc["a", "action"] == "leave_alone") == is_left
    if is_left:
        assert found.loc["a", "reason"] == "a campaign contacted the customer on 2024-03-25, within 7 days"


def test_who_is_held_out_of_retention_gets_no_offer_either():
    found = actions(queue=[kept("a", 9.0, is_holdout=True)], offers=[offer("a", 100.0)], likely=LIKELY)
    assert found.loc["a", ["action", "rank"]].isna().tolist() == [False, True]
    assert found.loc["a", "reason"] == "held out so that the effect of retention can be measured"


def test_beyond_the_capacity_customers_are_left_alone_in_order_of_value_and_id():
    policy = ContactPolicy(capacity=2)
    found = actions(queue=[kept("d", 1.0), kept("b", 1.0), kept("c", 2.0), kept("a", 0.5)], policy=policy)
    assert found["action"].to_dict() == {"a": "leave_alone", "b": "retention", "c": "retention", "d": "leave_alone"}
    assert found.loc["d", "reason"] == "worth less than the 2 customers there is capacity for"
    assert found["rank"].dropna().to_dict() == {"b": 2, "c": 1}


def test_nobody_known_gives_no_rows():
    assert actions(contacts=[contact("a", 1)]).empty


def test_policies_that_make_no_sense_are_refused():
    for wrong in (
        {"margin": 0},
        {"take_rate": 2},
        {"contact_cost": -1},
        {"campaign_cost": -1},
        {"capacity": 0},
        {"gap_days": -1},
    ):
        with pytest.raises(ValueError, match="a contact policy needs"):
            ContactPolicy(**wrong)


def test_prices_are_of_lines_sold_in_the_newest_days():
    rows = [
        {"product_id": product, "amount": amount, "quantity": quantity, "day": AS_OF - timedelta(days=ago)}
        for product, amount, quantity, ago in [
            ("p", 10, 2, 0),
            ("p", 5, 1, 89),
            ("p", 99, 1, 90),
            ("p", 99, 1, -1),
            ("p", -99, -1, 3),
            ("q", None, 1, 3),
            (None, 7, 1, 3),
        ]
    ]
    found = product_prices(table(rows, LINES), AS_OF).to_pandas()
    assert found.to_numpy().tolist() == [["p", 7.5]]


QUEUED = st.dictionaries(st.sampled_from("abcde"), st.tuples(st.integers(1, 4).map(float), st.booleans()), max_size=5)


@settings(max_examples=20, deadline=None)
@given(
    QUEUED,
    st.dictionaries(st.sampled_from("abcde"), st.integers(0, 200), max_size=5),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-3, 12), st.booleans()), max_size=5),
    st.one_of(st.none(), st.integers(1, 4)),
)
def test_caps_hold_whatever_there_is_to_do(queued, offered, contacted, capacity):
    policy = ContactPolicy(capacity=capacity)
    found = actions(
        queue=[kept(customer, *how) for customer, how in queued.items()],
        offers=[offer(customer, float(value)) for customer, value in offered.items()],
        likely=LIKELY,
        contacts=[contact(*how) for how in contacted],
        policy=policy,
    )
    assert found.index.tolist() == sorted({*queued, *offered})
    chosen = found[found["action"] != "leave_alone"].sort_values("rank")
    assert chosen["rank"].tolist() == list(range(1, len(chosen) + 1))
    assert chosen["expected_value"].is_monotonic_decreasing
    assert (chosen["expected_value"] > 0).all()
    assert len(chosen) <= (capacity or len(found))
    lately = {customer for customer, ago, is_control in contacted if 0 <= ago < policy.gap_days and not is_control}
    assert not lately & set(chosen.index)
    assert not {customer for customer, (_, is_holdout) in queued.items() if is_holdout} & set(chosen.index)
