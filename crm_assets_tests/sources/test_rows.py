"""Rows of files become typed rows or rejected rows with every reason, and none is lost."""

import json
from datetime import date, datetime
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CANONICAL
from crm_assets.sources.expressions import unmet_columns
from crm_assets.sources.mapping import MappingError, Source
from crm_assets.sources.rows import judge, rejected_rows, valid_rows

EXPORTED = date(2024, 3, 10)
SALES = {
    "order_id": "order",
    "line_id": "line",
    "customer_id": "customer",
    "product_id": "product",
    "ordered_at": "at",
    "quantity": "quantity",
    "amount": "amount",
}
SALE = {
    "order": "o1",
    "line": "1",
    "customer": "c1",
    "product": "p1",
    "at": "2024-03-01 10:00:00",
    "quantity": "2",
    "amount": "9.99",
}


def source(table, columns, **others):
    timezone = others.pop("timezone", "UTC")
    mapping = {"files": "*.csv", "columns": columns, **others}
    return Source.model_validate({"source": "shop", "timezone": timezone, "tables": {table: mapping}})


def raw_table(rows, schema=None):
    columns = list(rows[0]) if rows else list(schema)
    data = {name: [row[name] for row in rows] for name in columns}
    types = {**dict.fromkeys(columns, "string"), **(schema or {})}
    provenance = {
        "_file": ["orders.csv"] * len(rows),
        "_file_sha256": ["00"] * len(rows),
        "_line": list(range(1, len(rows) + 1)),
        "_source": ["shop"] * len(rows),
        "_export_date": [EXPORTED] * len(rows),
    }
    kinds = {"_file": "string", "_file_sha256": "string", "_line": "int64", "_source": "string", "_export_date": "date"}
    schema_of_all = ibis.schema({**types, **kinds}).to_pyarrow()
    return ibis.memtable(pa.table({**data, **provenance}, schema=schema_of_all))


@pytest.fixture
def judged(engine):
    """Judge rows of a file; give the valid and the rejected ones, in file order."""

    def run(table, columns, rows, schema=None, **mapping):
        contract = CANONICAL[table]
        with (
            engine.held(raw_table(rows, schema)) as raw,
            engine.held(judge(raw, source(table, columns, **mapping), contract)) as result,
        ):
            valid = valid_rows(result).order_by("_line").to_pyarrow().to_pylist()
            rejected = rejected_rows(result, contract).order_by("_line").to_pyarrow().to_pylist()
        return valid, rejected

    return run


def reasons(rejected):
    return [row["reasons"] for row in rejected]


def test_text_becomes_the_contract_s_types(judged):
    (row,), rejected = judged("transactions", SALES, [SALE])
    assert rejected == []
    assert row["ordered_at"] == datetime(2024, 3, 1, 10)
    assert (row["quantity"], row["amount"]) == (Decimal(2), Decimal("9.99"))
    assert row["discount"] is None
    assert (row["_file"], row["_line"], row["_source"], row["_export_date"]) == ("orders.csv", 1, "shop", EXPORTED)


def test_columns_are_those_of_the_validated_and_quarantine_contracts(engine):
    contract = CANONICAL["transactions"]
    with engine.held(raw_table([SALE])) as raw:
        result = judge(raw, source("transactions", SALES), contract)
        assert valid_rows(result).columns == tuple(layers.validated(contract).by_name)
        assert rejected_rows(result, contract).columns == tuple(layers.quarantine(contract).by_name)


def test_every_reason_of_a_row_is_named(judged):
    bad = {**SALE, "order": " ", "quantity": "two", "amount": None, "at": "yesterday"}
    valid, (row,) = judged("transactions", SALES, [bad, SALE])
    assert [found["_line"] for found in valid] == [2]
    assert row["reasons"] == [
        "order_id: missing",
        "ordered_at: 'yesterday' is not a date and time",
        "quantity: 'two' is not a number",
        "amount: missing",
    ]
    assert row["table_name"] == "transactions"
    assert json.loads(row["raw_row"]) == bad


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("at", "1980-01-01", "ordered_at: '1980-01-01 00:00:00' is below 1990-01-01"),
        ("at", "2024-03-12 00:00:00", "ordered_at: '2024-03-12 00:00:00' is after the export"),
        ("amount", "1e30", "amount: '1e30' is not a number"),
        ("amount", "nan", "amount: 'nan' is not a number"),
        ("amount", "9,99", "amount: '9,99' is not a number"),
    ],
)
def test_a_value_the_contract_forbids_rejects_the_row(judged, column, value, reason):
    valid, rejected = judged("transactions", SALES, [{**SALE, column: value}])
    assert valid == []
    assert reason in reasons(rejected)[0]


