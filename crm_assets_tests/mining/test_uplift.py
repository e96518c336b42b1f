"""Qini, groups and the promotion of uplift models: planted effects, and rankings that say nothing."""

from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.mining.response import ResponsePolicy
from crm_assets.mining.response_cases import CATEGORIES, NUMBERS
from crm_assets.mining.response_inputs import fit_response_inputs
from crm_assets.mining.uplift import AVERAGE, qini, uplift_of
from crm_assets.mining.uplift_training import train_uplift

MONTH = date(2024, 2, 1)


def experiment(customers: int, moved: float, seed: int = 7) -> pd.DataFrame:
    """Half were contacted; contacts add `moved` to a rate of 20% among those who came often, and nothing else."""
    generator = np.random.default_rng(seed)
    often, control = generator.random(customers) < 0.5, generator.random(customers) < 0.5
    rows = pd.DataFrame(0.0, index=range(customers), columns=list(NUMBERS)).assign(**dict.fromkeys(CATEGORIES))
    return rows.assign(
        campaign_id="spring",
        customer_id=[f"{number:06d}" for number in range(customers)],
        day=pd.Timestamp("2024-01-01"),
        is_control=control,
        responded=generator.random(customers) < 0.2 + moved * (often & ~control),
        order_days=np.where(often, 9.0, 1.0),
        attributes=None,
    )


def test_qini_of_four_customers():
    """Contacting the better half alone gains all that contacting everyone does: 1/2 of a response a customer.

    Of the best alone nobody was held out, so nothing is known: 0. Then 1/2 of 1, 3/4 of 1/2, and all of 1/2.
    """
    found = qini(
        np.array([4.0, 3.0, 2.0, 1.0]),
        np.array([True, False, True, False]),
        np.array([1.0, 0.0, 0.0, 0.0]),
        np.full(4, 0.5),
        10,
        1,
    )
    assert found.share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.figures[AVERAGE] == 0.5
    assert found.gained.tolist() == [0, 0, 0.5, 0.375, 0.5]


def test_a_planted_effect_is_found_and_promoted():
    rows = experiment(8_000, 0.2)
    trained = train_uplift(rows, fit_response_inputs(rows, False)[0], "email", MONTH, 1)
    assert trained is not None
    assert trained.model.champion != AVERAGE
    assert trained.model.average == pytest.approx(0.1, abs=0.02)
    found = uplift_of(trained.model, rows)
    often = rows["order_days"].to_numpy() == 9
    assert found.uplift[often].mean() == pytest.approx(0.2, abs=0.03)
    assert found.uplift[~often].mean() == pytest.approx(0.0, abs=0.03)
    assert found.groups is not None
    assert {group for group, is_often in zip(found.groups, often, strict=True) if is_often} == {"persuadable"}


def test_without_differences_uplift_is_the_average_effect():
    rows = experiment(4_000, 0.0)
    trained = train_uplift(rows, fit_response_inputs(rows, False)[0], "email", MONTH, 1)
    assert trained is not None
    assert trained.model.champion == AVERAGE
    assert "average effect" in trained.card["choice"]
    assert set(uplift_of(trained.model, rows).uplift) == {trained.model.average}


def test_nobody_held_out_means_no_uplift():
    rows = experiment(100, 0.0).assign(is_control=False)
    assert train_uplift(rows, fit_response_inputs(rows, False)[0], "email", MONTH, 1) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_qini_of_scores_drawn_at_random_is_near_zero(seed: int):
    rows = experiment(4_000, 0.2, seed)
    found = qini(
        np.random.default_rng(seed + 1).random(len(rows)),
        ~rows["is_control"].to_numpy(bool),
        rows["responded"].to_numpy(float),
        np.full(len(rows), 0.5),
        2,
        seed,
    )
    assert abs(found.figures["qini"]) < 0.02


@given(st.decimals(0, 1000, places=2), st.decimals("0.01", 50, places=2))
def test_contacts_never_cost_more_than_the_budget(budget, cost):
    most = ResponsePolicy(float(cost), None, 1.0, float(budget)).most_contacts
    assert most is not None
    assert most * cost <= budget < (most + 1) * cost
