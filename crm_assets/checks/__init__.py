"""Asset checks.

Belongs here: putting the checks together. Not here: any check.
"""

import dagster as dg


def all_checks() -> list[dg.AssetChecksDefinition]:
    """Every asset check."""
    return []
