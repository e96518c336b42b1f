"""The whole chain on a small shop: from exports to marts, again and again."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import duckdb
import pytest

from crm_assets.automation.instance import open_instance
from crm_assets.definitions import warehouse_of
from crm_assets.runs import DAILY, NothingLandedError, Runs
from crm_assets.settings import load_settings, write_settings
from crm_assets_tests import shop

PAST_DAY = shop.HISTORY_ENDS
MOVED_FROM, MOVED_TO = "2024-06-28", "2024-06-27"
RUN = [sys.executable, "-m", "crm_assets.cli", "run"]
TABLES = (
    "validated.transactions",
    "clean.customers",
    "clean.products",
    "clean.transactions",
    "profile.customer_days",
    "features.customer_features",
    "features.training_features",
    "models.rfm_cuts",
    "marts.customer_segments",
    "marts.customer_dimensions",
    "marts.customer_strata",
    "marts.segment_rules",
    "marts.segment_profiles",
    "marts.segment_overlap",
    "marts.value_curve",
    "quality.segment_stability",
    "quality.segment_migration",
    "marts.churn_scores",
    "marts.customer_value",
    "marts.lifecycle",
    "marts.retention_queue",
    "marts.behaviour_predictions",
    "marts.recommendations",
    "marts.propensity_scores",
    "quality.lifecycle_transitions",
    "marts.cross_sell_rules",
    "marts.sequential_rules",
    "marts.behaviour_sales",
    "marts.behaviour_cohorts",
    "marts.behaviour_repeats",
    "marts.behaviour_gaps",
    "marts.behaviour_revenue_changes",
)


def contents(home: Path) -> dict[str, list[tuple]]:
    """All rows of the tables a user reads, in one order."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        return {table: warehouse.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in TABLES}


def one(home: Path, query: str) -> object:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        return warehouse.execute(query).fetchone()[0]


LOOKING_AHEAD = ("recommendations",)


