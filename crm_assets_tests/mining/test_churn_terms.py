"""What counts as churn: as set, or from the gaps between orders."""

from datetime import date, timedelta

import ibis
import pytest

from crm_assets.mining.churn_terms import ChurnTerms, churn_terms

FIRST = date(2024, 1, 1)
END = date(2024, 12, 31)


def every(gap: int, customers: int = 1, orders: int = 121) -> ibis.Table:
    """Customers who order after so many days each."""
    rows = [(FIRST + timedelta(gap * n), f"c{who}", 1) for who in range(customers) for n in range(orders)]
    return ibis.memtable(rows, schema={"day": "date", "customer_id": "string", "orders": "int64"})


@pytest.mark.parametrize(("gap", "horizon"), [(1, 7), (3, 7)])
def test_the_horizon_is_the_first_window_that_usual_gaps_do_not_exceed(gap: int, horizon: int) -> None:
    terms = churn_terms(every(gap), FIRST + timedelta(gap * 120))
    assert terms == ChurnTerms(horizon, 2 * horizon)
    assert f"at most {gap} days" in terms.why


@pytest.mark.parametrize(("gap", "horizon"), [(8, 14), (30, 30), (31, 60), (100, 180), (400, 365)])
def test_windows_are_those_of_features_and_the_longest_is_a_year(gap: int, horizon: int) -> None:
    terms = churn_terms(every(gap, customers=50, orders=4), FIRST + timedelta(gap * 3))
    assert (terms.horizon_days, terms.active_days) == (horizon, 2 * horizon)


def test_one_gap_in_twenty_may_be_longer() -> None:
    usual = every(5, customers=95, orders=2)
    longer = every(50, customers=5, orders=2).mutate(customer_id=ibis._.customer_id + "x")
    assert churn_terms(usual.union(longer), END).horizon_days == 7
    more = every(50, customers=6, orders=2).mutate(customer_id=ibis._.customer_id + "x")
    assert churn_terms(usual.union(more), END).horizon_days == 60


def test_gaps_that_end_after_the_day_are_not_known() -> None:
    days = every(100, customers=200, orders=2)
    assert churn_terms(days, FIRST + timedelta(100)).horizon_days == 180
    terms = churn_terms(days, FIRST + timedelta(99))
    assert terms == ChurnTerms()
    assert "fewer than 100 gaps" in terms.why


def test_what_is_set_holds_and_the_other_follows() -> None:
    days = every(100, customers=200, orders=2)
    assert churn_terms(days, END, horizon_days=45) == ChurnTerms(45, 90)
    assert churn_terms(days, END, active_days=50) == ChurnTerms(180, 50)
    assert churn_terms(days, END, 45, 60) == ChurnTerms(45, 60)
    assert churn_terms(days.limit(0), END) == ChurnTerms()