def test_an_event_of_the_day_after_the_export_is_let_through(judged):
    valid, _ = judged("transactions", SALES, [{**SALE, "at": "2024-03-11 23:59:59"}])
    assert len(valid) == 1


def test_values_below_a_minimum_and_outside_a_list_are_rejected(judged):
    columns = {"interaction_id": "id", "customer_id": "c", "occurred_at": "at", "kind": "kind", "duration_s": "s"}
    row = {"id": "1", "c": "c1", "at": "2024-03-01", "kind": "wave", "s": "-1"}
    _, rejected = judged("interactions", columns, [row])
    (found,) = reasons(rejected)
    assert found[0].startswith("kind: 'wave' is not one of view, search, cart")
    assert found[1].startswith("duration_s: '-1")
    assert found[1].endswith("is below 0")


def test_rows_that_where_leaves_out_go_to_quarantine(judged):
    rows = [SALE, {**SALE, "product": "POST"}, {**SALE, "product": None}]
    valid, rejected = judged("transactions", SALES, rows, where="product <> 'POST'")
    assert [row["_line"] for row in valid] == [1]
    assert reasons(rejected) == [
        ["left out by the mapping: not (product <> 'POST')"],
        ["left out by the mapping: not (product <> 'POST')"],
    ]


def test_rows_are_numbered_within_a_key_in_file_order(judged):
    rows = [{**SALE, "order": order} for order in ("b", "a", "b", "a", "b")]
    valid, _ = judged("transactions", {**SALES, "line_id": {"row_number": ["order"]}}, rows)
    assert [(row["order_id"], row["line_id"]) for row in valid] == [
        ("b", "1"),
        ("a", "1"),
        ("b", "2"),
        ("a", "2"),
        ("b", "3"),
    ]


def test_codes_are_replaced_and_others_stay(judged):
    columns = {"customer_id": "id", "gender": {"column": "sex", "values": {"1": "male", "2": "female"}}}
    rows = [{"id": str(n), "sex": code} for n, code in enumerate(["1", "2 ", "other", None])]
    valid, _ = judged("customers", columns, rows)
    assert [row["gender"] for row in valid] == ["male", "female", "other", None]


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2023-01-01 12:00:00", datetime(2023, 1, 1, 12)),
        ("2023-07-01 12:00:00", datetime(2023, 7, 1, 11)),
        ("2023-07-01 00:30:00", datetime(2023, 6, 30, 23, 30)),
    ],
)
def test_times_of_a_source_become_utc(judged, local, utc):
    (row,), _ = judged("transactions", SALES, [{**SALE, "at": local}], timezone="Europe/London")
    assert row["ordered_at"] == utc


@pytest.mark.parametrize(
    ("written", "format"),
    [
        ("2023-07-01T12:00:00+02:00", None),
        ("2023-07-01 12:00:00+02", None),
        ("2023-07-01T10:00:00.000Z", None),
        ("2023-07-01 18:00:00", None),
        ("01.07.2023 12:00 +0200", "%d.%m.%Y %H:%M %z"),
    ],
)
def test_times_with_an_offset_are_moments_and_others_local(judged, written, format):
    columns = {**SALES, "ordered_at": {"column": "at", "format": format}}
    (row,), _ = judged("transactions", columns, [{**SALE, "at": written}], timezone="Asia/Shanghai")
    assert row["ordered_at"].replace(tzinfo=None) == datetime(2023, 7, 1, 10)


def test_dates_in_a_format_are_read_by_it_and_others_rejected(judged):
    columns = {**SALES, "ordered_at": {"column": "at", "format": "%d/%m/%Y %H:%M"}}
    rows = [{**SALE, "at": "01/02/2024 08:30"}, {**SALE, "at": "2024-02-01 08:30"}]
    valid, rejected = judged("transactions", columns, rows)
    assert [row["ordered_at"] for row in valid] == [datetime(2024, 2, 1, 8, 30)]
    assert reasons(rejected)[0][0] == "ordered_at: '2024-02-01 08:30' is not a date and time"