def digests(home: Path, day: date) -> dict[str, str]:
    """Digest of every file that holds a day's features and marts."""
    files = (home / "lake").glob(f"*/*/as_of={day}/*.parquet")
    # Lists are made for the newest day of a run only.
    kept = [path for path in files if path.parts[-3] not in LOOKING_AHEAD]
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@pytest.fixture(scope="module")
def corrected(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished shop after two exports came again: one with a new amount and a bad row, one a day earlier; read only.

    They are ingested and cleaned, and nothing is scored.
    """
    home = shop.copy_of(finished, tmp_path_factory.mktemp("corrected") / "home")
    newest, moved = (home / "exports" / "shop" / day / "orders.csv" for day in (str(shop.LAST_DAY), MOVED_FROM))
    header, *lines = newest.read_text("utf-8").splitlines()
    order, customer, sku, at, *_ = lines[0].split(",")
    bad = f"broken,{customer},{sku},{at},many,1.00"
    newest.write_text("\n".join([header, f"{order},{customer},{sku},{at},9,99.00", *lines[1:], bad]), "utf-8")
    moved.write_text(moved.read_text("utf-8").replace(MOVED_FROM, MOVED_TO), "utf-8")
    with open_instance(home) as instance:
        runs = Runs(load_settings(home), instance, lambda doing: None)
        runs.ingest()
        runs.clean()
    return home


@pytest.fixture(scope="module")
def rejected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose mapping is wrong in two columns of the order lines, ingested; read only."""
    home = tmp_path_factory.mktemp("rejected")
    shop.lay_down(home, customers=5)
    wrong = shop.MAPPING.replace("quantity: quantity", "quantity: {sql: \"quantity || ' pcs'\"}")
    (home / "sources" / "shop.yaml").write_text(wrong.replace("amount: amount", "amount: amonut"), "utf-8")
    write_settings(home, end_date=shop.LAST_DAY)
    shop.ingest(home)
    return home


def test_every_delivered_line_is_validated_or_in_quarantine(finished: Path) -> None:
    lines = len(shop.order_lines(80, 7))
    assert one(finished, "SELECT count(*) FROM raw.transactions") == lines
    assert one(finished, "SELECT count(*) FROM validated.transactions") == lines
    assert one(finished, "SELECT count(*) FROM quality.quarantine") == 0
    assert one(finished, "SELECT count(*) FROM clean.transactions") == lines


def test_marts_have_a_row_for_each_customer_they_are_about(finished: Path) -> None:
    newest = f"as_of = '{shop.LAST_DAY}'"
    customers = one(finished, "SELECT count(DISTINCT customer_id) FROM clean.transactions")
    assert one(finished, f"SELECT count(*) FROM marts.customer_segments WHERE {newest}") == customers
    assert one(finished, f"SELECT count(*) FROM marts.customer_value WHERE {newest}") == customers
    active = one(
        finished,
        "SELECT count(DISTINCT customer_id) FROM profile.customer_days "
        f"WHERE day > DATE '{shop.LAST_DAY}' - 60 AND orders > 0",
    )
    assert one(finished, f"SELECT count(*) FROM marts.churn_scores WHERE {newest}") == active
    lists = f"SELECT count(*), count(DISTINCT customer_id) FROM marts.recommendations WHERE {newest}"
    with duckdb.connect(str(finished / "warehouse.duckdb"), read_only=True) as warehouse:
        # Sixteen products are on offer, and all eighty customers are on file.
        assert warehouse.execute(lists).fetchone() == (80 * 16, 80)
    assert one(finished, "SELECT count(DISTINCT level) FROM marts.cross_sell_rules") == 2
    assert one(finished, "SELECT count(*) FROM profile.customers_current WHERE gender = 'female'") == 40


def test_a_backfill_of_a_day_equals_the_run_of_that_day(history: Path, finished: Path) -> None:
    then, now = contents(history), contents(finished)
    daily = (
        "customer_segments",
        "churn_scores",
        "lifecycle",
        "customer_value",
        "retention_queue",
        "behaviour_predictions",
    )
    for table in ("features.customer_features", *(f"marts.{name}" for name in daily)):
        rows = [row for row in now[table] if PAST_DAY in row]
        assert rows == then[table], table
        assert rows


@pytest.mark.slow
def test_what_a_kill_left_out_beside_a_model_is_made_by_the_next_run(finished: Path, tmp_path: Path) -> None:
    home = shop.copy_of(finished, tmp_path / "home")
    month = f"month={shop.LAST_DAY.replace(day=1)}"
    beside = [home / "lake" / "models" / "rfm_cuts" / month, home / "lake" / "quality" / "leaderboard_churn" / month]
    segments = home / "lake" / "marts" / "customer_segments" / f"as_of={shop.LAST_DAY}"
    made = [folder / "part.parquet" for folder in (*beside, segments)]
    known = [path.read_bytes() for path in made]
    for folder in beside:
        shutil.rmtree(folder)
    shop.run_all(home)
    assert [path.read_bytes() for path in made] == known


def test_rebuilding_a_day_gives_equal_bytes(finished: Path, history: Path, tmp_path: Path) -> None:
    home = shop.copy_of(finished, tmp_path / "home")
    before = digests(home, PAST_DAY)
    shutil.rmtree(home / "models")
    shop.run_all(home, PAST_DAY)
    # Alone, the day is the newest one and has more made of it.
    assert before.items() <= digests(home, PAST_DAY).items()
    assert len(before) == 9
    # The day was the newest of that run, so it has lists now, as in the run that knew no later day.
    listed = [row for row in contents(home)["marts.recommendations"] if PAST_DAY in row]
    assert listed == contents(history)["marts.recommendations"]
    assert listed


def test_a_range_of_days_gives_the_bytes_of_each_day_alone(finished: Path, tmp_path: Path) -> None:
    home = shop.copy_of(finished, tmp_path / "home")
    days = [date(2024, 6, 26), date(2024, 6, 27)]
    shop.run_all(home, *days, shop.LAST_DAY)
    together = [digests(home, day) for day in days]
    for day in days:
        shop.run_all(home, day)
    assert all(files.items() <= digests(home, day).items() for day, files in zip(days, together, strict=True))
    # The shop has no contracts, so a day's table of them has no file.
    expected = {"/".join(key) for key in DAILY} - {"marts/subscription_churn_scores"}
    for files in together:
        assert {"/".join(Path(file).parts[-4:-2]) for file in files} == expected


def test_a_redelivered_export_changes_nothing(finished: Path, tmp_path: Path) -> None:
    home = shop.copy_of(finished, tmp_path / "home")
    os.utime(home / "exports" / "shop" / shop.LAST_DAY.isoformat() / "orders.csv")
    shop.run_all(home)
    now, before = contents(home), contents(finished)
    assert [table for table in TABLES if now[table] != before[table]] == []


def test_a_corrected_row_replaces_the_old_one_and_a_bad_one_is_named(corrected: Path) -> None:
    path = corrected / "exports" / "shop" / str(shop.LAST_DAY) / "orders.csv"
    order = path.read_text("utf-8").splitlines()[1].split(",")[0]
    assert one(corrected, f"SELECT max(amount) FROM clean.transactions WHERE order_id = '{order}'") == 99
    assert one(corrected, "SELECT reasons FROM quality.quarantine") == ["quantity: 'many' is not a number"]
    delivered = one(corrected, "SELECT count(*) FROM raw.transactions")
    assert delivered == one(corrected, "SELECT count(*) FROM validated.transactions") + 1


def test_a_line_that_a_corrected_export_moved_to_another_day_is_gone_from_the_old_one(
    finished: Path, corrected: Path
) -> None:
    both = f"SELECT count(*) FROM clean.transactions WHERE day IN (DATE '{MOVED_FROM}', DATE '{MOVED_TO}')"
    old = f"SELECT count(*) FROM clean.transactions WHERE day = DATE '{MOVED_FROM}'"
    assert one(corrected, both) == one(finished, both)
    assert one(corrected, old) == 0
    assert one(finished, old) > 0


def test_a_mapping_that_names_a_missing_column_rejects_its_rows_with_the_nearest_name(rejected: Path) -> None:
    reasons = "SELECT DISTINCT array_to_string(reasons, '|') FROM quality.quarantine WHERE table_name = 'transactions'"
    with duckdb.connect(str(rejected / "warehouse.duckdb"), read_only=True) as warehouse:
        found = [text for (text,) in warehouse.execute(reasons).fetchall()]
    assert found
    assert all("no column 'amonut'; did you mean 'amount'" in text for text in found)
    assert one(rejected, "SELECT count(*) FROM validated.transactions") == 0


def test_rows_leave_quarantine_once_the_mapping_is_corrected_though_the_exports_are_gone(
    rejected: Path, tmp_path: Path
) -> None:
    lines = len(shop.order_lines(5, 7))
    in_quarantine = "SELECT count(*) FROM quality.quarantine WHERE table_name = 'transactions'"
    assert one(rejected, in_quarantine) == lines
    shown = shop.crm_assets(rejected, "status").stdout
    assert "quantity is not a number" in shown
    assert f"rows in quarantine: {lines:,}" in shown
    home = shop.copy_with_history(rejected, tmp_path / "home")
    shutil.rmtree(home / "exports")
    (home / "sources" / "shop.yaml").write_text(shop.MAPPING, "utf-8")
    assert len(shop.ingest(home)) == 6
    assert one(home, in_quarantine) == 0
    assert one(home, "SELECT count(*) FROM validated.transactions") == lines
    assert one(home, "SELECT count(*) FROM raw.transactions") == lines
    assert shop.ingest(home) == []


def test_a_day_outside_the_workspace_is_refused(finished: Path) -> None:
    with pytest.raises(NothingLandedError, match="2031-01-01 has no partition"):
        shop.run_all(finished, date(2031, 1, 1))


def test_an_empty_workspace_says_where_exports_go(tmp_path: Path) -> None:
    with pytest.raises(NothingLandedError, match="put exports into"):
        shop.run_all(tmp_path)


def test_customers_without_any_order_give_empty_marts(tmp_path: Path) -> None:
    shop.lay_down(tmp_path, customers=3)
    for path in (tmp_path / "exports" / "shop").glob("*/orders.csv"):
        path.write_text("order,customer,sku,at,quantity,amount\n", "utf-8")
    shop.write(tmp_path, PAST_DAY, "orders.csv", "order,customer,sku,at,quantity,amount", [
        ("o1", "c0", "p1", f"{PAST_DAY} 10:00:00", 1, "2.50")
    ])  # fmt: skip
    write_settings(tmp_path, end_date=shop.LAST_DAY)
    shop.run_all(tmp_path)
    assert one(tmp_path, "SELECT count(*) FROM clean.transactions") == 1
    assert one(tmp_path, "SELECT count(*) FROM marts.churn_scores") == 0
    assert one(tmp_path, "SELECT count(*) FROM marts.customer_value") == 0
    assert one(tmp_path, "SELECT count(*) FROM marts.segment_rules") == 0
    assert one(tmp_path, "SELECT count(*) FROM marts.cross_sell_rules") == 0
    assert one(tmp_path, "SELECT count(*) FROM marts.recommendations") == 0


@pytest.mark.slow
def test_a_run_killed_at_any_point_is_completed_by_the_next(finished: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shop.lay_down(home)
    write_settings(home, end_date=shop.LAST_DAY)
    environment = {**os.environ, "CRM_HOME": str(home)}
    environment.pop("DAGSTER_HOME", None)
    chance = random.Random(20240630)
    for _ in range(5):
        process = subprocess.Popen(RUN, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(1.5, 8))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    shop.run_all(home, PAST_DAY, shop.LAST_DAY)
    now, before = contents(home), contents(finished)
    assert [table for table in TABLES if now[table] != before[table]] == []


@pytest.mark.slow
def test_two_backfills_at_once_succeed_while_the_warehouse_is_read(finished: Path, tmp_path: Path) -> None:
    home = shop.copy_of(finished, tmp_path / "home")
    # Its new instance gets to know the deliveries.
    assert shop.ingest(home) == []
    warehouse_of(load_settings(home)).publish()
    environment = {**os.environ, "CRM_HOME": str(home)}
    environment.pop("DAGSTER_HOME", None)
    backfill = (
        "import sys; from pathlib import Path; from crm_assets.automation.instance import open_instance; "
        "from crm_assets.runs import Planned, Runs; from crm_assets.settings import load_settings; "
        "s = load_settings(Path(sys.argv[1])); i = open_instance(s.home); "
        "Runs(s, i, print).make(Planned('', 'refresh', sys.argv[2], sys.argv[3], [['clean', 'transactions'], "
        "['profile', 'customer_days'], ['features', 'customer_features'], ['marts', 'customer_segments']]))"
    )
    ranges = [("2024-06-10", "2024-06-14"), ("2024-06-17", "2024-06-21")]
    processes = [
        subprocess.Popen([sys.executable, "-c", backfill, str(home), *days], env=environment, stderr=subprocess.PIPE)
        for days in ranges
    ]
    reads = 0
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        while any(process.poll() is None for process in processes):
            assert warehouse.execute("SELECT count(*) FROM clean.transactions").fetchone()[0] > 0
            assert warehouse.execute("SELECT count(*) FROM marts.customer_segments").fetchone()[0] > 0
            reads += 1
            time.sleep(0.05)
    for process in processes:
        assert process.returncode == 0, process.stderr.read().decode()
    assert reads > 10
    days = one(home, "SELECT count(DISTINCT as_of) FROM marts.customer_segments WHERE as_of < '2024-06-25'")
    assert days == 10
