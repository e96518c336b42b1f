"""The lake: the engine, where tables lie, and what Dagster sees of them."""
