"""Clusters from month to month: planted ones are found, names stay with their customers, and the engine agrees."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CAMPAIGN_CONTACTS, CUSTOMERS, PRODUCTS, TRANSACTIONS
from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.mining.cleaning import clean_dimension, clean_events
from crm_assets.mining.cluster_counts import choose_centers, move_centers
from crm_assets.mining.cluster_history import REVIEW_MONTHS, MonthOfClusters, follow_clusters
from crm_assets.mining.cluster_scores import cluster_names_of
from crm_assets.mining.cluster_words import INPUTS, NamedCenters, keep_names
from crm_assets.mining.clustering import FEATURE_COLUMNS, ClusterModel, assign_clusters, fit_clusters
from crm_assets.mining.customer_days import customer_days
from crm_assets.mining.features import customer_features
from crm_assets.mining.samples import as_floats
from crm_assets.sources.deliveries import list_files
from crm_assets.sources.mapping import read_source
from crm_assets.sources.readers import read_files
from crm_assets.sources.rows import judge, valid_rows
from crm_assets_tests.mining.test_clustering import three_kinds

REFERENCE = Path(os.environ.get("CRM_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
RETAIL_MAPPING = Path(__file__).parents[2] / "docs" / "examples" / "online_retail.yaml"
MONTHS = [date(2024, month, 1) for month in range(1, 9)]
CONNECTION = ibis.duckdb.connect()


def in_two_ways(centers: list[list[float]], names: list[str]) -> NamedCenters:
    """Clusters by the days since the last order and the discount share."""
    return NamedCenters(["recency_days", "discount_share_365d"], centers, names)


TWO_INPUTS = [used for used in INPUTS if used.column in ("recency_days", "discount_share_365d")]


def blobs(sizes: list[int], seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Planted clusters: round, four standard deviations apart, and which row belongs to which."""
    random = np.random.default_rng(seed)
    corners = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 0, 4], [4, 4, 0], [4, 0, 4]])[: len(sizes)]
    planted = np.repeat(np.arange(len(sizes)), sizes)
    return corners[planted] + random.normal(0, 0.6, (len(planted), 3)), planted


@pytest.mark.parametrize("sizes", [[300, 100, 60], [200, 200, 50, 150], [90, 80, 70, 60, 50, 40]])
def test_planted_clusters_are_found_with_their_number(sizes):
    rows, planted = blobs(sizes)
    counts, centers = choose_centers(rows, seed=1)
    assert len(centers) == len(sizes)
    labels = ((rows[:, None] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert adjusted_rand_score(planted, labels) > 0.97
    chosen = next(count for count in counts if count.chosen)
    assert chosen.clusters == len(sizes)
    assert chosen.stability > 0.97


def test_planted_clusters_are_found_among_many_rows_in_batches():
    rows, planted = blobs([15_000, 10_000, 5_000, 2_000])
    _, centers = choose_centers(rows, seed=1)
    labels = ((rows[:, None] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert len(centers) == 4
    assert adjusted_rand_score(planted, labels) > 0.97


def test_a_number_that_is_not_found_again_on_other_draws_is_not_chosen():
    """An even cloud has no clusters: whatever its silhouette says, each draw divides it otherwise."""
    rows = np.random.default_rng(3).uniform(size=(150, 5))
    counts, _ = choose_centers(rows, seed=1)
    assert all(count.stability < 0.8 for count in counts)
    chosen = next(count for count in counts if count.chosen)
    assert chosen.stability == max(count.stability for count in counts)
    assert chosen.silhouette < max(count.silhouette for count in counts)


def test_the_number_in_use_stays_unless_another_is_clearly_better():
    def pairs_of_blobs(gap: float) -> tuple[np.ndarray, np.ndarray]:
        six = np.array([[0, 0], [gap, 0], [10, 0], [10, gap], [0, 10], [0, 10 + gap]])
        return six, np.repeat(six, 60, axis=0) + np.random.default_rng(1).normal(0, 0.6, (360, 2))

    for gap, stays in ((3.8, True), (2.0, False)):
        six, rows = pairs_of_blobs(gap)
        assert len(choose_centers(rows, seed=1)[1]) == 3
        in_use = move_centers(rows, six, seed=1)
        assert len(choose_centers(rows, 1, in_use)[1]) == (6 if stays else 3)


def test_centers_that_no_longer_divide_are_given_up():
    rows = np.concatenate([np.zeros((95, 2)), np.full((5, 2), 8.0)])
    assert move_centers(rows, np.array([[0.0, 0.0], [8.0, 8.0]]), seed=1) is None
    assert move_centers(rows[:10], np.array([[0.0, 0.0], [8.0, 8.0]]), seed=1) is None


def test_names_follow_their_clusters_whatever_their_order():
    before = in_two_ways([[1.0, 0.0], [-1.0, 0.5]], ["long absent", "recent, discount-driven"])
    names, kept = keep_names(np.array([[-1.1, 0.6], [0.9, 0.1]]), TWO_INPUTS, before)
    assert names == ("recent, discount-driven", "long absent")
    assert kept == (True, True)


def test_a_name_that_has_become_wrong_is_not_kept():
    before = in_two_ways([[1.0, 0.3], [-1.0, 0.5]], ["long absent, discount-driven", "recent, discount-driven"])
    names, kept = keep_names(np.array([[1.0, -0.2], [-1.0, 0.5]]), TWO_INPUTS, before)
    assert kept == (False, True)
    assert names[0] == "long absent"
    assert names[1] == "recent, discount-driven"


def test_a_new_cluster_does_not_take_a_name_in_use():
    before = in_two_ways([[1.0, 0.0], [-1.0, 0.0]], ["long absent", "recent"])
    names, kept = keep_names(np.array([[1.0, 0.0], [-1.0, 0.0], [4.0, 0.0]]), TWO_INPUTS, before)
    assert kept == (True, True, False)
    assert names[:2] == ("long absent", "recent")
    assert len(set(names)) == 3


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-4, 4), st.floats(-4, 4)), min_size=2, max_size=8),
    st.lists(st.tuples(st.floats(-4, 4), st.floats(-4, 4)), min_size=2, max_size=8),
)
def test_names_are_never_shared_after_matching(first, second):
    names, _ = keep_names(np.array(first), TWO_INPUTS, None)
    later, kept = keep_names(np.array(second), TWO_INPUTS, in_two_ways([list(row) for row in first], list(names)))
    assert len(set(later)) == len(second)
    assert {name for name, is_kept in zip(later, kept, strict=True) if is_kept} <= set(names)


