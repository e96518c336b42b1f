"""Contracts that run on a day, and the model of which of them end."""

import json
from datetime import date, datetime

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CUSTOMERS, SUBSCRIPTIONS
from crm_assets.contracts.features import CUSTOMER_DAYS
from crm_assets.mining.churn import ChurnModel
from crm_assets.mining.subscription_churn import score_subscriptions, train_subscription_churn
from crm_assets.mining.subscription_inputs import Encoding, encode, fit_encoding
from crm_assets.mining.subscriptions import COLUMNS, contract_versions, label_days, running_subscriptions

AS_OF = date(2024, 3, 31)
MONTH = date(2024, 5, 1)


def table(connection, contract, rows):
    schema = contract.schema
    filled = [{name: row.get(name) for name in schema} for row in rows]
    fields = pa.schema([field.with_nullable(True) for field in schema.to_pyarrow()])
    return connection.create_table(ibis.util.gen_name("t"), pa.Table.from_pylist(filled, schema=fields))


def contract(name, started, ended=None, customer="ann", **more):
    return {
        "subscription_id": name,
        "customer_id": customer,
        "started_at": datetime(*started),
        "day": date(*started),
        "ended_at": datetime(*ended) if ended else None,
        "is_outlier": False,
        **more,
    }


def running(contracts, days=(AS_OF,), people=(), orders=()):
    connection = ibis.duckdb.connect()
    rows = running_subscriptions(
        table(connection, layers.clean(SUBSCRIPTIONS), contracts),
        table(connection, layers.clean(CUSTOMERS), list(people)),
        table(connection, CUSTOMER_DAYS, list(orders)),
        list(days),
    )
    return rows.to_pandas()


def test_contracts_that_run_at_the_end_of_the_day_are_labelled_by_the_days_after():
    rows = running(
        [
            contract("runs", (2024, 1, 1)),
            contract("ends soon", (2024, 1, 1), (2024, 4, 30)),
            contract("ends later", (2024, 1, 1), (2024, 5, 1)),
            contract("ended that day", (2024, 1, 1), (2024, 3, 31)),
            contract("not yet", (2024, 4, 1)),
        ]
    )
    assert rows.set_index("subscription_id")["ended"].to_dict() == {
        "runs": False,
        "ends soon": True,
        "ends later": False,
    }
    assert list(rows.columns) == list(COLUMNS)


def test_what_is_known_of_a_contract_is_known_by_the_day():
    orders = [
        {"day": date(2024, 3, 30), "customer_id": "ann", "orders": 2, "amount": 10},
        {"day": date(2024, 1, 1), "customer_id": "ann", "orders": 1, "amount": 5},
        {"day": date(2024, 4, 1), "customer_id": "ann", "orders": 9, "amount": 99},
    ]
    people = [
        {"customer_id": "ann", "gender": "female", "valid_from": date(1990, 1, 1), "valid_to": date(2024, 3, 1)},
        {"customer_id": "ann", "gender": "other", "valid_from": date(2024, 3, 1), "valid_to": None},
    ]
    (row,) = running([contract("c", (2024, 3, 1), monthly_fee=30)], people=people, orders=orders).to_dict("records")
    assert (row["tenure_days"], row["monthly_fee"], row["contracts"]) == (30, 30, 1)
    assert row["paid"] == pytest.approx(30 * 30 / 30.4375)
    assert (row["orders"], row["order_amount"], row["recency_days"], row["gender"]) == (2, 10, 1, "other")


def told(name, export, **more):
    place = {"_source": "crm", "_file": "a.csv", "_line": 1, "_export_date": export}
    return {"subscription_id": name, "customer_id": "ann", "started_at": datetime(2024, 1, 1), **place, **more}


def test_plan_fee_and_attributes_are_as_told_by_the_day_and_else_as_first_told():
    connection = ibis.duckdb.connect()
    delivered = table(
        connection,
        layers.validated(SUBSCRIPTIONS),
        [
            told("changes", date(2024, 3, 31), plan="a", monthly_fee=10, attributes='{"called": 0}'),
            told("changes", date(2024, 4, 1), plan="b", monthly_fee=20, attributes='{"called": 1}'),
            told("late", date(2024, 4, 2), plan="c"),
            told("late", date(2024, 4, 3), plan="d"),
        ],
    )
    newest = {"plan": "newest", "monthly_fee": 99, "attributes": "{}"}
    contracts = [contract(name, (2024, 1, 1), **newest) for name in ("changes", "late", "never")]
    rows = running_subscriptions(
        table(connection, layers.clean(SUBSCRIPTIONS), contracts),
        table(connection, layers.clean(CUSTOMERS), []),
        table(connection, CUSTOMER_DAYS, []),
        [AS_OF, date(2024, 4, 1)],
        versions=contract_versions(delivered),
    ).to_pandas()
    found = rows.set_index(["subscription_id", "as_of"])[["plan", "monthly_fee", "attributes"]]
    assert found.loc[("changes", pd.Timestamp(AS_OF))].tolist() == ["a", 10, '{"called": 0}']
    assert found.loc[("changes", pd.Timestamp("2024-04-01"))].tolist() == ["b", 20, '{"called": 1}']
    assert found.loc[("late", pd.Timestamp(AS_OF)), "plan"] == "c"
    assert found.loc[("never", pd.Timestamp(AS_OF)), "plan"] == "newest"


