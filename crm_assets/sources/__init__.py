"""Sources: mappings, deliveries, and reading and judging what is in them."""
