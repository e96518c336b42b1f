"""Identity in a workspace with two sources, run as the command line does."""

import json
from datetime import date

import ibis
import pytest

from crm_assets.assets.identity import IDENTITY_ASSETS
from crm_assets.automation.instance import open_instance
from crm_assets.contracts.registry import contract_of
from crm_assets.definitions import lake_of
from crm_assets.runs import Runs
from crm_assets.settings import load_settings, write_settings

FIELDS = ("customer_id", "full_name", "email", "phone", "city")


def deliver(home, source, day, *rows):
    """Validated customers, as ingestion leaves them."""
    contract = contract_of("validated", "customers")
    place = {"_source": source, "_export_date": day, "_file": "customers.csv"}
    empty = dict.fromkeys(contract.by_name)
    records = [
        {**empty, **dict(zip(FIELDS, row, strict=True)), **place, "_line": line} for line, row in enumerate(rows, 1)
    ]
    table = ibis.memtable(records, schema=contract.schema)
    lake_of(load_settings(home)).write("validated", contract, table, [(source, day.isoformat())])


def clean(home):
    with open_instance(home) as instance:
        Runs(load_settings(home), instance, lambda doing: None).clean()


def read(home, table):
    layer = "quality" if table == "identity" else "profile"
    return lake_of(load_settings(home)).read(layer, contract_of(layer, table)).to_pandas()


def persons(home):
    found = read(home, "identity_members")
    current = found[found["valid_to"].isna()]
    return dict(zip(current["customer_id"], current["person_id"], strict=True))


@pytest.mark.slow
def test_records_of_two_sources_become_persons_who_keep_their_identifiers(tmp_path):
    write_settings(tmp_path, memory_limit="500MB", threads=2, phone_region="CN", end_date=date(2024, 1, 31))
    ann, wei = ("c1", "Ann Lee", "ann@x.com", None, "Leeds"), ("c2", "张伟", None, "138 1234 5678", "上海")
    lee, king = ("s1", "A. LEE", "Ann@X.com", None, "London"), ("s2", "Bo King", "bo@x.com", None, "York")
    deliver(tmp_path, "crm", date(2024, 1, 1), ann, wei)
    deliver(tmp_path, "shop", date(2024, 1, 5), lee, king)
    clean(tmp_path)
    assert persons(tmp_path) == {"c1": "c1", "c2": "c2", "s1": "c1", "s2": "s2"}
    person = read(tmp_path, "customers").set_index("person_id").loc["c1"]
    assert (person["city"], person["records"]) == ("London", 2)
    assert json.loads(person["provenance"])["city"] == {
        "customer_id": "s1", "source": "shop", "export_date": "2024-01-05",
    }  # fmt: skip
    card = json.loads(next((tmp_path / "models" / "identity_model").glob("*/card.json")).read_text("utf-8"))
    assert card["choice"].startswith("untrained weights")

    deliver(tmp_path, "shop", date(2024, 1, 9), ("s3", "Zhang Wei", None, "+8613812345678", "上海"), lee)
    decisions = "customer_id_a,customer_id_b,decision,decided_on\nc1,s1,never,2024-01-20\n"
    (tmp_path / "identity_pairs.csv").write_text(decisions, "utf-8")
    (tmp_path / "identity_truth.csv").write_text("customer_id,person\nc2,w\ns3,w\ns2,b\n", "utf-8")
    clean(tmp_path)
    assert persons(tmp_path) == {"c1": "c1", "c2": "c2", "s1": "s1", "s2": "s2", "s3": "c2"}
    found = read(tmp_path, "identity_members").set_index("customer_id").loc[["s1"]]
    assert found[["person_id", "valid_from"]].astype(str).values.tolist() == [
        ["c1", "2024-01-05"], ["s1", "2024-01-20"],
    ]  # fmt: skip
    ledger = read(tmp_path, "identity_ledger")
    assert ledger["event"].value_counts().to_dict() == {"new": 3, "joined": 2, "split": 1}
    quality = read(tmp_path, "identity").set_index(["truth", "measured", "threshold"])
    assert quality.loc[("labels", "persons", 0.5), ["precision", "recall"]].tolist() == [1, 1]


def test_a_workspace_whose_customers_have_names_only_keeps_its_customers(finished):
    found = read(finished, "identity_members")
    assert len(found) == 80
    assert (found["customer_id"] == found["person_id"]).all()


def test_every_identity_asset_is_made_with_the_clean_tables():
    from crm_assets.automation.jobs import all_jobs
    from crm_assets.definitions import build_defs

    definitions = build_defs()
    made = definitions.resolve_job_def("refresh").asset_layer.executable_asset_keys
    assert {job.name for job in all_jobs()} >= {"clean", "refresh"}
    assert {tuple(key) for key in IDENTITY_ASSETS} <= {tuple(key.path) for key in made}
