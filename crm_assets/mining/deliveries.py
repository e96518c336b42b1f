"""What a delivery touched: the event days of its rows, and how many came late.

Belongs here: counts over validated rows. Not here: finding deliveries (`sources/deliveries.py`).
"""

import ibis
import ibis.expr.types as ir

from crm_assets.contracts.layers import DAY, DELIVERED_DAYS, DELIVERY, EXPORT_DATE
from crm_assets.contracts.model import Table


def delivered_days(rows: ir.Table, contract: Table, late_window_days: int) -> ir.Table:
    """Event days of validated rows by delivery.

    A row is late when it was last completed more than `late_window_days` before its export: the latest of its event
    time and its update times counts, so an answer to a contact of last month is news, not a late row.

    Args:
        rows: Validated rows of an event table, with `day`, the event day.
        contract: The canonical table.
        late_window_days: Days a row may take to arrive.

    Returns:
        Rows of `contracts.layers.DELIVERED_DAYS`: one per delivery and day.
    """
    times = [rows[name] for name in (contract.event_time, *contract.update_times) if name]
    completed = ibis.greatest(*times) if len(times) > 1 else times[0]
    deadline = rows[EXPORT_DATE.name].cast("timestamp") - ibis.interval(days=late_window_days)
    late = rows.mutate(_late=completed.fill_null(times[0]) < deadline)
    counted = late.group_by(*DELIVERY, DAY.name).agg(rows=ibis._.count(), late_rows=ibis._["_late"].sum())
    return counted.mutate(table_name=ibis.literal(contract.name)).select(*DELIVERED_DAYS.by_name)
