"""What one more daily export costs beside the full ingestion of a year: at most a tenth.

Belongs here: timing ingestion and cleaning of the demonstration's exports. Not here: features, models and marts.

Both are the same calls in one process, on the same workspace: `Runs.ingest` and `Runs.clean`, from the look for new
exports to the last event in the log. The full ingestion is of the historical export, eleven months; the increments are
the days after it, one by one, and their median counts. A process that is new imports its libraries once, whatever it
ingests: that is measured first, on a workspace of one order line, and counts for neither.

An increment costs a few seconds that do not depend on the rows: some thirty steps, each compiled, checked and logged. So
its share depends on the size of the year. `--times` has each household that many times, with orders of its own: seven
times is ten million lines. Of the demonstration's year as it is, `--times 1`, an increment costs nearly a quarter.

    python benchmarks/increment.py [--days N] [--times N] [--home FOLDER]
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from scaled_exports import multiply

from crm_assets import demo
from crm_assets.automation.instance import open_instance
from crm_assets.definitions import lake_of
from crm_assets.runs import Runs
from crm_assets.settings import load_settings, write_settings
from crm_assets.sources.deliveries import Delivery

TARGET = 0.1


def main() -> int:
    """Print the times and their ratio; 1 when an increment costs more than a tenth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=5, help="daily exports to ingest one by one")
    parser.add_argument(
        "--times", type=int, default=7, help="how often to have each household (1.4 million lines each)"
    )
    parser.add_argument("--home", type=Path, help="an empty folder for the workspace; default a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return measure(arguments.home or Path(temporary), arguments.days, arguments.times)


def measure(home: Path, days: int, times: int) -> int:
    """Ingest the history, then `days` daily exports one by one, and compare."""
    print(f"libraries, and a workspace of one order line:                   {start(home / 'first'):6.2f} s", flush=True)
    settings = write_settings(home, end_date=demo.LAST_DAY)
    later = home / "later"
    demo.lay_down_exports(lake_of(settings).engine.local, later, lambda done, total: None)
    for number in range(days + 1):
        multiply(Delivery(demo.SOURCE, demo.HISTORY_ENDS + timedelta(days=number)).folder(later), times)
    deliver(later, home / "exports", demo.HISTORY_ENDS)
    full = timed(home)
    print(f"full ingestion and cleaning, history up to {demo.HISTORY_ENDS}: {full:6.2f} s", flush=True)
    costs = []
    for number in range(1, days + 1):
        day = demo.HISTORY_ENDS + timedelta(days=number)
        deliver(later, home / "exports", day)
        costs.append(timed(home))
        print(f"one more daily export, {day}:                      {costs[-1]:6.2f} s", flush=True)
    ratio = statistics.median(costs) / full
    print(f"one more export costs {ratio:.3f} of the full ingestion (median of {days}); target {TARGET}")
    return int(ratio > TARGET)


def deliver(waiting: Path, exports: Path, day: date) -> None:
    """Let one export land."""
    folder = Delivery(demo.SOURCE, day).folder(exports)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(Delivery(demo.SOURCE, day).folder(waiting), folder)


def timed(home: Path) -> float:
    """Seconds to ingest and clean what has landed, as `crm-assets run` does before it scores."""
    begin = time.perf_counter()
    with open_instance(home) as instance:
        runs = Runs(load_settings(home), instance, lambda doing: None)
        runs.ingest()
        runs.clean()
    return time.perf_counter() - begin


def start(home: Path) -> float:
    """Seconds of everything that a process does once, on a workspace of its own with one order line."""
    write_settings(home, end_date=demo.LAST_DAY)
    folder = home / "exports" / "canonical" / demo.HISTORY_ENDS.isoformat()
    folder.mkdir(parents=True)
    header = "order_id,line_id,customer_id,product_id,ordered_at,quantity,amount"
    (folder / "transactions.csv").write_text(f"{header}\no1,1,c1,p1,{demo.HISTORY_ENDS},1,9.99\n", "utf-8")
    return timed(home)


if __name__ == "__main__":
    sys.exit(main())
