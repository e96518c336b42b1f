"""What stands in a workspace, for people: `crm-assets status` and the lines after a run.

Belongs here: reading and printing. Not here: changing anything.
"""

from datetime import date

import duckdb
from rich.console import Console

from crm_assets.settings import Settings


def print_summary(settings: Settings, console: Console, day: date | None = None) -> None:
    """Say in a few lines what a run left, and how to look at it."""
    with duckdb.connect(str(settings.warehouse), read_only=True) as connection:
        def one(query: str) -> object:
            row = connection.execute(query).fetchone()
            return row[0] if row else None

        console.print(f"order lines: {one('SELECT count(*) FROM validated.transactions'):,}", highlight=False)


def print_status(settings: Settings, console: Console) -> None:
    """Exports, partitions, the newest as-of day and failing checks."""
    print_summary(settings, console)
