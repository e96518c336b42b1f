"""Checks as runs make them: real Dagster runs on a small workspace."""

import shutil
from datetime import date, datetime
from html.parser import HTMLParser

import dagster as dg
import ibis
import pytest

from crm_assets.assets import ingest
from crm_assets.automation.sensors import range_tags
from crm_assets.checks import all_checks
from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CAMPAIGNS, CUSTOMERS, TRANSACTIONS
from crm_assets.contracts.churn import CHURN_PERFORMANCE, CHURN_SCORES
from crm_assets.contracts.registry import contract_of
from crm_assets.contracts.subscriptions import SUBSCRIPTION_PERFORMANCE
from crm_assets.definitions import build_defs, lake_of
from crm_assets.lake.io_manager import raw_contract
from crm_assets.lake.layout import PART
from crm_assets.runs import QUIET, Runs
from crm_assets.settings import load_settings, write_settings
from crm_assets_tests.checks.running import check
from crm_assets_tests.conftest import CRM_MAPPING

DELIVERY = ("crm", "2024-03-01")
KEY = "--".join(DELIVERY)
PLACE = {"_source": DELIVERY[0], "_export_date": date.fromisoformat(DELIVERY[1])}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    """The workspace after its first ingestion, and the evaluations recorded on its instance."""
    home = tmp_path_factory.mktemp("workspace")
    settings = write_settings(home, memory_limit="500MB", threads=2)
    settings.sources.mkdir()
    (settings.sources / "crm.yaml").write_text(CRM_MAPPING, "utf-8")
    for day, order in (("2024-03-01", "o1"), ("2024-03-02", "o2")):
        folder = settings.exports / "crm" / day
        folder.mkdir(parents=True)
        (folder / "customers.csv").write_text("id,name,city\nc1,Ann,Leeds\n", "utf-8")
        (folder / "orders.csv").write_text(
            f"order,line,customer,product,at,quantity,amount\n{order},1,c1,p1,{day} 10:00:00,1,9.99\n", "utf-8"
        )
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("instance"))) as instance:
        Runs(settings, instance, lambda _: None).ingest()
        return settings, recorded(instance)


@pytest.fixture
def ingested(first_run, tmp_path):
    """A copy of the workspace for one test to spoil."""
    shutil.copytree(first_run[0].home, tmp_path / "workspace")
    return load_settings(tmp_path / "workspace")


def recorded(instance):
    """Evaluations of every run on an instance, by table and check."""
    records = instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION))
    found = [record.event_log_entry.dagster_event.event_specific_data for record in records]
    return {(check.asset_key.path[-1], check.check_name): check for check in reversed(found)}


def failed(evaluations):
    return {name for name, found in evaluations.items() if not found.passed}


def customers(*ids):
    """Validated customers of the first delivery."""
    place = {"_file": "customers.csv", "_source": DELIVERY[0], "_export_date": date.fromisoformat(DELIVERY[1])}
    contract = layers.validated(CUSTOMERS)
    rows = [dict.fromkeys(contract.by_name) | place | {"customer_id": name, "_line": line} for name, line in ids]
    return ibis.memtable(rows, schema=contract.schema)


class Loaded(HTMLParser):
    """What a browser loads for a page besides the page, and what the page allows it to."""

    def __init__(self):
        super().__init__()
        self.sources = []
        self.policy = None

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        if tag in ("link", "script", "img", "iframe", "object"):
            self.sources.append(known.get("src") or known.get("href"))
        if tag == "meta" and known.get("http-equiv") == "Content-Security-Policy":
            self.policy = known["content"]


def test_good_tables_pass_every_check(first_run):
    _, evaluations = first_run
    assert failed(evaluations) == set()
    assert evaluations["transactions", "key_unique"].metadata["looked at"].value == "all 2 rows"
    assert evaluations["transactions", "product_id_in_products"].description.startswith(
        "validated.products has no rows"
    )


def test_an_empty_table_passes_without_being_looked_at(ingested):
    evaluation = check(ingested, "validated", CAMPAIGNS.name, key=KEY)[CAMPAIGNS.name, "key_unique"]
    assert evaluation.passed
    assert {name: value.value for name, value in evaluation.metadata.items()} == {"rows": 0}


def test_a_table_that_no_delivery_feeds_is_not_checked(first_run):
    assert {table for table, _ in first_run[1]} >= {"customers", "transactions"}
    assert CAMPAIGNS.name not in {table for table, _ in first_run[1]}


