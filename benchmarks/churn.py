"""How churn scores of past days turned out: Complete Journey at the lengths of a month and of two, and CDNOW's 90 days.

Belongs here: making models and scores by the pipeline's own runs, and showing `quality.churn_performance`. Not here: how
models are chosen.

Each day is scored by the model of its month, which learnt from labels that had ended before that month. A customer is
looked at who ordered in twice the horizon before the day. CDNOW's master log is read by docs/examples/cdnow.yaml from the
folder that CRM_REFERENCE_DATA names, and left out without.

    python benchmarks/churn.py
"""

import os
import shutil
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from crm_assets import demo
from crm_assets.automation.instance import open_instance
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.mining.churn import churn_labels, churn_training_days, feature_matrix
from crm_assets.mining.classifiers import fit, raw_scores, visible
from crm_assets.mining.model_metrics import evaluate
from crm_assets.partitions import month_of
from crm_assets.runs import MODELS, Planned, Runs
from crm_assets.settings import load_settings, write_settings

JOURNEY_DAYS = tuple(date(2017, month, last) for month, last in ((7, 31), (8, 31), (9, 30), (10, 31)))
JOURNEY_HORIZONS = (30, 60)
CDNOW_DAYS = (date(1998, 4, 1),)
"""The day after the newest one whose 90 days lie in the log but for one, and the first that the month's model scores."""

CDNOW_HORIZON = 90
PARTS = 10
HINDSIGHT = (
    "In hindsight: boosted trees that learnt from the training days and besides from how that very day turned out for "
    "nine tenths of the customers rank the other tenth. It says how much these features can tell at all."
)
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def main() -> None:
    """Run each source and print a line for each day and candidate."""
    print(
        "| source | horizon | as of | customers | churned | champion | AUC | ECE | AUC by recency | AUC in hindsight |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        demo.lay_down_exports(
            lake_of(load_settings(home)).engine.local, load_settings(home).exports, lambda done, total: None
        )
        turned_out("Complete Journey", home, JOURNEY_HORIZONS, JOURNEY_DAYS)
    reference = Path(os.environ.get("CRM_REFERENCE_DATA", "")) / "cdnow"
    if reference.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            shutil.copytree(reference, home / "exports" / "cdnow" / "1998-07-01")
            (home / "sources").mkdir()
            shutil.copy(EXAMPLES / "cdnow.yaml", home / "sources")
            turned_out("CDNOW", home, (CDNOW_HORIZON,), CDNOW_DAYS)
    print(f"\n{HINDSIGHT}")


def turned_out(source: str, home: Path, horizons: tuple[int, ...], days: tuple[date, ...]) -> None:
    """Ingest what has landed, then for each horizon train, score, and print how it turned out."""
    write_settings(home, threads=2)
    with open_instance(home) as instance:
        runs = Runs(load_settings(home), instance, lambda doing: None)
        runs.ingest()
        runs.clean()
        settings = runs.settings
        first, last = month_of(settings.start_date), month_of(days[-1])
        runs.make(Planned("", "train", first, last, [("features", "training_features")]))
    for horizon in horizons:
        write_settings(home, churn_horizon_days=horizon)
        with open_instance(home) as instance:
            runs = Runs(load_settings(home), instance, lambda doing: None)
            months = [month_of(day) for day in days]
            made = [("models", "churn_model"), *MODELS["churn_model"]]
            runs.make(Planned("", "train", months[0], months[-1], made))
            for day in days:
                scored = [
                    ("features", "customer_features"),
                    ("marts", "churn_scores"),
                    ("quality", "churn_performance"),
                ]
                runs.make(Planned("", "score", day, day, scored))
        show(source, home, horizon, days)


def show(source: str, home: Path, horizon: int, days: tuple[date, ...]) -> None:
    """A line for each day, and their means where there are several."""
    lake = lake_of(load_settings(home))
    tables = {
        name: lake.read("quality", contract_of("quality", name)).to_pandas()
        for name in ("churn_performance", "leaderboard_churn")
    }
    rows = tables["churn_performance"].set_index(["as_of", "candidate", "metric"])
    board = tables["leaderboard_churn"]
    champions = board[board["is_champion"]].drop_duplicates("trained_for").set_index("trained_for")["candidate"]
    means = []
    for day in days:
        own, ece, rule = (
            rows.loc[(day.isoformat(), *key)].squeeze()
            for key in (("churn_scores", "auc"), ("churn_scores", "ece"), ("recency", "auc"))
        )
        most = in_hindsight(home, horizon, day)
        figure = f"{own['value']:.4f} ({own['low']:.3f} to {own['high']:.3f})"
        print(
            f"| {source} | {horizon} | {day} | {int(own['customers']):,} | {int(own['churned']):,} "
            f"| {champions[month_of(day).isoformat()]} | {figure} | {ece['value']:.3f} | {rule['value']:.3f} | {most:.4f} |",
            flush=True,
        )
        means.append((own["value"], ece["value"], rule["value"], most))
    if len(means) > 1:
        auc, error, by_rule, most = (sum(column) / len(means) for column in zip(*means, strict=True))
        figures = f"**{auc:.4f}** | {error:.3f} | {by_rule:.3f} | {most:.4f}"
        print(f"| {source} | {horizon} | mean | | | | {figures} |", flush=True)


def in_hindsight(home: Path, horizon: int, day: date) -> float:
    """AUC of trees that saw what became of the other customers on that very day, besides the training days."""
    lake = lake_of(load_settings(home))
    customer_days = lake.read("profile", contract_of("profile", "customer_days"))
    first_day = customer_days.day.min().to_pyarrow().as_py()
    days = [*churn_training_days(month_of(day), first_day, horizon), day]
    labels = churn_labels(customer_days, days, horizon, 2 * horizon).to_pandas()
    known = [
        lake.read("features", contract_of("features", name)) for name in ("training_features", "customer_features")
    ]
    tables = [
        rows.filter(rows.as_of.isin(some)).to_pandas() for rows, some in zip(known, (days[:-1], [day]), strict=True)
    ]
    features = pd.concat(tables).drop(columns="month")
    rows = labels.merge(features, on=["as_of", "customer_id"]).sort_values(["as_of", "customer_id"])
    inputs, outcome = visible(feature_matrix(rows)), rows["churned"].to_numpy(dtype=float)
    judged = pd.to_datetime(rows["as_of"]).to_numpy() == np.datetime64(day)
    part = pd.factorize(rows["customer_id"])[0] % PARTS
    scores = np.zeros(len(rows))
    for number in range(PARTS):
        learnt = fit("lightgbm", inputs[part != number], outcome[part != number], 0, 2)
        asked = judged & (part == number)
        scores[asked] = raw_scores(learnt, inputs[asked])
    return float(evaluate(outcome[judged], scores[judged], only="auc")["auc"][0])


if __name__ == "__main__":
    main()
