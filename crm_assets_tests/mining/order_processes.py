"""Order histories drawn at random from the order process and order values, and CDNOW's, for tests and benchmarks."""

import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

CDNOW_CALIBRATION_ENDS = date(1997, 9, 30)


def drawn_histories(
    customers: int, r: float, alpha: float, a: float, b: float, age: tuple[float, float], seed: int, modified=False
) -> pd.DataFrame:
    """Histories of customers of BG/NBD: frequency, recency, age (drawn evenly from a range), left (bool).

    Times between orders are drawn one order at a time, for all customers at once.
    """
    generator = np.random.default_rng(seed)
    rate = generator.gamma(r, 1 / alpha, customers)
    leaving = generator.beta(a, b, customers)
    until = generator.uniform(*age, customers)
    frequency, recency, clock = np.zeros(customers), np.zeros(customers), np.zeros(customers)
    left = (generator.random(customers) < leaving) & modified
    going = np.flatnonzero(~left)
    while len(going):
        clock[going] += generator.exponential(1.0, len(going)) / np.maximum(rate[going], 1e-300)
        going = going[clock[going] <= until[going]]
        frequency[going] += 1
        recency[going] = clock[going]
        left[going] = generator.random(len(going)) < leaving[going]
        going = going[~left[going]]
    return pd.DataFrame({"frequency": frequency, "recency": recency, "age": until, "left": left})


def cdnow(name: str) -> pd.DataFrame:
    """CDNOW's purchases, those of one day together: customer_id, day, amount; the test is skipped without the data."""
    root = Path(os.environ.get("CRM_REFERENCE_DATA", "nowhere")) / "cdnow"
    if not root.exists():
        pytest.skip("needs the reference data: set CRM_REFERENCE_DATA to its folder")
    if name == "sample":
        columns = ["customer_id", "sample_id", "day", "units", "amount"]
        lines = pd.read_csv(root / "CDNOW_sample.txt", sep=r"\s+", header=None, names=columns, dtype={"day": str})
    else:
        columns = ["customer_id", "day", "units", "amount"]
        lines = pd.read_csv(root / "CDNOW_master.txt", sep=r"\s+", header=0, names=columns, dtype={"day": str})
    lines["day"] = pd.to_datetime(lines["day"], format="%Y%m%d")
    return lines.groupby(["customer_id", "day"], as_index=False)["amount"].sum()


def measured(purchases: pd.DataFrame, as_of: date = CDNOW_CALIBRATION_ENDS) -> pd.DataFrame:
    """Histories in weeks as of a day, by customer: frequency, recency, age, amount, first (amount of the first day)."""
    seen = purchases[purchases["day"] <= pd.Timestamp(as_of)].groupby("customer_id")
    first, last = seen["day"].min(), seen["day"].max()
    return pd.DataFrame(
        {
            "frequency": seen.size() - 1,
            "recency": (last - first).dt.days / 7,
            "age": (pd.Timestamp(as_of) - first).dt.days / 7,
            "amount": seen["amount"].sum(),
            "first": seen["amount"].first(),
        }
    )
