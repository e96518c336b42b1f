"""BG/NBD and MBG/NBD: published figures, recovery, and what must hold for every customer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_assets.mining.bg_nbd import PARAMETERS, BgNbd, TooFewOrdersError, fit_bg_nbd
from crm_assets_tests.mining.order_processes import cdnow, drawn_histories, measured

CDNOW = BgNbd(0.243, 4.414, 0.793, 2.426)
MODIFIED = BgNbd(0.525, 6.183, 0.891, 1.614, modified=True)

processes = st.builds(
    BgNbd, st.floats(0.05, 20), st.floats(0.5, 100), st.floats(0.01, 20), st.floats(0.1, 50), st.booleans()
)
histories = st.tuples(st.integers(0, 300), st.floats(0.01, 1), st.floats(1, 1_000)).map(
    lambda drawn: (drawn[0], drawn[1] * drawn[2] if drawn[0] else 0.0, drawn[2])
)


def fit(rows, **options):
    return fit_bg_nbd(rows["frequency"], rows["recency"], rows["age"], **options)


def test_parameters_of_cdnow_are_those_of_the_paper():
    model = fit(measured(cdnow("sample")))
    assert [round(getattr(model, name), 3) for name in PARAMETERS] == [0.243, 4.414, 0.793, 2.426]
    assert round(model.log_likelihood, 1) == -9582.4
    assert (model.customers, model.at_bounds) == (2_357, ())


def test_expected_orders_are_those_of_the_paper_s_worked_example():
    # Fader, Hardie and Lee (2005), "Implementing the BG/NBD model in Excel": x 2, t_x 30.43, T 38.86, 39 weeks ahead.
    assert CDNOW.expected_orders([2], [30.43], [38.86], 39)[0] == pytest.approx(1.226, abs=5e-4)


@pytest.mark.parametrize("process", [CDNOW, MODIFIED])
def test_expected_orders_are_the_mean_of_orders_drawn_given_the_history(process):
    generator, draws = np.random.default_rng(3), 400_000
    x, recency, age, horizon = 4, 20.0, 30.0, 25.0
    alive = generator.random(draws) < process.p_alive([x], [recency], [age])[0]
    rate = generator.gamma(process.r + x, 1 / (process.alpha + age), draws)
    leaving = generator.beta(process.a, process.b + x + process.modified, draws)
    orders = np.minimum(generator.poisson(rate * horizon), generator.geometric(leaving)) * alive
    expected = process.expected_orders([x], [recency], [age], horizon)[0]
    assert expected == pytest.approx(orders.mean(), abs=4 * orders.std() / np.sqrt(draws))


@pytest.mark.parametrize("modified", [False, True])
def test_p_alive_is_the_share_of_customers_who_have_not_left(modified):
    rows = drawn_histories(200_000, 0.5, 6.0, 0.9, 1.6, (20, 40), seed=5, modified=modified)
    p_alive = BgNbd(0.5, 6.0, 0.9, 1.6, modified).p_alive(rows["frequency"], rows["recency"], rows["age"])
    for part in (rows["frequency"] == 0, rows["frequency"].between(1, 3), rows["frequency"] > 3):
        assert p_alive[part].mean() == pytest.approx(1 - rows["left"][part].mean(), abs=0.006)


@pytest.mark.slow
@pytest.mark.parametrize("modified", [False, True])
def test_a_fit_recovers_the_parameters_customers_were_drawn_with(modified):
    truth = dict(zip(PARAMETERS, (0.6, 5.0, 1.5, 4.0), strict=True))
    model = fit(drawn_histories(300_000, **truth, age=(60, 160), seed=11, modified=modified), modified=modified)
    for name, value in truth.items():
        assert getattr(model, name) == pytest.approx(value, rel=0.02), name
        assert abs(getattr(model, name) - value) < 4 * model.standard_errors[name], name


def test_alike_customers_as_one_row_give_the_same_fit():
    rows = drawn_histories(2_000, 0.6, 5.0, 1.5, 4.0, (30, 60), seed=2).round(0)
    rows = rows[~((rows["frequency"] > 0) & (rows["recency"] == 0))].astype("float64")
    alike = rows.groupby(["frequency", "recency", "age"], as_index=False).size()
    apart, together = fit(rows), fit(alike, customers=alike["size"])
    assert len(alike) < len(rows) * 0.7
    for name in PARAMETERS:
        assert getattr(together, name) == pytest.approx(getattr(apart, name), rel=1e-4)


def test_the_unit_of_time_changes_alpha_alone():
    rows = drawn_histories(2_000, 0.6, 5.0, 1.5, 4.0, (30, 60), seed=2)
    weeks, days = fit(rows), fit_bg_nbd(rows["frequency"], rows["recency"] * 7, rows["age"] * 7)
    assert days.alpha == pytest.approx(7 * weeks.alpha)
    assert [days.r, days.a, days.b] == pytest.approx([weeks.r, weeks.a, weeks.b])


def test_one_time_buyers_are_customers_for_ever_only_in_the_plain_form():
    assert CDNOW.p_alive([0], [0], [500])[0] == 1
    young, old = MODIFIED.p_alive([0, 0], [0, 0], [5, 500])
    assert 0 < old < young < 1


@given(processes, histories, st.floats(0, 500), st.floats(0.1, 500))
def test_what_holds_for_every_customer(process, history, longer, horizon):
    frequency, recency, age = history
    now, later = process.p_alive([frequency] * 2, [recency] * 2, [age, age + longer])
    assert 0 <= later <= now <= 1
    near, far = (process.expected_orders([frequency], [recency], [age], h)[0] for h in (horizon, horizon + longer))
    assert 0 <= near <= far * (1 + 1e-9)
    # Nobody orders more than at the own rate, never leaving.
    assert far <= (process.r + frequency) / (process.alpha + age) * (horizon + longer) * (1 + 1e-6)


@given(processes, histories, st.floats(1, 400))
def test_discounting_lowers_what_is_ahead_by_at_most_the_last_day_s_rate(process, history, horizon):
    frequency, _, age = history
    full = process.orders_if_alive([frequency], [age], horizon)[0]
    discounted = process.orders_if_alive([frequency], [age], horizon, 0.001)[0]
    assert full * np.exp(-0.001 * horizon) * (1 - 1e-6) <= discounted <= full * (1 + 1e-6)


def test_nothing_overflows_for_customers_with_thousands_of_orders():
    orders = CDNOW.expected_orders([5_000], [363], [364], 365)[0]
    assert np.isfinite(orders)
    assert 0 < orders < 5_000


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (([1, np.nan], [1, 0], [2, 2]), "1 rows, the first at 1, hold null"),
        (([1.5], [1], [2]), "count orders after the first one"),
        (([-1], [0], [2]), "count orders after the first one"),
        (([1], [3], [2]), "have a recency outside 0 to age"),
        (([1], [0], [2]), "count orders of one day once"),
        (([0, 1], [1, 1], [2, 2]), "it is 0 without a second order"),
        (([1], [1], [2], [0]), "stand for no customer"),
        (([1, 2], [1], [2]), "one value for each row"),
    ],
)
def test_what_is_no_order_history_is_refused_with_what_to_do(rows, message):
    with pytest.raises(ValueError, match=message):
        fit_bg_nbd(*rows)


@pytest.mark.parametrize(
    ("rows", "message"), [(([], [], []), "0 rows"), (([0, 0], [0, 0], [9, 5]), "ordered again: 0 of 2")]
)
def test_too_few_orders_are_named(rows, message):
    with pytest.raises(TooFewOrdersError, match=message):
        fit_bg_nbd(*rows)


@pytest.mark.parametrize(
    "rows", [([3], [20], [30]), ([3] * 50, [20] * 50, [30] * 50), ([9] * 50, [30] * 50, [30] * 50)]
)
def test_one_customer_or_customers_all_alike_say_which_parameters_are_not_pinned_down(rows):
    model = fit_bg_nbd(*rows)
    assert model.at_bounds
    assert model.standard_errors == {}
    assert np.isfinite(model.expected_orders(*rows, 30)).all()


def test_the_gradient_is_that_of_the_likelihood():
    from scipy.optimize import approx_fprime

    from crm_assets.mining.bg_nbd import _log_likelihood, _Rows

    rows = _Rows.of([0, 1, 4, 9], [0, 3, 20, 30], [10, 12, 30, 31], [5, 2, 1, 3])
    at = np.array([0.7, 3.0, 0.9, 2.0])
    for modified in (False, True):
        by_steps = approx_fprime(at, lambda values, form=modified: _log_likelihood(rows, values, form)[0], 1e-7)
        assert _log_likelihood(rows, at, modified)[1] == pytest.approx(by_steps, rel=1e-4, abs=1e-4)
