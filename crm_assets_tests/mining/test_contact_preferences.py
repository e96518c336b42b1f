"""When and where to reach customers: what counts, how far a habit counts, consents, and later interactions."""

from datetime import date, datetime, timedelta

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.canonical import INTERACTIONS
from crm_assets.contracts.response import CONTACT_PREFERENCES
from crm_assets.mining.contact_preferences import CONSENT, UNTESTED_STRENGTH, contact_choices, contact_preferences

AS_OF = date(2024, 6, 30)
"""A Sunday."""

COLUMNS = {column.name: column.dtype for column in INTERACTIONS.columns} | {"day": "date"}
ALL_DAYS = 180
CONNECTION = ibis.duckdb.connect()


def engine_table(name, rows, schema):
    arrow = pa.Table.from_pylist(rows, schema=ibis.schema(schema).to_pyarrow())
    return CONNECTION.create_table(name, arrow, overwrite=True, temp=True)


def choices_of(seen, days=ALL_DAYS):
    """Choices of interactions: customer, days before AS_OF, hour (None: the day only) and channel."""
    rows = []
    for number, (customer, ago, hour, channel) in enumerate(seen):
        day = AS_OF - timedelta(days=ago)
        at = datetime.combine(day, datetime.min.time()) + timedelta(
            hours=hour or 0, minutes=5 if hour is not None else 0
        )
        rows.append(
            {"interaction_id": str(number), "customer_id": customer, "kind": "open", "channel": channel}
            | {"occurred_at": at, "day": day}
        )
    return contact_choices(engine_table("interactions", rows, COLUMNS), AS_OF, days)


def preferred(seen, refusals=()):
    """Preferences; refusals are of customer and consent."""
    rows = [{"customer_id": customer, **dict.fromkeys(CONSENT), consent: False} for customer, consent in refusals]
    customers = engine_table("customers", rows, {"customer_id": "string", **dict.fromkeys(CONSENT, "boolean")})
    return contact_preferences(choices_of(seen), customers, AS_OF)


def of(found, customer):
    rows = found.customers.to_pandas().set_index("customer_id")
    return rows.loc[customer]


def test_shares_are_those_worked_out_by_hand():
    # Nothing is held out, so the prior counts as ten: nine of twelve interactions are in the evening.
    seen = [("ann", 1, 19, "app")] * 3 + [("bob", 1, 19, "app")] * 6 + [("ann", 2, 8, "email")] * 3
    found = preferred(seen)
    ann = of(found, "ann")
    assert ann[["interactions", "hours", "weekday", "channel"]].tolist() == [6, "18:00-21:00", "saturday", "app"]
    assert ann["hours_share"] == pytest.approx((3 + 10 * 9 / 12) / (6 + 10))
    assert ann["hours_lift"] == pytest.approx(ann["hours_share"] / (9 / 12))
    assert ann["reason"] == "of 6 interactions, 3 at 18:00-21:00, 3 on saturday, 3 by app"
    assert found.figures["strength"].tolist() == [UNTESTED_STRENGTH] * 3
    assert found.figures["hit_rate"].isna().all()
    types = dict(found.customers.schema().items())
    assert {name: str(dtype) for name, dtype in types.items()} == {
        column.name: column.dtype for column in CONTACT_PREFERENCES.columns
    }


def test_one_interaction_does_not_make_a_habit_and_twenty_do():
    usual = [(f"c{n}", 3, 10, "email") for n in range(200)]
    found = preferred([*usual, ("once", 2, 20, "app"), *[("often", 2, 20, "app")] * 20])
    assert of(found, "once")[["hours", "channel"]].tolist() == ["09:00-12:00", "email"]
    assert of(found, "once")["reason"] == "of 1 interaction, 0 at 09:00-12:00, 0 on thursday, 0 by email"
    assert of(found, "often")[["hours", "channel"]].tolist() == ["18:00-21:00", "app"]


def test_a_refused_channel_is_not_named_and_another_one_is():
    seen = [("ann", 3, 10, "Email")] * 5 + [("ann", 2, 10, "app")] + [("bob", 2, 10, "短信")] * 3
    found = preferred(seen, [("ann", "consent_email"), ("bob", "consent_phone")])
    assert of(found, "ann")["channel"] == "app"
    # Most interactions are by e-mail, to which Bob has said nothing.
    assert of(found, "bob")["channel"] == "Email"
    nowhere = preferred([("bob", 2, 10, "SMS")] * 3, [("bob", "consent_phone")])
    assert pd.isna(of(nowhere, "bob")["channel"])
    assert of(nowhere, "bob")["reason"] == "of 3 interactions, 3 at 09:00-12:00, 3 on friday"


def test_what_was_not_told_is_no_choice():
    choices = choices_of([("ann", 3, None, None), ("ann", 2, 0, "app"), (None, 2, 3, "app"), ("ann", 200, 3, "app")])
    told = choices.to_pandas().groupby("dimension")["value"].agg(list).to_dict()
    assert {name: sorted(values) for name, values in told.items()} == {
        "hours": ["00:00-03:00"],
        "weekday": ["friday", "thursday"],
        "channel": ["app"],
    }


def habits(seed, own_share):
    """Interactions of customers of whom each has hours of its own for a share of them, the rest at any hour."""
    chance = np.random.default_rng(seed)
    seen = []
    for customer in range(150):
        habit = int(chance.integers(24))
        for _ in range(30):
            hour = habit if chance.random() < own_share else int(chance.integers(24))
            seen.append((f"c{customer}", int(chance.integers(ALL_DAYS)), hour, "app"))
    return seen


def test_habits_foretell_later_interactions_and_the_prior_learns_whether_there_are_any():
    strong = preferred(habits(1, 0.7)).figures.set_index("dimension").loc["hours"]
    none = preferred(habits(2, 0.0)).figures.set_index("dimension").loc["hours"]
    assert strong["hit_rate"] == pytest.approx(0.7 + 0.3 / 8, abs=0.05)
    assert strong["baseline"] < 0.25
    assert strong["strength"] < none["strength"]
    assert none["strength"] == 100
    assert abs(none["hit_rate"] - none["baseline"]) < 0.04


def test_without_interactions_there_are_no_rows():
    found = preferred([])
    assert found.customers.count().to_pyarrow().as_py() == 0
    assert found.figures["later"].tolist() == [0, 0, 0]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab酒"),
            st.integers(0, 60),
            st.none() | st.integers(0, 23),
            st.none() | st.sampled_from(["app", "email", "微信"]),
        ),
        min_size=1,
        max_size=25,
    )
)
def test_each_customer_has_one_row_with_shares_in_their_range(seen):
    rows = preferred(seen).customers.to_pandas()
    assert sorted(rows["customer_id"]) == sorted({customer for customer, *_ in seen})
    for name in ("hours", "weekday", "channel"):
        told = rows[rows[name].notna()]
        assert ((told[f"{name}_share"] > 0) & (told[f"{name}_share"] <= 1)).all()
        assert (told[f"{name}_lift"] > 0).all()
    assert rows["weekday"].notna().all()
    every = {customer: sum(1 for who, *_ in seen if who == customer) for customer in rows["customer_id"]}
    assert dict(zip(rows["customer_id"], rows["interactions"], strict=True)) == every
