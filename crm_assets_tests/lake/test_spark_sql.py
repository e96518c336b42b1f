"""What an expression may not say on Spark, and what it says; without Spark."""

import ibis
import pytest
from ibis.common.exceptions import UnsupportedOperationError

from crm_assets.lake.spark_sql import SparkCompiler

TABLE = ibis.table(
    {"text": "string", "float": "float64", "money": "decimal(18, 4)", "number": "int64", "day": "date"}, name="table"
)


def sql(table):
    return SparkCompiler().to_sqlglot(table).sql("spark")


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (TABLE.text.hash(), "digest"),
        (TABLE.text.upper(), "lower case"),
        (TABLE.float.cast("string"), "decimals first"),
        (TABLE.float.round(TABLE.number), "computed number of digits"),
        (TABLE.text.first(), "depends on the engine"),
        (TABLE.text.last(where=TABLE.number > 1), "depends on the engine"),
        (TABLE.money.median(), "float64"),
        (TABLE.day.quantile(0.1), "float64"),
        (TABLE.text.re_replace(r"\S", ""), "name the characters"),
        (TABLE.text.re_replace(TABLE.text, ""), "literals"),
    ],
)
def test_what_engines_disagree_about_is_refused(refused, why):
    with pytest.raises(UnsupportedOperationError, match=why):
        sql(TABLE.aggregate(a=refused) if refused.op().shape.is_scalar() else TABLE.select(a=refused))


def test_a_function_that_spark_was_not_given_is_refused():
    @ibis.udf.scalar.builtin
    def strange(text: str) -> str: ...

    with pytest.raises(UnsupportedOperationError, match="strange"):
        sql(TABLE.select(a=strange(TABLE.text)))


def test_distinct_rows_are_sorted_around_the_query_that_makes_them_distinct():
    query = sql(TABLE.filter(TABLE.number > 1).select("day").distinct().order_by("day"))
    assert "SELECT DISTINCT `t0`.`day` FROM" in query


def test_white_space_in_a_pattern_is_that_of_the_other_engine():
    query = sql(TABLE.select(a=TABLE.text.re_replace(r"\s[\s.]\\s", "-")))
    assert r"'[\\t\\n\\f\\r ][\\t\\n\\f\\r .]\\\\s'" in query