def test_a_day_is_the_day_the_file_says_whatever_the_zone(judged):
    columns = {"customer_id": "id", "birth_date": "born"}
    (row,), _ = judged("customers", columns, [{"id": "1", "born": "1980-05-01"}], timezone="Asia/Shanghai")
    assert row["birth_date"] == date(1980, 5, 1)


def test_identifiers_stored_as_floating_point_lose_their_zeros(judged):
    schema = dict.fromkeys(SALE, "string") | {"customer": "float64", "order": "int64"}
    rows = [{**SALE, "order": 7, "customer": 17850.0}, {**SALE, "order": 8, "customer": None}]
    valid, _ = judged("transactions", SALES, rows, schema)
    assert [(row["order_id"], row["customer_id"]) for row in valid] == [("7", "17850"), ("8", None)]


def test_identifiers_written_as_text_stay_as_they_are(judged):
    (row,), _ = judged("transactions", SALES, [{**SALE, "customer": " 007 "}])
    assert row["customer_id"] == "007"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("true", True),
        ("YES", True),
        ("1", True),
        ("是", True),
        ("F", False),
        ("no", False),
        ("0", False),
        ("否", False),
        ("", None),
    ],
)
def test_words_for_yes_and_no_are_understood(judged, word, expected):
    columns = {"customer_id": "id", "consent_email": "ok"}
    (row,), _ = judged("customers", columns, [{"id": "1", "ok": word}])
    assert row["consent_email"] is expected


def test_another_word_is_not_yes_or_no(judged):
    _, rejected = judged("customers", {"customer_id": "id", "consent_email": "ok"}, [{"id": "1", "ok": "maybe"}])
    assert reasons(rejected) == [["consent_email: 'maybe' is not yes or no"]]


def test_typed_files_keep_their_values(judged):
    schema = dict.fromkeys(SALE, "string") | {"at": "timestamp", "quantity": "int64", "amount": "float64"}
    row = {**SALE, "at": datetime(2024, 3, 1, 10), "quantity": 2, "amount": 9.99}
    (found,), _ = judged("transactions", SALES, [row], schema)
    assert (found["ordered_at"], found["quantity"], found["amount"]) == (
        datetime(2024, 3, 1, 10),
        Decimal(2),
        Decimal("9.99"),
    )


def test_moments_of_typed_files_are_taken_as_they_are(judged):
    schema = dict.fromkeys(SALE, "string") | {"at": "timestamp('UTC')"}
    row = {**SALE, "at": datetime(2024, 3, 1, 10)}
    (found,), _ = judged("transactions", SALES, [row], schema, timezone="Asia/Shanghai")
    assert found["ordered_at"] == datetime(2024, 3, 1, 10)


def test_expressions_are_evaluated_and_what_they_cannot_give_is_missing(judged):
    columns = {**SALES, "amount": {"sql": "quantity::INT * 1.5"}, "channel": {"value": "web"}}
    valid, rejected = judged("transactions", columns, [SALE, {**SALE, "quantity": "x"}])
    assert [(row["amount"], row["channel"]) for row in valid] == [(Decimal(3), "web")]
    assert "amount: missing" in reasons(rejected)[0]


def test_a_required_header_that_is_not_there_is_named_with_the_nearest(judged):
    _, rejected = judged("transactions", {**SALES, "amount": "amout"}, [SALE])
    assert reasons(rejected) == [
        ["amount: missing, since the file has no column 'amout'; did you mean 'amount'?"],
    ]


def test_where_no_header_is_near_those_of_the_file_are_shown(judged):
    _, rejected = judged("customers", {"customer_id": ["客户编号", "Contact Id"]}, [{"a;b;c": "1;2;3"}])
    assert reasons(rejected) == [
        ["customer_id: missing, since the file has no column '客户编号' or 'Contact Id'; it has: a;b;c"]
    ]


def test_a_header_that_is_not_required_may_be_absent(judged):
    valid, rejected = judged("transactions", {**SALES, "channel": "kanal"}, [SALE])
    assert rejected == []
    assert valid[0]["channel"] is None