def test_training_days_end_before_the_month_and_start_where_ends_are_known():
    assert label_days(date(2020, 1, 1), date(2019, 12, 31)) == [date(2019, 12, 1)]
    days = label_days(MONTH, date(2024, 2, 1))
    assert days[-1] == date(2024, 3, 31)
    assert days[0] >= date(2024, 1, 2)
    assert len(label_days(MONTH, date(2010, 1, 1))) == 12


def test_any_attributes_become_columns_and_broken_ones_do_not_stop():
    rows = running([contract("c", (2024, 1, 1))]).loc[[0] * 60].reset_index(drop=True)
    rows["plan"] = ["基本", "全部"] * 30
    rows["attributes"] = ['{"网络": "光纤", "seats": 3}', '{"网络": "铜线", "seats": 5}', "no json"] * 20
    encoding = fit_encoding(rows)
    assert all(name.isascii() for name in encoding.columns)
    assert {"plan is 全部", "plan is 基本", "网络 is 光纤", "网络 is 铜线", "网络 is missing", "seats"} == set(
        map(encoding.label, encoding.columns)
    )
    inputs = encode(rows, Encoding(**json.loads(json.dumps(encoding.to_document()))))
    assert inputs.notna().sum().min() == 40
    assert encode(rows.assign(attributes=None, plan="new"), encoding)[["x0", "x1"]].to_numpy().sum() == 0


def made_up(days=6, contracts=400, seed=0):
    """Contracts of which the monthly ones without support end."""
    chance, parts = np.random.default_rng(seed), []
    for number in range(days):
        rows = pd.DataFrame(dict.fromkeys(COLUMNS), index=range(contracts))
        rows["as_of"] = pd.Timestamp(2023, 10, 1) + pd.Timedelta(days=30 * number)
        rows["subscription_id"] = rows["customer_id"] = [f"s{place:04d}" for place in range(contracts)]
        rows["tenure_days"] = chance.integers(1, 900, contracts).astype(float)
        rows["plan"] = chance.choice(["month", "year"], contracts)
        support = chance.choice(["yes", "no"], contracts)
        rows["attributes"] = [json.dumps({"support": value}) for value in support]
        odds = 2.5 * (rows["plan"] == "month") + 1.5 * (support == "no") - rows["tenure_days"] / 300 - 2
        rows["ended"] = chance.random(contracts) < 1 / (1 + np.exp(-odds))
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def trained():
    return train_subscription_churn(made_up(), MONTH)


def test_the_champion_beats_the_rule_survives_storage_and_gives_reasons(trained):
    assert trained.model.champion != "tenure"
    stored = ChurnModel.from_document(json.loads(json.dumps(trained.model.to_document())))
    rows = made_up(days=1, seed=5)
    scores = score_subscriptions(stored, rows)
    assert scores.equals(score_subscriptions(trained.model, rows))
    batches = pd.concat([score_subscriptions(stored, rows.iloc[:99]), score_subscriptions(stored, rows.iloc[99:])])
    assert np.allclose(batches["churn_probability"], scores["churn_probability"])
    likeliest = scores.loc[scores["churn_probability"].idxmax(), "reasons"]
    assert likeliest[0] in ("Plan: month; most have year", "Support: no; most have yes") or likeliest[0].startswith(
        "Months"
    )
    assert scores["reasons"].map(len).between(1, 3).all()
    empty = score_subscriptions(stored, rows.iloc[:0])
    assert empty.empty
    assert list(empty.columns) == list(scores.columns)


def test_a_status_set_when_the_contract_ends_stops_the_model_and_is_named():
    rows = made_up()
    rows["attributes"] = [json.dumps({"status": "closed" if ended else "open"}) for ended in rows["ended"]]
    result = train_subscription_churn(rows, MONTH)
    assert result.model is None
    assert "status is closed (AUC 1.000)" in result.message
    assert result.card["leaks"]


