"""crm_assets: customer-data mining as Dagster assets over DuckDB."""

import os

__version__ = "0.1.0"

# OpenMP threads that wait by spinning bring training on a busy machine to a halt (measured: 20 s instead of 1 s), and
# the policy is read once, when the first of the libraries that use OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
