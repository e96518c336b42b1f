"""Complete Journey at any size, as the exports a larger grocer's CRM would deliver.

Belongs here: making exports from the real ones of the demonstration. Not here: measuring what the pipeline makes of them
(`scale.py`).

Each customer made is a household of Complete Journey with a share of its baskets, all of them whole, so that what is
bought together stays so. Its history is moved by up to seven days, one that would leave the year comes in again at its
other end; each basket's prices are off by up to a tenth. Baskets are drawn by a hash, so the same numbers give the same
files. With 100 lines a customer, as the default is, 100 million lines are a million customers of ten or eleven baskets.
The catalogue and the campaigns stay as they are; each customer is contacted as the household was.

    python benchmarks/scaled_exports.py --lines N [--customers N] [--days N] HOME
"""

import argparse
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import duckdb

from crm_assets import demo
from crm_assets.definitions import lake_of
from crm_assets.settings import load_settings
from crm_assets.sources.deliveries import Delivery

SOURCE = "complete_journey_scaled"
LINES_A_CUSTOMER = 100
LINES_A_FILE = 4_000_000
MOVED_DAYS = 7
FIRST_DAY, LAST_DAY = "2017-01-01", "2017-12-31"
OWN_IDS = {"household_id": 10_000, "basket_id": 10**12}
"""What a copy of a household has of its own, with the distance from one copy's ids to the next's."""


def main() -> None:
    """Make the exports of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path, help="the workspace")
    parser.add_argument("--lines", type=int, default=10_000_000, help="order lines, about")
    parser.add_argument("--customers", type=int, help=f"customers (default: one for each {LINES_A_CUSTOMER} lines)")
    parser.add_argument("--days", type=int, default=3, help="daily exports after the historical one")
    arguments = parser.parse_args()
    started = time.perf_counter()
    customers = arguments.customers or max(1, arguments.lines // LINES_A_CUSTOMER)
    made = scaled_exports(arguments.home, arguments.lines, customers, arguments.days)
    print(f"{made:,} order lines of {customers:,} customers in {time.perf_counter() - started:.0f} s")


def scaled_exports(home: Path, lines: int, customers: int, days: int) -> int:
    """Write the historical export and the daily ones after it, with their mapping.

    Args:
        home: The workspace.
        lines: Order lines in the year, about; no more than each customer having a whole household's.
        customers: Customers to make.
        days: Daily exports after the historical one.

    Returns:
        Order lines written.
    """
    home.mkdir(parents=True, exist_ok=True)
    exports = load_settings(home).exports
    _write_mapping(home)
    with tempfile.TemporaryDirectory(dir=home) as temporary, duckdb.connect() as connection:
        real = Path(temporary)
        demo.lay_down_exports(lake_of(load_settings(home)).engine.local, real, lambda done, total: None)
        connection.sql("SET preserve_insertion_order = false; SET memory_limit = '4GB'")
        connection.sql(f"SET temp_directory = '{temporary}/spill'")
        _read(connection, real / demo.SOURCE)
        return _write(connection, exports, lines, customers, days)


def _write_mapping(home: Path) -> None:
    bundled = Path(demo.__file__).with_name("sources") / f"{demo.SOURCE}.yaml"
    own = bundled.read_text("utf-8").replace(f"source: {demo.SOURCE}", f"source: {SOURCE}")
    path = home / "sources" / f"{SOURCE}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(own.replace("files: order_lines.csv", 'files: "order_lines-*.csv"'), "utf-8")


def _read(connection: duckdb.DuckDBPyConnection, real: Path) -> None:
    """The real tables, the households numbered."""
    for name in ("customers", "products", "order_lines", "campaigns", "campaign_contacts"):
        connection.sql(
            f"CREATE TABLE {name} AS FROM read_csv('{real}/*/{name}.csv', union_by_name = true, all_varchar = true)"
        )
    connection.sql(f"DELETE FROM order_lines WHERE sold_at::DATE > DATE '{LAST_DAY}'")
    connection.sql(
        "CREATE TABLE households AS SELECT household_id, row_number() OVER (ORDER BY household_id) - 1 AS number FROM (SELECT DISTINCT household_id FROM customers)"
    )
    connection.sql(
        "CREATE TABLE baskets AS SELECT basket_id, household_id, min(sold_at::TIMESTAMP) AS sold_at FROM order_lines GROUP BY ALL"
    )


def _write(connection: duckdb.DuckDBPyConnection, exports: Path, lines: int, customers: int, days: int) -> int:
    (households,) = connection.sql("SELECT count(*) FROM households").fetchone() or (0,)
    (real_lines,) = connection.sql("SELECT count(*) FROM order_lines").fetchone() or (0,)
    copies = -(-customers // households)
    kept = lines / (real_lines * customers / households)
    if kept > 1:
        sys.exit(f"{customers:,} customers have at most {real_lines * customers // households:,} lines: name more")
    # The customers of a copy are numbered on from those before it; the last copy may be of some households only.
    made = f"""
        SELECT household_id, copy, copy * {households} + number AS customer,
               (hash(household_id, copy) % {2 * MOVED_DAYS + 1})::INT - {MOVED_DAYS} AS moved
        FROM households, range({{first}}, {{after}}) AS copies(copy) WHERE copy * {households} + number < {customers}
    """
    ends = demo.HISTORY_ENDS
    folders = {day: _folder(exports, day) for day in (ends + timedelta(days=n) for n in range(days + 1))}
    _write_dimensions(connection, folders, made.format(first=0, after=copies))
    a_file = max(1, int(LINES_A_FILE * copies // lines))
    written = 0
    for number, first in enumerate(range(0, copies, a_file)):
        connection.sql(
            "CREATE OR REPLACE TEMP TABLE made AS " + made.format(first=first, after=min(copies, first + a_file))
        )
        connection.sql(f"CREATE OR REPLACE TEMP TABLE scaled AS {_ROWS.format(kept=round(kept * 1e6))}")
        for day, folder in folders.items():
            since = f"sold_at < DATE '{ends}' + 1" if day == ends else f"sold_at::DATE = DATE '{day}'"
            rows = connection.sql(f"SELECT * FROM scaled WHERE {since} ORDER BY sold_at, basket_id, line_number::INT")
            path = folder / f"order_lines-{number:03}.csv"
            rows.write_csv(path.as_posix(), header=True)
            written += connection.sql(f"SELECT count(*) FROM scaled WHERE {since}").fetchone()[0]
    for folder in folders.values():
        folder.replace(folder.with_name(folder.name.strip(".").removesuffix(".part")))
    return written


_ROWS = f"""
    WITH drawn AS (
        SELECT basket_id, household_id, copy, customer, baskets.sold_at + to_days(moved) AS moment,
               0.9 + hash(basket_id, copy, 1) % 2001 / 10000 AS price
        FROM baskets JOIN made USING (household_id) WHERE hash(basket_id, copy) % 1000000 < {{kept}}
    ), dated AS (
        SELECT * REPLACE (
            CASE WHEN moment < DATE '{FIRST_DAY}' THEN moment + to_days(365) WHEN moment >= DATE '{LAST_DAY}' + 1
                 THEN moment - to_days(365) ELSE moment END AS moment)
        FROM drawn
    )
    SELECT basket_id || lpad(copy::VARCHAR, 4, '0') AS basket_id, line_number, product_id,
           customer::VARCHAR AS household_id, store_id, moment AS sold_at, quantity,
           round(sales_value::DOUBLE * price, 2) AS sales_value, round(retail_disc::DOUBLE * price, 2) AS retail_disc,
           coupon_disc, coupon_match_disc, display_location, mailer_location
    FROM order_lines JOIN dated USING (basket_id, household_id)
