"""Checks as runs make them: real Dagster runs on a small workspace."""

from datetime import date, datetime

import dagster as dg
import ibis
import pytest

from crm_assets.assets import ingest
from crm_assets.automation.sensors import range_tags
from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CAMPAIGNS, CUSTOMERS, TRANSACTIONS
from crm_assets.contracts.churn import CHURN_PERFORMANCE, CHURN_SCORES
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import build_defs, lake_of
from crm_assets.lake.layout import PART
from crm_assets.runs import QUIET, RunFailedError, Runs

DELIVERY = ("crm", "2024-03-01")
KEY = "--".join(DELIVERY)


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


@pytest.fixture
def ingested(workspace, instance):
    Runs(workspace, instance, lambda _: None).ingest()
    return workspace


def recorded(instance):
    """Evaluations of every run on an instance, by table and check."""
    records = instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION))
    found = [record.event_log_entry.dagster_event.event_specific_data for record in records]
    return {(check.asset_key.path[-1], check.check_name): check for check in reversed(found)}


def check(settings, instance, *assets, key=None):
    """Run the checks of assets alone, and give their evaluations by table and name."""
    selection = dg.AssetSelection.checks_for_assets(*map(dg.AssetKey, assets))
    jobs = dg.Definitions(jobs=[dg.define_asset_job("only_checks", selection)])
    job = dg.Definitions.merge(build_defs(settings), jobs).resolve_job_def("only_checks")
    tags = range_tags(key, key) if key else {}
    result = job.execute_in_process(run_config=QUIET, instance=instance, tags=tags, raise_on_error=False)
    evaluations = result.get_asset_check_evaluations()
    return {(found.asset_key.path[-1], found.check_name): found for found in evaluations}


def failed(evaluations):
    return {name for name, found in evaluations.items() if not found.passed}


def customers(*ids):
    """Validated customers of the first delivery."""
    place = {"_file": "customers.csv", "_source": DELIVERY[0], "_export_date": date.fromisoformat(DELIVERY[1])}
    contract = layers.validated(CUSTOMERS)
    rows = [dict.fromkeys(contract.by_name) | place | {"customer_id": name, "_line": line} for name, line in ids]
    return ibis.memtable(rows, schema=contract.schema)


def test_good_tables_pass_every_check(ingested, instance):
    evaluations = recorded(instance)
    assert failed(evaluations) == set()
    looked_at = evaluations["transactions", "key_unique"].metadata["looked at"].value
    assert looked_at == "all 2 rows"
    assert evaluations["transactions", "product_id_in_products"].description.startswith("validated.products has no rows")


def test_an_empty_table_passes_without_being_looked_at(ingested, instance):
    evaluation = recorded(instance)[CAMPAIGNS.name, "key_unique"]
    assert evaluation.passed
    assert {name: value.value for name, value in evaluation.metadata.items()} == {"rows": 0}


def test_data_docs_are_written_and_named(ingested, instance):
    path = recorded(instance)["customers", "columns"].metadata["data docs"].value
    folder = ingested.reports / "data_docs"
    assert str(path) == str(folder / "validated.customers.html")
    assert "validated.customers.html" in (folder / "index.html").read_text("utf-8")


def test_a_repeated_key_is_an_error(ingested, instance):
    rows = customers(("c1", 1), ("c2", 1))
    lake_of(ingested).write("validated", layers.validated(CUSTOMERS), rows, [DELIVERY])
    evaluations = check(ingested, instance, ["validated", "customers"], key=KEY)
    assert failed(evaluations) == {("customers", "key_unique"), ("customers", "conservation")}
    assert evaluations["customers", "key_unique"].severity is dg.AssetCheckSeverity.ERROR
    assert evaluations["customers", "key_unique"].description.startswith("2 rows (all 2 rows) break it")


