"""What lists find of the purchases of the month before, of all customers: the hybrid beside simple lists.

    python benchmarks/recommendations.py [HOME] [MONTH]

HOME is a finished workspace. The model of MONTH, by default 2017-12-01, learns from the 30 days that end 30 days before it
and is tested on the 30 days before it. Prints every figure, and the processor time of training and of the lists.
"""

import argparse
import time
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pandas as pd

from crm_assets.assets.recommendations import known_before, sampled_lines
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.mining import product_purchases as purchases
from crm_assets.mining.cleaning import valid_on
from crm_assets.mining.persons import Persons
from crm_assets.mining.recommender import ListRules, Shop, recommend
from crm_assets.mining.recommender_training import train_recommender
from crm_assets.settings import load_settings


def main() -> None:
    """Print every figure and what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, nargs="?", default="data", help="a workspace that was run (default: data)")
    parser.add_argument("month", type=date.fromisoformat, nargs="?", default="2017-12-01", help="(default: 2017-12-01)")
    arguments = parser.parse_args()
    settings, month = load_settings(arguments.home).model_copy(update={"training_rows": 10**9}), arguments.month
    lake, last = lake_of(settings), month - timedelta(days=1)
    tables = (("clean", "transactions"), ("clean", "products"), ("clean", "customers"), ("profile", "customer_days"))
    transactions, products, customers, days = (lake.read(layer, contract_of(layer, name)) for layer, name in tables)
    persons = Persons.of(lake.read("profile", contract_of("profile", "identity_members")))
    segments = purchases.customer_segments_of(persons.rows(valid_on(customers, last), last))
    times = [time.process_time()]
    lines = sampled_lines(transactions, days, persons, last, settings)
    known = known_before(month, lines, products, segments, lake, settings.recommendation_horizon_days)
    times.append(time.process_time())
    trained = train_recommender(known, month, settings.recommendation_horizon_days, ListRules(), settings.seed)
    times.append(time.process_time())
    if trained.model is None:
        raise SystemExit(trained.message)
    history = purchases.purchase_history(lines, last).order_by("customer_id", "product_id").to_pandas()
    sales = purchases.sales_of_segments(lines, segments, last).to_pandas()
    shop = Shop.of(known[-1].offered, sales, trained.model.together, trained.model.alike)
    everyone = segments.order_by("customer_id").to_pandas()
    lists = recommend(trained.model, shop, everyone, history, last, ListRules())
    times.append(time.process_time())
    shown = [
        f"{row.value:.4f}" if pd.isna(row.low) else f"{row.value:.4f} ({row.low:.4f} to {row.high:.4f})"
        for row in trained.leaderboard.itertuples()
    ]
    board = trained.leaderboard.assign(shown=shown)
    print(board.pivot(index="metric", columns="candidate", values="shown").to_markdown())
    print(trained.message)
    print(
        {
            name: trained.model.card[name]
            for name in ("warm_customers", "cold_customers", "products_on_offer", "weights")
        }
    )
    print(f"{len(lists):,} rows for {len(everyone):,} customers; with a reason: {(lists['reason'] != '').sum():,}")
    names = ("reading", "training", "lists")
    print(", ".join(f"{name} {end - start:.1f} s" for name, (start, end) in zip(names, pairwise(times), strict=True)))


if __name__ == "__main__":
    main()