"""


def _folder(exports: Path, day) -> Path:
    """An export's folder under a name that nobody reads before it is whole."""
    final = Delivery(SOURCE, day).folder(exports)
    part = final.with_name(f".{final.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    return part


def _write_dimensions(connection: duckdb.DuckDBPyConnection, folders, made: str) -> None:
    first = next(iter(folders.values()))
    copied = f"SELECT rows.* REPLACE (customer::VARCHAR AS household_id) FROM {{table}} AS rows JOIN ({made}) USING (household_id)"
    newest = "(FROM customers QUALIFY row_number() OVER (PARTITION BY household_id) = 1)"
    connection.sql(copied.format(table=newest)).write_csv((first / "customers.csv").as_posix())
    connection.sql("FROM products").write_csv((first / "products.csv").as_posix())
    connection.sql("FROM campaigns QUALIFY row_number() OVER (PARTITION BY campaign_id) = 1").write_csv(
        (first / "campaigns.csv").as_posix()
    )
    # A contact of the history is as known at its end; the answers of later days come with their exports.
    ends = demo.HISTORY_ENDS
    contacts = f"(SELECT campaign_id, household_id, contacted_on, min(first_redeemed_on) AS first_redeemed_on FROM campaign_contacts GROUP BY ALL HAVING contacted_on <= '{ends}')"
    known = contacts.replace("min(first_redeemed_on)", f"min(first_redeemed_on) FILTER (first_redeemed_on <= '{ends}')")
    connection.sql(copied.format(table=known)).write_csv((first / "campaign_contacts.csv").as_posix())


def multiply(folder: Path, times: int) -> None:
    """Have each household of an export of the demonstration several times, with ids and orders of its own."""
    for path in folder.glob("*.csv"):
        with duckdb.connect() as connection:
            rows = connection.read_csv(path.as_posix(), all_varchar=True)
            own = [name for name in rows.columns if name in OWN_IDS]
            if own and times > 1:
                named = ", ".join(f"({name}::bigint + copy * {OWN_IDS[name]})::varchar AS {name}" for name in own)
                copies = connection.sql(f"SELECT * REPLACE ({named}) FROM rows, range({times}) AS copies(copy)")
                copies.project("* EXCLUDE (copy)").write_csv((made := path.with_suffix(".part")).as_posix())
                made.replace(path)


if __name__ == "__main__":
    main()