def test_customers_who_stay_as_they_are_keep_their_label_and_movers_are_counted():
    now = three_kinds(90)
    later = now.copy()
    later.loc[later.index[0], list(FEATURE_COLUMNS)] = now.loc[1, list(FEATURE_COLUMNS)]
    first, second = follow_clusters([(MONTHS[0], now), (MONTHS[1], later)], seed=7)
    assert set(second.model.names) == set(first.model.names)
    stability, migration = second.changes()
    figures = stability.set_index("basis")
    assert figures.loc["refit", ["customers", "adjusted_rand"]].tolist() == [90, 1.0]
    assert figures.loc["unchanged", ["customers", "adjusted_rand"]].tolist() == [89, 1.0]
    assert 0.9 < figures.loc["month", "adjusted_rand"] < 1
    assert figures["names_kept"].tolist() == [3, 3, 3]
    was, became = assign_clusters(first.model, now.iloc[[0, 1]])
    moved = migration[migration["previous_segment"] != migration["segment"]]
    assert moved[["previous_segment", "segment", "customers"]].values.tolist() == [[was, became, 1]]
    assert migration.groupby("previous_segment")["share"].sum().tolist() == pytest.approx([1, 1, 1])


def test_a_month_is_the_same_whichever_months_are_asked_for():
    months = [(month, three_kinds(120, seed=number)) for number, month in enumerate(MONTHS)]
    every = list(follow_clusters(months, seed=7))
    for count in (1, 3, REVIEW_MONTHS + 1):
        *_, last = follow_clusters(months[:count], seed=7)
        assert last.model == every[count - 1].model
    assert [found.model.reviewed for found in every] == [n % REVIEW_MONTHS == 0 for n in range(len(MONTHS))]


def test_months_without_customers_change_nothing():
    rows, nobody = three_kinds(90), three_kinds(90).head(0)
    without = list(follow_clusters([(MONTHS[0], rows), (MONTHS[2], rows)], seed=7))
    given = list(follow_clusters([(MONTHS[0], rows), (MONTHS[1], nobody), (MONTHS[2], rows)], seed=7))
    assert given[1].model is None
    assert given[1].changes()[0].empty
    assert given[2].model == without[1].model


def test_a_feature_that_appears_gives_a_new_fit_with_the_same_names_where_they_hold():
    rows = three_kinds(300)
    first, second = follow_clusters([(MONTHS[0], rows.assign(categories_365d=1)), (MONTHS[1], rows)], seed=7)
    assert "categories_365d" not in first.model.columns
    assert "categories_365d" in second.model.columns
    assert second.model.reviewed
    assert sum(second.model.kept) >= 1
    assert second.changes()[0]["customers"].tolist() == [300, 300, 300]