def test_data_docs_are_written_and_named(first_run):
    settings, evaluations = first_run
    folder = settings.reports / "data_docs"
    path = evaluations["customers", "columns"].metadata["data docs"].value
    assert str(path) == str(folder / "validated.customers.html")
    assert "validated.customers.html" in (folder / "index.html").read_text("utf-8")


def test_data_docs_load_nothing(first_run):
    pages = list((first_run[0].reports / "data_docs").glob("*.html"))
    assert pages
    for page in pages:
        found = Loaded()
        found.feed(page.read_text("utf-8"))
        assert (found.sources, found.policy) == ([], "default-src 'none'; style-src 'unsafe-inline'")


def test_a_repeated_key_is_an_error(ingested):
    rows = customers(("c1", 1), ("c2", 1))
    lake_of(ingested).write("validated", layers.validated(CUSTOMERS), rows, [DELIVERY])
    evaluations = check(ingested, "validated", "customers", key=KEY)
    assert failed(evaluations) == {("customers", "key_unique"), ("customers", "conservation")}
    assert evaluations["customers", "key_unique"].severity is dg.AssetCheckSeverity.ERROR
    assert evaluations["customers", "key_unique"].description.startswith("2 rows (all 2 rows) break it")


def test_a_missing_required_value_is_an_error(ingested):
    lake_of(ingested).write("validated", layers.validated(CUSTOMERS), customers((None, 1)), [DELIVERY])
    evaluations = check(ingested, "validated", "customers", key=KEY)
    assert failed(evaluations) == {("customers", "customer_id_not_null")}
    assert evaluations["customers", "customer_id_not_null"].severity is dg.AssetCheckSeverity.ERROR


def test_a_run_without_partitions_looks_at_the_newest(ingested):
    lake_of(ingested).write("validated", layers.validated(CUSTOMERS), customers((None, 1)), [DELIVERY])
    evaluations = check(ingested, "validated", "customers")
    assert failed(evaluations) == set()


def test_files_of_another_contract_fail_the_columns(ingested):
    part = lake_of(ingested).folder("validated", "customers") / f"_source={DELIVERY[0]}" / f"_export_date={DELIVERY[1]}"
    for path in (part.parent).rglob(PART):
        ibis.memtable({"customer_id": ["c1"]}).to_parquet(path)
    evaluations = check(ingested, "validated", "customers", key=KEY)
    assert not evaluations["customers", "columns"].passed
    assert "materialise it again" in evaluations["customers", "columns"].description
    assert evaluations["customers", "key_unique"].severity is dg.AssetCheckSeverity.WARN


def test_an_error_keeps_what_is_downstream_from_being_made(workspace, monkeypatch):
    monkeypatch.setattr(ingest, "valid_rows", lambda rows: twice(rows.filter(rows._reasons.isnull())))
    chain = [("raw", "transactions"), ("validated", "transactions"), ("quality", "quarantine_transactions")]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("deliveries", [KEY])
        result = (
            build_defs(workspace)
            .resolve_job_def("ingest")
            .execute_in_process(
                run_config=QUIET,
                instance=instance,
                tags=range_tags(KEY, KEY),
                asset_selection=[dg.AssetKey(key) for key in (*chain, ("quality", "delivered_files"))],
                raise_on_error=False,
            )
        )
        evaluations = {found.check_name: found for found in result.get_asset_check_evaluations()}
    assert not result.success
    assert not evaluations["key_unique"].passed
    lake = lake_of(workspace)
    assert lake.has_rows("validated", "transactions")
    assert not lake.partitions("quality", layers.DELIVERED_FILES)


def twice(rows):
    kept = rows.drop("_reasons", "_raw_row")
    return kept.union(kept)


def test_lost_rows_are_found_with_their_file(ingested):
    lake = lake_of(ingested)
    lake.write("validated", layers.validated(TRANSACTIONS), None, [DELIVERY])
    evaluation = check(ingested, "validated", "transactions", key=KEY)["transactions", "conservation"]
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.ERROR
    assert evaluation.description.endswith("crm/2024-03-01/orders.csv: 1 delivered, 0 validated, 0 quarantined")


