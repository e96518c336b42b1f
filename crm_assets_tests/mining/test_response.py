"""Who answers campaigns: what is known before a contact, models chosen in time, and whom to contact."""

import json
from datetime import date, datetime
from decimal import Decimal

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CAMPAIGN_CONTACTS, CAMPAIGNS, CUSTOMERS, INTERACTIONS
from crm_assets.contracts.features import CUSTOMER_DAYS
from crm_assets.contracts.response import CAMPAIGN_RESPONSES, RESPONSE_SCORES
from crm_assets.mining.campaign_responses import campaign_response_rates, campaign_response_sums
from crm_assets.mining.response import SCORED, ResponseModels, ResponsePolicy, ranked_responses, score_responses
from crm_assets.mining.response_cases import (
    CATEGORIES,
    NUMBERS,
    campaign_cases,
    contacted_rows,
    response_rates,
    scored_rows,
)
from crm_assets.mining.response_inputs import fit_response_inputs, horizon_of, levels, waves
from crm_assets.mining.response_training import train_responses
from crm_assets_tests.mining.test_subscriptions import table

EARLY = date(1990, 1, 1)
LAST = date(2024, 3, 31)
MONTH = date(2024, 9, 1)


def contact(customer, day, responded=None, campaign="spring", **more):
    times = {"contacted_at": datetime(2024, 3, day), "day": date(2024, 3, day)}
    responded_at = datetime(2024, 3, responded) if responded else None
    row = {"campaign_id": campaign, "customer_id": customer, "responded_at": responded_at, "is_outlier": False}
    return row | times | more


@pytest.fixture(scope="module")
def connection():
    return ibis.duckdb.connect()


def cases_of(connection, contacts, as_of=LAST):
    campaigns = [{"campaign_id": "spring", "kind": "mail", "valid_from": EARLY}]
    return campaign_cases(
        table(connection, layers.clean(CAMPAIGN_CONTACTS), contacts),
        table(connection, layers.clean(CAMPAIGNS), campaigns),
        as_of,
    )


def known(connection, cases, people=(), orders=(), interactions=()):
    return (
        cases,
        table(connection, CUSTOMER_DAYS, list(orders)),
        table(connection, layers.clean(CUSTOMERS), list(people)),
        table(connection, layers.clean(INTERACTIONS), list(interactions)),
    )


def test_a_case_is_of_a_person_and_ends_with_the_day(connection):
    contacts = [
        contact("ann", 5, responded=9, response_value=Decimal(3)),
        contact("ann", 2, responded=7, response_value=Decimal(4)),
        contact("bob", 5, responded=30, response_value=Decimal(9)),
        contact("bob", 5, campaign="unknown", is_control=True),
        contact("cleo", 25),
    ]
    rows = cases_of(connection, contacts, date(2024, 3, 20)).order_by("customer_id", "campaign_id").to_pandas()
    found = rows[["customer_id", "campaign_kind", "is_control"]].to_numpy().tolist()
    assert found == [["ann", "mail", False], ["bob", "mail", False], ["bob", "other", True]]
    ann, bob, _ = rows.to_dict("records")
    assert (ann["day"], ann["responded_on"]) == (pd.Timestamp(2024, 3, 2), pd.Timestamp(2024, 3, 7))
    assert ann["response_value"] == 7
    assert pd.isna(bob["responded_on"])
    assert pd.isna(bob["response_value"])


def test_what_is_known_of_a_contact_ends_on_the_day_before(connection):
    cases = cases_of(
        connection,
        [contact("ann", 1, responded=10), contact("ann", 10, responded=12, campaign="second"), contact("bob", 10)],
    )
    orders = [
        {"day": date(2024, 3, 9), "customer_id": "ann", "orders": 2, "amount": 10},
        {"day": date(2024, 3, 10), "customer_id": "ann", "orders": 9, "amount": 99},
    ]
    calls = [
        {"interaction_id": str(day), "customer_id": "bob", "kind": "call", "day": date(2024, 3, day)} for day in (8, 10)
    ]
    people = [
        {"customer_id": "bob", "gender": "female", "valid_from": EARLY, "valid_to": date(2024, 3, 10)},
        {"customer_id": "bob", "gender": "other", "valid_from": date(2024, 3, 10)},
    ]
    drawn = cases.filter(cases.day == date(2024, 3, 10))
    ann, bob = (
        contacted_rows(*known(connection, cases, people, orders, calls), drawn)
        .order_by("customer_id")
        .to_pandas()
        .to_dict("records")
    )
    # The first response came on the day of the second contact, so it is not known.
    assert (ann["orders_30d"], ann["order_days"], ann["recency_days"]) == (2, 1, 0)
    assert (ann["contacts"], ann["responses"], ann["kind_contacts"], ann["delay_days"]) == (1, 0, 0, 2)
    assert (bob["order_days"], bob["call_interactions_90d"], bob["gender"]) == (0, 1, "female")
    assert np.isnan(bob["recency_days"])
    assert np.isnan(bob["delay_days"])


