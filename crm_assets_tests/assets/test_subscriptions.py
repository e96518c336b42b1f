"""Contracts of the small shop, by Dagster's runs: how scores of past days turned out, drift, and one model after another."""

import hashlib
import json
import random
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import product
from pathlib import Path

import duckdb
import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.lake.models import CARD_FILE
from crm_assets.runs import Planned, Runs
from crm_assets.settings import load_settings
from crm_assets_tests import shop

CONTRACTS = """
  subscriptions:
    files: contracts.csv
    columns:
      subscription_id: id
      customer_id: customer
      started_at: began
      ended_at: ended
      plan: plan
      monthly_fee: fee
"""
MONTHS = date(2024, 5, 1), date(2024, 6, 1)
JUDGED, RUNNING = date(2024, 5, 15), date(2024, 6, 10)
"""Scored days: the horizon of 30 days of the first one ended before the last delivery of contracts, the other's did not."""


def contracts() -> list[tuple[str, str, date, date | None, str, int]]:
    """Five of each customer; those by the month end soon, those by the year seldom."""
    chance, found = random.Random(3), []
    for number in range(400):
        plan, began = chance.choice(["month", "year"]), shop.FIRST_DAY + timedelta(chance.randrange(120))
        ended = began + timedelta(1 + int(chance.expovariate(1 / (60 if plan == "month" else 500))))
        found.append((f"s{number:03d}", f"c{number % 80}", began, ended if ended < shop.LAST_DAY else None, plan, 10))
    return found


def as_told(day: date) -> list[tuple[object, ...]]:
    """The rows of an export, with ends that had come by then."""
    return [
        (name, customer, began, ended if ended and ended <= day else "", plan, fee)
        for name, customer, began, ended, plan, fee in contracts()
        if began <= day
    ]


