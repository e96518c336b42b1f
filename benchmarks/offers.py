"""Rules, offers and recommendations for many customers, giant baskets included: time and peak memory of each.

Belongs here: a clean lake of many customers, and timing what is offered to them. Not here: the whole chain (`scale.py`).

The workspace is Complete Journey's, ingested and cleaned by the pipeline. Then its clean order lines give way to those of
many customers, each a household of it with a tenth of its baskets, all of them whole, of its best-selling products only;
and to some hundred orders of thousands of products, as resellers place them. Steps are timed by what Dagster recorded,
memory is what is resident. The process that is measured makes the customers' days, trains the recommender, and makes
rules, sequences, offers, steps up and lists.

    python benchmarks/offers.py [--customers N] [--products N] [--memory-limit LIMIT] [--home FOLDER]

A million customers want 20 GB of disk and half an hour.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import ibis
from scale import measured

from crm_assets import demo
from crm_assets.automation.instance import open_instance
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.lake.layout import Lake
from crm_assets.partitions import month_of
from crm_assets.runs import MODELS, Planned, Runs
from crm_assets.settings import load_settings, write_settings

SHARE = 0.155
"""Of a household's baskets that each customer has: about a hundred order lines."""

GIANT_BASKETS = 100
GIANT_ITEMS = 5_000
GIANT_DAY = 40
"""Their day, from the end: within the history of rules, before the baskets they are held against."""

PARTS = 1_000_000
MOST_SECONDS, MOST_BYTES = 20 * 60, 12e9
MADE = ("cross_sell_rules", "sequential_rules", "cross_sell_offers", "up_sell_offers")


def main() -> None:
    """Make the lake, then what is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--products", type=int, default=20_000, help="the best-selling ones")
    parser.add_argument("--memory-limit", default="5GB", help="the engine's limit")
    parser.add_argument("--home", type=Path, help="an empty folder for the workspace (default: a temporary one)")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.home)
        return
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        lines = lay_down(home, arguments.customers, arguments.products, arguments.memory_limit)
        print(f"running {lines:,} order lines ...", file=sys.stderr, flush=True)
        took = measured(home, __file__, "--home", str(home), "--make")
        rows = {name: count(home, "marts", name) for name in (*MADE, "recommendations")}
    print("| step | time | peak memory | rows |\n|---|---|---|---|")
    for step, seconds in sorted(took.steps.items(), key=lambda step: -step[1]):
        made = rows.get(step.removeprefix("marts__"))
        told = f"{made:,}" if made is not None else ""
        print(f"| {step} | {seconds:,.1f} s | {took.peaks.get(step, 0) / 1e9:.2f} GB | {told} |")
    print(f"| **all** | **{took.wall:,.0f} s** | **{took.peak / 1e9:.2f} GB** | |")
    print(
        f"\n{lines:,} order lines of {arguments.customers:,} customers and {arguments.products:,} products, "
        f"{GIANT_BASKETS} baskets of {GIANT_ITEMS:,} items among them; memory_limit {arguments.memory_limit}. "
        f"Aimed at: {MOST_SECONDS // 60} minutes and {MOST_BYTES / 1e9:.0f} GB."
    )
    sys.exit(int(took.wall > MOST_SECONDS or took.peak > MOST_BYTES))


def lay_down(home: Path, customers: int, products: int, memory_limit: str) -> int:
    """A workspace that has clean order lines of so many customers; their number."""
    home.mkdir(parents=True, exist_ok=True)
    print("ingesting and cleaning Complete Journey ...", file=sys.stderr, flush=True)
    write_settings(home, end_date=demo.LAST_DAY, memory_limit=memory_limit, processes=1)
    settings = load_settings(home)
    demo.lay_down_exports(lake_of(settings).engine.local, settings.exports, lambda done, total: None)
    with open_instance(home) as instance:
        runs = Runs(settings, instance, lambda doing: None)
        runs.ingest()
        runs.clean()
        settings = runs.settings
    print(f"making {customers:,} customers ...", file=sys.stderr, flush=True)
    return multiply(lake_of(settings), customers, products)


def multiply(lake: Lake, customers: int, products: int) -> int:
    """Put so many customers in the place of the households; the number of order lines."""
    contracts = {name: contract_of("clean", name) for name in ("transactions", "customers")}
    with lake.engine.holding() as hold:
        lines, people = (hold(lake.read("clean", contract)) for contract in contracts.values())
        households = people.select("customer_id").distinct().order_by("customer_id")
        numbers = hold(households.mutate(number=ibis.row_number().over(order_by="customer_id")))
        total = numbers.count().to_pyarrow().as_py()
        copies = ibis.range(-(-customers // total)).unnest().name("copy").as_table()
        made = numbers.cross_join(copies).mutate(own=ibis._.copy * total + ibis._.number)
        made = hold(made.filter(made.own < customers))
        best = lines.group_by("product_id").agg(sold=lines.count())
        best = hold(best.order_by(best.sold.desc(), "product_id").limit(products).select("product_id"))
        lake.write("clean", contracts["customers"], of_copies(people, made), [()])
        kept = hold(lines.semi_join(best, "product_id"))
        days = kept.select("day").distinct().order_by("day").to_pyarrow()["day"].to_pylist()
        written = 0
        for day in days:
            own = of_copies(kept.filter(kept.day == day), made)
            own = own.filter((own.order_id + own.customer_id).hash().abs() % PARTS < round(SHARE * PARTS))
            own = own.mutate(order_id=own.order_id + "-" + own.customer_id)
            if day == days[-GIANT_DAY]:
                own = own.union(giants(own, hold(best)))
            written += lake.write("clean", contracts["transactions"], own, [(day.isoformat(),)]).rows
    return written


def of_copies(rows, made):
    """Rows of households, once for each customer that is made of one."""
    joined = rows.join(made, "customer_id")
    return joined.mutate(customer_id=joined.own.cast("string")).select(*rows.columns)


def giants(lines, products):
    """Orders of thousands of products, one line each, like other lines of the day."""
    like = lines.limit(1)
    some = products.order_by("product_id").limit(GIANT_ITEMS)
    baskets = ibis.range(GIANT_BASKETS).unnest().name("basket").as_table()
    made = like.drop("product_id").cross_join(some).cross_join(baskets)
    reseller = ibis.literal("reseller-") + made.basket.cast("string")
    return made.mutate(order_id=reseller, customer_id=reseller, line_id=made.product_id).select(*lines.columns)


def make(home: Path) -> None:
    """What is measured."""
    with open_instance(home) as instance:
        runs = Runs(load_settings(home), instance, lambda doing: None)
        settings, newest = runs.settings, demo.LAST_DAY
        runs.make(Planned("", "clean", settings.start_date, newest, [("profile", "customer_days")]))
        month = month_of(newest)
        runs.make(Planned("", "train", month, month, [("models", "recommender"), *MODELS["recommender"]]))
        marts = [*(("marts", name) for name in (*MADE, "recommendations")), ("quality", "leaderboard_up_sell")]
        runs.make(Planned("", "score", newest, newest, marts))


def count(home: Path, layer: str, name: str) -> int:
    """Rows of a table."""
    return lake_of(load_settings(home)).read(layer, contract_of(layer, name)).count().to_pyarrow().as_py()


if __name__ == "__main__":
    main()