def test_everyone_known_is_scored_for_each_kind(connection):
    cases = cases_of(connection, [contact("ann", 5, responded=6, attributes='{"a": 1}'), contact("late", 31)])
    people = [{"customer_id": "cleo", "valid_from": EARLY}, {"customer_id": "new", "valid_from": date(2024, 4, 1)}]
    orders = [{"day": date(2024, 3, 9), "customer_id": "bob", "orders": 1}, {"day": date(2024, 3, 9), "orders": 1}]
    rows = scored_rows(*known(connection, cases, people, orders), ["mail", "phone"], LAST).to_pandas()
    assert rows["customer_id"].tolist() == [name for name in ("ann", "bob", "cleo", "late") for _ in range(2)]
    ann = rows[rows["customer_id"] == "ann"].set_index("campaign_kind")
    assert ann["kind_responses"].to_dict() == {"mail": 1, "phone": 0}
    assert ann["responses"].to_dict() == {"mail": 1, "phone": 1}
    assert ann.loc["mail", "attributes"] == '{"a": 1}'


def test_the_level_is_of_contacts_whose_horizon_has_ended(connection):
    contacts = [contact(f"c{number}", 1, responded=3 if number < 30 else None) for number in range(100)]
    rates = response_rates(cases_of(connection, contacts), 30).to_pandas()
    assert rates["contacts"].tolist() == [30, 70]
    days = np.array(["2024-03-07", "2024-03-08"], dtype="datetime64[D]")
    # Five in a hundred until the first horizon has ended; then 30 of 100, and 1 of 20 beside them.
    assert expit(levels(rates, days, 7)).round(6).tolist() == [0.05, round(31 / 120, 6)]


def test_the_horizon_is_when_nearly_all_have_answered():
    rates = pd.DataFrame({"delay_days": [0.0, 4.0, 25.0, np.nan], "contacts": [90, 9, 1, 900]})
    assert horizon_of(rates, 30) == 4
    assert horizon_of(rates.iloc[:1], 30) == 1
    assert horizon_of(rates.iloc[3:], 30) == 30


def test_waves_end_with_the_newest_day_and_hold_enough_of_both():
    days = np.repeat(np.array(["2024-01-01", "2024-01-02", "2024-01-03"], dtype="datetime64[D]"), 10)
    outcome = np.tile([1.0, 0.0], 15)
    assert np.unique(waves(days, outcome, 5, 0.3)).astype(str).tolist() == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert np.unique(waves(days, outcome, 8, 0.3)).astype(str).tolist() == ["2024-01-01", "2024-01-02"]


