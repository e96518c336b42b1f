"""Rules that explain value, churn and response: planted ones are found, read, measured later, and met by the engine too."""

import json
from datetime import date, datetime

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_assets.contracts.segmentation import SEGMENT_RULES
from crm_assets.contracts.segments import RULE_TARGETS
from crm_assets.mining.segment_rules import Condition, Rule, SegmentRules, rule_ids, rule_rows
from crm_assets.mining.segment_trees import NUMBERS, WORDS, learn_rules, response_labels, rule_days
from crm_assets_tests.mining.feature_tables import contacts_table

DAY, LATER = date(2024, 3, 31), date(2024, 4, 30)
CONNECTION = ibis.duckdb.connect()


def customers(count: int, day: date = DAY, seed: int = 1) -> pd.DataFrame:
    """Customers whose features say nothing, some of them unknown."""
    random = np.random.default_rng(seed)
    numbers = {name: random.gamma(2.0, 2.0, count) for name in NUMBERS}
    words = {name: pd.Series(random.choice(["甲", "b", None], count), dtype="str") for name in WORDS}
    rows = pd.DataFrame({"as_of": day, "customer_id": [f"c{n:05}" for n in range(count)], **numbers, **words})
    rows["recency_days"] = random.integers(0, 90, count).astype("float64")
    rows.loc[random.random(count) < 0.3, "gap_median"] = np.nan
    return rows


def with_planted_churn(rows: pd.DataFrame, seed: int = 2) -> pd.DataFrame:
    """Long absent customers of one age band leave three times in four, others hardly."""
    leaves = (rows["recency_days"] > 45) & (rows["age_band"] == "甲")
    chance = np.random.default_rng(seed).random(len(rows))
    return rows.assign(label=(chance < np.where(leaves, 0.75, 0.05)).astype("float64"))


@pytest.fixture(scope="module")
def churn_rules() -> tuple[Rule, ...]:
    learnt, later = with_planted_churn(customers(3_000)), with_planted_churn(customers(1_000, LATER, seed=7), seed=8)
    rules, needs = learn_rules("churn", learnt, later, seed=1)
    assert needs is None
    return rules


def test_a_planted_segment_is_found_in_words_and_holds_later(churn_rules):
    first = churn_rules[0]
    assert {condition.column for condition in first.conditions} >= {"recency_days", "age_band"}
    assert "days since the last order above 45" in first.text()
    assert "age band is 甲" in first.text()
    assert first.figures["train_rate"] == pytest.approx(0.75, abs=0.06)
    assert first.figures["holdout_low"] < 0.75 < first.figures["holdout_high"]
    assert first.figures["holdout_lift"] > 3
    rates = [rule.figures["train_rate"] for rule in churn_rules]
    assert rates == sorted(rates, reverse=True)
    assert [rule.rule_id for rule in churn_rules] == list(range(1, len(rates) + 1))


def test_every_customer_meets_exactly_one_rule(churn_rules):
    others = pd.concat([customers(500, seed=11), customers(1).assign(**dict.fromkeys(NUMBERS, np.nan), age_band=None)])
    met = sum(rule.holds(others).astype(int) for rule in churn_rules)
    assert (met == 1).all()
    learnt, later = (sum(rule.figures[name] for rule in churn_rules) for name in ("train_rows", "holdout_rows"))
    assert (learnt, later) == (3_000, 1_000)


def test_rates_weighted_by_rows_are_the_rate_of_all(churn_rules):
    learnt = with_planted_churn(customers(3_000))
    weighted = sum(rule.figures["train_rate"] * rule.figures["train_rows"] for rule in churn_rules) / 3_000
    assert weighted == pytest.approx(learnt["label"].mean(), abs=1e-5)
    assert churn_rules[0].figures["train_lift"] == pytest.approx(
        churn_rules[0].figures["train_rate"] / learnt["label"].mean(), abs=1e-4
    )


