"""Clusters of customers: the choice of k, names, and frozen assignment."""

import json
import os
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from crm_assets.mining.cluster_counts import choose_centers
from crm_assets.mining.cluster_words import INPUTS, SINGLE_CLUSTER, cluster_names
from crm_assets.mining.clustering import ClusterModel, assign_clusters, fit_clusters

REFERENCE = Path(os.environ.get("CRM_REFERENCE_DATA", Path(__file__).parents[3] / "shared" / "data"))
ONLINE_RETAIL = REFERENCE / "online_retail" / "online_retail.parquet"
LAST_DAY = pd.Timestamp(date(2011, 12, 9))


def three_kinds(customers: int = 60, seed: int = 1) -> pd.DataFrame:
    """Regulars who spend much, lapsed customers, and bargain hunters, in turn."""
    random = np.random.default_rng(seed)
    kind = np.arange(customers) % 3
    orders = np.choose(kind, [40, 2, 12]) + random.integers(0, 3, customers)
    return pd.DataFrame(
        {
            "customer_id": [f"c{number:04}" for number in range(customers)],
            "recency_days": np.choose(kind, [3, 200, 20]) + random.integers(0, 4, customers),
            "tenure_days": np.choose(kind, [360, 300, 200]) + random.integers(0, 5, customers),
            "orders_365d": orders,
            "amount_365d": orders * np.choose(kind, [50.0, 20.0, 10.0]) + random.random(customers),
            "categories_365d": np.choose(kind, [30, 3, 10]) + random.integers(0, 2, customers),
            "discount_share_365d": np.choose(kind, [0.05, 0.1, 0.6]) + random.random(customers) / 50,
        }
    )


@pytest.fixture(scope="module")
def online_retail() -> pd.DataFrame:
    """Features of the 4,338 customers with paid orders, straight from the export."""
    if not ONLINE_RETAIL.exists():
        pytest.skip("Online Retail reference data not found; set CRM_REFERENCE_DATA to its folder")
    lines = pd.read_parquet(ONLINE_RETAIL)
    lines = lines[lines.CustomerID.notna() & (lines.Quantity > 0) & (lines.UnitPrice > 0)]
    lines = lines[~lines.InvoiceNo.str.startswith("C")]
    lines = lines.assign(day=pd.to_datetime(lines.InvoiceDate).dt.normalize(), paid=lines.Quantity * lines.UnitPrice)
    lines["customer_id"] = lines.CustomerID.astype("int64").astype("str")
    customers = lines.groupby("customer_id")
    days = customers.day.agg(["min", "max"])
    year = lines[lines.day > LAST_DAY - pd.Timedelta(days=365)].groupby("customer_id")
    return pd.DataFrame(
        {
            "recency_days": (LAST_DAY - days["max"]).dt.days,
            "tenure_days": (LAST_DAY - days["min"]).dt.days,
            "orders_365d": year.InvoiceNo.nunique(),
            "amount_365d": year.paid.sum(),
        }
    ).reset_index(names="customer_id")


def test_three_kinds_of_customers_are_found_and_named_by_what_sets_them_apart():
    features = three_kinds()
    model = fit_clusters(features, seed=7)
    names = assign_clusters(model, features)
    assert len(model.names) == 3
    assert names.groupby(np.arange(len(names)) % 3).nunique().eq(1).all()
    regular, lapsed, bargain = names.iloc[:3]
    assert "many categories" in regular or "large baskets" in regular
    assert "infrequent" in lapsed or "long absent" in lapsed
    assert "discount-driven" in bargain


def test_the_order_of_rows_and_the_threads_do_not_matter():
    features = three_kinds(300)
    shuffled = features.sample(frac=1, random_state=3)
    with threadpool_limits(limits=4):
        model = fit_clusters(shuffled, seed=7)
    assert json.dumps(model.to_dict()) == json.dumps(fit_clusters(features, seed=7).to_dict())
    assert assign_clusters(model, shuffled).sort_index().equals(assign_clusters(model, features))


