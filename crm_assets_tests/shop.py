"""A small made-up shop: exports with a mapping, as a user would drop them, for tests of the whole chain."""

import random
import shutil
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

from typer.testing import CliRunner, Result

from crm_assets.automation.instance import INSTANCE_FILE, open_instance
from crm_assets.cli import app
from crm_assets.runs import Runs
from crm_assets.settings import load_settings

FIRST_DAY = date(2024, 1, 1)
LAST_DAY = date(2024, 6, 30)
HISTORY_ENDS = date(2024, 6, 25)

MAPPING = """
source: shop
tables:
  customers:
    files: customers.csv
    columns: {customer_id: id, full_name: name, gender: gender, city: city}
  products:
    files: products.csv
    columns: {product_id: sku, product_name: title, category: category, subcategory: kind}
  transactions:
    files: orders*.csv
    columns:
      order_id: order
      line_id: {row_number: [order]}
      customer_id: customer
      product_id: sku
      ordered_at: at
      quantity: quantity
      amount: amount
"""

KINDS = ["tea", "coffee", "bread", "jam", "milk", "rice", "soap", "pens"]


def lay_down(home: Path, customers: int = 80, seed: int = 7) -> None:
    """Write the mapping and the exports: one of history, then one a day."""
    (home / "sources").mkdir(parents=True, exist_ok=True)
    (home / "sources" / "shop.yaml").write_text(MAPPING, "utf-8")
    lines = order_lines(customers, seed)
    header = "order,customer,sku,at,quantity,amount"
    history = [line for line in lines if line[3][:10] <= HISTORY_ENDS.isoformat()]
    write(home, HISTORY_ENDS, "orders.csv", header, history)
    write(home, HISTORY_ENDS, "products.csv", "sku,title,category,kind", products())
    people = [(f"c{n}", f"Customer {n}", "女" if n % 2 else "男", "上海") for n in range(customers)]
    write(home, HISTORY_ENDS, "customers.csv", "id,name,gender,city", people)
    for n in range(1, (LAST_DAY - HISTORY_ENDS).days + 1):
        day = HISTORY_ENDS + timedelta(days=n)
        write(home, day, "orders.csv", header, [line for line in lines if line[3][:10] == day.isoformat()])


def write(home: Path, day: date, name: str, header: str, rows: Sequence[Sequence[object]]) -> Path:
    """Write one file of one export."""
    path = home / "exports" / "shop" / day.isoformat() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", "utf-8")
    return path


def products() -> list[tuple[str, str, str, str]]:
    """Two products of each kind."""
    return [(f"p{n}", f"{kind} {n}", "food" if n < 12 else "home", kind) for n, kind in enumerate(KINDS + KINDS)]


def order_lines(customers: int, seed: int) -> list[tuple[str, str, str, str, int, str]]:
    """Orders of customers with habits of their own, some of whom leave."""
    chance = random.Random(seed)
    lines = []
    for number in range(customers):
        gap = chance.choice([3, 5, 7, 10, 14, 20])
        leaves = FIRST_DAY + timedelta(days=chance.choice([40, 80, 120, 160, 400, 400, 400]))
        day = FIRST_DAY + timedelta(days=chance.randrange(gap))
        while day <= min(LAST_DAY, leaves):
            order = f"o{number}-{day:%m%d}"
            moment = datetime.combine(day, datetime.min.time()) + timedelta(seconds=chance.randrange(86_400))
            for _ in range(chance.randint(1, 4)):
                sku, quantity = f"p{chance.randrange(16)}", chance.randint(1, 3)
                lines.append(
                    (order, f"c{number}", sku, f"{moment:%Y-%m-%d %H:%M:%S}", quantity, f"{quantity * 2.5:.2f}")
                )
            day += timedelta(days=max(1, round(chance.gauss(gap, gap / 4))))
    return sorted(lines, key=lambda line: (line[3], line[0]))


def run_all(home: Path, *days: date) -> None:
    """What `crm-assets run` does, for these days or the newest."""
    with open_instance(home) as instance:
        runs = Runs(load_settings(home), instance, lambda doing: None)
        runs.ingest()
        runs.clean()
        runs.score(days or [runs.newest_day()])


def crm_assets(home: Path, *arguments: str) -> Result:
    """What a person types, in this process."""
    return CliRunner().invoke(app, [*arguments], env={"CRM_HOME": str(home), "COLUMNS": "200"})


def ingest(home: Path) -> list[str]:
    """Ingest what landed, and give the keys of the deliveries."""
    with open_instance(home) as instance:
        return Runs(load_settings(home), instance, lambda doing: None).ingest()


def copy_of(home: Path, to: Path) -> Path:
    """The workspace somewhere else, with an instance and a warehouse of its own."""
    shutil.copytree(home, to, ignore=shutil.ignore_patterns("dagster", "warehouse.duckdb*", ".spill"))
    return to


def copy_with_history(home: Path, to: Path) -> Path:
    """The workspace somewhere else, whose instance knows the runs so far."""
    # The instance's file names its folder, and is written anew.
    shutil.copytree(home, to, ignore=shutil.ignore_patterns(INSTANCE_FILE, "warehouse.duckdb*", ".spill"))
    return to