def test_a_field_that_is_filled_in_after_the_end_stops_the_model_though_it_does_not_tell_all():
    """A call to some of those who end: alone it is far from telling who does, but on the day it had not been made."""
    rows = made_up()
    day = rows["as_of"] == rows["as_of"].max()
    called = rows["ended"] & (np.random.default_rng(1).random(len(rows)) < 0.5)
    known = rows[day].assign(attributes=[json.dumps({"support": "yes", "called": 0})] * int(day.sum()))
    rows["attributes"] = [json.dumps({"support": "yes", "called": int(value)}) for value in called]
    stopped = train_subscription_churn(rows, MONTH, known=known.sample(frac=0.5, random_state=1))
    assert stopped.model is None
    assert set(stopped.card["leaks"]) == {"called"}
    assert "called" in stopped.message
    assert "needs data from after that day" in stopped.message
    assert train_subscription_churn(rows, MONTH, known=known.iloc[:0]).model is not None, "nothing to compare with"


def test_fields_as_they_were_known_train(trained):
    rows = made_up()
    known = rows[rows["as_of"] == rows["as_of"].max()].drop(columns="ended")
    honest = train_subscription_churn(rows, MONTH, known=known)
    assert honest.message == trained.message
    assert "as told by the day" in honest.card["limits"]
    assert "cannot be told" in trained.card["limits"]


def test_the_model_of_the_month_before_is_a_challenge_that_changes_nothing(trained):
    """It reads contracts in its own way: it knew of a field in which contracts no longer differ."""
    rows = made_up()
    newest = rows["as_of"].max()
    earlier = rows[rows["as_of"] < newest]
    older = [json.dumps({**json.loads(text), "a": "xy"[place % 2]}) for place, text in enumerate(earlier["attributes"])]
    before = train_subscription_churn(earlier.assign(attributes=older), date(2024, 4, 1)).model
    assert before.features != trained.model.features
    again = train_subscription_churn(rows, MONTH, previous=before)
    assert again.model == trained.model
    assert trained.card["challenge"] == "no previous model with held-out days of its own"
    challenge = again.card["challenge"]
    assert (challenge["previous"], challenge["days"]) == (before.model_id, ["2024-02-28"])
    assert challenge["holds"]
    assert challenge["auc of previous"] == pytest.approx(challenge["auc"], abs=0.05)
    assert train_subscription_churn(rows, MONTH, previous=before, horizon_days=20).challenge is None, "another label"


def test_an_attribute_is_a_number_or_a_text_as_the_training_rows_had_it_whatever_a_batch_holds():
    """One batch of a text has numbers alone, and one row of a number has a text."""
    rows = running([contract("c", (2024, 1, 1))]).loc[[0] * 60].reset_index(drop=True)
    rows["attributes"] = ['{"floor": 1, "seats": 2}', '{"floor": "roof", "seats": 3.5}', '{"floor": 2}'] * 20
    encoding = fit_encoding(rows)
    assert set(encoding.labels().values()) == {"floor is 1", "floor is 2", "floor is roof", "seats"}
    whole = encode(rows, encoding)
    batches = pd.concat([encode(rows.iloc[[place]], encoding) for place in range(3)])
    pd.testing.assert_frame_equal(batches, whole.iloc[:3])
    column = {text: name for name, text in encoding.labels().items()}
    assert whole.loc[:2, column["floor is 1"]].tolist() == [1, 0, 0]
    assert whole.loc[:1, column["seats"]].tolist() == [2, 3.5]
    later = encode(rows.iloc[:2].assign(attributes=['{"seats": "many"}', '{"seats": 4}']), encoding)
    assert np.isnan(later.loc[0, column["seats"]])
    assert later.loc[1, column["seats"]] == 4


def test_columns_of_which_the_words_are_alike_are_told_apart():
    encoding = Encoding(["x0", "x1", "tenure_days"], ["a", "a is b", "tenure_days"], ["b is c", "c", None])
    assert encoding.labels() == {
        "x0": "a is b is c (x0)",
        "x1": "a is b is c (x1)",
        "tenure_days": "months since the start",
    }


def test_random_labels_promote_nothing_and_without_ends_it_says_what_it_needs():
    rows = made_up()
    random = rows.assign(ended=np.random.default_rng(2).random(len(rows)) < 0.3)
    assert train_subscription_churn(random, MONTH).model.champion == "tenure"
    assert train_subscription_churn(rows.assign(ended=False), MONTH).message == "needs contracts that ended: 0 rows"
    assert train_subscription_churn(rows.iloc[:0], MONTH).message.startswith("needs running contracts")
