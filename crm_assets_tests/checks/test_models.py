"""Checks of models: each fails on what it is there for."""

import json
from datetime import date

import ibis
import pytest

from crm_assets.contracts.drift import VERDICTS
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.lake.models import CARD_FILE
from crm_assets.settings import write_settings
from crm_assets_tests.checks.running import check

DAY, MONTH, BEFORE = "2024-03-05", "2024-03-01", "2024-02-01"


@pytest.fixture
def settings(tmp_path):
    return write_settings(tmp_path, memory_limit="200MB", threads=1, start_date=date(2024, 1, 1))


def store_card(settings, model, month, **card):
    folder = settings.models / model / month
    folder.mkdir(parents=True)
    (folder / CARD_FILE).write_text(json.dumps(card), "utf-8")


@pytest.mark.parametrize("model", ["churn_model", "subscription_churn", "response_model"])
def test_a_month_that_was_stopped_by_a_leak_fails_and_names_the_feature(settings, model):
    store_card(settings, model, BEFORE, champion="lightgbm")
    store_card(settings, model, MONTH, needs="stopped: status (AUC 1.000)", leaks={"status": 1.0})
    leaky = check(settings, "models", model, key=MONTH)[model, "no_leaks"]
    assert not leaky.passed
    assert leaky.description == "2024-03: stopped: status (AUC 1.000)"
    assert check(settings, "models", model, key=BEFORE)[model, "no_leaks"].passed


@pytest.mark.parametrize("model", ["churn_model", "subscription_churn"])
@pytest.mark.parametrize("holds", [True, False])
def test_a_retrained_model_that_ranks_worse_than_last_months_is_named(settings, holds, model):
    challenge = {"auc": 0.7, "previous": "churn-2024-02", "auc of previous": 0.8, "low": -0.2, "high": -0.05}
    store_card(settings, model, MONTH, challenge={**challenge, "holds": holds})
    found = check(settings, "models", model, key=MONTH)[model, "challenger_holds"]
    assert found.passed is holds
    assert found.description == "2024-03: AUC 0.700, churn-2024-02 0.800 (difference -0.200 to -0.050)"


def test_a_first_model_has_nothing_to_be_compared_with(settings):
    store_card(settings, "churn_model", MONTH, challenge="no previous model with held-out days of its own")
    assert check(settings, "models", "churn_model", key=MONTH)["churn_model", "challenger_holds"].passed


@pytest.mark.parametrize(("drifted", "score", "passes"), [(1, 0, True), (2, 0, False), (0, 2, False)])
def test_a_score_or_many_features_of_another_population_are_called_out(settings, drifted, score, passes):
    drifts(settings, [drift_row("churn", "score", "score", score), *features("churn", drifted)])
    assert check(settings, "quality", "drift", key=DAY)["drift", "same_population"].passed is passes


def test_each_model_answers_for_its_own_features(settings):
    """Two of the four fields of contracts drifted, which two of 24 features of both models would not tell."""
    drifts(settings, [*features("churn", 0, 20), *features("subscription_churn", 2)])
    found = check(settings, "quality", "drift", key=DAY)["drift", "same_population"]
    assert not found.passed
    assert found.description == (
        "churn: 0 of 20 features are of another population; subscription_churn: 2 of 4 features are of another population"
    )


def features(model, drifted, number=4):
    return [drift_row(model, "feature", f"f{place:02d}", 2 if place < drifted else 0) for place in range(number)]


def drift_row(model, kind, name, verdict):
    about = {"as_of": date(2024, 3, 5), "model": model, "model_id": "m", "psi": 0.3, "kind": kind, "name": name}
    return {**about, "verdict": VERDICTS[verdict], "customers": 9, "reference_customers": 9}


def drifts(settings, rows):
    contract = contract_of("quality", "drift")
    lake_of(settings).write("quality", contract, ibis.memtable(rows, schema=contract.schema), [(DAY,)])
