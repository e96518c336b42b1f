"""Many as_of days at once: the days as a table, and which of them see a row.

Belongs here: what the features of several days share. Not here: any feature.

As_of days are numbered in order. A row dated on a day counts in a window of n days from the first as_of day not before it
up to the first as_of day at least n days after it: two numbers, which a calendar gives for each date.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from functools import reduce
from itertools import groupby
from typing import TypeVar

import ibis
import ibis.expr.types as ir

T = TypeVar("T")

Hold = Callable[[ir.Table], ir.Table]
"""Computes a lazy table once, so that what is built on it does not compute it again."""


def as_of_chunks(as_of_days: Sequence[date], size: int = 10) -> Iterator[list[date]]:
    """Split as_of days so that what is computed for a chunk of them stays within memory.

    Ten days over a year of 2,500 customers and 1.5 million lines need well under 1 GB.
    """
    days = sorted(set(as_of_days))
    for start in range(0, len(days), size):
        yield days[start : start + size]


def days_table(as_of_days: Sequence[date]) -> ir.Table:
    """One row per as_of day: as_of."""
    # Plain literals, not an in-memory table: the expression then compiles to SQL that stands alone.
    days = [ibis.literal(day) for day in sorted(set(as_of_days))]
    return ibis.array(days).unnest().name("as_of").as_table()


def as_of_table(as_of_days: Sequence[date]) -> ir.Table:
    """One row per as_of day: as_of, and its number in the order of the days, from 0."""
    table = days_table(as_of_days)
    return table.mutate(number=ibis.row_number().over(order_by="as_of").cast("int32"))


def calendar(dates: ir.Table, grid: ir.Table, windows: Sequence[int]) -> ir.Table:
    """For each date, which as_of days see it.

    Args:
        dates: dates as `day`, each once.
        grid: as `as_of_table` gives it.
        windows: lengths in days.

    Returns:
        One row per date: day; `first`, the number of the first as_of day not before it; `after_<n>`, for each window of
        n days, that of the first as_of day at least n days after it. Beyond the last as_of day both are their count.
    """
    pairs = dates.cross_join(grid)
    age = pairs.as_of.delta(pairs.day, unit="day")
    return pairs.group_by("day").aggregate(
        first=pairs.count(where=age < 0).cast("int32"),
        **{after(window): pairs.count(where=age < window).cast("int32") for window in windows},
    )


def after(window: int) -> str:
    """Name of the calendar's column for the end of a window."""
    return f"after_{window}"


def numbered(tables: Sequence[ir.Table], column: str, name: str) -> ir.Table:
    """The values of a column of some tables, numbered in their order."""
    values = union([table.filter(table[column].notnull()).select(column).distinct() for table in tables]).distinct()
    return values.mutate(**{name: ibis.row_number().over(order_by=column).cast("int32")})


def union(tables: Sequence[ir.Table]) -> ir.Table:
    """All rows of tables with the same columns."""
    return reduce(lambda left, right: left.union(right), tables)


def alike_neighbours(values: Mapping[date, T]) -> list[tuple[T, list[date]]]:
    """Days in order, those together whose neighbours have an equal value."""
    return [
        (values[(some := list(group))[0]], some) for _, group in groupby(sorted(values), key=lambda day: values[day])
    ]
