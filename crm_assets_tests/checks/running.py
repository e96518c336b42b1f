"""Checks of one asset, run by Dagster."""

import dagster as dg

from crm_assets.automation.sensors import range_tags
from crm_assets.checks import all_checks
from crm_assets.definitions import resources


def check(settings, *asset, key=None):
    """Run the checks of an asset alone, and give their evaluations by table and name."""
    wanted = [found for found in all_checks() if dg.AssetKey(asset) in {spec.asset_key for spec in found.check_specs}]
    job = dg.Definitions(asset_checks=wanted, resources=resources(settings)).resolve_implicit_global_asset_job_def()
    tags = range_tags(key, key) if key else {}
    result = job.execute_in_process(tags=tags, raise_on_error=False)
    evaluations = result.get_asset_check_evaluations()
    return {(found.asset_key.path[-1], found.check_name): found for found in evaluations}
