"""Published scores beside what came of them: of contracts by hand, and figures beside the rule."""

from datetime import date, datetime, timedelta

import ibis
import pandas as pd
import pytest

from crm_assets.mining.churn_performance import CONTRACTS, churn_performance, curves, judged_days, realised_outcomes
from crm_assets.mining.churn_terms import ChurnTerms
from crm_assets.mining.subscriptions import contract_outcomes

AS_OF, NEXT = date(2024, 3, 31), date(2024, 4, 1)
ENDS = date(2024, 4, 30)
"""The last day of the horizon of 30 days of scores of `AS_OF`."""


def outcomes(contracts, delivered, scored=(AS_OF,), horizons=None):
    """Contracts as subscription_id: (first day, end); deliveries as (subscription_id, source, export date)."""
    clean = [(name, day, None if end is None else datetime(*end, 12)) for name, (day, end) in contracts.items()]
    scores = [(day, name, f"owner of {name}", 0.5, "m") for day in scored for name in contracts]
    columns = {"as_of": "date", "subscription_id": "string", "customer_id": "string"}
    found = contract_outcomes(
        ibis.memtable(scores, schema={**columns, "churn_probability": "float64", "model_id": "string"}),
        ibis.memtable(clean, schema={"subscription_id": "string", "day": "date", "ended_at": "timestamp"}),
        ibis.memtable(delivered, schema={"subscription_id": "string", "_source": "string", "_export_date": "date"}),
        horizons or dict.fromkeys(scored, 30),
    )
    return found.to_pandas()


def test_contracts_are_judged_by_whether_they_ended_within_the_horizon():
    began = date(2024, 3, 1)
    contracts = {
        "stayed": (began, None),
        "ended on the last day": (began, (2024, 4, 30)),
        "ended a day later": (began, (2024, 5, 1)),
        "had ended, as was told later": (began, (2024, 3, 31)),
        "had not begun": (NEXT, None),
    }
    rows = outcomes(contracts, [(name, "crm", ENDS) for name in contracts])
    assert rows[["subscription_id", "tenure_days", "churned"]].to_numpy().tolist() == [
        ["ended a day later", 30, False],
        ["ended on the last day", 30, True],
        ["stayed", 30, False],
    ]
    assert rows["customer_id"].tolist() == ["owner of " + name for name in rows["subscription_id"]]


def test_a_contract_is_judged_once_its_own_source_has_told_of_the_whole_horizon():
    began = date(2024, 3, 1)
    contracts = {"told": (began, None), "not told": (began, None), "told by another delivery": (began, None)}
    delivered = [
        ("told", "crm", ENDS),
        ("not told", "shop", date(2024, 4, 29)),
        ("told by another delivery", "crm", date(2024, 3, 1)),
    ]
    assert outcomes(contracts, delivered)["subscription_id"].tolist() == ["told", "told by another delivery"]


def test_each_day_is_judged_by_the_horizon_of_its_model():
    contracts = {"ended after 20 days": (date(2024, 3, 1), (2024, 4, 20)), "stayed": (date(2024, 3, 1), None)}
    delivered = [(name, "crm", ENDS) for name in contracts]
    rows = outcomes(contracts, delivered, (AS_OF, NEXT), {AS_OF: 30, NEXT: 7})
    found = {(str(row.as_of)[:10], row.subscription_id): row.churned for row in rows.itertuples()}
    assert found == {
        ("2024-03-31", "ended after 20 days"): True,
        ("2024-03-31", "stayed"): False,
        ("2024-04-01", "ended after 20 days"): False,
        ("2024-04-01", "stayed"): False,
    }
    with pytest.raises(ValueError, match="at least one day"):
        contract_outcomes(None, None, None, {})


def test_the_newest_days_are_each_judged_and_earlier_months_by_their_last_day():
    days = [date(2024, 1, 1) + timedelta(days=number) for number in range(182)]
    until = date(2024, 6, 30)
    found = judged_days(dict.fromkeys(days, 30), until)
    assert found[:4] == [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30)]
    # The horizon of 31 May ends on 30 June.
    assert found[4:] == [date(2024, 5, number) for number in range(1, 32)]
    assert judged_days({date(2024, 1, 7): 30, date(2024, 1, 8): 7}, date(2024, 1, 15)) == [date(2024, 1, 8)]
    assert judged_days({}, until) == []