def contacts_of(days=40, a_day=60, seed=3, effect=3.0):
    """Contacts of a kind: those with a garden respond far more; the season moves everyone, and nothing else counts."""
    chance, count = np.random.default_rng(seed), days * a_day
    rows = pd.DataFrame(0.0, index=range(count), columns=list(NUMBERS)).assign(**dict.fromkeys(CATEGORIES))
    place = np.repeat(np.arange(days), a_day)
    garden, season = chance.choice(["yes", "no"], count), np.where(place < days // 2, -2.5, -1.0)
    responded = chance.random(count) < expit(season + effect * (garden == "yes") - effect / 2)
    told = [
        json.dumps({"garden": g, "season": float(s), "noise": n})
        for g, s, n in zip(garden, season, chance.random(count).round(3), strict=True)
    ]
    return rows.assign(
        campaign_kind="mail",
        campaign_id="spring",
        customer_id=[f"{number:06d}" for number in range(count)],
        day=pd.Timestamp(2024, 5, 1) + pd.to_timedelta(place * 2, unit="D"),
        is_control=False,
        delay_days=np.where(responded, 1.0, np.nan),
        value=np.where(responded, 20.0, 0.0),
        order_days=np.where(np.arange(count) % 2 == 0, 3.0, 0.0),
        recency_days=np.where(np.arange(count) % 2 == 0, 9.0, np.nan),
        attributes=told,
    )  # fmt: skip


def rates_of(rows):
    counted = rows.groupby(["campaign_kind", "day", "delay_days"], dropna=False).size()
    return counted.rename("contacts").reset_index()


def trained_on(rows, month=MONTH):
    return train_responses(rows, rates_of(rows), month, 30, screening_rows=5_000, seed=1, threads=1)


@pytest.fixture(scope="module")
def rows():
    return contacts_of()


@pytest.fixture(scope="module")
def trained(rows):
    return trained_on(rows)


def test_a_planted_sign_is_found_calibrated_and_survives_storage(rows, trained):
    kind = trained.models.kinds["mail"]
    assert (kind.horizon_days, kind.value) == (1, 20.0)
    assert kind.customers.champion in ("logistic", "blend")
    assert kind.prospects.champion in ("logistic", "blend")
    card = trained.card["kinds"]["mail"]["customers"]
    assert card["fields that say which day it is, left out"] == ["season"]
    stored = ResponseModels.from_document(json.loads(json.dumps(trained.models.to_document())))
    later, as_of = contacts_of(days=1, a_day=2_000, seed=9), date(2024, 9, 1)
    policy = ResponsePolicy(1.0, None, 0.25, None)
    scores = score_responses(stored, later, rates_of(rows), as_of, policy)
    assert scores["response_probability"].between(0, 1).all()
    garden = later["attributes"].str.contains('"yes"').to_numpy()
    # The level is that of the last thousand contacts, of the later season.
    assert scores["response_probability"][garden].mean() == pytest.approx(expit(0.5), abs=0.06)
    assert scores["response_probability"][~garden].mean() == pytest.approx(expit(-2.5), abs=0.04)
    assert scores["is_prospect"].tolist() == [number % 2 == 1 for number in range(2_000)]
    assert scores["model_id"].str.endswith("prospects-" + kind.prospects.champion)[1::2].all()
    assert np.allclose(scores["expected_profit"], scores["response_probability"] * 5 - 1)
    halves = [score_responses(stored, part, rates_of(rows), as_of, policy) for part in (later[:99], later[99:])]
    assert np.allclose(pd.concat(halves)["response_probability"], scores["response_probability"])


def test_contacts_of_one_day_are_told_by_folds_of_customers():
    rows = contacts_of(days=1, a_day=1_500)
    trained = trained_on(rows)
    scores = score_responses(trained.models, rows, rates_of(rows), MONTH, ResponsePolicy(1.0, None, 1.0, None))
    assert scores["response_probability"].mean() == pytest.approx(rows["delay_days"].notna().mean(), abs=0.02)
    assert trained.models.kinds["mail"].customers.champion not in ("base_rate", "past_responses")
    assert "on held-out contacts" in trained.card["kinds"]["mail"]["customers"]["validation"]
    assert "lightgbm_every_field" not in set(trained.leaderboard["candidate"])


def test_the_leaderboard_has_baselines_and_the_card_the_gap(trained):
    board = trained.leaderboard.set_index(["model", "candidate", "metric"])["value"]
    assert board["response: mail", "base_rate", "auc"] < board["response: mail", "logistic", "auc"]
    assert 0 < board["response: mail", "lightgbm_every_field", "random_auc"] <= 1
    assert "a gap of" in trained.card["kinds"]["mail"]["customers"]["validation"]
    assert trained.gains["share_found"].between(0, 1).all()


def test_purchases_do_not_reach_the_model_of_prospects(trained):
    fields = trained.card["kinds"]["mail"]
    assert "recency days" not in fields["prospects"]["fields"]


def test_where_nothing_tells_the_base_rate_stays(rows):
    trained = trained_on(contacts_of(effect=0.0))
    assert trained.models.kinds["mail"].customers.champion == "base_rate"
    assert "base rate stays" in trained.message
    scores = score_responses(trained.models, rows.tail(5), rates_of(rows), MONTH, ResponsePolicy(0, 2.0, 1, None))
    assert scores["response_probability"].nunique() == 1


def test_contacts_whose_horizon_has_not_ended_teach_nothing(rows):
    month = date(2024, 6, 1)
    early = rows[rows["day"] < pd.Timestamp(2024, 5, 31)]
    assert trained_on(early, month).card["kinds"] == trained_on(rows[rows["day"] <= pd.Timestamp(2024, 5, 31)], month).card["kinds"]  # fmt: skip


def test_few_responses_and_none_keep_the_base_rate(rows):
    few = trained_on(rows[rows["delay_days"].isna()].head(50))
    assert few.models.kinds["mail"].customers.champion == "base_rate"
    assert few.models.kinds["mail"].value is None
    nothing = trained_on(rows.head(0))
    assert nothing.models is None
    assert nothing.card["needs"].startswith("needs campaign contacts")


def test_a_field_written_after_the_answer_stops_its_kind_and_is_named(rows):
    leaky = rows.assign(attributes=[json.dumps({"duration": 300 if d == d else 20}) for d in rows["delay_days"]])
    trained = trained_on(pd.concat([leaky, rows.assign(campaign_kind="phone")], ignore_index=True))
    assert "duration (AUC 1.000) alone tells who responds" in trained.card["needs"]
    assert list(trained.models.kinds) == ["phone"]


def test_threads_and_order_of_rows_change_nothing(rows, trained):
    other = train_responses(
        rows.sample(frac=1, random_state=1), rates_of(rows), MONTH, 30, screening_rows=5_000, seed=1, threads=2
    )
    assert other.models == trained.models
    assert other.leaderboard.equals(trained.leaderboard)


def ranked(probabilities, policy, profit=None):
    rows = pd.DataFrame(dict.fromkeys(SCORED.names), index=range(len(probabilities)))
    rows = rows.assign(
        as_of=LAST,
        campaign_kind="mail",
        customer_id=[f"c{number:02d}" for number in range(len(probabilities))],
        response_probability=probabilities,
        expected_profit=None if profit is None else [p * profit - policy.cost for p in probabilities],
        is_prospect=False,
        model_id="m",
        _priority=probabilities,
    )
    return ranked_responses(ibis.memtable(rows, schema=SCORED), policy).to_pandas()


def test_those_are_contacted_who_pay_as_many_as_the_budget_allows():
    rows = ranked([0.1, 0.5, 0.5, 0.9], ResponsePolicy(1.0, 4.0, 1.0, 2.0), profit=4.0)
    assert list(rows.columns) == list(RESPONSE_SCORES.by_name)
    assert rows["rank"].tolist() == [4, 2, 3, 1]
    assert rows["contact"].tolist() == [False, True, False, True]
    assert ranked([0.1, 0.5], ResponsePolicy(1.0, 4.0, 1.0, None), profit=4.0)["contact"].tolist() == [False, True]
    assert ranked([0.9, 0.5], ResponsePolicy(1.0, 4.0, 1.0, None, 2.0), profit=4.0)["contact"].tolist() == [True, False]
    assert ranked([0.1, 0.5], ResponsePolicy(1.0, None, 1.0, 1.0))["contact"].tolist() == [False, True]
    assert ranked([0.1, 0.5], ResponsePolicy(1.0, None, 1.0, None))["contact"].isna().all()
    assert ranked([0.5] * 20, ResponsePolicy(0.0, None, 1.0, None))["decile"].value_counts().tolist() == [2] * 10


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.decimals(0, 10, places=2),
    st.decimals("0.01", 5, places=2),
)
def test_contacts_of_a_day_never_cost_more_than_the_budget(probabilities, budget, cost):
    rows = ranked(probabilities, ResponsePolicy(float(cost), 9.0, 1.0, float(budget)), profit=9.0)
    assert rows["contact"].sum() * cost <= budget
    assert rows[rows["contact"]]["rank"].max() == rows["contact"].sum() or not rows["contact"].any()


