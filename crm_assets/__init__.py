"""crm_assets: customer-data mining as Dagster assets over DuckDB."""

__version__ = "0.1.0"