def test_customers_are_judged_by_whether_they_ordered_within_the_horizon_of_the_day_of_their_scores():
    orders = [(date(2024, 3, 1), "stays"), (date(2024, 4, 30), "stays"), (date(2024, 3, 21), "leaves")]
    orders += [(date(2024, 3, 25), "was not scored")]
    days = ibis.memtable(
        [(*row, 1) for row in orders], schema={"day": "date", "customer_id": "string", "orders": "int64"}
    )
    rows = [(AS_OF, "stays", 0.25), (AS_OF, "leaves", 0.75), (NEXT, "leaves", 0.5)]
    scores = ibis.memtable(rows, schema={"as_of": "date", "customer_id": "string", "churn_probability": "float64"})
    found = realised_outcomes(scores, days, ENDS, {AS_OF: ChurnTerms(30, 60)})
    assert found[["customer_id", "churn_probability", "recency_days", "churned"]].to_numpy().tolist() == [
        ["leaves", 0.75, 10, True],
        ["stays", 0.25, 30, False],
    ]


def judged(probability, tenure, churned, customers=None):
    names = [f"s{number:02d}" for number in range(len(churned))]
    return pd.DataFrame(
        {
            "as_of": AS_OF,
            "subscription_id": names,
            "customer_id": customers or names,
            "churn_probability": probability,
            "tenure_days": tenure,
            "churned": churned,
        }
    )


FOUR = judged([0.9, 0.8, 0.3, 0.1], [10, 5, 20, 40], [True, False, True, False])


def test_the_figures_of_four_contracts_by_hand():
    """Of four pairs of one that ended and one that stayed the scores rank three rightly, and the younger first two."""
    rows = churn_performance(FOUR, 0, CONTRACTS)
    values = rows.set_index(["candidate", "metric"])["value"]
    assert values["subscription_churn_scores", "auc"] == 0.75
    assert values["tenure", "auc"] == 0.5
    assert values["subscription_churn_scores", "brier"] == pytest.approx((0.01 + 0.64 + 0.49 + 0.01) / 4)
    assert set(values["tenure"].index) == {"auc", "pr_auc", "lift_at_10"}, "days are no probability"
    assert set(rows["customers"]) == {4}
    assert set(rows["churned"]) == {2}


def test_the_curve_of_the_rule_takes_young_contracts_first():
    gain = curves(pd.concat([FOUR] * 3), CONTRACTS).gain
    by_rule = gain[gain["candidate"] == "tenure"]
    # Three aged 5 stayed, then three aged 10 ended: none is found in the first quarter, half in the second.
    assert by_rule["share_found"].tolist()[::3] == [0, 0, 0.5, 1, 1]


def test_a_day_on_which_no_contract_ended_has_no_figures():
    assert churn_performance(FOUR.assign(churned=False), 0, CONTRACTS).empty
    assert list(churn_performance(FOUR.iloc[:0], 0, CONTRACTS).columns) == list(
        churn_performance(FOUR, 0, CONTRACTS).columns
    )


def test_contracts_of_one_customer_are_one_draw():
    """Each contract twice, of the same customer, tells no more than once: the intervals stay as they are."""
    chance = [number / 40 for number in range(40)]
    ended = [number % 3 == 0 or number > 30 for number in range(40)]
    once = judged(chance, range(40), ended)
    twice = pd.concat([once, once.assign(subscription_id="second " + once["subscription_id"])], ignore_index=True)
    alone = twice.assign(customer_id=twice["subscription_id"])
    one, two, apart = (
        churn_performance(rows, 0, CONTRACTS).set_index(["candidate", "metric"])[["low", "high"]]
        for rows in (once, twice, alone)
    )
    auc = "subscription_churn_scores", "auc"
    assert two.loc[auc].tolist() == pytest.approx(one.loc[auc].tolist())
    assert apart.loc[auc, "high"] - apart.loc[auc, "low"] < two.loc[auc, "high"] - two.loc[auc, "low"]
