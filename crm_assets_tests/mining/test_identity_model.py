"""The trained model: on a sample of the historical figures, whose persons are known."""

import json
import os
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from crm_assets.mining.identity import due_model, find_identity, identity_nodes
from crm_assets.mining.identity_model import IdentityModel, score_pairs
from crm_assets.mining.identity_persons import Decisions
from crm_assets.mining.identity_quality import pairwise

REFERENCE = Path(os.environ.get("CRM_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
FIGURES = REFERENCE / "identity" / "historical_figures_with_errors_50k.parquet"
DAY, LATER = date(2024, 1, 1), date(2024, 1, 2)


@pytest.fixture(scope="module")
def figures():
    """A tenth of the persons with all their records; a tenth of the records arrive later."""
    if not FIGURES.exists():
        pytest.skip("historical figures not found; set CRM_REFERENCE_DATA to the reference data's folder")
    raw = pd.read_parquet(FIGURES)
    raw = raw[pd.util.hash_pandas_object(raw["cluster"], index=False) % 10 == 0]
    day = (pd.util.hash_pandas_object(raw["unique_id"], index=False) % 10 == 0).map({True: LATER, False: DAY})
    return pd.DataFrame(
        {
            "customer_id": raw["unique_id"],
            "full_name": raw["full_name"],
            "birth_date": pd.to_datetime(raw["dob"], errors="coerce", format="%Y-%m-%d").dt.date,
            "postcode": raw["postcode_fake"],
            "city": raw["birth_place"],
            "occupation": raw["occupation"],
            "gender": raw["gender"],
            "person": raw["cluster"],
            "day": day,
            "first_day": day,
        }
    ).sort_values(["day", "customer_id"], ignore_index=True)


@pytest.fixture(scope="module")
def trained(engine, figures):
    nodes = identity_nodes(figures)
    with engine.scratch() as connection:
        return due_model(nodes, {}, connection, seed=1)


def person_of(engine, records, trained):
    with engine.scratch() as connection:
        found = find_identity(identity_nodes(records), dict([trained]), Decisions(), connection, 0.5)
    current = found.members[found.members["valid_to"].isna()]
    return current.set_index("customer_id")["person_id"], found.ledger


@pytest.mark.slow
def test_persons_are_found_and_growth_only_merges_them(engine, figures, trained):
    before, _ = person_of(engine, figures[figures["day"] == DAY].reset_index(drop=True), trained)
    after, ledger = person_of(engine, figures, trained)
    truth = figures.set_index("customer_id")["person"]
    precision, recall, f1 = pairwise(after.loc[truth.index], truth)
    assert f1 >= 0.88
    assert precision >= 0.96
    assert recall >= 0.80
    changed = before.index[before != after.loc[before.index]]
    logged = ledger[(ledger["export_date"] == LATER) & (ledger["event"] == "merged")]["customer_id"]
    assert sorted(changed) == sorted(logged)
    assert "split" not in set(ledger["event"])


@pytest.mark.slow
def test_the_same_records_train_the_same_model_that_is_plain_values(engine, figures, trained):
    since, model = trained
    assert since == DAY
    with engine.scratch() as connection:
        _, again = due_model(identity_nodes(figures), {}, connection, seed=1)
    text = json.dumps(model.to_document())
    assert json.dumps(again.to_document()) == text
    assert IdentityModel.from_document(json.loads(text)).to_document() == model.to_document()
    weights = model.card()["weights_in_bits"]
    assert weights["birth_date"]["same day"] > 5 > 0 > weights["birth_date"]["other day"]
    with engine.scratch() as connection:
        assert due_model(identity_nodes(figures), {since: model}, connection, seed=1) is None


@pytest.mark.slow
def test_the_score_of_a_pair_does_not_change_when_data_grows(engine, figures, trained):
    _, model = trained
    nodes = identity_nodes(figures)
    with engine.scratch() as connection:
        grown = score_pairs(nodes, model, connection)
    early = nodes[nodes["day"] == DAY]
    with engine.scratch() as connection:
        before = score_pairs(early, model, connection)
    old = grown[grown["right"] <= early["node"].max()].reset_index(drop=True)
    pd.testing.assert_frame_equal(old, before)
