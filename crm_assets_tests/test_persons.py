"""Persons through the whole chain: customers who stand in two more sources of a shop."""

import hashlib
import shutil
from datetime import date, timedelta

import pytest

from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.settings import load_settings
from crm_assets_tests import shop

FIRST, BEFORE, MERGED, LAST = shop.HISTORY_ENDS, date(2024, 6, 27), date(2024, 6, 28), shop.LAST_DAY
STARTS, ENDS = date(2024, 5, 15), date(2024, 6, 20)
HISTORY = (ENDS - STARTS).days + 1

MAPPING = """
source: {source}
tables:
  customers: {{files: customers.csv, columns: {{customer_id: id, email: mail}}}}
  transactions:
    files: orders.csv
    columns: {{order_id: order, line_id: order, customer_id: customer, product_id: sku, ordered_at: at,
              quantity: quantity, amount: amount}}
"""

pytestmark = pytest.mark.slow


def deliver(home, source, day, mails, orders=()):
    """One export: e-mail addresses by record, and orders as record and day."""
    (home / "sources" / f"{source}.yaml").write_text(MAPPING.format(source=source), "utf-8")
    folder = home / "exports" / source / day.isoformat()
    folder.mkdir(parents=True)
    if mails:
        rows = [f"{record},{mail}" for record, mail in mails.items()]
        (folder / "customers.csv").write_text("\n".join(["id,mail", *rows]) + "\n", "utf-8")
    lines = [f"{record}-{on},{record},p1,{on} 12:00:00,1,2.50" for record, on in orders]
    (folder / "orders.csv").write_text("\n".join(["order,customer,sku,at,quantity,amount", *lines]) + "\n", "utf-8")


def every_day(record):
    return [(record, STARTS + timedelta(days=n)) for n in range(HISTORY)]


def rows(home, layer, name, day, column):
    """One column of a table of a day, by customer."""
    table = lake_of(load_settings(home)).read(layer, contract_of(layer, name))
    found = table.filter(table.as_of == day).select("customer_id", column).to_pyarrow().to_pylist()
    return {row["customer_id"]: row[column] for row in found}


def frequencies(home, day):
    """Orders of those in the two sources, by customer."""
    found = rows(home, "marts", "customer_segments", day, "frequency")
    return {customer: orders for customer, orders in found.items() if customer[0] in "tw"}


def digests(home, day):
    files = (home / "lake").glob(f"*/*/as_of={day}/*.parquet")
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def copy_of(home, to):
    shutil.copytree(home, to, ignore=shutil.ignore_patterns("dagster", "warehouse.duckdb*", ".spill"))
    return to


@pytest.fixture(scope="module")
def merged(finished, tmp_path_factory):
    """A shop that was run on the day before records became one person, and then on the last day; digests of the first.

    `t2` and `w2` are one from the first export on. `w1` turns out to be `t1` on `MERGED`, and `w3`, who is `t3` and
    ordered before, is first described then.
    """
    home = copy_of(finished, tmp_path_factory.mktemp("persons") / "home")
    shutil.rmtree(home / "models")
    shutil.rmtree(home / "lake" / "features" / "training_features" / "month=2024-06-01")
    mails = {f"t{n}": f"{name}@x.com" for n, name in enumerate(("one", "two", "three"), 1)}
    deliver(home, "till", FIRST, mails, [*every_day("t2"), ("t1", STARTS), ("t1", ENDS), ("t3", ENDS)])
    deliver(home, "web", FIRST, {"w1": "someone@else.com", "w2": "Two@X.com"}, [*every_day("w1"), ("w2", STARTS)])
    deliver(home, "web", date(2024, 6, 26), {}, [("w3", date(2024, 6, 26))])
    shop.run_all(home, BEFORE)
    before = digests(home, BEFORE)
    deliver(home, "web", MERGED, {"w1": "One@x.com", "w3": "three@x.com"})
    shop.run_all(home, LAST)
    return home, before


def test_one_person_in_two_sources_is_one_row_with_all_orders(merged):
    home, _ = merged
    assert frequencies(home, LAST) == {"t1": 2 + HISTORY, "t2": 1 + HISTORY, "t3": 2}
    valued = rows(home, "marts", "customer_value", LAST, "clv")
    assert {name for name in valued if name[0] in "tw"} == {"t1", "t2", "t3"}
    scored = rows(home, "marts", "churn_scores", LAST, "churn_probability")
    assert {name for name in scored if name[0] in "tw"} == {"t1", "t2", "t3"}
    reasons = rows(home, "marts", "recommendations", LAST, "reason")
    assert {name for name in reasons if name[0] in "tw"} == {"t1", "t2", "t3"}


def test_before_the_day_they_were_known_to_be_one_there_are_two(merged):
    home, _ = merged
    assert frequencies(home, BEFORE) == {"t1": 2, "w1": HISTORY, "t2": 1 + HISTORY, "t3": 1, "w3": 1}
    assert {"t1", "w1", "t3", "w3"} <= set(rows(home, "marts", "churn_scores", BEFORE, "churn_probability"))


def test_models_learn_from_persons(merged):
    home, _ = merged
    learned = rows(home, "features", "training_features", date(2024, 5, 31), "orders")
    days = (date(2024, 5, 31) - STARTS).days + 1
    assert {name: orders for name, orders in learned.items() if name[0] in "tw" and orders} == {
        "t1": 1, "w1": days, "t2": 1 + days,
    }  # fmt: skip
    lake = lake_of(load_settings(home))
    cuts = lake.read("models", contract_of("models", "rfm_cuts"))
    counted = cuts.filter(cuts.month == date(2024, 6, 1), cuts.measure == "frequency").customers.sum()
    assert counted.to_pyarrow().as_py() == sum(1 for orders in learned.values() if orders)


def test_a_later_merge_changes_no_past_day(merged, tmp_path):
    home, before = merged
    assert len(before) >= 13
    assert digests(home, BEFORE) == before
    again, last = copy_of(home, tmp_path / "again"), digests(home, LAST)
    # Days on both sides of the merge at once give what each gave alone.
    shop.run_all(again, BEFORE, MERGED, LAST)
    assert digests(again, BEFORE) == before
    assert digests(again, LAST) == last


def test_a_decision_splits_a_person_from_its_day_on(merged, tmp_path):
    home = copy_of(merged[0], tmp_path / "split")
    decision = f"customer_id_a,customer_id_b,decision,decided_on\nt1,w1,never,{LAST}\n"
    (home / "identity_pairs.csv").write_text(decision, "utf-8")
    shop.run_all(home, MERGED, LAST)
    assert frequencies(home, MERGED) == {"t1": 2 + HISTORY, "t2": 1 + HISTORY, "t3": 2}
    assert frequencies(home, LAST) == {"t1": 2, "w1": HISTORY, "t2": 1 + HISTORY, "t3": 2}