@pytest.mark.parametrize("customers", [1, 300])
def test_the_engine_finds_the_clusters_found_in_memory(customers):
    features = three_kinds(300)
    model = fit_clusters(features.head(customers), seed=7)
    odd = pd.DataFrame(
        {
            "customer_id": ["nothing known", "returns only", "no orders", "far away"],
            "recency_days": [np.nan, 3, 5, 1e6],
            "tenure_days": [np.nan, 10, 5, 1e6],
            "orders_365d": [np.nan, 1, 0, 1e6],
            "amount_365d": [np.nan, -50, -3, 1e9],
            "categories_365d": [np.nan, 1, 0, 1e6],
            "discount_share_365d": [np.nan, 0, np.nan, 50],
        }
    )
    every = pd.concat([features, odd], ignore_index=True)
    found = CONNECTION.to_pandas(
        cluster_names_of(model, ibis.memtable(pa.Table.from_pandas(every))).order_by("customer_id")
    )
    expected = every.assign(cluster_name=assign_clusters(model, every)).sort_values("customer_id")
    assert found["cluster_name"].tolist() == expected["cluster_name"].tolist()


def test_a_model_of_an_earlier_version_can_be_read():
    document = fit_clusters(three_kinds(), seed=7).to_dict()
    for name in ("kept", "reviewed"):
        del document[name]
    for count in document["counts"]:
        del count["stability"], count["chosen"]
    assert ClusterModel.from_dict(document).card()["clusters"][0]["name_kept"] is False


@pytest.fixture(scope="module")
def online_retail(engine: DuckDBEngine, tmp_path_factory: pytest.TempPathFactory) -> list[MonthOfClusters]:
    """Clusters of each month of Online Retail, by its mapping and the features of the pipeline."""
    if not (REFERENCE / "online_retail").is_dir():
        pytest.skip("Online Retail reference data not found; set CRM_REFERENCE_DATA to its folder")
    folder = tmp_path_factory.mktemp("online_retail") / "2012-01-01"
    shutil.copytree(REFERENCE / "online_retail", folder)
    source, files = read_source(RETAIL_MAPPING), [file.name for file in list_files(folder)]
    with ExitStack() as kept:

        def held(table: ibis.Table) -> ibis.Table:
            return kept.enter_context(engine.held(table))

        def valid(contract) -> ibis.Table:
            raw = read_files(engine.backend, folder, source.tables[contract.name], files)
            raw = raw.mutate(_source=ibis.literal("online_retail"), _export_date=ibis.literal(date(2012, 1, 1)))
            return held(valid_rows(judge(raw, source, contract)))

        lines = valid(TRANSACTIONS)
        lines = lines.mutate(day=lines.ordered_at.date())
        clean = held(clean_events(lines, TRANSACTIONS, date(2010, 12, 1), date(2011, 12, 9)))
        months = [date(2011, month, 1) for month in range(2, 13)]
        as_of_days = [month - timedelta(days=1) for month in months]
        features = customer_features(
            held(customer_days(clean)),
            clean,
            held(clean_dimension(valid(PRODUCTS), PRODUCTS)),
            held(clean_dimension(valid(CUSTOMERS), CUSTOMERS)),
            engine.empty(layers.clean(CAMPAIGN_CONTACTS).schema),
            as_of_days,
            held,
        )
        bought = features.filter(features.orders_365d > 0)
        rows = bought.select("as_of", "customer_id", **as_floats(bought, FEATURE_COLUMNS)).to_pandas()
    by_day = {day.date(): frame.drop(columns="as_of") for day, frame in rows.groupby("as_of")}
    return list(follow_clusters(((month, by_day[month - timedelta(days=1)]) for month in months), seed=20170101))


def shares(found: list[MonthOfClusters]) -> Iterator[float]:
    for month in found:
        yield max(month.model.sizes) / sum(month.model.sizes)


@pytest.mark.slow
def test_clusters_of_online_retail_divide_customers_each_month(online_retail):
    assert sum(online_retail[-1].model.sizes) == pytest.approx(4_294, abs=5)
    assert max(shares(online_retail)) < 0.65
    assert all(len(found.model.names) >= 3 for found in online_retail)


@pytest.mark.slow
def test_clusters_of_online_retail_keep_their_names_a_month_later(online_retail):
    """Of customers whose standing moved by at most a quarter of a standard deviation in each feature."""
    later = [found.changes()[0].set_index("basis") for found in online_retail[1:]]
    assert len(later) == 10
    assert all((figures["names_new"] == 0).all() for figures in later)
    assert min(figures.loc["unchanged", "customers"] for figures in later) >= 300
    assert min(figures.loc["unchanged", "adjusted_rand"] for figures in later) >= 0.8
