"""Fixtures that tests of several folders share."""

import fcntl
import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crm_assets.lake.duckdb_engine import DuckDBEngine
from crm_assets.lake.layout import Lake
from crm_assets.lake.warehouse import Warehouse
from crm_assets.settings import write_settings
from crm_assets_tests import shop

# Definitions and queries are many small objects that live long: looking through them all often costs a tenth of a run.
gc.set_threshold(100_000, 50, 100)

# Starting a second process takes longer than a small workspace's runs; those who test it say so.
os.environ["CRM_PROCESSES"] = "1"

CRM_MAPPING = """
source: crm
tables:
  customers:
    files: customers*.csv
    columns: {customer_id: id, full_name: name, city: city}
  transactions:
    files: orders*.csv
    columns: {order_id: order, line_id: line, customer_id: customer, product_id: product, ordered_at: at,
              quantity: quantity, amount: amount}
"""


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """One small engine for all tests, as a process has one."""
    return DuckDBEngine("500MB", 2, str(tmp_path_factory.mktemp("spill")))


@pytest.fixture
def lake(engine, tmp_path):
    return Lake(tmp_path / "lake", engine)


@pytest.fixture
def warehouse(lake, tmp_path):
    return Warehouse(tmp_path / "warehouse.duckdb", lake)


@pytest.fixture
def workspace(tmp_path):
    """Settings of a workspace with the mapping of a source `crm` and two of its exports."""
    settings = write_settings(tmp_path / "workspace", memory_limit="500MB", threads=2)
    settings.sources.mkdir()
    (settings.sources / "crm.yaml").write_text(CRM_MAPPING, "utf-8")
    for day, order in (("2024-03-01", "o1"), ("2024-03-02", "o2")):
        folder = settings.exports / "crm" / day
        folder.mkdir(parents=True)
        (folder / "customers.csv").write_text("id,name,city\nc1,Ann,Leeds\n", "utf-8")
        (folder / "orders.csv").write_text(
            f"order,line,customer,product,at,quantity,amount\n{order},1,c1,p1,{day} 10:00:00,1,9.99\n", "utf-8"
        )
    return settings


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small shop with every export ingested, scored as of the historical export's day and the newest; read only."""

    def make(home: Path) -> None:
        shop.lay_down(home)
        write_settings(home, end_date=shop.LAST_DAY)
        shop.run_all(home, shop.HISTORY_ENDS, shop.LAST_DAY)

    return made_once(tmp_path_factory, "finished", make)


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop that saw the historical export only, run as of its day by the command line; read only.

    What the command printed is in `printed.txt`.
    """

    def make(home: Path) -> None:
        shop.lay_down(home)
        for day in (home / "exports" / "shop").iterdir():
            if day.name > shop.HISTORY_ENDS.isoformat():
                shutil.rmtree(day)
        write_settings(home, end_date=shop.LAST_DAY)
        result = shop.crm_assets(home, "run", "--as-of", str(shop.HISTORY_ENDS))
        assert result.exit_code == 0, result.stderr
        (home / "printed.txt").write_text(result.stdout, "utf-8")

    return made_once(tmp_path_factory, "history", make)


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that `make` filled, the same one for every process that runs a part of the tests."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    home, made = base / name, base / f".{name}.made"
    with (base / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            make(home)
            made.touch()
    return home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first, so that processes that share the files end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
