"""The grade by the published rule, on tables a person can count."""

import numpy as np

from crm_assets.mining.model_grade import grade

CHURNED = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], dtype=float)
PAUSE = np.array([40, 40, 5, 5, 40, 40, 5, 5, 5, 5], dtype=float)
"""The rule of 15 days calls four customers churned and finds half of the churned."""


def graded(probability):
    return grade(CHURNED, np.array(probability), PAUSE, 30)


def test_all_found_is_an_a():
    result = graded([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert (result.grade, result.right, result.right_on_churned, result.baseline) == ("A", 1.0, 1.0, 0.5)
    assert (result.baseline_days, result.called) == (15, 4)


def test_as_good_as_the_rule_is_a_b():
    result = graded([0.9, 0.9, 0.1, 0.1, 0.8, 0.8, 0.2, 0.1, 0.1, 0.1])
    assert (result.grade, result.right_on_churned, result.right) == ("B", 0.5, 0.6)


def test_worse_than_the_rule_is_a_c():
    assert graded([0.9, 0.1, 0.1, 0.1, 0.8, 0.8, 0.8, 0.1, 0.1, 0.1]).grade == "C"


def test_fewer_than_half_right_is_a_c():
    churned, pause = np.ones(11), np.r_[np.full(4, 40.0), np.full(7, 5.0)]
    churned[10] = 0
    result = grade(churned, np.linspace(1, 0, 11), pause, 30)
    assert (result.grade, result.right_on_churned, result.baseline) == ("C", 0.4, 0.4)
    assert result.right == 5 / 11


def test_the_window_is_halved_until_it_is_a_month():
    pause = np.array([200, 200, 200, 10, 100, 10, 10, 10, 10, 10], dtype=float)
    assert grade(CHURNED, CHURNED, pause, 360).baseline_days == 180


def test_contracts_are_held_against_the_share_who_churn():
    result = grade(CHURNED, CHURNED * 0.8 + 0.1, None, 30)
    assert (result.baseline, result.baseline_days, result.grade) == (0.4, None, "A")
