"""Partial effects: values a person can work out, and what must hold of any model."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.mining.drivers import LEVELS, partial_effects, spend_drivers
from crm_assets.mining.purchases import PAST_SPEND, PURCHASE_FEATURES, PurchaseModel

DAY = date(2024, 6, 30)


def customers(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns).astype("float64")


def test_a_straight_line_moves_by_its_slope_times_the_way_from_the_mean() -> None:
    inputs = customers(recency_days=range(101), weekend_share=np.zeros(101))
    found = partial_effects(lambda rows: 0.01 * rows["recency_days"].to_numpy(), inputs, list(inputs.columns))
    assert found["feature"].unique().tolist() == ["recency_days"]
    assert found["level"].tolist() == list(LEVELS)
    assert found["value"].tolist() == [10, 25, 50, 75, 90]
    assert found["prediction"].tolist() == pytest.approx([0.1, 0.25, 0.5, 0.75, 0.9])
    assert found["effect"].tolist() == pytest.approx([-0.4, -0.25, 0.0, 0.25, 0.4])
    assert found["customers"].unique().tolist() == [101]


def test_signs_of_one_thing_move_together_and_the_closest_one_leads() -> None:
    many = np.arange(41.0)
    inputs = customers(orders_30d=many // 4, orders_90d=many, contacts_90d=many % 2)
    found = partial_effects(
        lambda rows: (
            rows["orders_30d"].to_numpy() + rows["orders_90d"].to_numpy() + 3 * rows["contacts_90d"].to_numpy()
        ),
        inputs,
        list(inputs.columns),
    )
    assert found.groupby("rank")["feature"].first().tolist() == ["orders_90d", "contacts_90d"]
    # At the middle customers have 20 orders in 90 days and 5 in 30; contacts are as they are, 20 of 41 customers.
    middle = found[(found["rank"] == 1) & (found["level"] == 0.5)].iloc[0]
    assert middle["prediction"] == pytest.approx(5 + 20 + 3 * 20 / 41)


def test_what_the_model_does_not_read_is_left_out_and_so_is_everything_without_customers() -> None:
    inputs = customers(recency_days=[1, 2, 3], tenure_days=[9, 8, 7])
    found = partial_effects(lambda rows: rows["recency_days"].to_numpy() * 1.0, inputs, ["recency_days", "tenure_days"])
    assert found["driver"].unique().tolist() == ["pause"]
    assert partial_effects(lambda rows: np.zeros(len(rows)), inputs, list(inputs.columns)).empty
    assert partial_effects(lambda rows: np.zeros(len(rows)), inputs.head(0), list(inputs.columns)).empty


def test_nulls_are_neither_levels_nor_lost_from_the_mean() -> None:
    inputs = customers(recency_days=[1, 2, 3, None], amount_30d=[None] * 4)
    found = partial_effects(
        lambda rows: np.nan_to_num(rows["recency_days"].to_numpy(), nan=10.0), inputs, list(inputs.columns)
    )
    assert found["value"].tolist() == [1, 1, 2, 3, 3]
    assert found["effect"].tolist() == [value - 4.0 for value in (1, 1, 2, 3, 3)]
    assert found["customers"].unique().tolist() == [4]


def test_past_spend_is_driven_by_past_spend_alone() -> None:
    rows = pd.DataFrame({name: [1.0] * 11 for name in PURCHASE_FEATURES}).assign(amount=np.arange(11.0) * 10)
    model = PurchaseModel.from_document(
        {
            "model_id": "purchases-2024-06",
            "purchase": {},
            "spend": {"champion": PAST_SPEND, "estimator": {}},
            "next_order": "",
            "first_day": "2024-04-02",
            "card": {},
        }
    )
    found = spend_drivers(model, rows, DAY)
    assert found["feature"].unique().tolist() == ["amount"]
    # 90 days of history for 90 days ahead: as much as was spent.
    assert found["prediction"].tolist() == found["value"].tolist() == [10, 25, 50, 75, 90]


@given(
    values=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5)), min_size=1, max_size=40),
    weight=st.floats(-3, 3),
)
def test_effects_lie_within_what_the_model_can_say_and_ranks_follow_their_span(values, weight) -> None:
    inputs = customers(recency_days=[a for a, _ in values], contacts_90d=[b for _, b in values])

    def score(rows: pd.DataFrame) -> np.ndarray:
        raw = 0.1 * rows["recency_days"].to_numpy() + weight * rows["contacts_90d"].to_numpy()
        return 1 / (1 + np.exp(-np.nan_to_num(raw)))

    found = partial_effects(score, inputs, list(inputs.columns))
    assert found["prediction"].between(0, 1).all()
    spans = found.groupby("rank")["prediction"].agg(np.ptp)
    assert spans.tolist() == sorted(spans, reverse=True)
    effects = found[["effect", "prediction"]].astype("float64")
    assert np.allclose(effects["effect"], effects["prediction"] - score(inputs).mean())