def test_of_several_headers_the_first_with_a_value_counts(judged):
    columns = {"customer_id": ["id", "编号"], "city": ["town", "city"]}
    rows = [{"id": "1", "编号": "2", "city": "Leeds"}, {"id": None, "编号": "3", "city": None}]
    valid, _ = judged("customers", columns, rows)
    assert [(row["customer_id"], row["city"]) for row in valid] == [("1", "Leeds"), ("3", None)]


def test_an_expression_takes_an_absent_column_as_null(judged):
    columns = {**SALES, "customer_id": {"sql": 'coalesce("Contact", customer)'}, "discount": {"sql": "rebate + 1"}}
    (row,), rejected = judged("transactions", columns, [SALE])
    assert rejected == []
    assert (row["customer_id"], row["discount"]) == ("c1", None)


def test_an_expression_that_gives_nothing_for_want_of_a_column_names_it(judged):
    _, rejected = judged("transactions", {**SALES, "amount": {"sql": "quantiti::INT * 2"}}, [SALE])
    assert reasons(rejected) == [
        ["amount: missing, since the file has no column 'quantiti'; did you mean 'quantity'?"],
    ]


def test_a_condition_on_an_absent_column_keeps_no_row_and_names_it(judged):
    _, rejected = judged("transactions", SALES, [SALE], where="quantiti <> 1")
    assert reasons(rejected) == [
        [
            "left out by the mapping: not (quantiti <> 1), since the file has no column 'quantiti'; "
            "did you mean 'quantity'?"
        ]
    ]


def test_arguments_of_functions_within_an_expression_are_not_columns(judged):
    sql = "list_sum(list_transform([quantity], lambda q: q::INT + absent))"
    _, rejected = judged("transactions", {**SALES, "amount": {"sql": sql}}, [SALE])
    assert "no column 'absent'" in reasons(rejected)[0][0]


@pytest.mark.parametrize("sql", ["quantity +", "nothing(quantity)", "'a' + no_such_column::DATE[]"])
def test_an_expression_that_is_wrong_in_itself_is_named_with_its_column(judged, sql):
    with pytest.raises(
        MappingError, match=r"shop\.yaml: transactions\.discount: the expression .* cannot be evaluated"
    ) as error:
        judged("transactions", {**SALES, "discount": {"sql": sql}}, [SALE])
    assert len(str(error.value).splitlines()) == 1


def test_a_where_that_is_wrong_in_itself_is_named(judged):
    with pytest.raises(MappingError, match=r"shop\.yaml: transactions\.where: the expression 'nothing\(1\)'"):
        judged("transactions", SALES, [SALE], where="nothing(1)")


def test_a_row_that_could_not_be_read_has_that_reason_alone(judged):
    rows = [{**SALE, "_error": None}, {**dict.fromkeys(SALE), "_error": "3 values for 7 columns"}]
    valid, rejected = judged("transactions", SALES, rows, where="product <> 'p2'")
    assert [row["_line"] for row in valid] == [1]
    assert reasons(rejected) == [["3 values for 7 columns"]]
    assert json.loads(rejected[0]["raw_row"]) == dict.fromkeys(SALE)


def test_a_file_that_could_not_be_read_at_all_is_one_rejected_row(judged):
    _, rejected = judged("transactions", SALES, [{"_error": "orders.xlsx is not a workbook"}])
    assert reasons(rejected) == [["orders.xlsx is not a workbook"]]


def test_identifiers_get_the_prefix_of_the_source(engine):
    mapping = {"files": "*.csv", "columns": {**SALES, "store_id": {"sql": "NULL"}}}
    with_prefix = Source.model_validate({"source": "shop", "id_prefix": "s-", "tables": {"transactions": mapping}})
    rows = [{**SALE, "customer": None}, SALE]
    with (
        engine.held(raw_table(rows)) as raw,
        engine.held(judge(raw, with_prefix, CANONICAL["transactions"])) as result,
    ):
        found = valid_rows(result).order_by("_line").to_pyarrow().to_pylist()
    assert [(r["order_id"], r["line_id"], r["customer_id"], r["product_id"], r["store_id"]) for r in found] == [
        ("s-o1", "1", None, "s-p1", None),
        ("s-o1", "1", "s-c1", "s-p1", None),
    ]


