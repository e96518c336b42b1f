"""How long the order process takes to fit on a million customers, and how near it comes to the truth.

Belongs here: timing fits on drawn customers. Not here: figures on real data (`crm_assets_tests/mining`).

Customers are drawn from the process itself, seen for one to three years, and fitted once as they are and once by day,
alike ones as one row, which is how the pipeline fits them. Both forms: BG/NBD and MBG/NBD.

    python benchmarks/customer_value.py [--customers N]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from crm_assets.mining.bg_nbd import PARAMETERS, fit_bg_nbd

# The tests are not installed with the package.
sys.path.insert(0, str(Path(__file__).parents[1]))
from crm_assets_tests.mining.order_processes import drawn_histories

TRUTH = dict(zip(PARAMETERS, (0.6, 35.0, 1.5, 4.0), strict=True))
SEEN_DAYS = (365.0, 1_095.0)
TARGET_SECONDS, TARGET_ERROR = 60.0, 0.02


def main() -> int:
    """Print times and errors; 1 when a fit misses a target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000, help="customers to draw")
    customers = parser.parse_args().customers
    missed = False
    for modified in (False, True):
        rows = drawn_histories(customers, **TRUTH, age=SEEN_DAYS, seed=20170101, modified=modified)
        missed |= measured("MBG/NBD" if modified else "BG/NBD", rows.assign(customers=1), modified)
        missed |= measured("  by day, alike ones together", by_day(rows), modified)
    return int(missed)


def measured(label: str, rows: pd.DataFrame, modified: bool) -> bool:
    """Fit, print a line, and say whether a target was missed."""
    columns = [rows[name].to_numpy(np.float64) for name in ("frequency", "recency", "age", "customers")]
    begin, used = time.perf_counter(), time.process_time()
    model = fit_bg_nbd(*columns[:3], columns[3], modified=modified)
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    errors = {name: getattr(model, name) / value - 1 for name, value in TRUTH.items()}
    worst = max(map(abs, errors.values()))
    found = ", ".join(f"{name} {getattr(model, name):.3f} ({error:+.2%})" for name, error in errors.items())
    print(f"{label:30} {len(rows):>9,} rows {seconds:6.1f} s ({used:.1f} s of CPU)  {found}", flush=True)
    return seconds > TARGET_SECONDS or worst > TARGET_ERROR


def by_day(rows: pd.DataFrame) -> pd.DataFrame:
    """Histories in whole days, alike ones together; a later order is at least a day after the first."""
    days = rows[["frequency", "recency", "age"]].round()
    days["recency"] = days["recency"].clip(lower=(days["frequency"] > 0).astype("float64"))
    return days.groupby(list(days.columns), as_index=False).size().rename(columns={"size": "customers"})


if __name__ == "__main__":
    sys.exit(main())
