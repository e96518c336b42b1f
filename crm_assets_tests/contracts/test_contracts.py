"""Contracts: they hold together, and each table is declared once."""

import ibis
import pytest

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.contracts.model import Column, Shape, Table
from crm_assets.contracts.predicates import violations
from crm_assets.contracts.registry import LAYERS, UNIONS, contract_of, lake_tables

TABLES = {f"{layer}.{name}": table for (layer, name), table in lake_tables().items()}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_type_and_bound_is_one_the_engine_knows(table):
    assert set(table.schema) == set(table.by_name)
    for column in table.columns:
        assert column.description.endswith(".")
        for bound in (column.minimum, column.maximum):
            if bound is not None:
                ibis.literal(bound).cast(column.dtype)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_keys_and_partitions_are_never_null(table):
    assert all(table.by_name[name].required for name in (*table.key, *table.partition_by))


def test_layers_are_known_and_tables_stand_under_their_own_name():
    assert {layer for layer, _ in lake_tables()} <= set(LAYERS)
    assert all(table.name == name for (_, name), table in lake_tables().items())


def test_references_lead_to_the_key_of_a_canonical_table():
    for table in CANONICAL.values():
        for column in table.columns:
            if column.references:
                name, key = column.references.split(".")
                assert CANONICAL[name].key == (key,)


def test_events_have_a_time_and_dimensions_do_not():
    for table in CANONICAL.values():
        assert (table.event_time is not None) == (table.shape is Shape.EVENT)


def test_a_table_without_a_contract_says_where_it_would_be_declared():
    with pytest.raises(
        KeyError, match=r"marts\.nothing has no contract; declare it in crm_assets/contracts/registry\.py"
    ):
        contract_of("marts", "nothing")


@pytest.mark.parametrize(
    "changes", [{"key": ("b",)}, {"partition_by": ("b",)}, {"columns": (Column("a", "string", "A."),) * 2}]
)
def test_a_contract_that_names_other_columns_is_refused(changes):
    given = {"name": "t", "description": "T.", "columns": (Column("a", "string", "A."),), "key": ("a",), **changes}
    with pytest.raises(ValueError, match="contract t: columns must be distinct"):
        Table(**given)


def test_unions_name_columns_that_their_tables_have():
    for prefix, columns in UNIONS.values():
        parts = [
            table for (layer, name), table in lake_tables().items() if layer == "quality" and name.startswith(prefix)
        ]
        assert parts
        assert all(set(columns.values()) <= set(table.by_name) for table in parts)


def test_an_event_table_passes_the_layers_with_the_columns_each_adds():
    table = CANONICAL["transactions"]
    names = tuple(table.by_name)
    assert tuple(layers.validated(table).by_name) == (*names, "_file", "_line", "_source", "_export_date")
    assert tuple(layers.clean(table).by_name) == (*names, "is_outlier", "day")
    assert tuple(layers.clean(CANONICAL["customers"]).by_name)[-2:] == ("valid_from", "valid_to")


def reasons(engine, column, values):
    table = ibis.memtable({"v": values}, schema={"v": column.dtype})
    found = [[] for _ in values]
    for condition, reason in violations(column, table.v):
        for n, (broken, text) in enumerate(
            zip(*engine.backend.to_pyarrow(table.select(b=condition, r=reason)).to_pydict().values(), strict=True)
        ):
            if broken:
                found[n].append(text)
    return found


def test_rules_say_what_is_broken_and_bounds_are_inclusive(engine):
    column = Column("score", "int64", "Score.", minimum=1, maximum=5)
    assert reasons(engine, column, [0, 1, 5, 6]) == [["score: '0' is below 1"], [], [], ["score: '6' is above 5"]]


def test_a_missing_value_breaks_only_the_rule_that_it_is_required(engine):
    values = ["low", None, "none"]
    column = Column("band", "string", "Band.", required=True, allowed=("low", "high"))
    assert reasons(engine, column, values) == [[], ["band: missing"], ["band: 'none' is not one of low, high"]]