def test_rates_of_campaigns_have_intervals(connection):
    contacts = [contact(f"c{n}", 1 + n, responded=12 if n < 1 else None, response_value=Decimal(5)) for n in range(10)]
    contacts.append(contact("held", 1, is_control=True))
    found = campaign_response_rates(campaign_response_sums(cases_of(connection, contacts)).to_pandas())
    assert list(found.columns) == list(CAMPAIGN_RESPONSES.by_name)
    sent, held = found.to_dict("records")
    assert (sent["contacts"], sent["responses"], sent["buyers"], sent["is_control"]) == (10, 1, 1, False)
    assert (round(sent["response_low"], 4), round(sent["response_high"], 4)) == (0.0179, 0.4042)
    # One value of 5 and nine of 0: the standard error of their mean is 0.5.
    assert (sent["mean_value"], round(sent["value_high"], 2)) == (0.5, 1.48)
    assert (held["contacts"], held["response_rate"], held["response_low"]) == (1, 0, 0)
    assert np.isnan(held["value_low"])


def test_what_responses_are_worth_is_not_known_where_none_tells(connection):
    contacts = [contact("ann", 1, responded=2), contact("bob", 1), contact("cleo", 1, campaign="silent")]
    found = campaign_response_rates(campaign_response_sums(cases_of(connection, contacts)).to_pandas())
    silent, spring = found.to_dict("records")
    assert (spring["response_rate"], silent["mean_value"], silent["buyers"]) == (0.5, 0, 0)
    assert all(pd.isna(spring[name]) for name in ("buyers", "conversion_rate", "mean_value", "value_high"))


def test_fields_that_differ_between_persons_are_read(rows):
    inputs, every, _ = fit_response_inputs(rows, False)
    assert {"garden", "noise", "order_days"} <= set(inputs.encoding.sources)
    assert "season" in every.sources
    assert inputs.of_the_day == ["season"]