def test_a_missing_required_value_is_an_error(ingested, instance):
    lake_of(ingested).write("validated", layers.validated(CUSTOMERS), customers((None, 1)), [DELIVERY])
    evaluations = check(ingested, instance, ["validated", "customers"], key=KEY)
    assert failed(evaluations) == {("customers", "customer_id_not_null")}
    assert evaluations["customers", "customer_id_not_null"].severity is dg.AssetCheckSeverity.ERROR


def test_a_run_without_partitions_looks_at_the_newest(ingested, instance):
    lake_of(ingested).write("validated", layers.validated(CUSTOMERS), customers((None, 1)), [DELIVERY])
    evaluations = check(ingested, instance, ["validated", "customers"])
    assert failed(evaluations) == set()


def test_files_of_another_contract_fail_the_columns(ingested, instance):
    part = lake_of(ingested).folder("validated", "customers") / f"_source={DELIVERY[0]}" / f"_export_date={DELIVERY[1]}"
    for path in (part.parent).rglob(PART):
        ibis.memtable({"customer_id": ["c1"]}).to_parquet(path)
    evaluations = check(ingested, instance, ["validated", "customers"], key=KEY)
    assert not evaluations["customers", "columns"].passed
    assert "materialise it again" in evaluations["customers", "columns"].description
    assert evaluations["customers", "key_unique"].severity is dg.AssetCheckSeverity.WARN


def test_an_error_keeps_what_is_downstream_from_being_made(workspace, instance, monkeypatch):
    monkeypatch.setattr(ingest, "valid_rows", lambda rows: twice(rows.filter(rows._reasons.isnull())))
    with pytest.raises(RunFailedError, match="key_unique"):
        Runs(workspace, instance, lambda _: None).ingest()
    assert ("transactions", "key_unique") in failed(recorded(instance))
    lake = lake_of(workspace)
    assert lake.has_rows("validated", "transactions")
    assert not lake.partitions("quality", layers.DELIVERED_FILES)


def twice(rows):
    kept = rows.drop("_reasons", "_raw_row")
    return kept.union(kept)


def test_lost_rows_are_found_with_their_file(ingested, instance):
    lake = lake_of(ingested)
    lake.write("validated", layers.validated(TRANSACTIONS), None, [DELIVERY])
    evaluation = check(ingested, instance, ["validated", "transactions"], key=KEY)["transactions", "conservation"]
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR
    assert evaluation.description.endswith("crm/2024-03-01/orders.csv: 1 delivered, 0 validated, 0 quarantined")


def test_rejected_rows_warn_with_their_kinds_of_reason(workspace, instance):
    folder = workspace.exports / "crm" / DELIVERY[1]
    orders = ["order,line,customer,product,at,quantity,amount", "o1,1,c1,p1,soon,1,9.99", "o2,1,c1,p1,later,x,9.99"]
    (folder / "orders.csv").write_text("\n".join(orders) + "\n", "utf-8")
    Runs(workspace, instance, lambda _: None).ingest()
    evaluation = recorded(instance)["quarantine_transactions", "quarantine"]
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert evaluation.metadata["rows"].value == 2
    assert evaluation.metadata["reasons"].value["ordered_at: is not a date and time"] == 2


def test_unmapped_files_are_named(workspace, instance):
    (workspace.exports / "crm" / DELIVERY[1] / "notes.csv").write_text("a\n1\n", "utf-8")
    Runs(workspace, instance, lambda _: None).ingest()
    evaluation = recorded(instance)["delivered_files", "unmapped_files"]
    assert not evaluation.passed
    assert "crm/2024-03-01/notes.csv" in evaluation.description


def test_orphans_warn_with_examples(workspace, instance):
    folder = workspace.exports / "crm" / DELIVERY[1]
    (folder / "customers.csv").write_text("id,name,city\nc9,Bea,York\n", "utf-8")
    (workspace.exports / "crm" / "2024-03-02" / "customers.csv").unlink()
    Runs(workspace, instance, lambda _: None).ingest()
    evaluation = recorded(instance)["transactions", "customer_id_in_customers"]
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert evaluation.description == "2 rows name 1 unknown ids, such as c1"