def test_the_engine_finds_the_rule_found_in_memory_also_after_json(churn_rules):
    rules = SegmentRules.from_document(json.loads(json.dumps(SegmentRules({"churn": churn_rules}).to_document())))
    assert rules == SegmentRules({"churn": churn_rules})
    others = customers(400, seed=12)
    table = ibis.memtable(pa.Table.from_pandas(others.drop(columns="as_of"), preserve_index=False))
    found = CONNECTION.to_pandas(rule_ids(rules, table)).set_index("customer_id").loc[others["customer_id"]]
    for rule in churn_rules:
        assert ((found["churn_rule"] == rule.rule_id).to_numpy() == rule.holds(others)).all()
    assert found["value_rule"].isna().all()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=12),
    st.one_of(st.none(), st.integers(-3, 0)),
    st.one_of(st.none(), st.integers(0, 3)),
    st.booleans(),
    st.booleans(),
)
def test_a_condition_means_the_same_in_memory_and_in_the_engine(values, above, at_most, unknown, known):
    condition = Condition("x", above if known else None, at_most if known else None, unknown, known)
    table = pa.table({"x": pa.array(values, pa.float64()), "place": list(range(len(values)))})
    shown = ibis.memtable(table)
    found = CONNECTION.to_pandas(shown.select("place", met=condition.expression(shown)).order_by("place"))
    assert found["met"].tolist() == condition.holds(table.to_pandas()).tolist()


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (Condition("recency_days", above=45.0), "days since the last order above 45"),
        (Condition("discount_share_90d", at_most=0.125), "share of list value given as discount in the last 90 days at most 12.5%"),
        (Condition("amount_90d", 100.0, 2_500.0), "amount spent in the last 90 days above 100 and at most 2,500"),
        (Condition("gap_median", at_most=7.0, unknown=True), "usual days between orders at most 7 or unknown"),
        (Condition("gap_median", at_most=7.0, unknown=True, unknown_seen=False), "usual days between orders at most 7"),
        (Condition("gap_median", unknown=True, known=False), "usual days between orders unknown"),
        (Condition("region", level="上海"), "region is 上海"),
        (Condition("region", other_than=("north", "south")), "region is not north or south"),
    ],
)  # fmt: skip
def test_conditions_read_as_people_speak(condition, text):
    assert condition.text() == text


def test_value_is_learnt_as_an_amount_and_one_large_customer_makes_no_rule():
    rows = customers(1_000)
    rows["label"] = np.where(rows["amount_90d"] > 5, 100.0, 10.0)
    rows.loc[3, ["amount_90d", "label"]] = 9.0, 1e6
    rules, _ = learn_rules("value", rows, rows.drop(3), seed=1)
    assert {condition.column for condition in rules[0].conditions} == {"amount_90d"}
    assert len(rules) == 2
    assert rules[0].figures["holdout_rate"] == pytest.approx(100, abs=1)


def test_too_few_customers_or_only_one_outcome_give_no_rules_and_say_why():
    few = with_planted_churn(customers(199))
    assert learn_rules("churn", few, few, seed=1) == ((), "needs 200 customers and days with a known outcome: 199")
    alike = customers(300).assign(label=0.0)
    rules, needs = learn_rules("response", alike, alike, seed=1)
    assert rules == ()
    assert "needs customers who differ in response" in needs


def test_without_anything_held_out_figures_of_it_are_empty():
    rows = with_planted_churn(customers(600))
    rules, _ = learn_rules("churn", rows, rows.head(0), seed=1)
    figures = rules[0].figures
    assert figures["holdout_rows"] == 0
    assert [figures[f"holdout_{name}"] for name in ("rate", "low", "high", "lift")] == [None] * 4


def test_labels_learnt_from_have_ended_by_the_first_day_held_out():
    learnt, held_out = rule_days(date(2024, 7, 1), date(2023, 10, 1), 30)
    assert held_out == [date(2024, 5, 20), date(2024, 5, 31)]
    assert learnt[-1] == date(2024, 4, 20)
    assert len(learnt) == 6
    assert rule_days(date(2024, 7, 1), date(2024, 6, 1), 30) == ([], [])


def test_a_response_counts_for_contacts_after_the_day_answered_in_time():
    def contact(customer: str, day: date, answered: date | None, is_control: bool = False) -> dict:
        moment = datetime(answered.year, answered.month, answered.day, 23) if answered else None
        return {
            "campaign_id": "m",
            "customer_id": customer,
            "day": day,
            "is_control": is_control,
            "responded_at": moment,
        }

    table = contacts_table(
        CONNECTION,
        [
            contact("answers", date(2024, 4, 10), date(2024, 5, 10)),
            contact("too late", date(2024, 4, 10), date(2024, 5, 11)),
            contact("never", date(2024, 4, 30), None),
            contact("before", date(2024, 3, 31), date(2024, 4, 1)),
            contact("after", date(2024, 5, 1), date(2024, 5, 1)),
            contact("left out", date(2024, 4, 10), date(2024, 4, 11), is_control=True),
        ],
    )
    found = CONNECTION.to_pandas(response_labels(table, [DAY]))
    assert dict(zip(found["customer_id"], found["responded"], strict=True)) == {
        "answers": True,
        "never": False,
        "too late": False,
    }


def test_rows_of_a_day_count_its_customers_and_fit_the_contract(churn_rules):
    rows = rule_rows(SegmentRules({"churn": churn_rules, "value": ()}), {("churn", 1): 30}, customers=120)
    assert rows[0]["customers"] == 30
    assert rows[0]["share"] == 0.25
    assert rows[1]["customers"] == 0
    assert set(rows[0]) == set(SEGMENT_RULES.by_name) - {"as_of", "trained_for"}
    assert rule_rows(SegmentRules({}), {}, 0) == []
    assert {row["target"] for row in rows} <= set(RULE_TARGETS)
