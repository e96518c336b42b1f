"""Many customers scored batch by batch, so that memory does not grow with them.

Belongs here: batches to frames and back. Not here: how a frame is scored (`mining`).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from crm_assets.lake.layout import Lake
from crm_assets.mining.threads import in_threads

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def scored(
    lake: Lake, rows: ir.Table, score: "Callable[[pd.DataFrame], pd.DataFrame]", types: "pa.Schema", threads: int
) -> "Iterator[pa.Table]":
    """Scores of rows in their order, as many batches at a time as there are threads.

    Args:
        lake: Its engine computes the rows.
        rows: What is scored.
        score: Gives the scores of some rows, on one thread and the same whatever goes on beside it.
        types: Of the scores.
        threads: Batches that are scored at a time.
    """
    import pyarrow as pa

    def work(batch: pa.Table) -> pa.Table:
        return pa.Table.from_pandas(score(batch.to_pandas()), schema=types, preserve_index=False)

    return in_threads(work, lake.engine.batches(rows), threads)
