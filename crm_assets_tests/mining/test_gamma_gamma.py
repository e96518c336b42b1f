"""Gamma-Gamma: published figures, recovery, and what must hold for every customer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.mining.bg_nbd import TooFewOrdersError
from crm_assets.mining.gamma_gamma import GammaGamma, fit_gamma_gamma, value_frequency_correlation
from crm_assets_tests.mining.order_processes import cdnow, measured

CDNOW = GammaGamma(6.25, 3.74, 15.44)


def drawn(customers, p, q, gamma, seed):
    """Number and mean value of the orders of customers of the model."""
    generator = np.random.default_rng(seed)
    orders = generator.integers(1, 12, customers)
    return orders, generator.gamma(p * orders) / orders / (generator.gamma(q, 1 / gamma, customers))


def test_parameters_of_cdnow_are_those_of_the_note():
    rows = measured(cdnow("sample"))
    again = rows[rows["frequency"] > 0]
    mean = (again["amount"] - again["first"]) / again["frequency"]
    model = fit_gamma_gamma(again["frequency"][mean > 0], mean[mean > 0])
    assert (round(model.p, 2), round(model.q, 2), round(model.gamma, 2)) == (6.25, 3.74, 15.44)
    assert model.customers == 946
    correlation = value_frequency_correlation(again["frequency"], mean)
    assert correlation["pearson"] == pytest.approx(0.11, abs=0.005)
    assert correlation["assumption"] == "holds well enough"


def test_a_fit_recovers_the_parameters_customers_were_drawn_with():
    model = fit_gamma_gamma(*drawn(300_000, 6.0, 4.0, 15.0, seed=1))
    assert (model.p, model.q, model.gamma) == pytest.approx((6.0, 4.0, 15.0), rel=0.03)


def test_the_unit_of_value_changes_gamma_alone():
    orders, mean = drawn(2_000, 6.0, 4.0, 15.0, seed=1)
    pounds, pence = fit_gamma_gamma(orders, mean), fit_gamma_gamma(orders, mean * 100)
    assert (pence.p, pence.q, pence.gamma) == pytest.approx((pounds.p, pounds.q, pounds.gamma * 100))


@given(st.integers(1, 500), st.floats(0, 1_000))
def test_the_expected_value_lies_between_the_own_mean_and_that_of_all(orders, mean):
    everyone = CDNOW.expected_value([0], [0])[0]
    assert everyone == pytest.approx(6.25 * 15.44 / 2.74)
    value = CDNOW.expected_value([orders], [mean])[0]
    assert min(mean, everyone) * (1 - 1e-9) <= value <= max(mean, everyone) * (1 + 1e-9)


def test_more_orders_weigh_more_and_returns_below_zero_count_as_nothing():
    few, many = CDNOW.expected_value([1, 50], [100, 100])
    assert few < many < 100
    assert CDNOW.expected_value([3], [-20])[0] == CDNOW.expected_value([3], [0])[0]


def test_orders_that_grow_with_frequency_are_named():
    orders = np.arange(1, 101)
    assert value_frequency_correlation(orders, orders * 2.0)["assumption"].startswith("value depends on frequency")
    assert value_frequency_correlation(orders, np.ones(100))["pearson"] is None


@pytest.mark.parametrize(("orders", "mean"), [([0, 2], [1, 1]), ([1, 2], [0, 1]), ([2, 2], [np.nan, 1])])
def test_what_has_no_value_is_refused_with_what_to_do(orders, mean):
    with pytest.raises(ValueError, match="leave out customers"):
        fit_gamma_gamma(orders, mean)


def test_single_orders_do_not_say_how_one_customer_s_vary():
    with pytest.raises(TooFewOrdersError, match="two orders of value: 0 of 2"):
        fit_gamma_gamma([1, 1], [3, 4])


def test_orders_of_one_value_say_which_parameters_are_not_pinned_down():
    model = fit_gamma_gamma([2, 3, 4], [5.0, 5.0, 5.0])
    assert model.at_bounds
    assert model.expected_value([2], [5])[0] == pytest.approx(5, rel=0.01)