def test_rejected_rows_warn_with_their_kinds_of_reason(ingested):
    contract = layers.quarantine(TRANSACTIONS)
    reasons = [
        ["ordered_at: 'soon' is not a date and time", "amount: missing"],
        ["ordered_at: 'it's' is not a date and time"],
    ]
    rows = [
        PLACE | {"table_name": "transactions", "reasons": found, "raw_row": "{}", "_file": "orders.csv", "_line": line}
        for line, found in enumerate([*reasons, ["left out by the mapping: not (quantity > 0)"]], 1)
    ]
    lake_of(ingested).write("quality", contract, ibis.memtable(rows, schema=contract.schema), [DELIVERY])
    evaluation = check(ingested, "quality", contract.name, key=KEY)[contract.name, "quarantine"]
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert evaluation.description == "rows by reason: ordered_at is not a date and time: 2; amount: missing: 1"
    table = [tuple(record.data.values()) for record in evaluation.metadata["reasons"].records]
    assert table == [
        ("ordered_at is not a date and time", "crm", "2024-03-01", "orders.csv", 2),
        ("amount: missing", "crm", "2024-03-01", "orders.csv", 1),
        ("left out by the mapping: not (quantity > 0)", "crm", "2024-03-01", "orders.csv", 1),
    ]


def test_unmapped_files_are_named(ingested):
    row = PLACE | {"file": "notes.csv", "bytes": 1, "modified_ns": 1, "sha256": "0", "tables": []}
    table = ibis.memtable([row], schema=layers.DELIVERED_FILES.schema)
    lake_of(ingested).write("quality", layers.DELIVERED_FILES, table, [DELIVERY])
    evaluation = check(ingested, "quality", "delivered_files", key=KEY)["delivered_files", "unmapped_files"]
    assert not evaluation.passed
    assert "crm/2024-03-01/notes.csv" in evaluation.description


def test_orphans_warn_with_examples(ingested):
    lake, contract = lake_of(ingested), layers.validated(CUSTOMERS)
    lake.write("validated", contract, None, [("crm", "2024-03-02")])
    lake.write("validated", contract, customers(("c9", 1)), [DELIVERY])
    evaluation = check(ingested, "validated", "transactions", key=KEY)["transactions", "customer_id_in_customers"]
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert evaluation.description == "1 rows name 1 unknown ids, such as c1"


def score(as_of):
    row = {
        "as_of": as_of,
        "customer_id": "c1",
        "churn_probability": 0.5,
        "risk_band": "high",
        "reasons": [],
        "model_id": "m",
    }
    return ibis.memtable([row], schema=CHURN_SCORES.schema)


def test_late_rows_make_older_snapshots_stale(ingested):
    lake, scores = lake_of(ingested), contract_of("marts", "churn_scores")
    lake.write("marts", scores, score(date(2024, 2, 29)), [("2024-02-29",)])
    late = [{"table_name": "transactions", "day": date(2024, 2, 20), "rows": 3, "late_rows": 2, "shared_days": []}]
    place = {"_source": DELIVERY[0], "_export_date": date.fromisoformat(DELIVERY[1])}
    rows = ibis.memtable([late[0] | place], schema=layers.DELIVERED_DAYS.schema)
    lake.write("quality", layers.DELIVERED_DAYS, rows, [DELIVERY])
    evaluation = check(ingested, "quality", "delivered_days", key=KEY)["delivered_days", "late_rows"]
    assert not evaluation.passed
    assert "transactions 2024-02-20: 2 of 3 rows" in evaluation.description
    assert "Features and marts from 2024-02-20 on are stale" in evaluation.description
    lake.write("marts", scores, score(date(2024, 2, 29)), [("2024-02-29",)])
    assert check(ingested, "quality", "delivered_days", key=KEY)["delivered_days", "late_rows"].passed


def test_rows_taken_away_make_older_snapshots_stale(ingested):
    lake, scores = lake_of(ingested), contract_of("marts", "churn_scores")
    lake.write("marts", scores, score(date(2024, 2, 29)), [("2024-02-29",)])
    gone = {"table_name": "transactions", "day": date(2024, 2, 20), "rows": 0, "late_rows": 0, "shared_days": []}
    rows = ibis.memtable([gone | PLACE], schema=layers.DELIVERED_DAYS.schema)
    lake.write("quality", layers.DELIVERED_DAYS, rows, [DELIVERY])
    evaluation = check(ingested, "quality", "delivered_days", key=KEY)["delivered_days", "late_rows"]
    assert not evaluation.passed
    assert "transactions 2024-02-20: rows taken away" in evaluation.description


