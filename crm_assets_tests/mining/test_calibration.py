"""Probabilities from raw scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.mining.calibration import calibrated, nearer_to

CURVE = {"kind": "sigmoid", "slope": 1.0, "intercept": 0.0}


def test_a_curve_moves_half_of_the_way_to_the_share_of_the_rows():
    # Of four rows alike one churned: log-odds of a quarter are -log 3, and half of the way is -log 3 / 2.
    moved = nearer_to(CURVE, np.zeros(4), np.array([1.0, 0, 0, 0]))
    assert moved["intercept"] == pytest.approx(-np.log(3) / 2)
    assert moved["slope"] == 1.0


def test_a_curve_that_says_what_became_of_the_rows_stays():
    raw = np.array([-np.log(3)] * 4 + [np.log(3)] * 4)
    outcome = np.array([1.0, 0, 0, 0, 1, 1, 1, 0])
    assert nearer_to(CURVE, raw, outcome)["intercept"] == pytest.approx(0.0, abs=1e-9)


def test_steps_stay():
    steps = {"kind": "isotonic", "raw": [0.0, 1.0], "probability": [0.1, 0.3]}
    assert nearer_to(steps, np.array([0.0, 1.0]), np.array([0.0, 1.0])) == steps


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-500, 500), st.booleans()), min_size=2).filter(
        lambda rows: len({y for _, y in rows}) == 2
    ),
    st.floats(0.01, 5),
    st.floats(-5, 5),
)
def test_the_level_never_gets_further_from_the_share_of_the_rows(rows, slope, intercept):
    raw, outcome = np.array([score for score, _ in rows]), np.array([float(y) for _, y in rows])
    curve = {"kind": "sigmoid", "slope": slope, "intercept": intercept}
    off = [abs(calibrated(each, raw).mean() - outcome.mean()) for each in (curve, nearer_to(curve, raw, outcome))]
    assert off[1] <= off[0] + 1e-9
