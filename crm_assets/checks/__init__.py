"""Asset checks.

Belongs here: putting the checks together. Not here: any check.
"""

import dagster as dg

from crm_assets.checks.cards import card_checks
from crm_assets.checks.conservation import conservation_checks
from crm_assets.checks.contract import contract_checks
from crm_assets.checks.deletions import deletions
from crm_assets.checks.drift import drift_checks
from crm_assets.checks.gates import gate_checks
from crm_assets.checks.quarantine import quarantine
from crm_assets.checks.references import reference_checks


def all_checks() -> list[dg.AssetChecksDefinition]:
    """Every asset check."""
    return [
        *contract_checks,
        *reference_checks,
        *conservation_checks,
        quarantine,
        *drift_checks,
        deletions,
        *gate_checks,
        *card_checks,
    ]