@pytest.fixture(scope="module")
def subscribed(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished shop after two exports of contracts came; models, scores and what hangs on them are made, read only."""
    home = shop.copy_of(finished, tmp_path_factory.mktemp("subscribed") / "home")
    for day in (shop.HISTORY_ENDS, shop.LAST_DAY):
        shop.write(home, day, "contracts.csv", "id,customer,began,ended,plan,fee", as_told(day))
    (home / "sources" / "shop.yaml").write_text(shop.MAPPING + CONTRACTS, "utf-8")
    with open_instance(home) as instance:
        Runs(load_settings(home), instance, lambda doing: None).ingest()
        runs = Runs(load_settings(home), instance, lambda doing: None)
        runs.clean()
        made = [["models", "subscription_churn"], ["quality", "leaderboard_subscription_churn"]]
        runs.make(Planned("", "train", *MONTHS, made))
        for day in (JUDGED, RUNNING):
            runs.make(Planned("", "score", day, day, [["marts", "subscription_churn_scores"]]))
        make_quality(runs, JUDGED, RUNNING)
    return home


def make_quality(runs: Runs, *days: date) -> None:
    runs.make(Planned("", "score", made=[["quality", "subscription_performance"]]))
    for day in days:
        runs.make(Planned("", "score", day, day, [["quality", "drift"]]))


def rows_of(home: Path, query: str) -> list[tuple]:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        return warehouse.execute(query).fetchall()


def ranked_rightly(left: Sequence[float], stayed: Sequence[float]) -> float:
    """Share of pairs of which the one that left ranks higher; ties count half."""
    pairs = list(product(left, stayed))
    return sum((one > other) + (one == other) / 2 for one, other in pairs) / len(pairs)


def test_scores_of_a_day_are_held_against_what_contracts_did_within_the_horizon(subscribed: Path) -> None:
    known = {name: (began, ended) for name, _, began, ended, *_ in contracts()}
    scores = dict(
        rows_of(
            subscribed,
            f"SELECT subscription_id, churn_probability FROM marts.subscription_churn_scores WHERE as_of = '{JUDGED}'",
        )
    )
    assert set(scores) == {
        n for n, (began, ended) in known.items() if began <= JUDGED and not (ended and ended <= JUDGED)
    }
    left = {name for name in scores if known[name][1] and known[name][1] <= JUDGED + timedelta(30)}
    query = (
        "SELECT as_of, candidate, value, customers, churned FROM quality.subscription_performance WHERE metric = 'auc'"
    )
    found = {candidate: (as_of, value, *counts) for as_of, candidate, value, *counts in rows_of(subscribed, query)}
    by = {
        "subscription_churn_scores": lambda name: scores[name],
        "tenure": lambda name: known[name][0].toordinal(),
    }
    assert set(found) == set(by)
    for candidate, rank in by.items():
        expected = ranked_rightly([rank(name) for name in left], [rank(name) for name in scores if name not in left])
        assert found[candidate] == (JUDGED, pytest.approx(expected), len(scores), len(left))


def test_a_day_whose_horizon_no_export_covers_is_not_judged(subscribed: Path) -> None:
    assert rows_of(subscribed, "SELECT DISTINCT as_of FROM marts.subscription_churn_scores ORDER BY 1") == [
        (JUDGED,),
        (RUNNING,),
    ]
    assert rows_of(subscribed, "SELECT DISTINCT as_of FROM quality.subscription_performance") == [(JUDGED,)]


def test_scores_are_judged_by_the_horizon_on_the_card_of_their_model(subscribed: Path, tmp_path: Path) -> None:
    home = shop.copy_of(subscribed, tmp_path / "home")
    path = home / "models" / "subscription_churn" / MONTHS[0].isoformat() / CARD_FILE
    card = json.loads(path.read_text("utf-8"))
    assert card["horizon_days"] == 30
    path.write_text(json.dumps({**card, "horizon_days": 7}), "utf-8")
    with open_instance(home) as instance:
        make_quality(Runs(load_settings(home), instance, lambda doing: None))
    soon = sum(
        1 for *_, began, ended, _, _ in contracts() if ended and began <= JUDGED < ended <= JUDGED + timedelta(7)
    )
    assert rows_of(home, "SELECT DISTINCT churned FROM quality.subscription_performance") == [(soon,)]


def test_drift_has_the_fields_of_contracts_beside_those_of_customers(subscribed: Path) -> None:
    query = (
        f"SELECT kind, name, customers FROM quality.drift WHERE model = 'subscription_churn' AND as_of = '{RUNNING}'"
    )
    running = sum(1 for *_, began, ended, _, _ in contracts() if began <= RUNNING and not (ended and ended <= RUNNING))
    found = {(kind, name): scored for kind, name, scored in rows_of(subscribed, query)}
    assert set(found.values()) == {running}
    assert {("population", "contracts"), ("score", "score"), ("feature", "plan is month")} <= set(found)
    assert ("feature", "months since the start") in found
    moved = rows_of(
        subscribed,
        f"SELECT verdict FROM quality.drift WHERE name = 'months since the start' AND as_of = '{RUNNING}'",
    )
    # Nobody signed after April, so that contracts of June are older than those that were learnt from.
    assert moved == [("another population",)]
    assert rows_of(subscribed, f"SELECT DISTINCT model FROM quality.drift WHERE as_of = '{shop.LAST_DAY}'") == [
        ("churn",)
    ]


def test_the_model_of_june_is_compared_with_that_of_may(subscribed: Path) -> None:
    folder = subscribed / "models" / "subscription_churn"
    may, june = (json.loads((folder / month.isoformat() / CARD_FILE).read_text("utf-8")) for month in MONTHS)
    assert may["challenge"] == "no previous model with held-out days of its own"
    assert june["challenge"]["previous"].startswith("subscription_churn-2024-05-01")
    assert min(june["challenge"]["days"]) > max(may["training_days"])


def test_making_the_same_again_gives_equal_bytes(subscribed: Path, tmp_path: Path) -> None:
    home = shop.copy_of(subscribed, tmp_path / "home")
    files = [
        *home.glob("lake/quality/subscription_performance/*.parquet"),
        *home.glob("lake/quality/drift/*/*.parquet"),
    ]
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert len(before) >= 3
    with open_instance(home) as instance:
        make_quality(Runs(load_settings(home), instance, lambda doing: None), JUDGED, RUNNING)
    assert before == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_shop_without_contracts_has_an_empty_table(finished: Path) -> None:
    assert rows_of(finished, "SELECT count(*) FROM quality.subscription_performance") == [(0,)]