def test_a_date_of_unknown_order_is_rejected_with_what_to_write(judged):
    rows = [{**SALE, "at": text} for text in ("02/03/2024", "02/13/2024", "31/11/2023")]
    valid, rejected = judged("transactions", SALES, rows)
    assert [row["ordered_at"] for row in valid] == [datetime(2024, 2, 13)]
    assert reasons(rejected) == [
        [
            "ordered_at: '02/03/2024' may be day or month first: write `dates: dmy` or `dates: mdy` in the mapping",
        ],
        ["ordered_at: '31/11/2023' is not a date and time"],
    ]
    (row,), _ = judged("transactions", SALES, rows[:1], dates="dmy")
    assert row["ordered_at"] == datetime(2024, 3, 2)


def test_the_decimal_sign_of_a_part_is_heeded(judged):
    (row,), _ = judged("transactions", SALES, [{**SALE, "amount": "1.234,50"}], decimal=",")
    assert row["amount"] == Decimal("1234.50")


def test_each_file_is_read_as_the_first_part_says_whose_glob_matches(engine):
    parts = [
        {"files": "web*.csv", "columns": {"customer_id": "id", "city": {"value": "web"}}},
        {"files": "*.csv", "columns": {"customer_id": "no"}},
    ]
    both = Source.model_validate({"source": "shop", "tables": {"customers": parts}})
    raw = raw_table([{"id": "1", "no": None}, {"id": None, "no": "2"}])
    raw = raw.mutate(_file=(raw["_line"] == 1).ifelse("web.csv", "orders.csv"))
    with engine.held(raw) as held, engine.held(judge(held, both, CANONICAL["customers"])) as rows:
        found = valid_rows(rows).order_by("_line").to_pyarrow().to_pylist()
    assert [(row["customer_id"], row["city"]) for row in found] == [("1", "web"), ("2", None)]


def test_a_file_without_rows_gives_none(judged):
    assert judged("transactions", SALES, [], dict.fromkeys(SALE, "string")) == ([], [])


TEXTS = st.one_of(
    st.none(),
    st.sampled_from(
        [
            "",
            " ",
            "0",
            "-1",
            "1e400",
            "NaN",
            "inf",
            "2024-02-30",
            "2024-03-01",
            "292278-01-01",
            "是",
            "'",
            '"',
            "\\",
            "\x00",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


@given(rows=st.lists(st.fixed_dictionaries(dict.fromkeys(SALE, TEXTS)), max_size=6))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_is_either_valid_or_rejected_with_a_reason(judged, rows):
    schema = dict.fromkeys(SALE, "string")
    columns = {**SALES, "is_return": "line", "line_id": {"row_number": ["order"]}}
    valid, rejected = judged("transactions", columns, rows, schema, timezone="Europe/London", where="line <> 'x'")
    assert sorted(row["_line"] for row in [*valid, *rejected]) == list(range(1, len(rows) + 1))
    assert all(row["reasons"] for row in rejected)
    assert [json.loads(row["raw_row"]) for row in rejected] == [rows[row["_line"] - 1] for row in rejected]


def test_rows_are_numbered_within_a_column_that_is_already_mapped(judged):
    rows = [{**SALE, "order": order} for order in ("b", " a", "b", "a")]
    valid, _ = judged("transactions", {**SALES, "line_id": {"row_number": ["order_id"]}}, rows)
    assert [row["line_id"] for row in valid][:3] == ["1", "1", "2"]


def test_a_row_left_out_on_purpose_has_no_other_reason(judged):
    rows = [{**SALE, "customer": "c1"}, {**SALE, "order": None, "quantity": "many"}]
    valid, rejected = judged("transactions", SALES, rows, where='"order" IS NOT NULL')
    assert len(valid) == 1
    assert [row["reasons"] for row in rejected] == [['left out by the mapping: not ("order" IS NOT NULL)']]


def test_a_column_beside_another_in_coalesce_may_be_absent():
    assert unmet_columns('coalesce("Email", "邮件")', ["Email"]) == []
    assert unmet_columns('coalesce("Email", "邮件")', ["Name"]) == ["Email", "邮件"]
    assert unmet_columns("coalesce(price, 0) * units", ["units"]) == ["price"]
    assert unmet_columns("units * price", ["units"]) == ["price"]
