"""Persons through the whole chain: a shop whose customers also stand in a second source."""

import hashlib
import shutil
from datetime import date, timedelta

import pytest

from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.settings import load_settings, write_settings
from crm_assets_tests import shop

FIRST, BEFORE, MERGED, LAST = shop.HISTORY_ENDS, date(2024, 6, 27), date(2024, 6, 28), shop.LAST_DAY

WEB = """
source: web
tables:
  customers: {files: customers.csv, columns: {customer_id: id, email: mail}}
  transactions:
    files: orders.csv
    columns: {order_id: order, line_id: order, customer_id: customer, product_id: sku, ordered_at: at,
              quantity: quantity, amount: amount}
"""

pytestmark = pytest.mark.slow


def web(home, day, name, header, *rows):
    folder = home / "exports" / "web" / day.isoformat()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n", "utf-8")


def web_order(number, customer, day):
    return f"web{number}", customer, "p1", f"{day} 12:00:00", 1, "2.50"


def lay_down(home, until=LAST):
    """The shop; `w1` of the web shop turns out to be `c1` on `MERGED`, and `w2`, who is `c2`, is first named then."""
    shop.lay_down(home)
    mapping = home / "sources" / "shop.yaml"
    mapping.write_text(mapping.read_text("utf-8").replace("city: city}", "city: city, email: mail}"), "utf-8")
    (home / "sources" / "web.yaml").write_text(WEB, "utf-8")
    people = [(f"c{n}", f"Customer {n}", "女" if n % 2 else "男", "上海", f"c{n}@x.com") for n in range(80)]
    shop.write(home, FIRST, "customers.csv", "id,name,gender,city,mail", people)
    header = "order,customer,sku,at,quantity,amount"
    first = [web_order(n, "w1", shop.FIRST_DAY + timedelta(days=9 * n)) for n in range(19)]
    web(home, FIRST, "customers.csv", "id,mail", ("w1", "someone@else.com"))
    web(home, FIRST, "orders.csv", header, *first)
    web(home, date(2024, 6, 26), "orders.csv", header, web_order(100, "w2", date(2024, 6, 26)))
    web(home, MERGED, "customers.csv", "id,mail", ("w1", "C1@x.com"), ("w2", "c2@x.com"))
    for folder in (home / "exports").glob("*/*"):
        if folder.name > until.isoformat():
            shutil.rmtree(folder)
    write_settings(home, end_date=LAST, memory_limit="500MB", threads=2)
    return home


def rows(home, mart, day, column):
    """One column of a mart by customer, on a day."""
    table = lake_of(load_settings(home)).read("marts", contract_of("marts", mart))
    found = table.filter(table.as_of == day).select("customer_id", column).to_pyarrow().to_pylist()
    return {row["customer_id"]: row[column] for row in found}


def orders(home, day, *customers):
    """Orders by a day, counted off the exports' lines."""
    shops = {line[0] for line in shop.order_lines(80, 7) if line[1] in customers and line[3][:10] <= day.isoformat()}
    table = lake_of(load_settings(home)).read("clean", contract_of("clean", "transactions"))
    webs = table.filter(table.customer_id.isin([name for name in customers if name[0] == "w"]), table.day <= day)
    return len(shops) + webs.count().to_pyarrow().as_py()


def digests(home, day):
    files = (home / "lake").glob(f"*/*/as_of={day}/*.parquet")
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    """The shop, run on the day before the merge and then on the last day; and the digests of the first run."""
    home = lay_down(tmp_path_factory.mktemp("persons"), until=BEFORE)
    shop.run_all(home, BEFORE)
    before = digests(home, BEFORE)
    lay_down(home)
    shop.run_all(home, LAST)
    return home, before


def test_one_person_in_two_sources_is_one_row_with_all_orders(merged):
    home, _ = merged
    frequency = rows(home, "customer_segments", LAST, "frequency")
    assert not {"w1", "w2"} & set(frequency)
    assert frequency["c1"] == orders(home, LAST, "c1", "w1")
    assert frequency["c2"] == orders(home, LAST, "c2", "w2") == orders(home, LAST, "c2") + 1
    scored = rows(home, "churn_scores", LAST, "churn_probability")
    assert "c1" in scored
    assert not {"w1", "w2"} & set(scored)


def test_before_the_day_they_were_known_to_be_one_there_are_two(merged):
    home, _ = merged
    frequency = rows(home, "customer_segments", BEFORE, "frequency")
    assert (frequency["c1"], frequency["w1"]) == (orders(home, BEFORE, "c1"), orders(home, BEFORE, "w1"))
    assert (frequency["c2"], frequency["w2"]) == (orders(home, BEFORE, "c2"), 1)
    assert {"c1", "w1", "w2"} <= set(rows(home, "churn_scores", BEFORE, "churn_probability"))


def test_a_later_merge_changes_no_past_day(merged, tmp_path):
    home, before = merged
    assert len(before) == 3
    assert digests(home, BEFORE) == before
    again = tmp_path / "again"
    shutil.copytree(home, again, ignore=shutil.ignore_patterns("dagster", "warehouse.duckdb*", ".spill"))
    shutil.rmtree(again / "models")
    last = digests(again, LAST)
    # Days on both sides of the merge at once give what each gave alone.
    shop.run_all(again, BEFORE, MERGED, LAST)
    assert digests(again, BEFORE) == before
    assert digests(again, LAST) == last


def test_a_decision_splits_a_person_from_its_day_on(merged, tmp_path):
    home = tmp_path / "split"
    shutil.copytree(merged[0], home, ignore=shutil.ignore_patterns("dagster", "warehouse.duckdb*", ".spill"))
    decision = f"customer_id_a,customer_id_b,decision,decided_on\nc1,w1,never,{LAST}\n"
    (home / "identity_pairs.csv").write_text(decision, "utf-8")
    shop.run_all(home, MERGED, LAST)
    assert rows(home, "customer_segments", MERGED, "frequency")["c1"] == orders(home, MERGED, "c1", "w1")
    frequency = rows(home, "customer_segments", LAST, "frequency")
    assert (frequency["c1"], frequency["w1"]) == (orders(home, LAST, "c1"), orders(home, LAST, "w1"))
    assert frequency["c2"] == orders(home, LAST, "c2", "w2")
