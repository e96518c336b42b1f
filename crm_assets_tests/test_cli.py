"""The command line on a small shop: what people type, and what they see."""

import json
import re
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from crm_assets.automation.instance import open_instance
from crm_assets.definitions import build_defs, warehouse_of
from crm_assets.partitions import range_tags
from crm_assets.settings import load_settings
from crm_assets.status import print_summary
from crm_assets_tests import shop
from crm_assets_tests.shop import crm_assets

COUNT = "SELECT count(*) AS lines, sum(amount)::DOUBLE AS sales FROM clean.transactions"


@pytest.fixture(scope="module")
def totals() -> tuple[int, float]:
    lines = shop.order_lines(80, 7)
    return len(lines), sum(float(line[-1]) for line in lines)


def test_sql_prints_csv_with_a_header_and_nothing_else(finished: Path, totals: tuple[int, float]) -> None:
    result = crm_assets(finished, "sql", COUNT, "--format", "csv")
    assert result.exit_code == 0
    assert result.stdout == f"lines,sales\n{totals[0]},{totals[1]}\n"


def test_sql_prints_json(finished: Path, totals: tuple[int, float]) -> None:
    result = crm_assets(finished, "sql", COUNT, "--format", "json")
    assert json.loads(result.stdout) == [{"lines": totals[0], "sales": totals[1]}]


def test_sql_prints_a_table_with_chinese_text(finished: Path) -> None:
    result = crm_assets(finished, "sql", "SELECT city FROM clean.customers LIMIT 1")
    assert "上海" in result.stdout


def test_a_wrong_query_is_an_error_with_the_engines_words(finished: Path) -> None:
    result = crm_assets(finished, "sql", "SELECT * FROM marts.chrun_scores")
    assert result.exit_code == 1
    assert "churn_scores" in result.stderr
    assert result.stdout == ""


def test_the_warehouse_cannot_be_written(finished: Path) -> None:
    result = crm_assets(finished, "sql", "CREATE TABLE marts.mine AS SELECT 1")
    assert result.exit_code == 1
    assert "read-only" in result.stderr


def test_sql_without_a_workspace_says_what_to_do(tmp_path: Path) -> None:
    result = crm_assets(tmp_path, "sql", "SELECT 1")
    assert result.exit_code == 1
    assert "crm-assets demo" in " ".join(result.stderr.split())


def test_status_shows_deliveries_partitions_and_the_newest_day(finished: Path) -> None:
    result = crm_assets(finished, "status")
    assert result.exit_code == 0, result.stderr
    for words in ("6 ingested", "marts.churn_scores", f"newest as-of day with scores: {shop.LAST_DAY}", "checks:"):
        assert words in result.stdout


def test_status_tells_checks_that_a_stopped_run_left(finished: Path, tmp_path: Path) -> None:
    home = shop.copy_with_history(finished, tmp_path / "home")
    warehouse_of(load_settings(home)).publish()
    evaluated = int(re.search(r"checks: (\d+) evaluated, ", crm_assets(home, "status").stdout)[1])
    with open_instance(home) as instance:
        job = build_defs(load_settings(home)).resolve_job_def("score")
        planned = instance.create_run_for_job(job, tags=range_tags(str(shop.LAST_DAY), str(shop.LAST_DAY)))
        checks = len(planned.asset_check_selection or job.asset_layer.asset_graph.asset_check_keys)
    assert checks > 30
    assert f"checks: {evaluated - checks} evaluated, {checks} not, as a run was stopped" in (
        crm_assets(home, "status").stdout
    )


def test_status_names_folders_that_no_source_explains(tmp_path: Path) -> None:
    shop.lay_down(tmp_path, customers=2)
    (tmp_path / "exports" / "shop" / "yesterday").mkdir()
    (tmp_path / "exports" / "no_such_crm").mkdir()
    result = crm_assets(tmp_path, "status")
    assert "no source or date explains no_such_crm" in result.stdout
    assert "no source or date explains shop/yesterday" in result.stdout
    assert "6 waiting" in result.stdout


def test_run_prints_what_it_left(history: Path) -> None:
    printed = (history / "printed.txt").read_text("utf-8")
    assert f"as of {shop.HISTORY_ENDS}" in printed
    assert "sales" in printed
    lines = [line for line in shop.order_lines(80, 7) if line[3][:10] <= shop.HISTORY_ENDS.isoformat()]
    with duckdb.connect(str(history / "warehouse.duckdb"), read_only=True) as warehouse:
        assert warehouse.execute("SELECT count(*) FROM validated.transactions").fetchone() == (len(lines),)
        assert warehouse.execute("SELECT count(DISTINCT as_of) FROM marts.customer_segments").fetchone() == (1,)


