"""Any order of deliveries, corrections and backfills ends in the same files as one tidy ingestion: real runs."""

import hashlib
import os
import shutil
from datetime import date, datetime
from pathlib import Path
from random import Random

import dagster as dg
import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.contracts.canonical import CUSTOMERS, TRANSACTIONS
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.runs import Planned, Runs
from crm_assets.settings import load_settings, write_settings
from crm_assets_tests.mining import worlds
from crm_assets_tests.mining.worlds import DAYS, EXPORTS, Row

MAPPING = """
source: {source}
tables:
  customers:
    files: customers.csv
    {deleted}
    columns: {{customer_id: id, household_size: size}}
  transactions:
    files: orders.csv
    {deleted}
    columns: {{order_id: order, line_id: {{value: "1"}}, product_id: {{value: p}}, ordered_at: at,
              quantity: {{value: "1"}}, amount: amount}}
"""
FULL = {"crm"}
"""The sources whose exports hold everything."""


class Workspace:
    """A workspace on disk, and what the deliveries in it say."""

    def __init__(self, home: Path) -> None:
        self.home, self.delivered, self.clock = home, {}, 0
        write_settings(home, memory_limit="500MB", threads=2, start_date=DAYS[0], end_date=DAYS[-1])
        (home / "sources").mkdir()
        for source in worlds.SOURCES:
            deleted = "deleted: by_absence" if source in FULL else ""
            (home / "sources" / f"{source}.yaml").write_text(MAPPING.format(source=source, deleted=deleted), "utf-8")

    def deliver(self, place: tuple[str, date], rows: tuple[Row, ...] | None) -> None:
        """Write the files of a delivery, or take them away and leave a note in their place."""
        folder = self.home / "exports" / place[0] / place[1].isoformat()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        texts = {"note.txt": "nothing to report\n"}
        if rows is not None:
            orders = [f"{row.key},{datetime.combine(row.day, datetime.min.time())},{row.value}" for row in rows]
            people = [f"{row.key},{row.value}" for row in rows]
            texts = {"orders.csv": "\n".join(["order,at,amount", *orders, ""])}
            texts["customers.csv"] = "\n".join(["id,size", *people, ""])
        for name, text in texts.items():
            (folder / name).write_text(text, "utf-8")
            # Two deliveries in the same instant are told apart by this alone.
            self.clock += 1
            os.utime(folder / name, ns=(self.clock * 10**9, self.clock * 10**9))
        self.delivered[place] = rows or ()

    def run(self, instance: dg.DagsterInstance) -> None:
        runs = Runs(load_settings(self.home), instance, lambda _: None)
        runs.ingest()
        runs.clean()

    def backfill(self, instance: dg.DagsterInstance, day: date) -> None:
        """Ingest what came, and clean one day of it only."""
        runs = Runs(load_settings(self.home), instance, lambda _: None)
        runs.ingest()
        runs.make(Planned("", "clean", day, day, [["clean", "transactions"], ["profile", "customer_days"]]))

    def bytes(self) -> dict[str, str]:
        """Digest of every file of the clean and profile tables that holds rows."""
        lake = lake_of(load_settings(self.home))
        files = [
            *(self.home / "lake" / "clean").rglob("*.parquet"),
            *(self.home / "lake" / "profile").rglob("*.parquet"),
        ]
        full = [path for path in files if lake.engine.scan(str(path), {}).count().to_pyarrow().as_py()]
        return {str(path.relative_to(self.home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in full}

    def rows(self) -> tuple[dict, list]:
        """Order lines by day, and versions of customers, in the form of the model."""
        lake = lake_of(load_settings(self.home))
        days: dict[date, set[tuple[str, int]]] = {}
        for row in lake.read("clean", contract_of("clean", TRANSACTIONS.name)).to_pyarrow().to_pylist():
            days.setdefault(row["day"], set()).add((row["order_id"], int(row["amount"])))
        versions = lake.read("clean", contract_of("clean", CUSTOMERS.name)).to_pyarrow().to_pylist()
        names = ("customer_id", "household_size", "valid_from", "valid_to")
        return days, sorted((row[names[0]], int(row[names[1]]), row[names[2]], row[names[3]]) for row in versions)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
def test_any_order_of_deliveries_ends_in_equal_files(tmp_path_factory, seed) -> None:
    chance = Random(seed)
    mixed = Workspace(tmp_path_factory.mktemp("mixed"))
    with open_instance(mixed.home) as instance:
        for _ in range(2):
            for _ in range(chance.randint(2, 4)):
                mixed.deliver((chance.choice(worlds.SOURCES), chance.choice(EXPORTS)), some_rows(chance))
            if chance.random() < 0.5:
                mixed.run(instance)
            else:
                mixed.backfill(instance, chance.choice(DAYS))
        mixed.run(instance)
    tidy = Workspace(tmp_path_factory.mktemp("tidy"))
    for place in sorted(mixed.delivered, key=lambda place: place[::-1]):
        tidy.deliver(place, mixed.delivered[place])
    with open_instance(tidy.home) as instance:
        tidy.run(instance)
    full = worlds.full_dates(mixed.delivered, FULL)
    assert mixed.rows() == (worlds.truth(mixed.delivered, full), worlds.versions(mixed.delivered, full))
    assert mixed.bytes() == tidy.bytes()
    assert len(tidy.bytes()) > 2


def some_rows(chance: Random) -> tuple[Row, ...] | None:
    """The rows of a delivery, none of an empty file, or None when there is no file."""
    if chance.random() < 0.1:
        return None
    return tuple(
        Row(f"k{chance.randrange(4)}", chance.choice(DAYS), chance.randrange(1, 3)) for _ in range(chance.randint(0, 5))
    )