def test_a_model_survives_json_and_scores_later_days_unchanged():
    features = three_kinds()
    model = fit_clusters(features, seed=7)
    stored = ClusterModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert stored == model
    # whoever bought like a regular a year ago is scored by the old centers, alone in the frame as among others
    later = features.iloc[[1]].assign(recency_days=3, orders_365d=41, amount_365d=2050.0, categories_365d=30)
    assert assign_clusters(stored, later.assign(discount_share_365d=0.05)).tolist() == [
        assign_clusters(model, features).iloc[0]
    ]
    json.dumps(model.card())


def test_empty_constant_and_missing_inputs_are_dropped_and_said():
    features = three_kinds().drop(columns="tenure_days")
    features["discount_share_365d"] = pd.Series([None] * len(features), dtype="Float64")
    features["categories_365d"] = 4
    model = fit_clusters(features, seed=7)
    assert model.card()["dropped"] == {
        "tenure_days": "not among the features",
        "categories_365d": "the same for everyone",
        "discount_share_365d": "no values",
    }
    assert len(model.names) >= 3


def test_decimals_and_nulls_are_understood():
    features = three_kinds()
    features["amount_365d"] = features["amount_365d"].map(lambda amount: Decimal(str(round(amount, 4))))
    features["recency_days"] = features["recency_days"].astype("Int64")
    features.loc[0, ["recency_days", "discount_share_365d"]] = None
    model = fit_clusters(features, seed=7)
    assert assign_clusters(model, features).notna().all()


@pytest.mark.parametrize("customers", [0, 1, 20])
def test_too_few_customers_make_one_cluster(customers):
    features = three_kinds(60).head(customers)
    model = fit_clusters(features, seed=7)
    assert model.names == (SINGLE_CLUSTER,)
    assert assign_clusters(model, features).tolist() == [SINGLE_CLUSTER] * customers
    assert model.card()["customers"] == customers


def test_equal_customers_make_one_cluster():
    features = pd.concat([three_kinds(3).head(1)] * 50).assign(customer_id=[str(number) for number in range(50)])
    assert fit_clusters(features, seed=7).names == (SINGLE_CLUSTER,)


def test_splitting_off_outliers_is_refused():
    # 185 of 200 customers are equal: the tightest clusters are they and splinters of the rest
    features = pd.DataFrame(
        {
            "customer_id": [f"{number:03}" for number in range(200)],
            "discount_share_365d": [0.0] * 185 + [0.3 + number / 50 for number in range(15)],
        }
    )
    model = fit_clusters(features, seed=7)
    assert model.counts
    assert all(count.refused for count in model.counts)
    assert model.names == (SINGLE_CLUSTER,)


def test_rows_must_be_one_per_customer():
    with pytest.raises(ValueError, match="one row per customer"):
        fit_clusters(pd.concat([three_kinds(), three_kinds()]), seed=7)


def test_features_without_a_column_of_the_model_are_refused():
    model = fit_clusters(three_kinds(), seed=7)
    with pytest.raises(ValueError, match="needs column 'recency_days'"):
        assign_clusters(model, three_kinds().drop(columns="recency_days"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-4, 4), min_size=len(INPUTS), max_size=len(INPUTS)), min_size=2, max_size=8))
def test_names_are_never_shared(centers):
    names = cluster_names(np.array(centers), INPUTS)
    assert len(set(names)) == len(centers)
    assert all(names)


def test_online_retail_is_not_one_cluster_and_a_few_outliers(online_retail):
    assert len(online_retail) in (4338, 4339)
    model = fit_clusters(online_retail, seed=42)
    assert max(model.sizes) / sum(model.sizes) <= 0.9
    assert all(count.largest_share <= 0.9 for count in model.counts)
    chosen = {count.clusters: count.silhouette for count in model.counts}[len(model.names)]
    assert 0.2 < chosen < 0.9
    assert assign_clusters(model, online_retail).value_counts().to_dict() == dict(
        zip(model.names, model.sizes, strict=True)
    )


def test_the_published_trap_is_refused(online_retail):
    """Unscaled recency, frequency and monetary value: silhouette .95 with 99.1% of customers in one cluster."""
    unscaled = online_retail[["recency_days", "orders_365d", "amount_365d"]].fillna(0).to_numpy("float64")
    three = choose_centers(unscaled, seed=42)[0][0]
    assert three.silhouette == pytest.approx(0.95, abs=0.01)
    assert three.largest_share == pytest.approx(0.991, abs=0.001)
    assert three.refused