def score(as_of):
    row = {"as_of": as_of, "customer_id": "c1", "churn_probability": 0.5, "risk_band": "high", "reasons": [], "model_id": "m"}
    return ibis.memtable([row], schema=CHURN_SCORES.schema)


def test_late_rows_make_older_snapshots_stale(ingested, instance):
    lake, scores = lake_of(ingested), contract_of("marts", "churn_scores")
    lake.write("marts", scores, score(date(2024, 2, 29)), [("2024-02-29",)])
    late = [{"table_name": "transactions", "day": date(2024, 2, 20), "rows": 3, "late_rows": 2}]
    place = {"_source": DELIVERY[0], "_export_date": date.fromisoformat(DELIVERY[1])}
    rows = ibis.memtable([late[0] | place], schema=layers.DELIVERED_DAYS.schema)
    lake.write("quality", layers.DELIVERED_DAYS, rows, [DELIVERY])
    evaluation = check(ingested, instance, ["quality", "delivered_days"], key=KEY)["delivered_days", "late_rows"]
    assert not evaluation.passed
    assert "transactions 2024-02-20: 2 of 3 rows" in evaluation.description
    assert "Features and marts from 2024-02-20 on are stale" in evaluation.description
    lake.write("marts", scores, score(date(2024, 2, 29)), [("2024-02-29",)])
    assert check(ingested, instance, ["quality", "delivered_days"], key=KEY)["delivered_days", "late_rows"].passed


def test_values_out_of_range_warn_and_show_examples(ingested, instance):
    wrong = score(date(2024, 3, 2)).mutate(churn_probability=1.5, risk_band=ibis.literal("extreme"))
    lake_of(ingested).write("marts", contract_of("marts", "churn_scores"), wrong, [("2024-03-02",)])
    evaluations = check(ingested, instance, ["marts", "churn_scores"])
    names = {("churn_scores", "churn_probability_in_range"), ("churn_scores", "risk_band_in_set")}
    assert failed(evaluations) == names
    assert all(evaluations[name].severity is dg.AssetCheckSeverity.WARN for name in names)
    assert evaluations["churn_scores", "risk_band_in_set"].description.endswith("such as extreme")


def test_an_empty_mart_warns(ingested, instance):
    assert failed(check(ingested, instance, ["marts", "churn_scores"])) == {("churn_scores", "has_rows")}


def figure(candidate, metric, value):
    return {
        "as_of": date(2024, 3, 1),
        "candidate": candidate,
        "metric": metric,
        "value": value,
        "low": value,
        "high": value,
        "customers": 10,
        "churned": 3,
    }


def test_scores_that_turned_out_badly_warn(ingested, instance):
    rows = [figure("churn_scores", "auc", 0.6), figure("recency", "auc", 0.7), figure("churn_scores", "ece", 0.02)]
    table = ibis.memtable(rows, schema=CHURN_PERFORMANCE.schema)
    lake_of(ingested).write("quality", CHURN_PERFORMANCE, table, [()])
    evaluations = check(ingested, instance, ["quality", "churn_performance"])
    assert failed(evaluations) == {("churn_performance", "beats_rule")}
    assert evaluations["churn_performance", "calibrated"].description == "mean ece 0.020"


def test_moments_are_compared_as_moments(ingested, instance):
    contract = layers.validated(TRANSACTIONS)
    rows = lake_of(ingested).read("validated", contract)
    old = rows.filter(rows._export_date == date(2024, 3, 1)).mutate(ordered_at=ibis.literal(datetime(1980, 1, 1)))
    lake_of(ingested).write("validated", contract, old, [DELIVERY])
    evaluations = check(ingested, instance, ["validated", "transactions"], key=KEY)
    assert failed(evaluations) == {("transactions", "ordered_at_in_range")}
