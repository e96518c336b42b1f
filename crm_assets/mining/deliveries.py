"""What a delivery touched: the event days whose truth it changes, how many rows came late, and what it deletes.

Belongs here: counts over validated rows. Not here: finding deliveries (`sources/deliveries.py`), which row is true
(`truth.py`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import DAY, DELIVERED_DAYS, DELIVERY, EXPORT_DATE, SOURCE
from crm_assets.contracts.model import Table
from crm_assets.mining.as_of_days import Hold
from crm_assets.mining.truth import FullExports, spans

OTHER_DAY = "_other_day"

_PLACE = (*DELIVERY, "table_name", DAY.name)
_Place = tuple[str, date, str, date]


def delivered_days(rows: ir.Table, contract: Table, late_window_days: int) -> ir.Table:
    """Event days of validated rows by delivery.

    A row is late when it was last completed more than `late_window_days` before its export: the latest of its event
    time and its update times counts, so an answer to a contact of last month is news, not a late row.

    Args:
        rows: Validated rows of an event table, with `day`, the event day.
        contract: The canonical table.
        late_window_days: Days a row may take to arrive.

    Returns:
        One row per delivery and day: those of `contracts.layers.DELIVERED_DAYS` but `shared_days`.
    """
    times = [rows[name] for name in (contract.event_time, *contract.update_times) if name]
    completed = ibis.greatest(*times) if len(times) > 1 else times[0]
    deadline = rows[EXPORT_DATE.name].cast("timestamp") - ibis.interval(days=late_window_days)
    late = rows.mutate(_late=completed.fill_null(times[0]) < deadline)
    counted = late.group_by(*DELIVERY, DAY.name).agg(rows=ibis._.count(), late_rows=ibis._["_late"].sum())
    names = [name for name in DELIVERED_DAYS.by_name if name != "shared_days"]
    return counted.mutate(table_name=ibis.literal(contract.name)).select(*names)


def shared_days(rows: ir.Table, everything: ir.Table, contract: Table, hold: Hold = lambda table: table) -> ir.Table:
    """Pairs of days that hold rows of the same key, by delivery.

    Args:
        rows: Validated rows of some deliveries, with `day`.
        everything: Those of all deliveries.
        contract: The canonical table.
        hold: Computes a table once and keeps it while the result is used.

    Returns:
        `_source`, `_export_date`, `day` of the delivery's row and `_other_day`, that of another row of the same key.
        Of these rows only one is true, so what changes on one day may change the other.
    """
    key = list(contract.key)
    # There are far fewer orders than lines, and hardly one has lines on several days.
    for names in [key[:1], key] if len(key) > 1 else [key]:
        moved = hold(_on_several_days(everything.semi_join(rows.select(*names).distinct(), names), names))
        rows, everything = rows.semi_join(moved, names), everything.semi_join(moved, names)
    here = rows.select(*DELIVERY, *key, DAY.name).distinct()
    anywhere = everything.select(*key, DAY.name).distinct().rename({OTHER_DAY: DAY.name})
    pairs = here.join(anywhere, key).filter(ibis._[DAY.name] != ibis._[OTHER_DAY])
    return pairs.select(*DELIVERY, DAY.name, OTHER_DAY).distinct()


def _on_several_days(rows: ir.Table, names: Sequence[str]) -> ir.Table:
    days = rows.group_by(list(names)).agg(_first=rows[DAY.name].min(), _last=rows[DAY.name].max())
    return days.filter(days["_first"] < days["_last"]).select(*names)


def deleted_days(
    rows: ir.Table, contract: Table, full_exports: FullExports, changed: Mapping[str, Collection[date]]
) -> ir.Table | None:
    """Days that lose a row, or lost one before, since its key is missing from a full export.

    Args:
        rows: Validated rows of every delivery, with `day`.
        contract: The canonical table.
        full_exports: Exports from which a missing key counts as deleted.
        changed: By source, the exports asked about: full ones, and such as may have been before they were corrected.

    Returns:
        `_source`, `_export_date`, the date of the full export, and `day`; None when no export is asked about.
    """
    asked = {source: sorted(days) for source, days in changed.items() if days}
    if not asked:
        return None
    # What the full export before the first of them did not hold was deleted by then.
    since = {
        source: max((day for day in full_exports.get(source, ()) if day < days[0]), default=date.min)
        for source, days in asked.items()
    }
    exported = rows[EXPORT_DATE.name]
    of_source = [(rows[SOURCE.name] == name) & exported.between(since[name], days[-1]) for name, days in asked.items()]
    told = rows.filter(ibis.or_(*of_source))
    full = {source: sorted({*full_exports.get(source, ()), *days}) for source, days in asked.items()}
    gone = spans(told, contract.key, full).filter(ibis._["_gone"].notnull())
    days = gone.select(SOURCE.name, DAY.name, **{EXPORT_DATE.name: gone["_gone"]}).distinct()
    are_asked = [(days[SOURCE.name] == name) & days[EXPORT_DATE.name].isin(dates) for name, dates in asked.items()]
    return days.filter(ibis.or_(*are_asked))


def deletions(rows: ir.Table, contract: Table, full_exports: FullExports) -> ir.Table:
    """How much each full export deletes.

    Args:
        rows: Validated rows of every delivery.
        contract: The canonical table.
        full_exports: Exports from which a missing key counts as deleted.

    Returns:
        One row per source and full export: `_source`, `_export_date`, `keys`, those the source delivered since its
        full export before, and `deleted`, those of them that are missing.
    """
    told = spans(rows, contract.key, full_exports)
    last = told.filter(told["_following"].notnull(), told["_again"].isnull() | (told["_again"] >= told["_following"]))
    counted = last.group_by(SOURCE.name, "_following").agg(keys=last.count(), deleted=last["_gone"].count())
    return counted.rename({EXPORT_DATE.name: "_following"})


def touched_days(
    found: Iterable[Mapping[str, Any]],
    pairs: Iterable[Mapping[str, Any]],
    deleted: Iterable[Mapping[str, Any]],
    before: Iterable[Mapping[str, Any]],
    recorded: Iterable[Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    """All days that deliveries touch: whose true rows may be others than before they came.

    Args:
        found: Rows of `delivered_days` of the deliveries, as they are now.
        pairs: Rows of `shared_days`, with `table_name`.
        deleted: Rows of `deleted_days`, with `table_name`.
        before: Rows of `contracts.layers.DELIVERED_DAYS` of the deliveries, as they were when they last came.
        recorded: Those of any delivery that share days with others.

    Yields:
        Rows of `contracts.layers.DELIVERED_DAYS` of the deliveries; `rows` is 0 on days that only lose rows.
    """
    found, before = list(found), list(before)
    # Of two deliveries that share a key, the one that came last noted it, for both days.
    partners: dict[tuple[str, date], set[date]] = {}
    for row in (*before, *recorded):
        for other in row["shared_days"]:
            partners.setdefault((row["table_name"], row[DAY.name]), set()).add(other)
            partners.setdefault((row["table_name"], other), set()).add(row[DAY.name])
    shared: dict[_Place, set[date]] = {}
    touched: dict[_Place, None] = {}
    for row in pairs:
        shared.setdefault(_place(row), set()).add(row[OTHER_DAY])
        touched[_place(row, row[OTHER_DAY])] = None
    for row in (*before, *deleted):
        touched[_place(row)] = None
        if row.get("rows", 1):
            # Where a row goes, one of the same key on another day may come back.
            others = partners.get((row["table_name"], row[DAY.name]), ())
            touched |= dict.fromkeys(_place(row, other) for other in others)
    for row in found:
        touched.pop(_place(row), None)
        yield {**row, "shared_days": sorted(shared.get(_place(row), ()))}
    for place in touched:
        yield dict(zip(_PLACE, place, strict=True)) | {"rows": 0, "late_rows": 0, "shared_days": []}


def _place(row: Mapping[str, Any], day: date | None = None) -> _Place:
    return row[SOURCE.name], row[EXPORT_DATE.name], row["table_name"], day or row[DAY.name]