def test_a_full_export_that_deletes_more_than_half_or_nothing_at_all_is_named(ingested):
    path = ingested.sources / "crm.yaml"
    path.write_text(
        path.read_text("utf-8").replace("customers*.csv", "customers*.csv\n    deleted: by_absence"), "utf-8"
    )
    lake, contract = lake_of(ingested), layers.validated(CUSTOMERS)
    lake.write("validated", contract, customers(("a", 1), ("b", 2), ("c1", 3)), [DELIVERY])
    evaluation = check(ingested, "quality", "delivered_files")["delivered_files", "deletions"]
    assert not evaluation.passed
    assert "crm--2024-03-02: customers lacks 2 of the 3 keys held before" in evaluation.description
    lake.write("validated", contract, None, [("crm", "2024-03-02")])
    evaluation = check(ingested, "quality", "delivered_files", key="crm--2024-03-02")["delivered_files", "deletions"]
    assert "crm--2024-03-02: customers gave no valid row" in evaluation.description


def test_values_out_of_range_warn_and_show_examples(ingested):
    wrong = score(date(2024, 3, 2)).mutate(churn_probability=1.5, risk_band=ibis.literal("extreme"))
    lake_of(ingested).write("marts", contract_of("marts", "churn_scores"), wrong, [("2024-03-02",)])
    evaluations = check(ingested, "marts", "churn_scores")
    names = {("churn_scores", "churn_probability_in_range"), ("churn_scores", "risk_band_in_set")}
    assert failed(evaluations) == names
    assert all(evaluations[name].severity is dg.AssetCheckSeverity.WARN for name in names)
    assert evaluations["churn_scores", "risk_band_in_set"].description.endswith("such as extreme")


def test_an_empty_mart_warns_where_the_workspace_has_what_it_is_made_of(ingested):
    assert failed(check(ingested, "marts", "churn_scores")) == {("churn_scores", "has_rows")}
    evaluation = check(ingested, "marts", "subscription_churn_scores")["subscription_churn_scores", "has_rows"]
    assert evaluation.passed
    assert evaluation.description == "no rows were made; the workspace has no subscriptions"


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


@pytest.mark.parametrize(
    ("contract", "scores", "rule"),
    [
        (CHURN_PERFORMANCE, "churn_scores", "recency"),
        (SUBSCRIPTION_PERFORMANCE, "subscription_churn_scores", "tenure"),
    ],
    ids=["churn", "subscription"],
)
def test_scores_that_turned_out_badly_warn(ingested, contract, scores, rule):
    rows = [figure(scores, "auc", 0.6), figure(rule, "auc", 0.7), figure(scores, "ece", 0.02)]
    lake_of(ingested).write("quality", contract, ibis.memtable(rows, schema=contract.schema), [()])
    evaluations = check(ingested, "quality", contract.name)
    assert failed(evaluations) == {(contract.name, "beats_rule")}
    assert evaluations[contract.name, "calibrated"].description == "mean ece 0.020"


def member(customer, person, since):
    return {"customer_id": customer, "person_id": person, "valid_from": since, "valid_to": None}


def test_a_record_that_stands_for_two_persons_from_one_day_is_an_error(ingested):
    contract = contract_of("profile", "identity_members")
    rows = [member("b", "a", date(2024, 3, 1)), member("b", "b", date(2024, 3, 1)), member("c", None, date(2024, 3, 1))]
    lake_of(ingested).write("profile", contract, ibis.memtable(rows, schema=contract.schema), [()])
    evaluations = check(ingested, "profile", "identity_members")
    assert failed(evaluations) == {("identity_members", "key_unique"), ("identity_members", "person_id_not_null")}
    assert evaluations["identity_members", "key_unique"].blocking


def test_profiles_and_the_quality_of_identity_are_checked(ingested):
    lake, place = lake_of(ingested), {"profile": "customer_days", "quality": "identity"}
    days, quality = (contract_of(*found) for found in place.items())
    zero = {name: 0 for name, column in days.by_name.items() if column.required}
    rows = [zero | {"day": date(2024, 3, day), "customer_id": "c1", "orders": -day} for day in (1, 2)]
    lake.write("profile", days, ibis.memtable(rows, schema=days.schema), [("2024-03-01",), ("2024-03-02",)])
    evaluations = check(ingested, "profile", "customer_days")
    assert failed(evaluations) == {("customer_days", "orders_in_range")}
    assert evaluations["customer_days", "orders_in_range"].metadata["rows"].value == 1
    figures = dict.fromkeys(quality.by_name, 0) | {"truth": "guess", "measured": "pairs", "recall": 1.5}
    lake.write("quality", quality, ibis.memtable([figures], schema=quality.schema), [()])
    assert failed(check(ingested, "quality", "identity")) == {
        ("identity", "truth_in_set"),
        ("identity", "recall_in_range"),
    }
    covered = {
        spec.asset_key.path[-1] for found in all_checks() for spec in found.check_specs if spec.name == "columns"
    }
    assert {"customers_current", "customers", "identity_links", "identity_members", "identity_ledger"} <= covered


