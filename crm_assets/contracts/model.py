"""What a contract is: the columns of a table and what must hold for them.

Belongs here: the vocabulary of contracts. Not here: any table (`canonical.py`, `derived.py`), any engine or framework.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import ibis.expr.schema as sch

MONEY = "decimal(18, 4)"
"""Amounts and quantities are decimals: their sums are exact, so a rebuild gives equal bytes whatever the thread order."""


@dataclass(frozen=True)
class Column:
    """One column: its type and what must hold for each value.

    Attributes:
        name: Column name.
        dtype: Ibis type, such as ``string``, ``timestamp`` (UTC) or ``decimal(18, 4)``.
        description: What it means, with its unit.
        required: No nulls.
        minimum: Smallest valid value, inclusive; dates as ISO text.
        maximum: Largest valid value, inclusive.
        allowed: The only valid values, if closed.
        references: ``table.column`` whose values these are; a broken reference warns, it does not reject.
        personal: Personal data (identifies or contacts a person).
    """

    name: str
    dtype: str
    description: str
    required: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    allowed: tuple[str, ...] = ()
    references: str | None = None
    personal: bool = False


class Shape(StrEnum):
    """How a table lives in time."""

    EVENT = "event"
    """Each row happened at a moment; partitioned by event day."""
    DIMENSION = "dimension"
    """Each row describes a thing and may change; kept as versions with `valid_from` and `valid_to`."""
    SNAPSHOT = "snapshot"
    """Each row is the state at the end of an `as_of` day; partitioned by it."""
    PLAIN = "plain"
    """One table, not partitioned by time."""


@dataclass(frozen=True)
class Table:
    """One table: its columns, key and shape.

    Attributes:
        name: Table name.
        description: One line for people.
        columns: In order; the first ones are public interface.
        key: Columns that together are unique.
        shape: How the table lives in time.
        event_time: For events, the column that says when it happened.
        update_times: For events, columns that say when the row was last completed, such as `responded_at`.
        partition_by: Columns whose values are the partitions of the table in the lake.
        notes: What a reader should know besides, for the documentation.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    shape: Shape = Shape.PLAIN
    event_time: str | None = None
    update_times: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    notes: str = ""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        used = {*self.key, *self.update_times, *self.partition_by, *filter(None, [self.event_time])}
        unknown = used - set(names)
        if len(set(names)) != len(names) or unknown:
            raise ValueError(f"contract {self.name}: columns must be distinct and include {sorted(unknown)}")

    @cached_property
    def by_name(self) -> Mapping[str, Column]:
        """Columns by their names."""
        return {column.name: column for column in self.columns}

    @cached_property
    def schema(self) -> sch.Schema:
        """The Ibis schema."""
        return sch.schema({column.name: column.dtype for column in self.columns})

    def with_columns(self, *extra: Column, **changes: object) -> "Table":
        """The same table with more columns at the end and other attributes changed."""
        return replace(self, columns=(*self.columns, *extra), **changes)  # type: ignore[arg-type]
