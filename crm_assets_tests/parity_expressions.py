"""Expressions whose meaning engines are known to disagree about, on values where they do."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from crm_assets.contracts.model import MONEY
from crm_assets.lake.functions import local_day

VALUES = pa.table(
    {
        "key": ["a", "a", "a", "b", "b", None],
        "number": pa.array([7, -7, None, 2, 2, 3], pa.int64()),
        "other": pa.array([2, 2, 2, None, -3, 3], pa.int64()),
        "float": [1.32255, 2.5, -2.5, float("nan"), None, 1e10],
        "half": [1.32255, 2.5, -2.5, 3.5, None, 1e9],
        "money": pa.array(list(map(Decimal, ["2.5", "-2.5", "0.0001", "1.5", "3.5", "0"])), pa.decimal128(18, 4)),
        "day": [date(2024, 1, 31), date(2024, 2, 29), None, date(2023, 12, 31), date(2024, 3, 31), date(1970, 1, 1)],
        "at": [datetime(2024, 3, 31, 0, 59), datetime(2024, 3, 31, 1), None, *[datetime(2024, 10, 27, 0, 30)] * 3],
        "text": ["ΑΣ İI ẞß", " a\u000bb \t c ", "", None, "it's \\1 $1", "\vfoo of va\f"],
    }
)

Columns = Mapping[str, ir.Value]

EXPRESSIONS: Mapping[str, Callable[[ir.Table], Columns]] = {
    "floats become the nearest whole number": lambda t: {"a": t.half.cast("int64"), "b": t.half.cast("int32")},
    "decimals become the nearest whole number": lambda t: {"a": t.money.cast("int64"), "b": t.money.cast("int32")},
    "floats become decimals": lambda t: {"a": t.float.try_cast("decimal(18, 4)"), "b": t.float.try_cast(MONEY)},
    "floats are rounded": lambda t: {"a": t.half.round(4), "b": t.half.round(0), "c": t.money.round(0)},
    "whole numbers are divided": lambda t: {"a": t.number // t.other, "b": t.number % t.other, "c": t.number / t.other},
    "decimals are divided": lambda t: {
        "a": t.money / t.other.cast(MONEY),
        "b": (t.money * t.money).cast("decimal(38, 8)"),
    },
    "NaN is not null": lambda t: {"a": t.float.isnull(), "b": t.float.notnull(), "c": t.float.fill_null(0.0)},
    "days are counted and moved": lambda t: {
        "a": t.day.delta(ibis.literal(date(2024, 2, 29)), unit="day"),
        "b": (t.day + ibis.interval(months=1)).cast("date"),
        "c": (t.day - ibis.interval(days=1)).cast("date"),
        "d": t.day.day_of_week.index(),
        "e": t.day.cast("timestamp").truncate("M").cast("date"),
        "f": t.day.cast("timestamp") < t["at"],
        "g": t["at"].hour(),
    },
    "local days follow summer time": lambda t: {
        "a": local_day(t["at"], "Europe/London"),
        "b": local_day(t["at"], "Asia/Shanghai"),
        "c": local_day(t["at"], "UTC"),
    },
    "text is lower case": lambda t: {
        "a": t.text.lower(),
        "b": t.text.strip(),
        "c": t.text.length(),
        "d": t.text.lstrip(),
        "e": t.text.rstrip(),
    },
    "letters of literals are kept": lambda t: {
        f"a{number}": t.text.concat(letter) for number, letter in enumerate("\a\b\f\n\r\t\v\\'\"%_`$\u00a0茶𝒳")
    },
    "patterns are replaced": lambda t: {
        "a": t.text.re_replace(r"\s+", " "),
        "b": t.text.re_replace(r"[\s().-]", "_"),
        "c": t.text.re_replace(r"(\w)'(\w)", r"\2$\1"),
        "d": t.text.re_search(r"^\s|\$\d"),
        "e": t.text.replace("\\1", "$"),
    },
    "text is compared and joined": lambda t: {
        "a": t.text < "a",
        "b": t.key.concat(t.text),
        "c": ibis.literal("-").join([t.key, t.text]),
        "d": ibis.greatest(t.key, t.text),
        "e": t.key.identical_to(t.text),
        "f": t.text.hexdigest("md5"),
    },
    "values are printed": lambda t: {f"{name}_": t[name].cast("string") for name in ("number", "money", "day", "at")},
    "JSON keeps nulls": lambda t: {"a": ibis.struct({"key": t.key, "text": t.text}).cast("json").cast("string")},
    "ranks break ties": lambda t: {
        "a": ibis.row_number().over(order_by=[t.key.desc(), t.number, t.other.desc(), t.money]),
        "b": ibis.rank().over(order_by=t.number),
        "c": t.number.lag().over(group_by="key", order_by=[t.number, t.money]),
        "d": t.money.sum().over(ibis.cumulative_window(order_by=[t.number.desc(), t.money])),
    },
}

AGGREGATES: Mapping[str, Callable[[ir.Table], Columns]] = {
    "counts of nothing are zero": lambda t: {
        "a": t.count(where=t.number > 100),
        "b": t.count(where=t.other.isnull() & (t.number > 1)),
        "c": t.number.count(),
        "d": t.number.nunique(),
    },
    "sums of nothing are null": lambda t: {
        "a": t.number.sum(where=t.number > 100),
        "b": t.money.sum(),
        "c": (t.money > 1).sum(),
        "d": t.money.max(),
    },
    "the middle lies between": lambda t: {"a": t.number.median(), "b": t.number.cast("float64").quantile(0.25)},
    "first, last and all in an order": lambda t: {
        "a": t.text.first(order_by=[t.number.desc(), t.money]),
        "b": t.text.last(order_by=[t.number, t.money], where=t.money > 0),
        "c": t.number.first(order_by=t.money, include_null=True),
        "d": t.text.collect(order_by=[t.number.asc(nulls_first=True), t.money.desc()]),
        "e": t.text.collect(where=t.money > 100, order_by=t.money),
        "f": t.text.first(where=t.money > 100, order_by=t.money),
    },
}

TABLES: Mapping[str, Callable[[ir.Table], ir.Table]] = {
    "distinct rows are distinct though sorted": lambda t: (
        t.filter(t.number > 0).select("key").distinct().order_by("key")
    ),
    "distinct rows in the order of an expression": lambda t: t.select("key", "day").distinct().order_by(t.day.year()),
    "nulls are last": lambda t: t.order_by(t.number.desc(), t.money).limit(2),
    "null keys meet none": lambda t: t.join(t.view(), "key"),
    "null keys are one group": lambda t: t.group_by("key").agg(rows=t.count()),
    "lists are unnested": lambda t: t.select(one=ibis.array([t.key, t.text]).unnest()),
    "rows in memory are joined": lambda t: t.left_join(
        ibis.memtable({"key": ["a"], "day": [date(2024, 1, 1)], "price": [Decimal("1.5")], "more": [["x", None]]}),
        "key",
    ),
}