def test_moments_are_compared_as_moments(ingested):
    contract = layers.validated(TRANSACTIONS)
    rows = lake_of(ingested).read("validated", contract)
    old = rows.filter(rows._export_date == date(2024, 3, 1)).mutate(ordered_at=ibis.literal(datetime(1980, 1, 1)))
    lake_of(ingested).write("validated", contract, old, [DELIVERY])
    evaluations = check(ingested, "validated", "transactions", key=KEY)
    assert failed(evaluations) == {("transactions", "ordered_at_in_range")}


def deliver(settings, day, **files):
    """Let an export of the source `crm` land."""
    folder = settings.exports / "crm" / day
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, "utf-8")


def ingest_again(settings, tmp_path):
    """Ingest what landed, and give the evaluations."""
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        Runs(settings, instance, lambda _: None).ingest()
        return recorded(instance)


def test_columns_that_drift_are_named_with_delivery_and_file(ingested, tmp_path):
    deliver(ingested, "2024-03-03", customers="id,town,mood\nc1,Leeds,good\n", orders="order,line\n")
    evaluations = ingest_again(ingested, tmp_path)
    found = evaluations["customers", "schema_drift"]
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert found.description.split("; ")[0] == "crm--2024-03-03 (customers.csv): 'name' of 2024-03-02 is gone"
    assert "crm--2024-03-03 (customers.csv): 'mood' is new since 2024-03-02" in found.description
    assert check(ingested, "raw", "products", key="crm--2024-03-03")["products", "schema_drift"].passed


def test_a_column_that_no_mapping_reads_warns_when_it_goes(ingested):
    lake = lake_of(ingested)
    for day, names in (("2024-03-01", "id name city note"), ("2024-03-02", "id name city")):
        rows = ibis.memtable([dict.fromkeys(names.split(), "x")])
        lake.write_as_is("raw", raw_contract("customers"), rows, ("crm", day))
    found = check(ingested, "raw", "customers", key="crm--2024-03-02")["customers", "schema_drift"]
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.description == "crm--2024-03-02 (customers.csv): 'note' of 2024-03-01 is gone"


def test_a_column_of_another_type_and_a_header_that_never_came_warn(ingested):
    lake = lake_of(ingested)
    number = ibis.memtable([{"id": 1, "nmae": "Ann", "city": "Leeds"}])
    lake.write_as_is("raw", raw_contract("customers"), number, ("crm", "2024-03-01"))
    first = check(ingested, "raw", "customers", key=KEY)["customers", "schema_drift"]
    assert first.severity is dg.AssetCheckSeverity.WARN
    assert first.description == (
        "crm--2024-03-01 (customers.csv): full_name reads 'name', which is absent; did you mean 'nmae'?"
    )
    second = check(ingested, "raw", "customers", key="crm--2024-03-02")["customers", "schema_drift"]
    assert "'id' is string, in 2024-03-01 it was int64" in second.description


def test_deliveries_of_the_same_columns_do_not_drift(first_run):
    assert all(found.passed for (_, name), found in first_run[1].items() if name in ("schema_drift", "shared_keys"))


def test_keys_of_two_sources_are_counted(ingested):
    contract = layers.validated(CUSTOMERS)
    place = {"_file": "customers.csv", "_line": 1, "_source": "erp", "_export_date": date(2024, 3, 1)}
    rows = [dict.fromkeys(contract.by_name) | place | {"customer_id": name} for name in ("c1", "c2")]
    lake_of(ingested).write("validated", contract, ibis.memtable(rows, schema=contract.schema), [("erp", "2024-03-01")])
    found = check(ingested, "validated", "customers", key=KEY)["customers", "shared_keys"]
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.description.startswith("crm and erp share 1 keys: ")
    assert "id_prefix" in found.description
