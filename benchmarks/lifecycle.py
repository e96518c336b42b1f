"""Whose gaps tell who orders again: those of all customers together, or each customer's own.

Lifecycle stages rest on days since the last order. This compares, as of several days of a finished workspace, how well
they rank who orders within the next 30 days: as they are, and over the customer's own usual gap, drawn towards the
usual gap of all as if some gaps of that length had been seen besides. The figure is AUC, the mean over the days.

    python benchmarks/lifecycle.py [HOME]
"""

import argparse
import sys
from datetime import date, timedelta
from pathlib import Path

import ibis
import numpy as np

from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.mining.lifecycle import AT_RISK_PERCENT, LAPSED_PERCENT, fit_lifecycle_rules, lifecycle
from crm_assets.mining.model_metrics import evaluate
from crm_assets.settings import load_settings

DAYS = (date(2017, 6, 30), date(2017, 7, 31), date(2017, 8, 31), date(2017, 9, 30), date(2017, 10, 31))
HORIZON = 30
DRAWN = (0, 2, 5, 10, 20, 50)
"""Gaps of the usual length that are added to a customer's own."""


def main() -> None:
    """Print the figure of each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, nargs="?", default="data", help="a workspace that was run (default: data)")
    settings = load_settings(parser.parse_args().home)
    days = lake_of(settings).read("profile", contract_of("profile", "customer_days"))
    known = days.select("customer_id", since=days.day, until=ibis.null("date")).limit(0)
    found: dict[str, list[float]] = {}
    rates: dict[str, list[tuple[int, float]]] = {}
    for as_of in DAYS:
        later = days.filter(days.orders > 0, days.day > as_of, days.day <= as_of + timedelta(days=HORIZON))
        again = set(later.customer_id.to_pyarrow().to_pylist())
        seen = days.filter(days.orders > 0, days.day <= as_of)
        state = seen.group_by("customer_id").agg(first=seen.day.min(), last=seen.day.max(), days=seen.day.nunique())
        frame = state.to_pandas()
        left = (~frame["customer_id"].isin(again)).to_numpy(dtype=float)
        recency = np.array([(as_of - last).days for last in frame["last"].dt.date], dtype=float)
        gaps = frame["days"].to_numpy() - 1
        span = (frame["last"] - frame["first"]).dt.days.to_numpy()
        usual = float(np.median(span[gaps > 0] / gaps[gaps > 0]))
        found.setdefault("all customers' gaps", []).append(auc(left, recency))
        for drawn in DRAWN:
            own = np.where(gaps + drawn > 0, (span + drawn * usual) / np.maximum(gaps + drawn, 1), usual)
            found.setdefault(f"own gap, {drawn} drawn", []).append(auc(left, recency / np.maximum(own, 1)))
        fitted = fit_lifecycle_rules(days, as_of.replace(day=1) - timedelta(days=1))
        if fitted.rules is None:
            sys.exit(f"{as_of}: {fitted.card['needs']}")
        stages = lifecycle(days, known, [as_of], fitted.rules).to_pandas()
        came = stages["customer_id"].isin(again)
        for stage, share in came.groupby(stages["stage"]).mean().items():
            rates.setdefault(str(stage), []).append((int((stages["stage"] == stage).sum()), float(share)))
    print(f"AUC of who does not order within {HORIZON} days, mean of {len(DAYS)} days")
    for name, values in found.items():
        print(f"  {name:24} {np.mean(values):.3f}")
    print(f"Customers, and the share who order within {HORIZON} days; limits {AT_RISK_PERCENT}% and {LAPSED_PERCENT}%")
    for stage, values in sorted(rates.items(), key=lambda item: -np.mean([share for _, share in item[1]])):
        total = sum(customers for customers, _ in values)
        print(f"  {stage:24} {total:6} {sum(customers * share for customers, share in values) / total:.3f}")


def auc(left: np.ndarray, score: np.ndarray) -> float:
    """How well a score ranks those who leave; scaled into 0 to 1, ranks stay."""
    return float(evaluate(left, score / (score.max() + 1))["auc"][0])


if __name__ == "__main__":
    main()
