"""Churn of public data, from deliveries by the mappings of docs/examples to the pipeline's own leaderboards."""

import os
import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.contracts.canonical import CUSTOMERS, SUBSCRIPTIONS
from crm_assets.contracts.features import CUSTOMER_DAYS
from crm_assets.contracts.layers import by_partition, clean
from crm_assets.contracts.registry import contract_of
from crm_assets.contracts.subscriptions import SUBSCRIPTION_CHURN_SCORES
from crm_assets.definitions import build_defs, lake_of
from crm_assets.lake.models import read_model
from crm_assets.mining.churn import ChurnModel
from crm_assets.mining.classifiers import raw_scores
from crm_assets.mining.explaining import put_back
from crm_assets.mining.subscription_churn import score_subscriptions
from crm_assets.mining.subscription_inputs import Encoding, encode, words
from crm_assets.mining.subscriptions import running_subscriptions
from crm_assets.partitions import range_tags
from crm_assets.runs import QUIET, Runs
from crm_assets.settings import load_settings, write_settings

REFERENCE = Path(os.environ.get("CRM_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "data"))
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"

pytestmark = pytest.mark.slow


def delivered(home: Path, source: str, **settings: object) -> Path:
    """A workspace that ingested and cleaned a delivery of a source by its mapping."""
    if not (REFERENCE / source).is_dir():
        pytest.skip(f"reference data {source} not found; set CRM_REFERENCE_DATA to its folder")
    shutil.copytree(REFERENCE / source, home / "exports" / source / "2024-03-01")
    (home / "sources").mkdir()
    shutil.copy(EXAMPLES / f"{source}.yaml", home / "sources")
    write_settings(home, threads=2, **settings)
    with open_instance(home) as instance:
        runs = Runs(load_settings(home), instance, lambda doing: None)
        runs.ingest()
        runs.clean()
    return home


def run(home: Path, job: str, partition: str, *keys: tuple[str, str]) -> None:
    """Make assets of one partition as the UI does."""
    settings = load_settings(home)
    with open_instance(home) as instance:
        result = (
            build_defs(settings)
            .resolve_job_def(job)
            .execute_in_process(
                run_config=QUIET,
                instance=instance,
                tags=range_tags(partition, partition),
                asset_selection=[dg.AssetKey(key) for key in keys],
            )
        )
    assert result.success


def leaderboard(home: Path, name: str):
    """Figures of the champion, by metric, and everyone's AUC."""
    lake = lake_of(load_settings(home))
    rows = lake.read("quality", contract_of("quality", f"leaderboard_{name}")).to_pandas()
    champion = rows[rows["is_champion"]].set_index("metric")["value"]
    return champion, rows[rows["metric"] == "auc"].set_index("candidate")["value"]


def test_contracts_of_telco_and_the_reasons_of_their_scores(tmp_path):
    """Five folds: published logistic .845, LightGBM .848, best (a boosting machine of single features) .861."""
    home = delivered(tmp_path, "telco")
    month = "2020-01-01"
    run(home, "train", month, ("models", "subscription_churn"), ("quality", "leaderboard_subscription_churn"))
    run(home, "score", "2020-01-15", ("marts", "subscription_churn_scores"))
    champion, aucs = leaderboard(home, "subscription_churn")
    assert champion["auc"] >= 0.85, aucs
    assert champion["ece"] <= 0.03
    model = ChurnModel.from_document(read_model(home / "models" / "subscription_churn" / month).document)
    lake = lake_of(load_settings(home))
    rows = running_subscriptions(
        lake.read("clean", clean(SUBSCRIPTIONS)),
        lake.read("clean", clean(CUSTOMERS)),
        lake.read("profile", by_partition(CUSTOMER_DAYS)),
        [date(2019, 12, 1)],
    ).to_pandas()
    assert share_lowered(model, rows) >= 0.9
    scores = lake.read("marts", by_partition(SUBSCRIPTION_CHURN_SCORES))
    assert scores.count().to_pyarrow().as_py() == 7_043 - 1_869


def share_lowered(model: ChurnModel, rows) -> float:
    """Share of all scored contracts whose score falls when the top reason's fields are put back to the typical one's."""
    encoding = Encoding(**model.encoding)
    inputs = encode(rows, encoding)
    raw = raw_scores(model.estimator, inputs)
    top = np.array([reasons[0].split(":")[0].lower() for reasons in score_subscriptions(model, rows)["reasons"]])
    lower = np.zeros(len(rows), dtype=bool)
    for theme in set(map(encoding.theme, encoding.columns)):
        columns = [column for column in encoding.columns if encoding.theme(column) == theme]
        fallen = raw_scores(model.estimator, put_back(inputs, model.typical, columns)) < raw
        lower |= (top == words(theme).lower()) & fallen
    return float(lower.mean())