def test_run_as_of_a_day_before_the_newest_makes_that_day(history: Path, tmp_path: Path) -> None:
    home = shop.copy_of(history, tmp_path / "home")
    result = crm_assets(home, "run", "--as-of", "2024-06-20")
    assert result.exit_code == 0, result.stderr
    assert "as of 2024-06-20" in result.stdout
    days = "SELECT DISTINCT as_of::VARCHAR FROM marts.customer_segments ORDER BY 1"
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as warehouse:
        assert warehouse.execute(days).fetchall() == [("2024-06-20",), (str(shop.HISTORY_ENDS),)]


def test_run_without_exports_says_where_they_go(tmp_path: Path) -> None:
    result = crm_assets(tmp_path, "run", "--as-of", "2024-06-20")
    assert result.exit_code == 1
    assert f"put exports into {tmp_path}/exports/<source>/<YYYY-MM-DD>/" in result.stderr


def test_an_unknown_setting_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "crm.toml").write_text("sedd = 3\n")
    result = crm_assets(tmp_path, "status")
    assert result.exit_code == 1
    assert "sedd" in result.stderr


def test_a_source_is_sketched_checked_and_listed(tmp_path: Path) -> None:
    export = tmp_path / "export" / "customers.csv"
    export.parent.mkdir()
    export.write_text("客户编号,姓名,城市\n1,王芳,上海\n", "utf-8")
    mapping = tmp_path / "sources" / "shop.yaml"
    assert crm_assets(tmp_path, "sources", "sketch", str(export), "-o", str(mapping)).exit_code == 0
    checked = crm_assets(tmp_path, "sources", "check", "shop", "--files", str(export))
    assert checked.exit_code == 0, checked.output
    assert "ok       customers.csv: customers: 1 rows, 1 valid, 0 rejected" in checked.stdout
    assert "shop  own  customers" in crm_assets(tmp_path, "sources", "list").stdout
    assert crm_assets(tmp_path, "sources", "sketch", str(export), "-o", str(mapping)).exit_code == 1


def test_a_check_reads_what_landed_and_fails_on_problems(tmp_path: Path) -> None:
    folder = tmp_path / "exports" / "shop" / "2024-03-01"
    folder.mkdir(parents=True)
    (folder / "customers.csv").write_text("id,town\n1,York\n", "utf-8")
    (tmp_path / "sources").mkdir()
    text = "source: shop\ntables: {customers: {files: '*.csv', columns: {customer_id: idd}}}\n"
    (tmp_path / "sources" / "shop.yaml").write_text(text, "utf-8")
    result = crm_assets(tmp_path, "sources", "check")
    assert result.exit_code == 1
    assert "the file has no column 'idd'; did you mean 'id'?" in result.stdout
    (tmp_path / "sources" / "shop.yaml").write_text("source: shop\ntabels: {}\n", "utf-8")
    assert "shop.yaml: tabels" in crm_assets(tmp_path, "sources", "check").stdout
    assert "did you mean 'shop'?" in crm_assets(tmp_path, "sources", "check", "shopp").stderr


def test_the_schema_of_mappings_is_printed(tmp_path: Path) -> None:
    assert (
        "transactions"
        in json.loads(crm_assets(tmp_path, "sources", "schema").stdout)["properties"]["tables"]["properties"]
    )


def test_a_run_says_how_the_churn_model_did_on_days_held_out(tmp_path: Path) -> None:
    rows = [
        ("2024-05-01", "blend", 0.9, True),
        ("2024-06-01", "logistic", 0.8125, True),
        ("2024-06-01", "recency", 0.75, False),
    ]
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as warehouse:
        warehouse.execute("CREATE SCHEMA quality")
        columns = "trained_for DATE, candidate VARCHAR, metric VARCHAR, value DOUBLE, is_champion BOOLEAN"
        warehouse.execute(f"CREATE TABLE quality.leaderboard_churn ({columns})")
        for month, candidate, auc, is_champion in rows:
            for metric, value in (("auc", auc), ("ece", 0.01)):
                values = [month, candidate, metric, value, is_champion]
                warehouse.execute("INSERT INTO quality.leaderboard_churn VALUES (?, ?, ?, ?, ?)", values)
    console = Console(record=True, width=200)
    print_summary(load_settings(tmp_path), console, shop.LAST_DAY)
    assert "churn model (logistic) on days held out: AUC 0.812; ranking by recency: 0.750" in console.export_text()
