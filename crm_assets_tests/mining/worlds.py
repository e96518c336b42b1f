"""Random deliveries in small, and what is true after them by a model a person can follow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
from hypothesis import strategies as st

from crm_assets.contracts import layers
from crm_assets.contracts.canonical import CUSTOMERS, TRANSACTIONS

FIRST_DAY = date(2024, 1, 1)
DAYS = [FIRST_DAY + timedelta(n) for n in range(4)]
EXPORTS = [date(2025, 1, 10) + timedelta(n) for n in range(4)]
SOURCES = ("crm", "web")


@dataclass(frozen=True)
class Row:
    """A row as delivered: which key, its day, a value, and its place in the delivery's file."""

    key: str
    day: date
    value: int


Delivered = Mapping[tuple[str, date], tuple[Row, ...]]
"""Rows, in file order, by source and export date."""

rows = st.builds(Row, st.sampled_from(["k1", "k2", "k3"]), st.sampled_from(DAYS), st.integers(1, 2))
files = st.lists(rows, max_size=4).map(tuple)
places = st.tuples(st.sampled_from(SOURCES), st.sampled_from(EXPORTS))


def full_dates(delivered: Delivered, full_sources: Iterable[str]) -> dict[str, list[date]]:
    """Exports of these sources that hold something."""
    return {
        source: sorted(day for (name, day), found in delivered.items() if name == source and found)
        for source in full_sources
    }


def told(delivered: Delivered, full: Mapping[str, Iterable[date]]) -> list[tuple[date, dict[str, Row]]]:
    """The true row of each key after each export date: exports are gone through in order, as a person would."""
    held: dict[tuple[str, str], tuple[date, Row]] = {}
    history = []
    for today in sorted({day for _, day in delivered}):
        for (source, day), found in delivered.items():
            if day != today:
                continue
            if day in full.get(source, ()):
                held = {place: row for place, row in held.items() if place[0] != source}
            held |= {(source, row.key): (day, row) for row in found}
        state: dict[str, Row] = {}
        for (_, key), (_, row) in sorted(held.items(), key=lambda item: (item[1][0], _last_first(item[0][0]))):
            state[key] = row
        history.append((today, state))
    return history


def truth(delivered: Delivered, full: Mapping[str, Iterable[date]]) -> dict[date, set[tuple[str, int]]]:
    """Keys and values by day, in the end."""
    found: dict[date, set[tuple[str, int]]] = {}
    for row in (told(delivered, full) or [(None, {})])[-1][1].values():
        found.setdefault(row.day, set()).add((row.key, row.value))
    return found


def versions(delivered: Delivered, full: Mapping[str, Iterable[date]]) -> list[tuple[str, int, date, date | None]]:
    """Key, value, first day and first day no longer of each version."""
    found: list[list] = []
    current: dict[str, list] = {}
    seen = set()
    for today, state in told(delivered, full):
        for key in sorted({*state, *current}):
            value = state[key].value if key in state else None
            if key in current and current[key][1] == value:
                continue
            if key in current:
                current.pop(key)[3] = today
            if value is not None:
                current[key] = [key, value, today if key in seen else date(1990, 1, 1), None]
                found.append(current[key])
                seen.add(key)
    return sorted(map(tuple, found))


def sales(delivered: Delivered) -> pa.Table:
    """The rows as validated order lines, with `day`."""
    return _validated(
        layers.validated(TRANSACTIONS).schema.to_pyarrow().append(pa.field("day", pa.date32())),
        delivered,
        lambda row: {
            "order_id": row.key,
            "line_id": "1",
            "product_id": "p",
            "ordered_at": datetime.combine(row.day, datetime.min.time()) + timedelta(hours=12),
            "quantity": Decimal(1),
            "amount": Decimal(row.value),
            "day": row.day,
        },
    )


def customers(delivered: Delivered) -> pa.Table:
    """The rows as validated customers, whose household size is the value."""
    return _validated(
        layers.validated(CUSTOMERS).schema.to_pyarrow(),
        delivered,
        lambda row: {"customer_id": row.key, "household_size": str(row.value)},
    )


def _validated(schema: pa.Schema, delivered: Delivered, values) -> pa.Table:
    records = [
        {"_source": source, "_export_date": day, "_file": "f.csv", "_line": line, **values(row)}
        for (source, day), found in delivered.items()
        for line, row in enumerate(found, start=1)
    ]
    return pa.Table.from_pylist([{name: record.get(name) for name in schema.names} for record in records], schema)


def _last_first(name: str) -> list[int]:
    return [-ord(letter) for letter in name]
